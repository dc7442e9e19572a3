#include "support/test.h"

#include "event/topic.h"
#include "event/traceparent.h"
#include "messages/logs.h"
#include "messages/parking.h"
#include "messages/readings.h"
#include "messages/weather.h"

#include <string.h>

#define NOW_MS INT64_C(1795249800123) /* 2026-11-21T08:30:00.123Z */

static bool accept_with(const char *name, const char *json, const struct topic_defaults *defaults,
                        void *out, struct error *err)
{
    return topic_accept(topic_find(name), defaults, json, strlen(json), out, err);
}

/* Its own subjects are among those of its stream. */
static bool is_for_stream(const struct topic *topic)
{
    size_t size = strlen(topic->subjects);

    if (!topic->key_count)
        return strcmp(topic->prefix, topic->subjects) == 0;
    return size > 2 && strcmp(topic->subjects + size - 2, ".>") == 0 &&
           strncmp(topic->prefix, topic->subjects, size - 2) == 0 &&
           (!topic->prefix[size - 2] || topic->prefix[size - 2] == '.');
}

static void table_is_whole(void **state)
{
    (void)state;
    assert_true(topic_count >= 7);
    for (size_t i = 0; i < topic_count; i++) {
        const struct topic *topic = &topics[i];
        assert_ptr_equal(topic_find(topic->name), topic);
        assert_ptr_equal(topic_of_type(topic->type), topic);
        assert_ptr_equal(topic_of_subject(topic->stream, topic->prefix), topic);
        assert_true(is_for_stream(topic));
        assert_non_null(topic->consumer);
        assert_int_equal(topic->source[0], '/');
        assert_true(topic->key_count <= TOPIC_KEYS_MAX);
        assert_int_equal(topic->schema[0], '{');
    }
    assert_null(topic_find("Logs"));
    assert_null(topic_of_type("millrace.v1.Nothing"));
}

/* Topics that share a stream or a consumer say the same of it, and one of them brings it. */
static void shared_streams_are_brought_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < topic_count; i++) {
        size_t streams = 0, consumers = 0;
        for (size_t j = 0; j < topic_count; j++) {
            bool shared = strcmp(topics[i].stream, topics[j].stream) == 0;
            if (shared)
                assert_string_equal(topics[i].subjects, topics[j].subjects);
            streams += shared && topic_brings_stream(&topics[j]);
            if (strcmp(topics[i].consumer, topics[j].consumer) == 0)
                assert_true(shared);
            consumers += strcmp(topics[i].consumer, topics[j].consumer) == 0 &&
                         topic_brings_consumer(&topics[j]);
        }
        assert_int_equal(streams, 1);
        assert_int_equal(consumers, 1);
    }
}

static const struct of_subject {
    const char *name, *stream, *subject, *topic; /* NULL: none */
} of_subjects[] = {
    {"an entry", "PARKING", "parking.entry.main", "parking-entries"},
    {"an exit", "PARKING", "parking.exit.main", "parking-exits"},
    {"a pack of several garages", "PARKING", "parking.exit", "parking-exits"},
    {"a subject without a key", "WEATHER_REQUESTS", "weather.request", "weather-requests"},
    {"a prefix must end at a token", "PARKING", "parking.exits.main", NULL},
    {"neither entry nor exit", "PARKING", "parking.other", NULL},
    {"the subject of another stream", "LOGS", "parking.exit.main", NULL},
    {"no such stream", "NOTHING", "logs.a", NULL},
};

static void of_subject(void **state)
{
    const struct of_subject *row = *state;
    const struct topic *topic = topic_of_subject(row->stream, row->subject);

    assert_ptr_equal(topic, row->topic ? topic_find(row->topic) : NULL);
}

static void absent_is_filled_in(void **state)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    struct topic_defaults defaults = {
        .id = id_new(NOW_MS), .time_ms = NOW_MS - 5, .now_ms = NOW_MS, .arena = arena};
    struct log_event log;
    struct error err = {0};

    (void)state;
    assert_ok(accept_with("logs", "{\"message\":\"m\"}", &defaults, &log, &err));
    assert_memory_equal(&log.id, &defaults.id, sizeof(log.id));
    assert_memory_equal(topic_id(topic_find("logs"), &log), &defaults.id, sizeof(log.id));
    assert_true(log.timestamp_ms == NOW_MS - 5);
    assert_true(topic_time_ms(topic_find("logs"), &log) == NOW_MS - 5);
    assert_int_equal(log.level, LOG_EVENT_INFO);
    assert_string_equal(log.service, "unknown");

    defaults.id = (struct id){0};
    defaults.time_ms = JSON_TIME_ABSENT;
    assert_ok(accept_with("logs", "{\"message\":\"m\"}", &defaults, &log, &err));
    assert_int_equal(log.id.bytes[6] >> 4, 7);
    assert_true(log.timestamp_ms == NOW_MS);
}

