#include "store/store_connection.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TIMEOUT_MS 10000
#define ATTEMPT_INTERVAL_MS                                                                        \
    250 /* between two connections: a server that restarts is not stormed                          \
         */
#define SERVER_EPOCH_MS INT64_C(946684800000) /* 2000-01-01 */

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

bool store_time_to_server(int64_t time_ms, int64_t *out)
{
    return !__builtin_sub_overflow(time_ms, SERVER_EPOCH_MS, out) &&
           !__builtin_mul_overflow(*out, INT64_C(1000), out);
}

int64_t store_time_from_server(int64_t microseconds)
{
    int64_t cut = microseconds / 1000 - (microseconds % 1000 < 0);

    return cut + SERVER_EPOCH_MS;
}

void store_disconnect(struct store *store)
{
    PQfinish(store->connection);
    store->connection = NULL;
    while (store->prepared_count)
        free(store->prepared[--store->prepared_count]);
}

/* What libpq says has line ends within and after. */
static bool set_from_connection(struct store *store, const char *what, struct error *err)
{
    error_set(err, ERROR_UNAVAILABLE, "%s: %s", what, PQerrorMessage(store->connection));
    for (char *end = err->message + strlen(err->message); end > err->message && end[-1] == '\n';)
        *--end = '\0';
    for (char *at = err->message; *at; at++)
        if (*at == '\n' || *at == '\t')
            *at = ' ';
    return false;
}

static bool lost(struct store *store, struct error *err)
{
    set_from_connection(store, "lost the connection", err);
    store_disconnect(store);
    return false;
}

static bool refuse_interrupted(struct store *store, struct error *err)
{
    store_disconnect(store);
    return error_set(err, ERROR_CLOSED, "interrupted");
}

/* True when the socket is ready for one of the events before the deadline. */
static bool wait_socket(struct store *store, short events, struct error *err)
{
    struct pollfd polled[] = {{.fd = PQsocket(store->connection), .events = events},
                              {.fd = store->interruption, .events = POLLIN}};
    int64_t left_ms = store->deadline_ms - now_ms();
    int ready = left_ms > 0 ? poll(polled, ARRAY_LEN(polled), (int)left_ms) : 0;

    if (ready > 0 && polled[1].revents)
        return refuse_interrupted(store, err);
    if (ready != 0)
        return true; /* also EINTR: the caller asks libpq and comes back */
    store_disconnect(store);
    return error_set(err, ERROR_UNAVAILABLE, "no answer within %d ms", store->timeout_ms);
}

static bool is_interrupted(const struct store *store)
{
    struct pollfd interruption = {.fd = store->interruption, .events = POLLIN};

    return poll(&interruption, 1, 0) > 0;
}

static void ignore_notice(void *context, const PGresult *result)
{
    (void)context; /* libpq would print it on stderr */
    (void)result;
}

static bool start_connection(struct store *store, struct error *err)
{
    char user_timeout[16];
    snprintf(user_timeout, sizeof(user_timeout), "%d", store->timeout_ms);
    /* The last of equal keywords counts, so the URL may change what stands before it. */
    const char *keywords[] = {
        "fallback_application_name", "tcp_user_timeout", "keepalives_idle", "keepalives_interval",
        "keepalives_count",          "dbname",           "client_encoding", NULL};
    const char *values[] = {store->name, user_timeout, "10", "5", "3", store->url, "UTF8", NULL};

    store->connection = PQconnectStartParams(keywords, values, 1);
    if (!store->connection)
        return error_set(err, ERROR_UNAVAILABLE, "connect: out of memory");
    PQsetNoticeReceiver(store->connection, ignore_notice, NULL);
    if (PQstatus(store->connection) == CONNECTION_BAD)
        return set_from_connection(store, "connect", err);
    return true;
}

static bool finish_connection(struct store *store, struct error *err)
{
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;

    while (state == PGRES_POLLING_READING || state == PGRES_POLLING_WRITING) {
        if (!wait_socket(store, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, err))
            return error_wrap(err, "connect");
        state = PQconnectPoll(store->connection);
    }
    if (state != PGRES_POLLING_OK || PQsetnonblocking(store->connection, 1) != 0)
        return set_from_connection(store, "connect", err);
    return true;
}

/*
 * Generic plans: planning a query over dozens of partitions costs more than running it. Every
 * statement of the store is written so that its generic plan prunes and uses the index.
 */
static bool set_session(struct store *store, struct error *err)
{
    char sql[256];

    snprintf(sql, sizeof(sql),
             "SET timezone = 'UTC'; SET statement_timeout = %d;"
             "SET idle_in_transaction_session_timeout = %d;"
             "SET plan_cache_mode = force_generic_plan; SET jit = off",
             store->timeout_ms - store->timeout_ms / 10, store->timeout_ms);
    return store_command(store, sql, NULL, err);
}

