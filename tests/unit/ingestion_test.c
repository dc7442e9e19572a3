/* The whole of ingestion over HTTP, on the memory broker. */
#include "support/test.h"

#include "ingestion.h"

#include "base/buffer.h"
#include "base/document.h"
#include "base/log.h"
#include "broker/broker_memory.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_S 20
#define READING(site)                                                                              \
    "{\"site_id\":\"" site "\",\"device_id\":\"d\",\"power_reading\":1500.5,"                      \
    "\"timestamp\":\"2026-11-21T08:00:00Z\"}"

struct fixture {
    struct metrics *metrics;
    struct broker *broker;
    struct ingestion *ingestion;
    struct http_server *server;
    struct broker_consumer *consumer;
    struct broker_group group;
};

static const struct ingestion_settings settings = {
    .host = "127.0.0.1",
    .api_url = "",
    .default_message = "log event",
    .max_pending = 1000,
    .request_ms = 5000,
    .publish_ms = 1000,
    .event_max_bytes = 4096,
    .bulk_max_bytes = 1 << 20,
    .bulk_max_lines = 2000,
    .bulk_max_requests = 4,
    .call_timeout_ms = 1000,
    .call_max_waiting = 10,
    .call_open_ms = 1000,
    .topology = {.stream_max_bytes = 1 << 26,
                 .stream_replicas = 1,
                 .dedup_window_s = 600,
                 .ack_wait_ms = 30000,
                 .max_in_flight = 1000,
                 .max_attempts = 5},
};

static int setup(void **state)
{
    static int serial;
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct broker_options broker = {.name = "test"};
    char url[64];
    struct error err;

    snprintf(url, sizeof(url), "memory://ingestion-%d", ++serial);
    fixture->metrics = metrics_new();
    assert_ok(broker_open(&fixture->broker, url, &broker, &err));
    fixture->ingestion = ingestion_new(&settings, fixture->broker, fixture->metrics);
    ingestion_prepare(fixture->ingestion);
    assert_ok(topology_declare(fixture->broker, &settings.topology, &err));
    struct http_options http = {.service = "ingestion",
                                .body_max = 4096,
                                .checks = ingestion_checks,
                                .metrics = fixture->metrics};
    assert_ok(http_start(&fixture->server, &http, ingestion_routes, fixture->ingestion, &err));
    fixture->group = topology_group(&settings.topology, "READINGS", "processor-readings");
    assert_ok(broker_open_consumer(&fixture->consumer, fixture->broker, &fixture->group, &err));
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    http_stop(fixture->server);
    broker_close_consumer(fixture->consumer);
    ingestion_unprepare(fixture->ingestion);
    broker_close(fixture->broker);
    ingestion_free(fixture->ingestion);
    metrics_free(fixture->metrics);
    free(fixture);
    return 0;
}

/* ---- a client: one request a connection, everything until its end is the reply ---- */

static int dial(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = TIMEOUT_S};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (const void *)&address, sizeof(address)), 0);
    return fd;
}

static void ask(const struct fixture *fixture, const char *method_and_path, const char *headers,
                const char *body, size_t size, struct buffer *reply)
{
    int fd = dial(http_port(fixture->server));
    struct buffer request = {0};
    char piece[4096];
    ssize_t got;

    buffer_print(&request,
                 "%s HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %zu\r\n"
                 "%s\r\n",
                 method_and_path, size, headers);
    buffer_append(&request, body, size);
    for (size_t sent = 0; sent < request.size;) {
        ssize_t n = send(fd, request.data + sent, request.size - sent, MSG_NOSIGNAL);
        assert_true(n > 0);
        sent += (size_t)n;
    }
    buffer_clear(reply);
    while ((got = recv(fd, piece, sizeof(piece), 0)) > 0)
        buffer_append(reply, piece, (size_t)got);
    close(fd);
    buffer_free(&request);
    assert_true(reply->size > 12);
}

static int status_of(const struct buffer *reply)
{
    return atoi(reply->data + strlen("HTTP/1.1 "));
}

static const char *body_of(const struct buffer *reply)
{
    const char *end = strstr(reply->data, "\r\n\r\n");

    assert_non_null(end);
    return end + 4;
}

