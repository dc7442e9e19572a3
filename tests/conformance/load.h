/*
 * load: a publisher and a consumer at work, each in a thread, whatever happens to the broker
 * meanwhile. Messages are numbered from 1; id and text are the number.
 *
 * Errors  are what it expects: the consumer goes on until everything was seen, the publisher until
 *         one message has waited too long.
 */
#ifndef TESTS_CONFORMANCE_LOAD_H
#define TESTS_CONFORMANCE_LOAD_H

#include "conformance/stage.h"

#include <pthread.h>
#include <stdatomic.h>

#define LOAD_MAX 50000
#define LOAD_SEEN_MS 60000 /* for what was published to be seen, after the latest that was */

struct load {
    struct stage *stage;              /* borrowed */
    struct broker_consumer *consumer; /* the stage's group's; the fetching thread's until it ends */
    int count;                        /* messages to publish; LOAD_MAX: until load_finish */
    int publish_ms; /* timeout of one publish; it is tried again for patience_ms */
    int patience_ms;

    atomic_int published, unique;
    atomic_bool enough, published_all, stop, failed;
    int seen[LOAD_MAX + 1]; /* the fetching thread's until it is joined */
    pthread_t publisher, fetcher;
};

/* Opens a consumer for the stage's group and starts both. */
void load_start(struct load *load, struct stage *stage);
void load_start_fetching(struct load *load); /* a new consumer, after load_stop_fetching */
void load_stop_fetching(struct load *load);  /* now; the consumer stays open */

/* Fails the case unless so many were published within timeout_ms. */
void load_await(const struct load *load, int number, int64_t timeout_ms);

/*
 * Ends the publishing (with count messages when there is a count), waits until all of it was seen,
 * and fails the case when a publish failed or a message was not seen.
 */
void load_finish(struct load *load);

#endif
