#include "store/store_connection.h"

#include "base/rfc3339.h"

#include <stdio.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)
#define NAME_SIZE 80
#define DATE_SIZE 9 /* YYYYMMDD */
#define MOVE_TIMEOUT_MS 60000
#define DELETE_ROWS 20000
#define DELETE_ROUNDS 100
#define FORGET_ROWS 2000 /* whoever stores parking events waits meanwhile */

/* Today first: when something stops us half way, it stopped at what matters least. */
static const int days_around[] = {0, 1, 2, 3, -1};

struct day {
    char name[NAME_SIZE]; /* of the partition */
    char from[RFC3339_SIZE], to[RFC3339_SIZE];
};

static struct day day_of(const struct store_table *table, int64_t time_ms)
{
    struct day day;
    int64_t start_ms = time_ms - (time_ms % DAY_MS + DAY_MS) % DAY_MS;

    rfc3339_format(start_ms, day.from);
    rfc3339_format(start_ms + DAY_MS, day.to);
    snprintf(day.name, sizeof(day.name), "%s_p%.4s%.2s%.2s", table->name, day.from, day.from + 5,
             day.from + 8);
    return day;
}

static bool list_partitions(struct store *store, const struct store_table *table, PGresult **out,
                            struct error *err)
{
    char sql[320];

    snprintf(sql, sizeof(sql),
             "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
             " WHERE i.inhparent = '%s'::regclass AND c.relname ~ '^%s_p[0-9]{8}$' ORDER BY 1",
             table->name, table->name);
    return store_command(store, sql, out, err);
}

static bool has_partition(const PGresult *partitions, const char *name)
{
    for (int i = 0; i < PQntuples(partitions); i++)
        if (strcmp(PQgetvalue(partitions, i, 0), name) == 0)
            return true;
    return false;
}

/*
 * Rows that wait in the default partition forbid a partition for their day: they move first, and
 * nobody may add one meanwhile. Rows for other partitions pass: an insert locks only what it needs.
 */
static bool make_partition(struct store *store, const struct store_table *table,
                           const struct day *day, struct error *err)
{
    AUTO(buffer_free) struct buffer sql = {0};

    buffer_print(&sql, "BEGIN; SET LOCAL lock_timeout = 1000; SET LOCAL statement_timeout = %d;",
                 MOVE_TIMEOUT_MS);
    buffer_print(&sql, "LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE;", table->name);
    buffer_print(&sql, "LOCK TABLE %s_default IN ACCESS EXCLUSIVE MODE;", table->name);
    buffer_print(&sql, "CREATE TABLE %s (LIKE %s INCLUDING ALL);", day->name, table->name);
    buffer_print(&sql,
                 "WITH moved AS (DELETE FROM %s_default WHERE %s >= '%s' AND %s < '%s' RETURNING *)"
                 " INSERT INTO %s SELECT * FROM moved;",
                 table->name, table->time_column, day->from, table->time_column, day->to,
                 day->name);
    buffer_print(&sql, "ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s');COMMIT",
                 table->name, day->name, day->from, day->to);
    return (store_begin(store, MOVE_TIMEOUT_MS, err) &&
            store_command(store, sql.data, NULL, err)) ||
           error_wrap(err, "make partition %s", day->name);
}

static bool make_partitions(struct store *store, const struct store_table *table, int64_t now_ms,
                            const PGresult *partitions, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(days_around); i++) {
        struct day day = day_of(table, now_ms + days_around[i] * DAY_MS);
        if (!has_partition(partitions, day.name) && !make_partition(store, table, &day, err))
            return false;
    }
    return true;
}

/* Dropping locks the whole table; inserts queue behind us no longer than the lock_timeout. */
static bool drop_partition(struct store *store, const char *name, struct error *err)
{
    char sql[160];

    snprintf(sql, sizeof(sql), "BEGIN; SET LOCAL lock_timeout = 500; DROP TABLE %s; COMMIT", name);
    return (store_begin(store, store->timeout_ms, err) && store_command(store, sql, NULL, err)) ||
           error_wrap(err, "drop partition %s", name);
}

static bool drop_partitions(struct store *store, const char *first_kept, const PGresult *partitions,
                            int *out_dropped, struct error *err)
{
    for (int i = 0; i < PQntuples(partitions); i++) {
        const char *name = PQgetvalue(partitions, i, 0);
        if (strcmp(name, first_kept) >= 0)
            continue;
        if (!drop_partition(store, name, err))
            return false;
        (*out_dropped)++;
    }
    return true;
}

