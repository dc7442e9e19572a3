/* A connection to a real redis-server, and what is read of URLs and refusals. */
#include "support/test.h"

#include "base/clock.h"
#include "base/memory.h"
#include "broker/redis_address.h"
#include "broker/redis_link.h"
#include "support/server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MS 5000
#define SHORT_MS 200

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* ---- URLs ---- */

/* In the order of reading: NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct url {
    const char *name, *text;
    bool good;
    const char *host, *port, *user, *password, *database;
};

static const struct url urls[] = {
    {"host alone", "redis://server", true, "server", "6379", NULL, NULL, NULL},
    {"host and port", "redis://server:7000", true, "server", "7000", NULL, NULL, NULL},
    {"a slash says nothing", "redis://server:7000/", true, "server", "7000", NULL, NULL, NULL},
    {"a database", "redis://server/3", true, "server", "6379", NULL, NULL, "3"},
    {"a password", "redis://:secret@server", true, "server", "6379", NULL, "secret", NULL},
    {"a user", "redis://me:secret@server:1/2", true, "server", "1", "me", "secret", "2"},
    {"escapes", "redis://m%40e:%3a%2Fs%25@server", true, "server", "6379", "m@e", ":/s%", NULL},
    {"an @ in a password", "redis://:a@b@server", true, "server", "6379", NULL, "a@b", NULL},
    {"a colon in a password", "redis://:a:b@server", true, "server", "6379", NULL, "a:b", NULL},
    {"an IPv6 address", "redis://[::1]:7000", true, "::1", "7000", NULL, NULL, NULL},
    {"an IPv6 address alone", "redis://[::1]", true, "::1", "6379", NULL, NULL, NULL},
    {"an empty login is none", "redis://:@server", true, "server", "6379", NULL, NULL, NULL},
    {.name = "no host", .text = "redis://"},
    {.name = "no host before the port", .text = "redis://:7000"},
    {.name = "no host behind the login", .text = "redis://:secret@"},
    {.name = "an empty port", .text = "redis://server:"},
    {.name = "a port that is none", .text = "redis://server:70a"},
    {.name = "a port too large", .text = "redis://server:65536"},
    {.name = "a number that no number holds", .text = "redis://server:99999999999999999999"},
    {.name = "a path that is no number", .text = "redis://server/x"},
    {.name = "parameters", .text = "redis://server?protocol=3"},
    {.name = "a user without a password", .text = "redis://secret@server"},
    {.name = "a user with an empty password", .text = "redis://me:@server"},
    {.name = "half an escape", .text = "redis://:secret%2@server"},
    {.name = "an escape that is none", .text = "redis://:secret%zz@server"},
    {.name = "an escaped NUL", .text = "redis://:secret%00@server"},
    {.name = "another scheme", .text = "nats://server"},
#ifndef MILLRACE_REDIS_TLS
    {.name = "TLS, which this build does not have", .text = "rediss://server"},
#endif
};

static void expect_text(const char *text, const char *want)
{
    assert_int_equal(text == NULL, want == NULL);
    if (want)
        assert_string_equal(text, want);
}

static void check_url(void **state)
{
    const struct url *row = *state;
    struct redis_address *address;
    struct error err;

    bool good = redis_address_parse(&address, row->text, &err);
    assert_int_equal(good, row->good);
    if (!good) {
        assert_int_equal(err.code, ERROR_INVALID);
        assert_null(strstr(err.message, "secret"));
        return;
    }
    expect_text(address->host, row->host);
    expect_text(address->port, row->port);
    expect_text(address->user, row->user);
    expect_text(address->password, row->password);
    expect_text(address->database, row->database);
    redis_address_free(address);
}

/* ---- refusals ---- */

struct refusal {
    const char *name, *text;
    enum error_code code;
    bool retry;
    const char *message; /* NULL: the text */
};

