/* From entries and exits to lines at the writer: workers on the memory broker, a real PostgreSQL
 * and a real HTTP server that can refuse, fail and stay silent. */
#include "support/test.h"

#include "worker.h"

#include "base/log.h"
#include "broker/broker_memory.h"
#include "broker/dead_letter.h"
#include "event/header.h"
#include "http/http.h"
#include "messages/parking.h"
#include "support/server.h"
#include "support/store_fixture.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 20000
#define LETTERS_MAX 8
#define SILENT_MAX 8

/* ---- the writer ---- */

/* A line with REFUSED in it is refused alone, one with POISON takes all its neighbours with it. */
#define REFUSED "\"REFUSED\""
#define POISON "\"POISON\""

struct writer {
    struct http_server *server;
    int port, reservation;
    struct metrics *metrics;
    pthread_mutex_t lock;
    struct buffer lines; /* guarded by lock, with what follows: what is there */
    int posts, failures; /* how many POSTs there were; how many are still to fail */
    int failure;         /* status of these; 0: no answer */
    char key[64];        /* of the last POST */
    bool bare;           /* answers with 200 alone */
    struct http_exchange *silent[SILENT_MAX];
    size_t silent_count;
    const char *failure_type, *failure_body;
};

static void take_line(struct writer *writer, const char *line, size_t size, int number,
                      struct buffer *answer)
{
    bool refused = memmem(line, size, REFUSED, strlen(REFUSED));

    if (!refused)
        buffer_append(&writer->lines, line, size);
    buffer_print(answer, "{\"line\":%d,\"status\":%d,\"code\":\"%s\"}\n", number,
                 refused ? 422 : 200, refused ? "no_such_plate" : "");
}

static void take_lines(struct writer *writer, struct http_exchange *exchange)
{
    size_t size;
    const char *body = http_body(exchange, &size);
    struct buffer answer = {0};

    for (size_t at = 0, number = 1; at < size; number++) {
        const char *end = memchr(body + at, '\n', size - at);
        assert_non_null(end);
        size_t length = (size_t)(end + 1 - (body + at));
        take_line(writer, body + at, length, (int)number, &answer);
        at += length;
    }
    if (writer->bare)
        buffer_clear(&answer);
    http_reply_buffer(exchange, 200, writer->bare ? "text/plain" : HTTP_NDJSON, &answer);
}

/* There is no answer until the end. */
static void stay_silent(struct writer *writer, struct http_exchange *exchange)
{
    assert_true(writer->silent_count < SILENT_MAX);
    http_defer(exchange);
    writer->silent[writer->silent_count++] = exchange;
}

static void on_post(void *context, struct http_exchange *exchange)
{
    struct writer *writer = context;
    size_t size;
    const char *body = http_body(exchange, &size);

    pthread_mutex_lock(&writer->lock);
    writer->posts++;
    snprintf(writer->key, sizeof(writer->key), "%s", http_header(exchange, "Idempotency-Key"));
    if (!http_is(exchange, HTTP_NDJSON))
        http_reply(exchange, 415, "text/plain", "", 0);
    else if (writer->failures > 0 && writer->failures-- && !writer->failure)
        stay_silent(writer, exchange);
    else if (writer->failures >= 0 && writer->failure)
        http_reply(exchange, writer->failure, writer->failure_type, writer->failure_body,
                   strlen(writer->failure_body));
    else if (memmem(body, size, POISON, strlen(POISON)))
        http_reply(exchange, 422, "text/plain", "", 0);
    else
        take_lines(writer, exchange);
    if (!writer->failures)
        writer->failure = 0;
    pthread_mutex_unlock(&writer->lock);
}

static void writer_listen(struct writer *writer)
{
    static const struct http_route routes[] = {{"POST", "/log", .handle = on_post}, {0}};
    struct http_options options = {
        .service = "writer", .port = writer->port, .body_max = 1 << 20, .metrics = writer->metrics};
    struct error err;

    assert_ok(http_start(&writer->server, &options, routes, writer, &err));
}

