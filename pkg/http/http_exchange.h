/*
 * http_exchange: one request and its one answer, shared by a server thread, the owner to whom it
 * was handed over, and the watch that looks after deadlines.
 *
 * Who may answer is settled under the lock, once: `answered`. The owner then fills in the answer
 * without the lock, and sets `ready`. The watch, or the server's end, never touches that answer: it
 * sets `verdict`, a status that the server thread turns into a problem. Whoever of them comes
 * first wins; the others' answers are dropped.
 *
 * An exchange that was handed over (`away`) is suspended in libmicrohttpd first, always on the
 * server's thread, so that no resumption can come before its suspension.
 *
 * Ownership  Counted: the server thread has one reference until libmicrohttpd is done with the
 *            request, whoever it was handed to has one until the reply. After the first is gone,
 *            the exchange touches neither server nor connection.
 * Threads    Fields are the server thread's, or, once handed over, the owner's; but for those
 *            that lock guards.
 */
#ifndef HTTP_HTTP_EXCHANGE_H
#define HTTP_HTTP_EXCHANGE_H

#include "http/http_request.h"
#include "http/http_server.h"

#include <pthread.h>
#include <stdatomic.h>

#define HTTP_REPLY_HEADERS_MAX 16

struct MHD_Connection;

enum http_stage {
    HTTP_HEADERS, /* its headers are arriving */
    HTTP_BODY,
    HTTP_HANDLE, /* a handler has it, or it waits for its answer */
    HTTP_SENDING,
};

struct http_answer {
    int status;
    const char *type; /* NULL: no body */
    http_produce *produce;
    struct http_pair headers[HTTP_REPLY_HEADERS_MAX];
    size_t header_count;
    const char *body; /* borrowed from the exchange */
    size_t size;
};

struct http_exchange {
    pthread_mutex_t lock;
    atomic_int references;
    /* These keep their memory from one request of a connection to the next. */
    struct arena *arena;
    struct buffer body, reply, part;

    /* From here on all is zero when a request begins. */
    struct http_server *server;         /* borrowed, until the request is over */
    struct http_connection *connection; /* the same */
    struct http_endpoint *endpoint;     /* NULL: none of the routes */
    const char *template;               /* of a path that has routes, but not for this method */
    int64_t started_ns, deadline_ms;
    struct http_request request;
    http_receive *receive;
    struct MHD_Connection *mhd; /* while in a callback of libmicrohttpd */
    enum http_stage seen;       /* stage, for the server thread, which needs no lock to read it */
    bool counted, parked;
    int64_t received;
    size_t sent; /* of part */
    int status;  /* as answered; 0: not yet */
    struct http_answer answer, refusal;
    void *kept;
    void (*release)(void *kept);

    /* guarded by lock */
    struct MHD_Connection *suspended; /* NULL: libmicrohttpd has it running, or is done with it */
    enum http_stage stage;
    bool answered, ready, away, continued;
    int verdict; /* status; 0: none */
};

/* Takes the spare, or makes a new one. */
struct http_exchange *http_exchange_begin(struct http_exchange *spare);
/* The server thread is done with it. Returns it for the next request when nobody else has it. */
struct http_exchange *http_exchange_over(struct http_exchange *exchange);
void http_exchange_free(struct http_exchange *exchange);

void http_exchange_stage(struct http_exchange *exchange, enum http_stage stage);
/* There is an answer or a verdict. */
bool http_exchange_is_settled(struct http_exchange *exchange);

/* On the server's thread: gives the exchange away and suspends the connection. False when it is to
 * be answered right now instead, because the server ends. */
bool http_exchange_park(struct http_exchange *exchange, struct MHD_Connection *mhd);
/* The same after a short receive; sets *again instead when http_continue has come already. */
bool http_exchange_park_body(struct http_exchange *exchange, struct MHD_Connection *mhd,
                             bool *again);

enum http_expiry { HTTP_EXPIRY_ANSWERED, HTTP_EXPIRY_WAIT, HTTP_EXPIRY_CLOSE };

/* The deadline is over: answers 504 where there is somebody to answer. *out_reason says why the
 * connection is to be closed otherwise. */
enum http_expiry http_exchange_expire(struct http_exchange *exchange, const char **out_reason);
/* The server ends: answers 503 whatever is not answered, and resumes it. */
void http_exchange_abandon(struct http_exchange *exchange);

/* What is to be sent; from then on nothing changes it. */
const struct http_answer *http_exchange_choose(struct http_exchange *exchange);

#endif
