/*
 * bulkhead: at most `limit` calls of one kind at once, so that a slow dependency takes its share of
 * a service and no more; at most `queue` callers wait for a place, and the rest is refused at once.
 *
 * It counts, and never waits: who waits, and how, is its owner's (a condition, a list of requests).
 * A place that becomes free goes to one who waits, the owner says to whom; a newcomer never
 * overtakes. Pure. Not thread-safe: its owner guards it.
 *
 *     switch (bulkhead_enter(&bulkhead)) {
 *     case BULKHEAD_ENTERED: start(call); break;     and at its end bulkhead_leave
 *     case BULKHEAD_WAITS:   append(waiting, call); break;
 *     case BULKHEAD_REFUSED: answer(call, 503); break;
 *     }
 *     ...
 *     if (bulkhead_leave(&bulkhead))                 one that waited has entered
 *         start(take_first(waiting));
 *
 * Source  Nygard, "Release It!", 2nd edition, chapter 5 (Bulkheads).
 */
#ifndef RESILIENCE_BULKHEAD_H
#define RESILIENCE_BULKHEAD_H

#include "base/macros.h"

#include <stdbool.h>
#include <stdint.h>

struct bulkhead {
    int limit; /* at once; 0 lets none in and lets none wait */
    int queue; /* may wait; 0: nobody waits */

    int inside, waiting;                /* to be read; a zeroed rest is an empty bulkhead */
    uint64_t entered, refused, gave_up; /* since the start, to be read */
};

enum bulkhead_verdict { BULKHEAD_ENTERED, BULKHEAD_WAITS, BULKHEAD_REFUSED };

enum bulkhead_verdict bulkhead_enter(struct bulkhead *bulkhead) MUST_CHECK;

/* By each that entered. True: one of those that wait has entered in its place, and is to be told.
 */
bool bulkhead_leave(struct bulkhead *bulkhead) MUST_CHECK;

/* By one that waits no longer and has not entered: its time is over, its client is gone. */
void bulkhead_give_up(struct bulkhead *bulkhead);

#endif
