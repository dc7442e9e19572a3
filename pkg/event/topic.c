#include "event/topic.h"

#include "domain/parking.h"
#include "event/subject.h"
#include "messages/logs.h"
#include "messages/parking.h"
#include "messages/readings.h"
#include "messages/weather.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FIRST_MS INT64_C(0)
#define END_MS INT64_C(7258118400000) /* 2200-01-01T00:00:00Z */

static bool check_plate(const char *plate, struct error *err)
{
    return parking_plate_is_valid(plate) ||
           error_input(err, JSON_FORMAT, "/vehicle_plate",
                       "field 'vehicle_plate': want 2 to 12 capital letters, digits and hyphens");
}

static bool check_entry(const void *event, struct error *err)
{
    return check_plate(((const struct parking_entry *)event)->vehicle_plate, err);
}

static bool check_exit(const void *event, struct error *err)
{
    return check_plate(((const struct parking_exit *)event)->vehicle_plate, err);
}

static bool check_summary(const void *event, struct error *err)
{
    const struct parking_summary *summary = event;
    int64_t stay_ms = summary->exit_time_ms - summary->entry_time_ms;

    if (!check_plate(summary->vehicle_plate, err))
        return false;
    if (summary->entry_time_ms < FIRST_MS)
        return error_input(err, JSON_RANGE, "/entry_time",
                           "field 'entry_time': want a time from 1970 to 2199");
    if (stay_ms < 0)
        return error_input(err, JSON_RANGE, "/exit_time", "field 'exit_time': before the entry");
    return fabs(summary->duration_s * 1000 - (double)stay_ms) <= 1 ||
           error_input(err, JSON_RANGE, "/duration_s",
                       "field 'duration_s': not the time between entry and exit");
}

const struct topic topics[] = {
    {
        .name = "logs",
        .stream = "LOGS",
        .subjects = "logs.>",
        .prefix = "logs",
        .consumer = "processor-logs",
        .type = "millrace.v1.Log",
        .source = "/logs",
        .fields = log_event_fields,
        .schema = log_event_schema,
        .size = sizeof(struct log_event),
        .id_offset = offsetof(struct log_event, id),
        .time_offset = offsetof(struct log_event, timestamp_ms),
        .key_offsets = {offsetof(struct log_event, service)},
        .key_count = 1,
    },
    {
        .name = "readings",
        .stream = "READINGS",
        .subjects = "readings.>",
        .prefix = "readings",
        .consumer = "processor-readings",
        .type = "millrace.v1.Reading",
        .source = "/readings",
        .fields = reading_event_fields,
        .schema = reading_event_schema,
        .size = sizeof(struct reading_event),
        .id_offset = offsetof(struct reading_event, id),
        .time_offset = offsetof(struct reading_event, timestamp_ms),
        .key_offsets = {offsetof(struct reading_event, site_id),
                        offsetof(struct reading_event, device_id)},
        .key_count = 2,
    },
    {
        .name = "parking-entries",
        .stream = "PARKING",
        .subjects = "parking.>",
        .prefix = "parking.entry",
        .consumer = "processor-parking",
        .type = "millrace.v1.ParkingEntry",
        .source = "/parking/entries",
        .fields = parking_entry_fields,
        .schema = parking_entry_schema,
        .size = sizeof(struct parking_entry),
        .id_offset = offsetof(struct parking_entry, id),
        .time_offset = offsetof(struct parking_entry, entry_date_time_ms),
        .key_offsets = {offsetof(struct parking_entry, garage_id)},
        .key_count = 1,
        .check = check_entry,
    },
    {
        .name = "parking-exits",
        .stream = "PARKING",
        .subjects = "parking.>",
        .prefix = "parking.exit",
        .consumer = "processor-parking",
        .type = "millrace.v1.ParkingExit",
        .source = "/parking/exits",
        .fields = parking_exit_fields,
        .schema = parking_exit_schema,
        .size = sizeof(struct parking_exit),
        .id_offset = offsetof(struct parking_exit, id),
        .time_offset = offsetof(struct parking_exit, exit_date_time_ms),
        .key_offsets = {offsetof(struct parking_exit, garage_id)},
        .key_count = 1,
        .check = check_exit,
    },
    {
        .name = "parking-summaries",
        .stream = "PARKING_SUMMARIES",
        .subjects = "parking-summaries.>",
        .prefix = "parking-summaries",
        .consumer = "processor-summaries",
        .type = "millrace.v1.ParkingSummary",
        .source = "/parking/sessions",
        .fields = parking_summary_fields,
        .schema = parking_summary_schema,
        .size = sizeof(struct parking_summary),
        .id_offset = offsetof(struct parking_summary, id),
        .time_offset = offsetof(struct parking_summary, exit_time_ms),
        .key_offsets = {offsetof(struct parking_summary, garage_id)},
        .key_count = 1,
        .check = check_summary,
    },
    {
        .name = "weather-requests",
        .stream = "WEATHER_REQUESTS",
        .subjects = "weather.request",
        .prefix = "weather.request",
        .consumer = "responder",
        .type = "millrace.v1.WeatherRequest",
        .source = "/WeatherForecast",
        .fields = weather_request_fields,
        .schema = weather_request_schema,
        .size = sizeof(struct weather_request),
        .id_offset = offsetof(struct weather_request, id),
        .time_offset = offsetof(struct weather_request, request_time_ms),
    },
    {
        .name = "weather-results",
        .stream = "WEATHER_RESULTS",
        .subjects = "weather.result",
        .prefix = "weather.result",
        .consumer = "processor-weather",
        .type = "millrace.v1.WeatherResult",
        .source = "/WeatherForecast",
        .fields = weather_result_fields,
        .schema = weather_result_schema,
        .size = sizeof(struct weather_result),
        .id_offset = offsetof(struct weather_result, id),
        .time_offset = offsetof(struct weather_result, request_time_ms),
    },
};
const size_t topic_count = ARRAY_LEN(topics);

