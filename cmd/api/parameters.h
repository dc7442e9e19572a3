/*
 * parameters: what a request asks for, read by a table into typed values.
 *
 * A parameter that is missing or empty has its fallback, or is absent. Two parameters may fill the
 * same slot under different names; the one that stands first in the table wins. A parameter that is
 * in no table is ignored.
 *
 * Ownership  Texts in the values are the source's, or the table's.
 * Errors     ERROR_INVALID with the reasons of base/json.h and the pointer "/query/limit" or
 *            "/path/site_id".
 * Units      Times become milliseconds since the epoch.
 */
#ifndef API_PARAMETERS_H
#define API_PARAMETERS_H

#include "base/error.h"
#include "store/store.h"

enum parameter_kind {
    PARAMETER_TEXT,    /* min to max bytes of UTF-8 */
    PARAMETER_WORD,    /* one of words, in any case; becomes the word of the table */
    PARAMETER_INT,     /* min to max */
    PARAMETER_TIME,    /* RFC 3339 */
    PARAMETER_ID,      /* a UUID */
    PARAMETER_SECONDS, /* since the epoch, with a fraction: "1700000000.25" */
};

struct parameter {
    const char *name; /* NULL ends a table */
    enum parameter_kind kind;
    unsigned slot;        /* which value it fills */
    bool in_path;         /* of the route's path, not of the query */
    double min, max;      /* PARAMETER_TEXT, PARAMETER_INT */
    const char *fallback; /* as a client would write it; NULL: absent */
    const char *const *words;
};

/* What the request says, or NULL. */
typedef const char *parameter_find(const void *request, const struct parameter *parameter);

/* slots is zeroed by the caller and has room for every slot of the table. */
bool parameters_read(const struct parameter *table, parameter_find *find, const void *request,
                     struct store_value *slots, struct error *err) MUST_CHECK;

#endif
