/* Requests that wait for their reply, over HTTP, on the memory broker. */
#include "support/test.h"

#include "unit/http_client.h"

#include "desk.h"
#include "ingestion.h"
#include "prefer.h"

#include "base/document.h"
#include "base/log.h"
#include "base/rfc3339.h"
#include "broker/announce.h"
#include "broker/broker_memory.h"
#include "event/header.h"
#include "messages/weather.h"
#include "support/server.h"

#include <pthread.h>

#define HELD_MAX 64
#define PATIENCE_MS 10000
#define CITY(city) "{\"city\":\"" city "\",\"location\":\"Germany\"}"

struct held {
    char topic[128];
    struct buffer json;
};

/* Answers by the name of the city: see reply. */
struct answerer {
    struct broker *broker;
    struct broker_consumer *consumer;
    struct broker_group group;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    bool stopping, releasing;
    size_t requests;
    char reply_to[128], deadline[RFC3339_SIZE]; /* of the last request */
    struct held held[HELD_MAX];
    size_t held_count;
};

struct fixture {
    struct ingestion_settings settings;
    struct metrics *metrics;
    struct broker *broker;
    struct ingestion *ingestion;
    struct http_server *server;
    struct answerer answerer;
    int port;
};

/* ---- whoever answers ---- */

static void copy_header(const struct broker_delivery *delivery, const char *name, char *out,
                        size_t size)
{
    const char *value = broker_header(delivery, name);

    snprintf(out, size, "%s", value ? value : "");
}

static void announce(struct answerer *answerer, const char *topic, const void *data, size_t size)
{
    struct error err;

    assert_ok(broker_announce(answerer->broker, topic, data, size, &err));
}

/* With the lock held. */
static void reply(struct answerer *answerer, const struct weather_result *result)
{
    AUTO(buffer_free) struct buffer json = {0};

    json_encode(weather_result_fields, result, &json);
    if (strcmp(result->city, "Silent") == 0)
        return;
    if (strcmp(result->city, "Held") == 0) {
        assert_true(answerer->held_count < HELD_MAX);
        struct held *held = &answerer->held[answerer->held_count++];
        memcpy(held->topic, answerer->reply_to, sizeof(held->topic));
        held->json = json;
        json = (struct buffer){0};
        return;
    }
    if (strcmp(result->city, "Garbled") == 0)
        announce(answerer, answerer->reply_to, "{", 1);
    announce(answerer, answerer->reply_to, json.data, json.size);
}

static struct weather_result result_of(const struct weather_request *request)
{
    bool fails = strcmp(request->city, "Failing") == 0;

    return (struct weather_result){
        .id = request->id,
        .request_time_ms = request->request_time_ms,
        .outcome = fails                                   ? WEATHER_RESULT_FAILED
                   : strcmp(request->city, "Expired") == 0 ? WEATHER_RESULT_EXPIRED
                                                           : WEATHER_RESULT_OK,
        .reason = fails ? "provider_unavailable" : "",
        .detail = fails ? "the provider answers with 503" : "",
        .city = request->city,
        .location = request->location,
        .forecast_time_ms = request->request_time_ms,
        .temperature = -3.5,
        .condition = "Partly Cloudy",
        .humidity = 71,
        .wind_speed = 4.25,
        .provider = "test",
    };
}

static void work(struct answerer *answerer, const struct broker_delivery *delivery)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    struct topic_defaults defaults = {.time_ms = JSON_TIME_ABSENT, .arena = arena};
    struct weather_request request;
    struct error err;

    assert_ok(topic_accept(topic_find("weather-requests"), &defaults, delivery->data,
                           delivery->size, &request, &err));
    struct weather_result result = result_of(&request);
    pthread_mutex_lock(&answerer->lock);
    answerer->requests++;
    copy_header(delivery, HEADER_REPLY_TO, answerer->reply_to, sizeof(answerer->reply_to));
    copy_header(delivery, HEADER_DEADLINE, answerer->deadline, sizeof(answerer->deadline));
    if (*answerer->reply_to)
        reply(answerer, &result);
    pthread_cond_broadcast(&answerer->changed);
    pthread_mutex_unlock(&answerer->lock);
}

static bool go_on(struct answerer *answerer)
{
    pthread_mutex_lock(&answerer->lock);
    for (size_t i = 0; answerer->releasing && i < answerer->held_count; i++) {
        struct held *held = &answerer->held[i];
        announce(answerer, held->topic, held->json.data, held->json.size);
        buffer_free(&held->json);
    }
    if (answerer->releasing)
        answerer->held_count = 0;
    answerer->releasing = false;
    bool stopping = answerer->stopping;
    pthread_mutex_unlock(&answerer->lock);
    return !stopping;
}

static void *answer(void *context)
{
    static const struct broker_verdict done[64] = {{.action = BROKER_DONE}};
    struct answerer *answerer = context;
    struct broker_batch batch;
    struct error err;

    while (go_on(answerer)) {
        if (!broker_fetch(answerer->consumer, ARRAY_LEN(done), SIZE_MAX, 20, &batch, &err)) {
            usleep(1000); /* the broker is away */
            continue;
        }
        for (size_t i = 0; i < batch.count; i++)
            work(answerer, &batch.deliveries[i]);
        if (batch.count)
            (void)!broker_settle(answerer->consumer, done, batch.count, 1000, &err);
    }
    return NULL;
}

