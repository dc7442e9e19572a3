/*
 * tally: what became of the events, kind by kind, and how long it took.
 *
 * Threads  any.
 * Units    Latencies are microseconds, kept to 3 %; the result shows milliseconds.
 */
#ifndef SIMULATOR_TALLY_H
#define SIMULATOR_TALLY_H

#include "base/buffer.h"
#include "base/json.h"
#include "domain/traffic.h"

enum tally_outcome {
    TALLY_ACCEPTED,
    TALLY_DUPLICATE, /* it was there already */
    TALLY_REFUSED,   /* the server will not have it */
    TALLY_FAILED,    /* nobody knows, or the server could not */
    TALLY_OUTCOMES,
};

extern const char *const tally_outcome_words[TALLY_OUTCOMES];

struct tally;

struct tally *tally_new(void);
void tally_free(struct tally *tally);
AUTO_DEFINE(struct tally *, tally_free)

/* An event was answered with a status, finally or not; 0: it was not answered. */
void tally_answer(struct tally *tally, enum traffic_kind kind, int status);
void tally_retry(struct tally *tally, enum traffic_kind kind);
void tally_outcome(struct tally *tally, enum traffic_kind kind, enum tally_outcome outcome,
                   int64_t latency_us);

/* Of all kinds: outcomes so far. */
void tally_totals(struct tally *tally, uint64_t out[TALLY_OUTCOMES]);

/* Appends a table for people, of the kinds that were sent. */
void tally_print(struct tally *tally, struct buffer *out);

/* Adds "kinds":[…]. */
void tally_write(struct tally *tally, struct json_writer *writer);

#endif
