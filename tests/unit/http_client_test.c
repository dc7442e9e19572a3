/* The client against millrace's own server, and against raw sockets that behave as no server does.
 */
#include "http/http_client.h"

#include "support/test.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "http/http.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOW_MS 5000   /* nothing here may take as long on the busiest machine */
#define SHORT_MS 300   /* a time-out that is waited for */
#define QUIET_MS 500   /* after so long libcurl's own timers wake nobody any more */
#define MARGIN_MS 1500 /* what a loaded machine may add to it */

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* ---- a name server that never answers: what libcurl's thread asks is held here ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool released; /* guarded by lock */
    atomic_int asked;
} names = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

typedef int resolve(const char *host, const char *service, const struct addrinfo *hints,
                    struct addrinfo **out);

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    if (host && strcmp(host, "mute.test") == 0) {
        atomic_fetch_add(&names.asked, 1);
        pthread_mutex_lock(&names.lock);
        while (!names.released)
            pthread_cond_wait(&names.changed, &names.lock);
        pthread_mutex_unlock(&names.lock);
        return EAI_AGAIN;
    }
    if (host && strcmp(host, "absent.test") == 0)
        return EAI_NONAME;
    return ((resolve *)dlsym(RTLD_NEXT, "getaddrinfo"))(host, service, hints, out);
}

static void release_names(void)
{
    pthread_mutex_lock(&names.lock);
    names.released = true;
    pthread_cond_broadcast(&names.changed);
    pthread_mutex_unlock(&names.lock);
}

/* ---- a server of raw bytes ---- */

enum ending { END_CLOSE, END_RESET, END_HOLD };

/* How it treats its connections, one after the other. */
struct behaviour {
    const char *reply;  /* NULL: none */
    enum ending ending; /* after the reply; END_HOLD: until the test is over */
    bool no_read;       /* ends it without reading the request */
    bool reply_twice;   /* the connection serves two requests, the second without a reply */
    size_t filler;      /* bytes of 'x' after the reply, without an end */
};

struct raw_server {
    struct behaviour behaviour;
    int listener, port, held;
    atomic_int requests;
    atomic_bool stopping;
    char last[4096]; /* request, up to the end of its head; read after raw_stop */
    pthread_t thread;
};

static bool read_head(struct raw_server *server, int fd)
{
    size_t size = 0;

    while (size < sizeof(server->last) - 1) {
        ssize_t got = recv(fd, server->last + size, sizeof(server->last) - 1 - size, 0);
        if (got <= 0)
            return false;
        size += (size_t)got;
        server->last[size] = '\0';
        if (strstr(server->last, "\r\n\r\n"))
            break;
    }
    atomic_fetch_add(&server->requests, 1);
    return true;
}

static void send_filler(int fd, size_t size)
{
    static const char block[4096] = {[0 ... 4095] = 'x'};

    while (size > 0) {
        ssize_t sent = send(fd, block, size < sizeof(block) ? size : sizeof(block), MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        size -= (size_t)sent;
    }
}

static void end_connection(struct raw_server *server, int fd)
{
    struct linger now = {.l_onoff = 1};

    if (server->behaviour.ending == END_HOLD) {
        server->held = fd;
        return;
    }
    if (server->behaviour.ending == END_RESET)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

static void serve(struct raw_server *server, int fd)
{
    const struct behaviour *behaviour = &server->behaviour;

    if (!behaviour->no_read && read_head(server, fd) && behaviour->reply) {
        (void)send(fd, behaviour->reply, strlen(behaviour->reply), MSG_NOSIGNAL);
        send_filler(fd, behaviour->filler);
        if (behaviour->reply_twice)
            (void)read_head(server, fd);
    }
    end_connection(server, fd);
}

static void *accept_all(void *context)
{
    struct raw_server *server = context;

    for (;;) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 || server->stopping) {
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        serve(server, fd);
    }
}

static struct raw_server *raw_start(const struct behaviour *behaviour)
{
    struct raw_server *server = calloc(1, sizeof(*server));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    server->behaviour = *behaviour;
    server->held = -1;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->listener, 16), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &size), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, accept_all, server), 0);
    return server;
}

static void raw_stop(struct raw_server *server)
{
    server->stopping = true;
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
    if (server->held >= 0)
        close(server->held);
    free(server);
}
AUTO_DEFINE(struct raw_server *, raw_stop)

