/*
 * crew: the workers that send events, each with a connection and a short queue.
 *
 * Events with the same order go to the same worker, which has one request on its way at a time: an
 * event of a plate is not sent before the one before it has been answered or given up. A full queue
 * makes the one who gives wait.
 *
 * Threads  One thread gives, finishes and frees.
 * Units    milliseconds.
 */
#ifndef SIMULATOR_CREW_H
#define SIMULATOR_CREW_H

#include "delivery.h"

struct crew;

/* The options' pause and context are the crew's own. */
bool crew_start(struct crew **out, int workers, const struct delivery_options *options,
                struct error *err) MUST_CHECK;

/* False: the queue is still full after timeout_ms. */
bool crew_give(struct crew *crew, const struct traffic_event *event, int timeout_ms) MUST_CHECK;

/* Nothing is given any more. What was given is sent, or (discard) only what was begun. */
void crew_finish(struct crew *crew, bool discard);

/* All have finished. Waits up to timeout_ms for it. */
bool crew_is_done(struct crew *crew, int timeout_ms);

/* Ends what is on its way, as failed. */
void crew_halt(struct crew *crew);

/* Waits for the workers, which have finished or been halted. */
void crew_stop(struct crew *crew);
AUTO_DEFINE(struct crew *, crew_stop)

#endif
