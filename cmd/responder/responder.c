#include "responder.h"

#include "house.h"
#include "terminal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/service.h"

#include <stdatomic.h>
#include <stdlib.h>

#define PING_MS 500
#define GRACE_MS 1500 /* for what is started when it is asked to stop */

const struct config_field responder_settings_table[] = {
    CONFIG_FIELD(struct responder_settings, host, "HOST", "127.0.0.1",
                 "address for health and metrics"),
    CONFIG_FIELD(struct responder_settings, port, "PORT", "8010", "port of the same; 0: any",
                 .min = 0, .max = 65535),
    CONFIG_FIELD(struct responder_settings, broker_url, "BROKER_URL", "nats://127.0.0.1:4222",
                 "the broker; its scheme picks the driver", .secret = true),
    CONFIG_FIELD(struct responder_settings, terminals, "TERMINALS", "5",
                 "requests that are worked on at once", .min = 1, .max = 256),
    CONFIG_FIELD(struct responder_settings, provider.name, "WEATHER_PROVIDER", "synthetic",
                 "who knows the weather: synthetic or open-meteo", .words = provider_names),
    CONFIG_FIELD(struct responder_settings, provider.delay_ms, "WEATHER_DELAY_MS", "0",
                 "ms that the synthetic provider takes at least", .min = 0, .max = 3600000),
    CONFIG_FIELD(struct responder_settings, provider.url, "OPEN_METEO_URL", "",
                 "where open-meteo's forecasts are, https://api.open-meteo.com"),
    CONFIG_FIELD(struct responder_settings, provider.search_url, "OPEN_METEO_GEOCODING_URL", "",
                 "where its cities are, https://geocoding-api.open-meteo.com"),
    CONFIG_FIELD(struct responder_settings, provider.timeout_ms, "PROVIDER_TIMEOUT_MS", "5000",
                 "ms that a provider may take for a request", .min = 10, .max = 60000),
    CONFIG_FIELD(struct responder_settings, provider.cache_s, "CACHE_SECONDS", "600",
                 "seconds that a fetched forecast is as good as a new one; 0: no cache", .min = 0,
                 .max = 86400),
    CONFIG_FIELD(struct responder_settings, stream_keep_s, "STREAM_KEEP_S", "3600",
                 "seconds that a settled request stays in its stream", .min = 0, .max = 31536000),
    TOPOLOGY_SETTINGS(struct responder_settings, topology),
    {0},
};

struct responder {
    const struct responder_settings *settings; /* borrowed */
    struct broker *broker;                     /* borrowed */
    struct metrics *metrics;                   /* borrowed */
    const struct topic *requests, *results;
    struct broker_group group;
    struct providers providers;
    struct metrics_cell *active;
    struct house *house;
    struct terminal **terminals;
    _Atomic size_t terminal_count; /* how many of them are started */
};

/* ---- life ---- */

bool responder_open(struct responder **out, const struct responder_settings *settings,
                    struct broker *broker, struct metrics *metrics, struct error *err)
{
    struct responder *responder = memory_alloc(sizeof(*responder));

    if (!providers_start(&responder->providers, &settings->provider, broker, metrics, err)) {
        free(responder);
        return false;
    }
    responder->settings = settings;
    responder->broker = broker;
    responder->metrics = metrics;
    responder->requests = topic_find("weather-requests");
    responder->results = topic_find("weather-results");
    responder->group = topology_group(&settings->topology, responder->requests->stream,
                                      responder->requests->consumer);
    responder->active = terminal_active(metrics);
    /* It lists pointers. NOLINTNEXTLINE(bugprone-sizeof-expression) */
    responder->terminals = memory_alloc((size_t)settings->terminals * sizeof(struct terminal *));

    struct house_options house = {
        .broker = broker,
        .topology = &settings->topology,
        .requests = responder->requests,
        .results = responder->results,
        .stream_keep_s = settings->stream_keep_s,
        .metrics = metrics,
    };
    if (!house_start(&responder->house, &house, err)) {
        responder_close(responder);
        return false;
    }
    *out = responder;
    return true;
}

bool responder_prepared(struct responder *responder, int timeout_ms)
{
    return house_prepared(responder->house, timeout_ms);
}