static size_t count_events(const struct broker_delivery *delivery)
{
    const char *type = broker_header(delivery, "ce-datacontenttype");
    size_t lines = 0;

    for (size_t i = 0; i < delivery->size; i++)
        lines += delivery->data[i] == '\n';
    return strcmp(type, HTTP_NDJSON) == 0 ? lines : 1;
}

/* How many events a batch has; settles it. false: it is empty. */
static bool take_batch(const struct fixture *fixture, size_t *events)
{
    struct broker_batch batch;
    struct broker_verdict done[256] = {{.action = BROKER_DONE}};
    struct error err;

    assert_ok(broker_fetch(fixture->consumer, ARRAY_LEN(done), SIZE_MAX, 50, &batch, &err));
    if (!batch.count)
        return false;
    for (size_t i = 0; i < batch.count; i++)
        *events += count_events(&batch.deliveries[i]);
    assert_ok(broker_settle(fixture->consumer, done, batch.count, 1000, &err));
    return true;
}

/* How many events are in the stream for the processor; settles them. */
static size_t stored(const struct fixture *fixture)
{
    size_t events = 0;

    while (take_batch(fixture, &events))
        continue;
    return events;
}

/* ---- single events ---- */

static const struct row {
    const char *name;
    const char *request, *headers, *body;
    int status;
    const char *has; /* in the reply's body */
    size_t stored;
} rows[] = {
    {"a reading", "POST /readings", "", READING("s"), 201, "\"status\":\"accepted\"", 1},
    {"a missing field is named", "POST /readings", "", "{\"site_id\":\"s\"}", 422, "missing_field",
     0},
    {"not JSON", "POST /readings", "", "{", 400, "json_syntax", 0},
    {"no body", "POST /readings", "", "", 400, "json_empty", 0},
    {"a time without a zone", "POST /readings", "",
     "{\"site_id\":\"s\",\"device_id\":\"d\",\"power_reading\":1,"
     "\"timestamp\":\"2026-11-21T08:00:00\"}",
     422, "\"pointer\":\"/timestamp\"", 0},
    {"a key with a space", "POST /readings", "Idempotency-Key: a b\r\n", READING("s"), 422,
     "invalid_idempotency_key", 0},
    {"a site with wildcards is only a name", "POST /readings", "", READING("a.b >*"), 201,
     "accepted", 1},
    {"a CloudEvent without its attributes", "POST /readings",
     "ce-specversion: 1.0\r\nContent-Type: application/json\r\n", READING("s"), 422, "ce-", 0},
    {"a CloudEvent in binary mode", "POST /readings",
     "ce-specversion: 1.0\r\nce-id: 7\r\nce-source: /m\r\nce-type: t\r\n"
     "Content-Type: application/json\r\n",
     READING("s"), 201, "accepted", 1},
    {"an entry", "POST /parking/entries", "", "{\"vehicle_plate\":\"AAA000\"}", 201, "accepted", 0},
    {"an exit", "POST /parking/exits", "", "{\"vehicle_plate\":\"B-MR-1\",\"garage_id\":\"n\"}",
     201, "stream_id", 0},
    {"a plate in small letters", "POST /parking/entries", "", "{\"vehicle_plate\":\"aaa000\"}", 422,
     "\"pointer\":\"/vehicle_plate\"", 0},
    {"exits as NDJSON", "POST /parking/exits", "Content-Type: application/x-ndjson\r\n",
     "{\"vehicle_plate\":\"AAA000\"}\n{\"vehicle_plate\":\"!\"}\n", 207,
     "\"line\":2,\"status\":422", 0},
    {"the index names what can be asked", "GET /", "", "", 200, "/WeatherForecast/city", 0},
    {"HEAD of a GET that writes", "HEAD /send?message=x", "", "", 405, "", 0},
    {"an NDJSON body without lines", "POST /readings", "Content-Type: application/x-ndjson\r\n",
     "\n\n", 400, "json_empty", 0},
    {"NDJSON", "POST /readings", "Content-Type: application/x-ndjson\r\n",
     READING("s") "\n" READING("t") "\n", 201, "\"line\":2,\"status\":201", 2},
    {"a bad line between two good ones", "POST /readings", "Content-Type: application/x-ndjson\r\n",
     READING("s") "\n{}\n" READING("t"), 207,
     "\"line\":2,\"status\":422,\"code\":\"missing_field\",\"pointer\":\"/", 2},
    {"lines that are all bad share a status", "POST /readings",
     "Content-Type: application/x-ndjson\r\n", "{}\n{}\n", 422, "\"line\":2", 0},
};

