/*
 * store: the facts in PostgreSQL: migrations, batches of rows in, pages of rows out.
 *
 * A store is one connection. It connects when it is first needed and again after it was lost, so
 * store_open succeeds while the server is away; each call then says ERROR_UNAVAILABLE within its
 * timeout, and works again when the server is back.
 *
 * Ownership  Tables, queries and rows are borrowed for the call.
 * Errors     INVALID: the server refused the data (a value it cannot hold): retrying does not help,
 *            the batch was rolled back. UNAVAILABLE: away, shutting down, out of connections or too
 *            slow: it did not happen, or, after a lost connection, it may have (then the same batch
 *            again is harmless: rows are keyed by event id). DENIED: the role may not do that.
 *            INTERNAL: a bug, the message says where. After any of them the store can be used on,
 * but after CLOSED: store_interrupt was called. Threads    One store, one thread, but for
 * store_interrupt. Units      milliseconds; times in rows are since the epoch.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/error.h"
#include "base/json.h"

#include <stdint.h>

struct store;

/* The reason of UNAVAILABLE when the server ended a statement at its timeout: less at once helps.
 */
#define STORE_TOO_SLOW "statement_timeout"

struct store_options {
    const char *name; /* application_name */
    int timeout_ms;   /* of connecting and of every statement; 0: 10000 */
};

bool store_open(struct store **out, const char *url, const struct store_options *options,
                struct error *err) MUST_CHECK;
void store_close(struct store *store);
AUTO_DEFINE(struct store *, store_close)

/* The call that runs, and every later one, ends at once with CLOSED; what was not committed is
 * rolled back. For the end of a process that cannot wait for its statements. Any thread. */
void store_interrupt(struct store *store);

bool store_ping(struct store *store, struct error *err) MUST_CHECK;

/* Applies the embedded migrations that are missing, under an advisory lock. Refuses (CONFLICT) a
 * database that has a migration with another checksum, or a newer one. */
bool store_migrate(struct store *store, int *out_applied, struct error *err) MUST_CHECK;

/* ---- writing ---- */

/* How a column gets its value from the C struct of an event. */
struct store_column {
    const char *name;
    enum json_kind kind; /* of the member */
    size_t offset;
    const char *const *words; /* JSON_ENUM: stored as its word */
    const void *constant;     /* the same for every row, in place of a member; NULL: a member */
};

struct store_table {
    const char *name;                   /* NULL ends a list */
    const struct store_column *columns; /* a NULL name ends; `stream_id` and `traceparent` follow */
    const char *time_column;            /* what it is partitioned by; NULL: it is not */
    const char *function; /* called with the columns as arrays instead of inserting; NULL: none */
    const char *forget;   /* retention of what lies in no partition: a function of (before, most)
                             that deletes about so many rows and returns how many; NULL: none */
};

struct store_row {
    const struct store_table *table; /* NULL: the call's; else one with the same function, whose
                                        columns mean the same one by one */
    const void *event;
    const char *stream_id;   /* where it stood in its stream */
    const char *traceparent; /* NULL: none */
};

/* One transaction, one round trip for all rows; a row whose (id, time) is there already changes
 * nothing. out_inserted: how many are new. */
bool store_insert(struct store *store, const struct store_table *table,
                  const struct store_row *rows, size_t count, size_t *out_inserted,
                  struct error *err) MUST_CHECK;

/* An event that follows from what was stored: `key` is what its id is derived from, the same
 * whenever it follows again. Both live for the call. */
typedef void store_follow(void *context, const char *key, const char *json, size_t size);

struct store_effect {
    store_follow *follow; /* NULL: nobody asks */
    void *context;
    size_t inserted; /* out: how many rows are new */
};

/*
 * As store_insert, for tables with a function too, which keeps facts that depend on each other: it
 * returns rows of (inserted bigint, key text, event json), the first with the number and the rest
 * with the events that follow. It returns all that follow from the rows, whether those are new or
 * not, so that whoever died before he could pass them on has them again. follow is called when the
 * transaction is committed.
 */
bool store_apply(struct store *store, const struct store_table *table, const struct store_row *rows,
                 size_t count, struct store_effect *effect, struct error *err) MUST_CHECK;

/*
 * Makes the daily partitions (UTC) from the day before now_ms to three days after it, and drops
 * those that end before the retention (0: keeps all). Rows outside every partition live in the
 * default one; they move into a partition when it is made and are deleted when both their time and
 * their arrival are before the retention, so that nothing is deleted as soon as it is stored.
 * Then it has the table forget, piece by piece. Of a table that is not partitioned only that.
 *
 * One process at a time does it; for another the call succeeds at once. Inserts wait at most a
 * second for its locks, and inserts of the moving day while rows move. UNAVAILABLE when a lock was
 * not to be had: what was done stays done, the next call goes on.
 */