static void answerer_start(struct answerer *answerer, struct fixture *fixture)
{
    struct error err;

    answerer->broker = fixture->broker;
    answerer->group = topology_group(&fixture->settings.topology, "WEATHER_REQUESTS", "responder");
    pthread_mutex_init(&answerer->lock, NULL);
    pthread_cond_init(&answerer->changed, NULL);
    assert_ok(broker_open_consumer(&answerer->consumer, answerer->broker, &answerer->group, &err));
    assert_int_equal(pthread_create(&answerer->thread, NULL, answer, answerer), 0);
}

static void answerer_stop(struct answerer *answerer)
{
    pthread_mutex_lock(&answerer->lock);
    answerer->stopping = true;
    pthread_mutex_unlock(&answerer->lock);
    pthread_join(answerer->thread, NULL);
    for (size_t i = 0; i < answerer->held_count; i++)
        buffer_free(&answerer->held[i].json);
    broker_close_consumer(answerer->consumer);
    pthread_cond_destroy(&answerer->changed);
    pthread_mutex_destroy(&answerer->lock);
}

static void wait_for_held(struct fixture *fixture, size_t count)
{
    struct answerer *answerer = &fixture->answerer;
    int64_t until_ms = clock_steady_ms(clock_system()) + PATIENCE_MS;
    bool in_time = true;

    pthread_mutex_lock(&answerer->lock);
    while (answerer->held_count < count && in_time)
        in_time = clock_wait(&answerer->changed, &answerer->lock, until_ms);
    pthread_mutex_unlock(&answerer->lock);
    assert_true(in_time);
}

static void release_held(struct fixture *fixture)
{
    pthread_mutex_lock(&fixture->answerer.lock);
    fixture->answerer.releasing = true;
    pthread_mutex_unlock(&fixture->answerer.lock);
}

static size_t requests(struct fixture *fixture)
{
    pthread_mutex_lock(&fixture->answerer.lock);
    size_t count = fixture->answerer.requests;
    pthread_mutex_unlock(&fixture->answerer.lock);
    return count;
}

/* ---- the service ---- */

static const struct ingestion_settings usual = {
    .host = "127.0.0.1",
    .api_url = "",
    .default_message = "m",
    .max_pending = 1000,
    .publish_ms = 5000,
    .event_max_bytes = 4096,
    .bulk_max_bytes = 1 << 20,
    .bulk_max_lines = 100,
    .bulk_max_requests = 4,
    .call_timeout_ms = 10000,
    .call_max_waiting = 1000,
    .call_open_ms = 300,
    .topology = {.stream_max_bytes = 1 << 26,
                 .stream_replicas = 1,
                 .dedup_window_s = 600,
                 .ack_wait_ms = 30000,
                 .max_in_flight = 1000,
                 .max_attempts = 5},
};

static struct fixture *start_on(const char *url, struct ingestion_settings settings,
                                int deadline_ms)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct broker_options broker = {.name = "test"};
    struct http_options http = {.service = "ingestion", .deadline_ms = deadline_ms};
    struct error err;

    fixture->settings = settings;
    fixture->metrics = http.metrics = metrics_new();
    assert_ok(broker_open(&fixture->broker, url, &broker, &err));
    fixture->ingestion = ingestion_new(&fixture->settings, fixture->broker, fixture->metrics);
    ingestion_prepare(fixture->ingestion);
    assert_ok(topology_declare(fixture->broker, &settings.topology, &err));
    assert_ok(http_start(&fixture->server, &http, ingestion_routes, fixture->ingestion, &err));
    fixture->port = http_port(fixture->server);
    answerer_start(&fixture->answerer, fixture);
    return fixture;
}

static struct fixture *start_with(struct ingestion_settings settings, int deadline_ms)
{
    static int serial;
    char url[64];

    snprintf(url, sizeof(url), "memory://call-%d", ++serial);
    return start_on(url, settings, deadline_ms);
}

static void stop(struct fixture *fixture)
{
    http_stop(fixture->server);
    answerer_stop(&fixture->answerer);
    ingestion_unprepare(fixture->ingestion);
    broker_close(fixture->broker);
    ingestion_free(fixture->ingestion);
    metrics_free(fixture->metrics);
    free(fixture);
}

static void start(void **state)
{
    *state = start_with(usual, 0);
}

static int setup(void **state)
{
    start(state);
    return 0;
}

static int teardown(void **state)
{
    stop(*state);
    return 0;
}

/* Sends and does not wait. */
static struct client *send_request(const struct fixture *fixture, const char *line,
                                   const char *headers, const char *body)
{
    struct client *client = client_open(fixture->port);
    AUTO(buffer_free) struct buffer request = {0};

    buffer_print(&request, "%s HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n%s\r\n%s", line,
                 strlen(body), headers, body);
    client_send(client, request.data);
    return client;
}

