/*
 * house: the thread that makes the streams and consumers, then trims the stream of requests and
 * looks how many wait in it.
 *
 * Threads  house_prepared and house_depth may be called from any thread.
 */
#ifndef RESPONDER_HOUSE_H
#define RESPONDER_HOUSE_H

#include "base/metrics.h"
#include "broker/broker.h"
#include "event/topic.h"
#include "topology.h"

struct house_options {
    struct broker *broker;
    const struct topology_settings *topology;
    const struct topic *requests, *results;
    int stream_keep_s; /* how long settled requests stay in their stream */
    struct metrics *metrics;
}; /* all borrowed until house_stop */

struct house;

bool house_start(struct house **out, const struct house_options *options,
                 struct error *err) MUST_CHECK;
void house_halt(struct house *house); /* asks it to stop; returns at once */
void house_stop(struct house *house);
AUTO_DEFINE(struct house *, house_stop)

/* Waits up to timeout_ms for the streams and consumers; whether they are there. */
bool house_prepared(struct house *house, int timeout_ms);

/* Requests that are not settled, as last known. */
int64_t house_depth(const struct house *house);

#endif
