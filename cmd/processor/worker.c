#include "worker.h"

#include "batch.h"
#include "loop.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FETCH_BYTES ((size_t)1024 * 1024) /* about 5,000 rows */
#define BURY_MS 2000
#define RETRY_MS 5000 /* for a batch whose dead letters could not be stored */

struct worker {
    struct worker_options options;
    struct loop *loop;
    struct store *store;
    struct emission *emission; /* NULL: nothing follows */
    struct delivery *delivery; /* NULL: nobody is told */
    struct batch batch;
    size_t rows_at_once; /* fewer after a statement that was too slow */
    struct broker_verdict *verdicts;
    size_t verdict_capacity;
    struct metrics_cell *rows, *duplicates, *batch_rows, *latency;
    struct metrics_cell *refused, *took, *succeeded, *failed;
};

/* ---- storing ---- */

/* Holds the batch until the store answers; false when it was asked to stop meanwhile. */
static bool wait_for_store(struct worker *worker, const struct error *why, unsigned failures)
{
    struct error err = *why;

    for (unsigned attempt = failures;; attempt++) {
        loop_tell(worker->loop, &err, "the store is away: fetching pauses");
        if (!loop_wait(worker->loop, attempt))
            return false;
        if (store_ping(worker->store, &err))
            return true;
    }
}

static void count_stored(struct worker *worker, size_t first, size_t count, size_t inserted)
{
    int64_t committed_ms = clock_wall_ms(clock_system());
    const struct batch *batch = &worker->batch;

    metrics_add(worker->rows, (double)inserted);
    metrics_add(worker->duplicates, (double)(count - inserted));
    metrics_observe(worker->batch_rows, (double)count);
    for (size_t i = first; i < first + count; i++) {
        int64_t time_ms = topic_time_ms(batch->origins[i].topic, batch->rows[i].event);
        metrics_observe(worker->latency, (double)(committed_ms - time_ms) / 1000);
    }
}

static bool apply(struct worker *worker, size_t first, size_t count, struct error *err)
{
    struct store_effect effect = {.follow = worker->emission ? emission_take : NULL,
                                  .context = worker->emission};

    if (!store_apply(worker->store, worker->batch.sources[0].table, worker->batch.rows + first,
                     count, &effect, err))
        return false;
    count_stored(worker, first, count, effect.inserted);
    return true;
}

/* What the store refuses is found by halving and becomes a dead part; what is too much for one
 * statement is halved too. False when it was asked to stop before everything was stored. */
static bool store_rows(struct worker *worker, size_t first, size_t count)
{
    struct error err;

    for (unsigned failures = 1; !apply(worker, first, count, &err); failures++) {
        bool too_slow = strcmp(err.reason, STORE_TOO_SLOW) == 0;
        if (err.code == ERROR_INVALID && count == 1) {
            batch_refuse(&worker->batch, first, &err);
            return true;
        }
        if (too_slow && count > 1)
            worker->rows_at_once = count / 2;
        if (count > 1 && (too_slow || err.code == ERROR_INVALID))
            return store_rows(worker, first, count / 2) &&
                   store_rows(worker, first + count / 2, count - count / 2);
        if (!wait_for_store(worker, &err, failures))
            return false;
    }
    loop_tell(worker->loop, NULL, "");
    return true;
}

static bool store_batch(struct worker *worker)
{
    size_t left = worker->batch.row_count;

    while (left) {
        size_t count = left < worker->rows_at_once ? left : worker->rows_at_once;
        if (!store_rows(worker, worker->batch.row_count - left, count))
            return false;
        left -= count;
    }
    if (worker->rows_at_once < SIZE_MAX / 2) /* it may have been slow for a while only */
        worker->rows_at_once += worker->rows_at_once / 8 + 1;
    return true;
}

