#include "api.h"

#include "consumers.h"
#include "dead_letters.h"
#include "health.h"
#include "query_pool.h"
#include "question.h"
#include "telemetry.h"

#include "base/clock.h"
#include "base/memory.h"
#include "http/http.h"

#include <stdlib.h>
#include <string.h>

#define DRAIN_MS 1500
#define CHANGE_THREADS 2 /* that replay and purge dead letters */

const struct config_field api_settings_table[] = {
    CONFIG_FIELD(struct api_settings, host, "HOST", "127.0.0.1", "address to listen on"),
    CONFIG_FIELD(struct api_settings, port, "PORT", "8001", "port; 0: any", .min = 0, .max = 65535),
    CONFIG_FIELD(struct api_settings, broker_url, "BROKER_URL", "nats://127.0.0.1:4222",
                 "the broker; its scheme picks the driver", .secret = true),
    CONFIG_FIELD(struct api_settings, database_url, "DATABASE_URL",
                 "postgresql://127.0.0.1:5432/millrace", "PostgreSQL", .secret = true),
    CONFIG_FIELD(struct api_settings, query_threads, "QUERY_THREADS", "2",
                 "threads that query, each with a connection", .min = 1, .max = 64),
    CONFIG_FIELD(struct api_settings, query_queue, "QUERY_QUEUE", "256",
                 "queries that may wait for a thread", .min = 1, .max = 65536),
    CONFIG_FIELD(struct api_settings, query_timeout_ms, "QUERY_TIMEOUT_MS", "5000",
                 "ms from a request to its answer", .min = 100, .max = 60000),
    CONFIG_FIELD(struct api_settings, origins, "CORS_ORIGINS", "",
                 "web origins that may ask, joined by commas"),
    CONFIG_FIELD(struct api_settings, garage_capacity, "GARAGE_CAPACITY", "100",
                 "vehicles that fit into a garage; 0: not known", .min = 0, .max = 1000000),
    {0},
};

struct api {
    const struct api_settings *settings; /* borrowed */
    struct metrics *metrics;
    struct broker *broker;
    struct dead_letters letters;
    struct telemetry *telemetry;
    struct health *health;
    struct query_pool *queries, *changes;
    struct http_server *server;
};

/* Hands an exchange over to the threads that may wait. */
static void submit(struct query_pool *pool, const struct query_job *job)
{
    struct error err;

    http_defer(job->exchange);
    if (!query_pool_submit(pool, job, &err))
        http_problem(job->exchange, &err);
}

static const char *find(const void *exchange, const struct parameter *parameter)
{
    return parameter->in_path ? http_parameter(exchange, parameter->name)
                              : http_query(exchange, parameter->name);
}

static struct store_value capacity(const struct api_settings *settings)
{
    return (struct store_value){.present = settings->garage_capacity > 0,
                                .type = STORE_INT,
                                .integer = settings->garage_capacity};
}

static void handle_resource(void *context, struct http_exchange *exchange)
{
    struct arena *arena = http_arena(exchange);
    struct question *question = arena_alloc(arena, sizeof(*question));
    const struct query_job job = {
        .exchange = exchange, .work = question_answer, .context = question};
    struct api *api = context;
    struct error err;

    question->resource = http_row(exchange);
    question->slots[SLOT_CAPACITY] = capacity(api->settings);
    if (question_read(question, find, exchange, clock_wall_ms(clock_system()), arena, &err))
        submit(api->queries, &job);
    else
        http_problem(exchange, &err);
}

/* Threads that wait for an absent broker would be missing for the store's answers. */
static void submit_for_broker(struct api *api, struct query_pool *pool, const struct query_job *job)
{
    struct error err;

    if (health_check(api->health, HEALTH_BROKER, &err)) {
        submit(pool, job);
    } else {
        (void)error_set(&err, ERROR_UNAVAILABLE, "the broker is away");
        http_problem(job->exchange, &err);
    }
}

static void handle_consumers(void *context, struct http_exchange *exchange)
{
    struct api *api = context;
    const struct query_job job = {
        .exchange = exchange, .work = consumers_answer, .context = api->broker};

    submit_for_broker(api, api->queries, &job);
}

static void handle_dead_letters(void *context, struct http_exchange *exchange)
{
    const struct dead_letters_action *action = http_row(exchange);
    struct query_job job = {.exchange = exchange, .work = action->answer};
    struct api *api = context;
    struct error err;

    if (action->read(&api->letters, exchange, &job.context, &err))
        submit_for_broker(api, action->changes ? api->changes : api->queries, &job);
    else if (strcmp(err.reason, DEAD_LETTERS_EMPTY_FILTER) == 0)
        http_problem_status(exchange, 400, &err);
    else
        http_problem(exchange, &err);
}

