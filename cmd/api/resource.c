#include "resource.h"

#include "messages/logs.h"

#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)

/* One row of a parameter table each. */
#define TEXT(text, to, most)                                                                       \
    {                                                                                              \
        .name = (text), .kind = PARAMETER_TEXT, .slot = (to), .min = 1, .max = (most)              \
    }
#define SITE                                                                                       \
    {                                                                                              \
        .name = "site_id", .kind = PARAMETER_TEXT, .slot = SLOT_SITE, .in_path = true, .min = 1,   \
        .max = 128                                                                                 \
    }
#define GARAGE                                                                                     \
    {                                                                                              \
        .name = "garage_id", .kind = PARAMETER_TEXT, .slot = SLOT_GARAGE, .in_path = true,         \
        .min = 1, .max = 128                                                                       \
    }
#define LEVEL                                                                                      \
    {                                                                                              \
        .name = "level", .kind = PARAMETER_WORD, .slot = SLOT_LEVEL,                               \
        .words = log_event_level_words                                                             \
    }
#define LIMIT(most, usual)                                                                         \
    {                                                                                              \
        .name = "limit", .kind = PARAMETER_INT, .slot = SLOT_LIMIT, .min = 1, .max = (most),       \
        .fallback = (usual)                                                                        \
    }

/* from ≤ time < to, either as text or, as clients of old say it, in seconds. */
#define RANGE                                                                                      \
    {.name = "from", .kind = PARAMETER_TIME, .slot = SLOT_FROM},                                   \
        {.name = "to", .kind = PARAMETER_TIME, .slot = SLOT_TO},                                   \
        {.name = "from_timestamp", .kind = PARAMETER_SECONDS, .slot = SLOT_FROM},                  \
    {                                                                                              \
        .name = "to_timestamp", .kind = PARAMETER_SECONDS, .slot = SLOT_TO                         \
    }

/* ---- /logs ---- */

static const struct parameter logs_parameters[] = {
    RANGE,
    LIMIT(1000, "100"),
    TEXT("cursor", SLOT_CURSOR, CURSOR_SIZE_MAX),
    LEVEL,
    TEXT("service", SLOT_SERVICE, 128),
    TEXT("q", SLOT_SEARCH, 256),
    {0},
};

static const struct cursor_kind logs_cursor = {"logs", 2, {STORE_TIME, STORE_INT}};

const struct resource resource_logs = {
    .parameters = logs_parameters,
    .parts = {{"logs",
               &store_logs_page,
               {SLOT_FROM, SLOT_TO, SLOT_LEVEL, SLOT_SERVICE, SLOT_SEARCH, SLOT_KEYS, SLOT_KEYS + 1,
                SLOT_LIMIT}}},
    .cursor = &logs_cursor,
};

/* ---- /logs/stats ---- */

static const struct parameter logs_stats_parameters[] = {
    RANGE, LIMIT(1000, "10"), LEVEL, TEXT("service", SLOT_SERVICE, 128), {0},
};

#define LOGS_STATS_OF(limit)                                                                       \
    {                                                                                              \
        SLOT_FROM, SLOT_TO, SLOT_LEVEL, SLOT_SERVICE, limit                                        \
    }

const struct resource resource_logs_stats = {
    .parameters = logs_stats_parameters,
    .echoes = {{"from", SLOT_FROM}, {"to", SLOT_TO}},
    .parts = {{NULL, &store_logs_summary, LOGS_STATS_OF(SLOT_UNCUT)},
              {"levels", &store_logs_levels, LOGS_STATS_OF(SLOT_UNCUT)},
              {"services", &store_logs_services, LOGS_STATS_OF(SLOT_LIMIT)},
              {"minutes", &store_logs_minutes, LOGS_STATS_OF(SLOT_UNCUT)},
              {"top_messages", &store_logs_top, LOGS_STATS_OF(SLOT_LIMIT)}},
    .range_ms = HOUR_MS,
    .range_max_ms = 7 * DAY_MS,
};

/* ---- /sites/{site_id}/readings ---- */

static const struct parameter readings_parameters[] = {
    SITE,
    RANGE,
    LIMIT(1000, "100"),
    TEXT("cursor", SLOT_CURSOR, CURSOR_SIZE_MAX),
    TEXT("device", SLOT_DEVICE, 128),
    {0},
};

static const struct cursor_kind readings_cursor = {"readings", 2, {STORE_TIME, STORE_ID}};

