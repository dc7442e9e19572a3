#include "ingestion.h"

#include "bulk.h"
#include "health.h"
#include "single.h"
#include "weather.h"

#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/service.h"
#include "messages/logs.h"
#include "resilience/backoff.h"

#include <assert.h>
#include <stdlib.h>

#define REPLY_RESERVE_MS 200 /* of a deadline, to answer in after waiting for an ack */

const struct config_field ingestion_settings_table[] = {
    CONFIG_FIELD(struct ingestion_settings, host, "HOST", "127.0.0.1", "address to listen on"),
    CONFIG_FIELD(struct ingestion_settings, port, "PORT", "8000", "port; 0: any", .min = 0,
                 .max = 65535),
    CONFIG_FIELD(struct ingestion_settings, http_threads, "HTTP_THREADS", "2",
                 "threads that serve HTTP", .min = 1, .max = 64),
    CONFIG_FIELD(struct ingestion_settings, broker_url, "BROKER_URL", "nats://127.0.0.1:4222",
                 "the broker; its scheme picks the driver", .secret = true),
    CONFIG_FIELD(struct ingestion_settings, api_url, "API_URL", "",
                 "the api, in front of the Location of a result; empty: the path alone"),
    CONFIG_FIELD(struct ingestion_settings, origins, "CORS_ORIGINS", "",
                 "origins whose pages may call, joined by commas"),
    CONFIG_FIELD(struct ingestion_settings, default_message, "DEFAULT_LOG_MESSAGE", "log event",
                 "message of GET /send without one"),
    CONFIG_FIELD(struct ingestion_settings, max_pending, "MAX_PENDING", "16384",
                 "messages waiting for the broker's ack; beyond: 503", .min = 1, .max = 1000000),
    CONFIG_FIELD(struct ingestion_settings, request_ms, "REQUEST_TIMEOUT_MS", "30000",
                 "ms that a request may take in all", .min = 100, .max = 3600000),
    CONFIG_FIELD(struct ingestion_settings, publish_ms, "PUBLISH_TIMEOUT_MS", "10000",
                 "ms of it that the broker may take", .min = 100, .max = 3600000),
    CONFIG_FIELD(struct ingestion_settings, event_max_bytes, "EVENT_MAX_BYTES", "131072",
                 "bytes of one event's JSON; beyond: 413", .min = 1024, .max = 524288),
    CONFIG_FIELD(struct ingestion_settings, bulk_max_bytes, "BULK_MAX_BYTES", "67108864",
                 "bytes of one NDJSON body", .min = 1024, .max = 1e12),
    CONFIG_FIELD(struct ingestion_settings, bulk_max_lines, "BULK_MAX_LINES", "100000",
                 "lines of one NDJSON body", .min = 1, .max = 10000000),
    CONFIG_FIELD(struct ingestion_settings, bulk_max_requests, "BULK_MAX_REQUESTS", "32",
                 "NDJSON bodies at once; beyond: 503", .min = 1, .max = 10000),
    CONFIG_FIELD(struct ingestion_settings, call_timeout_ms, "CALL_TIMEOUT_MS", "30000",
                 "ms to wait for the reply of a request", .min = 100, .max = 3600000),
    CONFIG_FIELD(struct ingestion_settings, call_max_waiting, "CALL_MAX_WAITING", "1000",
                 "requests waiting for their reply; beyond: 429", .min = 1, .max = 1000000),
    CONFIG_FIELD(struct ingestion_settings, call_open_ms, "CALL_OPEN_MS", "5000",
                 "ms without waiting requests when none gets a reply", .min = 100, .max = 3600000),
    TOPOLOGY_SETTINGS(struct ingestion_settings, topology),
    {0},
};

/* ---- publishing ---- */

int ingestion_left_ms(const struct http_exchange *exchange)
{
    int left_ms = http_remaining_ms(exchange) - REPLY_RESERVE_MS;

    return left_ms < 1 ? 1 : left_ms;
}

int ingestion_publish_ms(const struct ingestion *ingestion, const struct http_exchange *exchange)
{
    int left_ms = ingestion_left_ms(exchange);
    int most_ms = ingestion->settings->publish_ms;

    return left_ms < most_ms ? left_ms : most_ms;
}

bool ingestion_publish(struct ingestion *ingestion, const struct broker_message *message,
                       int timeout_ms, broker_done *done, void *context, struct error *err)
{
    if (!gate_passes(&ingestion->gate, err))
        return false;
    if (broker_publish_async(ingestion->broker, message, timeout_ms, done, context, err))
        return true;
    gate_cancel(&ingestion->gate); /* refused here: it says nothing of the broker */
    return false;
}

