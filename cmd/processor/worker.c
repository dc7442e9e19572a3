#include "worker.h"

#include "batch.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "resilience/backoff.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define FETCH_MS 500
#define FETCH_BYTES ((size_t)1024 * 1024) /* about 5,000 rows */
#define SETTLE_MS 2000
#define BURY_MS 2000
#define DRAIN_MS 1500
#define RETRY_MS 5000 /* for a batch whose dead letters could not be stored */
#define STORE_TIMEOUT_MS 3000

static const struct backoff store_backoff = {.first_ms = 50, .most_ms = 1000};
static const struct backoff broker_backoff = {.first_ms = 100, .most_ms = 2000};

struct worker {
    struct worker_options options;
    struct broker_consumer *consumer;
    struct store *store;
    struct batch batch;
    struct broker_verdict *verdicts;
    size_t verdict_capacity;
    struct metrics_cell *rows, *duplicates, *refused, *batch_rows, *latency, *circuit;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;        /* guarded by lock */
    int64_t leased_ms;    /* guarded by lock: steady; when the leases of the batch began */
    struct error trouble; /* guarded by lock: ERROR_NONE while all is well */
};

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* ---- state that others see ---- */

static bool is_stopping(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    bool stopping = worker->stopping;
    pthread_mutex_unlock(&worker->lock);
    return stopping;
}

/* Waits; false when it was asked to stop meanwhile. */
static bool wait_unless_stopping(struct worker *worker, int64_t wait_ms)
{
    int64_t until_ms = now_ms() + wait_ms;

    pthread_mutex_lock(&worker->lock);
    while (!worker->stopping && clock_wait(&worker->wake, &worker->lock, until_ms))
        continue;
    bool stopping = worker->stopping;
    pthread_mutex_unlock(&worker->lock);
    return !stopping;
}

/* Tells each trouble once, and its end. */
static void tell(struct worker *worker, const struct error *trouble, const char *message)
{
    pthread_mutex_lock(&worker->lock);
    bool changed = worker->trouble.code != trouble->code;
    worker->trouble = *trouble;
    pthread_mutex_unlock(&worker->lock);

    metrics_set(worker->circuit, trouble->code == ERROR_NONE);
    if (!changed)
        return;
    if (trouble->code == ERROR_NONE)
        log_info("the worker goes on", log_text("topic", worker->options.topic->name));
    else
        log_warning(message, log_text("topic", worker->options.topic->name),
                    log_text("error", trouble->message));
}

static void tell_well(struct worker *worker)
{
    static const struct error none = {0};

    tell(worker, &none, "");
}

bool worker_ready(struct worker *worker, struct error *err)
{
    pthread_mutex_lock(&worker->lock);
    bool ready = worker->trouble.code == ERROR_NONE;
    if (!ready)
        *err = worker->trouble;
    pthread_mutex_unlock(&worker->lock);
    return ready;
}

/* ---- storing ---- */

/* The most that one wait takes: a statement, a pause and a ping together end well before a lease.
 */
static int64_t patience_ms(const struct worker_options *options)
{
    int64_t fifth_ms = options->group->ack_wait_ms / 5;

    return fifth_ms < STORE_TIMEOUT_MS ? fifth_ms : STORE_TIMEOUT_MS;
}

static void set_leased(struct worker *worker, int64_t leased_ms)
{
    pthread_mutex_lock(&worker->lock);
    worker->leased_ms = leased_ms;
    pthread_mutex_unlock(&worker->lock);
}

void worker_keep(struct worker *worker)
{
    int64_t started_ms = now_ms();
    struct error ignored; /* what is not extended is delivered twice, and stored once */

    pthread_mutex_lock(&worker->lock);
    bool due = started_ms - worker->leased_ms >= patience_ms(&worker->options);
    pthread_mutex_unlock(&worker->lock);
    if (due && broker_extend(worker->consumer, &ignored))
        set_leased(worker, started_ms);
}

static int64_t pause_ms(const struct worker *worker, unsigned attempt)
{
    int64_t wait_ms = backoff_ms(&store_backoff, attempt, id_random());
    int64_t most_ms = patience_ms(&worker->options);

    return wait_ms < most_ms ? wait_ms : most_ms;
}

/* Holds the batch until the store answers; false when it was asked to stop meanwhile. */
static bool wait_for_store(struct worker *worker, const struct error *why, unsigned failures)
{
    struct error err = *why;

    for (unsigned attempt = failures;; attempt++) {
        tell(worker, &err, "the store is away: fetching pauses");
        if (!wait_unless_stopping(worker, pause_ms(worker, attempt)))
            return false;
        if (store_ping(worker->store, &err))
            return true;
    }
}

