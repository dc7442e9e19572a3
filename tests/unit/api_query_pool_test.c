/* The pool behind a real server, with work that waits for the test instead of for a database. */
#include "support/test.h"

#include "base/macros.h"
#include "query_pool.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAIT_S 10

struct bench {
    struct metrics *metrics;
    struct query_pool *pool;
    struct http_server *server;
    sem_t submitted, begun, released;
    atomic_int works;
    enum error_code failure; /* of the work */
    const char *url;         /* NULL: of nobody */
    query_work *work;        /* NULL: one that waits to be released */
};

static void wait_for(sem_t *semaphore)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    assert_int_equal(sem_timedwait(semaphore, &until), 0);
}

static bool work(void *context, struct http_exchange *exchange, struct store *store,
                 struct buffer *out, struct error *err)
{
    struct bench *bench = context;

    assert_non_null(exchange);
    assert_non_null(store);
    bench->works++;
    sem_post(&bench->begun);
    wait_for(&bench->released);
    if (bench->failure != ERROR_NONE)
        return error_set(err, bench->failure, "connect to db.internal");
    buffer_text(out, "{\"answer\":42}");
    return true;
}

static void handle(void *context, struct http_exchange *exchange)
{
    struct bench *bench = context;
    const struct query_job job = {
        .exchange = exchange, .work = bench->work ? bench->work : work, .context = bench};
    struct error err;

    http_defer(exchange);
    bool submitted = query_pool_submit(bench->pool, &job, &err);
    if (!submitted)
        http_problem(exchange, &err);
    sem_post(&bench->submitted);
}

static const struct http_route routes[] = {{"GET", "/work", .handle = handle}, {0}};

static void start(struct bench *bench, int deadline_ms)
{
    const struct query_pool_options pool = {
        .database_url = bench->url ? bench->url : "postgresql://127.0.0.1:1/none",
        .threads = 1,
        .queue_max = 1,
        .timeout_ms = 10000,
        .metrics = bench->metrics = metrics_new(),
    };
    const struct http_options http = {
        .service = "test", .deadline_ms = deadline_ms, .metrics = bench->metrics};
    struct error err;

    sem_init(&bench->submitted, 0, 0);
    sem_init(&bench->begun, 0, 0);
    sem_init(&bench->released, 0, 0);
    assert_ok(query_pool_start(&bench->pool, &pool, &err));
    assert_ok(http_start(&bench->server, &http, routes, bench, &err));
}

static void stop(struct bench *bench)
{
    query_pool_stop(bench->pool, 0);
    http_stop(bench->server);
    query_pool_free(bench->pool);
    metrics_free(bench->metrics);
}

/* Sends a request on a connection of its own and returns when its handler is done. */
static int request(struct bench *bench)
{
    static const char text[] = "GET /work HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)http_port(bench->server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval timeout = {.tv_sec = WAIT_S};
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    assert_int_equal(connect(client, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(write(client, text, sizeof(text) - 1), sizeof(text) - 1);
    wait_for(&bench->submitted);
    return client;
}

static void answer(int client, int status, const char *header)
{
    char text[2048] = "", start_line[16];
    size_t used = 0;
    ssize_t got;

    while ((got = read(client, text + used, sizeof(text) - 1 - used)) > 0)
        used += (size_t)got;
    close(client);
    (void)snprintf(start_line, sizeof(start_line), "HTTP/1.1 %d", status);
    if (strncmp(text, start_line, strlen(start_line)) != 0 || strcasestr(text, header) == NULL)
        fail_msg("expected %d and '%s', got: %s", status, header, text);
}

static void beyond_the_queue_a_query_is_refused(void **state)
{
    struct bench bench = {0};

    (void)state;
    start(&bench, 20000);
    int first = request(&bench);
    wait_for(&bench.begun);
    int second = request(&bench);
    answer(request(&bench), 503, "Retry-After:");
    sem_post(&bench.released);
    sem_post(&bench.released);
    answer(first, 200, "{\"answer\":42}");
    answer(second, 200, "{\"answer\":42}");
    stop(&bench);
}

static const struct failures {
    const char *name;
    enum error_code code;
    int status;
    const char *told;
} failures[] = {
    {"not found is told as it is", ERROR_NOT_FOUND, 404, "connect to db.internal"},
    {"what is away is not named", ERROR_UNAVAILABLE, 503, "\"what the answer needs is away\""},
    {"what did not answer is away", ERROR_UNKNOWN, 503, "\"what the answer needs is away\""},
    {"what is late is not named", ERROR_TIMEOUT, 504, "\"the answer was not found in time\""},
    {"a bug is not shown", ERROR_INTERNAL, 500, "\"the service failed\""},
    {"what the store cannot take is a bug", ERROR_INVALID, 500, "\"the service failed\""},
};

static void check_failure(void **state)
{
    const struct failures *row = *state;
    struct bench bench = {.failure = row->code};

    start(&bench, 20000);
    sem_post(&bench.released);
    answer(request(&bench), row->status, row->told);
    stop(&bench);
}

static void a_query_that_waited_too_long_is_not_asked(void **state)
{
    struct bench bench = {0};

    (void)state;
    start(&bench, 300);
    int first = request(&bench);
    wait_for(&bench.begun);
    int second = request(&bench);
    answer(first, 504, "");
    answer(second, 504, "");
    sem_post(&bench.released);
    stop(&bench);
    assert_int_equal(bench.works, 1);
}

/* A server that accepts and then says nothing. */
static int listen_silently(char *url, size_t size)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &length), 0);
    (void)snprintf(url, size, "postgresql://127.0.0.1:%d/none", ntohs(at.sin_port));
    return listener;
}

