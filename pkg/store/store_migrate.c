#include "store/migrations.h"
#include "store/store_connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIGRATION_TIMEOUT_MS 600000 /* it may have to index what is there */

/* Held by the transaction, so that a process which dies while it migrates leaves nothing locked. */
static const char *const start_sql =
    "BEGIN; SELECT pg_advisory_xact_lock(hashtext('millrace'), hashtext('schema_migrations'));"
    "CREATE TABLE IF NOT EXISTS schema_migrations (version int PRIMARY KEY, name text NOT NULL,"
    " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());"
    "SELECT version, checksum, name FROM schema_migrations ORDER BY version";

/* Is what the database has the beginning of what we have? */
static bool check_applied(const PGresult *applied, struct error *err)
{
    for (int i = 0; i < PQntuples(applied); i++) {
        const struct migration *known = &migrations[i];
        const char *version = PQgetvalue(applied, i, 0);
        const char *name = PQgetvalue(applied, i, 2);

        if (!known->version)
            return error_set(err, ERROR_CONFLICT,
                             "the database has migration %s '%s', which this program does not know",
                             version, name);
        if (strtol(version, NULL, 10) != known->version)
            return error_set(err, ERROR_CONFLICT,
                             "the database has migration %s '%s' instead of %d", version, name,
                             known->version);
        if (strcmp(PQgetvalue(applied, i, 1), known->checksum) != 0)
            return error_set(err, ERROR_CONFLICT,
                             "the database has another version of migration %s '%s'", version,
                             name);
    }
    return true;
}

static bool apply(struct store *store, const struct migration *migration, struct error *err)
{
    char sql[256];

    store->deadline_ms += MIGRATION_TIMEOUT_MS;
    snprintf(sql, sizeof(sql), "SET LOCAL statement_timeout = %d", MIGRATION_TIMEOUT_MS);
    if (!store_command(store, sql, NULL, err) || !store_command(store, migration->sql, NULL, err))
        return error_wrap(err, "migration %d '%s'", migration->version, migration->name);

    snprintf(sql, sizeof(sql),
             "INSERT INTO schema_migrations (version, name, checksum) VALUES (%d, '%s', '%s')",
             migration->version, migration->name, migration->checksum);
    return store_command(store, sql, NULL, err);
}

/* Applies the first that is missing; *out_done: there was none. */
static bool apply_next(struct store *store, bool *out_done, struct error *err)
{
    AUTO(PQclear) PGresult *applied = NULL;

    if (!store_begin(store, store->timeout_ms, err) ||
        !store_command(store, start_sql, &applied, err) || !check_applied(applied, err))
        return false;

    const struct migration *next = &migrations[PQntuples(applied)];
    *out_done = !next->version;
    return (*out_done || apply(store, next, err)) && store_command(store, "COMMIT", NULL, err);
}

bool store_migrate(struct store *store, int *out_applied, struct error *err)
{
    bool done = false;

    for (*out_applied = 0; !done; *out_applied += !done) {
        if (!apply_next(store, &done, err)) {
            store_rollback(store);
            return error_wrap(err, "migrate the store");
        }
    }
    return true;
}
