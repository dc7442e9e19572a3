#include "support/test.h"

#include "event/topic.h"
#include "event/traceparent.h"
#include "messages/logs.h"
#include "messages/readings.h"

#include <string.h>

#define NOW_MS INT64_C(1795249800123) /* 2026-11-21T08:30:00.123Z */

static bool accept_with(const char *name, const char *json, const struct topic_defaults *defaults,
                        void *out, struct error *err)
{
    return topic_accept(topic_find(name), defaults, json, strlen(json), out, err);
}

static void table_is_whole(void **state)
{
    (void)state;
    assert_true(topic_count >= 2);
    for (size_t i = 0; i < topic_count; i++) {
        const struct topic *topic = &topics[i];
        assert_ptr_equal(topic_find(topic->name), topic);
        assert_ptr_equal(topic_of_type(topic->type), topic);
        assert_int_equal(strncmp(topic->subjects, topic->name, strlen(topic->name)), 0);
        assert_string_equal(topic->subjects + strlen(topic->name), ".>");
        assert_non_null(topic->stream);
        assert_non_null(topic->consumer);
        assert_int_equal(topic->source[0], '/');
        assert_true(topic->key_count >= 1 && topic->key_count <= TOPIC_KEYS_MAX);
        assert_int_equal(topic->schema[0], '{');
    }
    assert_null(topic_find("Logs"));
    assert_null(topic_of_type("millrace.v1.Nothing"));
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
    AUTO(buffer_free) struct buffer subject = {0};

    (void)state;
    topic_subject(topic_find("logs"), &log, &subject);
    assert_string_equal(subject.data, "logs.check=20out");
    buffer_clear(&subject);
    topic_subject(topic_find("readings"), &reading, &subject);
    assert_string_equal(subject.data, "readings.berlin.a=2Eb");
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
        cmocka_unit_test(absent_is_filled_in),
        cmocka_unit_test(what_it_brings_stays),
        cmocka_unit_test(subjects),
    };

    return RUN_ROWS(moments, moment) + RUN_ROWS(traces, trace) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