static const struct refusal refusals[] = {
    {"loading passes", "LOADING Redis is loading", ERROR_UNAVAILABLE, true, NULL},
    {"a busy script passes", "BUSY Redis is busy", ERROR_UNAVAILABLE, true, NULL},
    {"a group that is there is not busy", "BUSYGROUP it exists", ERROR_INVALID, false, NULL},
    {"a replica", "READONLY You can't write", ERROR_UNAVAILABLE, true, NULL},
    {"a master that is away", "MASTERDOWN Link is down", ERROR_UNAVAILABLE, true, NULL},
    {"a flush ends a wait", "UNBLOCKED the stream key no longer exists", ERROR_UNAVAILABLE, true,
     NULL},
    {"too few replicas", "NOREPLICAS Not enough", ERROR_UNAVAILABLE, true, NULL},
    {"too many clients", "ERR max number of clients reached", ERROR_UNAVAILABLE, true, NULL},
    {"no memory", "OOM command not allowed", ERROR_FULL, false, NULL},
    {"no disk", "MISCONF Errors writing to the AOF file", ERROR_FULL, false, NULL},
    {"our own full", "FULL 9 of 9 bytes are used", ERROR_FULL, false, NULL},
    {"not logged in", "NOAUTH Authentication required.", ERROR_DENIED, false, NULL},
    {"a wrong password", "WRONGPASS invalid", ERROR_DENIED, false, NULL},
    {"no permission", "NOPERM this user has no permissions", ERROR_DENIED, false, NULL},
    {"no group", "NOGROUP No such key", ERROR_NOT_FOUND, false, NULL},
    {"our own no stream", "NOSTREAM there is none", ERROR_NOT_FOUND, false, NULL},
    {"anything else", "ERR unknown command", ERROR_INVALID, false, NULL},
    {"nothing", "", ERROR_INVALID, false, NULL},
    {"where in a script it was is cut",
     "OOM command not allowed. script: 5aa1b3, on @user_script:1.", ERROR_FULL, false,
     "OOM command not allowed."},
};

static void check_refusal(void **state)
{
    const struct refusal *row = *state;
    char text[128];
    redisReply reply = {.type = REDIS_REPLY_ERROR, .str = text};
    struct error err;
    bool retry;

    reply.len = (size_t)snprintf(text, sizeof(text), "%s", row->text);
    redis_refusal(&reply, &err, &retry);
    assert_int_equal(err.code, row->code);
    assert_int_equal(retry, row->retry);
    assert_string_equal(err.message, row->message ? row->message : row->text);
}

/* ---- a link ---- */

struct world {
    struct server *server;
    struct redis_address *address;
    struct redis_link *link;
    int ups, downs;
};

static void changed(void *context, bool connected, const char *detail)
{
    struct world *world = context;

    (void)detail;
    world->ups += connected;
    world->downs += !connected;
}

static int build_world(void **state)
{
    struct world *world = memory_alloc(sizeof(*world));
    struct error err;

    assert_ok(server_start_redis(&world->server, &err));
    assert_ok(redis_address_parse(&world->address, server_url(world->server), &err));
    world->link = redis_link_new(world->address, "a test", changed, world);
    *state = world;
    return 0;
}

static int end_world(void **state)
{
    struct world *world = *state;

    redis_link_free(world->link);
    redis_address_free(world->address);
    server_close(world->server);
    free(world);
    return 0;
}

/* Up to three words; NULL ends them. */
static bool call(struct redis_link *link, const char *const words[3], int timeout_ms,
                 redisReply **out, struct error *err)
{
    const char *arguments[3];
    int count = 0;

    while (count < 3 && words[count]) {
        arguments[count] = words[count];
        count++;
    }
    return redis_link_call(link, count, arguments, NULL, now_ms() + timeout_ms, out, err);
}

#define WORDS(...) ((const char *const[3]){__VA_ARGS__})

static void expect_call(struct redis_link *link, const char *text, const char *const words[3])
{
    redisReply *reply;
    struct error err;

    assert_ok(call(link, words, CALL_MS, &reply, &err));
    expect_text(reply->str, text);
    redis_reply_free(reply);
}

/* Another link with another URL of the same server: user and password, database. */
static struct redis_link *open_as(const struct world *world, const char *login, const char *path,
                                  struct redis_address **out_address)
{
    char url[128];
    struct error err;

    snprintf(url, sizeof(url), "redis://%s%s%s", login, server_url(world->server) + 8, path);
    assert_ok(redis_address_parse(out_address, url, &err));
    return redis_link_new(*out_address, "another", NULL, NULL);
}

static void a_call_connects_and_answers(void **state)
{
    struct world *world = *state;

    assert_false(redis_link_is_connected(world->link));
    expect_call(world->link, "PONG", WORDS("PING"));
    expect_call(world->link, "OK", WORDS("SET", "k", "v"));
    expect_call(world->link, "v", WORDS("GET", "k"));
    expect_call(world->link, "a-test", WORDS("CLIENT", "GETNAME"));
    assert_true(redis_link_is_connected(world->link));
    assert_int_equal(world->ups, 1);
    assert_int_equal(world->downs, 0);
}