static void writer_open(struct writer *writer)
{
    *writer =
        (struct writer){.metrics = metrics_new(), .failure_type = "text/plain", .failure_body = ""};
    pthread_mutex_init(&writer->lock, NULL);
    writer->reservation = server_reserve_port(&writer->port);
    assert_true(writer->reservation >= 0);
    buffer_text(&writer->lines, "");
}

static void writer_close(struct writer *writer)
{
    for (size_t i = 0; i < writer->silent_count; i++)
        http_reply(writer->silent[i], 200, "text/plain", "", 0);
    http_stop(writer->server);
    metrics_free(writer->metrics);
    buffer_free(&writer->lines);
    close(writer->reservation);
    pthread_mutex_destroy(&writer->lock);
}

/* How often the text is in what it took. */
static int count_in_file(struct writer *writer, const char *text)
{
    int count = 0;

    pthread_mutex_lock(&writer->lock);
    for (const char *at = writer->lines.data; (at = strstr(at, text)); at += strlen(text))
        count++;
    pthread_mutex_unlock(&writer->lock);
    return count;
}

static int posts_of(struct writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    int posts = writer->posts;
    pthread_mutex_unlock(&writer->lock);
    return posts;
}

/* ---- the scene ---- */

enum { PARKING, SUMMARIES, WORKERS };

struct scene {
    struct writer writer;
    struct metrics *metrics;
    struct broker *broker;
    struct processor_settings settings;
    char url[64];
    struct broker_group groups[WORKERS];
    struct worker *workers[WORKERS];
};

static const char *const names[WORKERS] = {"parking", "summaries"};

static void scene_open_with(struct scene *scene, const struct fixture *fixture, int64_t ack_wait_ms)
{
    static int serial;
    struct broker_options options = {.name = "test"};
    struct error err;

    *scene = (struct scene){.metrics = metrics_new()};
    writer_open(&scene->writer);
    snprintf(scene->url, sizeof(scene->url), "http://127.0.0.1:%d/log", scene->writer.port);
    scene->settings = (struct processor_settings){
        .database_url = fixture->server.url,
        .batch_rows = 500,
        .topology = {.stream_max_bytes = 1 << 26,
                     .stream_replicas = 1,
                     .dedup_window_s = 600,
                     .ack_wait_ms = ack_wait_ms,
                     .max_in_flight = 1000,
                     .max_attempts = 3},
        .writer = {.url = scene->url, .host = "", .timeout_ms = 5000},
        .parking = {.free_minutes = 15, .hour_cents = 200, .day_cents = 1500, .currency = "EUR"},
    };
    char url[64];
    snprintf(url, sizeof(url), "memory://parking-%d", ++serial);
    assert_ok(broker_open(&scene->broker, url, &options, &err));
    assert_ok(topology_declare(scene->broker, &scene->settings.topology, &err));
}

static void scene_open(struct scene *scene, const struct fixture *fixture)
{
    scene_open_with(scene, fixture, 30000);
}

static void start(struct scene *scene, int which)
{
    const struct duty *duty = duty_find(names[which], strlen(names[which]));
    const struct topic *topic = duty_topic(duty, 0);
    struct worker_options options = {.duty = duty,
                                     .group = &scene->groups[which],
                                     .broker = scene->broker,
                                     .settings = &scene->settings,
                                     .metrics = scene->metrics};
    struct error err;

    scene->groups[which] =
        topology_group(&scene->settings.topology, topic->stream, topic->consumer);
    assert_ok(worker_start(&scene->workers[which], &options, &err));
}

static void start_all(struct scene *scene)
{
    writer_listen(&scene->writer);
    start(scene, PARKING);
    start(scene, SUMMARIES);
}

static void stop(struct scene *scene, int which)
{
    worker_stop(scene->workers[which]);
    scene->workers[which] = NULL;
}

static void scene_close(struct scene *scene)
{
    for (int i = 0; i < WORKERS; i++)
        stop(scene, i);
    broker_close(scene->broker);
    metrics_free(scene->metrics);
    writer_close(&scene->writer);
}