/* ---- our own server ---- */

static void echo(void *context, struct http_exchange *exchange)
{
    size_t size;
    const char *body = http_body(exchange, &size);
    const char *word = http_header(exchange, "X-Word");
    const char *type = http_header(exchange, "Content-Type");

    (void)context;
    http_reply_header(exchange, "X-Word", word ? word : "none");
    http_reply(exchange, 200, type ? type : "text/plain", body, size);
}

/* What the client sent besides the body. */
static void show(void *context, struct http_exchange *exchange)
{
    static const char *const shown[] = {"User-Agent",     "Expect",  "Content-Type",
                                        "Content-Length", "X-Empty", "Accept-Encoding"};
    AUTO(buffer_free) struct buffer text = {0};

    (void)context;
    for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
        const char *value = http_header(exchange, shown[i]);
        buffer_print(&text, "%s=%s;", shown[i], value ? value : "-");
    }
    http_reply(exchange, 200, "text/plain", text.data, text.size);
}

static void busy(void *context, struct http_exchange *exchange)
{
    (void)context;
    http_reply_header(exchange, "Retry-After", http_query(exchange, "after"));
    http_reply(exchange, 503, "text/plain", "", 0);
}

static void moved(void *context, struct http_exchange *exchange)
{
    (void)context;
    http_reply_header(exchange, "Location", "/show");
    http_reply(exchange, 302, "text/plain", "elsewhere", 9);
}

static const struct http_route routes[] = {
    {"POST", "/echo", .handle = echo, .body_max = (size_t)4 << 20},
    {"GET", "/show", .handle = show},
    {"POST", "/show", .handle = show, .body_max = (size_t)4 << 20},
    {"GET", "/busy", .handle = busy},
    {"GET", "/moved", .handle = moved},
    {0},
};

struct fixture {
    struct http_server *server;
    struct metrics *metrics;
    struct http_client *client;
    char url[128];
};

static int start_fixture(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct http_options options = {.service = "test", .body_max = (size_t)4 << 20};
    struct error err;

    fixture->metrics = metrics_new();
    options.metrics = fixture->metrics;
    assert_ok(http_start(&fixture->server, &options, routes, NULL, &err));
    fixture->client = http_client_new("millrace-test/1");
    *state = fixture;
    return 0;
}

static int stop_fixture(void **state)
{
    struct fixture *fixture = *state;

    http_client_free(fixture->client);
    http_stop(fixture->server);
    metrics_free(fixture->metrics);
    free(fixture);
    return 0;
}

static const char *url_of(struct fixture *fixture, const char *path)
{
    snprintf(fixture->url, sizeof(fixture->url), "http://127.0.0.1:%d%s",
             http_port(fixture->server), path);
    return fixture->url;
}

/* ---- answers ---- */

static void a_body_comes_back(void **state)
{
    struct fixture *fixture = *state;
    struct http_call call = {.method = "POST",
                             .url = url_of(fixture, "/echo"),
                             .type = "application/x-ndjson",
                             .body = "a\0b",
                             .size = 3};
    struct http_result result;
    struct error err;

    assert_ok(http_client_call(fixture->client, &call, &result, &err));
    assert_int_equal(result.status, 200);
    assert_string_equal(result.type, "application/x-ndjson");
    assert_int_equal(result.size, 3);
    assert_memory_equal(result.body, "a\0b\0", 4);
    assert_int_equal(result.retry_after_ms, -1);
}

static void check_shown(struct fixture *fixture, const struct http_call *call, const char *want)
{
    struct http_result result;
    struct error err;

    assert_ok(http_client_call(fixture->client, call, &result, &err));
    assert_int_equal(result.status, 200);
    assert_string_equal(result.body, want);
}

