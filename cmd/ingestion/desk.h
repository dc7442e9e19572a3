/*
 * desk: where requests wait for their replies, each until somebody takes it away.
 *
 * Whoever takes a waiter (with its reply, because its request failed, or the desk itself at its
 * deadline) answers it, and nobody else does. The desk has room for so many, and a breaker: five
 * whole deadlines in a row without any reply close it to all but a probe now and then.
 *
 * Ownership  A waiter is borrowed from being admitted to being taken.
 * Threads    any; deadlines are looked after by a thread of the desk's own, which calls `late`.
 */
#ifndef INGESTION_DESK_H
#define INGESTION_DESK_H

#include "waiting.h"

#include "base/error.h"
#include "resilience/breaker.h"

#include <pthread.h>

struct desk_options {
    size_t max;      /* who may wait */
    int64_t open_ms; /* of the breaker */
    void (*late)(struct waiter *waiter);
};

struct desk {
    struct desk_options options;
    pthread_t watch;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the first deadline */
    struct waiting waiting; /* guarded by lock, with what follows */
    struct breaker breaker;
    bool stopping;
};

void desk_start(struct desk *desk, const struct desk_options *options);

/* Ends the thread; then who is still there can be taken, one after the other. NULL: nobody. */
void desk_close(struct desk *desk);
struct waiter *desk_take_any(struct desk *desk);
void desk_stop(struct desk *desk); /* closed and empty */

/* FULL "too_many_waiting", or UNAVAILABLE "call_circuit_open". */
bool desk_admit(struct desk *desk, struct waiter *waiter, struct error *err) MUST_CHECK;

/* Takes one whose request came to nothing; false: somebody else has taken it. */
bool desk_take(struct desk *desk, struct waiter *waiter) MUST_CHECK;

/* Takes all who wait for this reply, joined by `next`. */
struct waiter *desk_take_replied(struct desk *desk, const struct id *id);

/* The waiter's request is a repeat. Takes all who wait under its id, when none of them is the first
 * to ask: no reply will come here. */
struct waiter *desk_take_repeats(struct desk *desk, struct waiter *waiter);

size_t desk_count(struct desk *desk);
bool desk_is_open(struct desk *desk);           /* the breaker is: nobody is admitted */
int64_t desk_retry_after_ms(struct desk *desk); /* 0: at once */

#endif