static void publish(const struct scene *scene, const char *stream, const char *subject,
                    const char *body)
{
    static int serial;
    char id[32];
    struct broker_message message = {
        .stream = stream, .subject = subject, .id = id, .data = body, .size = strlen(body)};
    struct broker_receipt receipt;
    struct error err;

    snprintf(id, sizeof(id), "message-%d", ++serial);
    assert_ok(broker_publish(scene->broker, &message, 1, 1000, &receipt, &err));
}

/* Both have the same id whenever they are sent again. */
static void enters(const struct scene *scene, const char *plate, const char *time)
{
    struct id id = id_derive("entry", plate, strlen(plate));
    char text[ID_TEXT_SIZE], body[256];

    id_format(&id, text);
    snprintf(body, sizeof(body),
             "{\"id\":\"%s\",\"garage_id\":\"g\",\"vehicle_plate\":\"%s\","
             "\"entry_date_time\":\"2026-11-21T%sZ\"}",
             text, plate, time);
    publish(scene, "PARKING", "parking.entry.g", body);
}

static void leaves(const struct scene *scene, const char *plate, const char *time)
{
    struct id id = id_derive("exit", plate, strlen(plate));
    char text[ID_TEXT_SIZE], body[256];

    id_format(&id, text);
    snprintf(body, sizeof(body),
             "{\"id\":\"%s\",\"garage_id\":\"g\",\"vehicle_plate\":\"%s\","
             "\"exit_date_time\":\"2026-11-21T%sZ\"}",
             text, plate, time);
    publish(scene, "PARKING", "parking.exit.g", body);
}

static int64_t outstanding(const struct scene *scene, int which)
{
    const struct topic *topic = duty_topic(duty_find(names[which], strlen(names[which])), 0);
    struct broker_lag lag;
    struct error err;

    assert_ok(broker_lag(scene->broker, topic->stream, topic->consumer, 1000, &lag, &err));
    return lag.unread + lag.in_flight;
}

static void wait_settled(const struct scene *scene, int which)
{
    for (int waited = 0; outstanding(scene, which) && waited < WAIT_MS; waited += 5)
        poll(NULL, 0, 5);
    assert_int_equal(outstanding(scene, which), 0);
}

/* What the one emits is the other's work. */
static void wait_all_settled(const struct scene *scene)
{
    wait_settled(scene, PARKING);
    wait_settled(scene, SUMMARIES);
}

static void wait_waiting(const struct scene *scene, int which)
{
    struct error err;

    for (int waited = 0; worker_ready(scene->workers[which], &err) && waited < WAIT_MS; waited += 5)
        poll(NULL, 0, 5);
    assert_false(worker_ready(scene->workers[which], &err));
}

static void wait_posts(struct scene *scene, int posts)
{
    for (int waited = 0; posts_of(&scene->writer) < posts && waited < WAIT_MS; waited += 5)
        poll(NULL, 0, 5);
    assert_true(posts_of(&scene->writer) >= posts);
}

struct letters {
    int count;
    char reasons[LETTERS_MAX][64];
    struct buffer data;
};

static void on_letter(void *context, const struct broker_delivery *delivery)
{
    struct letters *letters = context;

    assert_true(letters->count < LETTERS_MAX);
    snprintf(letters->reasons[letters->count++], 64, "%s", broker_header(delivery, DEAD_REASON));
    buffer_append(&letters->data, delivery->data, delivery->size);
}

/* Fails unless the dead letters are these, all for one reason. */
static void expect_letters(const struct scene *scene, int count, const char *reason,
                           const char *text)
{
    struct letters letters = {0};
    struct error err;

    assert_ok(broker_peek(scene->broker, DEAD_STREAM, "", 100, on_letter, &letters, 1000, &err));
    assert_int_equal(letters.count, count);
    for (int i = 0; i < count; i++)
        assert_string_equal(letters.reasons[i], reason);
    if (text)
        assert_non_null(strstr(letters.data.data, text));
    buffer_free(&letters.data);
}