static void requests_say_no_more_than_they_should(void **state)
{
    static const char *const empty[] = {"X-Empty:", NULL};
    struct fixture *fixture = *state;
    const char *url = url_of(fixture, "/show");
    size_t size = (size_t)3 << 20; /* from 1 MB on libcurl likes to expect a 100 */
    char *large = calloc(1, size);

    check_shown(fixture, &(struct http_call){.method = "GET", .url = url},
                "User-Agent=millrace-test/1;Expect=-;Content-Type=-;Content-Length=-;X-Empty=-;"
                "Accept-Encoding=-;");
    check_shown(fixture, &(struct http_call){.method = "POST", .url = url, .headers = empty},
                "User-Agent=millrace-test/1;Expect=-;Content-Type=-;Content-Length=0;X-Empty=;"
                "Accept-Encoding=-;");
    check_shown(fixture,
                &(struct http_call){
                    .method = "POST", .url = url, .type = "a/b", .body = large, .size = size},
                "User-Agent=millrace-test/1;Expect=-;Content-Type=a/b;Content-Length=3145728;"
                "X-Empty=-;Accept-Encoding=-;");
    free(large);
}

static void the_environment_names_no_proxy(void **state)
{
    struct fixture *fixture = *state;

    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    check_shown(fixture, &(struct http_call){.method = "GET", .url = url_of(fixture, "/show")},
                "User-Agent=millrace-test/1;Expect=-;Content-Type=-;Content-Length=-;X-Empty=-;"
                "Accept-Encoding=-;");
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
}

static void a_redirect_is_an_answer(void **state)
{
    struct fixture *fixture = *state;
    struct http_call call = {.method = "GET", .url = url_of(fixture, "/moved")};
    struct http_result result;
    struct error err;

    assert_ok(http_client_call(fixture->client, &call, &result, &err));
    assert_int_equal(result.status, 302);
    assert_string_equal(result.body, "elsewhere");
}

static void a_head_has_no_body(void **state)
{
    struct fixture *fixture = *state;
    struct http_call call = {.method = "HEAD", .url = url_of(fixture, "/show")};
    struct http_result result;
    struct error err;

    assert_ok(http_client_call(fixture->client, &call, &result, &err));
    assert_int_equal(result.status, 200);
    assert_string_equal(result.body, "");
}

static const struct retry_row {
    const char *name, *path;
    int64_t want_ms;
} retry_rows[] = {
    {"seconds are read", "/busy?after=7", 7000},
    {"zero seconds are not none", "/busy?after=0", 0},
    {"a number beyond counting is the largest", "/busy?after=99999999999999999999", 999999999000},
    {"a date is none", "/busy?after=Fri,%2031%20Dec%202100%2023:59:59%20GMT", -1},
    {"a word is none", "/busy?after=7s", -1},
};

static void check_retry(void **state)
{
    const struct retry_row *row = *state;
    void *made;
    start_fixture(&made);
    struct fixture *fixture = made;
    struct http_call call = {.method = "GET", .url = url_of(fixture, row->path)};
    struct http_result result;
    struct error err;

    assert_ok(http_client_call(fixture->client, &call, &result, &err));
    assert_int_equal(result.status, 503);
    assert_int_equal(result.retry_after_ms, row->want_ms);
    stop_fixture(&made);
}

/* ---- what is wrong before anything is sent ---- */

static const struct invalid_row {
    const char *name, *method, *url, *type, *header;
} invalid_rows[] = {
    {"a URL without a scheme", "GET", "127.0.0.1:1/x", NULL, "A: b"},
    {"a URL without a host", "GET", "http://:80/x", NULL, "A: b"},
    {"an empty URL", "GET", "", NULL, "A: b"},
    {"another scheme", "GET", "ftp://127.0.0.1/x", NULL, "A: b"},
    {"a file", "GET", "file:///etc/passwd", NULL, "A: b"},
    {"a URL with a line break", "GET", "http://127.0.0.1/x\r\nA: b", NULL, "A: b"},
    {"a header without a colon", "GET", "http://127.0.0.1:1/", NULL, "A"},
    {"a header with a line break", "GET", "http://127.0.0.1:1/", NULL, "A: b\r\nC: d"},
    {"a header whose name has a space", "GET", "http://127.0.0.1:1/", NULL, "A : b"},
    {"a type with a line break", "POST", "http://127.0.0.1:1/", "a\nb: c", "A: b"},
    {"a method of two words", "GET /x", "http://127.0.0.1:1/", NULL, "A: b"},
    {"no method", "", "http://127.0.0.1:1/", NULL, "A: b"},
};

static void check_invalid(void **state)
{
    const struct invalid_row *row = *state;
    AUTO(http_client_free) struct http_client *client = http_client_new("t");
    const char *const headers[] = {row->header, NULL};
    struct http_call call = {.method = row->method,
                             .url = row->url,
                             .type = row->type,
                             .headers = headers,
                             .body = "",
                             .timeout_ms = SLOW_MS};
    struct http_result result;
    struct error err;

    assert_fails(http_client_call(client, &call, &result, &err), ERROR_INVALID);
}

