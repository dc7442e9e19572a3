/*
 * The queries on logs, readings, parking and weather.
 *
 * A parameter that is NULL means "any". Bounds are written as coalesce(parameter, ±infinity), never
 * as "parameter IS NULL OR …": so the index and the pruning of partitions work in a generic plan.
 * Ranges are half open: from ≤ time < to.
 */
#include "store/store.h"

/* ---- logs ---- */

/* $1 from, $2 to */
#define LOGS_BETWEEN                                                                               \
    " l.timestamp >= coalesce($1::timestamptz, '-infinity')"                                       \
    " AND l.timestamp < coalesce($2::timestamptz, 'infinity')"

/* $3 level, $4 service */
#define LOGS_OF " AND ($3::text IS NULL OR l.level = $3) AND ($4::text IS NULL OR l.service = $4)"

#define ERRORS " count(*) FILTER (WHERE l.level IN ('ERROR', 'CRITICAL')) AS errors"
#define ERROR_RATE                                                                                 \
    " coalesce((count(*) FILTER (WHERE l.level IN ('ERROR', 'CRITICAL')))::float8"                 \
    " / nullif(count(*), 0), 0) AS error_rate"

/* The range is said a second time for the cursor alone, since a comparison of rows prunes nothing.
 */
const struct store_query store_logs_page = {
    .name = "logs_page",
    .sql = "SELECT l.seq AS id, l.message, extract(epoch FROM l.timestamp)::float8 AS timestamp,"
           " l.timestamp AS time, l.level, l.service, l.id AS event_id, l.attributes, l.stream_id,"
           " l.traceparent, l.timestamp AS \"@time\", l.seq AS \"@seq\""
           " FROM logs l WHERE" LOGS_BETWEEN LOGS_OF
           " AND ($5::text IS NULL OR position(lower($5) IN lower(l.message)) > 0)"
           " AND l.timestamp <= coalesce($6::timestamptz, 'infinity')"
           " AND (l.timestamp, l.seq) < (coalesce($6::timestamptz, 'infinity'),"
           " coalesce($7::int8, 9223372036854775807))"
           " ORDER BY l.timestamp DESC, l.seq DESC LIMIT $8::int8",
    .parameters = {STORE_TIME, STORE_TIME, STORE_TEXT, STORE_TEXT, STORE_TEXT, STORE_TIME,
                   STORE_INT, STORE_INT},
    .parameter_count = 8,
    .newest = {.from = 1, .to = 2, .cursor = 6, .limit = 8},
};

#define LOGS_STATISTICS_PARAMETERS                                                                 \
    .parameters = {STORE_TIME, STORE_TIME, STORE_TEXT, STORE_TEXT, STORE_INT}, .parameter_count = 5

const struct store_query store_logs_summary = {
    .name = "logs_summary",
    .sql =
        "SELECT count(*) AS count," ERRORS "," ERROR_RATE ", min(l.timestamp) AS first_seen,"
        " max(l.timestamp) AS last_seen FROM logs l WHERE" LOGS_BETWEEN LOGS_OF " LIMIT $5::int8",
    LOGS_STATISTICS_PARAMETERS,
};

const struct store_query store_logs_levels = {
    .name = "logs_levels",
    .sql = "SELECT l.level, count(*) AS count, count(*) / sum(count(*)) OVER ()::float8 AS share"
           " FROM logs l WHERE" LOGS_BETWEEN LOGS_OF
           " GROUP BY l.level ORDER BY count DESC, l.level LIMIT $5::int8",
    LOGS_STATISTICS_PARAMETERS,
};

const struct store_query store_logs_services = {
    .name = "logs_services",
    .sql = "SELECT l.service, count(*) AS count," ERRORS "," ERROR_RATE
           ", max(l.timestamp) AS last_seen"
           " FROM logs l WHERE" LOGS_BETWEEN LOGS_OF
           " GROUP BY l.service ORDER BY count DESC, l.service LIMIT $5::int8",
    LOGS_STATISTICS_PARAMETERS,
};

