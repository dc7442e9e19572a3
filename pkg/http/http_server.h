/*
 * http_server: what the parts of the server share.
 */
#ifndef HTTP_HTTP_SERVER_H
#define HTTP_HTTP_SERVER_H

#include "http/http_connection.h"
#include "http/http_ready.h"
#include "http/http_route.h"

struct MHD_Daemon;

struct http_server {
    struct MHD_Daemon *daemon;
    struct http_options options; /* with the defaults filled in; its texts are borrowed */
    int port;
    struct http_endpoint *endpoints;
    size_t endpoint_count;
    struct metrics *own_metrics; /* when the options name none */
    struct http_families families;
    struct metrics_cell *connection_gauge;
    struct http_connections connections;
    struct http_ready *ready;
    atomic_bool unready;
    atomic_bool stopping; /* connections end with their answer */
    atomic_bool closing;  /* nothing may be suspended any more */
    atomic_int open;      /* connections */

    pthread_mutex_t lock;
    pthread_cond_t idle;
    atomic_int running; /* requests; lock only guards waiting for 0 */
};

/* The request's Origin, when it is on the list; otherwise NULL. */
const char *http_server_allowed_origin(const struct http_server *server,
                                       const struct http_exchange *exchange);

/* The routes of the path are looked for; begins and ends of requests are counted. */
void http_server_begin(struct http_server *server);
void http_server_end(struct http_server *server);

#endif