/* ---- servers that misbehave ---- */

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

static const struct raw_row {
    const char *name;
    struct behaviour behaviour;
    size_t answer_max;
    enum error_code want; /* ERROR_NONE: an answer */
    bool late;            /* at the deadline, not before */
} raw_rows[] = {
    {"a mute server: TIMEOUT at the deadline",
     {.ending = END_HOLD},
     .want = ERROR_TIMEOUT,
     .late = true},
    {"half a head and silence",
     {.reply = "HTTP/1.1 200 OK\r\nConte", .ending = END_HOLD},
     .want = ERROR_TIMEOUT,
     .late = true},
    {"half a body and silence",
     {.reply = HEAD "Content-Length: 10\r\n\r\nhalf", .ending = END_HOLD},
     .want = ERROR_TIMEOUT,
     .late = true},
    {"a 100 and silence",
     {.reply = "HTTP/1.1 100 Continue\r\n\r\n", .ending = END_HOLD},
     .want = ERROR_TIMEOUT,
     .late = true},
    {"closed without a word", {.ending = END_CLOSE}, .want = ERROR_UNKNOWN},
    {"closed in the head", {.reply = "HTTP/1.1 200 OK\r\nConte"}, .want = ERROR_UNKNOWN},
    {"closed in the body", {.reply = HEAD "Content-Length: 10\r\n\r\nhalf"}, .want = ERROR_UNKNOWN},
    {"closed in a chunk",
     {.reply = HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nab"},
     .want = ERROR_UNKNOWN},
    {"closed after a 100", {.reply = "HTTP/1.1 100 Continue\r\n\r\n"}, .want = ERROR_UNKNOWN},
    {"closed in the head after a 100",
     {.reply = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"},
     .want = ERROR_UNKNOWN},
    {"reset after the request", {.ending = END_RESET}, .want = ERROR_UNKNOWN},
    {"reset in the body",
     {.reply = HEAD "Content-Length: 10\r\n\r\nhalf", .ending = END_RESET},
     .want = ERROR_UNKNOWN},
    {"not HTTP", {.reply = "220 mail.test ESMTP\r\n"}, .want = ERROR_UNKNOWN},
    {"a head that is wrong", {.reply = "HTTP/9.9 2x OK\r\n\r\n"}, .want = ERROR_UNKNOWN},
    {"a length that is wrong", {.reply = HEAD "Content-Length: x\r\n\r\n"}, .want = ERROR_UNKNOWN},
    {"an answer as large as allowed",
     {.reply = HEAD "Content-Length: 4\r\n\r\nfour"},
     .want = ERROR_NONE,
     .answer_max = 4},
    {"an answer with trailers",
     {.reply = HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: y\r\n\r\n"},
     .want = ERROR_NONE},
    {"an answer after a 100",
     {.reply = "HTTP/1.1 100 Continue\r\n\r\n" HEAD "Content-Length: 2\r\n\r\nab"},
     .want = ERROR_NONE},
    {"an answer that ends with its connection", {.reply = HEAD "\r\nwhole"}, .want = ERROR_NONE},
    {"an answer that says it is too large",
     {.reply = HEAD "Content-Length: 5\r\n\r\nwhole", .ending = END_HOLD},
     .want = ERROR_TOO_LARGE,
     .answer_max = 4},
    {"an answer without an end",
     {.reply = HEAD "\r\n", .filler = 1 << 22},
     .want = ERROR_TOO_LARGE},
    {"a head without an end",
     {.reply = "HTTP/1.1 200 OK\r\nX: ", .filler = 1 << 22},
     .want = ERROR_TOO_LARGE},
};

static void check_raw(void **state)
{
    const struct raw_row *row = *state;
    AUTO(raw_stop) struct raw_server *server = raw_start(&row->behaviour);
    AUTO(http_client_free) struct http_client *client = http_client_new("t");
    char url[64];
    struct http_call call = {.method = "POST",
                             .url = url,
                             .type = "text/plain",
                             .body = "x",
                             .size = 1,
                             .answer_max = row->answer_max,
                             .timeout_ms = row->late ? SHORT_MS : SLOW_MS};
    struct http_result result;
    struct error err = {0};
    int64_t start_ms = now_ms();

    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", server->port);
    bool done = http_client_call(client, &call, &result, &err);
    int64_t took_ms = now_ms() - start_ms;

    if (done != (row->want == ERROR_NONE))
        fail_msg("%s", done ? "an answer" : err.message);
    if (!done) {
        print_message("%s\n", err.message);
        assert_int_equal(err.code, row->want);
    }
    if (row->late)
        assert_true(took_ms >= SHORT_MS - 1);
    assert_true(took_ms < (row->late ? SHORT_MS + MARGIN_MS : SLOW_MS));
    if (!row->behaviour.no_read)
        assert_int_equal(server->requests, 1);
}

/* ---- no connection ---- */

/* A port that nobody listens on: bound, so that nobody else gets it. */
static int bind_port(int backlog, int *out_fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    *out_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*out_fd, (struct sockaddr *)&address, size), 0);
    if (backlog >= 0)
        assert_int_equal(listen(*out_fd, backlog), 0);
    assert_int_equal(getsockname(*out_fd, (struct sockaddr *)&address, &size), 0);
    return ntohs(address.sin_port);
}

static void fails_with(const char *url, int timeout_ms, enum error_code want)
{
    AUTO(http_client_free) struct http_client *client = http_client_new("t");
    struct http_call call = {.method = "GET", .url = url, .timeout_ms = timeout_ms};
    struct http_result result;
    struct error err;
    int64_t start_ms = now_ms();

    assert_fails(http_client_call(client, &call, &result, &err), want);
    assert_true(now_ms() - start_ms < timeout_ms + MARGIN_MS);
}

static void a_refused_port_is_unavailable(void **state)
{
    char url[64];
    int fd;

    (void)state;
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", bind_port(-1, &fd));
    fails_with(url, SLOW_MS, ERROR_UNAVAILABLE);
    close(fd);
}

static void a_name_that_is_not_known_is_unavailable(void **state)
{
    (void)state;
    fails_with("http://absent.test/", SLOW_MS, ERROR_UNAVAILABLE);
}

static void a_name_server_that_is_mute_holds_no_call(void **state)
{
    (void)state;
    fails_with("http://mute.test/", SHORT_MS, ERROR_UNAVAILABLE);
}

/* With a backlog of one, what comes after two connections is dropped. */
static void a_connection_that_is_not_taken_is_unavailable(void **state)
{
    int listener, fds[4];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int port = bind_port(0, &listener);
    char url[64];

    (void)state;
    address.sin_port = htons((uint16_t)port);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fds[i], (struct sockaddr *)&address, sizeof(address));
    }
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", port);
    fails_with(url, SHORT_MS, ERROR_UNAVAILABLE);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    close(listener);
}

