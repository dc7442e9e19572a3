/*
 * worker: one thread that moves the events of one duty from the broker into the store, and to
 * whoever comes after.
 *
 * Fetch, decode, one transaction for each source, publish what follows, deliver, settle. What
 * cannot be decoded or is refused becomes a dead letter. While the store, the broker or the server
 * is away the worker holds its batch, whose leases worker_keep keeps alive, and fetches nothing: no
 * attempt is burned. When it is back the same batch goes on.
 *
 * Threads  each worker has its own thread, consumer, connection to the store and HTTP client; the
 *          functions here may be called from any other, worker_keep and worker_halt from the same.
 */
#ifndef PROCESSOR_WORKER_H
#define PROCESSOR_WORKER_H

#include "duty.h"
#include "processor.h"

#include "base/metrics.h"
#include "broker/broker.h"

struct worker_options {
    const struct duty *duty;
    const struct broker_group *group;
    struct broker *broker;
    const struct processor_settings *settings;
    struct metrics *metrics;
}; /* all borrowed until worker_stop */

struct worker;

/* Starts the thread. */
bool worker_start(struct worker **out, const struct worker_options *options,
                  struct error *err) MUST_CHECK;

/* Restarts the leases of the batch at hand when a fifth of their time has gone. Call it often, from
 * one thread: whoever stores cannot look after them meanwhile. */
void worker_keep(struct worker *worker);

/* As loop_halt: asks it to end, so that several end together. A batch that waits for something is
 * not waited for. */
void worker_halt(struct worker *worker);
void worker_stop(struct worker *worker);
AUTO_DEFINE(struct worker *, worker_stop)

/* Is it able to store? err says what it waits for. */
bool worker_ready(struct worker *worker, struct error *err) MUST_CHECK;

#endif
