/*
 * nats_wire: the small texts in which a NATS server speaks besides JSON.
 *
 * Everything here reads foreign bytes: it is bounded and refuses what it does not know.
 */
#ifndef BROKER_NATS_WIRE_H
#define BROKER_NATS_WIRE_H

#include "base/macros.h"
#include "broker/broker.h"

/*
 * The subject on which a delivery is acknowledged tells about the delivery:
 *     $JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<delivery>.<time>.<pending>
 *     $JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.…[.<token>]
 */
struct nats_ack {
    uint64_t delivered; /* times, from 1 */
    uint64_t sequence;  /* in the stream */
    uint64_t delivery;  /* of all that the consumer ever made, from 1 */
    uint64_t pending;   /* messages behind it */
    int64_t stored_ms;
};

bool nats_ack_parse(const char *subject, struct nats_ack *out) MUST_CHECK;

/* The same subject for another sequence. False: it is none, or has no room. */
bool nats_ack_for(const char *subject, uint64_t sequence, char *out, size_t room) MUST_CHECK;

/* The subject in "Permissions Violation for Publish to "x"": false when it is another text. */
bool nats_denied_subject(const char *text, char *out, size_t room) MUST_CHECK;

/*
 * A header block as it is stored, "NATS/1.0\r\nname: value\r\n…\r\n", cut into texts in place.
 * Returns how many headers it has (the first max are in out), or -1 when it is malformed.
 */
int nats_headers_parse(char *block, size_t size, struct broker_header *out, int max);

/* Decodes in place; returns the size, or -1. */
long nats_base64_decode(char *text, size_t size);

#endif
