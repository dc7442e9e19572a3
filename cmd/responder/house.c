#include "house.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "broker/dead_letter.h"
#include "resilience/backoff.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define TICK_MS 2000
#define TRIM_EVERY 3 /* ticks */
#define TIMEOUT_MS 1000

enum gauge { GAUGE_LAG, GAUGE_DEPTH, GAUGE_OLDEST, GAUGES };

struct house {
    struct house_options options;
    struct metrics_cell *gauges[GAUGES];
    _Atomic int64_t depth;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping, prepared; /* guarded by lock */
};

/* Waits up to wait_ms for *flag, or until it is asked to stop; returns the flag. */
static bool wait_for(struct house *house, const bool *flag, int64_t wait_ms)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + wait_ms;

    pthread_mutex_lock(&house->lock);
    while (!*flag && !house->stopping && clock_wait(&house->changed, &house->lock, until_ms))
        continue;
    bool result = *flag;
    pthread_mutex_unlock(&house->lock);
    return result;
}

bool house_prepared(struct house *house, int timeout_ms)
{
    return wait_for(house, &house->prepared, timeout_ms);
}

int64_t house_depth(const struct house *house)
{
    return house->depth;
}

/* ---- preparing ---- */

static void prepare(struct house *house)
{
    static const struct backoff backoff = {.first_ms = 100, .most_ms = 3000};
    const struct house_options *options = &house->options;
    struct error err;

    for (unsigned attempt = 1; !topology_declare(options->broker, options->topology, &err);
         attempt++) {
        if (attempt == 1)
            log_warning("waiting for the broker", log_text("error", err.message));
        if (wait_for(house, &house->stopping, backoff_ms(&backoff, attempt, id_random())))
            return;
    }
    pthread_mutex_lock(&house->lock);
    house->prepared = true;
    pthread_cond_broadcast(&house->changed);
    pthread_mutex_unlock(&house->lock);
}

/* ---- keeping ---- */

static bool look(struct house *house, struct error *err)
{
    const struct topic *topic = house->options.requests;
    struct broker_lag lag;

    if (!broker_lag(house->options.broker, topic->stream, topic->consumer, TIMEOUT_MS, &lag, err))
        return false; /* the gauges keep what was last known; broker_connected says why */
    house->depth = lag.unread + lag.in_flight;
    metrics_set(house->gauges[GAUGE_LAG], (double)house->depth);
    metrics_set(house->gauges[GAUGE_DEPTH], (double)house->depth);
    metrics_set(house->gauges[GAUGE_OLDEST], (double)lag.oldest_age_ms / 1000);
    return true;
}

static bool trim(struct house *house, struct error *err)
{
    return broker_trim(house->options.broker, house->options.requests->stream,
                       (int64_t)house->options.stream_keep_s * 1000, TIMEOUT_MS, err);
}

static void ignore(void *context, const struct broker_delivery *message)
{
    (void)context;
    (void)message;
}

/* Whether it is there: it may be a stream that nobody else looks after. */
static bool is_there(struct house *house, const char *stream, struct error *err)
{
    return broker_peek(house->options.broker, stream, "", 1, ignore, NULL, TIMEOUT_MS, err);
}

static bool keep(struct house *house, unsigned tick, struct error *err)
{
    return look(house, err) &&
           (tick % TRIM_EVERY != 0 ||
            (trim(house, err) && is_there(house, house->options.results->stream, err) &&
             is_there(house, DEAD_STREAM, err)));
}

/* What is gone is made again. */
static void mend(struct house *house, struct error *err)
{
    const struct house_options *options = &house->options;

    if (err->code == ERROR_NOT_FOUND)
        (void)!topology_declare(options->broker, options->topology, err);
    else
        log_debug("could not look after a stream", log_text("stream", options->requests->stream),
                  log_text("error", err->message));
}

static void *run(void *context)
{
    struct house *house = context;
    struct error err;

    prepare(house);
    for (unsigned tick = 0; !wait_for(house, &house->stopping, tick ? TICK_MS : 0); tick++)
        if (!keep(house, tick, &err))
            mend(house, &err);
    return NULL;
}

/* ---- life ---- */

static void add_metrics(struct house *house)
{
    static const struct metrics_description gauges[GAUGES] = {
        [GAUGE_LAG] = {.kind = METRICS_GAUGE,
                       .name = "broker_consumer_lag",
                       .help = "Messages not settled by the consumer",
                       .labels = {"stream", "consumer"}},
        [GAUGE_DEPTH] = {.kind = METRICS_GAUGE,
                         .name = "redis_stream_queue_depth",
                         .help = "The same under its legacy name",
                         .labels = {"stream", "consumer"}},
        [GAUGE_OLDEST] = {.kind = METRICS_GAUGE,
                          .name = "broker_consumer_oldest_seconds",
                          .help = "Age of the oldest message not settled",
                          .labels = {"stream", "consumer"}},
    };
    const struct topic *topic = house->options.requests;

    for (size_t i = 0; i < GAUGES; i++)
        house->gauges[i] = metrics_cell(metrics_family(house->options.metrics, &gauges[i]),
                                        (const char *[]){topic->stream, topic->consumer});
}

static void house_free(struct house *house)
{
    pthread_cond_destroy(&house->changed);
    pthread_mutex_destroy(&house->lock);
    free(house);
}

bool house_start(struct house **out, const struct house_options *options, struct error *err)
{
    struct house *house = memory_alloc(sizeof(*house));

    house->options = *options;
    pthread_mutex_init(&house->lock, NULL);
    pthread_cond_init(&house->changed, NULL);
    add_metrics(house);
    if (pthread_create(&house->thread, NULL, run, house) != 0) {
        house_free(house);
        return error_set(err, ERROR_INTERNAL, "start the house's thread");
    }
    *out = house;
    return true;
}

void house_halt(struct house *house)
{
    pthread_mutex_lock(&house->lock);
    house->stopping = true;
    pthread_cond_broadcast(&house->changed);
    pthread_mutex_unlock(&house->lock);
}

void house_stop(struct house *house)
{
    if (!house)
        return;
    house_halt(house);
    pthread_join(house->thread, NULL);
    house_free(house);
}
