#include "http/http.h"

#include "base/clock.h"
#include "unit/http_client.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define HELD_MAX 256
#define HOST " HTTP/1.1\r\nHost: x\r\n"

/* ---- the server under test: it hands exchanges over to whoever takes them ---- */

struct fixture {
    struct http_server *server;
    int port;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    struct http_exchange *held[HELD_MAX];
    size_t count;
    bool stopping;

    atomic_int released;
    atomic_bool store_is_down, check_is_stuck;
};

static struct timespec in_seconds(int seconds)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    return until;
}

static void hold(struct fixture *fixture, struct http_exchange *exchange)
{
    pthread_mutex_lock(&fixture->lock);
    assert_true(fixture->count < HELD_MAX);
    fixture->held[fixture->count++] = exchange;
    pthread_cond_broadcast(&fixture->changed);
    pthread_mutex_unlock(&fixture->lock);
}

/* The oldest exchange held; NULL when none comes in time, or none will. */
static struct http_exchange *take(struct fixture *fixture)
{
    struct timespec until = in_seconds(10);
    struct http_exchange *exchange = NULL;
    int waited = 0;

    pthread_mutex_lock(&fixture->lock);
    while (!fixture->count && !fixture->stopping && !waited)
        waited = pthread_cond_timedwait(&fixture->changed, &fixture->lock, &until);
    if (fixture->count) {
        exchange = fixture->held[0];
        fixture->count--;
        for (size_t i = 0; i < fixture->count; i++)
            fixture->held[i] = fixture->held[i + 1];
    }
    pthread_mutex_unlock(&fixture->lock);
    return exchange;
}

static void count_release(void *state)
{
    struct fixture *fixture = state;

    atomic_fetch_add(&fixture->released, 1);
}

static void hello(void *context, struct http_exchange *exchange)
{
    (void)context;
    http_reply(exchange, 200, "text/plain", "hello", 5);
}

static void defer(void *context, struct http_exchange *exchange)
{
    http_keep(exchange, context, count_release);
    http_defer(exchange);
    hold(context, exchange);
}

static size_t take_nothing(void *context, struct http_exchange *exchange, const char *bytes,
                           size_t size)
{
    (void)bytes, (void)size;
    hold(context, exchange);
    return 0;
}

static void begin_stuck(void *context, struct http_exchange *exchange)
{
    http_keep(exchange, context, count_release);
    http_stream(exchange, take_nothing);
}

/* Holds a server thread past the deadline. */
static void block(void *context, struct http_exchange *exchange)
{
    (void)context;
    while (http_remaining_ms(exchange) > 0)
        poll(NULL, 0, http_remaining_ms(exchange));
    poll(NULL, 0, 100);
    http_reply(exchange, 200, "text/plain", "late", 4);
}

static const struct http_route routes[] = {
    {"GET", "/hello", .handle = hello},
    {"POST", "/hello", .handle = hello},
    {"GET", "/deferred", .handle = defer},
    {"POST", "/stuck", .begin = begin_stuck, .handle = hello},
    {"GET", "/block", .handle = block},
    {0},
};

static bool check_broker(void *context, struct error *err)
{
    (void)context, (void)err;
    return true;
}

static bool check_store(void *context, struct error *err)
{
    struct fixture *fixture = context;

    while (atomic_load(&fixture->check_is_stuck))
        poll(NULL, 0, 10);
    return !atomic_load(&fixture->store_is_down) ||
           error_set(err, ERROR_UNAVAILABLE, "connection refused");
}

static const struct http_check checks[] = {{"broker", check_broker}, {"store", check_store}, {0}};

static struct fixture *start(struct http_options options)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct error err;

    options.service = "test";
    pthread_mutex_init(&fixture->lock, NULL);
    pthread_cond_init(&fixture->changed, NULL);
    assert_ok(http_start(&fixture->server, &options, routes, fixture, &err));
    fixture->port = http_port(fixture->server);
    return fixture;
}

static void stop(struct fixture *fixture)
{
    http_stop(fixture->server);
    pthread_cond_destroy(&fixture->changed);
    pthread_mutex_destroy(&fixture->lock);
    free(fixture);
}
AUTO_DEFINE(struct fixture *, stop)

static void reply_text(struct http_exchange *exchange, const char *text)
{
    assert_non_null(exchange);
    http_reply(exchange, 200, "text/plain", text, strlen(text));
}

