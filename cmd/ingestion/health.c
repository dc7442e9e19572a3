#include "health.h"

#include "ingestion.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>

#define PING_MS 500

bool health_check_broker(void *context, struct error *err)
{
    struct ingestion *ingestion = context;
    int64_t before_ns = clock_nanoseconds();
    bool well = broker_ping(ingestion->broker, PING_MS, err);

    atomic_store(&ingestion->ping_ms,
                 well ? (clock_nanoseconds() - before_ns) / 1000000 : INGESTION_PING_FAILED);
    return well;
}

/* The forerunner's body; its `redis` is the broker, whichever it is. */
void health_get(void *context, struct http_exchange *exchange)
{
    struct ingestion *ingestion = context;
    struct broker_stats stats;
    struct buffer body = {0};
    struct json_writer writer = {.out = &body};

    broker_stats(ingestion->broker, &stats);
    bool well = stats.connected && gate_state(&ingestion->gate) == BREAKER_CLOSED;
    json_open(&writer, NULL, '{');
    json_text(&writer, "status", well ? "healthy" : "unhealthy");
    json_text(&writer, "broker", well ? "connected" : "disconnected");
    json_text(&writer, "redis", well ? "connected" : "disconnected");
    json_close(&writer, '}');
    http_reply_buffer(exchange, well ? 200 : 503, HTTP_JSON, &body);
}

/* What is wrong; NULL: nothing. */
static const char *trouble(struct ingestion *ingestion, int64_t ping_ms)
{
    struct broker_stats stats;

    broker_stats(ingestion->broker, &stats);
    if (gate_state(&ingestion->gate) == BREAKER_OPEN)
        return "the circuit to the broker is open";
    if (!stats.connected)
        return "the broker is not connected";
    if (ping_ms == INGESTION_PING_NONE)
        return "the broker was not asked yet";
    return ping_ms < 0 ? "the broker does not answer" : NULL;
}

static void write_healthy(struct ingestion *ingestion, int64_t ping_ms, struct json_writer *out)
{
    char took[32];

    snprintf(took, sizeof(took), "%" PRId64 "ms", ping_ms);
    json_text(out, "status", "Healthy");
    json_text(out, "service", "IngressService");
    json_time(out, "timestamp", clock_wall_ms(clock_system()));
    json_text(out, "redisResponseTime", took);
    json_text(out, "brokerResponseTime", took);
    json_int(out, "pendingRequests", (int64_t)ingestion_waiting(ingestion));
}

void health_getz(void *context, struct http_exchange *exchange)
{
    struct ingestion *ingestion = context;
    int64_t ping_ms = atomic_load(&ingestion->ping_ms);
    const char *wrong = trouble(ingestion, ping_ms);
    struct buffer body = {0};
    struct json_writer writer = {.out = &body};

    json_open(&writer, NULL, '{');
    if (wrong) {
        json_text(&writer, "status", "Service Unavailable");
        json_text(&writer, "message", wrong);
    } else {
        write_healthy(ingestion, ping_ms, &writer);
    }
    json_close(&writer, '}');
    http_reply_buffer(exchange, wrong ? 503 : 200, HTTP_JSON, &body);
}
