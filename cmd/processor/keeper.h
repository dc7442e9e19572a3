/*
 * keeper: the thread that prepares the store and the streams, and then keeps house.
 *
 * Prepares: migrations, today's partitions, streams and consumers; whatever is away is tried again.
 * Keeps: partitions and retention every minute, trimming, lag and occupancy every few seconds.
 * Several processors may keep the same house.
 *
 * Threads  keeper_prepared and keeper_check may be called from any thread.
 */
#ifndef PROCESSOR_KEEPER_H
#define PROCESSOR_KEEPER_H

#include "duty.h"
#include "topology.h"

#include "base/metrics.h"
#include "broker/broker.h"

struct keeper_options {
    struct broker *broker;
    const char *database_url;
    const struct duty *const *duties; /* that are served */
    size_t duty_count;
    const struct topology_settings *topology;
    int retention_days, stream_keep_s;
    struct metrics *metrics;
}; /* all borrowed until keeper_stop */

struct keeper;

bool keeper_start(struct keeper **out, const struct keeper_options *options,
                  struct error *err) MUST_CHECK;
void keeper_halt(struct keeper *keeper); /* asks it to stop; returns at once */
void keeper_stop(struct keeper *keeper);
AUTO_DEFINE(struct keeper *, keeper_stop)

/* Waits up to timeout_ms for the preparations; whether they are done. */
bool keeper_prepared(struct keeper *keeper, int timeout_ms);

/* Whether the store answers now, or why not. */
bool keeper_check(struct keeper *keeper, struct error *err) MUST_CHECK;

#endif
