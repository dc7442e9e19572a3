/* A whole api between a real HTTP client and the memory broker; nothing asked here needs a store.
 */
#include "support/test.h"

#include "api.h"

#include "base/log.h"
#include "broker/broker_memory.h"
#include "broker/dead_letter.h"
#include "http_client.h"

#define WAIT_MS 5000

struct scene {
    struct broker *broker;
    struct api *api;
};

static void bury(struct scene *scene, const char *stream, const char *reason, const char *size)
{
    static int serial;
    char id[32];
    struct broker_header headers[] = {
        {DEAD_ORIGIN, stream},
        {DEAD_SUBJECT, strcmp(stream, "LOGS") == 0 ? "logs.a" : "gone.a"},
        {DEAD_CONSUMER, "processor-logs"},
        {DEAD_REASON, reason},
        {DEAD_SEQUENCE, "17"},
        {DEAD_LAST, "2026-01-02T00:00:00.000Z"},
        {DEAD_SIZE, size},
    };
    struct broker_receipt receipt;
    struct error err;

    snprintf(id, sizeof(id), "letter-%d", ++serial);
    struct broker_message message = {.stream = DEAD_STREAM,
                                     .subject = "dead.LOGS.processor-logs",
                                     .id = id,
                                     .headers = headers,
                                     .header_count = ARRAY_LEN(headers) - !size,
                                     .data = "a",
                                     .size = 1};
    assert_ok(broker_publish(scene->broker, &message, 1, WAIT_MS, &receipt, &err));
}

/* Four letters: 1 and 2 "red", 3 "blue" and cut, 4 of a stream that is gone. */
static int scene_start(void **state)
{
    static struct scene scene;
    static char url[64];
    static int serial;
    static struct api_settings settings;
    const struct broker_stream stream = {.name = "LOGS",
                                         .subjects = "logs.>",
                                         .max_bytes = 1 << 20,
                                         .dedup_window_ms = 60000,
                                         .replicas = 1};
    struct error err;

    snprintf(url, sizeof(url), "memory://api-dead-letters-%d", ++serial);
    settings = (struct api_settings){.host = "127.0.0.1",
                                     .broker_url = url,
                                     .database_url = "postgresql://127.0.0.1:1/none",
                                     .query_threads = 1,
                                     .query_queue = 16,
                                     .query_timeout_ms = 3000,
                                     .origins = ""};
    scene = (struct scene){0};
    assert_ok(broker_open(&scene.broker, url, NULL, &err));
    assert_ok(broker_declare(scene.broker, &stream, 1, NULL, 0, NULL, NULL, WAIT_MS, &err));
    bury(&scene, "LOGS", "red", NULL);
    bury(&scene, "LOGS", "red", NULL);
    bury(&scene, "LOGS", "blue", "2000000");
    bury(&scene, "GONE", "lost", NULL);
    assert_ok(api_start(&scene.api, &settings, &err));
    api_refresh(scene.api);
    *state = &scene;
    return 0;
}

static int scene_end(void **state)
{
    struct scene *scene = *state;

    api_stop(scene->api);
    broker_close(scene->broker);
    return 0;
}

/* The status; the body is the client's. */
static int ask(struct client *client, const char *method, const char *target, const char *body)
{
    char text[2048];

    snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
             method, target, strlen(body), body);
    return client_ask(client, text);
}

static void expect(struct client *client, const char *text)
{
    if (!strstr(client->body, text))
        fail_msg("'%s' is not in %s", text, client->body);
}

static size_t count_letters(struct client *client)
{
    size_t count = 0;

    assert_int_equal(ask(client, "GET", "/dead-letters", ""), 200);
    for (const char *at = client->body; (at = strstr(at, "{\"id\":")); at++)
        count++;
    return count;
}

#define REPLAY "POST", "/dead-letters/replay"