bool responder_start(struct responder *responder, struct error *err)
{
    struct terminal_options options = {
        .broker = responder->broker,
        .group = &responder->group,
        .requests = responder->requests,
        .results = responder->results,
        .providers = &responder->providers,
        .metrics = responder->metrics,
    };

    for (int i = 0; i < responder->settings->terminals; i++) {
        if (!terminal_start(&responder->terminals[responder->terminal_count], &options, err))
            return error_wrap(err, "start a terminal");
        responder->terminal_count++;
    }
    log_info("working", log_text("provider", responder->settings->provider.name),
             log_int("terminals", responder->settings->terminals));
    return true;
}

void responder_keep(struct responder *responder)
{
    for (size_t i = 0; i < responder->terminal_count; i++)
        terminal_keep(responder->terminals[i]);
}

/* Everything winds down at the same time. */
static void halt(struct responder *responder)
{
    if (responder->house)
        house_halt(responder->house);
    for (size_t i = 0; i < responder->terminal_count; i++)
        terminal_halt(responder->terminals[i]);
}

/* So often that no lease ends unseen. */
static int keep_ms(const struct responder *responder)
{
    int64_t tenth_ms = responder->settings->topology.ack_wait_ms / 10;

    return tenth_ms < 1000 ? (int)tenth_ms : 1000;
}

bool responder_run(struct responder *responder, struct error *err)
{
    while (!service_stopping() && !responder_prepared(responder, 200))
        continue;
    if (service_stopping())
        return true;
    if (!responder_start(responder, err))
        return false;
    while (!service_wait(keep_ms(responder)))
        responder_keep(responder);
    halt(responder);
    return true;
}

void responder_close(struct responder *responder)
{
    if (!responder)
        return;
    halt(responder);
    providers_await(&responder->providers, GRACE_MS);
    providers_interrupt(&responder->providers);
    for (size_t i = 0; i < responder->terminal_count; i++)
        terminal_interrupt(responder->terminals[i]);
    for (size_t i = 0; i < responder->terminal_count; i++)
        terminal_stop(responder->terminals[i]);
    house_stop(responder->house);
    providers_stop(&responder->providers);
    free(responder->terminals);
    free(responder);
}

/* ---- readiness ---- */

static bool check_broker(void *context, struct error *err)
{
    struct responder *responder = context;

    return broker_ping(responder->broker, PING_MS, err);
}

static bool check_terminals(void *context, struct error *err)
{
    struct responder *responder = context;
    size_t count = responder->terminal_count;

    if (count < (size_t)responder->settings->terminals)
        return error_set(err, ERROR_UNAVAILABLE, "not started yet");
    for (size_t i = 0; i < count; i++)
        if (!terminal_ready(responder->terminals[i], err))
            return false;
    return true;
}

const struct http_check responder_checks[] = {
    {"broker", check_broker},
    {"terminals", check_terminals},
    {0},
};

/* ---- the forerunner's questions ---- */

static void status(void *context, struct http_exchange *exchange)
{
    struct buffer body = {0};
    struct json_writer writer = {.out = &body};

    (void)context;
    json_open(&writer, NULL, '{');
    json_text(&writer, "status", "Running");
    json_text(&writer, "service", "ProxyService");
    json_time(&writer, "time", clock_wall_ms(clock_system()));
    json_close(&writer, '}');
    http_reply_buffer(exchange, 200, HTTP_JSON, &body);
}

/* Without asking the broker: a handler does not wait. */
static bool is_well(struct responder *responder, struct error *err)
{
    struct broker_stats stats;

    broker_stats(responder->broker, &stats);
    if (!stats.connected)
        return error_set(err, ERROR_UNAVAILABLE, "the broker is away");
    return check_terminals(responder, err);
}

static void health(void *context, struct http_exchange *exchange)
{
    struct responder *responder = context;
    struct buffer body = {0};
    struct json_writer writer = {.out = &body};
    struct error err;

    bool well = is_well(responder, &err);
    json_open(&writer, NULL, '{');
    json_text(&writer, "status", well ? "Healthy" : "Service Unavailable");
    json_text(&writer, "service", "ProxyService");
    if (!well)
        json_text(&writer, "message", err.message);
    json_int(&writer, "activeTerminals", (int64_t)metrics_value(responder->active));
    json_int(&writer, "queueDepth", house_depth(responder->house));
    json_time(&writer, "timestamp", clock_wall_ms(clock_system()));
    json_close(&writer, '}');
    http_reply_buffer(exchange, well ? 200 : 503, HTTP_JSON, &body);
}

const struct http_route responder_routes[] = {
    {"GET", "/WeatherForecast/status", .handle = status, .any_case = true},
    {"GET", "/healthz", .handle = health},
    {0},
};