static void answers(void **state)
{
    const struct row *row = *state;
    void *fixture;
    AUTO(buffer_free) struct buffer reply = {0};

    setup(&fixture);
    ask(fixture, row->request, row->headers, row->body, strlen(row->body), &reply);
    assert_int_equal(status_of(&reply), row->status);
    if (!strstr(body_of(&reply), row->has))
        fail_msg("no %s in %s", row->has, body_of(&reply));
    assert_int_equal(stored(fixture), row->stored);
    teardown(&fixture);
}

static void sends_what_the_query_says(void **state)
{
    AUTO(buffer_free) struct buffer reply = {0};

    ask(*state, "GET /send?message=hello%20%22you%22", "", "", 0, &reply);
    assert_int_equal(status_of(&reply), 200);
    assert_non_null(strstr(body_of(&reply), "\"message\":\"hello \\\"you\\\"\""));
    assert_non_null(strstr(body_of(&reply), "\"stream\":\"LOGS\""));
    ask(*state, "GET /send", "", "", 0, &reply);
    assert_non_null(strstr(body_of(&reply), "\"message\":\"log event\""));
}

/* ---- repeats ---- */

static void a_repeated_key_is_one_event(void **state)
{
    AUTO(buffer_free) struct buffer first = {0};
    AUTO(buffer_free) struct buffer again = {0};
    const char *key = "Idempotency-Key: order-66\r\n";
    const char *body = READING("s");
    struct document *was, *is;
    struct error err;

    ask(*state, "POST /readings", key, body, strlen(body), &first);
    ask(*state, "POST /readings", key, body, strlen(body), &again);
    assert_int_equal(status_of(&again), 201);
    assert_ok(document_parse(&was, body_of(&first), strlen(body_of(&first)), &err));
    assert_ok(document_parse(&is, body_of(&again), strlen(body_of(&again)), &err));
    assert_string_equal(document_text(is, "id"), document_text(was, "id"));
    assert_string_equal(document_text(is, "stream_id"), document_text(was, "stream_id"));
    assert_true(document_bool(is, "duplicate", false));
    document_free(was);
    document_free(is);
    assert_int_equal(stored(*state), 1);
}

/* The pack of a repeated bulk body is a duplicate only while it is the same to the byte: a
 * corrected line must not vanish behind the first try. */
static void a_corrected_line_is_not_lost(void **state)
{
    const char *headers = "Content-Type: application/x-ndjson\r\nIdempotency-Key: bulk-1\r\n";
    const char *bad = READING("s") "\n{}\n", *good = READING("s") "\n" READING("t") "\n";
    AUTO(buffer_free) struct buffer reply = {0};

    ask(*state, "POST /readings", headers, bad, strlen(bad), &reply);
    assert_int_equal(status_of(&reply), 207);
    assert_int_equal(stored(*state), 1);
    ask(*state, "POST /readings", headers, good, strlen(good), &reply);
    assert_int_equal(status_of(&reply), 201);
    assert_int_equal(stored(*state), 2); /* both lines; the store knows the first by its id */
    ask(*state, "POST /readings", headers, good, strlen(good), &reply);
    assert_non_null(strstr(body_of(&reply), "\"duplicate\":true"));
    assert_int_equal(stored(*state), 0);
}

/* The time that a line is given for want of its own is none of what the client sent. */
static void a_repeated_bulk_without_times_is_a_duplicate(void **state)
{
    const char *headers = "Content-Type: application/x-ndjson\r\nIdempotency-Key: bulk-2\r\n";
    const char *body = "{\"message\":\"a\"}\n{\"message\":\"b\"}\n";
    AUTO(buffer_free) struct buffer first = {0};
    AUTO(buffer_free) struct buffer again = {0};

    ask(*state, "POST /logs", headers, body, strlen(body), &first);
    assert_int_equal(status_of(&first), 201);
    assert_null(strstr(body_of(&first), "duplicate"));
    usleep(5000); /* another millisecond than the first */
    ask(*state, "POST /logs", headers, body, strlen(body), &again);
    assert_int_equal(status_of(&again), 201);
    assert_non_null(strstr(body_of(&again), "\"line\":2,\"status\":201"));
    assert_non_null(strstr(body_of(&again), "\"duplicate\":true"));
}

