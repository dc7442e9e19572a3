#include "query_pool.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>

struct worker {
    pthread_t thread;
    bool started;
    struct query_pool *pool;
    struct store *store;
};

struct query_pool {
    size_t queue_max;
    struct metrics_cell *waiting, *busy, *refused, *expired;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct query_job *queue; /* guarded by lock, a ring of queue_max */
    size_t first, count;     /* guarded by lock */
    bool stopping;           /* guarded by lock */
    int64_t give_up_ms;      /* guarded by lock; steady; when stopping */
    size_t ended;            /* guarded by lock; of the started workers */
    size_t started_count;
    size_t worker_count;
    struct worker workers[];
};

static struct metrics_cell *cell(struct metrics *metrics, enum metrics_kind kind, const char *name,
                                 const char *help)
{
    struct metrics_description description = {.kind = kind, .name = name, .help = help};

    return metrics_cell(metrics_family(metrics, &description), NULL);
}

enum taken { TAKEN, TAKEN_TOO_LATE, NONE_YET, NONE_LEFT };

static enum taken take(struct query_pool *pool, struct query_job *out)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + 1000;
    enum taken taken;

    pthread_mutex_lock(&pool->lock);
    while (pool->count == 0 && !pool->stopping && clock_wait(&pool->changed, &pool->lock, until_ms))
        continue;
    if (pool->count == 0) {
        taken = pool->stopping ? NONE_LEFT : NONE_YET;
    } else {
        bool late = pool->stopping && clock_steady_ms(clock_system()) >= pool->give_up_ms;
        taken = late ? TAKEN_TOO_LATE : TAKEN;
        *out = pool->queue[pool->first];
        pool->first = (pool->first + 1) % pool->queue_max;
        pool->count--;
        metrics_add(pool->waiting, -1);
    }
    pthread_mutex_unlock(&pool->lock);
    return taken;
}

/* What a client is told, as far as it is none of its own doing. */
static const char *const told[ERROR_CODES] = {
    [ERROR_FULL] = "too much is asked at once",
    [ERROR_TIMEOUT] = "the answer was not found in time",
    [ERROR_UNAVAILABLE] = "what the answer needs is away",
    [ERROR_UNKNOWN] = "what the answer needs is away",
    [ERROR_CLOSED] = "the service is stopping",
};

static void reply_failure(struct http_exchange *exchange, const struct error *cause)
{
    struct error err = *cause;

    if (cause->code != ERROR_NOT_FOUND && told[cause->code] != NULL) {
        (void)error_set(&err, cause->code, "%s", told[cause->code]);
    } else if (cause->code != ERROR_NOT_FOUND) {
        log_error("a query failed", log_text("path", http_route_of(exchange)->path),
                  log_text("error", cause->message));
        (void)error_set(&err, ERROR_INTERNAL, "the service failed");
    }
    http_problem(exchange, &err);
}

static void run(struct worker *worker, const struct query_job *job)
{
    AUTO(buffer_free) struct buffer body = {0};
    struct error err;

    metrics_add(worker->pool->busy, 1);
    bool answered = job->work(job->context, job->exchange, worker->store, &body, &err);
    metrics_add(worker->pool->busy, -1);
    if (answered)
        http_reply_buffer(job->exchange, 200, HTTP_JSON, &body);
    else
        reply_failure(job->exchange, &err);
}