static void bytes_are_bytes(void **state)
{
    struct world *world = *state;
    static char data[300000];
    const char *set[] = {"SET", "k\0y", data}, *get[] = {"GET", "k\0y"};
    size_t set_sizes[] = {3, 3, sizeof(data)}, get_sizes[] = {3, 3};
    redisReply *reply;
    struct error err;

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 31);
    assert_ok(redis_link_call(world->link, 3, set, set_sizes, now_ms() + CALL_MS, &reply, &err));
    redis_reply_free(reply);
    assert_ok(redis_link_call(world->link, 2, get, get_sizes, now_ms() + CALL_MS, &reply, &err));
    assert_int_equal(reply->len, sizeof(data));
    assert_memory_equal(reply->str, data, sizeof(data));
    redis_reply_free(reply);
}

static void expect_next(struct redis_link *link, const char *text)
{
    redisReply *reply;
    struct error err;

    assert_ok(redis_link_reply(link, now_ms() + CALL_MS, &reply, &err));
    assert_string_equal(reply->str, text);
    redis_reply_free(reply);
}

static void replies_come_in_order(void **state)
{
    struct world *world = *state;
    char text[16];

    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        redis_link_append(world->link, 2, (const char *[]){"ECHO", text}, NULL);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        expect_next(world->link, text);
    }
}

static void an_error_reply_is_an_error(void **state)
{
    struct world *world = *state;
    redisReply *reply;
    struct error err;

    assert_fails(call(world->link, WORDS("NONSENSE"), CALL_MS, &reply, &err), ERROR_INVALID);
    expect_call(world->link, "PONG", WORDS("PING"));
    assert_int_equal(redis_link_connections(world->link), 1);
}

static const struct redis_script sum = {"sum", "return tonumber(ARGV[1]) + #KEYS"};
static const struct redis_script fail = {"fail", "return redis.error_reply('NOSTREAM none')"};

static bool run_script(struct redis_link *link, const struct redis_script *script, redisReply **out,
                       struct error *err)
{
    const char *arguments[] = {NULL, NULL, "key", "41"};
    struct redis_request request = {
        .script = script, .keys = 1, .count = ARRAY_LEN(arguments), .arguments = arguments};

    return redis_link_ask(link, &request, now_ms() + CALL_MS, out, err);
}

static void expect_sum(struct redis_link *link)
{
    redisReply *reply;
    struct error err;

    assert_ok(run_script(link, &sum, &reply, &err));
    assert_int_equal(reply->integer, 42);
    redis_reply_free(reply);
}

static void a_script_outlives_its_being_forgotten(void **state)
{
    struct world *world = *state;
    redisReply *reply;
    struct error err;

    for (int i = 0; i < 3; i++) {
        expect_sum(world->link);
        expect_sum(world->link);
        expect_call(world->link, "OK", WORDS("SCRIPT", "FLUSH"));
    }
    assert_fails(run_script(world->link, &fail, &reply, &err), ERROR_NOT_FOUND);
    assert_string_equal(err.reason, REDIS_NO_STREAM);
}

/* ---- who may come in ---- */

static void want_password(const struct world *world, const char *password)
{
    const char *arguments[] = {"CONFIG", "SET", "requirepass", password};
    redisReply *reply;
    struct error err;

    assert_ok(redis_link_call(world->link, 4, arguments, NULL, now_ms() + CALL_MS, &reply, &err));
    redis_reply_free(reply);
}

static void a_password_lets_in(void **state)
{
    struct world *world = *state;
    struct redis_address *address;

    expect_call(world->link, "OK", WORDS("SET", "k", "here"));
    want_password(world, "pa:ss");
    struct redis_link *link = open_as(world, ":pa%3ass@", "", &address);
    expect_call(link, "here", WORDS("GET", "k"));
    redis_link_free(link);
    redis_address_free(address);
}

static void expect_denied(struct redis_link *link, int timeout_ms)
{
    redisReply *reply;
    struct error err;

    assert_fails(call(link, WORDS("GET", "k"), timeout_ms, &reply, &err), ERROR_DENIED);
    assert_null(strstr(err.message, "hushhush"));
}