struct error ingestion_answered(struct ingestion *ingestion, const struct broker_receipt *receipt)
{
    struct error err = receipt->error;

    gate_report(&ingestion->gate, err.code);
    if (err.code == ERROR_NOT_FOUND) { /* the stream is gone: ours to mend, not the client's */
        ingestion->declared = false;
        err.code = ERROR_UNAVAILABLE;
    }
    return err;
}

enum ingestion_outcome ingestion_outcome_of(const struct error *err, bool duplicate)
{
    if (err->code == ERROR_NONE)
        return duplicate ? INGESTION_DUPLICATE : INGESTION_ACCEPTED;
    return err->code == ERROR_INVALID || err->code == ERROR_TOO_LARGE ? INGESTION_REFUSED
                                                                      : INGESTION_FAILED;
}

void ingestion_count(struct ingestion *ingestion, const struct topic *topic,
                     enum ingestion_outcome outcome, size_t events)
{
    metrics_add(ingestion->outcomes[topic - topics][outcome], (double)events);
}

/* ---- routes ---- */

static void answer_accepted(const struct single_result *result, struct json_writer *out)
{
    char id[ID_TEXT_SIZE];

    id_format(topic_id(result->topic, result->event), id);
    json_text(out, "status", "accepted");
    json_text(out, "stream_id", result->receipt->sequence);
    json_text(out, "id", id);
    if (result->receipt->duplicate)
        json_bool(out, "duplicate", true);
}

/* The forerunner's body: its id is the place in the stream, its time is in seconds. */
static void answer_sent(const struct single_result *result, struct json_writer *out)
{
    const struct log_event *log = result->event;
    char id[ID_TEXT_SIZE];

    id_format(&log->id, id);
    json_text(out, "status", "sent");
    json_text(out, "stream", result->topic->stream);
    json_text(out, "id", result->receipt->sequence);
    json_open(out, "event", '{');
    json_text(out, "message", log->message);
    json_double(out, "timestamp", (double)log->timestamp_ms / 1000);
    json_close(out, '}');
    json_text(out, "event_id", id);
}

static const struct single_route post_readings = {"readings", 201, answer_accepted};
static const struct single_route post_logs = {"logs", 201, answer_accepted};
static const struct single_route post_entries = {"parking-entries", 201, answer_accepted};
static const struct single_route post_exits = {"parking-exits", 201, answer_accepted};
static const struct single_route get_send = {"logs", 200, answer_sent};

static void post(void *context, struct http_exchange *exchange)
{
    if (!bulk_finish(context, exchange))
        single_post(context, exchange);
}

const struct http_route ingestion_routes[] = {
    {"POST", "/readings", .begin = bulk_begin, .handle = post, .row = &post_readings},
    {"POST", "/logs", .begin = bulk_begin, .handle = post, .row = &post_logs},
    {"GET", "/send", .handle = single_send, .writes = true, .row = &get_send},
    {"POST", "/parking/entries", .begin = bulk_begin, .handle = post, .row = &post_entries},
    {"POST", "/parking/exits", .begin = bulk_begin, .handle = post, .row = &post_exits},
    {"POST", "/WeatherForecast/city", .handle = call_post, .any_case = true, .row = &weather_call},
    {"GET", "/WeatherForecast", .handle = weather_forecast, .any_case = true},
    {"GET", "/WeatherForecast/health", .handle = weather_health, .any_case = true},
    {"GET", "/health", .handle = health_get},
    {"GET", "/healthz", .handle = health_getz},
    {0},
};

/* ---- calls ---- */

static const struct call_route *const call_routes[] = {&weather_call};

struct call *ingestion_call(const struct ingestion *ingestion, const struct call_route *route)
{
    struct call *const *call = ingestion->calls;

    while (*call && call_route_of(*call) != route)
        call++;
    assert(*call);
    return *call;
}

size_t ingestion_waiting(const struct ingestion *ingestion)
{
    size_t waiting = 0;

    for (struct call *const *call = ingestion->calls; *call; call++)
        waiting += call_waiting(*call);
    return waiting;
}

static bool listen_for_replies(struct ingestion *ingestion, struct error *err)
{
    for (struct call *const *call = ingestion->calls; *call; call++)
        if (!call_listen(*call, err))
            return false;
    return true;
}

/* ---- life ---- */