#define REFUSED(reason) "http_connections_refused_total{reason=\"" reason "\"} "

/* ---- what must have happened by when ---- */

static const struct {
    const char *name, *sent,
        *dribbled; /* the latter again and again, until the server has enough */
    const char *counted;
} slow[] = {
    {"headers that do not end", "GET /hello HTTP/1.1\r\nHost: x\r\n", "",
     REFUSED("header_timeout")},
    {"headers that never stop coming", "GET /hello HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n",
     REFUSED("header_timeout")},
    {"a request line that does not end", "GET /hel", "l", REFUSED("header_timeout")},
    {"a second request's headers", "GET /hello" HOST "\r\nGET /hello" HOST, "X-A: b\r\n",
     REFUSED("header_timeout")},
    {"a body that does not come", "POST /hello" HOST "Content-Length: 10\r\n\r\na", "",
     REFUSED("body_timeout")},
    {"a body that comes in drops", "POST /hello" HOST "Content-Length: 10000\r\n\r\n", "a",
     REFUSED("body_timeout")},
};

static void test_slow(void **state)
{
    const __typeof__(slow[0]) *row = *state;
    AUTO(stop)
    struct fixture *fixture = start((struct http_options){.header_ms = 150, .deadline_ms = 300});
    AUTO(client_close) struct client *client = client_open(fixture->port);
    int64_t before_ns = clock_nanoseconds();
    bool ended = false;

    client_send(client, row->sent);
    while (!ended && clock_nanoseconds() - before_ns < 5000000000) {
        struct pollfd readable = {.fd = client->fd, .events = POLLIN};

        if (poll(&readable, 1, 10) > 0)
            ended = !client_more(client);
        else
            client_send_bytes(client, row->dribbled, strlen(row->dribbled));
    }
    int64_t took_ms = (clock_nanoseconds() - before_ns) / 1000000;
    assert_true(ended);
    assert_true(took_ms >= 140);
    assert_int_equal((int)client_metric(fixture->port, row->counted), 1);
}

static void test_deadline(void **state)
{
    AUTO(stop) struct fixture *fixture = start((struct http_options){.deadline_ms = 100});
    AUTO(client_close) struct client *client = client_open(fixture->port);

    (void)state;
    assert_int_equal(client_get(client, "/deferred"), 504);
    assert_string_equal(client_header(client, "Content-Type"), HTTP_PROBLEM);
    assert_non_null(strstr(client->body, "\"code\":\"timeout\""));

    /* The connection goes on, and the late reply reaches nobody. */
    struct http_exchange *late = take(fixture);
    assert_int_equal(http_remaining_ms(late), 0);
    assert_int_equal(client_get(client, "/hello"), 200);
    assert_int_equal(atomic_load(&fixture->released), 0);
    assert_null(http_header(late, "X-Nothing"));
    reply_text(late, "late");
    assert_int_equal(atomic_load(&fixture->released), 1);
    assert_int_equal(client_get(client, "/hello"), 200);
    assert_string_equal(client->body, "hello");
    assert_int_equal((int)client_metric(fixture->port, "http_requests_total{path=\"/deferred\","
                                                       "method=\"GET\",status=\"504\"} "),
                     1);
}

static void test_deadline_of_handler(void **state)
{
    AUTO(stop) struct fixture *fixture = start((struct http_options){.deadline_ms = 100});
    AUTO(client_close) struct client *client = client_open(fixture->port);

    (void)state;
    assert_int_equal(client_get(client, "/block"), 504);
    assert_int_equal(client_get(client, "/hello"), 200);
}

static void test_deadline_of_receiver(void **state)
{
    AUTO(stop) struct fixture *fixture = start((struct http_options){.deadline_ms = 100});
    AUTO(client_close) struct client *client = client_open(fixture->port);

    (void)state;
    client_send(client, "POST /stuck" HOST "Content-Length: 100000\r\n\r\nabc");
    assert_int_equal(client_read(client), 504);
    assert_true(client_is_ended(client));
    http_continue(take(fixture));
    assert_int_equal(atomic_load(&fixture->released), 1);
}