/* The newest minutes, told in the order of time. */
const struct store_query store_logs_minutes = {
    .name = "logs_minutes",
    .sql = "SELECT * FROM (SELECT date_trunc('minute', l.timestamp) AS minute, count(*) AS count,"
           " count(*) FILTER (WHERE l.level = 'TRACE') AS trace,"
           " count(*) FILTER (WHERE l.level = 'DEBUG') AS debug,"
           " count(*) FILTER (WHERE l.level = 'INFO') AS info,"
           " count(*) FILTER (WHERE l.level = 'WARNING') AS warning,"
           " count(*) FILTER (WHERE l.level = 'ERROR') AS error,"
           " count(*) FILTER (WHERE l.level = 'CRITICAL') AS critical," ERROR_RATE
           " FROM logs l WHERE" LOGS_BETWEEN LOGS_OF
           " GROUP BY 1 ORDER BY 1 DESC LIMIT $5::int8) newest ORDER BY minute",
    LOGS_STATISTICS_PARAMETERS,
};

const struct store_query store_logs_top = {
    .name = "logs_top",
    .sql = "SELECT l.message, count(*) AS count, max(l.timestamp) AS last_seen"
           " FROM logs l WHERE" LOGS_BETWEEN LOGS_OF
           " GROUP BY l.message ORDER BY count DESC, last_seen DESC, l.message LIMIT $5::int8",
    LOGS_STATISTICS_PARAMETERS,
};

/* ---- readings ---- */

const struct store_query store_readings_page = {
    .name = "readings_page",
    .sql = "SELECT r.stream_id, r.site_id, r.device_id, r.power_reading, r.timestamp, r.id,"
           " r.timestamp AS \"@time\", r.id AS \"@id\" FROM readings r"
           " WHERE r.site_id = $1::text"
           " AND r.timestamp >= coalesce($2::timestamptz, '-infinity')"
           " AND r.timestamp < coalesce($3::timestamptz, 'infinity')"
           " AND ($4::text IS NULL OR r.device_id = $4)"
           " AND r.timestamp <= coalesce($5::timestamptz, 'infinity')"
           " AND (r.timestamp, r.id) < (coalesce($5::timestamptz, 'infinity'),"
           " coalesce($6::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))"
           " ORDER BY r.timestamp DESC, r.id DESC LIMIT $7::int8",
    .parameters = {STORE_TEXT, STORE_TIME, STORE_TIME, STORE_TEXT, STORE_TIME, STORE_ID, STORE_INT},
    .parameter_count = 7,
    .newest = {.from = 2, .to = 3, .cursor = 5, .limit = 7},
};

/*
 * points     the readings of the range, and up to max_gap around it
 * segments   from one reading of a device to its next, cut to the range
 * pieces     segments cut at the bounds of the buckets they touch
 *
 * The power at a cut is on the line between the two readings.
 */
const struct store_query store_readings_stats = {
    .name = "readings_stats",
    .sql =
        "WITH range AS (SELECT coalesce($3::timestamptz, '-infinity') AS start,"
        " coalesce($4::timestamptz, 'infinity') AS stop, ('1 ' || $5::text)::interval AS step,"
        " coalesce($6::int8, 3600) * interval '1 second' AS gap),"
        " points AS (SELECT r.device_id, r.timestamp AS t, r.power_reading AS p,"
        " lead(r.timestamp) OVER device AS next_t, lead(r.power_reading) OVER device AS next_p"
        " FROM readings r WHERE r.site_id = $1::text AND ($2::text IS NULL OR r.device_id = $2)"
        " AND r.timestamp >= coalesce($3::timestamptz - coalesce($6::int8, 3600)"
        " * interval '1 second', '-infinity')"
        " AND r.timestamp < coalesce($4::timestamptz + coalesce($6::int8, 3600)"
        " * interval '1 second', 'infinity')"
        " WINDOW device AS (PARTITION BY r.device_id ORDER BY r.timestamp, r.id)),"
        " segments AS (SELECT t, p, (next_p - p) / extract(epoch FROM next_t - t)::float8 AS slope,"
        " greatest(t, start) AS a, least(next_t, stop) AS z, step FROM points, range"
        " WHERE next_t > t AND next_t - t <= gap AND next_t > start AND t < stop),"
        " pieces AS (SELECT t, p, slope, bucket, greatest(a, bucket) AS a,"
        " least(z, bucket + step) AS z FROM segments,"
        " generate_series(date_trunc($5::text, a), z, step) AS bucket WHERE bucket < z),"
        " parts AS (SELECT bucket, NULL::text AS device_id, NULL::float8 AS p,"
        " (p + slope * extract(epoch FROM (a - t) + (z - t))::float8 / 2)"
        " * extract(epoch FROM z - a)::float8 AS joules FROM pieces"
        " UNION ALL SELECT date_trunc($5::text, t), device_id, p, 0 FROM points, range"
        " WHERE t >= start AND t < stop)"
        " SELECT bucket AS \"from\", count(p) AS count, count(DISTINCT device_id) AS devices,"
        " min(p) AS min, avg(p) AS avg, max(p) AS max, sum(joules) / 3.6e6::float8 AS energy_kwh"
        " FROM parts GROUP BY bucket ORDER BY bucket LIMIT $7::int8",
    .parameters = {STORE_TEXT, STORE_TEXT, STORE_TIME, STORE_TIME, STORE_TEXT, STORE_INT,
                   STORE_INT},
    .parameter_count = 7,
};

