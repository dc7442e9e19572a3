#include "http/http_dispatch.h"

#include "base/clock.h"
#include "http/http_answer.h"
#include "http/http_exchange.h"

#include <assert.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HEADER_BYTES_MAX 16384
#define CONNECTION_BYTES                                                                           \
    32768                     /* libmicrohttpd's memory for a connection; holds the headers twice */
#define DISCARD_MAX 65536     /* an unwanted body up to this size is read to keep the connection */
#define PAYLOAD_TOO_LARGE 413 /* libmicrohttpd changed its name for it */
#define IDLE_MS 75000         /* between two requests of a connection */
#define BODY_RESERVE_MAX 65536 /* taken at once on the word of a Content-Length */

static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

static struct http_connection *connection_of(struct MHD_Connection *mhd)
{
    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static enum MHD_Result result_of(bool well)
{
    return well ? MHD_YES : MHD_NO;
}

/* ---- refusals ---- */

static void refuse(struct http_exchange *exchange, int status, const char *reason,
                   const char *message)
{
    struct error err = {.code = ERROR_INVALID, .reason = reason};

    snprintf(err.message, sizeof(err.message), "%s", message);
    http_problem_status(exchange, status, &err);
}

static void refuse_and_count(struct http_exchange *exchange, int status, const char *reason,
                             const char *message)
{
    http_connections_refused(&exchange->server->connections, reason);
    refuse(exchange, status, reason, message);
}

/* ---- headers ---- */

struct reading {
    struct http_exchange *exchange;
    const char *end; /* of the value before */
};

/*
 * libmicrohttpd before 1.0 cuts a header at a NUL without a word. Its headers lie in the order and
 * the place in which they came, each line break turned into NULs, so the next name (NULL: there is
 * none) must follow one or two NULs behind the end of a value. The same finds a folded header,
 * which RFC 9112, 5.2 lets us refuse. Version 1.0 refuses NULs itself.
 */
static bool is_cut(const char *end, const char *next)
{
    if (MHD_VERSION >= 0x01000000 || !end)
        return false;
    return next ? next != end + 1 && next != end + 2 : end[1] != '\0';
}

/* The signature is libmicrohttpd's. NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result on_header(void *argument, enum MHD_ValueKind kind, const char *name,
                                 size_t name_size, const char *value, size_t value_size)
{
    struct reading *reading = argument;
    struct http_request *request = &reading->exchange->request;

    (void)kind, (void)name_size;
    if (is_cut(reading->end, name))
        request->fault = "bad_header";
    reading->end = value ? value + value_size : NULL;
    http_request_header(request, reading->exchange->arena, name, value ? value : "");
    return MHD_YES;
}

static void read_headers(struct http_exchange *exchange, struct MHD_Connection *mhd)
{
    struct reading reading = {.exchange = exchange};
    int count = MHD_get_connection_values(mhd, MHD_HEADER_KIND, NULL, NULL);

    http_request_headers(&exchange->request, exchange->arena, (size_t)count);
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, on_header, &reading);
    if (is_cut(reading.end, NULL))
        exchange->request.fault = "bad_header";
    http_request_headers_end(&exchange->request);
}

static bool headers_are_too_large(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

    return info && info->header_size > HEADER_BYTES_MAX;
}

/* ---- routes ---- */

static bool serves(const struct http_route *route, const char *asked)
{
    return strcmp(route->method, asked) == 0 ||
           (strcmp(route->method, "GET") == 0 && strcmp(asked, "HEAD") == 0 && !route->writes);
}

static struct http_endpoint *find_endpoint(struct http_exchange *exchange)
{
    struct http_server *server = exchange->server;

