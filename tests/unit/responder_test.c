/* The whole of the responder, on the memory broker and on real ones. */
#include "support/test.h"

#include "responder.h"
#include "terminal.h"

#include "base/clock.h"
#include "base/document.h"
#include "base/log.h"
#include "base/rfc3339.h"
#include "broker/announce.h"
#include "broker/broker_memory.h"
#include "broker/dead_letter.h"
#include "event/header.h"
#include "support/server.h"
#include "unit/http_client.h"

#include <poll.h>
#include <pthread.h>

#define WAIT_MS 20000
#define ID "0190a5c4-1a2b-7c3d-8e4f-0123456789ab"
#define OTHER_ID "0190a5c4-1a2b-7c3d-8e4f-0123456789ac"
#define REQUEST(id)                                                                                \
    "{\"id\":\"" id "\",\"requestTime\":\"2026-11-21T08:15:00.000Z\",\"city\":\"Berlin\","         \
    "\"location\":\"Germany\"}"
#define REPLY_TO "bc.weather.reply.test"

enum kind { MEMORY, NATS, REDIS };

static const enum kind kinds[] = {MEMORY, NATS, REDIS};

struct heard {
    pthread_mutex_t lock;
    int count;       /* guarded by lock */
    char last[2048]; /* guarded by lock */
};

struct fixture {
    struct server *server; /* NULL: memory */
    struct broker *broker;
    struct broker_listener *listener;
    struct heard heard;
    struct metrics *metrics;
    struct responder_settings settings;
    struct responder *responder;
};

/* ---- the scene ---- */

static void hear(void *context, enum broker_heard what, const char *topic, const void *data,
                 size_t size)
{
    struct heard *heard = context;

    (void)topic;
    if (what != BROKER_HEARD)
        return;
    pthread_mutex_lock(&heard->lock);
    heard->count++;
    snprintf(heard->last, sizeof(heard->last), "%.*s", (int)size, (const char *)data);
    pthread_mutex_unlock(&heard->lock);
}

static int heard_count(struct fixture *fixture)
{
    pthread_mutex_lock(&fixture->heard.lock);
    int count = fixture->heard.count;
    pthread_mutex_unlock(&fixture->heard.lock);
    return count;
}

static void open_responder(struct fixture *fixture)
{
    struct error err;

    assert_ok(responder_open(&fixture->responder, &fixture->settings, fixture->broker,
                             fixture->metrics, &err));
    assert_true(responder_prepared(fixture->responder, WAIT_MS));
}

static void start_responder(struct fixture *fixture)
{
    struct error err;

    assert_ok(responder_start(fixture->responder, &err));
}

static void close_responder(struct fixture *fixture)
{
    responder_close(fixture->responder);
    fixture->responder = NULL;
}

static int setup(void **state)
{
    static int serial;
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    enum kind kind = *(const enum kind *)*state;
    struct broker_options options = {.name = "test"};
    char url[64];
    struct error err;

    if (kind == NATS)
        assert_ok(server_start_nats(&fixture->server, &err));
    if (kind == REDIS)
        assert_ok(server_start_redis(&fixture->server, &err));
    snprintf(url, sizeof(url), "memory://responder-%d", ++serial);
    assert_ok(broker_open(&fixture->broker, kind == MEMORY ? url : server_url(fixture->server),
                          &options, &err));
    fixture->metrics = metrics_new();
    fixture->settings = (struct responder_settings){
        .terminals = 2,
        .stream_keep_s = 3600,
        .provider = {.name = "synthetic", .timeout_ms = 5000, .url = "", .search_url = ""},
        .topology = {.stream_max_bytes = 1 << 26,
                     .stream_replicas = 1,
                     .dedup_window_s = 600,
                     .ack_wait_ms = 2000,
                     .max_in_flight = 1000,
                     .max_attempts = 5},
    };
    pthread_mutex_init(&fixture->heard.lock, NULL);
    open_responder(fixture);
    assert_ok(
        broker_listen(&fixture->listener, fixture->broker, "bc.>", hear, &fixture->heard, &err));
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    responder_close(fixture->responder);
    broker_unlisten(fixture->listener);
    broker_close(fixture->broker);
    server_close(fixture->server);
    metrics_free(fixture->metrics);
    pthread_mutex_destroy(&fixture->heard.lock);
    free(fixture);
    return 0;
}

