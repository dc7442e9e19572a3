#include "keeper.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "broker/dead_letter.h"
#include "resilience/backoff.h"

#include <pthread.h>
#include <stdlib.h>

#define TICK_MS 1000
#define TRIM_EVERY_MS 5000
#define MAINTAIN_EVERY_MS 60000
#define BROKER_TIMEOUT_MS 1000
#define STORE_TIMEOUT_MS 2000

struct keeper {
    struct keeper_options options;
    struct store *store;
    struct occupancy **occupancies; /* of the duties, at the same index; NULL: none */
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping, prepared; /* guarded by lock */
    struct error trouble;    /* guarded by lock: ERROR_NONE while the store answers */
};

/* ---- waiting ---- */

/* Waits up to wait_ms for *flag; returns it. */
static bool wait_for(struct keeper *keeper, const bool *flag, int64_t wait_ms)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + wait_ms;

    pthread_mutex_lock(&keeper->lock);
    while (!*flag && !keeper->stopping && clock_wait(&keeper->changed, &keeper->lock, until_ms))
        continue;
    bool result = *flag;
    pthread_mutex_unlock(&keeper->lock);
    return result;
}

bool keeper_prepared(struct keeper *keeper, int timeout_ms)
{
    return wait_for(keeper, &keeper->prepared, timeout_ms);
}

bool keeper_check(struct keeper *keeper, struct error *err)
{
    pthread_mutex_lock(&keeper->lock);
    bool well = keeper->prepared && keeper->trouble.code == ERROR_NONE;
    if (!well && keeper->trouble.code != ERROR_NONE)
        *err = keeper->trouble;
    else if (!well)
        error_set(err, ERROR_UNAVAILABLE, "being prepared");
    pthread_mutex_unlock(&keeper->lock);
    return well;
}

/* Remembers how things stand and tells a change once. */
static void tell(struct keeper *keeper, const struct error *trouble)
{
    pthread_mutex_lock(&keeper->lock);
    bool changed = keeper->trouble.code != trouble->code;
    keeper->trouble = *trouble;
    pthread_mutex_unlock(&keeper->lock);

    if (changed && trouble->code != ERROR_NONE)
        log_warning("waiting", log_text("error", trouble->message));
    else if (changed)
        log_info("the store and the broker answer");
}

/* ---- preparing ---- */

static bool maintain_table(struct keeper *keeper, const struct store_table *table,
                           struct error *err)
{
    int64_t now_ms = clock_wall_ms(clock_system());
    int dropped = 0;

    if (!store_maintain(keeper->store, table, now_ms, keeper->options.retention_days, &dropped,
                        err))
        return false;
    if (dropped)
        log_info("dropped partitions past their retention", log_text("table", table->name),
                 log_int("partitions", dropped));
    return true;
}

static bool maintain(struct keeper *keeper, struct error *err)
{
    for (size_t i = 0; i < keeper->options.duty_count; i++) {
        const struct duty *duty = keeper->options.duties[i];

        for (size_t n = 0; n < duty_source_count(duty); n++)
            if (!maintain_table(keeper, duty->sources[n].table, err))
                return false;
    }
    return true;
}

static bool prepare(struct keeper *keeper, struct error *err)
{
    int applied = 0;

    if (!(store_migrate(keeper->store, &applied, err) && maintain(keeper, err) &&
          topology_declare(keeper->options.broker, keeper->options.topology, err)))
        return false;
    if (applied)
        log_info("applied migrations", log_int("count", applied));
    return true;
}

static void prepare_until_done(struct keeper *keeper)
{
    static const struct backoff backoff = {.first_ms = 100, .most_ms = 3000};
    static const struct error none = {0};
    struct error err;

    for (unsigned attempt = 1; !prepare(keeper, &err); attempt++) {
        tell(keeper, &err);
        if (wait_for(keeper, &keeper->stopping, backoff_ms(&backoff, attempt, id_random())))
            return;
    }
    tell(keeper, &none);
    pthread_mutex_lock(&keeper->lock);
    keeper->prepared = true;
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->lock);
}

/* ---- keeping ---- */

static bool show_lag(struct keeper *keeper, const struct topic *topic, struct error *err)
{
    static const struct metrics_description gauges[] = {
        {METRICS_GAUGE,
         "broker_consumer_lag",
         "Messages not settled by the consumer",
         {"stream", "consumer"},
         NULL,
         0},
        {METRICS_GAUGE,
         "redis_stream_queue_depth",
         "The same under its legacy name",
         {"stream", "consumer"},
         NULL,
         0},
        {METRICS_GAUGE,
         "broker_consumer_oldest_seconds",
         "Age of the oldest message not settled",
         {"stream", "consumer"},
         NULL,
         0},
    };
    const char *labels[] = {topic->stream, topic->consumer};
    struct broker_lag lag;

    if (!broker_lag(keeper->options.broker, topic->stream, topic->consumer, BROKER_TIMEOUT_MS, &lag,
                    err))
        return false; /* the gauges keep what was last known; broker_connected says why */

    double outstanding = (double)(lag.unread + lag.in_flight); /* which holds the delayed ones */
    double values[] = {outstanding, outstanding, (double)lag.oldest_age_ms / 1000};
    for (size_t i = 0; i < ARRAY_LEN(gauges); i++)
        metrics_set(metrics_cell(metrics_family(keeper->options.metrics, &gauges[i]), labels),
                    values[i]);
    return true;
}

