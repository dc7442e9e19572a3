#include "store/examine.h"

#include "store/migrations.h"
#include "store/store_connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const settings_sql =
    "SELECT current_setting('server_version'), current_setting('synchronous_commit'),"
    " coalesce(current_setting('synchronous_standby_names', true), ''), current_setting('fsync'),"
    " current_setting('full_page_writes'), pg_is_in_recovery(),"
    " (extract(epoch FROM clock_timestamp()) * 1000)::bigint,"
    " to_regclass('schema_migrations') IS NOT NULL";

static const char *const applied_sql =
    "SELECT version, checksum FROM schema_migrations ORDER BY version";

static bool is_on(const char *text)
{
    return strcmp(text, "on") == 0 || strcmp(text, "t") == 0;
}

static bool read_settings(struct store *store, struct store_examination *out, bool *out_migrated,
                          struct error *err)
{
    AUTO(PQclear) PGresult *row = NULL;

    if (!store_begin(store, store->timeout_ms, err) ||
        !store_command(store, settings_sql, &row, err))
        return false;
    if (PQntuples(row) != 1)
        return error_set(err, ERROR_INTERNAL, "the settings are not one row");
    snprintf(out->version, sizeof(out->version), "%s", PQgetvalue(row, 0, 0));
    snprintf(out->synchronous_commit, sizeof(out->synchronous_commit), "%s", PQgetvalue(row, 0, 1));
    snprintf(out->standbys, sizeof(out->standbys), "%s", PQgetvalue(row, 0, 2));
    out->fsync = is_on(PQgetvalue(row, 0, 3));
    out->full_page_writes = is_on(PQgetvalue(row, 0, 4));
    out->in_recovery = is_on(PQgetvalue(row, 0, 5));
    out->clock_ms = strtoll(PQgetvalue(row, 0, 6), NULL, 10);
    *out_migrated = is_on(PQgetvalue(row, 0, 7));
    return true;
}

static int count_known(void)
{
    int count = 0;

    while (migrations[count].version)
        count++;
    return count;
}

static bool is_ours(const PGresult *applied, int known)
{
    int count = PQntuples(applied);

    for (int i = 0; i < count; i++)
        if (i >= known || strtol(PQgetvalue(applied, i, 0), NULL, 10) != migrations[i].version ||
            strcmp(PQgetvalue(applied, i, 1), migrations[i].checksum) != 0)
            return false;
    return true;
}

static bool read_schema(struct store *store, struct store_examination *out, struct error *err)
{
    AUTO(PQclear) PGresult *applied = NULL;

    if (!store_command(store, applied_sql, &applied, err))
        return false;
    out->applied = PQntuples(applied);
    if (!is_ours(applied, out->known))
        out->schema = STORE_SCHEMA_STRANGE;
    else if (out->applied == 0)
        out->schema = STORE_SCHEMA_NONE;
    else
        out->schema = out->applied < out->known ? STORE_SCHEMA_BEHIND : STORE_SCHEMA_CURRENT;
    return true;
}

bool store_examine(struct store *store, struct store_examination *out, struct error *err)
{
    bool migrated = false;

    *out = (struct store_examination){.known = count_known()};
    if (read_settings(store, out, &migrated, err) && (!migrated || read_schema(store, out, err)))
        return true;
    return error_wrap(err, "examine the store");
}
