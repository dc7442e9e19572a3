/*
 * terminal: one of the few places at which requests are worked on, one at a time.
 *
 * Work on a request: ask the provider (EXPIRED when its deadline is over before), publish the
 * result, wait until it is stored, announce it where the request says, settle. A repetition gives
 * the result the same id, so that it is stored once. While the broker is away the result is held.
 * What is no request becomes a dead letter.
 *
 * Threads  as those of loop.h; terminal_interrupt may be called from any.
 */
#ifndef RESPONDER_TERMINAL_H
#define RESPONDER_TERMINAL_H

#include "provider.h"

#include "base/metrics.h"
#include "broker/broker.h"
#include "event/topic.h"

struct terminal_options {
    struct broker *broker;
    const struct broker_group *group;
    const struct topic *requests, *results;
    struct providers *providers;
    struct metrics *metrics;
}; /* all borrowed until terminal_stop */

struct terminal;

bool terminal_start(struct terminal **out, const struct terminal_options *options,
                    struct error *err) MUST_CHECK;
void terminal_keep(struct terminal *terminal); /* as loop_keep */
void terminal_halt(struct terminal *terminal); /* as loop_halt: what is started goes on */

/* Ends a call that runs; its request is delivered again. */
void terminal_interrupt(struct terminal *terminal);
void terminal_stop(struct terminal *terminal);
AUTO_DEFINE(struct terminal *, terminal_stop)

bool terminal_ready(struct terminal *terminal, struct error *err) MUST_CHECK;

/* The gauge of requests that are being worked on. */
struct metrics_cell *terminal_active(struct metrics *metrics);

#endif