static void test_client_gone(void **state)
{
    AUTO(stop) struct fixture *fixture = start((struct http_options){.deadline_ms = 5000});
    struct client *client = client_open(fixture->port);

    (void)state;
    client_send(client, "GET /deferred" HOST "\r\n");
    struct http_exchange *exchange = take(fixture);
    client_close(client);
    reply_text(exchange, "to nobody");

    AUTO(client_close) struct client *next = client_open(fixture->port);
    assert_int_equal(client_get(next, "/hello"), 200);
}

/* ---- the reply and the deadline at the same moment ---- */

#define RACERS 8
#define RACES 20
#define RACE_DEADLINE_MS 50

static void *reply_at_deadline(void *argument)
{
    struct http_exchange *exchange;

    while ((exchange = take(argument))) {
        while (http_remaining_ms(exchange) > 1)
            poll(NULL, 0, 1);
        reply_text(exchange, "just in time");
    }
    return NULL;
}

static void *race(void *argument)
{
    struct fixture *fixture = argument;
    AUTO(client_close) struct client *client = client_open(fixture->port);

    for (int i = 0; i < RACES; i++) {
        int status = client_get(client, "/deferred");
        if (status != 200 && status != 504)
            return (void *)"one answer";
        /* A machine that is slow enough misses this deadline too, but it gives no second answer. */
        status = client_get(client, "/hello");
        if (status != 504 && (status != 200 || strcmp(client->body, "hello") != 0))
            return (void *)"and only one";
    }
    return NULL;
}

static void test_race_with_deadline(void **state)
{
    AUTO(stop)
    struct fixture *fixture = start((struct http_options){.deadline_ms = RACE_DEADLINE_MS});
    pthread_t racers[RACERS], repliers[RACERS];
    void *failed = NULL;

    (void)state;
    for (size_t i = 0; i < RACERS; i++) {
        pthread_create(&racers[i], NULL, race, fixture);
        pthread_create(&repliers[i], NULL, reply_at_deadline, fixture);
    }
    for (size_t i = 0; i < RACERS; i++) {
        void *result;
        pthread_join(racers[i], &result);
        failed = failed ? failed : result;
    }
    pthread_mutex_lock(&fixture->lock);
    fixture->stopping = true;
    pthread_cond_broadcast(&fixture->changed);
    pthread_mutex_unlock(&fixture->lock);
    for (size_t i = 0; i < RACERS; i++)
        pthread_join(repliers[i], NULL);
    if (failed)
        fail_msg("not %s; %d %d %d", (const char *)failed,
                 (int)client_metric(fixture->port, REFUSED("header_timeout")),
                 (int)client_metric(fixture->port, REFUSED("body_timeout")),
                 (int)client_metric(fixture->port, REFUSED("send_timeout")));
    assert_int_equal(atomic_load(&fixture->released), RACERS * RACES);
}

/* ---- many at once ---- */

#define HAMMERS 8
#define HAMMER_CLIENTS 8 /* of each */
#define HAMMER_ROUNDS 50

static void *reply_at_once(void *argument)
{
    struct http_exchange *exchange;

    while ((exchange = take(argument)))
        reply_text(exchange, http_header(exchange, "X-Word"));
    return NULL;
}

/* All its clients ask, then all of them read. */
static void *hammer(void *argument)
{
    struct fixture *fixture = argument;
    struct client *clients[HAMMER_CLIENTS];
    void *failed = NULL;

    for (size_t i = 0; i < HAMMER_CLIENTS; i++)
        clients[i] = client_open(fixture->port);
    for (int round = 0; round < HAMMER_ROUNDS; round++) {
        char request[128];

        for (size_t i = 0; i < HAMMER_CLIENTS; i++) {
            snprintf(request, sizeof(request), "GET /deferred" HOST "X-Word: %zu-%d\r\n\r\n", i,
                     round);
            client_send_bytes(clients[i], request, strlen(request));
        }
        for (size_t i = 0; i < HAMMER_CLIENTS; i++) {
            snprintf(request, sizeof(request), "%zu-%d", i, round);
            if (client_read(clients[i]) != 200 || strcmp(clients[i]->body, request) != 0)
                failed = (void *)"its own answer";
        }
    }
    for (size_t i = 0; i < HAMMER_CLIENTS; i++)
        client_close(clients[i]);
    return failed;
}