static const struct row {
    const char *name, *method, *target, *body;
    int status;
    const char *told;
    size_t left; /* letters, afterwards */
} rows[] = {
    {"all are listed", "GET", "/dead-letters", "", 200, "\"next\":null", 4},
    {"a summary has no data", "GET", "/dead-letters?reason=blue", "", 200,
     "{\"dead_letters\":[{\"id\":\"3\",\"stream\":\"LOGS\",\"consumer\":\"processor-logs\","
     "\"subject\":\"logs.a\",\"sequence\":\"17\",\"message_id\":null,\"part\":null,"
     "\"reason\":\"blue\",\"error\":null,\"attempts\":null,\"first_time\":null,"
     "\"last_time\":\"2026-01-02T00:00:00.000Z\",\"replays\":0,\"size\":2000000,\"cut\":true}],"
     "\"next\":null}",
     4},
    {"they are listed by time", "GET",
     "/dead-letters?from=2026-01-02T00:00:00.001Z&consumer=processor-logs", "", 200,
     "{\"dead_letters\":[],\"next\":null}", 4},
    {"nothing is before the epoch", "GET", "/dead-letters?to=1970-01-01T00:00:00Z", "", 200,
     "{\"dead_letters\":[],\"next\":null}", 4},
    {"a page is limited", "GET", "/dead-letters?limit=501", "", 422, "\"/query/limit\"", 4},
    {"an unknown parameter is refused", "GET", "/dead-letters?steam=LOGS", "", 422,
     "\"code\":\"unknown_parameter\"", 4},
    {"an unknown name that is no text is not repeated", "GET", "/dead-letters?%ff=1", "", 422,
     "\"/query\",\"detail\":\"there is no such parameter\"", 4},
    {"a long unknown name is not repeated", "GET",
     "/dead-letters?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=1", "", 422,
     "there is no such parameter", 4},
    {"a parameter of another route is unknown", "GET", "/dead-letters?id=1", "", 422,
     "\"/query/id\"", 4},
    {"a time without a zone is refused", "GET", "/dead-letters?from=2026-01-01T00:00:00", "", 422,
     "\"/query/from\"", 4},
    {"times have an order", "GET",
     "/dead-letters?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "", 422, "\"/query/from\"",
     4},
    {"a cursor that is none is refused", "GET", "/dead-letters?cursor=abc", "", 422,
     "\"invalid_cursor\"", 4},
    {"one is shown whole", "GET", "/dead-letters/2", "", 200, "\"headers\":{},\"data\":\"a\"}", 4},
    {"none is not found", "GET", "/dead-letters/99", "", 404, "'99'", 4},
    {"a place that is none is not found", "GET", "/dead-letters/x%20y", "", 404, "\"not_found\"",
     4},
    {"a place that is too long is not found", "GET",
     "/dead-letters/1000000000000000000000000000000000000000000000000000000000000000", "", 404,
     "\"not_found\"", 4},
    {"one has no parameters", "GET", "/dead-letters/2?a=b", "", 422, "unknown_parameter", 4},

    {"a replay by reason", REPLAY, "{\"reason\":\"red\",\"odd\":1}", 200,
     "{\"matched\":2,\"replayed\":2,\"next\":null,\"cut\":0}", 2},
    {"a replay of one", REPLAY, "{\"id\":\"2\"}", 200, "\"replayed\":1", 3},
    {"a replay of some tells where to go on", REPLAY, "{\"max\":1}", 200,
     "\"replayed\":1,\"next\":\"", 3},
    {"what is cut is left alone", REPLAY, "{\"stream\":\"LOGS\"}", 200,
     "{\"matched\":3,\"replayed\":2,\"next\":null,\"cut\":1}", 2},
    {"an empty body means all, and what stops it is told", REPLAY, "", 200,
     "\"replayed\":2,\"next\":\"", 2},
    {"and named", REPLAY, "{}", 200, "dead letter 4 to 'GONE'", 2},
    {"a stream that is gone is no route that is", REPLAY, "{\"stream\":\"GONE\"}", 200,
     "\"error\":{\"code\":\"not_found\"", 4},
    {"a dry run", REPLAY, "{\"dry_run\":true}", 200,
     "{\"matched\":4,\"replayed\":0,\"next\":null,\"cut\":1}", 4},
    {"null is absent", REPLAY, "{\"reason\":null,\"dry_run\":true}", 200, "\"matched\":4", 4},
    {"a body that is no JSON", REPLAY, "red", 400, "json_syntax", 4},
    {"a reason that is a number", REPLAY, "{\"reason\":1}", 422, "\"/reason\"", 4},
    {"a rate of nothing", REPLAY, "{\"per_second\":0}", 422, "\"/per_second\"", 4},
    {"a time that is none", REPLAY, "{\"from\":\"today\"}", 422, "\"/from\"", 4},
    {"times of a body have an order", REPLAY,
     "{\"from\":\"2026-01-02T00:00:00Z\",\"to\":\"2026-01-02T00:00:00Z\"}", 422, "\"/from\"", 4},
    {"a cursor of a body that is none", REPLAY, "{\"cursor\":\"abc\"}", 422, "\"/cursor\"", 4},
    {"a replay has no parameters", "POST", "/dead-letters/replay?dry_run=true", "", 422,
     "unknown_parameter", 4},

    {"a purge by reason", "DELETE", "/dead-letters?reason=red", "", 200,
     "{\"matched\":2,\"removed\":2,\"next\":null}", 2},
    {"a purge of one", "DELETE", "/dead-letters?id=4", "", 200, "\"removed\":1", 3},
    {"a purge of what is cut", "DELETE", "/dead-letters?reason=blue", "", 200, "\"removed\":1", 3},
    {"a purge of some", "DELETE", "/dead-letters?stream=LOGS&max=1", "", 200,
     "\"removed\":1,\"next\":\"", 3},
    {"a purge that only counts", "DELETE", "/dead-letters?stream=LOGS&dry_run=true", "", 200,
     "{\"matched\":3,\"removed\":0,\"next\":null}", 4},
    {"a purge of everything has to be meant", "DELETE", "/dead-letters", "", 400,
     "\"code\":\"empty_filter\"", 4},
    {"a place to begin is no filter", "DELETE", "/dead-letters?max=1&dry_run=false", "", 400,
     "\"code\":\"empty_filter\"", 4},
    {"a misspelt filter is not an empty one", "DELETE", "/dead-letters?stream=LOGS&reasn=red", "",
     422, "\"/query/reasn\"", 4},
    {"a filter that came out empty is no filter", "DELETE", "/dead-letters?stream=LOGS&reason=", "",
     422, "\"/query/reason\"", 4},
    {"a dry run without a value is not a real one", "DELETE",
     "/dead-letters?stream=LOGS&dry_run=", "", 422, "\"/query/dry_run\"", 4},
    {"nothing to purge", "DELETE", "/dead-letters?reason=green", "", 200,
     "{\"matched\":0,\"removed\":0,\"next\":null}", 4},
};