static void count_one(void *context, const struct broker_delivery *delivery)
{
    const char *type = broker_header(delivery, HEADER_CE_TYPE);
    int *count = context;

    assert_string_equal(type, "millrace.v1.ParkingSummary");
    assert_string_equal(delivery->subject, "parking-summaries.g");
    assert_string_equal(broker_header(delivery, HEADER_CE_ID), delivery->id);
    (*count)++;
}

static int summaries_published(const struct scene *scene)
{
    struct error err;
    int count = 0;

    assert_ok(
        broker_peek(scene->broker, "PARKING_SUMMARIES", "", 10000, count_one, &count, 1000, &err));
    return count;
}

static void expect_metric(const struct scene *scene, const char *line)
{
    AUTO(buffer_free) struct buffer page = {0};

    metrics_render(scene->metrics, &page);
    if (!strstr(page.data, line))
        fail_msg("no %s in %s", line, page.data);
}

/* ---- sessions and their summaries ---- */

static void a_stay_is_priced_stored_and_told(void **state)
{
    struct scene scene;

    scene_open(&scene, *state);
    start_all(&scene);
    enters(&scene, "AAA111", "08:00:00");
    leaves(&scene, "AAA111", "10:30:00");
    wait_all_settled(&scene);
    fixture_expect(*state,
                   "SELECT vehicle_plate, matched, revision, duration_s, amount_cents, currency"
                   " FROM parking_summaries",
                   "AAA111|t|1|9000|600|EUR");
    assert_int_equal(summaries_published(&scene), 1);
    assert_int_equal(count_in_file(&scene.writer, "{\"vehicle\":\"AAA111\","
                                                  "\"entryTime\":\"2026-11-21T08:00:00.000Z\","
                                                  "\"exitTime\":\"2026-11-21T10:30:00.000Z\","
                                                  "\"duration\":9000,\"matched\":true,\"id\":\""),
                     1);
    assert_int_equal(count_in_file(&scene.writer, "revision"), 0);
    assert_int_equal(count_in_file(&scene.writer, "withdrawn"), 0);
    expect_metric(&scene, "parking_sessions_total{matched=\"true\"} 1\n");
    expect_metric(&scene, "delivery_circuit_state{server=\"writer\"} 1\n");
    expect_metric(&scene, "post_request_latency_seconds_count 1\n");
    expect_metric(&scene, "event_processing_successes_total{topic=\"parking\"} 2\n");
    scene_close(&scene);
}

/* In one batch entries are stored first, whatever their order in the stream. */
static void an_exit_that_overtook_its_entry_is_no_correction(void **state)
{
    struct scene scene;

    scene_open(&scene, *state);
    leaves(&scene, "AAA111", "10:30:00");
    enters(&scene, "AAA111", "08:00:00");
    start_all(&scene);
    wait_all_settled(&scene);
    fixture_expect(*state, "SELECT matched, revision FROM parking_summaries", "t|1");
    assert_int_equal(count_in_file(&scene.writer, "AAA111"), 1);
    scene_close(&scene);
}

static void a_late_entry_corrects(void **state)
{
    struct scene scene;

    scene_open(&scene, *state);
    start_all(&scene);
    leaves(&scene, "AAA111", "10:30:00");
    wait_all_settled(&scene);
    enters(&scene, "AAA111", "08:00:00");
    wait_all_settled(&scene);
    fixture_expect(*state,
                   "SELECT matched, withdrawn, revision, amount_cents FROM parking_summaries"
                   " ORDER BY withdrawn, revision, matched",
                   "f|f|1|0\nt|f|1|600\nf|t|2|0");
    assert_int_equal(count_in_file(&scene.writer, "AAA111"), 3);
    assert_int_equal(count_in_file(&scene.writer, "\"revision\":2,\"withdrawn\":true}"), 1);
    expect_metric(&scene, "parking_sessions_total{matched=\"false\"} 1\n");
    scene_close(&scene);
}