/* An event that was old when it came is kept as long as one that was new: its retention counts from
 * its arrival. In pieces, so that no statement runs long; what is left after all rounds waits for
 * the next call.
 */
static bool delete_from_default(struct store *store, const struct store_table *table,
                                int64_t before_ms, struct error *err)
{
    char sql[400], before[RFC3339_SIZE];
    bool more = true;

    rfc3339_format(before_ms, before);
    snprintf(sql, sizeof(sql),
             "DELETE FROM %s_default WHERE ctid = ANY (ARRAY("
             "SELECT ctid FROM %s_default WHERE %s < '%s' AND stored_at < '%s' LIMIT %d))",
             table->name, table->name, table->time_column, before, before, DELETE_ROWS);
    for (int i = 0; i < DELETE_ROUNDS && more; i++) {
        AUTO(PQclear) PGresult *deleted = NULL;
        if (!store_begin(store, store->timeout_ms, err) ||
            !store_command(store, sql, &deleted, err))
            return error_wrap(err, "delete old rows");
        more = strcmp(PQcmdTuples(deleted), "0") != 0;
    }
    return true;
}

/* As delete_from_default does: in pieces, and the rest next time. */
static bool forget(struct store *store, const struct store_table *table, int64_t before_ms,
                   struct error *err)
{
    char sql[160], before[RFC3339_SIZE];
    bool more = true;

    rfc3339_format(before_ms, before);
    snprintf(sql, sizeof(sql), "SELECT %s('%s', %d)", table->forget, before, FORGET_ROWS);
    for (int i = 0; i < DELETE_ROUNDS && more; i++) {
        AUTO(PQclear) PGresult *forgotten = NULL;
        if (!store_begin(store, store->timeout_ms, err) ||
            !store_command(store, sql, &forgotten, err))
            return error_wrap(err, "forget old rows");
        more = strcmp(PQgetvalue(forgotten, 0, 0), "0") != 0;
    }
    return true;
}

static bool maintain_partitions(struct store *store, const struct store_table *table,
                                int64_t now_ms, int retention_days, int *out_dropped,
                                struct error *err)
{
    AUTO(PQclear) PGresult *partitions = NULL;

    if (!list_partitions(store, table, &partitions, err) ||
        !make_partitions(store, table, now_ms, partitions, err))
        return false;
    if (retention_days <= 0)
        return true;
    int64_t before_ms = now_ms - retention_days * DAY_MS;
    struct day first_kept = day_of(table, before_ms);
    return drop_partitions(store, first_kept.name, partitions, out_dropped, err) &&
           delete_from_default(store, table, before_ms, err);
}

static bool maintain(struct store *store, const struct store_table *table, int64_t now_ms,
                     int retention_days, int *out_dropped, struct error *err)
{
    if (table->time_column &&
        !maintain_partitions(store, table, now_ms, retention_days, out_dropped, err))
        return false;
    return !table->forget || retention_days <= 0 ||
           forget(store, table, now_ms - retention_days * DAY_MS, err);
}

/* One process at a time; who comes meanwhile finds the work in good hands. */
static bool try_lock(struct store *store, const struct store_table *table, bool *out_locked,
                     struct error *err)
{
    char sql[160];
    AUTO(PQclear) PGresult *result = NULL;

    snprintf(sql, sizeof(sql), "SELECT pg_try_advisory_lock(hashtext('millrace'), hashtext('%s'))",
             table->name);
    if (!store_begin(store, store->timeout_ms, err) || !store_command(store, sql, &result, err))
        return false;
    *out_locked = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    return true;
}

bool store_maintain(struct store *store, const struct store_table *table, int64_t now_ms,
                    int retention_days, int *out_dropped, struct error *err)
{
    bool locked = false;
    struct error ignored; /* of the unlocking: the lock ends with the connection anyway */

    *out_dropped = 0;
    if (!try_lock(store, table, &locked, err))
        return error_wrap(err, "maintain %s", table->name);
    if (!locked)
        return true;
    bool done = maintain(store, table, now_ms, retention_days, out_dropped, err);
    store_rollback(store);
    if (store->connection &&
        !store_command(store, "SELECT pg_advisory_unlock_all()", NULL, &ignored))
        store_disconnect(store);
    return done || error_wrap(err, "maintain %s", table->name);
}