static void what_it_brings_stays(void **state)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    struct topic_defaults defaults = {
        .id = id_new(NOW_MS), .time_ms = 5, .now_ms = NOW_MS, .arena = arena};
    struct log_event log;
    struct error err = {0};
    char text[ID_TEXT_SIZE];

    (void)state;
    assert_ok(accept_with("logs",
                          "{\"message\":\"m\",\"id\":\"01932f0e-7c00-7abc-8def-0123456789ab\","
                          "\"timestamp\":\"2026-11-21T08:30:00.123Z\"}",
                          &defaults, &log, &err));
    id_format(&log.id, text);
    assert_string_equal(text, "01932f0e-7c00-7abc-8def-0123456789ab");
    assert_true(log.timestamp_ms == NOW_MS);
}

static const struct moment {
    const char *name, *time;
    bool want;
} moments[] = {
    {"just before 1970", "1969-12-31T23:59:59.999Z", false},
    {"the start of 1970", "1970-01-01T00:00:00Z", true},
    {"the end of 2199", "2199-12-31T23:59:59.999Z", true},
    {"the start of 2200", "2200-01-01T00:00:00Z", false},
};

static void moment(void **state)
{
    const struct moment *row = *state;
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    AUTO(buffer_free) struct buffer json = {0};
    struct topic_defaults defaults = {.time_ms = JSON_TIME_ABSENT, .arena = arena};
    struct reading_event reading;
    struct error err = {0};

    buffer_print(&json,
                 "{\"timestamp\":\"%s\",\"site_id\":\"s\",\"device_id\":\"d\",\"power_reading\":1}",
                 row->time);
    bool got = accept_with("readings", json.data, &defaults, &reading, &err);
    assert_int_equal(got, row->want);
    assert_string_equal(got ? JSON_RANGE : err.reason, JSON_RANGE);
    assert_string_equal(got ? "/timestamp" : err.pointer, "/timestamp");
}

static void subjects(void **state)
{
    const struct log_event log = {.service = "check out"};
    const struct reading_event reading = {.site_id = "berlin", .device_id = "a.b"};
    const struct parking_entry entry = {.garage_id = "north", .vehicle_plate = "AAA000"};
    const struct weather_request request = {.city = "Berlin"};
    AUTO(buffer_free) struct buffer subject = {0};

    (void)state;
    topic_subject(topic_find("logs"), &log, &subject);
    assert_string_equal(subject.data, "logs.check=20out");
    buffer_clear(&subject);
    topic_subject(topic_find("readings"), &reading, &subject);
    assert_string_equal(subject.data, "readings.berlin.a=2Eb");
    buffer_clear(&subject);
    topic_subject(topic_find("parking-entries"), &entry, &subject);
    assert_string_equal(subject.data, "parking.entry.north");
    buffer_clear(&subject);
    topic_subject(topic_find("weather-requests"), &request, &subject);
    assert_string_equal(subject.data, "weather.request");
}

static const struct trace {
    const char *name, *text;
    bool want;
} traces[] = {
    {"version 00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true},
    {"a later version", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true},
    {"a later version with more", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
     true},
    {"a later version with more, no dash",
     "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x", false},
    {"version 00 with more", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", false},
    {"version ff", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false},
    {"upper case", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false},
    {"a zero trace", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
    {"a zero parent", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false},
    {"other dashes", "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false},
    {"a letter past f", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g", false},
    {"too short", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", false},
    {"nothing", "", false},
};

static void trace(void **state)
{
    const struct trace *row = *state;

    assert_int_equal(traceparent_is_valid(row->text, strlen(row->text)), row->want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_whole),
        cmocka_unit_test(shared_streams_are_brought_once),
        cmocka_unit_test(absent_is_filled_in),
        cmocka_unit_test(what_it_brings_stays),
        cmocka_unit_test(subjects),
    };

    return RUN_ROWS(moments, moment) + RUN_ROWS(of_subjects, of_subject) + RUN_ROWS(traces, trace) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