/* Whoever died before he could settle has everything again. */
static void what_follows_again_is_a_duplicate(void **state)
{
    struct scene scene;

    scene_open(&scene, *state);
    start_all(&scene);
    for (int round = 0; round < 2; round++) {
        enters(&scene, "AAA111", "08:00:00");
        leaves(&scene, "AAA111", "10:30:00");
        wait_all_settled(&scene);
    }
    assert_int_equal(summaries_published(&scene), 1);
    assert_int_equal(count_in_file(&scene.writer, "AAA111"), 1);
    fixture_expect(*state, "SELECT count(*) FROM parking_events", "2");
    expect_metric(&scene, "parking_sessions_total{matched=\"true\"} 1\n");
    expect_metric(&scene, "store_duplicate_rows_total{topic=\"parking\"} 2\n");
    scene_close(&scene);
}

static void many_at_once(void **state)
{
    struct scene scene;
    char plate[16];

    scene_open(&scene, *state);
    for (int i = 0; i < 700; i++) {
        snprintf(plate, sizeof(plate), "M%d", i);
        enters(&scene, plate, "08:00:00");
        leaves(&scene, plate, "09:00:00");
    }
    start_all(&scene);
    wait_all_settled(&scene);
    assert_int_equal(summaries_published(&scene), 700);
    assert_int_equal(count_in_file(&scene.writer, "\"duration\":3600,"), 700);
    fixture_expect(*state, "SELECT count(DISTINCT id), sum(amount_cents) FROM parking_summaries",
                   "700|140000");
    scene_close(&scene);
}

/* The broker takes no summaries for a while, and says so in every way it can. */
static void an_event_that_follows_waits_for_its_stream(void **state)
{
    static const enum broker_memory_fault faults[] = {BROKER_MEMORY_FULL, BROKER_MEMORY_UNAVAILABLE,
                                                      BROKER_MEMORY_LOST, BROKER_MEMORY_STORED};
    struct broker_stats stats;
    struct scene scene;
    char plate[16];

    scene_open(&scene, *state);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        broker_memory_fail(scene.broker, "PARKING_SUMMARIES", faults[i], 15);
        for (int n = 0; n < 10; n++) {
            snprintf(plate, sizeof(plate), "F%zu-%d", i, n);
            enters(&scene, plate, "08:00:00");
            leaves(&scene, plate, "09:00:00");
        }
        if (i == 0)
            start_all(&scene);
        wait_all_settled(&scene);
    }
    assert_int_equal(summaries_published(&scene), 10 * (int)ARRAY_LEN(faults));
    assert_int_equal(count_in_file(&scene.writer, "vehicle"), 10 * (int)ARRAY_LEN(faults));
    broker_stats(scene.broker, &stats);
    assert_int_equal(stats.redelivered, 0);
    expect_letters(&scene, 0, "", NULL);
    scene_close(&scene);
}

/* Stopped meanwhile it settles nothing, and the next one goes on. */
static void stops_while_events_that_follow_wait(void **state)
{
    struct scene scene;

    scene_open_with(&scene, *state, 2000);
    broker_memory_fail(scene.broker, "PARKING_SUMMARIES", BROKER_MEMORY_FULL, 1000000);
    start(&scene, PARKING);
    enters(&scene, "AAA111", "08:00:00");
    leaves(&scene, "AAA111", "09:00:00");
    wait_waiting(&scene, PARKING);
    int64_t start_ms = clock_steady_ms(clock_system());
    stop(&scene, PARKING);
    assert_in_range(clock_steady_ms(clock_system()) - start_ms, 0, 1900);
    assert_true(outstanding(&scene, PARKING) > 0);
    assert_int_equal(summaries_published(&scene), 0);
    fixture_expect(*state, "SELECT count(*) FROM parking_sessions", "1");

    broker_memory_fail(scene.broker, "PARKING_SUMMARIES", BROKER_MEMORY_FULL, 0);
    start_all(&scene);
    wait_all_settled(&scene);
    assert_int_equal(summaries_published(&scene), 1);
    assert_int_equal(count_in_file(&scene.writer, "AAA111"), 1);
    scene_close(&scene);
}

