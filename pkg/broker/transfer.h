/*
 * transfer: takes what a consumer has not settled from one broker to another.
 *
 * It works as one more instance of the consumer: what it is handed is published to the same stream
 * and subject of the other broker, under the same id, and settled here once it is stored there. So
 * what was settled is not sent again, what other instances hold stays theirs, and a transfer that
 * is interrupted may be run again: what was stored there and not yet settled here comes again and
 * is a duplicate, as long as the other stream's dedup window lasts. A message without an id gets
 * one from its place here. Attempts begin anew there, and a message that several consumers have not
 * settled is taken once: the other broker's consumers all get it.
 *
 * A stream without consumers (DEAD) is taken whole, from its front.
 *
 * Ownership  brokers and texts are borrowed until transfer_close.
 * Threads    one.
 */
#ifndef BROKER_TRANSFER_H
#define BROKER_TRANSFER_H

#include "broker/broker.h"

struct transfer;

struct transfer_route {
    struct broker *from, *to;
    const char *stream;
    const struct broker_group *group; /* of `from`, as broker_list has it; NULL: it has none */
};

bool transfer_open(struct transfer **out, const struct transfer_route *route,
                   struct error *err) MUST_CHECK;

/*
 * Takes a batch: what is there at once, or what comes within timeout_ms; 0 when nothing came.
 * False: some of it could not be stored there and stays here; moved counts what could.
 */
bool transfer_step(struct transfer *transfer, int timeout_ms, size_t *out_moved,
                   struct error *err) MUST_CHECK;

/* Confirms what was settled; no step after it. */
bool transfer_finish(struct transfer *transfer, int timeout_ms, struct error *err) MUST_CHECK;

void transfer_close(struct transfer *transfer);
AUTO_DEFINE(struct transfer *, transfer_close)

#endif