/* deadline_ms: from now on; 0: none. reply_to: NULL: none. */
static void publish(struct fixture *fixture, const char *message_id, const char *body,
                    int deadline_ms, const char *reply_to)
{
    struct broker_header headers[2];
    char deadline[RFC3339_SIZE];
    size_t count = 0;
    struct broker_receipt receipt;
    struct error err;

    rfc3339_format(clock_wall_ms(clock_system()) + deadline_ms, deadline);
    if (deadline_ms)
        headers[count++] = (struct broker_header){HEADER_DEADLINE, deadline};
    if (reply_to)
        headers[count++] = (struct broker_header){HEADER_REPLY_TO, reply_to};
    const struct broker_message message = {.stream = "WEATHER_REQUESTS",
                                           .subject = "weather.request",
                                           .id = message_id,
                                           .headers = headers,
                                           .header_count = count,
                                           .data = body,
                                           .size = strlen(body)};
    assert_ok(broker_publish(fixture->broker, &message, 1, 5000, &receipt, &err));
}

static int64_t outstanding(struct fixture *fixture)
{
    struct broker_lag lag;
    struct error err;

    if (!broker_lag(fixture->broker, "WEATHER_REQUESTS", "responder", 2000, &lag, &err))
        return -1;
    return lag.unread + lag.in_flight;
}

static void await_settled(struct fixture *fixture)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + WAIT_MS;

    while (outstanding(fixture) != 0 && clock_steady_ms(clock_system()) < until_ms) {
        poll(NULL, 0, 5);
        responder_keep(fixture->responder);
    }
    assert_int_equal(outstanding(fixture), 0);
}

static void await_heard(struct fixture *fixture, int count)
{
    for (int waited_ms = 0; heard_count(fixture) < count && waited_ms < WAIT_MS; waited_ms += 5)
        poll(NULL, 0, 5);
    assert_int_equal(heard_count(fixture), count);
}

/* What a stream has. */
struct found {
    int count;
    char last[2048], id[64], reason[64];
};

static void find(void *context, const struct broker_delivery *delivery)
{
    struct found *found = context;
    const char *reason = broker_header(delivery, DEAD_REASON);

    found->count++;
    snprintf(found->last, sizeof(found->last), "%.*s", (int)delivery->size, delivery->data);
    snprintf(found->id, sizeof(found->id), "%s", delivery->id);
    snprintf(found->reason, sizeof(found->reason), "%s", reason ? reason : "");
}

static struct found found_in(struct fixture *fixture, const char *stream)
{
    struct found found = {0};
    struct error err;

    assert_ok(broker_peek(fixture->broker, stream, "", 100, find, &found, 5000, &err));
    return found;
}

static void expect_text(const char *json, const char *member, const char *want)
{
    AUTO(document_free) struct document *document = NULL;
    struct error err;

    assert_ok(document_parse(&document, json, strlen(json), &err));
    const char *text = document_text(document, member);
    if (!text || strcmp(text, want) != 0)
        fail_msg("%s is not '%s' in %s", member, want, json);
}

/* ---- rules for every broker ---- */

static void a_request_is_answered_and_its_result_stored(void **state)
{
    struct fixture *fixture = *state;

    start_responder(fixture);
    publish(fixture, ID, REQUEST(ID), 20000, REPLY_TO);
    await_settled(fixture);
    await_heard(fixture, 1);
    struct found results = found_in(fixture, "WEATHER_RESULTS");
    assert_int_equal(results.count, 1);
    assert_string_equal(results.id, ID);
    assert_string_equal(results.last, fixture->heard.last);
    expect_text(results.last, "id", ID);
    expect_text(results.last, "outcome", "OK");
    expect_text(results.last, "city", "Berlin");
    expect_text(results.last, "location", "Germany");
    expect_text(results.last, "provider", "synthetic");
    expect_text(results.last, "requestTime", "2026-11-21T08:15:00.000Z");
    expect_text(results.last, "forecastTime", "2026-11-21T08:00:00.000Z");
}

/* As `nats pub` sends it. */
static void a_bare_request_is_answered_too(void **state)
{
    struct fixture *fixture = *state;

    start_responder(fixture);
    publish(fixture, "by-hand", "{\"city\":\"Oslo\"}", 0, NULL);
    await_settled(fixture);
    struct found results = found_in(fixture, "WEATHER_RESULTS");
    assert_int_equal(results.count, 1);
    expect_text(results.last, "id", results.id);
    expect_text(results.last, "city", "Oslo");
    assert_int_equal(heard_count(fixture), 0);
}