static void answer(void **state)
{
    const struct row *row = *state;
    void *scene;

    scene_start(&scene);
    AUTO(client_close) struct client *client = client_open(api_port(((struct scene *)scene)->api));
    int status = ask(client, row->method, row->target, row->body);
    if (status != row->status)
        fail_msg("%d instead of %d: %s", status, row->status, client->body);
    expect(client, row->told);
    assert_int_equal(count_letters(client), row->left);
    client_close(client);
    client = NULL;
    scene_end(&scene);
}

/* The text of a member "next", as the last answer has it. */
static void next_of(const struct client *client, char *out, size_t size)
{
    const char *at = strstr(client->body, "\"next\":\"");

    assert_non_null(at);
    at += strlen("\"next\":\"");
    snprintf(out, size, "%.*s", (int)strcspn(at, "\""), at);
}

static void cursors_go_on(void **state)
{
    struct scene *scene = *state;
    AUTO(client_close) struct client *client = client_open(api_port(scene->api));
    char next[256], text[512];

    assert_int_equal(ask(client, "GET", "/dead-letters?limit=3", ""), 200);
    next_of(client, next, sizeof(next));
    snprintf(text, sizeof(text), "/dead-letters?limit=3&cursor=%s", next);
    assert_int_equal(ask(client, "GET", text, ""), 200);
    expect(client, "[{\"id\":\"4\"");
    expect(client, "\"next\":null");
    snprintf(text, sizeof(text), "/dead-letters?reason=red&cursor=%s", next);
    assert_int_equal(ask(client, "DELETE", text, ""), 422); /* of another list */

    assert_int_equal(ask(client, "POST", "/dead-letters/replay", "{\"max\":1}"), 200);
    next_of(client, next, sizeof(next));
    bury(scene, "LOGS", "again", NULL); /* what a replay that fails again would leave */
    snprintf(text, sizeof(text), "{\"stream\":\"LOGS\",\"cursor\":\"%s\"}", next);
    assert_int_equal(ask(client, "POST", "/dead-letters/replay", text), 200);
    expect(client, "{\"matched\":2,\"replayed\":1,\"next\":null,\"cut\":1}");
}