/* ---- bulk ---- */

static void fill(struct buffer *body, size_t lines)
{
    for (size_t i = 0; i < lines; i++)
        buffer_print(body,
                     "{\"site_id\":\"s%zu\",\"device_id\":\"d\",\"power_reading\":%zu,"
                     "\"timestamp\":\"2026-11-21T08:00:00Z\"}\n",
                     i % 7, i);
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;

    for (; (text = strstr(text, "{\"line\":")); text++)
        lines++;
    return lines;
}

static void lines_over_the_limit_are_cut(void **state)
{
    AUTO(buffer_free) struct buffer body = {0};
    AUTO(buffer_free) struct buffer reply = {0};

    fill(&body, 2100);
    ask(*state, "POST /readings", "Content-Type: application/x-ndjson\r\n", body.data, body.size,
        &reply);
    assert_int_equal(status_of(&reply), 207);
    assert_non_null(strstr(body_of(&reply), "\"line\":2001,\"status\":413"));
    assert_int_equal(stored(*state), 2000);
}

static void lines_that_the_broker_refuses_are_told(void **state)
{
    struct fixture *fixture = *state;
    AUTO(buffer_free) struct buffer body = {0};
    AUTO(buffer_free) struct buffer reply = {0};

    fill(&body, 600);
    broker_memory_fail(fixture->broker, "READINGS", BROKER_MEMORY_FULL, 1);
    ask(fixture, "POST /readings", "Content-Type: application/x-ndjson\r\n", body.data, body.size,
        &reply);
    assert_int_equal(status_of(&reply), 207);
    assert_non_null(strstr(body_of(&reply), "\"line\":1,\"status\":503"));
    assert_non_null(strstr(body_of(&reply), "\"line\":600,\"status\":201"));
    assert_int_equal(stored(fixture), 600 - 256);

    broker_memory_fail(fixture->broker, "READINGS", BROKER_MEMORY_FULL, 3);
    ask(fixture, "POST /readings", "Content-Type: application/x-ndjson\r\n", body.data, body.size,
        &reply);
    assert_int_equal(status_of(&reply), 503);
    assert_non_null(strstr(reply.data, "Retry-After: "));
}

struct client {
    pthread_t thread;
    const struct fixture *fixture;
    const struct buffer *body;
    size_t accepted;
};

static void *upload(void *context)
{
    struct client *client = context;
    AUTO(buffer_free) struct buffer reply = {0};

    for (int i = 0; i < 5; i++) {
        ask(client->fixture, "POST /readings", "Content-Type: application/x-ndjson\r\n",
            client->body->data, client->body->size, &reply);
        if (status_of(&reply) == 201)
            client->accepted += count_lines(body_of(&reply));
    }
    return NULL;
}

