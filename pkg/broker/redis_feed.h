/*
 * redis_feed: a link that a thread of its own reads, until it is told to stop.
 *
 * Threads  open, start and close are for the owner's; the rest, once the feed runs, for its own.
 */
#ifndef BROKER_REDIS_FEED_H
#define BROKER_REDIS_FEED_H

#include "broker/redis_driver.h"

struct redis_feed {
    struct redis_link *link;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t stopped;
    bool stopping; /* guarded by lock */
};

void redis_feed_open(struct redis_feed *feed, const struct redis_broker *broker);
void redis_feed_start(struct redis_feed *feed, void *(*run)(void *), void *context);
void redis_feed_close(struct redis_feed *feed); /* ends the thread, and then the link */

bool redis_feed_is_stopping(struct redis_feed *feed);
void redis_feed_rest(struct redis_feed *feed, int ms); /* or until it is stopped */

#endif
