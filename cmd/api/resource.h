/*
 * resource: what can be asked of the store over HTTP, one row each.
 *
 * A row says which parameters a request may bring, which statements answer it and what they are
 * called in the answer. Adding a query is adding a statement to pkg/store and a row to resource.c,
 * and naming the row in the routes of api.c.
 */
#ifndef API_RESOURCE_H
#define API_RESOURCE_H

#include "cursor.h"
#include "parameters.h"

/* The values that a request may bring: what parameters fill and statements take. */
enum slot {
    SLOT_FROM, /* the first moment */
    SLOT_TO,   /* the moment after the last */
    SLOT_LEVEL,
    SLOT_SERVICE,
    SLOT_SEARCH,
    SLOT_SITE,
    SLOT_DEVICE,
    SLOT_BUCKET,
    SLOT_GAP,
    SLOT_PLATE,
    SLOT_GARAGE,
    SLOT_OPEN,
    SLOT_REQUEST,
    SLOT_CAPACITY, /* of a garage, a setting: filled in by whoever asks the question */
    SLOT_LIMIT,
    SLOT_UNCUT, /* the limit of lists that are never cut, RESOURCE_ROWS_MAX */
    SLOT_CURSOR,
    SLOT_KEYS, /* the cursor's, one after the other */
    SLOTS = SLOT_KEYS + CURSOR_KEYS_MAX,
};

/* One statement of an answer. */
struct resource_part {
    const char *list; /* the member that lists its rows; NULL: its row's members are the answer's */
    const struct store_query *query;           /* NULL ends */
    enum slot arguments[STORE_PARAMETERS_MAX]; /* of the statement, in its order */
};

/* A value of the request that the answer repeats. */
struct resource_echo {
    const char *name; /* NULL ends */
    enum slot slot;
};

#define RESOURCE_PARTS_MAX 6
#define RESOURCE_ECHOES_MAX 5

/* What the longest range holds: the minutes of 7 days, or hours of 400; one may be in two halves.
 */
#define RESOURCE_ROWS_MAX 10081

struct resource {
    const struct parameter *parameters;
    struct resource_echo echoes[RESOURCE_ECHOES_MAX];
    struct resource_part parts[RESOURCE_PARTS_MAX];
    const struct cursor_kind *cursor; /* the first part is paged by it; NULL: not in pages */
    int64_t range_ms, range_max_ms;   /* the time asked for by default, and at most; 0: any */
    const char *missing; /* the reason of the refusal when the first part has no row; NULL: none */
};

extern const struct resource resource_logs, resource_logs_stats, resource_readings,
    resource_site_stats, resource_parking_sessions, resource_parking_garage,
    resource_parking_invoices, resource_weather_request;

#endif