static void many_at_once_lose_nothing(void **state)
{
    struct client clients[4];
    AUTO(buffer_free) struct buffer body = {0};
    size_t accepted = 0;

    fill(&body, 900);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        clients[i] = (struct client){.fixture = *state, .body = &body};
        pthread_create(&clients[i].thread, NULL, upload, &clients[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        pthread_join(clients[i].thread, NULL);
        accepted += clients[i].accepted;
    }
    assert_int_equal(accepted, 4 * 5 * 900);
    assert_int_equal(stored(*state), accepted);
}

/* ---- the broker away ---- */

static void an_absent_broker_is_503_and_comes_back(void **state)
{
    struct fixture *fixture = *state;
    const char *body = READING("s");
    AUTO(buffer_free) struct buffer reply = {0};

    broker_memory_away(fixture->broker, true);
    for (int i = 0; i < 20; i++) {
        ask(fixture, "POST /readings", "", body, strlen(body), &reply);
        assert_int_equal(status_of(&reply), 503);
        assert_non_null(strstr(reply.data, "Retry-After: "));
    }
    assert_non_null(strstr(body_of(&reply), "circuit_open"));
    ask(fixture, "GET /health", "", "", 0, &reply);
    assert_int_equal(status_of(&reply), 503);

    broker_memory_away(fixture->broker, false);
    for (int i = 0; i < 400 && status_of(&reply) != 201; i++) {
        ask(fixture, "POST /readings", "", body, strlen(body), &reply);
        usleep(10000); /* the breaker lets a probe pass after a second */
    }
    assert_int_equal(status_of(&reply), 201);
    assert_int_equal(stored(fixture), 1);
    ask(fixture, "GET /health", "", "", 0, &reply);
    assert_non_null(strstr(body_of(&reply), "\"status\":\"healthy\""));
}

/* What the gate refuses says nothing of the broker: the probe that is under way decides. */
static void a_refused_pack_leaves_the_probe_alone(void **state)
{
    struct fixture *fixture = *state;
    struct gate *gate = &fixture->ingestion->gate;
    const char *ndjson = "Content-Type: application/x-ndjson\r\n", *body = READING("s") "\n";
    AUTO(buffer_free) struct buffer reply = {0};
    struct error err;

    while (gate_passes(gate, &err))
        gate_report(gate, ERROR_UNAVAILABLE);
    for (int i = 0; i < 400 && !gate_passes(gate, &err); i++)
        usleep(10000);
    assert_int_equal(gate_state(gate), BREAKER_HALF_OPEN);
    ask(fixture, "POST /readings", ndjson, body, strlen(body), &reply);
    assert_int_equal(status_of(&reply), 503);
    assert_non_null(strstr(body_of(&reply), "\"code\":\"circuit_open\""));
    assert_int_equal(gate_state(gate), BREAKER_HALF_OPEN);

    gate_report(gate, ERROR_NONE);
    ask(fixture, "POST /readings", ndjson, body, strlen(body), &reply);
    assert_int_equal(status_of(&reply), 201);
}

/* ---- the forerunners' pages ---- */

static void the_broker_is_asked_for_healthz(void **state)
{
    struct fixture *fixture = *state;
    AUTO(buffer_free) struct buffer reply = {0};

    ask(fixture, "GET /healthz", "", "", 0, &reply);
    for (int i = 0; i < 1000 && status_of(&reply) != 200; i++) {
        usleep(10000); /* the broker is asked twice a second */
        ask(fixture, "GET /healthz", "", "", 0, &reply);
    }
    assert_int_equal(status_of(&reply), 200);
    assert_non_null(strstr(body_of(&reply), "\"service\":\"IngressService\""));
    assert_non_null(strstr(body_of(&reply), "ms\",\"pendingRequests\":0}"));
    ask(fixture, "GET /readyz?verbose", "", "", 0, &reply);
    assert_non_null(strstr(body_of(&reply), "[+]replies "));

    broker_memory_away(fixture->broker, true);
    ask(fixture, "GET /healthz", "", "", 0, &reply);
    assert_int_equal(status_of(&reply), 503);
    assert_non_null(strstr(body_of(&reply), "\"status\":\"Service Unavailable\""));
}

static void the_forecast_is_five_days(void **state)
{
    AUTO(buffer_free) struct buffer reply = {0};
    AUTO(document_free) struct document *days = NULL;
    struct error err;

    ask(*state, "GET /weatherforecast", "", "", 0, &reply); /* in any case */
    assert_int_equal(status_of(&reply), 200);
    assert_ok(document_parse(&days, body_of(&reply), strlen(body_of(&reply)), &err));
    assert_int_equal(document_count(days, ""), 5);
    assert_int_equal(strlen(document_text(days, "4.date")), 10);
    assert_non_null(document_text(days, "4.summary"));
    ask(*state, "GET /WeatherForecast/health", "", "", 0, &reply);
    assert_string_equal(body_of(&reply), "Service is healthy");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(sends_what_the_query_says),
        CASE(a_repeated_key_is_one_event),
        CASE(a_corrected_line_is_not_lost),
        CASE(a_repeated_bulk_without_times_is_a_duplicate),
        CASE(lines_over_the_limit_are_cut),
        CASE(lines_that_the_broker_refuses_are_told),
        CASE(many_at_once_lose_nothing),
        CASE(an_absent_broker_is_503_and_comes_back),
        CASE(a_refused_pack_leaves_the_probe_alone),
        CASE(the_broker_is_asked_for_healthz),
        CASE(the_forecast_is_five_days),
    };

    log_start("ingestion", LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests_name("ingestion", tests, NULL, NULL) + RUN_ROWS(rows, answers);
}