static void add_metrics(struct ingestion *ingestion, struct metrics *metrics)
{
    static const struct metrics_description events = {.kind = METRICS_COUNTER,
                                                      .name = "ingestion_events_total",
                                                      .help =
                                                          "Events received, by what became of them",
                                                      .labels = {"topic", "outcome"}};
    static const struct metrics_description circuits[] = {
        {.kind = METRICS_GAUGE,
         .name = "broker_circuit_state",
         .help = "1 while publishing is allowed, 0 while the circuit is open"},
        {.kind = METRICS_GAUGE,
         .name = "redis_circuit_state",
         .help = "The same under its legacy name, whichever the broker"},
    };
    static const struct metrics_description waiting = {
        .kind = METRICS_GAUGE,
        .name = "ingress_pending_requests",
        .help = "Requests that wait for their reply",
    };
    static const char *const outcomes[] = {
        [INGESTION_ACCEPTED] = "accepted",
        [INGESTION_DUPLICATE] = "duplicate",
        [INGESTION_REFUSED] = "refused",
        [INGESTION_FAILED] = "failed",
    };

    assert(topic_count <= INGESTION_TOPICS_MAX);
    for (size_t i = 0; i < topic_count; i++)
        for (int o = 0; o < INGESTION_OUTCOMES; o++)
            ingestion->outcomes[i][o] = metrics_cell(metrics_family(metrics, &events),
                                                     (const char *[]){topics[i].name, outcomes[o]});
    for (size_t i = 0; i < ARRAY_LEN(circuits); i++)
        ingestion->circuit[i] = metrics_cell(metrics_family(metrics, &circuits[i]), NULL);
    ingestion->waiting = metrics_cell(metrics_family(metrics, &waiting), NULL);
}

static void show_state(void *context)
{
    struct ingestion *ingestion = context;
    bool closed = gate_state(&ingestion->gate) != BREAKER_OPEN;

    for (size_t i = 0; i < ARRAY_LEN(ingestion->circuit); i++)
        metrics_set(ingestion->circuit[i], closed);
    metrics_set(ingestion->waiting, (double)ingestion_waiting(ingestion));
}

struct ingestion *ingestion_new(const struct ingestion_settings *settings, struct broker *broker,
                                struct metrics *metrics)
{
    struct ingestion *ingestion = memory_alloc(sizeof(*ingestion));

    ingestion->settings = settings;
    ingestion->broker = broker;
    ingestion->ping_ms = INGESTION_PING_NONE;
    gate_start(&ingestion->gate, clock_system());
    add_metrics(ingestion, metrics);
    metrics_on_render(metrics, show_state, ingestion);
    for (size_t i = 0; i < ARRAY_LEN(call_routes); i++)
        ingestion->calls[i] = call_start(call_routes[i], ingestion, metrics);
    return ingestion;
}

void ingestion_free(struct ingestion *ingestion)
{
    if (!ingestion)
        return;
    for (struct call **call = ingestion->calls; *call; call++)
        call_free(*call);
    gate_stop(&ingestion->gate);
    free(ingestion);
}

static bool prepare(struct ingestion *ingestion, struct error *err)
{
    if (!ingestion->declared &&
        !topology_declare_streams(ingestion->broker, &ingestion->settings->topology, err))
        return false;
    ingestion->declared = true;
    return listen_for_replies(ingestion, err);
}

static bool is_prepared(const struct ingestion *ingestion)
{
    bool listening = true;

    for (struct call *const *call = ingestion->calls; *call; call++)
        listening &= call_is_listening(*call);
    return listening && ingestion->declared;
}

void ingestion_prepare(struct ingestion *ingestion)
{
    static const struct backoff backoff = {.first_ms = 100, .most_ms = 3000};
    struct error err;

    if (is_prepared(ingestion))
        return;
    for (unsigned attempt = 1; !prepare(ingestion, &err); attempt++) {
        if (attempt == 1)
            log_warning("waiting for the broker", log_text("error", err.message));
        if (service_wait((int)backoff_ms(&backoff, attempt, id_random())))
            return;
    }
    log_info("ready to publish");
}

void ingestion_unprepare(struct ingestion *ingestion)
{
    if (!ingestion)
        return;
    for (struct call *const *call = ingestion->calls; *call; call++)
        call_unlisten(*call);
}

static bool check_streams(void *context, struct error *err)
{
    struct ingestion *ingestion = context;

    return ingestion->declared ||
           error_set(err, ERROR_UNAVAILABLE, "the streams are not declared yet");
}

static bool check_replies(void *context, struct error *err)
{
    const struct ingestion *ingestion = context;

    for (struct call *const *call = ingestion->calls; *call; call++)
        if (!call_is_listening(*call))
            return error_set(err, ERROR_UNAVAILABLE, "replies cannot be heard yet");
    return true;
}

const struct http_check ingestion_checks[] = {
    {"broker", health_check_broker},
    {"streams", check_streams},
    {"replies", check_replies},
    {0},
};