/* ---- parking ---- */

/*
 * The rows of a plate, of a garage and of everybody lie in three indexes, and one statement can be
 * planned for one of them only: so each way of asking is a branch of its own, in the order of the
 * page, and the parameters of a call open one branch and shut the others.
 */

#define SESSIONS_FROM(source, time, id, condition)                                                 \
    "(SELECT s.* FROM " source " WHERE " condition " AND " time                                    \
    " >= coalesce($4::timestamptz, '-infinity')"                                                   \
    " AND " time " < coalesce($5::timestamptz, 'infinity')"                                        \
    " AND ($2::text IS NULL OR s.garage_id = $2) AND NOT s.withdrawn"                              \
    " AND ($3::text IS NULL OR (s.exit_time IS NULL) = ($3 = 'true'))"                             \
    " AND (" time ", " id ") < (coalesce($6::timestamptz, 'infinity'),"                            \
    " coalesce($7::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))"                                 \
    " ORDER BY " time " DESC, " id " DESC LIMIT $8::int8)"

/* Each begins with an event, which has its id, time and plate. */
#define SESSIONS_BY_PLATE                                                                          \
    SESSIONS_FROM("parking_events e JOIN parking_sessions s ON s.session_id = e.id", "e.time",     \
                  "e.id", "e.vehicle_plate = $1::text")
#define SESSIONS_OF_ALL(condition)                                                                 \
    SESSIONS_FROM("parking_sessions s", "s.entry_time", "s.session_id",                            \
                  "$1::text IS NULL AND " condition)
#define SESSIONS_BY_GARAGE SESSIONS_OF_ALL("s.garage_id = $2::text AND $3 IS DISTINCT FROM 'true'")
#define SESSIONS_OPEN SESSIONS_OF_ALL("$3 = 'true' AND s.exit_time IS NULL")
#define SESSIONS_BY_TIME SESSIONS_OF_ALL("$2::text IS NULL AND $3 IS DISTINCT FROM 'true'")

const struct store_query store_parking_sessions = {
    .name = "parking_sessions",
    .sql = "SELECT s.session_id, s.garage_id, s.vehicle_plate, s.entry_time, s.exit_time,"
           " extract(epoch FROM s.exit_time - s.entry_time)::float8 AS duration_s, s.matched,"
           " s.anomalous, s.exit_time IS NULL AS open, s.revision, s.entry_time AS \"@time\","
           " s.session_id AS \"@id\" FROM (" SESSIONS_BY_PLATE " UNION ALL " SESSIONS_BY_GARAGE
           " UNION ALL " SESSIONS_OPEN " UNION ALL " SESSIONS_BY_TIME ") s"
           " ORDER BY s.entry_time DESC, s.session_id DESC LIMIT $8::int8",
    .parameters = {STORE_TEXT, STORE_TEXT, STORE_TEXT, STORE_TIME, STORE_TIME, STORE_TIME, STORE_ID,
                   STORE_INT},
    .parameter_count = 8,
};

/* Not WHERE garage_id: the planner would go through all that a garage ever had. */
const struct store_query store_parking_garage = {
    .name = "parking_garage",
    .sql = "SELECT count(*) FILTER (WHERE s.garage_id = $1::text) AS occupancy,"
           " $2::int8 AS capacity FROM parking_sessions s WHERE s.exit_time IS NULL",
    .parameters = {STORE_TEXT, STORE_INT},
    .parameter_count = 2,
};

