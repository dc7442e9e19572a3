#include "http/http_server.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "http/http_dispatch.h"
#include "http/http_exchange.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 1024
#define BODY_MAX_DEFAULT ((size_t)64 * 1024)
#define STOP_MS 2500  /* for running exchanges to end by themselves */
#define CLOSE_MS 500  /* for what is then answered 503 to be sent */
#define TICK_MIN_MS 2 /* of the watch over deadlines */
#define TICK_MAX_MS 100

#define HTTP_TEXT "text/plain; charset=utf-8"
#define HTTP_EXPOSITION "text/plain; version=0.0.4; charset=utf-8"

/* ---- what every server answers ---- */

static void livez(void *context, struct http_exchange *exchange)
{
    (void)context;
    http_reply(exchange, MHD_HTTP_OK, HTTP_TEXT, "ok\n", 3);
}

static void readyz(void *context, struct http_exchange *exchange)
{
    struct http_server *server = context;
    AUTO(buffer_free) struct buffer text = {0};
    bool ready = http_ready_print(server->ready, &text);

    if (atomic_load(&server->unready)) {
        buffer_text(&text, "[-]draining\n");
        ready = false;
    }
    if (http_query(exchange, "verbose"))
        buffer_text(&text, ready ? "ready\n" : "not ready\n");
    else
        buffer_clear(&text), buffer_text(&text, ready ? "ok\n" : "not ready\n");
    http_reply_header(exchange, "Cache-Control", "no-store");
    http_reply_buffer(exchange, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, HTTP_TEXT,
                      &text);
}

static void metrics(void *context, struct http_exchange *exchange)
{
    struct http_server *server = context;
    AUTO(buffer_free) struct buffer text = {0};

    metrics_render(server->options.metrics, &text);
    http_reply_buffer(exchange, MHD_HTTP_OK, HTTP_EXPOSITION, &text);
}

/* What there is to ask, for whoever comes without a manual; `status` is what was always told here.
 */
static void root(void *context, struct http_exchange *exchange)
{
    const struct http_server *server = context;
    const char *service = server->options.service;
    AUTO(buffer_free) struct buffer body = {0};
    struct json_writer writer = {.out = &body};

    json_open(&writer, NULL, '{');
    json_text(&writer, "status", "ok");
    json_text(&writer, "service", service ? service : "");
    json_text(&writer, "version", MILLRACE_VERSION);
    json_open(&writer, "routes", '[');
    for (size_t i = 0; i < server->endpoint_count; i++) {
        const struct http_route *route = server->endpoints[i].route;
        json_open(&writer, NULL, '{');
        json_text(&writer, "method", route->method);
        json_text(&writer, "path", route->path);
        json_close(&writer, '}');
    }
    json_close(&writer, ']');
    json_close(&writer, '}');
    http_reply_buffer(exchange, MHD_HTTP_OK, HTTP_JSON, &body);
}

/* They come first, so that no template hides them; but a service may have a root of its own. */
static const struct http_route built_in[] = {
    {"GET", "/livez", .handle = livez},
    {"GET", "/readyz", .handle = readyz},
    {"GET", "/metrics", .handle = metrics},
};
static const struct http_route built_in_root = {"GET", "/", .handle = root};

/* ---- origins ---- */

const char *http_server_allowed_origin(const struct http_server *server,
                                       const struct http_exchange *exchange)
{
    const char *origin = server->options.origins ? http_header(exchange, "Origin") : NULL;
    size_t size = origin ? strlen(origin) : 0;

    for (const char *at = server->options.origins; size && *at; at += strcspn(at, ",")) {
        at += strspn(at, ", ");
        size_t listed = strcspn(at, ", ");
        if ((listed == 1 && *at == '*') || (listed == size && strncasecmp(at, origin, size) == 0))
            return origin;
    }
    return NULL;
}

/* ---- start ---- */

static void add_endpoint(struct http_server *server, const struct http_route *route, void *context)
{
    struct http_endpoint *endpoint = &server->endpoints[server->endpoint_count++];

    endpoint->route = route;
    endpoint->context = context;
    endpoint->meter.path = endpoint->head.path = route->path;
    endpoint->meter.method = route->method;
    endpoint->head.method = "HEAD";
}

static void add_endpoints(struct http_server *server, const struct http_route *routes,
                          void *context)
{
    size_t count = 0;

    while (routes[count].method)
        count++;
    server->endpoints =
        memory_alloc((count + ARRAY_LEN(built_in) + 1) * sizeof(server->endpoints[0]));
    for (size_t i = 0; i < ARRAY_LEN(built_in); i++)
        add_endpoint(server, &built_in[i], server);
    for (size_t i = 0; i < count; i++)
        add_endpoint(server, &routes[i], context);
    add_endpoint(server, &built_in_root, server);
}

static int or_default(int value, int fallback)
{
    return value ? value : fallback;
}

static void set_options(struct http_server *server, const struct http_options *options)
{
    struct http_options *set = &server->options;

    *set = *options;
    set->host = options->host ? options->host : "127.0.0.1";
    set->threads = or_default(options->threads, 2);
    set->connections_max = or_default(options->connections_max, 4096);
    set->deadline_ms = or_default(options->deadline_ms, 30000);
    set->header_ms = or_default(options->header_ms, 10000);
    if (!set->body_max)
        set->body_max = BODY_MAX_DEFAULT;
    if (!set->metrics)
        set->metrics = server->own_metrics = metrics_new();
}