/* ---- connections that are kept ---- */

static void a_post_over_a_broken_connection_is_not_sent_twice(void **state)
{
    static const struct behaviour behaviour = {.reply = HEAD "Content-Length: 2\r\n\r\nok",
                                               .reply_twice = true};
    AUTO(raw_stop) struct raw_server *server = raw_start(&behaviour);
    AUTO(http_client_free) struct http_client *client = http_client_new("t");
    char url[64];
    struct http_call call = {.method = "POST",
                             .url = url,
                             .type = "text/plain",
                             .body = "x",
                             .size = 1,
                             .timeout_ms = SLOW_MS};
    struct http_result result;
    struct error err;

    (void)state;
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", server->port);
    assert_ok(http_client_call(client, &call, &result, &err));
    assert_fails(http_client_call(client, &call, &result, &err), ERROR_UNKNOWN);
    assert_int_equal(server->requests, 2);
    assert_ok(http_client_call(client, &call, &result, &err)); /* and the client is well */
    assert_int_equal(server->requests, 3);
}

static void a_get_over_a_broken_connection_is_repeated(void **state)
{
    static const struct behaviour behaviour = {.reply = HEAD "Content-Length: 2\r\n\r\nok",
                                               .reply_twice = true};
    AUTO(raw_stop) struct raw_server *server = raw_start(&behaviour);
    AUTO(http_client_free) struct http_client *client = http_client_new("t");
    char url[64];
    struct http_call call = {.method = "GET", .url = url, .timeout_ms = SLOW_MS};
    struct http_result result;
    struct error err;

    (void)state;
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", server->port);
    assert_ok(http_client_call(client, &call, &result, &err));
    assert_ok(http_client_call(client, &call, &result, &err));
    assert_string_equal(result.body, "ok");
    assert_int_equal(server->requests, 3);
}