static void test_hammer(void **state)
{
    AUTO(stop) struct fixture *fixture = start((struct http_options){.threads = 3});
    pthread_t hammers[HAMMERS], repliers[2];
    void *failed = NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(repliers); i++)
        pthread_create(&repliers[i], NULL, reply_at_once, fixture);
    for (size_t i = 0; i < HAMMERS; i++)
        pthread_create(&hammers[i], NULL, hammer, fixture);
    for (size_t i = 0; i < HAMMERS; i++) {
        void *result;
        pthread_join(hammers[i], &result);
        failed = failed ? failed : result;
    }
    pthread_mutex_lock(&fixture->lock);
    fixture->stopping = true;
    pthread_cond_broadcast(&fixture->changed);
    pthread_mutex_unlock(&fixture->lock);
    for (size_t i = 0; i < ARRAY_LEN(repliers); i++)
        pthread_join(repliers[i], NULL);
    if (failed)
        fail_msg("each client must get %s", (const char *)failed);
    assert_int_equal((int)client_metric(fixture->port, "http_requests_total{path=\"/deferred\","
                                                       "method=\"GET\",status=\"200\"} "),
                     HAMMERS * HAMMER_CLIENTS * HAMMER_ROUNDS);
}

/* ---- the end of the server ---- */

static void *stop_server(void *argument)
{
    struct fixture *fixture = argument;

    http_stop(fixture->server);
    fixture->server = NULL;
    return NULL;
}

/* What runs is waited for; what does not end is answered 503; owners may reply when all is gone. */
static void test_stop(void **state)
{
    AUTO(stop) struct fixture *fixture = start((struct http_options){.deadline_ms = 60000});
    struct client *clients[4];
    struct http_exchange *held[4];
    pthread_t stopping;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        clients[i] = client_open(fixture->port);
        client_send(clients[i], i == 3 ? "POST /stuck" HOST "Content-Length: 100000\r\n\r\nabc"
                                       : "GET /deferred" HOST "\r\n");
        held[i] = take(fixture);
        assert_non_null(held[i]);
    }
    AUTO(client_close) struct client *idle = client_open(fixture->port);
    assert_int_equal(client_get(idle, "/hello"), 200);
    AUTO(client_close) struct client *last = client_open(fixture->port);
    assert_int_equal(client_get(last, "/hello"), 200);
    /* Nobody can end this request: it keeps the server from being done. */
    AUTO(client_close) struct client *unfinished = client_open(fixture->port);
    assert_int_equal(client_ask(unfinished, "POST /hello" HOST "Expect: 100-continue\r\n"
                                            "Content-Length: 10\r\n\r\n"),
                     100); /* it is being worked on */

    int64_t before_ns = clock_nanoseconds();
    pthread_create(&stopping, NULL, stop_server, fixture);
    /* New requests of old connections still get their answer while it waits, and see it leave. */
    while (!client_header(idle, "Connection"))
        assert_int_equal(client_get(idle, "/hello"), 200);
    reply_text(held[0], "in time");
    assert_int_equal(client_read(clients[0]), 200);
    assert_string_equal(client_header(clients[0], "Connection"), "close");
    assert_int_equal(client_read(clients[1]), 503);
    /* From here on nothing may be put off any more. */
    assert_int_equal(client_get(last, "/deferred"), 503);
    for (size_t i = 2; i < 4; i++)
        assert_int_equal(client_read(clients[i]), 503);
    for (size_t i = 1; i < 4; i++)
        assert_true(client_is_ended(clients[i]));
    pthread_join(stopping, NULL);
    assert_in_range((clock_nanoseconds() - before_ns) / 1000000, 2400, 4500);

    reply_text(held[1], "too late");
    reply_text(held[2], "too late");
    http_continue(held[3]);
    reply_text(take(fixture), "too late");
    assert_int_equal(atomic_load(&fixture->released), 5);
    for (size_t i = 0; i < 4; i++)
        client_close(clients[i]);
}

static void test_idle_stop_is_quick(void **state)
{
    struct fixture *fixture = start((struct http_options){0});
    AUTO(client_close) struct client *client = client_open(fixture->port);
    int64_t before_ns = clock_nanoseconds();

    (void)state;
    assert_int_equal(client_get(client, "/hello"), 200);
    stop(fixture);
    assert_true(clock_nanoseconds() - before_ns < 1000000000);
    assert_true(client_is_ended(client));
}

/* ---- readiness ---- */