static bool listen_at(const struct addrinfo *address, int *out_fd, int *out_port)
{
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1, off = 0;
    struct sockaddr_storage bound;
    socklen_t size = sizeof(bound);
    char port[16];

    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &size) != 0 ||
        getnameinfo((struct sockaddr *)&bound, size, NULL, 0, port, sizeof(port), NI_NUMERICSERV) !=
            0) {
        int why = errno;
        close(fd);
        errno = why;
        return false;
    }
    *out_fd = fd;
    *out_port = (int)strtol(port, NULL, 10);
    return true;
}

static bool open_listener(struct http_server *server, int *out_fd, struct error *err)
{
    const struct http_options *options = &server->options;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV | AI_NUMERICHOST};
    struct addrinfo *address = NULL;
    char port[16];

    snprintf(port, sizeof(port), "%d", options->port);
    if (strcmp(options->host, "localhost") == 0)
        hints.ai_flags &= ~AI_NUMERICHOST;
    int found = getaddrinfo(options->host, port, &hints, &address);
    if (found != 0)
        return error_set(err, ERROR_INVALID, "listen on '%s': %s", options->host,
                         gai_strerror(found));
    bool listening = listen_at(address, out_fd, &server->port);
    int why = errno;
    freeaddrinfo(address);
    if (listening)
        return true;
    if (why == EADDRINUSE)
        return error_set(err, ERROR_CONFLICT, "listen on %s: port %d is taken", options->host,
                         options->port);
    return error_set(err, ERROR_UNAVAILABLE, "listen on %s port %d: %s", options->host,
                     options->port, strerror(why));
}

static int tick_ms(const struct http_options *options)
{
    int shortest =
        options->header_ms < options->deadline_ms ? options->header_ms : options->deadline_ms;
    int tick = shortest / 10;

    return tick < TICK_MIN_MS ? TICK_MIN_MS : tick > TICK_MAX_MS ? TICK_MAX_MS : tick;
}

static void start_parts(struct http_server *server, const struct http_route *routes, void *context)
{
    static const struct metrics_description open = {
        .kind = METRICS_GAUGE, .name = "http_connections", .help = "Open connections."};

    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->idle, NULL);
    add_endpoints(server, routes, context);
    http_families_start(&server->families, server->options.metrics);
    server->connection_gauge =
        metrics_cell(metrics_family(server->options.metrics, &open), (const char *const[]){NULL});
    http_connections_start(&server->connections, server->options.metrics,
                           tick_ms(&server->options));
    server->ready = http_ready_start(server->options.checks, context);
}

static void free_parts(struct http_server *server)
{
    http_ready_stop(server->ready);
    http_connections_free(&server->connections);
    pthread_cond_destroy(&server->idle);
    pthread_mutex_destroy(&server->lock);
    free(server->endpoints);
    metrics_free(server->own_metrics);
    free(server);
}

bool http_start(struct http_server **out, const struct http_options *options,
                const struct http_route *routes, void *context, struct error *err)
{
    struct http_server *server = memory_alloc(sizeof(*server));
    int listener = -1;

    set_options(server, options);
    if (!open_listener(server, &listener, err)) {
        metrics_free(server->own_metrics);
        free(server);
        return false;
    }
    start_parts(server, routes, context);
    server->daemon = http_dispatch_start(server, listener);
    if (!server->daemon) { /* which has closed the listener */
        http_connections_stop(&server->connections);
        free_parts(server);
        return error_set(err, ERROR_INTERNAL, "start the HTTP server");
    }
    *out = server;
    return true;
}

int http_port(const struct http_server *server)
{
    return server->port;
}

/* ---- end ---- */

void http_server_begin(struct http_server *server)
{
    atomic_fetch_add(&server->running, 1);
}

void http_server_end(struct http_server *server)
{
    if (atomic_fetch_sub(&server->running, 1) != 1 || !atomic_load(&server->stopping))
        return;
    pthread_mutex_lock(&server->lock);
    pthread_cond_signal(&server->idle);
    pthread_mutex_unlock(&server->lock);
}

static void wait_until_idle(struct http_server *server, int timeout_ms)
{
    int64_t until_ms = http_now_ms() + timeout_ms;

    pthread_mutex_lock(&server->lock);
    while (atomic_load(&server->running) && clock_wait(&server->idle, &server->lock, until_ms))
        continue;
    pthread_mutex_unlock(&server->lock);
}

void http_unready(struct http_server *server)
{
    atomic_store(&server->unready, true);
}

/* libmicrohttpd ends the process when it is stopped with a connection suspended. So: let exchanges
 * end by themselves, forbid suspending, resume what is left, and only then stop it. */
void http_stop(struct http_server *server)
{
    if (!server)
        return;
    http_unready(server);
    atomic_store(&server->stopping, true);
    close(MHD_quiesce_daemon(server->daemon));
    wait_until_idle(server, STOP_MS);
    atomic_store(&server->closing, true);
    http_connections_abandon(&server->connections);
    wait_until_idle(server, CLOSE_MS);
    http_connections_stop(&server->connections);
    MHD_stop_daemon(server->daemon);
    free_parts(server);
}
