#include "processor.h"

#include "keeper.h"
#include "worker.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/service.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PING_MS 500

const struct config_field processor_settings_table[] = {
    CONFIG_FIELD(struct processor_settings, host, "HOST", "127.0.0.1",
                 "address for health and metrics"),
    CONFIG_FIELD(struct processor_settings, port, "PORT", "8002", "port of the same; 0: any",
                 .min = 0, .max = 65535),
    CONFIG_FIELD(struct processor_settings, broker_url, "BROKER_URL", "nats://127.0.0.1:4222",
                 "the broker; its scheme picks the driver", .secret = true),
    CONFIG_FIELD(struct processor_settings, database_url, "DATABASE_URL",
                 "postgresql://127.0.0.1:5432/millrace", "PostgreSQL", .secret = true),
    CONFIG_FIELD(struct processor_settings, topics, "PROCESSOR_TOPICS",
                 "logs,readings,parking,summaries,weather",
                 "what this replica serves, joined by commas"),
    CONFIG_FIELD(struct processor_settings, workers, "WORKERS", "1", "threads for each of these",
                 .min = 1, .max = 64),
    CONFIG_FIELD(struct processor_settings, batch_rows, "BATCH_ROWS", "2000",
                 "most messages of one transaction", .min = 1, .max = 20000),
    CONFIG_FIELD(struct processor_settings, retention_days, "RETENTION_DAYS", "30",
                 "days that events are kept in the database; 0: for ever", .min = 0, .max = 36500),
    CONFIG_FIELD(struct processor_settings, stream_keep_s, "STREAM_KEEP_S", "3600",
                 "seconds that a settled event stays in its stream", .min = 0, .max = 31536000),
    CONFIG_FIELD(struct processor_settings, writer.url, "WRITER_URL", "http://127.0.0.1:8081/log",
                 "who is told of parking summaries; none: nobody"),
    CONFIG_FIELD(struct processor_settings, writer.host, "WRITER_HOST", "",
                 "another host than that of WRITER_URL"),
    CONFIG_FIELD(struct processor_settings, writer.port, "WRITER_PORT", "0",
                 "another port than that of WRITER_URL; 0: its own", .min = 0, .max = 65535),
    CONFIG_FIELD(struct processor_settings, writer.timeout_ms, "DELIVERY_TIMEOUT_MS", "10000",
                 "ms that one POST to the writer may take", .min = 100, .max = 600000),
    CONFIG_FIELD(struct processor_settings, parking.free_minutes, "PARKING_FREE_MINUTES", "15",
                 "minutes that parking costs nothing", .min = 0, .max = 525600),
    CONFIG_FIELD(struct processor_settings, parking.hour_cents, "PARKING_HOUR_CENTS", "200",
                 "cents of each hour that has begun", .min = 0, .max = 1000000),
    CONFIG_FIELD(struct processor_settings, parking.day_cents, "PARKING_DAY_CENTS", "1500",
                 "most cents of 24 hours; 0: no cap", .min = 0, .max = 1000000),
    CONFIG_FIELD(struct processor_settings, parking.currency, "PARKING_CURRENCY", "EUR",
                 "currency of the cents, ISO 4217"),
    TOPOLOGY_SETTINGS(struct processor_settings, topology),
    {0},
};

struct processor {
    const struct processor_settings *settings; /* borrowed */
    struct broker *broker;                     /* borrowed */
    struct metrics *metrics;                   /* borrowed */
    const struct duty *duties[DUTIES_MAX];     /* the rows that are served */
    struct broker_group groups[DUTIES_MAX];    /* of these, at the same index */
    size_t duty_count;
    struct keeper *keeper;
    struct worker **workers;
    _Atomic size_t worker_count; /* how many of them are started */
};

/* ---- which topics ---- */

static bool unknown_topic(const char *name, size_t length, struct error *err)
{
    AUTO(buffer_free) struct buffer known = {0};

    for (size_t i = 0; i < duty_count; i++)
        buffer_print(&known, " %s", duties[i].name);
    return error_set(err, ERROR_INVALID, "PROCESSOR_TOPICS: no topic '%.*s'; there are:%s",
                     (int)length, name, known.data);
}

static void add_duty(struct processor *processor, const struct duty *duty)
{
    const struct topic *topic = duty_topic(duty, 0);

    for (size_t i = 0; i < processor->duty_count; i++)
        if (processor->duties[i] == duty)
            return;
    processor->groups[processor->duty_count] =
        topology_group(&processor->settings->topology, topic->stream, topic->consumer);
    processor->duties[processor->duty_count++] = duty;
}