static struct client *send_city(const struct fixture *fixture, const char *headers,
                                const char *body)
{
    return send_request(fixture, "POST /WeatherForecast/city", headers, body);
}

/* The status of one request; what is in its body must have `has`. */
static int ask(const struct fixture *fixture, const char *headers, const char *body,
               const char *has)
{
    AUTO(client_close) struct client *client = send_city(fixture, headers, body);
    int status = client_read(client);

    if (!strstr(client->body, has))
        fail_msg("no %s in %s", has, client->body);
    return status;
}

static double metric(const struct fixture *fixture, const char *line)
{
    return client_metric(fixture->port, line);
}

/* Waits for what the other side does in its own time. */
static void wait_for_metric(const struct fixture *fixture, const char *line, double want)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + PATIENCE_MS;

    while (metric(fixture, line) != want && clock_steady_ms(clock_system()) < until_ms)
        usleep(2000);
    assert_true(metric(fixture, line) == want);
}

/* ---- one request each ---- */

static const struct row {
    const char *name;
    const char *line, *headers, *body;
    int status;
    const char *has;    /* in the body */
    const char *header; /* that the reply must have, or "" */
    const char *outcome;
} rows[] = {
    {"a reply", "POST /WeatherForecast/city", "", CITY("Berlin"), 200,
     "\"temperature\":-3.5,\"condition\":\"Partly Cloudy\",\"humidity\":71,\"windSpeed\":4.25,"
     "\"requestId\":\"",
     "", "ok"},
    {"the path in any case", "POST /weatherforecast/CITY", "", CITY("Berlin"), 200,
     "{\"city\":\"Berlin\",\"location\":\"Germany\",\"forecastTime\":\"2", "", "ok"},
    {"the id and the time are the client's", "POST /WeatherForecast/city", "",
     "{\"city\":\"Rom\",\"id\":\"019aa580-2400-7abc-8def-0123456789b2\","
     "\"requestTime\":\"2026-11-21T08:30:00Z\"}",
     200, "\"requestId\":\"019aa580-2400-7abc-8def-0123456789b2\"", "", "ok"},
    {"a CloudEvent", "POST /WeatherForecast/city",
     "ce-specversion: 1.0\r\nce-id: 7\r\nce-source: /m\r\nce-type: t\r\nce-subject: s\r\n"
     "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
     "Content-Type: application/json\r\n",
     CITY("Berlin"), 200, "requestId", "", "ok"},
    {"a reply that is none does no harm", "POST /WeatherForecast/city", "", CITY("Garbled"), 200,
     "requestId", "", "ok"},
    {"a failure is told at once, with its reason", "POST /WeatherForecast/city", "",
     CITY("Failing"), 502,
     "\"detail\":\"the provider answers with 503\",\"code\":\"provider_unavailable\"", "",
     "failed"},
    {"too late to be worked on", "POST /WeatherForecast/city", "", CITY("Expired"), 504,
     "\"code\":\"reply_timeout\"", "", "timeout"},
    {"no reply in the time that the client gives", "POST /WeatherForecast/city",
     "Prefer: wait=1\r\n", CITY("Silent"), 504, "\"code\":\"reply_timeout\"", "", "timeout"},
    {"not waiting", "POST /WeatherForecast/city", "Prefer: respond-async, wait=5\r\n",
     CITY("Silent"), 202, "\"status\":\"accepted\"}", "Location", "accepted"},
    {"not waiting is said to be so", "POST /WeatherForecast/city", "Prefer: respond-async\r\n",
     CITY("Berlin"), 202, "{\"requestId\":\"", "Preference-Applied", "accepted"},
    {"no time to wait is not waiting", "POST /WeatherForecast/city", "Prefer: wait=0\r\n",
     CITY("Berlin"), 202, "\"status\":\"accepted\"}", "Location", "accepted"},
    {"no time to wait is said to be so", "POST /WeatherForecast/city", "Prefer: wait=0\r\n",
     CITY("Silent"), 202, "{\"requestId\":\"", "Preference-Applied", "accepted"},
    {"not JSON", "POST /WeatherForecast/city", "", "{", 400, "json_syntax", "", "refused"},
    {"no body", "POST /WeatherForecast/city", "", "", 400, "json_empty", "", "refused"},
    {"no city", "POST /WeatherForecast/city", "", "{}", 422, "\"pointer\":\"/city\"", "",
     "refused"},
    {"not JSON and not waiting", "POST /WeatherForecast/city", "Prefer: respond-async\r\n", "{",
     400, "json_syntax", "", "refused"},
    {"a key with a space", "POST /WeatherForecast/city", "Idempotency-Key: a b\r\n", CITY("Berlin"),
     422, "invalid_idempotency_key", "", "refused"},
};