static void count_stored(struct worker *worker, const struct store_row *rows, size_t count,
                         size_t inserted)
{
    int64_t committed_ms = clock_wall_ms(clock_system());
    size_t time_offset = worker->options.topic->time_offset;

    metrics_add(worker->rows, (double)inserted);
    metrics_add(worker->duplicates, (double)(count - inserted));
    metrics_observe(worker->batch_rows, (double)count);
    for (size_t i = 0; i < count; i++) {
        const int64_t *time_ms = (const void *)((const char *)rows[i].event + time_offset);
        metrics_observe(worker->latency, (double)(committed_ms - *time_ms) / 1000);
    }
}

/* Stores the rows; what the store refuses is found by halving and becomes a dead part. False when
 * it was asked to stop before everything was stored. */
static bool store_rows(struct worker *worker, size_t first, size_t count)
{
    const struct store_row *rows = worker->batch.rows + first;
    struct error err;
    size_t inserted;

    for (unsigned failures = 1;
         !store_insert(worker->store, worker->options.table, rows, count, &inserted, &err);
         failures++) {
        if (err.code == ERROR_INVALID && count == 1) {
            batch_refuse(&worker->batch, first, &err);
            return true;
        }
        if (err.code == ERROR_INVALID)
            return store_rows(worker, first, count / 2) &&
                   store_rows(worker, first + count / 2, count - count / 2);
        if (!wait_for_store(worker, &err, failures))
            return false;
    }
    tell_well(worker);
    count_stored(worker, rows, count, inserted);
    return true;
}

/* ---- settling ---- */

/* Everything is done, but for messages whose dead letters could not be stored. */
static const struct broker_verdict *verdicts_of(struct worker *worker, size_t count, bool buried)
{
    const struct batch *batch = &worker->batch;

    if (count > worker->verdict_capacity) {
        worker->verdicts = memory_resize(worker->verdicts, count * sizeof(*worker->verdicts));
        worker->verdict_capacity = count;
    }
    for (size_t i = 0; i < count; i++)
        worker->verdicts[i] = (struct broker_verdict){.action = BROKER_DONE};
    for (size_t i = 0; !buried && i < batch->part_count; i++)
        worker->verdicts[batch->parts[i].delivery] =
            (struct broker_verdict){.action = BROKER_RETRY, .delay_ms = RETRY_MS};
    return worker->verdicts;
}

static bool bury(struct worker *worker, struct error *err)
{
    const struct batch *batch = &worker->batch;

    if (!batch->part_count)
        return true;
    if (!dead_letter_bury(worker->consumer, batch->parts, batch->part_count, BURY_MS, err))
        return false;
    metrics_add(worker->refused, (double)batch->part_count);
    return true;
}

static void tell_parts(const struct worker *worker)
{
    const struct batch *batch = &worker->batch;

    log_warning("events became dead letters", log_text("topic", worker->options.topic->name),
                log_int("count", (int64_t)batch->part_count),
                log_text("reason", batch->parts[0].reason),
                log_text("error", batch->parts[0].error));
}

static bool work(struct worker *worker, const struct broker_batch *deliveries, struct error *err)
{
    struct batch *batch = &worker->batch;
    struct error not_buried;

    set_leased(worker, now_ms());
    batch_reset(batch);
    batch_decode(batch, worker->options.topic, deliveries);
    if (batch->row_count && !store_rows(worker, 0, batch->row_count))
        return true; /* asked to stop: what is not settled is delivered again */

    bool buried = bury(worker, &not_buried);
    if (!buried && is_stopping(worker))
        return true;
    if (!buried)
        log_warning("could not store dead letters: their messages are retried",
                    log_text("topic", worker->options.topic->name),
                    log_text("error", not_buried.message));
    else if (batch->part_count)
        tell_parts(worker);
    return broker_settle(worker->consumer, verdicts_of(worker, deliveries->count, buried),
                         deliveries->count, SETTLE_MS, err);
}

/* ---- the thread ---- */

static bool is_connected(const struct worker *worker)
{
    struct broker_stats stats;

    broker_stats(worker->options.broker, &stats);
    return stats.connected;
}