static void a_subject_of_no_topic_is_a_dead_letter(void **state)
{
    struct scene scene;

    scene_open(&scene, *state);
    start_all(&scene);
    publish(&scene, "PARKING", "parking.tow.g", "{\"vehicle_plate\":\"AAA111\"}");
    wait_all_settled(&scene);
    expect_letters(&scene, 1, "unknown_subject", "AAA111");
    expect_metric(&scene, "event_processing_fails_total{topic=\"parking\"} 1\n");
    scene_close(&scene);
}

/* ---- the delivery ---- */

static void stay(const struct scene *scene, const char *plate)
{
    enters(scene, plate, "08:00:00");
    leaves(scene, plate, "09:00:00");
}

static void an_absent_writer_burns_no_attempt(void **state)
{
    struct broker_stats stats;
    struct scene scene;

    scene_open_with(&scene, *state, 1000);
    start(&scene, PARKING);
    start(&scene, SUMMARIES);
    stay(&scene, "AAA111");
    wait_waiting(&scene, SUMMARIES);
    for (int waited = 0; waited < 3500; waited += 100) { /* more than three leases */
        poll(NULL, 0, 100);
        worker_keep(scene.workers[SUMMARIES]);
    }
    fixture_expect(*state, "SELECT count(*) FROM parking_summaries", "1"); /* not held up by it */
    assert_int_equal(outstanding(&scene, SUMMARIES), 1);
    writer_listen(&scene.writer);
    stay(&scene, "BBB222");
    wait_all_settled(&scene);
    assert_int_equal(count_in_file(&scene.writer, "AAA111"), 1);
    assert_int_equal(count_in_file(&scene.writer, "BBB222"), 1);
    broker_stats(scene.broker, &stats);
    assert_int_equal(stats.redelivered, 0);
    scene_close(&scene);
}

static const struct failing {
    const char *name;
    int status; /* 0: no answer at all */
    const char *type, *body;
} failings[] = {
    {"a server that fails", 500, "text/plain", ""},
    {"one that is overloaded", 503, "text/plain", ""},
    {"too many requests", 429, "text/plain", ""},
    {"a path that is not there", 404, "text/plain", ""},
    {"a redirection is no answer", 301, "text/plain", ""},
    {"somebody who wants a password", 401, "text/plain", ""},
    {"no answer before the deadline", 0, "text/plain", ""},
    {"a page of somebody else", 200, "text/html", "<h1>It works!</h1>"},
    {"no line has a verdict", 200, HTTP_NDJSON, ""},
    {"a line too many", 200, HTTP_NDJSON,
     "{\"line\":1,\"status\":200}\n{\"line\":2,\"status\":200}\n"},
    {"a line twice", 200, HTTP_NDJSON,
     "{\"line\":1,\"status\":200}\n{\"line\":1,\"status\":200}\n"},
    {"half a verdict", 200, HTTP_NDJSON, "{\"line\":1,\"sta"},
};

static struct fixture *shared; /* RUN_ROWS has no fixture of its own */

static void is_asked_again(void **state)
{
    const struct failing *row = *state;
    struct scene scene;
    void *fixture = shared;

    assert_int_equal(fixture_database(&fixture), 0);
    scene_open(&scene, shared);
    scene.settings.writer.timeout_ms = 300;
    scene.writer.failure = row->status;
    scene.writer.failure_type = row->type;
    scene.writer.failure_body = row->body;
    scene.writer.failures = 2;
    start_all(&scene);
    stay(&scene, "AAA111");
    wait_posts(&scene, 2);
    wait_all_settled(&scene);
    assert_int_equal(posts_of(&scene.writer), 3);
    assert_int_equal(count_in_file(&scene.writer, "AAA111"), 1);
    expect_letters(&scene, 0, "", NULL);
    scene_close(&scene);
    fixture_close(&fixture);
}

