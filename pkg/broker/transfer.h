/*
 * transfer: takes what a consumer has not settled from one broker to another.
 *
 * It works as one more instance of the consumer: what it is handed is published to the same stream
 * and subject of the other broker, under the same id, and settled here once it is stored there. So
 * what was settled is not sent again, what other instances hold stays theirs until it comes back,
 * and a transfer that was interrupted may be run again: what was stored there and not yet settled
 * here comes again and is a duplicate, as long as the other stream's dedup window lasts. What the
 * other broker does not take is held, its lease extended, and offered again by the next step: to
 * wait costs a message one attempt, not one per try.
 *
 * A message says where it came from (dead_letter_origin), so that what was stored of it already is
 * not stored again. One without an id gets one made from its place and time here. Attempts begin
 * anew there. A message that several consumers have not settled is taken by each and stored once,
 * when it is within the window that all of them come to it: step the one that has reached the least
 * (transfer_reached_ms). All consumers of the other stream get it, also those that settled it here.
 *
 * A stream without consumers (DEAD) is taken whole, from its front. A dead letter gets a new id:
 * its own names a place here, and at that place there another message may die.
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

/*
 * CONFLICT, "same_broker": the two are one, by whatever names, or somebody else moves from there at
 * this moment. A transfer would take its own messages for stored, and settle them. Each of the two
 * keeps a value for it, the state "last" of the bucket "moves".
 */
bool transfer_check_apart(struct broker *from, struct broker *to, int timeout_ms,
                          struct error *err) MUST_CHECK;

bool transfer_open(struct transfer **out, const struct transfer_route *route,
                   struct error *err) MUST_CHECK;

/*
 * Offers what is held, or takes a batch: what is there at once, or what a consumer gets within
 * timeout_ms. It may take 5 s more for each broker that is slow to answer. out_moved, always set,
 * counts what was stored there; 0 and true: nothing came. False: err is about the first message
 * that was not stored, and is held, or about the broker here.
 */
bool transfer_step(struct transfer *transfer, int timeout_ms, size_t *out_moved,
                   struct error *err) MUST_CHECK;

/* When the newest message that was taken so far was stored here; 0: none was. */
int64_t transfer_reached_ms(const struct transfer *transfer);

/* Gives back what is held, and confirms what was settled; no step after it. */
bool transfer_finish(struct transfer *transfer, int timeout_ms, struct error *err) MUST_CHECK;

void transfer_close(struct transfer *transfer);
AUTO_DEFINE(struct transfer *, transfer_close)

#endif