static void answer(struct worker *worker, const struct query_job *job, enum taken taken)
{
    struct error err;

    if (taken == TAKEN_TOO_LATE) {
        (void)error_set(&err, ERROR_CLOSED, "the service is stopping");
        http_problem(job->exchange, &err);
    } else if (http_remaining_ms(job->exchange) == 0) {
        metrics_add(worker->pool->expired, 1);
        (void)error_set(&err, ERROR_TIMEOUT, "the query waited too long for its turn");
        http_problem(job->exchange, &err);
    } else {
        run(worker, job);
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct query_pool *pool = worker->pool;
    struct query_job job;
    enum taken taken;

    while ((taken = take(pool, &job)) != NONE_LEFT)
        if (taken != NONE_YET)
            answer(worker, &job, taken);
    pthread_mutex_lock(&pool->lock);
    pool->ended++;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static bool start_workers(struct query_pool *pool, const struct query_pool_options *options,
                          struct error *err)
{
    const struct store_options store = {.name = "millrace api", .timeout_ms = options->timeout_ms};

    for (size_t i = 0; i < pool->worker_count; i++) {
        struct worker *worker = &pool->workers[i];

        worker->pool = pool;
        if (options->database_url &&
            !store_open(&worker->store, options->database_url, &store, err))
            return false;
        worker->started = pthread_create(&worker->thread, NULL, work, worker) == 0;
        if (!worker->started)
            return error_set(err, ERROR_INTERNAL, "cannot start a query thread");
        pool->started_count++;
    }
    return true;
}

bool query_pool_start(struct query_pool **out, const struct query_pool_options *options,
                      struct error *err)
{
    struct query_pool *pool =
        memory_alloc(sizeof(*pool) + (size_t)options->threads * sizeof(pool->workers[0]));
    struct metrics *metrics = options->metrics;

    pool->queue_max = (size_t)options->queue_max;
    pool->queue = memory_alloc(pool->queue_max * sizeof(pool->queue[0]));
    pool->waiting =
        cell(metrics, METRICS_GAUGE, "query_pool_waiting", "Queries that wait for a thread.");
    pool->busy =
        cell(metrics, METRICS_GAUGE, "query_pool_busy", "Queries that are being answered.");
    pool->refused = cell(metrics, METRICS_COUNTER, "query_pool_refused_total",
                         "Queries refused because too many waited.");
    pool->expired = cell(metrics, METRICS_COUNTER, "query_pool_expired_total",
                         "Queries whose deadline passed while they waited.");
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->changed, NULL);
    pool->worker_count = (size_t)options->threads;
    *out = pool;
    if (start_workers(pool, options, err))
        return true;
    query_pool_free(pool);
    *out = NULL;
    return false;
}

bool query_pool_submit(struct query_pool *pool, const struct query_job *job, struct error *err)
{
    pthread_mutex_lock(&pool->lock);
    bool stopping = pool->stopping;
    bool room = pool->count < pool->queue_max && !stopping;
    if (room) {
        pool->queue[(pool->first + pool->count++) % pool->queue_max] = *job;
        metrics_add(pool->waiting, 1);
        pthread_cond_signal(&pool->changed);
    }
    pthread_mutex_unlock(&pool->lock);

    if (stopping)
        return error_set(err, ERROR_CLOSED, "the service is stopping");
    if (!room) {
        metrics_add(pool->refused, 1);
        return error_set(err, ERROR_FULL, "too many queries are waiting");
    }
    return true;
}

void query_pool_stop(struct query_pool *pool, int drain_ms)
{
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pool->give_up_ms = clock_steady_ms(clock_system()) + drain_ms;
    pthread_cond_broadcast(&pool->changed);
    while (pool->ended < pool->started_count &&
           clock_wait(&pool->changed, &pool->lock, pool->give_up_ms))
        continue;
    pthread_mutex_unlock(&pool->lock);

    for (size_t i = 0; i < pool->worker_count; i++) {
        if (pool->workers[i].store)
            store_interrupt(pool->workers[i].store);
        if (pool->workers[i].started)
            pthread_join(pool->workers[i].thread, NULL);
        pool->workers[i].started = false;
    }
}

void query_pool_free(struct query_pool *pool)
{
    if (pool == NULL)
        return;
    query_pool_stop(pool, 0);
    for (size_t i = 0; i < pool->worker_count; i++)
        store_close(pool->workers[i].store);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool->queue);
    free(pool);
}