static void answers(void **state)
{
    const struct row *row = *state;
    void *made;
    char line[64];

    start(&made);
    struct fixture *fixture = made;
    struct client *client = send_request(fixture, row->line, row->headers, row->body);
    assert_int_equal(client_read(client), row->status);
    if (!strstr(client->body, row->has))
        fail_msg("no %s in %s", row->has, client->body);
    if (*row->header)
        assert_non_null(client_header(client, row->header));
    client_close(client);
    snprintf(line, sizeof(line), "weather_requests_total{outcome=\"%s\"} ", row->outcome);
    assert_true(metric(fixture, line) == 1);
    assert_true(metric(fixture, "\ningress_pending_requests ") == 0);
    stop(fixture);
}

/* ---- where results are ---- */

static const struct place {
    const char *name, *api_url, *location;
} places[] = {
    {"no API_URL: the path alone", "", "/WeatherForecast/requests/"},
    {"API_URL comes first", "http://api.test:8001",
     "http://api.test:8001/WeatherForecast/requests/"},
    {"with a path of its own", "https://x.test/api",
     "https://x.test/api/WeatherForecast/requests/"},
    {"a slash at its end is dropped", "http://api.test/",
     "http://api.test/WeatherForecast/requests/"},
};

static void place(void **state)
{
    const struct place *row = *state;
    struct ingestion_settings settings = usual;
    size_t size = strlen(row->location);

    settings.api_url = row->api_url;
    struct fixture *fixture = start_with(settings, 0);
    struct client *client = send_city(fixture, "Prefer: respond-async\r\n", CITY("Berlin"));
    assert_int_equal(client_read(client), 202);
    const char *location = client_header(client, "Location");
    assert_int_equal(strncmp(location, row->location, size), 0);
    assert_int_equal(strlen(location + size), ID_TEXT_SIZE - 1);
    assert_non_null(strstr(client->body, location + size));
    client_close(client);
    stop(fixture);
}

/* ---- deadlines ---- */

static void a_request_says_until_when_and_where(void **state)
{
    struct fixture *fixture = *state;
    int64_t before_ms = clock_wall_ms(clock_system()), deadline_ms;

    assert_int_equal(ask(fixture, "Prefer: wait=7\r\n", CITY("Berlin"), "Berlin"), 200);
    struct answerer *answerer = &fixture->answerer;
    assert_int_equal(strncmp(answerer->reply_to, "bc.weather.reply.", 17), 0);
    assert_true(rfc3339_parse(answerer->deadline, strlen(answerer->deadline), &deadline_ms));
    assert_in_range(deadline_ms - before_ms, 7000, 7000 + PATIENCE_MS);

    assert_int_equal(ask(fixture, "Prefer: respond-async\r\n", CITY("Berlin"), "accepted"), 202);
    while (requests(fixture) < 2)
        usleep(1000);
    assert_string_equal(answerer->reply_to, ""); /* nobody waits, so it is never too late */
    assert_string_equal(answerer->deadline, "");
}

static void our_504_comes_before_the_servers(void **state)
{
    struct fixture *fixture = start_with(usual, 700);

    (void)state;
    assert_int_equal(ask(fixture, "", CITY("Silent"), "\"code\":\"reply_timeout\""), 504);
    assert_int_equal(ask(fixture, "Prefer: wait=60\r\n", CITY("Silent"), "reply_timeout"), 504);
    stop(fixture);
}

/* A shorter wish that comes later is answered first. */
static void deadlines_are_kept_in_their_order(void **state)
{
    struct fixture *fixture = *state;
    AUTO(client_close) struct client *patient = send_city(fixture, "", CITY("Held"));

    wait_for_held(fixture, 1);
    assert_int_equal(ask(fixture, "Prefer: wait=1\r\n", CITY("Silent"), "reply_timeout"), 504);
    assert_true(metric(fixture, "\ningress_pending_requests ") == 1);
    release_held(fixture);
    assert_int_equal(client_read(patient), 200);
}

static void a_late_reply_is_dropped_and_counted(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(ask(fixture, "Prefer: wait=1\r\n", CITY("Held"), "reply_timeout"), 504);
    wait_for_held(fixture, 1);
    release_held(fixture);
    wait_for_metric(fixture, "call_replies_dropped_total{call=\"weather\",reason=\"no_waiter\"} ",
                    1);
    assert_int_equal(ask(fixture, "", CITY("Berlin"), "Berlin"), 200);
}

/* ---- limits ---- */

static void more_than_may_wait_are_429(void **state)
{
    struct ingestion_settings settings = usual;
    struct client *waiting[2];

    (void)state;
    settings.call_max_waiting = 2;
    struct fixture *fixture = start_with(settings, 0);
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++)
        waiting[i] = send_city(fixture, "", CITY("Held"));
    wait_for_held(fixture, 2);

    struct client *third = send_city(fixture, "", CITY("Berlin"));
    assert_int_equal(client_read(third), 429);
    assert_non_null(strstr(third->body, "\"code\":\"too_many_waiting\""));
    assert_string_equal(client_header(third, "Retry-After"), "1");
    client_close(third);
    assert_int_equal(ask(fixture, "Prefer: respond-async\r\n", CITY("Berlin"), "accepted"), 202);
    assert_true(metric(fixture, "weather_requests_total{outcome=\"overloaded\"} ") == 1);

    release_held(fixture);
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++) {
        assert_int_equal(client_read(waiting[i]), 200);
        client_close(waiting[i]);
    }
    assert_int_equal(ask(fixture, "", CITY("Berlin"), "Berlin"), 200);
    stop(fixture);
}