static bool fetch_and_work(struct worker *worker, struct error *err)
{
    struct broker_batch deliveries;

    return broker_fetch(worker->consumer, worker->options.batch_messages, FETCH_BYTES, FETCH_MS,
                        &deliveries, err) &&
           (deliveries.count == 0 || work(worker, &deliveries, err));
}

static void *run(void *context)
{
    struct worker *worker = context;
    struct error err;

    for (unsigned failures = 0; !is_stopping(worker);) {
        if (!fetch_and_work(worker, &err)) {
            tell(worker, &err, "the broker is away");
            failures++;
            wait_unless_stopping(worker, backoff_ms(&broker_backoff, failures, id_random()));
        } else if (failures && is_connected(worker)) { /* an absent one has empty batches too */
            tell_well(worker);
            failures = 0;
        }
    }
    if (!broker_drain_consumer(worker->consumer, DRAIN_MS, &err))
        log_warning("not everything could be given back: it is delivered again",
                    log_text("topic", worker->options.topic->name), log_text("error", err.message));
    return NULL;
}

static const double ROWS[] = {1, 5, 10, 50, 100, 500, 1000, 2000, 5000, 10000};

static struct metrics_cell *topic_cell(const struct worker_options *options,
                                       const struct metrics_description *description)
{
    return metrics_cell(metrics_family(options->metrics, description),
                        (const char *[]){options->topic->name});
}

static void add_metrics(struct worker *worker)
{
    static const struct metrics_description rows = {
        METRICS_COUNTER, "store_rows_total", "Events stored", {"topic"}, NULL, 0};
    static const struct metrics_description duplicates = {METRICS_COUNTER,
                                                          "store_duplicate_rows_total",
                                                          "Events that were stored before",
                                                          {"topic"},
                                                          NULL,
                                                          0};
    static const struct metrics_description refused = {METRICS_COUNTER,
                                                       "processor_refused_events_total",
                                                       "Events that became dead letters",
                                                       {"topic"},
                                                       NULL,
                                                       0};
    static const struct metrics_description batch_rows = {
        METRICS_HISTOGRAM, "store_batch_rows", "Events in one transaction", {"topic"}, ROWS,
        ARRAY_LEN(ROWS)};
    static const struct metrics_description circuit = {
        METRICS_GAUGE,
        "store_circuit_state",
        "1 while events can be stored, 0 while fetching pauses",
        {"topic"},
        NULL,
        0};
    const struct metrics_description latency = {
        METRICS_HISTOGRAM, "event_latency_seconds", "From an event's time to its commit",
        {"topic"},         METRICS_SECONDS,         METRICS_SECONDS_COUNT};

    worker->rows = topic_cell(&worker->options, &rows);
    worker->duplicates = topic_cell(&worker->options, &duplicates);
    worker->refused = topic_cell(&worker->options, &refused);
    worker->batch_rows = topic_cell(&worker->options, &batch_rows);
    worker->circuit = topic_cell(&worker->options, &circuit);
    worker->latency = topic_cell(&worker->options, &latency);
    metrics_set(worker->circuit, 1);
}

static void worker_free(struct worker *worker)
{
    broker_close_consumer(worker->consumer);
    store_close(worker->store);
    batch_stop(&worker->batch);
    free(worker->verdicts);
    pthread_cond_destroy(&worker->wake);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}

static struct worker *worker_new(const struct worker_options *options)
{
    struct worker *worker = memory_alloc(sizeof(*worker));

    worker->options = *options;
    batch_start(&worker->batch);
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->wake, NULL);
    add_metrics(worker);
    return worker;
}

bool worker_start(struct worker **out, const struct worker_options *options, struct error *err)
{
    struct store_options store = {.name = "millrace processor",
                                  .timeout_ms = (int)patience_ms(options)};
    struct worker *worker = worker_new(options);

    if (!store_open(&worker->store, options->database_url, &store, err) ||
        !broker_open_consumer(&worker->consumer, options->broker, options->group, err)) {
        worker_free(worker);
        return false;
    }
    if (pthread_create(&worker->thread, NULL, run, worker) != 0) {
        worker_free(worker);
        return error_set(err, ERROR_INTERNAL, "start a worker thread");
    }
    *out = worker;
    return true;
}

void worker_halt(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    worker->stopping = true;
    pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&worker->lock);
    broker_wake(worker->consumer);
}

void worker_stop(struct worker *worker)
{
    if (!worker)
        return;
    worker_halt(worker);
    pthread_join(worker->thread, NULL);
    worker_free(worker);
}
