/* What is stored of each event. */
#include "store/store.h"

#include "messages/logs.h"
#include "messages/readings.h"

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