/* So many at once, none of which is answered in its time. */
static void ask_in_vain(const struct fixture *fixture, size_t count, const char *headers,
                        int status, const char *has)
{
    struct client *clients[16];

    assert_true(count <= ARRAY_LEN(clients));
    for (size_t i = 0; i < count; i++)
        clients[i] = send_city(fixture, headers, CITY("Silent"));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(client_read(clients[i]), status);
        assert_non_null(strstr(clients[i]->body, has));
        client_close(clients[i]);
    }
}

static void silence_opens_the_circuit_and_a_probe_closes_it(void **state)
{
    struct ingestion_settings settings = usual;
    struct client *client;

    (void)state;
    settings.call_timeout_ms = 1100;
    settings.call_open_ms = 2000;
    struct fixture *fixture = start_with(settings, 0);
    ask_in_vain(fixture, 4, "", 504, "reply_timeout");
    ask_in_vain(fixture, 5, "Prefer: wait=1\r\n", 504, "reply_timeout"); /* too soon to tell */
    assert_true(metric(fixture, "call_circuit_state{call=\"weather\"} ") == 1);
    assert_int_equal(ask(fixture, "", CITY("Silent"), "reply_timeout"), 504);

    client = send_city(fixture, "", CITY("Berlin"));
    assert_int_equal(client_read(client), 503);
    assert_non_null(strstr(client->body, "\"code\":\"call_circuit_open\""));
    assert_in_range(atoi(client_header(client, "Retry-After")), 1, 2);
    client_close(client);
    assert_true(metric(fixture, "call_circuit_state{call=\"weather\"} ") == 0);
    assert_int_equal(ask(fixture, "Prefer: respond-async\r\n", CITY("Berlin"), "accepted"), 202);

    int64_t until_ms = clock_steady_ms(clock_system()) + PATIENCE_MS;
    int status = 503;
    while (status == 503 && clock_steady_ms(clock_system()) < until_ms) {
        usleep(20000);
        status = ask(fixture, "", CITY("Berlin"), "");
    }
    assert_int_equal(status, 200);
    assert_true(metric(fixture, "call_circuit_state{call=\"weather\"} ") == 1);
    stop(fixture);
}

/* A reply of any kind shows that somebody is there. */
static void a_reply_ends_the_row_of_silences(void **state)
{
    struct ingestion_settings settings = usual;

    (void)state;
    settings.call_timeout_ms = 300;
    struct fixture *fixture = start_with(settings, 0);
    for (int i = 0; i < 8; i++)
        if (i == 4)
            assert_int_equal(ask(fixture, "", CITY("Failing"), "provider"), 502);
        else
            assert_int_equal(ask(fixture, "", CITY("Silent"), "reply_timeout"), 504);
    assert_true(metric(fixture, "call_circuit_state{call=\"weather\"} ") == 1);
    stop(fixture);
}

/* ---- repeats ---- */

static void a_repeat_waits_with_the_first(void **state)
{
    struct fixture *fixture = *state;
    const char *key = "Idempotency-Key: once\r\n";
    AUTO(client_close) struct client *first = send_city(fixture, key, CITY("Held"));

    wait_for_held(fixture, 1);
    AUTO(client_close) struct client *second = send_city(fixture, key, CITY("Held"));
    wait_for_metric(fixture, "\ningress_pending_requests ", 2);
    release_held(fixture);
    assert_int_equal(client_read(first), 200);
    assert_int_equal(client_read(second), 200);
    assert_string_equal(first->body, second->body);
    assert_int_equal(requests(fixture), 1);

    /* Whose reply is gone is not kept waiting for another. */
    AUTO(client_close) struct client *third = send_city(fixture, key, CITY("Held"));
    assert_int_equal(client_read(third), 202);
    assert_non_null(strstr(third->body, "\"duplicate\":true"));
    const char *location = client_header(third, "Location");
    assert_int_equal(strncmp(location, "/WeatherForecast/requests/", 26), 0);
    assert_non_null(strstr(first->body, location + 26));
    assert_int_equal(requests(fixture), 1);
    assert_true(metric(fixture, "\ningress_pending_requests ") == 0);
}

/* The reply is on its way to this process, whoever of it waits. */
static void a_repeat_goes_on_when_the_first_gives_up(void **state)
{
    struct fixture *fixture = *state;
    const char *key = "Idempotency-Key: twice\r\n";
    const char *hasty = "Idempotency-Key: twice\r\nPrefer: wait=1\r\n";
    AUTO(client_close) struct client *first = send_city(fixture, hasty, CITY("Held"));

    wait_for_held(fixture, 1);
    AUTO(client_close) struct client *second = send_city(fixture, key, CITY("Held"));
    wait_for_metric(fixture, "\ningress_pending_requests ", 2);
    assert_int_equal(client_read(first), 504);
    release_held(fixture);
    assert_int_equal(client_read(second), 200);
    assert_int_equal(requests(fixture), 1);
}