static void a_repetition_is_the_same_result_and_stored_once(void **state)
{
    struct fixture *fixture = *state;
    char first[2048];

    start_responder(fixture);
    publish(fixture, "first", REQUEST(ID), 20000, REPLY_TO);
    await_settled(fixture);
    await_heard(fixture, 1);
    snprintf(first, sizeof(first), "%s", fixture->heard.last);
    publish(fixture, "second", REQUEST(ID), 20000, REPLY_TO);
    await_settled(fixture);
    await_heard(fixture, 2);
    assert_string_equal(fixture->heard.last, first);
    assert_int_equal(found_in(fixture, "WEATHER_RESULTS").count, 1);
}

static void what_is_no_request_is_a_dead_letter(void **state)
{
    struct fixture *fixture = *state;

    start_responder(fixture);
    publish(fixture, "broken", "{\"city\":", 20000, REPLY_TO);
    await_settled(fixture);
    struct found dead = found_in(fixture, DEAD_STREAM);
    assert_int_equal(dead.count, 1);
    assert_string_equal(dead.reason, "json_syntax");
    publish(fixture, "nameless", "{\"location\":\"x\"}", 20000, REPLY_TO);
    await_settled(fixture);
    assert_string_equal(found_in(fixture, DEAD_STREAM).reason, "missing_field");
    assert_int_equal(found_in(fixture, "WEATHER_RESULTS").count, 0);
    assert_int_equal(heard_count(fixture), 0);
}

static void past_its_deadline_it_is_expired_and_told_so(void **state)
{
    struct fixture *fixture = *state;

    start_responder(fixture);
    publish(fixture, ID, REQUEST(ID), -1000, REPLY_TO);
    await_settled(fixture);
    await_heard(fixture, 1);
    struct found results = found_in(fixture, "WEATHER_RESULTS");
    assert_int_equal(results.count, 1);
    assert_string_equal(results.last, fixture->heard.last);
    expect_text(results.last, "outcome", "EXPIRED");
    expect_text(results.last, "reason", "deadline_passed");
}

static void a_slow_provider_fails_at_the_deadline(void **state)
{
    struct fixture *fixture = *state;

    fixture->settings.provider.delay_ms = 60000;
    start_responder(fixture);
    publish(fixture, ID, REQUEST(ID), 700, REPLY_TO);
    await_settled(fixture);
    await_heard(fixture, 1);
    expect_text(fixture->heard.last, "outcome", "FAILED");
    expect_text(fixture->heard.last, "reason", "provider_timeout");
}

static void a_reply_header_publishes_nowhere_else(void **state)
{
    static const char *const targets[] = {"weather.request",
                                          "weather.result",
                                          "logs.x",
                                          "dead.a.b",
                                          "$JS.API.INFO",
                                          "bc",
                                          "bcx.a",
                                          "bc.",
                                          "bc.weather.*",
                                          "bc.>",
                                          "bc.a b",
                                          "bc..a",
                                          "_INBOX.somebody.1"};
    struct fixture *fixture = *state;

    start_responder(fixture);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        char id[32];
        snprintf(id, sizeof(id), "abuse-%zu", i);
        publish(fixture, id, "{\"city\":\"Oslo\"}", 20000, targets[i]);
    }
    await_settled(fixture);
    publish(fixture, ID, REQUEST(ID), 20000,
            REPLY_TO); /* comes after anything that was announced */
    await_settled(fixture);
    await_heard(fixture, 1);
    assert_int_equal(found_in(fixture, "WEATHER_REQUESTS").count, ARRAY_LEN(targets) + 1);
    assert_int_equal(found_in(fixture, "WEATHER_RESULTS").count, ARRAY_LEN(targets) + 1);
    assert_int_equal(found_in(fixture, "LOGS").count, 0);
    assert_int_equal(found_in(fixture, DEAD_STREAM).count, 0);
}

/* Waits until a request is being worked on. */
static void await_active(struct fixture *fixture)
{
    const struct metrics_cell *active = terminal_active(fixture->metrics);

    for (int waited_ms = 0; metrics_value(active) < 1 && waited_ms < WAIT_MS; waited_ms += 5)
        poll(NULL, 0, 5);
    assert_true(metrics_value(active) >= 1);
}

