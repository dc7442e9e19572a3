/* What is stored of each event. */
#include "store/store.h"

#include "messages/logs.h"
#include "messages/parking.h"
#include "messages/readings.h"
#include "messages/weather.h"

#define COLUMN(type, column, member, column_kind, ...)                                             \
    {                                                                                              \
        .name = column, .kind = column_kind, .offset = offsetof(type, member), __VA_ARGS__         \
    }

static const struct store_column log_columns[] = {
    COLUMN(struct log_event, "timestamp", timestamp_ms, JSON_TIME),
    COLUMN(struct log_event, "id", id, JSON_ID),
    COLUMN(struct log_event, "level", level, JSON_ENUM, .words = log_event_level_words),
    COLUMN(struct log_event, "service", service, JSON_TEXT),
    COLUMN(struct log_event, "message", message, JSON_TEXT),
    COLUMN(struct log_event, "attributes", attributes, JSON_OBJECT),
    {0},
};

const struct store_table store_logs = {
    .name = "logs", .columns = log_columns, .time_column = "timestamp"};

static const struct store_column reading_columns[] = {
    COLUMN(struct reading_event, "timestamp", timestamp_ms, JSON_TIME),
    COLUMN(struct reading_event, "power_reading", power_reading, JSON_DOUBLE),
    COLUMN(struct reading_event, "id", id, JSON_ID),
    COLUMN(struct reading_event, "site_id", site_id, JSON_TEXT),
    COLUMN(struct reading_event, "device_id", device_id, JSON_TEXT),
    {0},
};

const struct store_table store_readings = {
    .name = "readings", .columns = reading_columns, .time_column = "timestamp"};

static const bool is_entry = false, is_exit = true;

static const struct store_column parking_entry_columns[] = {
    COLUMN(struct parking_entry, "time", entry_date_time_ms, JSON_TIME),
    COLUMN(struct parking_entry, "id", id, JSON_ID),
    COLUMN(struct parking_entry, "garage_id", garage_id, JSON_TEXT),
    COLUMN(struct parking_entry, "vehicle_plate", vehicle_plate, JSON_TEXT),
    {.name = "is_exit", .kind = JSON_BOOL, .constant = &is_entry},
    {0},
};

static const struct store_column parking_exit_columns[] = {
    COLUMN(struct parking_exit, "time", exit_date_time_ms, JSON_TIME),
    COLUMN(struct parking_exit, "id", id, JSON_ID),
    COLUMN(struct parking_exit, "garage_id", garage_id, JSON_TEXT),
    COLUMN(struct parking_exit, "vehicle_plate", vehicle_plate, JSON_TEXT),
    {.name = "is_exit", .kind = JSON_BOOL, .constant = &is_exit},
    {0},
};

/* Both kinds go together: an entry alone would say that the one before it has no exit. Both lie in
 * parking_events, whose retention is the first one's. */
const struct store_table store_parking_entries = {.name = "parking_entries",
                                                  .columns = parking_entry_columns,
                                                  .function = "parking_apply",
                                                  .forget = "parking_forget"};
const struct store_table store_parking_exits = {
    .name = "parking_exits", .columns = parking_exit_columns, .function = "parking_apply"};

static const struct store_column parking_summary_columns[] = {
    COLUMN(struct parking_summary, "exit_time", exit_time_ms, JSON_TIME),
    COLUMN(struct parking_summary, "entry_time", entry_time_ms, JSON_TIME),
    COLUMN(struct parking_summary, "duration_s", duration_s, JSON_DOUBLE),
    COLUMN(struct parking_summary, "amount_cents", amount_cents, JSON_DOUBLE),
    COLUMN(struct parking_summary, "id", id, JSON_ID),
    COLUMN(struct parking_summary, "session_id", session_id, JSON_ID),
    COLUMN(struct parking_summary, "revision", revision, JSON_INT),
    COLUMN(struct parking_summary, "matched", matched, JSON_BOOL),
    COLUMN(struct parking_summary, "anomalous", anomalous, JSON_BOOL),
    COLUMN(struct parking_summary, "withdrawn", withdrawn, JSON_BOOL),
    COLUMN(struct parking_summary, "garage_id", garage_id, JSON_TEXT),
    COLUMN(struct parking_summary, "vehicle_plate", vehicle_plate, JSON_TEXT),
    COLUMN(struct parking_summary, "currency", currency, JSON_TEXT),
    {0},
};

const struct store_table store_parking_summaries = {.name = "parking_summaries",
                                                    .columns = parking_summary_columns,
                                                    .time_column = "exit_time",
                                                    .forget = "parking_forget_corrections"};

static const struct store_column weather_result_columns[] = {
    COLUMN(struct weather_result, "request_time", request_time_ms, JSON_TIME),
    COLUMN(struct weather_result, "forecast_time", forecast_time_ms, JSON_TIME),
    COLUMN(struct weather_result, "temperature", temperature, JSON_DOUBLE),
    COLUMN(struct weather_result, "wind_speed", wind_speed, JSON_DOUBLE),
    COLUMN(struct weather_result, "id", id, JSON_ID),
    COLUMN(struct weather_result, "humidity", humidity, JSON_INT),
    COLUMN(struct weather_result, "outcome", outcome, JSON_ENUM,
           .words = weather_result_outcome_words),
    COLUMN(struct weather_result, "reason", reason, JSON_TEXT),
    COLUMN(struct weather_result, "detail", detail, JSON_TEXT),
    COLUMN(struct weather_result, "city", city, JSON_TEXT),
    COLUMN(struct weather_result, "location", location, JSON_TEXT),
    COLUMN(struct weather_result, "condition", condition, JSON_TEXT),
    COLUMN(struct weather_result, "provider", provider, JSON_TEXT),
    {0},
};

const struct store_table store_weather_results = {
    .name = "weather_results", .columns = weather_result_columns, .time_column = "request_time"};