static void a_limited_replay_answers_in_time(void **state)
{
    struct scene *scene = *state;
    AUTO(client_close) struct client *client = client_open(api_port(scene->api));

    for (int i = 0; i < 10; i++)
        bury(scene, "LOGS", "slow", NULL);
    assert_int_equal(
        ask(client, "POST", "/dead-letters/replay", "{\"reason\":\"slow\",\"per_second\":1}"), 200);
    if (!strstr(client->body, "\"replayed\":2") && !strstr(client->body, "\"replayed\":3"))
        fail_msg("a call of 3 s at one per second: %s", client->body);
    expect(client, "\"next\":\"");
}

/* More of them than threads that replay. The scene's one query thread stays free. */
static void replays_that_take_long_are_not_in_the_way(void **state)
{
    static const char replay[] = "POST /dead-letters/replay HTTP/1.1\r\nHost: x\r\n"
                                 "Content-Length: 16\r\n\r\n{\"per_second\":1}";
    struct scene *scene = *state;
    struct client *clients[4];

    for (int i = 0; i < 40; i++)
        bury(scene, "LOGS", "slow", NULL);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        clients[i] = client_open(api_port(scene->api));
        client_send(clients[i], replay);
    }
    AUTO(client_close) struct client *client = client_open(api_port(scene->api));
    int64_t begun_ms = clock_steady_ms(clock_system());
    do
        assert_int_equal(ask(client, "GET", "/metrics", ""), 200);
    while (strstr(client->body, "query_pool_waiting 0") &&
           clock_steady_ms(clock_system()) - begun_ms < WAIT_MS);
    begun_ms = clock_steady_ms(clock_system());
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(client, "GET", "/dead-letters?limit=1", ""), 200);
    int64_t taken_ms = clock_steady_ms(clock_system()) - begun_ms;
    if (taken_ms >= 1000)
        fail_msg("5 answers took %lld ms", (long long)taken_ms);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        client_close(clients[i]);
}

static void an_absent_broker_is_503(void **state)
{
    static const char *const asked[][3] = {{"GET", "/dead-letters", ""},
                                           {"GET", "/dead-letters/1", ""},
                                           {"POST", "/dead-letters/replay", "{}"},
                                           {"DELETE", "/dead-letters?stream=LOGS", ""}};
    struct scene *scene = *state;

    broker_memory_away(scene->broker, true);
    for (int round = 0; round < 2; round++) { /* before the api knows, and after */
        for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
            AUTO(client_close) struct client *client = client_open(api_port(scene->api));
            assert_int_equal(ask(client, asked[i][0], asked[i][1], asked[i][2]), 503);
            assert_non_null(client_header(client, "Retry-After"));
        }
        api_refresh(scene->api);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cursors_go_on, scene_start, scene_end),
        cmocka_unit_test_setup_teardown(a_limited_replay_answers_in_time, scene_start, scene_end),
        cmocka_unit_test_setup_teardown(replays_that_take_long_are_not_in_the_way, scene_start,
                                        scene_end),
        cmocka_unit_test_setup_teardown(an_absent_broker_is_503, scene_start, scene_end),
    };

    log_start("api", LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests_name("dead letters", tests, NULL, NULL) + RUN_ROWS(rows, answer);
}