static bool is_stopping(struct keeper *keeper)
{
    return wait_for(keeper, &keeper->stopping, 0);
}

static bool look_after(struct keeper *keeper, const struct topic *topic, struct error *err)
{
    int64_t keep_ms = (int64_t)keeper->options.stream_keep_s * 1000;

    return broker_trim(keeper->options.broker, topic->stream, keep_ms, BROKER_TIMEOUT_MS, err) &&
           (is_stopping(keeper) || show_lag(keeper, topic, err));
}

static void ignore(void *context, const struct broker_delivery *letter)
{
    (void)context;
    (void)letter;
}

static bool is_there(struct keeper *keeper, const char *stream, struct error *err)
{
    return broker_peek(keeper->options.broker, stream, "", 1, ignore, NULL, BROKER_TIMEOUT_MS, err);
}

/* What is gone is made again. */
static void mend(struct keeper *keeper, const char *stream, struct error *err)
{
    if (err->code == ERROR_NOT_FOUND)
        (void)!topology_declare(keeper->options.broker, keeper->options.topology, err);
    else
        log_debug("could not look after a stream", log_text("stream", stream),
                  log_text("error", err->message));
}

/* Nobody who consumes them looks after these: the events that follow go there, and what cannot be
 * stored, which without it is delivered again and again. */
static void look_for(struct keeper *keeper, const char *stream)
{
    struct error err;

    if (!is_stopping(keeper) && !is_there(keeper, stream, &err))
        mend(keeper, stream, &err);
}

/* A stream that cannot be trimmed now is trimmed next time. */
static void trim(struct keeper *keeper)
{
    struct error err;

    for (size_t i = 0; i < keeper->options.duty_count && !is_stopping(keeper); i++) {
        const struct duty *duty = keeper->options.duties[i];
        const struct topic *topic = duty_topic(duty, 0);

        if (!look_after(keeper, topic, &err))
            mend(keeper, topic->stream, &err);
        if (duty->emits)
            look_for(keeper, topic_find(duty->emits->topic)->stream);
    }
    look_for(keeper, DEAD_STREAM);
}

static bool count_all(struct keeper *keeper, struct error *err)
{
    for (size_t i = 0; i < keeper->options.duty_count; i++)
        if (keeper->occupancies[i] && !is_stopping(keeper) &&
            !occupancy_read(keeper->occupancies[i], keeper->store, err))
            return false;
    return true;
}

static bool is_due(int64_t *last_ms, int64_t every_ms)
{
    int64_t now_ms = clock_steady_ms(clock_system());

    if (now_ms - *last_ms < every_ms)
        return false;
    *last_ms = now_ms;
    return true;
}

static void *run(void *context)
{
    struct keeper *keeper = context;
    int64_t maintained_ms = clock_steady_ms(clock_system()), trimmed_ms = 0;

    prepare_until_done(keeper);
    while (!wait_for(keeper, &keeper->stopping, TICK_MS)) {
        struct error err = {0};

        if (store_ping(keeper->store, &err) && is_due(&maintained_ms, MAINTAIN_EVERY_MS) &&
            !maintain(keeper, &err))
            log_warning("could not keep the partitions", log_text("error", err.message));
        tell(keeper, &err);
        if (is_due(&trimmed_ms, TRIM_EVERY_MS)) {
            trim(keeper);
            if (err.code == ERROR_NONE && !count_all(keeper, &err))
                log_debug("could not count what is in the store", log_text("error", err.message));
        }
    }
    return NULL;
}

static void add_occupancies(struct keeper *keeper)
{
    const struct keeper_options *options = &keeper->options;

    /* It lists pointers. NOLINTNEXTLINE(bugprone-sizeof-expression) */
    keeper->occupancies = memory_alloc(options->duty_count * sizeof(*keeper->occupancies));
    for (size_t i = 0; i < options->duty_count; i++)
        if (options->duties[i]->shows)
            keeper->occupancies[i] = occupancy_new(options->duties[i]->shows, options->metrics);
}

static void keeper_free(struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->options.duty_count; i++)
        occupancy_free(keeper->occupancies[i]);
    free(keeper->occupancies);
    store_close(keeper->store);
    pthread_cond_destroy(&keeper->changed);
    pthread_mutex_destroy(&keeper->lock);
    free(keeper);
}

bool keeper_start(struct keeper **out, const struct keeper_options *options, struct error *err)
{
    struct store_options store = {.name = "millrace processor keeper",
                                  .timeout_ms = STORE_TIMEOUT_MS};
    struct keeper *keeper = memory_alloc(sizeof(*keeper));
    keeper->options = *options;
    add_occupancies(keeper);
    pthread_mutex_init(&keeper->lock, NULL);
    pthread_cond_init(&keeper->changed, NULL);

    if (!store_open(&keeper->store, options->database_url, &store, err)) {
        keeper_free(keeper);
        return false;
    }
    if (pthread_create(&keeper->thread, NULL, run, keeper) != 0) {
        keeper_free(keeper);
        return error_set(err, ERROR_INTERNAL, "start the keeper's thread");
    }
    *out = keeper;
    return true;
}

void keeper_halt(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    keeper->stopping = true;
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->lock);
    store_interrupt(keeper->store); /* a migration may take minutes, and is taken up again */
}

void keeper_stop(struct keeper *keeper)
{
    if (!keeper)
        return;
    keeper_halt(keeper);
    pthread_join(keeper->thread, NULL);
    keeper_free(keeper);
}
