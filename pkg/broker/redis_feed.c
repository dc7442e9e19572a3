#include "broker/redis_feed.h"

#include "base/clock.h"

#include <stdlib.h>

void redis_feed_open(struct redis_feed *feed, const struct redis_broker *broker)
{
    feed->link = redis_link_new(broker->address, broker->base.options.name, NULL, NULL);
    pthread_mutex_init(&feed->lock, NULL);
    pthread_cond_init(&feed->stopped, NULL);
}

void redis_feed_start(struct redis_feed *feed, void *(*run)(void *), void *context)
{
    if (pthread_create(&feed->thread, NULL, run, context) != 0)
        abort(); /* as when there is no memory */
    feed->running = true;
}

void redis_feed_close(struct redis_feed *feed)
{
    pthread_mutex_lock(&feed->lock);
    feed->stopping = true;
    pthread_cond_signal(&feed->stopped);
    pthread_mutex_unlock(&feed->lock);
    if (feed->running) {
        redis_link_wake(feed->link);
        pthread_join(feed->thread, NULL);
    }
    redis_link_free(feed->link);
    pthread_cond_destroy(&feed->stopped);
    pthread_mutex_destroy(&feed->lock);
}

bool redis_feed_is_stopping(struct redis_feed *feed)
{
    pthread_mutex_lock(&feed->lock);
    bool stopping = feed->stopping;
    pthread_mutex_unlock(&feed->lock);
    return stopping;
}

void redis_feed_rest(struct redis_feed *feed, int ms)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + ms;

    pthread_mutex_lock(&feed->lock);
    while (!feed->stopping && clock_wait(&feed->stopped, &feed->lock, until_ms))
        continue;
    pthread_mutex_unlock(&feed->lock);
}