/* After a few failures in a row it is left alone for a while. */
static void the_circuit_opens_and_closes(void **state)
{
    struct scene scene;

    scene_open(&scene, *state);
    scene.writer.failure = 500;
    scene.writer.failures = 3;
    start_all(&scene);
    stay(&scene, "AAA111");
    wait_posts(&scene, 3);
    int64_t start_ms = clock_steady_ms(clock_system());
    wait_waiting(&scene, SUMMARIES);
    wait_posts(&scene, 4);
    assert_true(clock_steady_ms(clock_system()) - start_ms > 1000);
    wait_all_settled(&scene);
    expect_metric(&scene, "delivery_circuit_state{server=\"writer\"} 1\n");
    scene_close(&scene);
}

static void a_refused_line_is_a_dead_letter(void **state)
{
    struct scene scene;

    scene_open(&scene, *state);
    stay(&scene, "AAA111");
    stay(&scene, "REFUSED");
    stay(&scene, "BBB222");
    start_all(&scene);
    wait_all_settled(&scene);
    expect_letters(&scene, 1, "delivery_refused", "REFUSED");
    assert_int_equal(count_in_file(&scene.writer, "vehicle"), 2);
    fixture_expect(*state, "SELECT count(*) FROM parking_summaries", "3");
    expect_metric(&scene, "delivery_refused_events_total{server=\"writer\"} 1\n");
    scene_close(&scene);
}

/* A writer that knows no lines refuses all; the one that it means is found. */
static void a_refused_post_is_halved(void **state)
{
    struct scene scene;
    char plate[16];

    scene_open(&scene, *state);
    for (int i = 0; i < 20; i++) {
        snprintf(plate, sizeof(plate), "H%d", i);
        stay(&scene, i == 13 ? "POISON" : plate);
    }
    start(&scene, PARKING);
    wait_settled(&scene, PARKING);
    writer_listen(&scene.writer);
    start(&scene, SUMMARIES);
    wait_all_settled(&scene);
    expect_letters(&scene, 1, "delivery_refused", "POISON");
    assert_int_equal(count_in_file(&scene.writer, "vehicle"), 19);
    scene_close(&scene);
}

static void an_answer_without_lines_means_all(void **state)
{
    struct scene scene;

    scene_open(&scene, *state);
    scene.writer.bare = true;
    start_all(&scene);
    stay(&scene, "AAA111");
    wait_all_settled(&scene);
    assert_int_equal(count_in_file(&scene.writer, "AAA111"), 1);
    assert_int_equal(posts_of(&scene.writer), 1);
    scene_close(&scene);
}

/* The same rows have the same key, others another. */
static void a_post_is_named_by_its_rows(void **state)
{
    struct scene scene;
    char first[64];

    scene_open(&scene, *state);
    scene.writer.failure = 500;
    scene.writer.failures = 1;
    start_all(&scene);
    stay(&scene, "AAA111");
    wait_posts(&scene, 1);
    pthread_mutex_lock(&scene.writer.lock);
    snprintf(first, sizeof(first), "%s", scene.writer.key);
    pthread_mutex_unlock(&scene.writer.lock);
    assert_int_equal(strlen(first), ID_TEXT_SIZE - 1);
    wait_all_settled(&scene);
    assert_string_equal(scene.writer.key, first);
    stay(&scene, "BBB222");
    wait_all_settled(&scene);
    assert_string_not_equal(scene.writer.key, first);
    scene_close(&scene);
}

/* While it waits for an answer that does not come. */
static void stops_in_the_middle_of_a_post(void **state)
{
    struct scene scene;

    scene_open(&scene, *state);
    scene.settings.writer.timeout_ms = 60000;
    scene.writer.failures = 1;
    start_all(&scene);
    stay(&scene, "AAA111");
    wait_posts(&scene, 1);
    int64_t start_ms = clock_steady_ms(clock_system());
    stop(&scene, SUMMARIES);
    assert_in_range(clock_steady_ms(clock_system()) - start_ms, 0, 5000);
    assert_int_equal(outstanding(&scene, SUMMARIES), 1);
    scene_close(&scene);
}