static void stopping_gives_back_what_takes_too_long(void **state)
{
    struct fixture *fixture = *state;

    fixture->settings.provider.delay_ms = 60000;
    fixture->settings.provider.timeout_ms = 60000;
    start_responder(fixture);
    publish(fixture, ID, REQUEST(ID), 0, REPLY_TO);
    await_active(fixture);
    int64_t started_ms = clock_steady_ms(clock_system());
    close_responder(fixture);
    assert_in_range(clock_steady_ms(clock_system()) - started_ms, 0, 5000);
    assert_int_equal(found_in(fixture, "WEATHER_RESULTS").count, 0);

    fixture->settings.provider.delay_ms = 0;
    open_responder(fixture);
    start_responder(fixture);
    await_settled(fixture);
    await_heard(fixture, 1);
    expect_text(fixture->heard.last, "outcome", "OK");
}

static void stopping_finishes_what_is_started(void **state)
{
    struct fixture *fixture = *state;

    fixture->settings.provider.delay_ms = 200;
    start_responder(fixture);
    publish(fixture, ID, REQUEST(ID), 20000, REPLY_TO);
    await_active(fixture);
    close_responder(fixture);
    assert_int_equal(found_in(fixture, "WEATHER_RESULTS").count, 1);
    await_heard(fixture, 1);
    assert_int_equal(outstanding(fixture), 0);
}

/* Its sockets stay open and mute: every call waits for all of its time. */
static void stopping_does_not_wait_for_a_mute_broker(void **state)
{
    struct fixture *fixture = *state;

    close_responder(fixture);
    fixture->settings.provider.delay_ms = 60000;
    fixture->settings.provider.timeout_ms = 60000;
    fixture->settings.terminals = 8;
    open_responder(fixture);
    start_responder(fixture);
    publish(fixture, ID, REQUEST(ID), 0, REPLY_TO);
    await_active(fixture);
    server_pause(fixture->server);
    int64_t started_ms = clock_steady_ms(clock_system());
    close_responder(fixture);
    int64_t took_ms = clock_steady_ms(clock_system()) - started_ms;
    server_resume(fixture->server);
    assert_in_range(took_ms, 0, 5000);
}

/* ---- rules for one ---- */

static void only_so_many_at_once(void **state)
{
    struct fixture *fixture = *state;
    double most = 0;

    fixture->settings.provider.delay_ms = 100;
    start_responder(fixture);
    for (int i = 0; i < 8; i++) {
        char id[32];
        snprintf(id, sizeof(id), "many-%d", i);
        publish(fixture, id, "{\"city\":\"Oslo\"}", 0, NULL);
    }
    struct metrics_cell *active = terminal_active(fixture->metrics);
    while (outstanding(fixture) != 0) {
        most = metrics_value(active) > most ? metrics_value(active) : most;
        poll(NULL, 0, 2);
    }
    assert_true(most == 2);
    assert_int_equal(found_in(fixture, "WEATHER_RESULTS").count, 8);
}

static const struct fault {
    const char *name;
    enum broker_memory_fault fault;
} faults[] = {
    {"a broker that refuses for a while", BROKER_MEMORY_UNAVAILABLE},
    {"a stream that is full for a while", BROKER_MEMORY_FULL},
    {"acknowledgements that are lost with the result", BROKER_MEMORY_LOST},
    {"acknowledgements alone that are lost", BROKER_MEMORY_STORED},
};

static void holds_its_result(void **state)
{
    static const enum kind memory = MEMORY;
    const struct fault *row = *state;
    void *scene = (void *)&memory;

    setup(&scene);
    struct fixture *fixture = scene;
    broker_memory_fail(fixture->broker, "WEATHER_RESULTS", row->fault, 3);
    start_responder(fixture);
    publish(fixture, ID, REQUEST(ID), 20000, REPLY_TO);
    await_settled(fixture);
    await_heard(fixture, 1);
    expect_text(fixture->heard.last, "outcome", "OK");
    assert_int_equal(found_in(fixture, "WEATHER_RESULTS").count, 1);
    assert_int_equal(found_in(fixture, DEAD_STREAM).count, 0);
    teardown(&scene);
}