static void a_wrong_password_is_denied_and_not_shown(void **state)
{
    static const char *const logins[] = {":hushhush@", "me:hushhush@", ""};
    struct world *world = *state;
    struct redis_address *address;

    want_password(world, "right");
    for (size_t i = 0; i < ARRAY_LEN(logins); i++) {
        struct redis_link *link = open_as(world, logins[i], "", &address);
        expect_denied(link, CALL_MS);
        expect_denied(link, 1); /* also while it rests */
        redis_link_free(link);
        redis_address_free(address);
    }
}

static void a_database_is_selected(void **state)
{
    struct world *world = *state;
    struct redis_address *address;

    expect_call(world->link, "OK", WORDS("SET", "k", "v"));
    struct redis_link *link = open_as(world, "", "/1", &address);
    expect_call(link, NULL, WORDS("GET", "k"));
    redis_link_free(link);
    redis_address_free(address);
}

static void a_name_is_looked_up(void **state)
{
    struct world *world = *state;
    struct redis_address *address;
    char url[64];
    struct error err;

    snprintf(url, sizeof(url), "redis://localhost%s", strrchr(server_url(world->server), ':'));
    assert_ok(redis_address_parse(&address, url, &err));
    struct redis_link *link = redis_link_new(address, "by name", NULL, NULL);
    expect_call(link, "PONG", WORDS("PING")); /* whichever address of it answers */
    redis_link_free(link);
    redis_address_free(address);
}

/* ---- waits that end ---- */

static void expect_took(int64_t started_ms, int64_t from_ms, int64_t to_ms)
{
    int64_t took_ms = now_ms() - started_ms;

    if (took_ms < from_ms || took_ms > to_ms)
        fail_msg("it took %lld ms", (long long)took_ms);
}

static void no_answer_is_unknown_and_the_link_is_thrown_away(void **state)
{
    struct world *world = *state;
    redisReply *reply;
    struct error err;

    expect_call(world->link, "OK", WORDS("SET", "k", "v"));
    server_pause(world->server);
    int64_t started_ms = now_ms();
    assert_fails(call(world->link, WORDS("GET", "k"), SHORT_MS, &reply, &err), ERROR_UNKNOWN);
    expect_took(started_ms, SHORT_MS, SHORT_MS + 300);
    assert_false(redis_link_is_connected(world->link));
    started_ms = now_ms(); /* it connects, and is not greeted */
    assert_fails(call(world->link, WORDS("GET", "k"), SHORT_MS, &reply, &err), ERROR_UNAVAILABLE);
    expect_took(started_ms, SHORT_MS, SHORT_MS + 300);
    server_resume(world->server);
    expect_call(world->link, "PONG", WORDS("PING")); /* not the late "v" */
    assert_int_equal(world->downs, 1);
    assert_int_equal(world->ups, 2);
}

static void without_a_server_nothing_happened(void **state)
{
    struct world *world = *state;
    redisReply *reply;
    struct error err;

    server_stop(world->server);
    for (int i = 0; i < 5; i++)
        assert_fails(call(world->link, WORDS("PING"), CALL_MS, &reply, &err), ERROR_UNAVAILABLE);
    assert_int_equal(world->downs, 1); /* told once */
    assert_ok(server_start_again(world->server, &err));
    expect_call(world->link, "PONG", WORDS("PING"));
}

static void a_link_that_was_closed_meanwhile_is_made_again(void **state)
{
    struct world *world = *state;
    struct error err;

    expect_call(world->link, "OK", WORDS("SET", "k", "v"));
    server_stop(world->server);
    assert_ok(server_start_again(world->server, &err));
    expect_call(world->link, "v", WORDS("GET", "k"));
    assert_int_equal(redis_link_connections(world->link), 2);
}

static void what_is_in_flight_fails_together(void **state)
{
    struct world *world = *state;
    redisReply *reply;
    struct error err;

    expect_call(world->link, "PONG", WORDS("PING"));
    server_pause(world->server);
    redis_link_append(world->link, 1, (const char *[]){"PING"}, NULL);
    redis_link_append(world->link, 1, (const char *[]){"PING"}, NULL);
    assert_fails(redis_link_reply(world->link, now_ms() + SHORT_MS, &reply, &err), ERROR_UNKNOWN);
    assert_fails(redis_link_reply(world->link, now_ms() + SHORT_MS, &reply, &err), ERROR_UNKNOWN);
    server_resume(world->server);
    expect_call(world->link, "PONG", WORDS("PING"));
}