/* ---- the broker ---- */

static void an_absent_broker_is_503_and_comes_back(void **state)
{
    struct fixture *fixture = *state;
    int status = 503;

    broker_memory_away(fixture->broker, true);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ask(fixture, "", CITY("Berlin"), i < 9 ? "code" : "circuit_open"), 503);
    assert_int_equal(ask(fixture, "Prefer: respond-async\r\n", CITY("Berlin"), "circuit"), 503);
    assert_true(metric(fixture, "\ningress_pending_requests ") == 0);

    broker_memory_away(fixture->broker, false);
    int64_t until_ms = clock_steady_ms(clock_system()) + PATIENCE_MS;
    while (status == 503 && clock_steady_ms(clock_system()) < until_ms) {
        usleep(20000); /* the gate lets a probe pass after a second */
        status = ask(fixture, "", CITY("Berlin"), "");
    }
    assert_int_equal(status, 200);
    assert_true(metric(fixture, "call_circuit_state{call=\"weather\"} ") == 1);
}

static void who_waits_goes_on_after_a_gap(void **state)
{
    struct fixture *fixture = *state;
    AUTO(client_close) struct client *client = send_city(fixture, "", CITY("Held"));

    wait_for_held(fixture, 1);
    broker_memory_away(fixture->broker, true);
    broker_memory_away(fixture->broker, false);
    wait_for_metric(fixture, "call_gaps_total{call=\"weather\"} ", 1);
    release_held(fixture);
    assert_int_equal(client_read(client), 200);
}

/* Stored or not, the broker does not know: the client may ask again with the same id. */
static void an_unknown_outcome_is_503_and_its_reply_is_dropped(void **state)
{
    struct fixture *fixture = *state;

    broker_memory_fail(fixture->broker, "WEATHER_REQUESTS", BROKER_MEMORY_STORED, 1);
    assert_int_equal(ask(fixture, "", CITY("Held"), "code"), 503);
    wait_for_held(fixture, 1);
    release_held(fixture);
    wait_for_metric(fixture, "call_replies_dropped_total{call=\"weather\",reason=\"no_waiter\"} ",
                    1);
}

/* How soon clients give up says nothing of the broker: a mute one that is back in its time has
 * never been away. */
static void impatience_says_nothing_of_the_broker(void **state)
{
    AUTO(server_close) struct server *server = NULL;
    struct error err;

    (void)state;
    assert_ok(server_start_nats(&server, &err));
    struct fixture *fixture = start_on(server_url(server), usual, 0);
    server_pause(server);
    ask_in_vain(fixture, 10, "Prefer: wait=1\r\n", 503, "not confirm");
    assert_true(metric(fixture, "\nbroker_circuit_state ") == 1);
    server_resume(server);
    assert_int_equal(ask(fixture, "", CITY("Berlin"), "Berlin"), 200);
    stop(fixture);
}

static void nobody_waits_before_replies_can_be_heard(void **state)
{
    struct fixture *fixture = *state;

    ingestion_unprepare(fixture->ingestion);
    assert_int_equal(ask(fixture, "", CITY("Berlin"), "cannot be heard"), 503);
    assert_int_equal(ask(fixture, "Prefer: respond-async\r\n", CITY("Berlin"), "accepted"), 202);
    ingestion_prepare(fixture->ingestion);
    assert_int_equal(ask(fixture, "", CITY("Berlin"), "Berlin"), 200);
}

/* ---- clients ---- */

static void a_client_that_is_gone_leaves_its_place(void **state)
{
    struct fixture *fixture = *state;

    client_close(send_city(fixture, "", CITY("Held")));
    client_close(send_city(fixture, "Prefer: wait=1\r\n", CITY("Silent")));
    wait_for_held(fixture, 1);
    release_held(fixture);
    wait_for_metric(fixture, "\ningress_pending_requests ", 0);
    assert_int_equal(ask(fixture, "", CITY("Berlin"), "Berlin"), 200);
}

/* The server gives its own answer, and what is left in the table is let go. */
static void who_waits_at_the_end_is_told(void **state)
{
    struct fixture *fixture = start_with(usual, 0);
    AUTO(client_close) struct client *client = send_city(fixture, "", CITY("Held"));

    (void)state;
    wait_for_held(fixture, 1);
    stop(fixture);
    assert_int_equal(client_read(client), 503);
}

#define MANY 500

static void check_own_answer(struct client *client, size_t i)
{
    AUTO(document_free) struct document *answered = NULL;
    char city[32];
    struct error err;

    assert_int_equal(client_read(client), 200);
    assert_ok(document_parse(&answered, client->body, client->body_size, &err));
    snprintf(city, sizeof(city), "City %zu", i);
    assert_string_equal(document_text(answered, "city"), city);
}