/* Asks until the status is so. */
static bool becomes(struct client *client, int status, int64_t within_ms)
{
    int64_t until_ns = clock_nanoseconds() + within_ms * 1000000;

    while (clock_nanoseconds() < until_ns)
        if (client_get(client, "/readyz?verbose") == status)
            return true;
    return false;
}

static void test_readiness(void **state)
{
    AUTO(stop) struct fixture *fixture = start((struct http_options){.checks = checks});
    AUTO(client_close) struct client *client = client_open(fixture->port);

    (void)state;
    assert_true(becomes(client, 200, 1000));
    assert_string_equal(client->body, "[+]broker ok\n[+]store ok\nready\n");
    assert_int_equal(client_get(client, "/readyz"), 200);
    assert_string_equal(client->body, "ok\n");

    atomic_store(&fixture->store_is_down, true);
    assert_true(becomes(client, 503, 1000));
    assert_string_equal(client->body,
                        "[+]broker ok\n[-]store failed: connection refused\nnot ready\n");
    atomic_store(&fixture->store_is_down, false);
    assert_true(becomes(client, 200, 1000));

    /* A check that hangs holds nobody up, and is found out. */
    atomic_store(&fixture->check_is_stuck, true);
    assert_true(becomes(client, 503, 5000));
    assert_non_null(strstr(client->body, "[-]store failed: no answer for"));
    assert_int_equal(client_get(client, "/livez"), 200);
    atomic_store(&fixture->check_is_stuck, false);
    assert_true(becomes(client, 200, 1000));

    http_unready(fixture->server);
    assert_int_equal(client_get(client, "/readyz?verbose"), 503);
    assert_string_equal(client->body, "[+]broker ok\n[+]store ok\n[-]draining\nnot ready\n");
    assert_int_equal(client_get(client, "/readyz"), 503);
    assert_string_equal(client->body, "not ready\n");
    assert_int_equal(client_get(client, "/livez"), 200);
}

/* ---- places to listen at ---- */

static void test_taken_port(void **state)
{
    AUTO(stop) struct fixture *fixture = start((struct http_options){0});
    struct http_options options = {.port = fixture->port};
    struct http_server *second = NULL;
    struct error err;
    char words[32];

    (void)state;
    snprintf(words, sizeof(words), "port %d is taken", fixture->port);
    assert_fails(http_start(&second, &options, routes, fixture, &err), ERROR_CONFLICT);
    assert_non_null(strstr(err.message, words));
}

static void test_no_such_host(void **state)
{
    struct http_options options = {.host = "300.0.0.1"};
    struct http_server *server = NULL;
    struct error err;

    (void)state;
    assert_fails(http_start(&server, &options, routes, NULL, &err), ERROR_INVALID);
}

/* "::" takes IPv4 too. */
static void test_ipv6(void **state)
{
    struct fixture fixture = {0};
    struct http_options options = {.host = "::"};
    struct error err;

    (void)state;
    if (!http_start(&fixture.server, &options, routes, &fixture, &err))
        skip(); /* a machine without IPv6 */
    struct client *client = client_open(http_port(fixture.server));
    assert_int_equal(client_get(client, "/hello"), 200);
    client_close(client);
    http_stop(fixture.server);
}

static void test_connections_max(void **state)
{
    AUTO(stop) struct fixture *fixture = start((struct http_options){.connections_max = 3});
    struct client *clients[3];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        clients[i] = client_open(fixture->port);
        assert_int_equal(client_get(clients[i], "/hello"), 200);
    }
    struct client *fourth = client_open(fixture->port);
    assert_true(client_is_ended(fourth));
    client_close(fourth);
    assert_int_equal(client_get(clients[0], "/metrics"), 200);
    assert_non_null(strstr(clients[0]->body, REFUSED("connections_max") "1\n"));
    for (size_t i = 0; i < 3; i++)
        client_close(clients[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_deadline_of_handler),
        cmocka_unit_test(test_deadline_of_receiver),
        cmocka_unit_test(test_client_gone),
        cmocka_unit_test(test_race_with_deadline),
        cmocka_unit_test(test_hammer),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_idle_stop_is_quick),
        cmocka_unit_test(test_readiness),
        cmocka_unit_test(test_taken_port),
        cmocka_unit_test(test_no_such_host),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_connections_max),
    };

    return RUN_ROWS(slow, test_slow) + cmocka_run_group_tests(tests, NULL, NULL);
}
