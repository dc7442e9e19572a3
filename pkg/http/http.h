/*
 * http: a server with one table of routes; a handler answers now or later, from any thread.
 *
 *     static const struct http_route routes[] = {
 *         {"GET", "/sites/{site_id}/readings", .handle = readings},
 *         {"POST", "/logs", .begin = choose, .handle = accept, .row = &logs},
 *         {0},
 *     };
 *
 * A request is an exchange. `begin` (if any) runs when its headers are in: it may refuse at once,
 * or call http_stream to get the body as it arrives; otherwise the body is collected up to
 * body_max. `handle` runs when the request is complete. A handler that cannot answer yet calls
 * http_defer before it hands the exchange over, and then somebody replies exactly once. The whole
 * request, from its first byte to the reply, has one deadline: past it the client gets 504 and a
 * reply that comes later is dropped; a client whose own bytes are what is missing is disconnected.
 *
 * Every server also answers GET /livez, /readyz (?verbose), /metrics and, where the table has none,
 * / (what it is and what can be asked), HEAD for every GET, 404, 405 (with Allow) and 415 for a
 * body in a Content-Encoding, and counts http_requests_total{path,method,status} and
 * http_request_duration_seconds{path,method}, path being the route's template.
 *
 * Ownership  The exchange is the server's. A handler may use it until it has replied (when
 * deferred: until the reply), not after. What the accessors return lives as long, and at least
 * until the handler returns, whoever replies meanwhile; replies copy.
 * Errors     http_problem answers with application/problem+json (RFC 9457): status and title from
 *            the error's code, `code` its reason, `detail` its message, `errors` its pointer.
 * Threads    begin, receive and handle run on the server's threads, several at once for different
 *            exchanges; they must not block. Reply functions may be called from any thread; for a
 *            deferred exchange, only by the one who has it.
 * Units      milliseconds, bytes.
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/metrics.h"

#include <stdint.h>

struct http_server;
struct http_exchange;

typedef void http_handler(void *context, struct http_exchange *exchange);

/* Takes up to size bytes of the body and returns how many. Fewer than size: http_continue is to be
 * called once, and until then the exchange stays and nothing is read from the client; the rest is
 * then offered again, unless the request is over. */
typedef size_t http_receive(void *context, struct http_exchange *exchange, const char *bytes,
                            size_t size);

struct http_route {
    const char *method; /* NULL ends a table */
    const char *path;   /* "/a/{name}/b": a name takes one segment, percent-decoded */
    http_handler *begin, *handle;
    size_t body_max; /* of a collected body; more: 413. 0: the server's */
    bool writes;     /* a GET that changes something: HEAD is 405 */
    bool any_case;   /* the path is matched without regard to case */
    const void *row; /* the service's own row for this route: http_row */
};

/* One line of /readyz?verbose: "[+]broker ok", "[-]store failed: …". Must not block for long. */
struct http_check {
    const char *name; /* NULL ends a list */
    bool (*check)(void *context, struct error *err);
};

struct http_options {
    const char *service; /* its name, for GET / */
    const char *host;    /* address to bind; NULL: 127.0.0.1 */
    int port;            /* 0: any free one, see http_port */
    int threads;         /* 0: 2 */
    int connections_max; /* 0: 4096 */
    int deadline_ms;     /* of a request; 0: 30000 */
    int header_ms;       /* for the headers to arrive; 0: 10000 */
    size_t body_max;     /* of a collected body where its route does not say; 0: 64 KiB */
    const char *origins; /* CORS: comma-separated list of allowed origins; NULL: none */
    const struct http_check *checks; /* NULL: always ready */
    struct metrics *metrics;         /* borrowed until http_stop */
};

/* The tables and the context are borrowed until http_stop. */
bool http_start(struct http_server **out, const struct http_options *options,
                const struct http_route *routes, void *context, struct error *err) MUST_CHECK;
int http_port(const struct http_server *server);
void http_unready(struct http_server *server); /* /readyz says 503 from now on: draining */
/* No new connections; waits for running exchanges up to their deadlines, at most 3 s. */
void http_stop(struct http_server *server);
AUTO_DEFINE(struct http_server *, http_stop)

/* ---- the request ---- */

const struct http_route *http_route_of(const struct http_exchange *exchange);
const void *http_row(const struct http_exchange *exchange);
const char *http_parameter(const struct http_exchange *exchange,
                           const char *name);                                   /* of the path */
const char *http_query(const struct http_exchange *exchange, const char *name); /* or NULL */
/* The name of the query's parameter number i, from 0; NULL: there are no more. */
const char *http_query_name(const struct http_exchange *exchange, size_t i);
const char *http_header(const struct http_exchange *exchange, const char *name); /* or NULL */
const char *http_body(const struct http_exchange *exchange, size_t *out_size);
/* True when the Content-Type is this media type, whatever its parameters and case. */
bool http_is(const struct http_exchange *exchange, const char *media_type);
int http_remaining_ms(const struct http_exchange *exchange); /* of the deadline; never negative */
struct arena *http_arena(struct http_exchange *exchange);    /* released with the exchange */

/* Something of the handlers that goes with the exchange. release may be NULL; it runs when the
 * exchange is over, on any thread. */
void http_keep(struct http_exchange *exchange, void *state, void (*release)(void *state));
void *http_kept(const struct http_exchange *exchange);

void http_stream(struct http_exchange *exchange, http_receive *receive); /* only in begin */
void http_continue(struct http_exchange *exchange); /* any thread; after a short receive */
void http_defer(struct http_exchange *exchange);    /* only in handle, before handing over */

/* ---- the reply ---- */

/* Before the reply; name is borrowed for the process, value is copied. */
void http_reply_header(struct http_exchange *exchange, const char *name, const char *value);
void http_reply(struct http_exchange *exchange, int status, const char *type, const void *body,
                size_t size);
/* Takes the buffer's memory over; the buffer is empty afterwards. */
void http_reply_buffer(struct http_exchange *exchange, int status, const char *type,
                       struct buffer *body);
void http_problem(struct http_exchange *exchange, const struct error *err);
/* The same with a status that the error's code does not say. */
void http_problem_status(struct http_exchange *exchange, int status, const struct error *err);

/* Appends the next part of a long body to out, nothing at its end. Runs on the server's threads. */
typedef void http_produce(void *state, struct buffer *out);
/* state is http_kept's and must not be used by others any more. */
void http_reply_stream(struct http_exchange *exchange, int status, const char *type,
                       http_produce *produce);

int http_status_of(const struct error *err); /* what http_problem would answer with */

#define HTTP_JSON "application/json"
#define HTTP_NDJSON "application/x-ndjson"
#define HTTP_PROBLEM "application/problem+json"

#endif