static void many_at_once_get_their_own_answers(void **state)
{
    struct fixture *fixture = *state;
    static struct client *clients[MANY];
    char body[64];

    for (size_t i = 0; i < MANY; i++) {
        snprintf(body, sizeof(body), "{\"city\":\"City %zu\"}", i);
        clients[i] = send_city(fixture, "", body);
    }
    for (size_t i = 0; i < MANY; i++)
        check_own_answer(clients[i], i);
    assert_int_equal(requests(fixture), MANY);
    for (size_t i = 0; i < MANY; i++)
        client_close(clients[i]);
    assert_true(metric(fixture, "weather_requests_total{outcome=\"ok\"} ") == MANY);
    assert_true(metric(fixture, "weather_request_duration_seconds_count ") == MANY);
}

/* Replies, deadlines and repeats of the same moment: each client gets one answer. */
static void races_are_answered_once(void **state)
{
    struct ingestion_settings settings = usual;
    struct client *clients[200];
    char headers[160];

    (void)state;
    settings.call_timeout_ms = 5;
    settings.call_open_ms = 1;
    struct fixture *fixture = start_with(settings, 0);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        snprintf(headers, sizeof(headers),
                 "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
                 "Idempotency-Key: k%zu\r\n%s",
                 i / 2, i % 3 ? "" : "Prefer: wait=0\r\n");
        clients[i] = send_city(fixture, headers, CITY("Berlin"));
    }
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        int status = client_read(clients[i]);
        if (status != 200 && status != 202 && status != 503 && status != 504)
            fail_msg("%d: %s", status, clients[i]->body);
        assert_int_equal(clients[i]->size, 0);
        client_close(clients[i]);
    }
    assert_true(metric(fixture, "\ningress_pending_requests ") == 0);
    stop(fixture);
}

/* ---- Prefer ---- */

static const struct preference {
    const char *name, *header;
    bool respond_async;
    int wait_s;
} preferences[] = {
    {"no header", NULL, false, PREFER_WAIT_ABSENT},
    {"an empty header", "", false, PREFER_WAIT_ABSENT},
    {"respond-async", "respond-async", true, PREFER_WAIT_ABSENT},
    {"in any case", "Respond-ASYNC, WAIT=3", true, 3},
    {"both", "respond-async, wait=100", true, 100},
    {"the other way around, with space", " wait = 5 ,\trespond-async ", true, 5},
    {"between others", "return=minimal; x=1, wait=7; y, handling=lenient", false, 7},
    {"a quoted value", "wait=\"12\"", false, 12},
    {"zero", "wait=0", false, 0},
    {"the first counts", "wait=1, wait=2", false, 1},
    {"longer than a day", "wait=99999999999999999999", false, PREFER_WAIT_MAX_S},
    {"not a number", "wait=soon", false, PREFER_WAIT_ABSENT},
    {"a negative number", "wait=-1", false, PREFER_WAIT_ABSENT},
    {"a fraction", "wait=1.5", false, PREFER_WAIT_ABSENT},
    {"no number", "wait", false, PREFER_WAIT_ABSENT},
    {"an empty number", "wait=", false, PREFER_WAIT_ABSENT},
    {"a longer name", "respond-asynchronously, waiting=3", false, PREFER_WAIT_ABSENT},
    {"commas alone", ",,,", false, PREFER_WAIT_ABSENT},
};

static void preference(void **state)
{
    const struct preference *row = *state;
    struct prefer prefer = prefer_read(row->header);

    assert_int_equal(prefer.respond_async, row->respond_async);
    assert_int_equal(prefer.wait_s, row->wait_s);
}

/* ---- the table ---- */

static void the_table_is_found_by_id_and_ordered_by_deadline(void **state)
{
    static const int64_t deadlines[] = {50, 10, 30, 30, 20, 90, 5, 50};
    struct waiter waiters[ARRAY_LEN(deadlines)] = {0};
    struct waiting waiting;

    (void)state;
    waiting_start(&waiting, ARRAY_LEN(waiters));
    for (size_t i = 0; i < ARRAY_LEN(waiters); i++) {
        waiters[i].id.bytes[15] = (uint8_t)(i / 2); /* pairs */
        waiters[i].deadline_ms = deadlines[i];
        waiting_add(&waiting, &waiters[i]);
    }
    assert_true(waiting_is_full(&waiting));
    struct waiter *one = waiting_find(&waiting, &waiters[4].id);
    struct waiter *other = waiting_find_next(one);
    assert_true((one == &waiters[4] && other == &waiters[5]) ||
                (one == &waiters[5] && other == &waiters[4]));
    assert_null(waiting_find_next(other));

    waiting_remove(&waiting, &waiters[2]);
    assert_ptr_equal(waiting_find(&waiting, &waiters[2].id), &waiters[3]);
    waiting_remove(&waiting, &waiters[5]); /* the last */
    for (int64_t before = 0; waiting.first;) {
        assert_true(waiting.first->deadline_ms >= before);
        before = waiting.first->deadline_ms;
        waiting_remove(&waiting, waiting.first);
    }
    assert_null(waiting.last);
    assert_null(waiting_find(&waiting, &waiters[4].id));
    waiting_stop(&waiting);
}

