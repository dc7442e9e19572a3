/*
 * query_pool: threads that may wait for the database and the broker, so that those of the HTTP
 * server never do.
 *
 * A request is handed over with the work that makes its answer. Each thread has its own connection;
 * what all threads are too busy for waits in a queue of limited length. A request whose deadline
 * passed while it waited is answered 504 and its work is not done.
 *
 * When work fails, the client is told what it can do about it; the cause, which names hosts and
 * statements, is for the log: told once by whoever watches the dependency, and here when it is a
 * bug.
 *
 * Ownership  The pool has the exchange from a successful submit until it has replied.
 * Errors     submit: FULL: the queue is full; CLOSED: the pool is stopping. The caller replies.
 * Threads    submit from any thread; work runs on the pool's, one at a time on each store.
 * Units      milliseconds.
 */
#ifndef API_QUERY_POOL_H
#define API_QUERY_POOL_H

#include "base/metrics.h"
#include "http/http.h"
#include "store/store.h"

struct query_pool;

/* Appends the answer, a JSON document. It may look at the exchange and does not reply. */
typedef bool query_work(void *context, struct http_exchange *exchange, struct store *store,
                        struct buffer *out, struct error *err);

struct query_job {
    struct http_exchange *exchange; /* deferred */
    query_work *work;
    void *context; /* lives as long as the exchange, in its arena for one */
};

struct query_pool_options {
    const char *database_url; /* NULL: the work needs no store, and gets NULL */
    int threads;
    int queue_max;
    int timeout_ms;          /* of one statement */
    struct metrics *metrics; /* borrowed */
};

bool query_pool_start(struct query_pool **out, const struct query_pool_options *options,
                      struct error *err) MUST_CHECK;
bool query_pool_submit(struct query_pool *pool, const struct query_job *job,
                       struct error *err) MUST_CHECK;

/* Refuses what is submitted from now on and answers what waits; once drain_ms are over, 503, also
 * to what runs. Returns when the last is answered. Stop the server after it, and free the pool
 * after the server. */
void query_pool_stop(struct query_pool *pool, int drain_ms);
void query_pool_free(struct query_pool *pool); /* stops it at once if that was not done */
AUTO_DEFINE(struct query_pool *, query_pool_free)

#endif