static const struct address {
    const char *name, *url; /* %d: the writer's port */
    const char *mistake;    /* NULL: none */
    bool host, port;        /* the settings name the writer's */
    bool told;
} addresses[] = {
    {"the URL alone", "http://127.0.0.1:%d/log", NULL, false, false, true},
    {"another host", "http://nobody.invalid:%d/log", NULL, true, false, true},
    {"another port", "http://127.0.0.1:1/log", NULL, false, true, true},
    {"a port where there is none", "http://127.0.0.1/log", NULL, false, true, true},
    {"another host and port", "http://[::1]:1/log", NULL, true, true, true},
    {"a port in the path stays there", "http://127.0.0.1:%d/log?a=b:1", NULL, false, false, true},
    {"nobody", "none", NULL, false, false, false},
    {"nobody either", "", NULL, true, true, false},
    {"no URL", "127.0.0.1:8081/log", "WRITER_URL", false, false, false},
    {"another kind of URL", "ftp://127.0.0.1/log", "WRITER_URL", true, false, false},
};

static void expect_mistake(struct scene *scene, const char *mistake)
{
    struct worker_options options = {.duty = duty_find("summaries", 9),
                                     .group = &scene->groups[SUMMARIES],
                                     .broker = scene->broker,
                                     .settings = &scene->settings,
                                     .metrics = scene->metrics};
    struct error err;

    scene->groups[SUMMARIES] =
        topology_group(&scene->settings.topology, "PARKING_SUMMARIES", "processor-summaries");
    assert_fails(worker_start(&scene->workers[SUMMARIES], &options, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, mistake));
}

static void expect_told(struct scene *scene, bool told)
{
    start_all(scene);
    stay(scene, "AAA111");
    wait_all_settled(scene);
    assert_int_equal(count_in_file(&scene->writer, "AAA111"), told);
    fixture_expect(shared, "SELECT count(*) FROM parking_summaries", "1");
}

static void is_told_there(void **state)
{
    const struct address *row = *state;
    void *fixture = shared;
    struct scene scene;
    char url[128];

    assert_int_equal(fixture_database(&fixture), 0);
    scene_open(&scene, shared);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(url, sizeof(url), row->url, scene.writer.port);
#pragma GCC diagnostic pop
    scene.settings.writer = (struct delivery_settings){
        .url = url,
        .host = row->host ? "127.0.0.1" : "",
        .port = row->port ? scene.writer.port : 0,
        .timeout_ms = 5000,
    };
    if (row->mistake)
        expect_mistake(&scene, row->mistake);
    else
        expect_told(&scene, row->told);
    scene_close(&scene);
    fixture_close(&fixture);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_database, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_stay_is_priced_stored_and_told),
        CASE(an_exit_that_overtook_its_entry_is_no_correction),
        CASE(a_late_entry_corrects),
        CASE(what_follows_again_is_a_duplicate),
        CASE(many_at_once),
        CASE(an_event_that_follows_waits_for_its_stream),
        CASE(stops_while_events_that_follow_wait),
        CASE(a_subject_of_no_topic_is_a_dead_letter),
        CASE(an_absent_writer_burns_no_attempt),
        CASE(the_circuit_opens_and_closes),
        CASE(a_refused_line_is_a_dead_letter),
        CASE(a_refused_post_is_halved),
        CASE(an_answer_without_lines_means_all),
        CASE(a_post_is_named_by_its_rows),
        CASE(stops_in_the_middle_of_a_post),
    };
    void *fixture = NULL;

    log_start("processor", LOG_ERROR, LOG_TEXT);
    int failed = cmocka_run_group_tests_name("parking", tests, fixture_start, fixture_end);
    fixture_start(&fixture);
    shared = fixture;
    failed += RUN_ROWS(failings, is_asked_again) + RUN_ROWS(addresses, is_told_there);
    fixture_end(&fixture);
    return failed;
}
