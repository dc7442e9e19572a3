#include "doctor.h"

#include "store/examine.h"

#include <stdlib.h>
#include <string.h>

#define SKEW_NOTICE_MS 1000
#define OLDEST_VERSION 15

static void see_clock(struct doctor *doctor, int64_t skew_ms)
{
    long long far_ms = llabs((long long)skew_ms);

    if (far_ms <= SKEW_NOTICE_MS)
        doctor_find(doctor, BROKER_FINE, "postgresql_clock", "",
                    "it agrees with ours within %lld ms", far_ms + 1);
    else
        doctor_find(doctor, BROKER_NOTICE, "postgresql_clock",
                    "synchronise the clocks of both machines (NTP)", "it is %lld ms %s ours",
                    far_ms, skew_ms < 0 ? "behind" : "ahead of");
}

/* What a commit that was acknowledged means, by synchronous_commit. */
static const struct meaning {
    const char *value;
    enum broker_grade grade;
    bool needs_standby; /* without one it is as "on" */
    const char *fact, *remedy;
} meanings[] = {
    {"off", BROKER_WRONG, false,
     "synchronous_commit is off: a crash loses commits of the last moments, whose messages are "
     "settled already",
     "set synchronous_commit = on for the database or the role"},
    {"local", BROKER_FINE, false, "a commit that is acknowledged is on this server's disk", ""},
    {"remote_write", BROKER_FINE, true,
     "a commit that is acknowledged is on this server's disk and in a standby's memory", ""},
    {"remote_apply", BROKER_FINE, true,
     "a commit that is acknowledged is on the disks of this server and a standby, and seen there",
     ""},
    {"on", BROKER_FINE, true,
     "a commit that is acknowledged is on the disks of this server and a standby", ""},
};

static const struct meaning on_alone = {
    "on", BROKER_FINE, false, "a commit that is acknowledged is on this server's disk", ""};

static const struct meaning *meaning_of(const struct store_examination *found)
{
    for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
        if (strcmp(meanings[i].value, found->synchronous_commit) == 0)
            return meanings[i].needs_standby && !*found->standbys ? &on_alone : &meanings[i];
    return &on_alone;
}

static void see_durability(struct doctor *doctor, const struct store_examination *found)
{
    const struct meaning *meaning = meaning_of(found);

    if (!found->fsync)
        doctor_find(doctor, BROKER_WRONG, "postgresql_durability", "set fsync = on",
                    "fsync is off: when the machine crashes, commits are lost and the database "
                    "may be damaged");
    else
        doctor_find(doctor, meaning->grade, "postgresql_durability", meaning->remedy, "%s",
                    meaning->fact);
    if (!found->full_page_writes)
        doctor_find(doctor, BROKER_WRONG, "postgresql_durability", "set full_page_writes = on",
                    "full_page_writes is off: a page that was half written in a power cut stays "
                    "damaged");
}

static void see_version(struct doctor *doctor, const struct store_examination *found)
{
    bool old = strtol(found->version, NULL, 10) < OLDEST_VERSION;

    doctor_find(doctor, old ? BROKER_NOTICE : BROKER_FINE, "postgresql",
                old ? "use PostgreSQL 15 or later" : "", "PostgreSQL %s answers", found->version);
    if (found->in_recovery)
        doctor_find(doctor, BROKER_WRONG, "postgresql", "let DATABASE_URL name the primary",
                    "it is a standby: nothing can be stored");
}

static void see_schema(struct doctor *doctor, const struct store_examination *found)
{
    switch (found->schema) {
    case STORE_SCHEMA_CURRENT:
        doctor_find(doctor, BROKER_FINE, "postgresql_schema", "", "all %d migrations are applied",
                    found->known);
        return;
    case STORE_SCHEMA_NONE:
    case STORE_SCHEMA_BEHIND:
        doctor_find(doctor, BROKER_WRONG, "postgresql_schema", "start the processor: it migrates",
                    "%d of %d migrations are applied", found->applied, found->known);
        return;
    case STORE_SCHEMA_STRANGE:
        doctor_find(doctor, BROKER_WRONG, "postgresql_schema",
                    "use the version of millrace that migrated it, or another database",
                    "the database has migrations that this program does not know");
        return;
    }
}

/* The connection is made by now, so that the answer takes no longer than it must. */
static bool examine(struct store *store, struct store_examination *out, int64_t *out_skew_ms,
                    struct error *err)
{
    if (!store_ping(store, err))
        return false;
    int64_t before_ms = clock_wall_ms(clock_system());
    if (!store_examine(store, out, err))
        return false;
    int64_t after_ms = clock_wall_ms(clock_system());
    if (out->clock_ms < before_ms)
        *out_skew_ms = out->clock_ms - before_ms;
    else
        *out_skew_ms = out->clock_ms > after_ms ? out->clock_ms - after_ms : 0;
    return true;
}

void doctor_see_store(struct doctor *doctor)
{
    const struct options *options = doctor->context->options;
    const struct store_options store_options = {.name = "millrace doctor",
                                                .timeout_ms = options->timeout_ms};
    AUTO(store_close) struct store *store = NULL;
    struct store_examination found;
    struct error err;
    int64_t skew_ms;

    if (!store_open(&store, options->database_url, &store_options, &err) ||
        !examine(store, &found, &skew_ms, &err)) {
        doctor_find_error(doctor, "postgresql",
                          "start it, or say where it is: --database, DATABASE_URL", &err);
        return;
    }
    see_version(doctor, &found);
    see_durability(doctor, &found);
    see_schema(doctor, &found);
    see_clock(doctor, skew_ms);
}