static bool connect_now(struct store *store, struct error *err)
{
    if (now_ms() < store->next_attempt_ms) {
        *err = store->refusal;
        return false;
    }
    if (start_connection(store, err) && finish_connection(store, err) && set_session(store, err))
        return true;
    store_disconnect(store);
    if (err->code == ERROR_CLOSED)
        return false;
    store->next_attempt_ms = now_ms() + ATTEMPT_INTERVAL_MS;
    err->code = ERROR_UNAVAILABLE;
    store->refusal = *err;
    return false;
}

/* A server that went away while we were idle has said so already. */
static bool is_alive(struct store *store)
{
    struct pollfd socket = {.fd = PQsocket(store->connection), .events = POLLIN};

    for (int i = 0; i < 4 && poll(&socket, 1, 0) > 0; i++)
        if (!PQconsumeInput(store->connection))
            return false;
    return PQstatus(store->connection) == CONNECTION_OK;
}

bool store_begin(struct store *store, int timeout_ms, struct error *err)
{
    store->deadline_ms = now_ms() + timeout_ms;
    if (is_interrupted(store))
        return refuse_interrupted(store, err);
    if (store->connection && !is_alive(store))
        store_disconnect(store);
    return store->connection || connect_now(store, err);
}

/* ---- statements ---- */

struct verdict {
    const char *prefix; /* of the SQLSTATE */
    enum error_code code;
    bool leave; /* this connection will not do it any more, another may */
};

/* PostgreSQL, appendix A. The first that fits counts. */
static const struct verdict verdicts[] = {
    {"0A000", ERROR_UNAVAILABLE, true}, /* a migration changed what a prepared statement returns */
    {"25006", ERROR_UNAVAILABLE, true}, /* a standby: another server is the primary now */
    {"25P", ERROR_UNAVAILABLE, true},   /* idle too long in a transaction */
    {"42501", ERROR_DENIED, false},
    {"42P01", ERROR_UNAVAILABLE, false}, /* no such table or column: migrations are to come */
    {"42703", ERROR_UNAVAILABLE, false},
    {"08", ERROR_UNAVAILABLE, false},
    {"22", ERROR_INVALID, false},
    {"23", ERROR_INVALID, false},
    {"28", ERROR_DENIED, false},
    {"40", ERROR_UNAVAILABLE, false}, /* serialization, deadlock */
    {"53", ERROR_UNAVAILABLE, false}, /* disk full, too many connections */
    {"54", ERROR_INVALID, false},     /* a value too long for an index */
    {"55", ERROR_UNAVAILABLE, false}, /* lock not available in time */
    {"57", ERROR_UNAVAILABLE, false}, /* cancelled as too slow, shutting down, starting */
    {"58", ERROR_UNAVAILABLE, false}, /* the server's disk or system */
    {"", ERROR_INTERNAL, false},
};

static const struct verdict *verdict_of(const char *sqlstate)
{
    const struct verdict *verdict = verdicts;

    while (strncmp(sqlstate, verdict->prefix, strlen(verdict->prefix)) != 0)
        verdict++;
    return verdict;
}

static const char *field_of(const PGresult *result, int code)
{
    const char *text = PQresultErrorField(result, code);

    return text ? text : "";
}

/* "… parameter $3": where the server was when it could not read a value. */
static int parameter_of(const PGresult *result)
{
    const char *found = strstr(field_of(result, PG_DIAG_CONTEXT), "parameter $");

    return found ? (int)strtol(found + strlen("parameter $"), NULL, 10) : 0;
}

static bool refused(struct store *store, const PGresult *result, struct error *err)
{
    const char *sqlstate = field_of(result, PG_DIAG_SQLSTATE);
    const char *detail = field_of(result, PG_DIAG_MESSAGE_DETAIL);
    const struct verdict *verdict = verdict_of(sqlstate);

    snprintf(store->sqlstate, sizeof(store->sqlstate), "%s", sqlstate);
    store->parameter = parameter_of(result);
    error_set(err, verdict->code, "%s%s%s (SQLSTATE %s)", field_of(result, PG_DIAG_MESSAGE_PRIMARY),
              *detail ? ": " : "", detail, sqlstate);
    if (strcmp(sqlstate, "57014") == 0) /* query_canceled */
        err->reason = STORE_TOO_SLOW;
    if (verdict->leave)
        store_disconnect(store);
    return false;
}

