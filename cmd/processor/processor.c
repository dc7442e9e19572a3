#include "processor.h"

#include "keeper.h"
#include "worker.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/service.h"
#include "event/topic.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TABLES 2
#define PING_MS 500

/* Where each topic's events go. A new topic is a new row. */
static const struct {
    const char *topic;
    const struct store_table *table;
} tables[TABLES] = {
    {"logs", &store_logs},
    {"readings", &store_readings},
};

const struct config_field processor_settings_table[] = {
    CONFIG_FIELD(struct processor_settings, host, "HOST", "127.0.0.1",
                 "address for health and metrics"),
    CONFIG_FIELD(struct processor_settings, port, "PORT", "8002", "port of the same; 0: any",
                 .min = 0, .max = 65535),
    CONFIG_FIELD(struct processor_settings, broker_url, "BROKER_URL", "nats://127.0.0.1:4222",
                 "the broker; its scheme picks the driver", .secret = true),
    CONFIG_FIELD(struct processor_settings, database_url, "DATABASE_URL",
                 "postgresql://127.0.0.1:5432/millrace", "PostgreSQL", .secret = true),
    CONFIG_FIELD(struct processor_settings, topics, "PROCESSOR_TOPICS", "logs,readings",
                 "topics this replica serves, joined by commas"),
    CONFIG_FIELD(struct processor_settings, workers, "WORKERS", "1", "threads per topic", .min = 1,
                 .max = 64),
    CONFIG_FIELD(struct processor_settings, batch_rows, "BATCH_ROWS", "2000",
                 "most messages of one transaction", .min = 1, .max = 20000),
    CONFIG_FIELD(struct processor_settings, retention_days, "RETENTION_DAYS", "30",
                 "days that events are kept in the database; 0: for ever", .min = 0, .max = 36500),
    CONFIG_FIELD(struct processor_settings, stream_keep_s, "STREAM_KEEP_S", "3600",
                 "seconds that a settled event stays in its stream", .min = 0, .max = 31536000),
    TOPOLOGY_SETTINGS(struct processor_settings, topology),
    {0},
};

struct processor {
    const struct processor_settings *settings; /* borrowed */
    struct broker *broker;                     /* borrowed */
    struct metrics *metrics;                   /* borrowed */
    struct keeper_chore chores[TABLES];
    struct broker_group groups[TABLES]; /* of the chores, at the same index */
    size_t chore_count;
    struct keeper *keeper;
    struct worker **workers;
    _Atomic size_t worker_count; /* how many of them are started */
};

/* ---- which topics ---- */

static bool unknown_topic(const char *name, size_t length, struct error *err)
{
    AUTO(buffer_free) struct buffer known = {0};

    for (size_t i = 0; i < TABLES; i++)
        buffer_print(&known, " %s", tables[i].topic);
    return error_set(err, ERROR_INVALID, "PROCESSOR_TOPICS: no topic '%.*s'; there are:%s",
                     (int)length, name, known.data);
}

static bool add_topic(struct processor *processor, const char *name, size_t length,
                      struct error *err)
{
    for (size_t i = 0; i < processor->chore_count; i++)
        if (strncmp(processor->chores[i].topic->name, name, length) == 0 &&
            !processor->chores[i].topic->name[length])
            return true;

    for (size_t i = 0; i < TABLES; i++) {
        if (strncmp(tables[i].topic, name, length) != 0 || tables[i].topic[length])
            continue;
        const struct topic *topic = topic_find(tables[i].topic);
        size_t at = processor->chore_count++;
        processor->chores[at] = (struct keeper_chore){.topic = topic, .table = tables[i].table};
        processor->groups[at] =
            topology_group(&processor->settings->topology, topic->stream, topic->consumer);
        return true;
    }
    return unknown_topic(name, length, err);
}

static bool choose_topics(struct processor *processor, struct error *err)
{
    for (const char *name = processor->settings->topics; *name;) {
        size_t length = strcspn(name, ", ");
        if (length && !add_topic(processor, name, length, err))
            return false;
        name += length + (name[length] != '\0');
    }
    return processor->chore_count ||
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
    if (!choose_topics(processor, err))
        return false;
    size_t worker_max = processor->chore_count * (size_t)settings->workers;
    /* It lists pointers. NOLINTNEXTLINE(bugprone-sizeof-expression) */
    processor->workers = memory_alloc(worker_max * sizeof(*processor->workers));

    struct keeper_options keeper = {
        .broker = broker,
        .database_url = settings->database_url,
        .chores = processor->chores,
        .chore_count = processor->chore_count,
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
    for (size_t i = 0; i < processor->chore_count; i++) {
        struct worker_options worker = {
            .topic = processor->chores[i].topic,
            .table = processor->chores[i].table,
            .group = &processor->groups[i],
            .broker = processor->broker,
            .database_url = processor->settings->database_url,
            .batch_messages = (size_t)processor->settings->batch_rows,
            .metrics = processor->metrics,
        };
        for (int n = 0; n < processor->settings->workers; n++) {
            if (!worker_start(&processor->workers[processor->worker_count], &worker, err))
                return error_wrap(err, "start a worker for '%s'", worker.topic->name);
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