static bool ask_store(void *context, struct http_exchange *exchange, struct store *store,
                      struct buffer *out, struct error *err)
{
    struct bench *bench = context;

    (void)exchange;
    (void)out;
    sem_post(&bench->begun);
    return store_ping(store, err);
}

/* A statement may be given longer than a process has to end. */
static void stopping_does_not_wait_for_a_silent_server(void **state)
{
    char url[64];
    int listener = listen_silently(url, sizeof(url));
    struct bench bench = {.url = url, .work = ask_store};
    time_t began = time(NULL);

    (void)state;
    start(&bench, 20000);
    int client = request(&bench);
    wait_for(&bench.begun);
    query_pool_stop(bench.pool, 100);
    answer(client, 503, "\"the service is stopping\"");
    stop(&bench);
    close(listener);
    assert_in_range(time(NULL) - began, 0, 5);
}

struct stopping {
    struct query_pool *pool;
    int drain_ms;
};

static void *stop_pool(void *argument)
{
    const struct stopping *stopping = argument;

    query_pool_stop(stopping->pool, stopping->drain_ms);
    return NULL;
}

/* With one query at work and one waiting, begins to stop and lets the work go on once the pool is
 * stopping. */
static void stop_busy(struct bench *bench, int drain_ms, int works)
{
    struct stopping stopping = {bench->pool, drain_ms};
    const time_t until = time(NULL) + WAIT_S;
    struct query_job none = {0};
    struct error err = {0};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, stop_pool, &stopping), 0);
    while (err.code != ERROR_CLOSED && time(NULL) < until)
        assert_false(query_pool_submit(bench->pool, &none, &err)); /* FULL until then */
    assert_int_equal(err.code, ERROR_CLOSED);
    for (int i = 0; i < works; i++)
        sem_post(&bench->released);
    pthread_join(thread, NULL);
}

static void stopping_answers_what_runs_and_refuses_what_waits(void **state)
{
    struct bench bench = {0};

    (void)state;
    start(&bench, 20000);
    int first = request(&bench);
    wait_for(&bench.begun);
    int second = request(&bench);
    stop_busy(&bench, 0, 1);
    answer(first, 200, "");
    answer(second, 503, "Retry-After:");
    answer(request(&bench), 503, "Retry-After:");
    stop(&bench);
    assert_int_equal(bench.works, 1);
}

static void stopping_gives_what_waits_its_time(void **state)
{
    struct bench bench = {0};

    (void)state;
    start(&bench, 20000);
    int first = request(&bench);
    wait_for(&bench.begun);
    int second = request(&bench);
    stop_busy(&bench, WAIT_S * 1000, 2);
    answer(first, 200, "");
    answer(second, 200, "");
    stop(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beyond_the_queue_a_query_is_refused),
        cmocka_unit_test(a_query_that_waited_too_long_is_not_asked),
        cmocka_unit_test(stopping_answers_what_runs_and_refuses_what_waits),
        cmocka_unit_test(stopping_gives_what_waits_its_time),
        cmocka_unit_test(stopping_does_not_wait_for_a_silent_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(failures, check_failure);
}