static void a_wait_leaves_the_command_in_flight(void **state)
{
    struct world *world = *state;
    const char *block[] = {"BLPOP", "list", "0"};
    struct redis_address *address;
    redisReply *reply;
    struct error err;

    redis_link_append(world->link, 3, block, NULL);
    assert_fails(redis_link_wait(world->link, now_ms() + SHORT_MS, &reply, &err), ERROR_TIMEOUT);
    redis_link_wake(world->link);
    assert_fails(redis_link_wait(world->link, now_ms() + CALL_MS, &reply, &err), ERROR_CLOSED);
    assert_string_equal(err.reason, REDIS_WOKEN);
    struct redis_link *other = open_as(world, "", "", &address);
    expect_call(other, NULL, WORDS("RPUSH", "list", "v"));
    assert_ok(redis_link_wait(world->link, now_ms() + CALL_MS, &reply, &err));
    assert_string_equal(reply->element[1]->str, "v");
    redis_reply_free(reply);
    assert_int_equal(redis_link_connections(world->link), 1);
    redis_link_free(other);
    redis_address_free(address);
}

static void *wake_it(void *link)
{
    redis_link_wake(link);
    return NULL;
}

static void waking_ends_a_wait_once(void **state)
{
    struct world *world = *state;
    redisReply *reply;
    pthread_t thread;
    struct error err;

    expect_call(world->link, "PONG", WORDS("PING"));
    int64_t started_ms = now_ms();
    redis_link_append(world->link, 3, (const char *[]){"BLPOP", "list", "0"}, NULL);
    pthread_create(&thread, NULL, wake_it, world->link);
    assert_fails(redis_link_wait(world->link, started_ms + CALL_MS, &reply, &err), ERROR_CLOSED);
    expect_took(started_ms, 0, CALL_MS / 2);
    pthread_join(thread, NULL);
    assert_fails(redis_link_wait(world->link, now_ms() + SHORT_MS, &reply, &err), ERROR_TIMEOUT);
    redis_link_drop(world->link);
    assert_int_equal(world->downs, 0);
}

static void what_is_pushed_arrives_and_is_not_waited_for_on_a_new_link(void **state)
{
    struct world *world = *state;
    struct redis_address *address;
    redisReply *reply;
    struct error err;

    expect_call(world->link, NULL, WORDS("SUBSCRIBE", "news"));
    struct redis_link *other = open_as(world, "", "", &address);
    expect_call(other, NULL, WORDS("PUBLISH", "news", "hello"));
    assert_ok(redis_link_wait(world->link, now_ms() + CALL_MS, &reply, &err));
    assert_string_equal(reply->element[2]->str, "hello");
    redis_reply_free(reply);
    server_kill(world->server);
    assert_fails(redis_link_wait(world->link, now_ms() + CALL_MS, &reply, &err), ERROR_UNAVAILABLE);
    assert_fails(redis_link_wait(world->link, now_ms() + CALL_MS, &reply, &err), ERROR_UNAVAILABLE);
    assert_int_equal(redis_link_connections(world->link), 1);
    redis_link_free(other);
    redis_address_free(address);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, build_world, end_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WORLD(a_call_connects_and_answers),
        WITH_WORLD(bytes_are_bytes),
        WITH_WORLD(replies_come_in_order),
        WITH_WORLD(an_error_reply_is_an_error),
        WITH_WORLD(a_script_outlives_its_being_forgotten),
        WITH_WORLD(a_password_lets_in),
        WITH_WORLD(a_wrong_password_is_denied_and_not_shown),
        WITH_WORLD(a_database_is_selected),
        WITH_WORLD(a_name_is_looked_up),
        WITH_WORLD(no_answer_is_unknown_and_the_link_is_thrown_away),
        WITH_WORLD(without_a_server_nothing_happened),
        WITH_WORLD(a_link_that_was_closed_meanwhile_is_made_again),
        WITH_WORLD(what_is_in_flight_fails_together),
        WITH_WORLD(a_wait_leaves_the_command_in_flight),
        WITH_WORLD(waking_ends_a_wait_once),
        WITH_WORLD(what_is_pushed_arrives_and_is_not_waited_for_on_a_new_link),
    };

    return RUN_ROWS(urls, check_url) + RUN_ROWS(refusals, check_refusal) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
