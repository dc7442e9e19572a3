/*
 * loop: the thread of whoever consumes: fetch, work, settle, until it is asked to stop.
 *
 * `work` gets a batch, acts on it and settles it (loop_settle); what it does not settle is
 * delivered again. It returns false with an error only when the broker failed. While something that
 * it needs is away it holds its batch and calls loop_wait between its attempts: leases are kept by
 * loop_keep, nothing is fetched, no attempt is burned.
 *
 * Threads  `work` runs on the loop's own thread and so do loop_wait, loop_tell and loop_settle; the
 *          rest may be called from any other, loop_keep and loop_halt from the same one. Several
 *          loops may share a `work`.
 * Units    milliseconds.
 */
#ifndef CMD_LOOP_H
#define CMD_LOOP_H

#include "base/metrics.h"
#include "broker/broker.h"

#include <stdint.h>

struct loop;

typedef bool loop_work(void *context, struct loop *loop, const struct broker_batch *deliveries,
                       struct error *err);

struct loop_options {
    const char *name; /* in the log: the topic, or what it does */
    struct broker *broker;
    const struct broker_group *group;
    size_t batch_messages, batch_bytes; /* most of one fetch */
    loop_work *work;
    void *context;
    struct metrics_cell *circuit; /* 1 while it works, 0 while it waits for something; NULL: none */
};                                /* borrowed until loop_stop, but for the struct itself */

/* Opens the consumer and starts the thread; *out is there before `work` is called. */
bool loop_start(struct loop **out, const struct loop_options *options,
                struct error *err) MUST_CHECK;

/* Restarts the leases of the batch at hand when a fifth of their time has gone. Call it often, from
 * one thread: whoever works cannot look after them meanwhile. */
void loop_keep(struct loop *loop);

/* Asks it to end and returns at once, so that several end together: it finishes the batch at hand,
 * gives back what is read ahead and confirms every settlement. A batch that is held is not waited
 * for: it is delivered again. */
void loop_halt(struct loop *loop);

/* Halts it if nobody has, and waits for its end. */
void loop_stop(struct loop *loop);
AUTO_DEFINE(struct loop *, loop_stop)

/* Is it able to work? err says what it waits for. */
bool loop_ready(struct loop *loop, struct error *err) MUST_CHECK;

/* ---- for `work` ---- */

struct broker_consumer *loop_consumer(struct loop *loop); /* for dead_letter_bury */
bool loop_stopping(struct loop *loop);

/* The most that one attempt at something may take: a few of them end well before a lease does, and
 * one and the drain after it within the 5 s that a service has to stop. */
int64_t loop_patience_ms(const struct loop *loop);
int64_t loop_patience_of(const struct broker_group *group); /* the same, before there is a loop */

/* Says once in the log that it waits, and why, or (trouble NULL) that it goes on. */
void loop_tell(struct loop *loop, const struct error *trouble, const char *message);

/* Waits before the next attempt (from 1), longer each time; false: it was asked to stop. */
bool loop_wait(struct loop *loop, unsigned attempt);

/* One verdict for each delivery of the batch. */
bool loop_settle(struct loop *loop, const struct broker_verdict *verdicts, size_t count,
                 struct error *err) MUST_CHECK;

#endif
