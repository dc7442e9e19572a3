/*
 * examine: what a person has to know about a PostgreSQL: where and which it is, which durability a
 * commit has there, and whether its schema is ours.
 *
 * Errors     As store.h has them. What the role may not see is left empty.
 * Units      milliseconds since the epoch.
 */
#ifndef STORE_EXAMINE_H
#define STORE_EXAMINE_H

#include "store/store.h"

enum store_schema {
    STORE_SCHEMA_NONE,    /* no migration was ever applied */
    STORE_SCHEMA_BEHIND,  /* some of ours are missing */
    STORE_SCHEMA_CURRENT, /* all of ours, and no others */
    STORE_SCHEMA_STRANGE, /* one that we do not know, or know otherwise */
};

struct store_examination {
    char version[48];            /* "15.6 (Debian …)" */
    char synchronous_commit[16]; /* "on", "off", "local", "remote_write", "remote_apply" */
    char standbys[128];          /* synchronous_standby_names; "": none */
    bool fsync, full_page_writes;
    bool in_recovery; /* a standby: it takes no writes */
    int64_t clock_ms; /* the server's, when it answered */
    enum store_schema schema;
    int applied, known; /* migrations: there, and in this program */
};

bool store_examine(struct store *store, struct store_examination *out,
                   struct error *err) MUST_CHECK;

#endif