/* Stores, publishes, delivers; false when it was asked to stop before everything was done. */
static bool act(struct worker *worker)
{
    if (worker->emission)
        emission_reset(worker->emission);
    return store_batch(worker) &&
           (!worker->emission ||
            emission_publish(worker->emission, worker->options.broker, worker->loop)) &&
           (!worker->delivery || delivery_send(worker->delivery, &worker->batch, worker->loop));
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
    if (!dead_letter_bury(loop_consumer(worker->loop), batch->parts, batch->part_count, BURY_MS,
                          err))
        return false;
    metrics_add(worker->refused, (double)batch->part_count);
    return true;
}

static void tell_parts(const struct worker *worker)
{
    const struct batch *batch = &worker->batch;

    log_warning("events became dead letters", log_text("topic", worker->options.duty->name),
                log_int("count", (int64_t)batch->part_count),
                log_text("reason", batch->parts[0].reason),
                log_text("error", batch->parts[0].error));
}

/* Whether what failed is buried; says so in the log. */
static bool bury_and_tell(struct worker *worker)
{
    struct error err;

    bool buried = bury(worker, &err);
    if (buried && worker->batch.part_count)
        tell_parts(worker);
    else if (!buried && !loop_stopping(worker->loop))
        log_warning("could not store dead letters: their messages are retried",
                    log_text("topic", worker->options.duty->name), log_text("error", err.message));
    return buried;
}

static void count_done(const struct worker *worker, int64_t started_ns)
{
    const struct batch *batch = &worker->batch;

    metrics_observe(worker->took, (double)(clock_nanoseconds() - started_ns) / 1e9);
    metrics_add(worker->succeeded, (double)(batch->row_count - batch->refused));
    metrics_add(worker->failed, (double)batch->part_count);
}

static bool work(void *context, struct loop *loop, const struct broker_batch *deliveries,
                 struct error *err)
{
    struct worker *worker = context;
    int64_t started_ns = clock_nanoseconds();

    batch_reset(&worker->batch);
    batch_decode(&worker->batch, deliveries);
    if (!act(worker))
        return true; /* asked to stop: what is not settled is delivered again */

    bool buried = bury_and_tell(worker);
    if (!buried && loop_stopping(loop))
        return true;
    if (!loop_settle(loop, verdicts_of(worker, deliveries->count, buried), deliveries->count, err))
        return false;
    count_done(worker, started_ns);
    return true;
}

/* ---- metrics ---- */

static const double ROWS[] = {1, 5, 10, 50, 100, 500, 1000, 2000, 5000, 10000};

#define COUNTER_OF_TOPIC(metric, text)                                                             \
    {                                                                                              \
        .kind = METRICS_COUNTER, .name = (metric), .help = (text), .labels = { "topic" }           \
    }

static struct metrics_cell *
cell_of(struct metrics *metrics, const struct metrics_description *description, const char *topic)
{
    return metrics_cell(metrics_family(metrics, description), &topic);
}

static void add_metrics(struct worker *worker)
{
    static const struct metrics_description rows =
        COUNTER_OF_TOPIC("store_rows_total", "Events stored");
    static const struct metrics_description duplicates =
        COUNTER_OF_TOPIC("store_duplicate_rows_total", "Events that were stored before");
    static const struct metrics_description batch_rows = {
        METRICS_HISTOGRAM, "store_batch_rows", "Events in one transaction", {"topic"}, ROWS,
        ARRAY_LEN(ROWS)};
    const struct metrics_description latency = {
        METRICS_HISTOGRAM, "event_latency_seconds", "From an event's time to its commit",
        {"topic"},         METRICS_SECONDS,         METRICS_SECONDS_COUNT};
    static const struct metrics_description refused =
        COUNTER_OF_TOPIC("processor_refused_events_total", "Events that became dead letters");
    static const struct metrics_description succeeded =
        COUNTER_OF_TOPIC("event_processing_successes_total", "Events that were done and settled");
    static const struct metrics_description failed = COUNTER_OF_TOPIC(
        "event_processing_fails_total", "Events that could not be done, and were settled");
    const struct metrics_description took = {METRICS_HISTOGRAM,
                                             "event_processing_latency_seconds",
                                             "From the arrival of a batch to its settlement",
                                             {"topic"},
                                             METRICS_SECONDS,
                                             METRICS_SECONDS_COUNT};
    struct metrics *metrics = worker->options.metrics;
    const char *name = worker->options.duty->name;

    worker->refused = cell_of(metrics, &refused, name);
    worker->succeeded = cell_of(metrics, &succeeded, name);
    worker->failed = cell_of(metrics, &failed, name);
    worker->took = cell_of(metrics, &took, name);
    worker->rows = cell_of(metrics, &rows, name);
    worker->duplicates = cell_of(metrics, &duplicates, name);
    worker->batch_rows = cell_of(metrics, &batch_rows, name);
    worker->latency = cell_of(metrics, &latency, name);
}