    for (size_t i = 0; i < server->endpoint_count; i++) {
        struct http_endpoint *endpoint = &server->endpoints[i];
        if (serves(endpoint->route, exchange->request.method) &&
            http_route_matches(endpoint->route, &exchange->request))
            return endpoint;
    }
    return NULL;
}

/* "GET, HEAD, OPTIONS": the methods of the path; false when it has no route at all. */
static bool find_allowed(struct http_exchange *exchange, struct buffer *out)
{
    struct http_server *server = exchange->server;

    for (size_t m = 0; m < ARRAY_LEN(methods); m++) {
        for (size_t i = 0; i < server->endpoint_count; i++) {
            const struct http_route *route = server->endpoints[i].route;
            if (strcmp(route->method, methods[m]) != 0 ||
                !http_route_matches(route, &exchange->request))
                continue;
            exchange->template = route->path;
            buffer_print(out, "%s%s", methods[m], m || route->writes ? ", " : ", HEAD, ");
            break;
        }
    }
    buffer_text(out, "OPTIONS");
    return exchange->template != NULL;
}

/* OPTIONS of a path that exists: what is allowed, and, for a browser that asks, to whom. */
static void answer_options(struct http_exchange *exchange, const char *allowed)
{
    const char *headers = http_header(exchange, "Access-Control-Request-Headers");

    http_reply_header(exchange, "Allow", allowed);
    if (http_server_allowed_origin(exchange->server, exchange) &&
        http_header(exchange, "Access-Control-Request-Method")) {
        http_reply_header(exchange, "Access-Control-Allow-Methods", allowed);
        http_reply_header(exchange, "Access-Control-Max-Age", "600");
        if (headers)
            http_reply_header(exchange, "Access-Control-Allow-Headers", headers);
    }
    http_reply(exchange, MHD_HTTP_NO_CONTENT, NULL, NULL, 0);
}

static void answer_without_route(struct http_exchange *exchange)
{
    AUTO(buffer_free) struct buffer allowed = {0};

    if (!find_allowed(exchange, &allowed)) {
        refuse(exchange, MHD_HTTP_NOT_FOUND, "not_found", "there is no such path");
    } else if (strcmp(exchange->request.method, "OPTIONS") == 0) {
        answer_options(exchange, allowed.data);
    } else {
        http_reply_header(exchange, "Allow", allowed.data);
        refuse(exchange, MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed",
               "the path does not take this method");
    }
}

/* ---- a request's way ---- */

static size_t body_max(const struct http_exchange *exchange)
{
    size_t max = exchange->endpoint->route->body_max;

    return max ? max : exchange->server->options.body_max;
}

static void refuse_body(struct http_exchange *exchange)
{
    struct error err;

    error_set(&err, ERROR_TOO_LARGE, "the body is larger than %zu bytes", body_max(exchange));
    http_problem(exchange, &err);
}

static void begin(struct http_exchange *exchange)
{
    const struct http_route *route = exchange->endpoint->route;
    int64_t length = exchange->request.content_length;

    if (route->begin)
        route->begin(exchange->endpoint->context, exchange);
    if (exchange->receive || http_exchange_is_settled(exchange) || length <= 0)
        return;
    if ((uint64_t)length > body_max(exchange))
        refuse_body(exchange);
    else
        buffer_reserve(&exchange->body,
                       length < BODY_RESERVE_MAX ? (size_t)length : BODY_RESERVE_MAX);
}

static bool is_encoded(const struct http_exchange *exchange)
{
    const char *encoding = http_header(exchange, "Content-Encoding");

    return encoding && strcasecmp(encoding, "identity") != 0 &&
           http_request_has_body(&exchange->request);
}

static void refuse_encoding(struct http_exchange *exchange)
{
    http_reply_header(exchange, "Accept-Encoding", "identity");
    refuse(exchange, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding",
           "bodies are taken as they are: without a Content-Encoding");
}

static void route_request(struct http_exchange *exchange, struct MHD_Connection *mhd)
{
    struct http_request *request = &exchange->request;

    exchange->endpoint = request->fault ? NULL : find_endpoint(exchange);
    if (headers_are_too_large(mhd))
        refuse_and_count(exchange, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large",
                         "the headers are larger than 16 KiB");
    else if (request->fault)
        refuse_and_count(exchange, MHD_HTTP_BAD_REQUEST, request->fault,
                         "the request can be read in more than one way");
    else if (!exchange->endpoint)
        answer_without_route(exchange);
    else if (is_encoded(exchange))
        refuse_encoding(exchange);
    else if (!http_route_bind(request, exchange->arena))
        refuse(exchange, MHD_HTTP_BAD_REQUEST, "bad_encoding", "the path is not UTF-8");
    else
        begin(exchange);
}

/* Is it better to read the rest of an unwanted body, so that the connection can go on? */
static bool is_worth_reading(const struct http_exchange *exchange)
{
    const struct http_request *request = &exchange->request;

    return !request->fault && !request->chunked &&
           request->content_length - exchange->received <= DISCARD_MAX;
}

static enum MHD_Result on_headers(struct http_exchange *exchange, struct MHD_Connection *mhd,
                                  const char *method)
{
    struct http_request *request = &exchange->request;

    exchange->counted = true;
    http_server_begin(exchange->server);
    http_request_method(request, method);
    read_headers(exchange, mhd);
    atomic_store(&exchange->connection->due_ms, exchange->deadline_ms);
    http_exchange_stage(exchange, HTTP_BODY);
    route_request(exchange, mhd);

    if (!http_exchange_is_settled(exchange))
        return MHD_YES;
    bool at_once = request->expects_continue || exchange->answer.status == PAYLOAD_TOO_LARGE ||
                   !is_worth_reading(exchange);
    if (request->fault || (http_request_has_body(request) && at_once)) {
        exchange->connection->linger = true;
        return result_of(http_answer_queue(exchange, mhd));
    }
    return MHD_YES; /* libmicrohttpd calls again, after the body if there is one */
}

/* An answer has come before the end of the body. */
static enum MHD_Result on_unwanted_body(struct http_exchange *exchange, size_t *size)
{
    if (exchange->answer.produce || is_worth_reading(exchange)) {
        exchange->received += (int64_t)*size;
        *size = 0;
        return MHD_YES;
    }
    exchange->connection->linger = true;
    http_answer_at_once(exchange);
    return MHD_NO;
}

/* Offers the piece until all is taken, or the rest has to wait. */
static size_t stream(struct http_exchange *exchange, struct MHD_Connection *mhd, const char *piece,
                     size_t size)
{
    size_t taken = 0;
    bool again = true;

    while (again && taken < size) {
        again = false;
        taken +=
            exchange->receive(exchange->endpoint->context, exchange, piece + taken, size - taken);
        assert(taken <= size);
        if (taken < size)
            exchange->parked = http_exchange_park_body(exchange, mhd, &again);
    }
    return taken;
}

static size_t collect(struct http_exchange *exchange, const char *piece, size_t size)
{
    if (size > body_max(exchange) - exchange->body.size) {
        refuse_body(exchange);
        return 0;
    }
    buffer_append(&exchange->body, piece, size);
    return size;
}

static enum MHD_Result on_body(struct http_exchange *exchange, struct MHD_Connection *mhd,
                               const char *piece, size_t *size)
{
    exchange->parked = false;
    if (http_exchange_is_settled(exchange))
        return on_unwanted_body(exchange, size);

    size_t taken =
        exchange->receive ? stream(exchange, mhd, piece, *size) : collect(exchange, piece, *size);
    exchange->received += (int64_t)taken;
    *size -= taken;
    if (exchange->parked || !http_exchange_is_settled(exchange))
        return MHD_YES;
    return on_unwanted_body(exchange, size);
}

/* The request is complete: to the handler, unless it is answered already. */
static enum MHD_Result on_complete(struct http_exchange *exchange, struct MHD_Connection *mhd)
{
    http_exchange_stage(exchange, HTTP_HANDLE);
    exchange->parked = false;
    if (!http_exchange_is_settled(exchange) && exchange->endpoint->route->handle)
        exchange->endpoint->route->handle(exchange->endpoint->context, exchange);
    return exchange->parked ? MHD_YES : result_of(http_answer_queue(exchange, mhd));
}

/* ---- libmicrohttpd's callbacks ---- */

/* The signature is libmicrohttpd's. NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result on_request(void *argument, struct MHD_Connection *mhd, const char *path,
                                  const char *method, const char *version, const char *piece,
                                  size_t *size, void **state)
{
    struct http_exchange *exchange = *state;

    (void)argument, (void)path, (void)version;
    if (!exchange)
        return MHD_NO;
    exchange->mhd = mhd;
    if (exchange->seen == HTTP_HEADERS) {
        exchange->seen = HTTP_BODY;
        return on_headers(exchange, mhd, method);
    }
    if (*size)
        return on_body(exchange, mhd, piece, size);
    if (exchange->seen == HTTP_BODY) {
        exchange->seen = HTTP_HANDLE;
        return on_complete(exchange, mhd);
    }
    return result_of(http_answer_queue(exchange, mhd)); /* resumed */
}

