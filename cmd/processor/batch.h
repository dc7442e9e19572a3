/*
 * batch: the rows that a batch of deliveries holds, and the lines that are none.
 *
 * A delivery carries one event, or NDJSON lines of several; every line is an event of its own. What
 * cannot be decoded, or what the store refuses later, becomes a dead part and does not disturb its
 * neighbours. A batch has rows of one or a few topics of one stream, told apart by their subjects;
 * what is of none of them is a dead part too, "unknown_subject".
 *
 * An event without an id (sent by hand with a broker's own tool) gets its message's, or one from
 * its place in the stream, the same at every delivery; one without a time gets the time at which it
 * was stored. A replay of a dead letter is the original in all of this, so that it stores nothing
 * that is stored already.
 *
 * Ownership  The batch owns its lists; rows and parts point into its arena and into the deliveries,
 *            so they are valid until batch_reset and until the deliveries are settled.
 * Threads    one batch, one thread.
 */
#ifndef PROCESSOR_BATCH_H
#define PROCESSOR_BATCH_H

#include "base/arena.h"
#include "broker/dead_letter.h"
#include "event/topic.h"
#include "store/store.h"

#define BATCH_TOPICS_MAX 2

/* Where a row came from, to bury it when somebody refuses it. */
struct batch_origin {
    size_t delivery;
    unsigned number; /* of the line, from 1 */
    bool refused;    /* it became a dead part */
    const struct topic *topic;
    const char *data;
    size_t size;
};

struct batch_source {
    const struct topic *topic;
    const struct store_table *table;
};

struct batch {
    struct arena *arena;
    struct batch_source sources[BATCH_TOPICS_MAX];
    size_t source_count;
    struct store_row *rows;
    struct batch_origin *origins; /* of the rows, at the same index */
    size_t row_count, row_capacity;
    size_t refused; /* of the rows */
    struct dead_part *parts;
    size_t part_count, part_capacity;
};

/* Of topics of one stream, at least one. */
void batch_start(struct batch *batch, const struct batch_source *sources, size_t count);
void batch_stop(struct batch *batch);

/* Forgets everything, keeps the memory. */
void batch_reset(struct batch *batch);

/* Lines of one message; one with more is a single dead letter, "too_many_lines". */
#define BATCH_LINES_MAX 10000

/* Adds what the deliveries hold. */
void batch_decode(struct batch *batch, const struct broker_batch *deliveries);

/* Makes a dead part of a row. The message of why is copied. */
void batch_refuse(struct batch *batch, size_t row, const struct error *why);

#endif
