/*
 * http_connection: every open connection, each with the time by which something must have happened.
 *
 * libmicrohttpd's own time-out only counts inactivity, so a client that sends one byte now and then
 * could stay for ever. A thread of its own, the watch, walks the list and ends what is overdue:
 * a waiting exchange gets its 504, any other connection is shut down and counted.
 *
 * It also closes slowly what was answered before its body had come: were the socket closed with
 * unread bytes in it, the client's system would throw the answer away.
 *
 * Threads  open and close are called on the connection's server thread; the watch is one more.
 * Locks    list, then connection, then exchange.
 */
#ifndef HTTP_HTTP_CONNECTION_H
#define HTTP_HTTP_CONNECTION_H

#include "base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HTTP_LINGERING_MAX 64

struct http_exchange;

struct http_connection {
    int fd; /* libmicrohttpd's, which closes it after http_connection_close */
    _Atomic int64_t due_ms;
    atomic_bool served;          /* had a request before */
    bool linger;                 /* the server thread's */
    struct http_exchange *spare; /* the server thread's */

    struct http_connection *next, **link; /* guarded by the list's lock */

    pthread_mutex_t lock;
    struct http_exchange *exchange; /* guarded by lock */
};

struct http_lingering {
    int fd;
    int64_t until_ms;
    size_t bytes_left;
};

struct http_connections {
    struct metrics_family *refused;
    int tick_ms;
    pthread_t watch;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    struct http_connection *first;
    bool stopping;
    struct http_lingering lingering[HTTP_LINGERING_MAX];
    size_t lingering_count;
};

void http_connections_start(struct http_connections *list, struct metrics *metrics, int tick_ms);
void http_connections_stop(
    struct http_connections *list); /* the watch; the list may have members */
void http_connections_free(struct http_connections *list);

struct http_connection *http_connection_open(struct http_connections *list, int fd, int64_t due_ms);
void http_connection_close(struct http_connections *list, struct http_connection *connection);

/* The request that the connection is busy with; NULL: none. */
void http_connection_attach(struct http_connection *connection, struct http_exchange *exchange,
                            int64_t due_ms);

void http_connections_abandon(struct http_connections *list);
void http_connections_refused(struct http_connections *list, const char *reason);

int64_t http_now_ms(void); /* steady */

#endif