/* ---- the desk ---- */

static void ignore_late(struct waiter *waiter)
{
    (void)waiter;
}

static const struct silence {
    const char *name;
    int count;
    bool sent, impatient, opens;
} silences[] = {
    {"five whole deadlines", 5, true, false, true},
    {"four", 4, true, false, false},
    {"a request that the broker has not confirmed says nothing", 20, false, false, false},
    {"who waited for less says nothing", 20, true, true, false},
};

static void admit(struct desk *desk, struct waiter *waiter)
{
    struct error err;

    assert_ok(desk_admit(desk, waiter, &err));
}

/* Several like the model, each under an id of its own. */
static void admit_many(struct desk *desk, struct waiter *waiters, size_t count,
                       const struct waiter *model)
{
    for (size_t i = 0; i < count; i++) {
        memcpy(&waiters[i], model, sizeof(*model));
        waiters[i].id.bytes[0] = (uint8_t)(i + 1);
        admit(desk, &waiters[i]);
    }
}

static void wait_for_count(struct desk *desk, size_t count)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + PATIENCE_MS;

    while (desk_count(desk) > count && clock_steady_ms(clock_system()) < until_ms)
        usleep(1000);
    assert_int_equal(desk_count(desk), count);
}

static void silence(void **state)
{
    const struct silence *row = *state;
    struct desk_options options = {.max = 32, .open_ms = 60000, .late = ignore_late};
    int64_t now_ms = clock_steady_ms(clock_system());
    struct waiter model = {.started_ms = now_ms,
                           .deadline_ms = now_ms + 50,
                           .impatient = row->impatient,
                           .sent = row->sent};
    struct waiter waiters[32];
    struct desk desk;

    desk_start(&desk, &options);
    admit_many(&desk, waiters, (size_t)row->count, &model);
    wait_for_count(&desk, 0);
    assert_int_equal(desk_is_open(&desk), row->opens);
    assert_int_equal(desk_retry_after_ms(&desk) > 0, row->opens);
    desk_close(&desk);
    assert_null(desk_take_any(&desk));
    desk_stop(&desk);
}

/* Who waited since before the breaker opened does not open it again after a probe. */
static void an_old_silence_says_nothing(void **state)
{
    struct desk_options options = {.max = 8, .open_ms = 1, .late = ignore_late};
    int64_t now_ms = clock_steady_ms(clock_system());
    struct waiter old = {.started_ms = now_ms, .deadline_ms = now_ms + 400, .sent = true};
    struct waiter model = {.started_ms = now_ms, .deadline_ms = now_ms + 50, .sent = true};
    struct waiter waiters[5], probe;
    struct desk desk;

    (void)state;
    desk_start(&desk, &options);
    admit(&desk, &old);
    admit_many(&desk, waiters, ARRAY_LEN(waiters), &model);
    wait_for_count(&desk, 1);
    assert_true(desk_is_open(&desk));
    usleep(5000); /* the breaker may be tried again */
    model.started_ms = clock_steady_ms(clock_system());
    model.deadline_ms = model.started_ms + PATIENCE_MS;
    admit_many(&desk, &probe, 1, &model);
    wait_for_count(&desk, 1);
    assert_false(desk_is_open(&desk));
    assert_ptr_equal(desk_take_any(&desk), &probe);
    desk_close(&desk);
    desk_stop(&desk);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_request_says_until_when_and_where),
        cmocka_unit_test(our_504_comes_before_the_servers),
        CASE(deadlines_are_kept_in_their_order),
        CASE(a_late_reply_is_dropped_and_counted),
        cmocka_unit_test(more_than_may_wait_are_429),
        cmocka_unit_test(silence_opens_the_circuit_and_a_probe_closes_it),
        cmocka_unit_test(a_reply_ends_the_row_of_silences),
        CASE(a_repeat_waits_with_the_first),
        CASE(a_repeat_goes_on_when_the_first_gives_up),
        CASE(an_absent_broker_is_503_and_comes_back),
        CASE(who_waits_goes_on_after_a_gap),
        CASE(an_unknown_outcome_is_503_and_its_reply_is_dropped),
        cmocka_unit_test(impatience_says_nothing_of_the_broker),
        CASE(nobody_waits_before_replies_can_be_heard),
        CASE(a_client_that_is_gone_leaves_its_place),
        cmocka_unit_test(who_waits_at_the_end_is_told),
        CASE(many_at_once_get_their_own_answers),
        cmocka_unit_test(races_are_answered_once),
        cmocka_unit_test(an_old_silence_says_nothing),
        cmocka_unit_test(the_table_is_found_by_id_and_ordered_by_deadline),
    };

    log_start("ingestion", LOG_ERROR, LOG_TEXT);
    return RUN_ROWS(preferences, preference) + RUN_ROWS(silences, silence) +
           RUN_ROWS(rows, answers) + RUN_ROWS(places, place) +
           cmocka_run_group_tests_name("call", tests, NULL, NULL);
}