const struct resource resource_readings = {
    .parameters = readings_parameters,
    .echoes = {{"site_id", SLOT_SITE}},
    .parts = {{"readings",
               &store_readings_page,
               {SLOT_SITE, SLOT_FROM, SLOT_TO, SLOT_DEVICE, SLOT_KEYS, SLOT_KEYS + 1, SLOT_LIMIT}}},
    .cursor = &readings_cursor,
};

/* ---- /sites/{site_id}/stats ---- */

static const char *const buckets[] = {"hour", "day", NULL};

static const struct parameter site_stats_parameters[] = {
    SITE,
    RANGE,
    TEXT("device", SLOT_DEVICE, 128),
    {.name = "bucket",
     .kind = PARAMETER_WORD,
     .slot = SLOT_BUCKET,
     .fallback = "hour",
     .words = buckets},
    {.name = "max_gap_s",
     .kind = PARAMETER_INT,
     .slot = SLOT_GAP,
     .min = 1,
     .max = 86400,
     .fallback = "3600"},
    {0},
};

const struct resource resource_site_stats = {
    .parameters = site_stats_parameters,
    .echoes = {{"site_id", SLOT_SITE},
               {"from", SLOT_FROM},
               {"to", SLOT_TO},
               {"bucket", SLOT_BUCKET}},
    .parts = {{"buckets",
               &store_readings_stats,
               {SLOT_SITE, SLOT_DEVICE, SLOT_FROM, SLOT_TO, SLOT_BUCKET, SLOT_GAP, SLOT_UNCUT}}},
    .range_ms = DAY_MS,
    .range_max_ms = 400 * DAY_MS,
};

/* ---- /parking/sessions ---- */

static const char *const truths[] = {"true", "false", NULL};

static const struct parameter parking_sessions_parameters[] = {
    RANGE,
    LIMIT(1000, "100"),
    TEXT("cursor", SLOT_CURSOR, CURSOR_SIZE_MAX),
    TEXT("plate", SLOT_PLATE, 12),
    TEXT("garage", SLOT_GARAGE, 128),
    {.name = "open", .kind = PARAMETER_WORD, .slot = SLOT_OPEN, .words = truths},
    {0},
};

static const struct cursor_kind parking_sessions_cursor = {
    "parking sessions", 2, {STORE_TIME, STORE_ID}};

const struct resource resource_parking_sessions = {
    .parameters = parking_sessions_parameters,
    .parts = {{"sessions",
               &store_parking_sessions,
               {SLOT_PLATE, SLOT_GARAGE, SLOT_OPEN, SLOT_FROM, SLOT_TO, SLOT_KEYS, SLOT_KEYS + 1,
                SLOT_LIMIT}}},
    .cursor = &parking_sessions_cursor,
};

/* ---- /parking/garages/{garage_id} ---- */

static const struct parameter parking_garage_parameters[] = {GARAGE, RANGE, {0}};

const struct resource resource_parking_garage = {
    .parameters = parking_garage_parameters,
    .echoes = {{"garage_id", SLOT_GARAGE}, {"from", SLOT_FROM}, {"to", SLOT_TO}},
    .parts = {{NULL, &store_parking_garage, {SLOT_GARAGE, SLOT_CAPACITY}},
              {"hours", &store_parking_hours, {SLOT_GARAGE, SLOT_FROM, SLOT_TO, SLOT_UNCUT}}},
    .range_ms = DAY_MS,
    .range_max_ms = 400 * DAY_MS,
};

/* ---- /parking/invoices ---- */

static const struct parameter parking_invoices_parameters[] = {
    RANGE,
    LIMIT(1000, "100"),
    TEXT("cursor", SLOT_CURSOR, CURSOR_SIZE_MAX),
    TEXT("plate", SLOT_PLATE, 12),
    TEXT("garage", SLOT_GARAGE, 128),
    {0},
};

static const struct cursor_kind parking_invoices_cursor = {
    "parking invoices", 2, {STORE_TIME, STORE_ID}};

const struct resource resource_parking_invoices = {
    .parameters = parking_invoices_parameters,
    .parts = {{"invoices",
               &store_parking_invoices,
               {SLOT_PLATE, SLOT_GARAGE, SLOT_FROM, SLOT_TO, SLOT_KEYS, SLOT_KEYS + 1,
                SLOT_LIMIT}}},
    .cursor = &parking_invoices_cursor,
};

/* ---- /WeatherForecast/requests/{id} ---- */

static const struct parameter weather_request_parameters[] = {
    {.name = "id", .kind = PARAMETER_ID, .slot = SLOT_REQUEST, .in_path = true},
    {0},
};

const struct resource resource_weather_request = {
    .parameters = weather_request_parameters,
    .parts = {{NULL, &store_weather_result, {SLOT_REQUEST}}},
    .missing = "request_not_found",
};