const struct topic *topic_find(const char *name)
{
    for (size_t i = 0; i < topic_count; i++)
        if (strcmp(topics[i].name, name) == 0)
            return &topics[i];
    return NULL;
}

const struct topic *topic_of_type(const char *type)
{
    for (size_t i = 0; i < topic_count; i++)
        if (strcmp(topics[i].type, type) == 0)
            return &topics[i];
    return NULL;
}

static bool has_prefix(const char *subject, const char *prefix)
{
    size_t size = strlen(prefix);

    return strncmp(subject, prefix, size) == 0 && (!subject[size] || subject[size] == '.');
}

const struct topic *topic_of_subject(const char *stream, const char *subject)
{
    for (size_t i = 0; i < topic_count; i++)
        if (strcmp(topics[i].stream, stream) == 0 && has_prefix(subject, topics[i].prefix))
            return &topics[i];
    return NULL;
}

bool topic_brings_stream(const struct topic *topic)
{
    for (const struct topic *other = topics; other < topic; other++)
        if (strcmp(other->stream, topic->stream) == 0)
            return false;
    return true;
}

bool topic_brings_consumer(const struct topic *topic)
{
    for (const struct topic *other = topics; other < topic; other++)
        if (strcmp(other->consumer, topic->consumer) == 0)
            return false;
    return true;
}

const struct id *topic_id(const struct topic *topic, const void *event)
{
    return (const struct id *)((const char *)event + topic->id_offset);
}

void topic_set_id(const struct topic *topic, void *event, struct id id)
{
    *(struct id *)((char *)event + topic->id_offset) = id;
}

int64_t topic_time_ms(const struct topic *topic, const void *event)
{
    return *(const int64_t *)((const char *)event + topic->time_offset);
}

static bool refuse_time(const struct topic *topic, struct error *err)
{
    const struct json_field *field = topic->fields;
    char pointer[sizeof(err->pointer)];

    while (field->offset != topic->time_offset)
        field++;
    snprintf(pointer, sizeof(pointer), "/%s", field->name);
    return error_input(err, JSON_RANGE, pointer, "field '%s': want a time from 1970 to 2199",
                       field->name);
}

static void fill_in(const struct topic *topic, const struct topic_defaults *defaults, void *event)
{
    struct id *id = (struct id *)((char *)event + topic->id_offset);
    int64_t *time_ms = (int64_t *)((char *)event + topic->time_offset);

    if (id_is_zero(id))
        *id = id_is_zero(&defaults->id) ? id_new(defaults->now_ms) : defaults->id;
    if (*time_ms == JSON_TIME_ABSENT)
        *time_ms = defaults->time_ms == JSON_TIME_ABSENT ? defaults->now_ms : defaults->time_ms;
}

bool topic_accept(const struct topic *topic, const struct topic_defaults *defaults,
                  const char *json, size_t size, void *out, struct error *err)
{
    if (!json_decode(topic->fields, json, size, out, defaults->arena, err))
        return false;
    fill_in(topic, defaults, out);

    int64_t time_ms = topic_time_ms(topic, out);
    if (time_ms < FIRST_MS || time_ms >= END_MS)
        return refuse_time(topic, err);
    return !topic->check || topic->check(out, err);
}

void topic_subject(const struct topic *topic, const void *event, struct buffer *out)
{
    buffer_text(out, topic->prefix);
    for (size_t i = 0; i < topic->key_count; i++)
        subject_key(out, *(const char *const *)((const char *)event + topic->key_offsets[i]));
}
