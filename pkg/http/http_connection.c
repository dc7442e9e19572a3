#include "http/http_connection.h"

#include "base/clock.h"
#include "base/memory.h"
#include "http/http_exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_GRACE_MS 5000 /* for a 504 to reach its client */
#define LINGER_MS 2000
#define LINGER_BYTES ((size_t)16 * 1024 * 1024)
#define LINGER_TICK_MS 5
#define NEVER INT64_MAX

int64_t http_now_ms(void)
{
    return clock_nanoseconds() / 1000000;
}

void http_connections_refused(struct http_connections *list, const char *reason)
{
    metrics_add(metrics_cell(list->refused, &reason), 1);
}

/* ---- deadlines ---- */

/* Called with the list's lock held, so that the descriptor cannot be closed and be another's. */
static void end(struct http_connections *list, struct http_connection *connection,
                const char *reason)
{
    atomic_store(&connection->due_ms, NEVER);
    if (reason) /* before the client can notice */
        http_connections_refused(list, reason);
    shutdown(connection->fd, SHUT_RDWR);
}

static bool is_due(struct http_connection *connection, int64_t now_ms)
{
    return atomic_load(&connection->due_ms) <= now_ms;
}

/*
 * Called with the list's lock held. An idle connection that was of use before ends uncounted.
 * The server thread sets a new time before it goes on to the stage that the time is for: so when it
 * went on while we looked, the second look at the time tells.
 */
static void look_at(struct http_connections *list, struct http_connection *connection,
                    int64_t now_ms)
{
    const char *reason = atomic_load(&connection->served) ? NULL : "header_timeout";
    enum http_expiry expiry = HTTP_EXPIRY_CLOSE;

    if (!is_due(connection, now_ms))
        return;
    pthread_mutex_lock(&connection->lock);
    if (!is_due(connection, now_ms))
        expiry = HTTP_EXPIRY_WAIT; /* this is the next request already */
    else if (connection->exchange)
        expiry = http_exchange_expire(connection->exchange, &reason);
    if (expiry == HTTP_EXPIRY_ANSWERED)
        atomic_store(&connection->due_ms, now_ms + SEND_GRACE_MS);
    bool over = expiry == HTTP_EXPIRY_CLOSE && is_due(connection, now_ms);
    pthread_mutex_unlock(&connection->lock);
    if (over)
        end(list, connection, reason);
}

/* ---- slow closing ---- */

/* True when there is nothing to wait for any more. */
static bool is_drained(struct http_lingering *lingering, int64_t now_ms)
{
    char bytes[16384];
    ssize_t got;

    while ((got = recv(lingering->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
        if ((size_t)got >= lingering->bytes_left)
            return true;
        lingering->bytes_left -= (size_t)got;
    }
    bool may_come = got < 0 && (errno == EAGAIN || errno == EINTR);
    return !may_come || now_ms >= lingering->until_ms;
}

/* Called with the list's lock held; nothing in here waits. */
static void drain(struct http_connections *list, int64_t now_ms)
{
    for (size_t i = 0; i < list->lingering_count;) {
        if (is_drained(&list->lingering[i], now_ms)) {
            close(list->lingering[i].fd);
            list->lingering[i] = list->lingering[--list->lingering_count];
        } else {
            i++;
        }
    }
}

/* Called with the list's lock held. libmicrohttpd is about to close its descriptor: a duplicate
 * keeps the socket. */
static void keep_open(struct http_connections *list, int fd)
{
    if (list->lingering_count == HTTP_LINGERING_MAX)
        return;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return;
    shutdown(copy, SHUT_WR);
    list->lingering[list->lingering_count++] = (struct http_lingering){
        .fd = copy, .until_ms = http_now_ms() + LINGER_MS, .bytes_left = LINGER_BYTES};
    pthread_cond_signal(&list->changed);
}

/* ---- the watch ---- */

/* Called with the list's lock held. */
static void pause_until_next(struct http_connections *list)
{
    int tick_ms = list->lingering_count ? LINGER_TICK_MS : list->tick_ms;

    (void)clock_wait(&list->changed, &list->lock, http_now_ms() + tick_ms);
}

static void *watch(void *argument)
{
    struct http_connections *list = argument;

    pthread_mutex_lock(&list->lock);
    while (!list->stopping) {
        int64_t now_ms = http_now_ms();

        for (struct http_connection *at = list->first; at; at = at->next)
            look_at(list, at, now_ms);
        drain(list, now_ms);
        pause_until_next(list);
    }
    pthread_mutex_unlock(&list->lock);
    return NULL;
}

void http_connections_start(struct http_connections *list, struct metrics *metrics, int tick_ms)
{
    static const struct metrics_description refused = {
        .kind = METRICS_COUNTER,
        .name = "http_connections_refused_total",
        .help = "Connections and requests ended by the server because of how they behaved.",
        .labels = {"reason"},
    };

    list->refused = metrics_family(metrics, &refused);
    list->tick_ms = tick_ms;
    pthread_mutex_init(&list->lock, NULL);
    pthread_cond_init(&list->changed, NULL);
    if (pthread_create(&list->watch, NULL, watch, list) != 0)
        abort(); /* no thread is to be had: like memory */
}

void http_connections_stop(struct http_connections *list)
{
    pthread_mutex_lock(&list->lock);
    list->stopping = true;
    pthread_cond_signal(&list->changed);
    pthread_mutex_unlock(&list->lock);
    pthread_join(list->watch, NULL);
}

void http_connections_free(struct http_connections *list)
{
    for (size_t i = 0; i < list->lingering_count; i++)
        close(list->lingering[i].fd);
    pthread_cond_destroy(&list->changed);
    pthread_mutex_destroy(&list->lock);
}

void http_connections_abandon(struct http_connections *list)
{
    pthread_mutex_lock(&list->lock);
    for (struct http_connection *at = list->first; at; at = at->next) {
        pthread_mutex_lock(&at->lock);
        if (at->exchange)
            http_exchange_abandon(at->exchange);
        pthread_mutex_unlock(&at->lock);
    }
    pthread_mutex_unlock(&list->lock);
}

/* ---- one connection ---- */

struct http_connection *http_connection_open(struct http_connections *list, int fd, int64_t due_ms)
{
    struct http_connection *connection = memory_alloc(sizeof(*connection));

    connection->fd = fd;
    atomic_store(&connection->due_ms, due_ms);
    pthread_mutex_init(&connection->lock, NULL);

    pthread_mutex_lock(&list->lock);
    connection->next = list->first;
    connection->link = &list->first;
    if (connection->next)
        connection->next->link = &connection->next;
    list->first = connection;
    pthread_mutex_unlock(&list->lock);
    return connection;
}

void http_connection_close(struct http_connections *list, struct http_connection *connection)
{
    pthread_mutex_lock(&list->lock);
    *connection->link = connection->next;
    if (connection->next)
        connection->next->link = connection->link;
    if (connection->linger)
        keep_open(list, connection->fd);
    pthread_mutex_unlock(&list->lock);

    http_exchange_free(connection->spare);
    pthread_mutex_destroy(&connection->lock);
    free(connection);
}

void http_connection_attach(struct http_connection *connection, struct http_exchange *exchange,
                            int64_t due_ms)
{
    pthread_mutex_lock(&connection->lock);
    connection->exchange = exchange;
    atomic_store(&connection->due_ms, due_ms);
    pthread_mutex_unlock(&connection->lock);
}