static int open_files(void)
{
    int count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void say_hello(struct fixture *fixture)
{
    struct http_call call = {.method = "POST",
                             .url = url_of(fixture, "/echo"),
                             .type = "text/plain",
                             .body = "hello",
                             .size = 5};
    struct http_result result;
    struct error err;

    assert_ok(http_client_call(fixture->client, &call, &result, &err));
    assert_string_equal(result.body, "hello");
}

static void many_calls_share_a_connection(void **state)
{
    say_hello(*state);
    int files = open_files();

    for (int i = 0; i < 1000; i++)
        say_hello(*state);
    assert_int_equal(open_files(), files); /* with a connection each there would be more */
}

/* ---- interruption ---- */

struct waiting {
    struct http_client *client;
    const char *url;
    enum error_code code;
    _Atomic bool done;
};

static void *wait_for_answer(void *context)
{
    struct waiting *waiting = context;
    struct http_call call = {.method = "GET", .url = waiting->url, .timeout_ms = 60000};
    struct http_result result;
    struct error err = {0};

    (void)!http_client_call(waiting->client, &call, &result, &err);
    waiting->code = err.code;
    waiting->done = true;
    return NULL;
}

static void interrupt_call(const char *url, const atomic_int *begun)
{
    AUTO(http_client_free) struct http_client *client = http_client_new("t");
    struct waiting waiting = {.client = client, .url = url};
    int before = *begun;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, wait_for_answer, &waiting), 0);
    while (*begun == before)
        poll(NULL, 0, 1);
    poll(NULL, 0, QUIET_MS);
    int64_t start_ms = now_ms();
    http_client_interrupt(client);
    pthread_join(thread, NULL);
    assert_true(now_ms() - start_ms < MARGIN_MS);
    assert_int_equal(waiting.code, ERROR_CLOSED);

    start_ms = now_ms();
    wait_for_answer(&waiting); /* and every later one */
    assert_int_equal(waiting.code, ERROR_CLOSED);
    assert_true(now_ms() - start_ms < MARGIN_MS);
}

static void a_call_that_waits_is_interrupted(void **state)
{
    static const struct behaviour mute = {.ending = END_HOLD};
    AUTO(raw_stop) struct raw_server *server = raw_start(&mute);
    char url[64];

    (void)state;
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", server->port);
    interrupt_call(url, &server->requests);
}

static void a_call_that_looks_up_a_name_is_interrupted(void **state)
{
    (void)state;
    interrupt_call("http://mute.test/", &names.asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_body_comes_back, start_fixture, stop_fixture),
        cmocka_unit_test_setup_teardown(requests_say_no_more_than_they_should, start_fixture,
                                        stop_fixture),
        cmocka_unit_test_setup_teardown(the_environment_names_no_proxy, start_fixture,
                                        stop_fixture),
        cmocka_unit_test_setup_teardown(a_redirect_is_an_answer, start_fixture, stop_fixture),
        cmocka_unit_test_setup_teardown(a_head_has_no_body, start_fixture, stop_fixture),
        cmocka_unit_test_setup_teardown(many_calls_share_a_connection, start_fixture, stop_fixture),
        cmocka_unit_test(a_refused_port_is_unavailable),
        cmocka_unit_test(a_name_that_is_not_known_is_unavailable),
        cmocka_unit_test(a_name_server_that_is_mute_holds_no_call),
        cmocka_unit_test(a_connection_that_is_not_taken_is_unavailable),
        cmocka_unit_test(a_post_over_a_broken_connection_is_not_sent_twice),
        cmocka_unit_test(a_get_over_a_broken_connection_is_repeated),
        cmocka_unit_test(a_call_that_waits_is_interrupted),
        cmocka_unit_test(a_call_that_looks_up_a_name_is_interrupted),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    failed += RUN_ROWS(retry_rows, check_retry);
    failed += RUN_ROWS(invalid_rows, check_invalid);
    failed += RUN_ROWS(raw_rows, check_raw);
    release_names();
    return failed;
}
