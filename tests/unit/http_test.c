#include "http/http.h"

#include "base/json.h"
#include "unit/http_client.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- the server under test ---- */

/* A thread that answers for others, one job at a time. */
struct worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    struct http_exchange *job;
    void (*run)(struct http_exchange *exchange);
    bool stopping;
};

struct fixture {
    struct http_server *server;
    struct worker worker;
    int port;
    _Atomic size_t largest_piece;
    atomic_int continued, released;
};

static struct fixture fixture; /* of the one test program */

static void hand_over(struct http_exchange *exchange, void (*run)(struct http_exchange *exchange))
{
    struct worker *worker = &fixture.worker;

    pthread_mutex_lock(&worker->lock);
    while (worker->job)
        pthread_cond_wait(&worker->changed, &worker->lock);
    worker->job = exchange;
    worker->run = run;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
}

static void *work(void *argument)
{
    struct worker *worker = argument;

    pthread_mutex_lock(&worker->lock);
    while (!worker->stopping) {
        struct http_exchange *job = worker->job;
        if (!job) {
            pthread_cond_wait(&worker->changed, &worker->lock);
            continue;
        }
        worker->job = NULL;
        pthread_cond_broadcast(&worker->changed);
        pthread_mutex_unlock(&worker->lock);
        worker->run(job);
        pthread_mutex_lock(&worker->lock);
    }
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

static void reply_text(struct http_exchange *exchange, const char *text)
{
    http_reply(exchange, 200, "text/plain", text, strlen(text));
}

static void hello(void *context, struct http_exchange *exchange)
{
    (void)context;
    reply_text(exchange, "hello");
}

static void show(void *context, struct http_exchange *exchange)
{
    AUTO(buffer_free) struct buffer text = {0};
    const char *query = http_query(exchange, "q");

    (void)context;
    buffer_print(&text, "%s|%s|%s", http_parameter(exchange, "site"),
                 http_parameter(exchange, "device"), query ? query : "-");
    http_reply_header(exchange, "X-Row", http_row(exchange));
    http_reply_buffer(exchange, 200, "text/plain", &text);
}

static void echo(void *context, struct http_exchange *exchange)
{
    size_t size;
    const char *body = http_body(exchange, &size);

    (void)context;
    http_reply(exchange, 201, http_is(exchange, HTTP_JSON) ? HTTP_JSON : "text/plain", body, size);
}

static void reply_later(struct http_exchange *exchange)
{
    reply_text(exchange, http_header(exchange, "x-word"));
}

static void later(void *context, struct http_exchange *exchange)
{
    (void)context;
    http_defer(exchange);
    hand_over(exchange, reply_later);
}

/* What one exchange's body amounted to. */
struct total {
    size_t bytes, limit;
};

static void free_total(void *state)
{
    atomic_fetch_add(&fixture.released, 1);
    free(state);
}

static struct total *total_of(struct http_exchange *exchange)
{
    return http_kept(exchange);
}

static size_t take_all(void *context, struct http_exchange *exchange, const char *bytes,
                       size_t size)
{
    (void)context, (void)bytes;
    total_of(exchange)->bytes += size;
    return size;
}

static void begin_stream(void *context, struct http_exchange *exchange)
{
    (void)context;
    http_keep(exchange, calloc(1, sizeof(struct total)), free_total);
    http_stream(exchange, take_all);
}

static void reply_total(void *context, struct http_exchange *exchange)
{
    char text[32];

    (void)context;
    snprintf(text, sizeof(text), "%zu", total_of(exchange)->bytes);
    reply_text(exchange, text);
}

static void go_on(struct http_exchange *exchange)
{
    atomic_fetch_add(&fixture.continued, 1);
    http_continue(exchange);
}

/* Takes a thousand bytes, then has another thread say when to go on. */
static size_t take_some(void *context, struct http_exchange *exchange, const char *bytes,
                        size_t size)
{
    size_t taken = size < 1000 ? size : 1000;

    (void)context, (void)bytes;
    if (size > atomic_load(&fixture.largest_piece))
        atomic_store(&fixture.largest_piece, size);
    total_of(exchange)->bytes += taken;
    if (taken < size)
        hand_over(exchange, go_on);
    return taken;
}

static void begin_slowly(void *context, struct http_exchange *exchange)
{
    begin_stream(context, exchange);
    http_stream(exchange, take_some);
}

static void begin_refusing(void *context, struct http_exchange *exchange)
{
    struct error err;

    (void)context;
    error_set(&err, ERROR_FULL, "no room");
    http_problem(exchange, &err);
}

static size_t refuse_midway(void *context, struct http_exchange *exchange, const char *bytes,
                            size_t size)
{
    struct error err;

    (void)context, (void)bytes;
    error_input(&err, "bad_line", "/1", "line 1 is wrong");
    http_problem(exchange, &err);
    return size;
}

static void begin_midway(void *context, struct http_exchange *exchange)
{
    (void)context;
    http_stream(exchange, refuse_midway);
}

static void produce(void *state, struct buffer *out)
{
    struct total *total = state;

    if (total->bytes == total->limit)
        return;
    for (size_t i = 0; i < 20000; i++)
        buffer_append(out, &"0123456789"[total->bytes++ % 10], 1);
}

static void long_reply(void *context, struct http_exchange *exchange)
{
    struct total *total = calloc(1, sizeof(*total));

    (void)context;
    total->limit = 100000;
    http_keep(exchange, total, free_total);
    http_reply_stream(exchange, 200, HTTP_NDJSON, produce);
}

static void silent(void *context, struct http_exchange *exchange)
{
    (void)context, (void)exchange;
}

static void twice(void *context, struct http_exchange *exchange)
{
    (void)context;
    reply_text(exchange, "first");
    reply_text(exchange, "second");
}

static const struct http_route routes[] = {
    {"GET", "/hello", .handle = hello},
    {"POST", "/hello", .handle = echo},
    {"GET", "/sites/{site}/devices/{device}", .handle = show, .row = "devices"},
    {"GET", "/Mixed/{site}/{device}", .handle = show, .row = "mixed", .any_case = true},
    {"POST", "/echo", .handle = echo, .body_max = 100000},
    {"POST", "/small", .handle = echo, .body_max = 10},
    {"GET", "/later", .handle = later},
    {"POST", "/stream", .begin = begin_stream, .handle = reply_total},
    {"POST", "/slowly", .begin = begin_slowly, .handle = reply_total},
    {"POST", "/refuse", .begin = begin_refusing, .handle = echo},
    {"POST", "/midway", .begin = begin_midway, .handle = reply_total},
    {"GET", "/long", .handle = long_reply},
    {"GET", "/silent", .handle = silent},
    {"GET", "/twice", .handle = twice},
    {0},
};

static int start(void **state)
{
    struct http_options options = {
        .service = "test", .body_max = 50000, .origins = "https://a.example, https://b.example"};
    struct error err;

    (void)state;
    pthread_mutex_init(&fixture.worker.lock, NULL);
    pthread_cond_init(&fixture.worker.changed, NULL);
    pthread_create(&fixture.worker.thread, NULL, work, &fixture.worker);
    assert_ok(http_start(&fixture.server, &options, routes, &fixture, &err));
    fixture.port = http_port(fixture.server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    http_stop(fixture.server);
    pthread_mutex_lock(&fixture.worker.lock);
    fixture.worker.stopping = true;
    pthread_cond_broadcast(&fixture.worker.changed);
    pthread_mutex_unlock(&fixture.worker.lock);
    pthread_join(fixture.worker.thread, NULL);
    return 0;
}

/* ---- one request, one answer ---- */

#define HOST " HTTP/1.1\r\nHost: x\r\n"

static const struct {
    const char *name, *request;
    int status;
    const char *header, *value; /* value NULL: the header is not there */
    const char *body;           /* part of it; NULL: any */
} asks[] = {
    {"a route is found", "GET /hello" HOST "\r\n", 200, "Content-Type", "text/plain", "hello"},
    {"every reply forbids sniffing", "GET /hello" HOST "\r\n", 200, "X-Content-Type-Options",
     "nosniff", NULL},
    {"HEAD has the length and no body", "HEAD /hello" HOST "\r\n", 200, "Content-Length", "5", ""},
    {"a deferred reply comes from another thread", "GET /later" HOST "X-Word: done\r\n\r\n", 200,
     NULL, NULL, "done"},
    {"parameters are decoded, a slash too",
     "GET /sites/a%2Fb%20c/devices/%c3%a9?q=1+2%26" HOST "\r\n", 200, "X-Row", "devices",
     "a/b c|\xc3\xa9|1 2&"},
    {"the path's literal parts are decoded", "GET /hel%6Co" HOST "\r\n", 200, NULL, NULL, "hello"},
    {"an encoded slash ends no segment", "GET /sites%2Fa/devices/b" HOST "\r\n", 404, NULL, NULL,
     NULL},
    {"a parameter is not empty", "GET /sites//devices/b" HOST "\r\n", 404, NULL, NULL, NULL},
    {"a trailing slash is another path", "GET /hello/" HOST "\r\n", 404, "Content-Type",
     HTTP_PROBLEM, "\"code\":\"not_found\""},
    {"case counts in a path", "GET /Hello" HOST "\r\n", 404, NULL, NULL, NULL},
    {"a route may say that it does not", "GET /mIXED/A/b" HOST "\r\n", 200, "X-Row", "mixed",
     "A|b|-"},
    {"half an encoding is refused", "GET /hello%2" HOST "\r\n", 400, NULL, NULL, "bad_encoding"},
    {"an encoded NUL is refused", "GET /sites/%00/devices/b" HOST "\r\n", 400, NULL, NULL,
     "bad_encoding"},
    {"a parameter is UTF-8", "GET /sites/%ff/devices/b" HOST "\r\n", 400, NULL, NULL, "UTF-8"},
    {"a bad encoding in the query is refused", "GET /hello?q=%zz" HOST "\r\n", 400, NULL, NULL,
     NULL},
    {"a proxy's form of the target is taken", "GET http://x/hello" HOST "\r\n", 200, NULL, NULL,
     "hello"},
    {"a method the path does not take", "DELETE /hello" HOST "\r\n", 405, "Allow",
     "GET, HEAD, POST, OPTIONS", "method_not_allowed"},
    {"an unknown method", "BREW /echo" HOST "\r\n", 405, "Allow", "POST, OPTIONS", NULL},
    {"OPTIONS says what is allowed", "OPTIONS /echo" HOST "\r\n", 204, "Allow", "POST, OPTIONS",
     NULL},
    {"a handler that does not answer is our fault", "GET /silent" HOST "\r\n", 500, "Content-Type",
     HTTP_PROBLEM, "\"status\":500"},
    {"the first answer counts", "GET /twice" HOST "\r\n", 200, "Content-Length", "5", "first"},
    {"a body comes back", "POST /echo" HOST "Content-Length: 3\r\n\r\nabc", 201, "Cache-Control",
     NULL, "abc"},
    {"JSON is not stored by caches",
     "POST /echo" HOST
     "Content-Type: Application/JSON; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}",
     201, "Cache-Control", "no-store", "{}"},
    {"a chunked body comes back",
     "POST /echo" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 201,
     NULL, NULL, "abcde"},
    {"a body that is announced too large", "POST /small" HOST "Content-Length: 11\r\n\r\n", 413,
     "Content-Type", HTTP_PROBLEM, "too_large"},
    {"a body that becomes too large",
     "POST /small" HOST "Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678", 413,
     NULL, NULL, "too_large"},
    {"begin may refuse", "POST /refuse" HOST "Content-Length: 3\r\n\r\nabc", 503, "Retry-After",
     "1", "\"code\":\"full\""},
    {"begin refuses before a large body", "POST /refuse" HOST "Content-Length: 900000\r\n\r\n", 503,
     NULL, NULL, "no room"},
    {"a receiver may refuse in the middle", "POST /midway" HOST "Content-Length: 900000\r\n\r\nab",
     422, "Content-Type", HTTP_PROBLEM,
     "\"errors\":[{\"pointer\":\"/1\",\"detail\":\"line 1 is wrong\"}]"},
    {"two lengths are refused",
     "POST /echo" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, NULL, NULL,
     "conflicting_length"},
    {"a length and chunks are refused",
     "POST /echo" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
     NULL, NULL, "conflicting_length"},
    {"an encoding that we do not speak", "POST /echo" HOST "Transfer-Encoding: gzip\r\n\r\n", 400,
     NULL, NULL, "unknown_transfer_encoding"},
    {"a space before the colon", "POST /echo" HOST "Content-Length : 3\r\n\r\nabc", 400, NULL, NULL,
     NULL},
    {"a folded header", "GET /hello" HOST "X-A: b\r\n c\r\nX-D: e\r\n\r\n", 400, NULL, NULL, NULL},
    {"two hosts", "GET /hello" HOST "Host: y\r\n\r\n", 400, NULL, NULL, "conflicting_host"},
    {"an origin on the list", "GET /hello" HOST "Origin: https://b.example\r\n\r\n", 200,
     "Access-Control-Allow-Origin", "https://b.example", NULL},
    {"an origin that is not", "GET /hello" HOST "Origin: https://b.example.com\r\n\r\n", 200,
     "Access-Control-Allow-Origin", NULL, NULL},
    {"caches keep origins apart", "GET /hello" HOST "\r\n", 200, "Vary", "Origin", NULL},
    {"errors may be read across origins too", "GET /x" HOST "Origin: https://a.example\r\n\r\n",
     404, "Access-Control-Allow-Origin", "https://a.example", NULL},
    {"a preflight",
     "OPTIONS /hello" HOST "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n"
     "Access-Control-Request-Headers: content-type\r\n\r\n",
     204, "Access-Control-Allow-Headers", "content-type", NULL},
    {"a preflight from elsewhere",
     "OPTIONS /hello" HOST
     "Origin: https://c.example\r\nAccess-Control-Request-Method: POST\r\n\r\n",
     204, "Access-Control-Allow-Methods", NULL, NULL},
    {"a body that is encoded cannot be read",
     "POST /echo" HOST "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 415,
     "Accept-Encoding", "identity", "unsupported_encoding"},
    {"a body that is encoded as itself",
     "POST /echo" HOST "Content-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", 201, NULL,
     NULL, "abc"},
    {"the server's limit counts where a route has none",
     "POST /hello" HOST "Content-Length: 50001\r\n\r\n", 413, NULL, NULL, "50000 bytes"},
    {"the root says what there is", "GET /" HOST "\r\n", 200, "Content-Type", HTTP_JSON,
     "{\"method\":\"GET\",\"path\":\"/sites/{site}/devices/{device}\"}"},
    {"the process is alive", "GET /livez" HOST "\r\n", 200, NULL, NULL, "ok"},
    {"without checks it is ready", "GET /readyz?verbose" HOST "\r\n", 200, NULL, NULL, "ready\n"},
};

static void test_ask(void **state)
{
    const __typeof__(asks[0]) *row = *state;
    AUTO(client_close) struct client *client = client_open(fixture.port);

    assert_int_equal(client_ask(client, row->request), row->status);
    if (row->header) {
        const char *value = client_header(client, row->header);
        if (row->value) {
            assert_non_null(value);
            assert_string_equal(value, row->value);
        } else {
            assert_null(value);
        }
    }
    if (row->body && !strstr(client->body, row->body))
        fail_msg("%s is not in %s", row->body, client->body);
}

/* ---- more than that ---- */

static void test_nul_in_header(void **state)
{
    AUTO(client_close) struct client *client = client_open(fixture.port);
    static const char request[] = "GET /hello" HOST "X-A: b\0c\r\nX-B: d\r\n\r\n";

    (void)state;
    assert_true(client_send_bytes(client, request, sizeof(request) - 1));
    assert_int_equal(client_read(client), 400);
    assert_true(client_is_ended(client));
}

static void test_headers_too_large(void **state)
{
    AUTO(client_close) struct client *client = client_open(fixture.port);
    char *request = malloc(20000);

    (void)state;
    snprintf(request, 20000, "GET /hello" HOST "X-A: %017000d\r\n\r\n", 1);
    assert_int_equal(client_ask(client, request), 431);
    free(request);
}

/* Sent byte by byte, each in its own segment as far as the system lets us. */
static void test_split_everywhere(void **state)
{
    static const char *const requests[] = {
        "POST /echo" HOST "Content-Length: 10\r\n\r\n0123456789",
        "POST /echo" HOST "Transfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n",
    };

    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(requests); r++) {
        AUTO(client_close) struct client *client = client_open(fixture.port);
        size_t size = strlen(requests[r]);

        for (size_t cut = 1; cut < size; cut++) {
            assert_true(client_send_bytes(client, requests[r], cut));
            assert_true(client_send_bytes(client, requests[r] + cut, size - cut));
            assert_int_equal(client_read(client), 201);
            assert_string_equal(client->body, "0123456789");
        }
        for (size_t i = 0; i < size; i++)
            assert_true(client_send_bytes(client, requests[r] + i, 1));
        assert_int_equal(client_read(client), 201);
        assert_string_equal(client->body, "0123456789");
    }
}

static void test_pipelining(void **state)
{
    AUTO(client_close) struct client *client = client_open(fixture.port);

    (void)state;
    client_send(client, "GET /later" HOST "X-Word: one\r\n\r\n"
                        "POST /echo" HOST "Content-Length: 3\r\n\r\ntwo"
                        "GET /missing" HOST "\r\n"
                        "POST /missing" HOST "Content-Length: 4\r\n\r\nfour"
                        "GET /later" HOST "X-Word: five\r\n\r\n");
    assert_int_equal(client_read(client), 200);
    assert_string_equal(client->body, "one");
    assert_int_equal(client_read(client), 201);
    assert_string_equal(client->body, "two");
    assert_int_equal(client_read(client), 404);
    assert_int_equal(client_read(client), 404);
    assert_int_equal(client_read(client), 200);
    assert_string_equal(client->body, "five");
}

static void send_body(struct client *client, const char *path, size_t size)
{
    char head[256], *body = calloc(1, size);

    snprintf(head, sizeof(head), "POST %s" HOST "Content-Length: %zu\r\n\r\n", path, size);
    client_send(client, head);
    assert_true(client_send_bytes(client, body, size));
    free(body);
}

static void test_stream(void **state)
{
    AUTO(client_close) struct client *client = client_open(fixture.port);
    int released = atomic_load(&fixture.released);

    (void)state;
    send_body(client, "/stream", 1000000);
    assert_int_equal(client_read(client), 200);
    assert_string_equal(client->body, "1000000");
    assert_int_equal(client_get(client, "/hello"), 200);
    assert_int_equal(atomic_load(&fixture.released), released + 1);
}

static void test_back_pressure(void **state)
{
    AUTO(client_close) struct client *client = client_open(fixture.port);

    (void)state;
    send_body(client, "/slowly", 1000000);
    assert_int_equal(client_read(client), 200);
    assert_string_equal(client->body, "1000000");
    assert_true(atomic_load(&fixture.continued) > 900);
    assert_in_range(atomic_load(&fixture.largest_piece), 1001, 32768);
}

static void test_expectation(void **state)
{
    AUTO(client_close) struct client *client = client_open(fixture.port);

    (void)state;
    client_send(client, "POST /echo" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_int_equal(client_read(client), 100);
    client_send(client, "abc");
    assert_int_equal(client_read(client), 201);
    client_send(client, "POST /small" HOST "Expect: 100-continue\r\nContent-Length: 30\r\n\r\n");
    assert_int_equal(client_read(client), 413);
}

/* A client that sends everything before it reads must still see why it was refused. */
static void test_refusal_survives(void **state)
{
    static const char *const paths[] = {"/small", "/refuse", "/midway", "/missing"};
    static const int statuses[] = {413, 503, 422, 404};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        AUTO(client_close) struct client *client = client_open(fixture.port);

        send_body(client, paths[i], 2000000);
        assert_int_equal(client_read(client), statuses[i]);
    }
}

/* A small unwanted body costs nobody the connection. */
static void test_small_refusal_keeps_connection(void **state)
{
    AUTO(client_close) struct client *client = client_open(fixture.port);

    (void)state;
    send_body(client, "/refuse", 1000);
    assert_int_equal(client_read(client), 503);
    send_body(client, "/midway", 30000);
    assert_int_equal(client_read(client), 422);
    assert_int_equal(client_get(client, "/hello"), 200);
}

static void test_long_reply(void **state)
{
    AUTO(client_close) struct client *client = client_open(fixture.port);

    (void)state;
    assert_int_equal(client_get(client, "/long"), 200);
    assert_int_equal(client->body_size, 100000);
    assert_memory_equal(client->body + 99990, "0123456789", 10);
    assert_int_equal(client_get(client, "/hello"), 200);
}

static void test_metrics(void **state)
{
    AUTO(client_close) struct client *client = client_open(fixture.port);

    (void)state;
    assert_int_equal(client_get(client, "/sites/1/devices/2"), 200);
    assert_int_equal(client_get(client, "/nowhere/17"), 404);
    assert_int_equal(client_get(client, "/metrics"), 200);
    assert_string_equal(client_header(client, "Content-Type"),
                        "text/plain; version=0.0.4; charset=utf-8");
#define COUNTED(path, method, status)                                                              \
    "http_requests_total{path=\"" path "\",method=\"" method "\",status=\"" status "\"} "
    static const char *const lines[] = {
        COUNTED("/sites/{site}/devices/{device}", "GET", "200"),
        COUNTED("unmatched", "GET", "404"),
        COUNTED("/hello", "HEAD", "200") "1\n",
        COUNTED("/hello", "DELETE", "405") "1\n",
        "http_request_duration_seconds_count{path=\"/hello\",method=\"HEAD\"} 1\n",
        "http_connections_refused_total{reason=\"conflicting_length\"} 2\n",
        "http_connections_refused_total{reason=\"header_too_large\"} 1\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (!strstr(client->body, lines[i]))
            fail_msg("%s is not in %s", lines[i], client->body);
}

/* Every connection but the asking one is gone: the server hears of that a little later. */
static void test_connections_are_counted(void **state)
{
    AUTO(client_close) struct client *client = client_open(fixture.port);
    bool alone = false;

    (void)state;
    for (int i = 0; i < 100000 && !alone; i++) {
        assert_int_equal(client_get(client, "/metrics"), 200);
        alone = strstr(client->body, "\nhttp_connections 1\n") != NULL;
    }
    assert_true(alone);
}

/* ---- what an error looks like ---- */

static const struct {
    const char *name, *reason;
    enum error_code code;
    int status;
} statuses[] = {
    {"invalid", "out_of_range", ERROR_INVALID, 422},
    {"not JSON", JSON_SYNTAX, ERROR_INVALID, 400},
    {"nothing", JSON_EMPTY, ERROR_INVALID, 400},
    {"not text", JSON_ENCODING, ERROR_INVALID, 400},
    {"too deep", JSON_DEPTH, ERROR_INVALID, 400},
    {"not found", NULL, ERROR_NOT_FOUND, 404},
    {"conflict", NULL, ERROR_CONFLICT, 409},
    {"too large", NULL, ERROR_TOO_LARGE, 413},
    {"full", NULL, ERROR_FULL, 503},
    {"unavailable", NULL, ERROR_UNAVAILABLE, 503},
    {"closed", NULL, ERROR_CLOSED, 503},
    {"unknown", NULL, ERROR_UNKNOWN, 503},
    {"timeout", NULL, ERROR_TIMEOUT, 504},
    {"denied", NULL, ERROR_DENIED, 500},
    {"internal", NULL, ERROR_INTERNAL, 500},
};

static void test_status(void **state)
{
    const __typeof__(statuses[0]) *row = *state;
    struct error err = {.code = row->code, .reason = row->reason};

    assert_int_equal(http_status_of(&err), row->status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nul_in_header),
        cmocka_unit_test(test_headers_too_large),
        cmocka_unit_test(test_split_everywhere),
        cmocka_unit_test(test_pipelining),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_expectation),
        cmocka_unit_test(test_refusal_survives),
        cmocka_unit_test(test_small_refusal_keeps_connection),
        cmocka_unit_test(test_long_reply),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_connections_are_counted),
    };

    start(NULL);
    int failed = RUN_ROWS(statuses, test_status) + RUN_ROWS(asks, test_ask) +
                 cmocka_run_group_tests(tests, NULL, NULL);
    stop(NULL);
    return failed;
}