/* `redis` is what clients of old know the broker as. */
static void handle_health(void *context, struct http_exchange *exchange)
{
    static const char *const words[] = {"disconnected", "connected"};
    AUTO(buffer_free) struct buffer body = {0};
    struct json_writer writer = {.out = &body};
    struct api *api = context;
    struct error err;
    bool broker = health_check(api->health, HEALTH_BROKER, &err);
    bool store = health_check(api->health, HEALTH_STORE, &err);

    json_open(&writer, NULL, '{');
    json_text(&writer, "status", broker && store ? "healthy" : "unhealthy");
    json_text(&writer, "broker", words[broker]);
    json_text(&writer, "redis", words[broker]);
    json_text(&writer, "database", words[store]);
    json_close(&writer, '}');
    http_reply_buffer(exchange, broker && store ? 200 : 503, HTTP_JSON, &body);
}

static const struct http_route routes[] = {
    {"GET", "/logs", .handle = handle_resource, .row = &resource_logs},
    {"GET", "/logs/stats", .handle = handle_resource, .row = &resource_logs_stats},
    {"GET", "/sites/{site_id}/readings", .handle = handle_resource, .row = &resource_readings},
    {"GET", "/sites/{site_id}/stats", .handle = handle_resource, .row = &resource_site_stats},
    {"GET", "/parking/sessions", .handle = handle_resource, .row = &resource_parking_sessions},
    {"GET", "/parking/garages/{garage_id}", .handle = handle_resource,
     .row = &resource_parking_garage},
    {"GET", "/parking/invoices", .handle = handle_resource, .row = &resource_parking_invoices},
    {"GET", "/WeatherForecast/requests/{id}", .handle = handle_resource, .any_case = true,
     .row = &resource_weather_request},
    {"GET", "/consumers", .handle = handle_consumers},
    {"GET", "/consumers/{name}/lag", .handle = handle_consumers},
    {"GET", "/dead-letters", .handle = handle_dead_letters, .row = &dead_letters_list},
    {"GET", "/dead-letters/{id}", .handle = handle_dead_letters, .row = &dead_letters_one},
    {"POST", "/dead-letters/replay", .handle = handle_dead_letters, .row = &dead_letters_replay},
    {"DELETE", "/dead-letters", .handle = handle_dead_letters, .row = &dead_letters_purge},
    {"GET", "/health", .handle = handle_health},
    {0},
};

static bool check_broker(void *context, struct error *err)
{
    return health_check(((struct api *)context)->health, HEALTH_BROKER, err);
}

static bool check_store(void *context, struct error *err)
{
    return health_check(((struct api *)context)->health, HEALTH_STORE, err);
}

static const struct http_check checks[] = {
    {"broker", check_broker},
    {"store", check_store},
    {0},
};

static bool start(struct api *api, const struct api_settings *settings, struct error *err)
{
    const struct broker_options broker = {.name = "api", .observe = telemetry_observe};
    const struct query_pool_options queries = {
        .database_url = settings->database_url,
        .threads = settings->query_threads,
        .queue_max = settings->query_queue,
        .timeout_ms = settings->query_timeout_ms - settings->query_timeout_ms / 10,
        .metrics = api->metrics,
    };
    const struct query_pool_options changes = {
        .threads = CHANGE_THREADS, .queue_max = settings->query_queue, .metrics = api->metrics};
    const struct http_options http = {
        .service = "api",
        .host = settings->host,
        .port = settings->port,
        .deadline_ms = settings->query_timeout_ms,
        .origins = settings->origins,
        .checks = checks,
        .metrics = api->metrics,
    };

    metrics_process(api->metrics);
    if (!broker_open(&api->broker, settings->broker_url, &broker, err))
        return false;
    api->letters.broker = api->broker;
    api->telemetry = telemetry_new(api->metrics, api->broker);
    return health_open(&api->health, api->broker, settings->database_url, err) &&
           query_pool_start(&api->queries, &queries, err) &&
           query_pool_start(&api->changes, &changes, err) &&
           http_start(&api->server, &http, routes, api, err);
}

bool api_start(struct api **out, const struct api_settings *settings, struct error *err)
{
    struct api *api = memory_alloc(sizeof(*api));

    api->settings = settings;
    api->metrics = metrics_new();
    if (start(api, settings, err)) {
        *out = api;
        return true;
    }
    api_stop(api);
    return false;
}

int api_port(const struct api *api)
{
    return http_port(api->server);
}

void api_refresh(struct api *api)
{
    health_refresh(api->health);
}

void api_stop(struct api *api)
{
    if (api == NULL)
        return;
    if (api->server != NULL) {
        http_unready(api->server);
        atomic_store(&api->letters.stopping, true);
        query_pool_stop(api->changes, 0); /* what runs ends its slice */
        query_pool_stop(api->queries, DRAIN_MS);
        http_stop(api->server);
    }
    query_pool_free(api->changes);
    query_pool_free(api->queries);
    health_close(api->health);
    telemetry_free(api->telemetry);
    broker_close(api->broker);
    metrics_free(api->metrics);
    free(api);
}