const struct store_query store_parking_occupancy = {
    .name = "parking_occupancy",
    .sql = "SELECT s.garage_id AS name, count(*) AS count FROM parking_sessions s"
           " WHERE s.exit_time IS NULL GROUP BY s.garage_id ORDER BY 2 DESC, 1 LIMIT $1::int8",
    .parameters = {STORE_INT},
    .parameter_count = 1,
};

const struct store_query store_parking_hours = {
    .name = "parking_hours",
    .sql = "SELECT date_trunc('hour', e.time) AS hour,"
           " count(*) FILTER (WHERE NOT e.is_exit) AS entries,"
           " count(*) FILTER (WHERE e.is_exit) AS exits"
           " FROM parking_events e WHERE e.garage_id = $1::text"
           " AND e.time >= coalesce($2::timestamptz, '-infinity')"
           " AND e.time < coalesce($3::timestamptz, 'infinity')"
           " GROUP BY 1 ORDER BY 1 LIMIT $4::int8",
    .parameters = {STORE_TEXT, STORE_TIME, STORE_TIME, STORE_INT},
    .parameter_count = 4,
};

#define INVOICES_OF(condition)                                                                     \
    "(SELECT i.* FROM parking_summaries i WHERE " condition                                        \
    " AND i.exit_time >= coalesce($3::timestamptz, '-infinity')"                                   \
    " AND i.exit_time < coalesce($4::timestamptz, 'infinity')"                                     \
    " AND ($2::text IS NULL OR i.garage_id = $2) AND NOT i.withdrawn"                              \
    " AND i.exit_time <= coalesce($5::timestamptz, 'infinity')"                                    \
    " AND (i.exit_time, i.id) < (coalesce($5::timestamptz, 'infinity'),"                           \
    " coalesce($6::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))"                                 \
    " AND NOT EXISTS (SELECT FROM parking_corrections c"                                           \
    " WHERE c.session_id = i.session_id AND c.revision > i.revision)"                              \
    " ORDER BY i.exit_time DESC, i.id DESC LIMIT $7::int8)"

#define INVOICES_BY_PLATE INVOICES_OF("i.vehicle_plate = $1::text")
#define INVOICES_BY_GARAGE INVOICES_OF("$1::text IS NULL AND i.garage_id = $2::text")
#define INVOICES_BY_TIME INVOICES_OF("$1::text IS NULL AND $2::text IS NULL")

const struct store_query store_parking_invoices = {
    .name = "parking_invoices",
    .sql = "SELECT i.id, i.session_id, i.revision, i.garage_id, i.vehicle_plate, i.entry_time,"
           " i.exit_time, i.duration_s, i.matched, i.anomalous, i.amount_cents, i.currency,"
           " i.exit_time AS \"@time\", i.id AS \"@id\" FROM (" INVOICES_BY_PLATE
           " UNION ALL " INVOICES_BY_GARAGE " UNION ALL " INVOICES_BY_TIME ") i"
           " ORDER BY i.exit_time DESC, i.id DESC LIMIT $7::int8",
    .parameters = {STORE_TEXT, STORE_TEXT, STORE_TIME, STORE_TIME, STORE_TIME, STORE_ID, STORE_INT},
    .parameter_count = 7,
    .newest = {.from = 3, .to = 4, .cursor = 5, .limit = 7},
};

/* ---- weather ---- */

/* Names as the answer to the request itself has them; what a failure has no value for is null. */
const struct store_query store_weather_result = {
    .name = "weather_result",
    .sql = "SELECT w.id AS \"requestId\", w.outcome AS status, nullif(w.reason, '') AS reason,"
           " nullif(w.detail, '') AS detail, w.city, w.location, w.request_time AS \"requestTime\","
           " w.forecast_time AS \"forecastTime\","
           " CASE w.outcome WHEN 'OK' THEN w.temperature END AS temperature,"
           " nullif(w.condition, '') AS condition,"
           " CASE w.outcome WHEN 'OK' THEN w.humidity END AS humidity,"
           " CASE w.outcome WHEN 'OK' THEN w.wind_speed END AS \"windSpeed\","
           " nullif(w.provider, '') AS provider"
           " FROM weather_results w WHERE w.id = $1::uuid ORDER BY w.request_time LIMIT 1",
    .parameters = {STORE_ID},
    .parameter_count = 1,
};