/* The request line is in. What is returned becomes *state of the other callbacks. */
static void *on_line(void *argument, const char *target, struct MHD_Connection *mhd)
{
    struct http_server *server = argument;
    struct http_connection *connection = connection_of(mhd);
    struct http_exchange *exchange = http_exchange_begin(connection->spare);
    int64_t now_ms = exchange->started_ns / 1000000;
    int64_t due_ms = now_ms + server->options.header_ms;
    int64_t before_ms = atomic_load(&connection->due_ms);

    connection->spare = NULL;
    exchange->server = server;
    exchange->connection = connection;
    exchange->deadline_ms = now_ms + server->options.deadline_ms;
    http_request_line(&exchange->request, exchange->arena, target);
    http_connection_attach(connection, exchange, due_ms < before_ms ? due_ms : before_ms);
    return exchange;
}

static void on_over(void *argument, struct MHD_Connection *mhd, void **state,
                    enum MHD_RequestTerminationCode why)
{
    struct http_exchange *exchange = *state;
    struct http_server *server = argument;
    struct http_connection *connection = connection_of(mhd);

    (void)why;
    if (!exchange)
        return;
    *state = NULL;
    if (exchange->counted)
        http_server_end(server);
    else if (!exchange->status) /* libmicrohttpd refused it by itself, or the client went away */
        http_connections_refused(&server->connections, "malformed");
    atomic_store(&connection->served, true);
    http_connection_attach(connection, NULL, http_now_ms() + IDLE_MS);
    connection->spare = http_exchange_over(exchange);
}