bool store_maintain(struct store *store, const struct store_table *table, int64_t now_ms,
                    int retention_days, int *out_dropped, struct error *err) MUST_CHECK;

extern const struct store_table store_logs, store_readings, store_parking_entries,
    store_parking_exits, store_parking_summaries, store_weather_results;

/* ---- reading ---- */

enum store_type { STORE_TEXT, STORE_INT, STORE_DOUBLE, STORE_TIME, STORE_ID };

/* A parameter of a query; `present` false is NULL. */
struct store_value {
    bool present;
    enum store_type type;
    const char *text; /* STORE_TEXT */
    int64_t integer;  /* STORE_INT, STORE_TIME */
    double number;    /* STORE_DOUBLE */
    struct id id;     /* STORE_ID */
};

#define STORE_PARAMETERS_MAX 12

/*
 * Which parameters, counted from 1, bound a page of the newest rows. Such a page is looked for in
 * the newest day of its range first, and in all of it only when that day does not fill it: every
 * partition that a query touches costs, whether it has rows or not.
 */
struct store_newest {
    size_t from, to, cursor, limit;
};

/* A prepared statement: a row of a table, run by one function. Results are JSON objects whose
 * member names are the statement's column names. */
struct store_query {
    const char *name; /* of the prepared statement */
    const char *sql;
    enum store_type parameters[STORE_PARAMETERS_MAX];
    size_t parameter_count;
    struct store_newest newest; /* all zero: not such a page */
};

/*
 * Writes each row as one JSON object into the open list (or with `single`, the members of the first
 * row into the open object) of the writer. A column whose name starts with '@' is not written but
 * kept for the cursor: the last row's values of these columns, in order, as text.
 */
struct store_page {
    bool single;
    size_t rows;             /* out */
    struct buffer last_keys; /* out: the '@' columns of the last row, joined by '|'; caller frees */
};

bool store_select(struct store *store, const struct store_query *query,
                  const struct store_value *parameters, struct json_writer *out,
                  struct store_page *page, struct error *err) MUST_CHECK;

/*
 * Parameters in order; `?` may be NULL: any. Ranges are from <= time < to.
 *
 *   logs_page       from? to? level? service? text? cursor_time? cursor_seq? limit
 *                   Newest first; `text` is found in the message, in either case.
 *   logs_summary, logs_levels, logs_services, logs_minutes, logs_top
 *                   from? to? level? service? limit
 *                   error_rate is the share of ERROR and CRITICAL. logs_summary has one row.
 *                   logs_minutes: the newest `limit` minutes, in the order of time.
 *   parking_sessions  plate? garage? open? from? to? cursor_time? cursor_id? limit
 *                   From and to are of the entry; newest first; open is 'true' or 'false'.
 *                   Withdrawn ones are left out.
 *   parking_garage  garage capacity?: one row, how many are in and how many fit
 *   parking_occupancy  limit: how many are in, per garage that has any; the fullest first
 *   parking_hours   garage from? to? limit: per hour that had any, entries and exits
 *   parking_invoices  plate? garage? from? to? cursor_time? cursor_id? limit
 *                   From and to are of the exit; newest first. The last word on each session: of
 *                   the revisions that are stored the highest, and none when that withdraws it.
 *   weather_result  id; one row or none
 *   readings_page   site from? to? device? cursor_time? cursor_id? limit; newest first
 *   readings_stats  site device? from? to? bucket max_gap_seconds? limit
 *
 * The next page starts after the two last_keys of this one. Rows with equal times are ordered by
 * seq or id, so that no page repeats or leaves out a row, whatever is inserted between two pages.
 *
 * readings_stats gives per bucket ('hour' or 'day', UTC; empty ones are left out): from, count,
 * devices, min, avg and max of the readings in W, and energy_kwh by the trapezoidal rule per device
 *
 *     E = sum of (P1 + P2) / 2 * (t2 - t1) / 3,600,000        P in W, t in s
 *
 * over consecutive readings. A gap longer than max_gap_seconds (3600) is not bridged. An interval
 * across a bound, of a bucket or of the range, is cut there, the power at the cut lying on the line
 * between both readings: the last reading before the range and the first after it count for that,
 * so that the energies of adjacent ranges add up.
 */
extern const struct store_query store_logs_page, store_logs_summary, store_logs_levels,
    store_logs_services, store_logs_minutes, store_logs_top, store_readings_page,
    store_readings_stats, store_parking_sessions, store_parking_garage, store_parking_occupancy,
    store_parking_hours, store_parking_invoices, store_weather_result;

#endif
