/*
 * store_connection: the one place where the store waits for the server.
 *
 * libpq is used without blocking: every wait ends at the deadline that store_begin set, and a
 * connection that overran it is dropped, since what it would say next is no longer known. The
 * server is told a slightly shorter statement_timeout, so that a slow statement usually ends there
 * and the connection stays.
 *
 * Looking up a host name is left to the resolver and its own limits.
 */
#ifndef STORE_STORE_CONNECTION_H
#define STORE_STORE_CONNECTION_H

#include "store/store.h"

#include <libpq-fe.h>

#define STORE_COLUMNS_MAX 24
#define STORE_PREPARED_MAX 64
#define STORE_SQLSTATE_SIZE 6

struct store {
    char *url, *name;
    int timeout_ms;
    int interruption;                   /* an eventfd, readable from store_interrupt on */
    PGconn *connection;                 /* NULL: not connected */
    int64_t deadline_ms;                /* steady; of the call that runs */
    int64_t next_attempt_ms;            /* steady; before it no new connection is tried */
    struct error refusal;               /* why the last attempt failed */
    char sqlstate[STORE_SQLSTATE_SIZE]; /* of the last statement that the server refused, or "" */
    int parameter;                      /* which it complained about, from 1; 0: not known */
    char *prepared[STORE_PREPARED_MAX]; /* names on this connection */
    size_t prepared_count;
    struct buffer arrays[STORE_COLUMNS_MAX], sql; /* of store_insert, kept for their memory */
};

/* A prepared statement with its parameters, all binary, and the result. */
struct store_statement {
    const char *name, *sql;
    size_t count;
    const char *values[STORE_COLUMNS_MAX]; /* NULL: NULL */
    int lengths[STORE_COLUMNS_MAX];
};

static inline void auto_PQclear(PGresult **result)
{
    PQclear(*result);
}

/* Starts a call: sets its deadline and makes sure that there is a connection. */
bool store_begin(struct store *store, int timeout_ms, struct error *err) MUST_CHECK;

/* Prepares it on this connection if that was not yet done, and runs it. The caller PQclears *out.
 */
bool store_execute(struct store *store, const struct store_statement *statement, PGresult **out,
                   struct error *err) MUST_CHECK;

/* Runs SQL text of one or more statements; out may be NULL. */
bool store_command(struct store *store, const char *sql, PGresult **out,
                   struct error *err) MUST_CHECK;

void store_disconnect(struct store *store);

/* Ends a transaction that failed; whatever happens, none is open afterwards. */
void store_rollback(struct store *store);

/* Milliseconds since 1970 in the server's microseconds since 2000; false: cannot be counted. */
bool store_time_to_server(int64_t time_ms, int64_t *out) MUST_CHECK;
int64_t store_time_from_server(int64_t microseconds); /* cut to milliseconds */

#endif