static bool add_topic(struct processor *processor, const char *name, size_t length,
                      struct error *err)
{
    const struct duty *duty = duty_find(name, length);

    if (!duty)
        return unknown_topic(name, length, err);
    add_duty(processor, duty);
    return true;
}

static bool choose_topics(struct processor *processor, struct error *err)
{
    for (const char *name = processor->settings->topics; *name;) {
        size_t length = strcspn(name, ", ");
        if (length && !add_topic(processor, name, length, err))
            return false;
        name += length + (name[length] != '\0');
    }
    return processor->duty_count ||
           error_set(err, ERROR_INVALID, "PROCESSOR_TOPICS names no topic");
}

/* ---- life ---- */

bool processor_open(struct processor **out, const struct processor_settings *settings,
                    struct broker *broker, struct metrics *metrics, struct error *err)
{
    AUTO(processor_close) struct processor *processor = memory_alloc(sizeof(*processor));

    processor->settings = settings;
    processor->broker = broker;
    processor->metrics = metrics;
    if (!choose_topics(processor, err) || !parking_settings_check(&settings->parking, err))
        return false;
    size_t worker_max = processor->duty_count * (size_t)settings->workers;
    /* It lists pointers. NOLINTNEXTLINE(bugprone-sizeof-expression) */
    processor->workers = memory_alloc(worker_max * sizeof(*processor->workers));

    struct keeper_options keeper = {
        .broker = broker,
        .database_url = settings->database_url,
        .duties = processor->duties,
        .duty_count = processor->duty_count,
        .topology = &settings->topology,
        .retention_days = settings->retention_days,
        .stream_keep_s = settings->stream_keep_s,
        .metrics = metrics,
    };
    if (!keeper_start(&processor->keeper, &keeper, err))
        return false;
    *out = processor;
    processor = NULL;
    return true;
}

static bool start_workers(struct processor *processor, struct error *err)
{
    for (size_t i = 0; i < processor->duty_count; i++) {
        struct worker_options worker = {
            .duty = processor->duties[i],
            .group = &processor->groups[i],
            .broker = processor->broker,
            .settings = processor->settings,
            .metrics = processor->metrics,
        };
        for (int n = 0; n < processor->settings->workers; n++) {
            if (!worker_start(&processor->workers[processor->worker_count], &worker, err))
                return error_wrap(err, "start a worker for '%s'", worker.duty->name);
            processor->worker_count++;
        }
    }
    return true;
}

/* Everything winds down at the same time. */
static void halt(struct processor *processor)
{
    if (processor->keeper)
        keeper_halt(processor->keeper);
    for (size_t i = 0; i < processor->worker_count; i++)
        worker_halt(processor->workers[i]);
}

/* So often that no lease ends unseen. */
static int keep_ms(const struct processor *processor)
{
    int64_t tenth_ms = processor->settings->topology.ack_wait_ms / 10;

    return tenth_ms < 1000 ? (int)tenth_ms : 1000;
}

bool processor_run(struct processor *processor, struct error *err)
{
    while (!service_stopping() && !keeper_prepared(processor->keeper, 200))
        continue;
    if (service_stopping())
        return true;
    if (!start_workers(processor, err))
        return false;
    log_info("working", log_text("topics", processor->settings->topics),
             log_int("workers", (int64_t)processor->worker_count));
    while (!service_wait(keep_ms(processor)))
        for (size_t i = 0; i < processor->worker_count; i++)
            worker_keep(processor->workers[i]);
    halt(processor);
    return true;
}

void processor_close(struct processor *processor)
{
    if (!processor)
        return;
    halt(processor);
    for (size_t i = 0; i < processor->worker_count; i++)
        worker_stop(processor->workers[i]);
    keeper_stop(processor->keeper);
    free(processor->workers);
    free(processor);
}

/* ---- readiness ---- */

static bool check_broker(void *context, struct error *err)
{
    struct processor *processor = context;

    return broker_ping(processor->broker, PING_MS, err);
}

static bool check_store(void *context, struct error *err)
{
    struct processor *processor = context;

    return keeper_check(processor->keeper, err);
}

static bool check_workers(void *context, struct error *err)
{
    struct processor *processor = context;
    size_t count = processor->worker_count;

    if (!count)
        return error_set(err, ERROR_UNAVAILABLE, "not started yet");
    for (size_t i = 0; i < count; i++)
        if (!worker_ready(processor->workers[i], err))
            return false;
    return true;
}

const struct http_check processor_checks[] = {
    {"broker", check_broker},
    {"store", check_store},
    {"workers", check_workers},
    {0},
};