static void on_connection(void *argument, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_server *server = argument;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        http_connection_close(&server->connections, *context);
        atomic_fetch_sub(&server->open, 1);
        metrics_add(server->connection_gauge, -1);
        return;
    }
    int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    *context =
        http_connection_open(&server->connections, fd, http_now_ms() + server->options.header_ms);
    atomic_fetch_add(&server->open, 1);
    metrics_add(server->connection_gauge, 1);
}

static enum MHD_Result on_accept(void *argument, const struct sockaddr *address, socklen_t size)
{
    struct http_server *server = argument;

    (void)address, (void)size;
    if (atomic_load(&server->open) < server->options.connections_max)
        return MHD_YES;
    http_connections_refused(&server->connections, "connections_max");
    return MHD_NO;
}

/* Paths and queries are decoded by http_request, which knows where a segment ends. */
static size_t leave_encoded(void *argument, struct MHD_Connection *mhd, char *text)
{
    (void)argument, (void)mhd;
    return strlen(text);
}

void http_defer(struct http_exchange *exchange)
{
    assert(exchange->seen == HTTP_HANDLE);
    exchange->parked = http_exchange_park(exchange, exchange->mhd);
}

struct MHD_Daemon *http_dispatch_start(struct http_server *server, int listener)
{
    int threads = server->options.threads;
    /* libmicrohttpd divides its limit among its threads, and one may get more than its share. */
    unsigned limit = (unsigned)((server->options.connections_max + 1) * threads);

    return MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, on_accept,
                            server, on_request, server, MHD_OPTION_LISTEN_SOCKET, listener,
                            MHD_OPTION_THREAD_POOL_SIZE, (unsigned)(threads > 1 ? threads : 0),
                            MHD_OPTION_CONNECTION_LIMIT, limit, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            (size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_over, server,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
                            MHD_OPTION_URI_LOG_CALLBACK, on_line, server,
                            MHD_OPTION_UNESCAPE_CALLBACK, leave_encoded, NULL, MHD_OPTION_END);
}