static struct metrics_cell *circuit_cell(const struct worker_options *options)
{
    static const struct metrics_description circuit = {
        METRICS_GAUGE,
        "store_circuit_state",
        "1 while events can be stored, 0 while fetching pauses",
        {"topic"},
        NULL,
        0};

    return cell_of(options->metrics, &circuit, options->duty->name);
}

/* ---- life ---- */

static void worker_free(struct worker *worker)
{
    delivery_close(worker->delivery);
    emission_free(worker->emission);
    store_close(worker->store);
    batch_stop(&worker->batch);
    free(worker->verdicts);
    free(worker);
}

static struct worker *worker_new(const struct worker_options *options)
{
    const struct duty *duty = options->duty;
    struct batch_source sources[BATCH_TOPICS_MAX];
    size_t count = duty_source_count(duty);
    struct worker *worker = memory_alloc(sizeof(*worker));

    worker->options = *options;
    worker->rows_at_once = SIZE_MAX;
    for (size_t i = 0; i < count; i++)
        sources[i] = (struct batch_source){duty_topic(duty, i), duty->sources[i].table};
    batch_start(&worker->batch, sources, count);
    add_metrics(worker);
    if (duty->emits)
        worker->emission = emission_new(duty->emits, options->settings, options->metrics);
    return worker;
}

static bool open_delivery(struct worker *worker, struct error *err)
{
    const struct worker_options *options = &worker->options;

    return !options->duty->delivers ||
           delivery_open(&worker->delivery, options->duty->delivers, &options->settings->writer,
                         options->metrics, err);
}

bool worker_start(struct worker **out, const struct worker_options *options, struct error *err)
{
    const struct processor_settings *settings = options->settings;
    struct store_options store = {.name = "millrace processor",
                                  .timeout_ms = (int)loop_patience_of(options->group)};
    struct worker *worker = worker_new(options);
    struct loop_options loop = {
        .name = options->duty->name,
        .broker = options->broker,
        .group = options->group,
        .batch_messages = (size_t)settings->batch_rows,
        .batch_bytes = FETCH_BYTES,
        .work = work,
        .context = worker,
        .circuit = circuit_cell(options),
    };

    if (!open_delivery(worker, err) ||
        !store_open(&worker->store, settings->database_url, &store, err) ||
        !loop_start(&worker->loop, &loop, err)) {
        worker_free(worker);
        return false;
    }
    *out = worker;
    return true;
}

void worker_keep(struct worker *worker)
{
    loop_keep(worker->loop);
}

bool worker_ready(struct worker *worker, struct error *err)
{
    return loop_ready(worker->loop, err);
}

void worker_halt(struct worker *worker)
{
    loop_halt(worker->loop);
    if (worker->delivery)
        delivery_interrupt(worker->delivery);
}

void worker_stop(struct worker *worker)
{
    if (!worker)
        return;
    worker_halt(worker);
    loop_stop(worker->loop);
    worker_free(worker);
}