/* The broker dies while requests are worked on, and comes back. */
static void a_broker_that_dies_costs_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    fixture->settings.provider.delay_ms = 300;
    start_responder(fixture);
    for (int i = 0; i < 4; i++) {
        char id[32];
        snprintf(id, sizeof(id), "request-%d", i);
        publish(fixture, id, "{\"city\":\"Oslo\"}", 0, NULL);
    }
    server_kill(fixture->server);
    assert_ok(server_start_again(fixture->server, &err));
    await_settled(fixture);
    assert_int_equal(found_in(fixture, "WEATHER_RESULTS").count, 4);
    assert_int_equal(found_in(fixture, DEAD_STREAM).count, 0);
}

static void expect_reply(int port, const char *path, int status, const char *text)
{
    AUTO(client_close) struct client *client = client_open(port);

    assert_int_equal(client_get(client, path), status);
    if (!strstr(client->body, text))
        fail_msg("no %s in %s", text, client->body);
}

static void the_forerunner_s_questions_are_answered(void **state)
{
    struct fixture *fixture = *state;
    AUTO(http_stop) struct http_server *server = NULL;
    struct http_options http = {.service = "responder", .metrics = fixture->metrics};
    struct error err;

    assert_ok(http_start(&server, &http, responder_routes, fixture->responder, &err));
    int port = http_port(server);
    expect_reply(port, "/weatherforecast/Status", 200,
                 "{\"status\":\"Running\",\"service\":\"ProxyService\",\"time\":\"");
    expect_reply(port, "/healthz", 503, "\"message\":\"not started yet\"");
    start_responder(fixture);
    publish(fixture, ID, REQUEST(ID), 20000, REPLY_TO);
    await_settled(fixture);
    expect_reply(port, "/healthz", 200,
                 "{\"status\":\"Healthy\",\"service\":\"ProxyService\",\"activeTerminals\":0,"
                 "\"queueDepth\":0,\"timestamp\":\"");
    expect_reply(port, "/metrics", 200, "weather_requests_total{outcome=\"ok\"} 1\n");
    expect_reply(port, "/metrics", 200, "weather_request_duration_seconds_count 1\n");
    expect_reply(port, "/metrics", 200, "proxy_active_terminals 0\n");
    expect_reply(port, "/metrics", 200,
                 "redis_stream_queue_depth{stream=\"WEATHER_REQUESTS\",consumer=\"responder\"} ");
}

#define CASE(test, broker)                                                                         \
    {                                                                                              \
        .name = #test, .test_func = (test), .setup_func = setup, .teardown_func = teardown,        \
        .initial_state = (void *)&kinds[broker]                                                    \
    }
#define EACH(broker)                                                                               \
    CASE(a_request_is_answered_and_its_result_stored, broker),                                     \
        CASE(a_bare_request_is_answered_too, broker),                                              \
        CASE(a_repetition_is_the_same_result_and_stored_once, broker),                             \
        CASE(what_is_no_request_is_a_dead_letter, broker),                                         \
        CASE(past_its_deadline_it_is_expired_and_told_so, broker),                                 \
        CASE(a_slow_provider_fails_at_the_deadline, broker),                                       \
        CASE(a_reply_header_publishes_nowhere_else, broker),                                       \
        CASE(stopping_gives_back_what_takes_too_long, broker),                                     \
        CASE(stopping_finishes_what_is_started, broker)

int main(void)
{
    const struct CMUnitTest on_memory[] = {
        EACH(MEMORY),
        CASE(only_so_many_at_once, MEMORY),
        CASE(the_forerunner_s_questions_are_answered, MEMORY),
    };
    const struct CMUnitTest on_nats[] = {EACH(NATS), CASE(a_broker_that_dies_costs_nothing, NATS),
                                         CASE(stopping_does_not_wait_for_a_mute_broker, NATS)};
    const struct CMUnitTest on_redis[] = {EACH(REDIS),
                                          CASE(a_broker_that_dies_costs_nothing, REDIS),
                                          CASE(stopping_does_not_wait_for_a_mute_broker, REDIS)};

    log_start("responder", LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests_name("memory", on_memory, NULL, NULL) +
           cmocka_run_group_tests_name("nats", on_nats, NULL, NULL) +
           cmocka_run_group_tests_name("redis", on_redis, NULL, NULL) +
           RUN_ROWS(faults, holds_its_result);
}