/* Sends what is left and waits for the next result, which PQgetResult then gives at once. */
static bool wait_result(struct store *store, struct error *err)
{
    for (;;) {
        int unsent = PQflush(store->connection);
        if (unsent < 0)
            return lost(store, err);
        if (!unsent && !PQisBusy(store->connection))
            return true;
        if (!wait_socket(store, unsent ? POLLIN | POLLOUT : POLLIN, err))
            return false;
        if (!PQconsumeInput(store->connection))
            return lost(store, err);
    }
}

static bool is_failure(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK;
}

/* Takes every result of what was sent. Keeps the first failure, or else the last result. */
static bool collect(struct store *store, bool sent, PGresult **out, struct error *err)
{
    AUTO(PQclear) PGresult *kept = NULL;

    if (!sent)
        return lost(store, err);
    for (;;) {
        if (!wait_result(store, err))
            return false;
        PGresult *next = PQgetResult(store->connection);
        if (!next)
            break;
        bool keep = !kept || !is_failure(kept);
        PQclear(keep ? kept : next);
        kept = keep ? next : kept;
    }
    if (PQstatus(store->connection) == CONNECTION_BAD)
        return lost(store, err);
    if (!kept || is_failure(kept))
        return refused(store, kept, err);
    if (out) {
        *out = kept;
        kept = NULL;
    }
    return true;
}

bool store_command(struct store *store, const char *sql, PGresult **out, struct error *err)
{
    return collect(store, PQsendQuery(store->connection, sql), out, err);
}

static bool is_prepared(const struct store *store, const char *name)
{
    for (size_t i = 0; i < store->prepared_count; i++)
        if (strcmp(store->prepared[i], name) == 0)
            return true;
    return false;
}

static bool prepare(struct store *store, const struct store_statement *statement, struct error *err)
{
    if (is_prepared(store, statement->name))
        return true;
    if (store->prepared_count == STORE_PREPARED_MAX)
        return error_set(err, ERROR_INTERNAL, "more than %d statements", STORE_PREPARED_MAX);
    bool sent = PQsendPrepare(store->connection, statement->name, statement->sql, 0, NULL);
    if (!collect(store, sent, NULL, err))
        return error_wrap(err, "prepare");
    store->prepared[store->prepared_count++] = memory_text(statement->name);
    return true;
}

bool store_execute(struct store *store, const struct store_statement *statement, PGresult **out,
                   struct error *err)
{
    int formats[STORE_COLUMNS_MAX];

    for (size_t i = 0; i < statement->count; i++)
        formats[i] = 1;
    store->sqlstate[0] = '\0';
    store->parameter = 0;
    if (!prepare(store, statement, err))
        return false;
    bool sent = PQsendQueryPrepared(store->connection, statement->name, (int)statement->count,
                                    statement->values, statement->lengths, formats, 1);
    return collect(store, sent, out, err);
}

void store_rollback(struct store *store)
{
    struct error ignored;

    if (!store->connection || PQtransactionStatus(store->connection) == PQTRANS_IDLE)
        return;
    store->deadline_ms = now_ms() + store->timeout_ms;
    if (!store_command(store, "ROLLBACK", NULL, &ignored))
        store_disconnect(store);
}

/* ---- life ---- */

/* Without quoting it: what cannot be read may well hold a password. */
static bool is_url(const char *url)
{
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    bool readable = options != NULL;

    for (PQconninfoOption *option = options; option && option->keyword; option++)
        if (option->val && strcmp(option->keyword, "port") == 0)
            readable = strspn(option->val, "0123456789,") == strlen(option->val);
    PQconninfoFree(options);
    return readable;
}

bool store_open(struct store **out, const char *url, const struct store_options *options,
                struct error *err)
{
    if (!is_url(url))
        return error_set(err, ERROR_INVALID,
                         "the store's URL is not of the form postgresql://user@host:port/database");
    int interruption = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (interruption < 0)
        return error_set(err, ERROR_INTERNAL, "open the store: %s", strerror(errno));

    struct store *store = memory_alloc(sizeof(*store));
    store->interruption = interruption;
    store->url = memory_text(url);
    store->name = memory_text(options->name ? options->name : "millrace");
    store->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : TIMEOUT_MS;
    *out = store;
    return true;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    store_disconnect(store);
    close(store->interruption);
    for (size_t i = 0; i < STORE_COLUMNS_MAX; i++)
        buffer_free(&store->arrays[i]);
    buffer_free(&store->sql);
    free(store->url);
    free(store->name);
    free(store);
}

void store_interrupt(struct store *store)
{
    /* It cannot fail: a counter that is full would be readable all the same. */
    (void)!eventfd_write(store->interruption, 1);
}

bool store_ping(struct store *store, struct error *err)
{
    if (store_begin(store, store->timeout_ms, err) && store_command(store, "SELECT 1", NULL, err))
        return true;
    return error_wrap(err, "ping the store");
}
