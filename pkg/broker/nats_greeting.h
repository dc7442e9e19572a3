/*
 * nats_greeting: what a NATS server says of itself to whoever connects, before anything else:
 *
 *     INFO {"server_id":"…","version":"2.9.10","max_payload":1048576,"cluster":"…",…}\r\n
 *
 * The library keeps it to itself, and JetStream's answers leave the version out.
 */
#ifndef BROKER_NATS_GREETING_H
#define BROKER_NATS_GREETING_H

#include "base/document.h"

#define NATS_HOST_SIZE 256

struct nats_version {
    int major, minor, patch;
};

/* "2.9.10", "2.11.0-RC.1": what is behind the numbers does not count. */
bool nats_version_parse(const char *text, struct nats_version *out) MUST_CHECK;
bool nats_version_before(const struct nats_version *version, int major, int minor, int patch);

/* "nats://user:secret@host:4222", "[::1]:4222", "host": where that is. */
bool nats_address_parse(const char *url, char host[NATS_HOST_SIZE], char port[8]) MUST_CHECK;

/* The line as it came; size bytes, and a NUL. */
bool nats_greeting_parse(const char *line, size_t size, struct document **out,
                         struct error *err) MUST_CHECK;

/* Connects, reads the line, and hangs up. until_ms: steady. */
bool nats_greeting_read(const char *url, int64_t until_ms, struct document **out,
                        struct error *err) MUST_CHECK;

#endif
