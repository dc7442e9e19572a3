/*
 * worker: one thread that moves one topic's events from the broker into the store.
 *
 * Fetch, decode, one transaction, settle. What cannot be decoded or is refused by the store becomes
 * a dead letter. While the store is away the worker holds its batch, whose leases worker_keep keeps
 * alive, and fetches nothing: no attempt is burned. When it is back the same batch goes on.
 *
 * Threads  each worker has its own thread, consumer and store connection; the functions here may be
 *          called from any other.
 */
#ifndef PROCESSOR_WORKER_H
#define PROCESSOR_WORKER_H

#include "base/metrics.h"
#include "broker/broker.h"
#include "event/topic.h"
#include "store/store.h"

struct worker_options {
    const struct topic *topic;
    const struct store_table *table;
    const struct broker_group *group;
    struct broker *broker;
    const char *database_url;
    size_t batch_messages; /* most messages of one fetch */
    struct metrics *metrics;
}; /* all borrowed until worker_stop */

struct worker;

/* Starts the thread. */
bool worker_start(struct worker **out, const struct worker_options *options,
                  struct error *err) MUST_CHECK;

/* Restarts the leases of the batch at hand when a fifth of their time has gone. Call it often, from
 * one thread: whoever stores cannot look after them meanwhile. */
void worker_keep(struct worker *worker);

/* Asks it to stop and returns at once: so that several stop together. */
void worker_halt(struct worker *worker);

/* Finishes the batch at hand, gives back what is read ahead, confirms every settlement, ends the
 * thread. A batch that waits for an absent store is not waited for: it is delivered again. */
void worker_stop(struct worker *worker);
AUTO_DEFINE(struct worker *, worker_stop)

/* Is it able to store? err says what it waits for. */
bool worker_ready(struct worker *worker, struct error *err) MUST_CHECK;

#endif
