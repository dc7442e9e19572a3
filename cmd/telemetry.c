#include "telemetry.h"

#include "base/log.h"
#include "base/memory.h"

#include <stdlib.h>

static const struct {
    enum log_level level;
    const char *message;
} incidents[] = {
    [BROKER_DISCONNECTED] = {LOG_WARNING, "lost the connection to the broker"},
    [BROKER_RECONNECTED] = {LOG_INFO, "connected to the broker"},
    [BROKER_RECREATED] = {LOG_ERROR, "a consumer was gone and was made again at its position"},
    [BROKER_REFUSED] = {LOG_ERROR, "the broker refused"},
    [BROKER_BURIED] = {LOG_DEBUG, "stored a dead letter"},
    [BROKER_LOST] = {LOG_ERROR, "a message is gone from its stream"},
};

void telemetry_observe(void *context, enum broker_incident incident, const char *detail)
{
    (void)context;
    log_write(incidents[incident].level, incidents[incident].message,
              LOG_FIELDS(log_text("detail", detail)));
}

/* One row per number: where it is in the statistics and what it is called. */
static const struct {
    size_t offset;
    struct metrics_description description;
} numbers[] = {
#define COUNTER(member, metric, text)                                                              \
    {                                                                                              \
        offsetof(struct broker_stats, member),                                                     \
        {                                                                                          \
            .kind = METRICS_COUNTER, .name = (metric), .help = (text)                              \
        }                                                                                          \
    }
    COUNTER(published, "broker_published_messages_total", "Messages that the broker acknowledged"),
    COUNTER(duplicates, "broker_duplicate_messages_total",
            "Published messages that the broker had already"),
    COUNTER(publish_failures, "broker_publish_failures_total", "Messages that were not stored"),
    COUNTER(publish_retries, "broker_publish_retries_total", "Messages that were sent again"),
    COUNTER(delivered, "broker_delivered_messages_total", "Deliveries received"),
    COUNTER(redelivered, "broker_redelivered_messages_total", "Deliveries after the first"),
    COUNTER(settled, "broker_settled_messages_total", "Deliveries settled as done"),
    COUNTER(retried, "broker_retried_messages_total", "Deliveries given back for a retry"),
    COUNTER(buried, "broker_dead_letters_total", "Dead letters stored"),
    COUNTER(reconnects, "broker_reconnects_total", "Connections made again"),
    {offsetof(struct broker_stats, pending),
     {.kind = METRICS_GAUGE,
      .name = "broker_pending_publishes",
      .help = "Publishes without an answer"}},
};

struct telemetry {
    const struct broker *broker; /* borrowed */
    struct metrics_cell *cells[ARRAY_LEN(numbers)];
    struct metrics_cell *connected;
};

static void collect(void *context)
{
    struct telemetry *telemetry = context;
    struct broker_stats stats;

    broker_stats(telemetry->broker, &stats);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const uint64_t *number = (const void *)((const char *)&stats + numbers[i].offset);
        metrics_set(telemetry->cells[i], (double)*number);
    }
    metrics_set(telemetry->connected, stats.connected);
}

struct telemetry *telemetry_new(struct metrics *metrics, const struct broker *broker)
{
    static const struct metrics_description connected = {.kind = METRICS_GAUGE,
                                                         .name = "broker_connected",
                                                         .help = "1 while the broker is connected"};
    struct telemetry *telemetry = memory_alloc(sizeof(*telemetry));

    telemetry->broker = broker;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        telemetry->cells[i] = metrics_cell(metrics_family(metrics, &numbers[i].description), NULL);
    telemetry->connected = metrics_cell(metrics_family(metrics, &connected), NULL);
    metrics_on_render(metrics, collect, telemetry);
    return telemetry;
}

void telemetry_free(struct telemetry *telemetry)
{
    free(telemetry);
}
