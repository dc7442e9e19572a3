/* The examples in proto/examples are the contract that clients read: each must hold. */
#include "support/test.h"

#include "base/document.h"
#include "event/topic.h"
#include "messages/logs.h"
#include "messages/parking.h"
#include "messages/readings.h"
#include "messages/weather.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The name of a file in the examples starts with the message's. */
static const struct kind {
    const char *name, *topic;
    size_t least_valid, least_invalid;
} kinds[] = {
    {"log", "logs", 2, 15},
    {"reading", "readings", 2, 13},
    {"parking-entry", "parking-entries", 2, 16},
    {"parking-exit", "parking-exits", 2, 16},
    {"parking-summary", "parking-summaries", 3, 17},
    {"weather-request", "weather-requests", 2, 10},
    {"weather-result", "weather-results", 3, 10},
};

union event {
    struct log_event log;
    struct reading_event reading;
    struct parking_entry entry;
    struct parking_exit exit;
    struct parking_summary summary;
    struct weather_request request;
    struct weather_result result;
};

static void read_file(const char *path, struct buffer *out)
{
    FILE *file = fopen(path, "re");
    size_t got = 0;

    assert_non_null(file);
    do {
        got = fread(buffer_reserve(out, 4096), 1, 4096, file);
        out->size += got;
    } while (got > 0);
    (void)buffer_reserve(out, 0);
    assert_int_equal(fclose(file), 0);
}

static bool accept_text(const struct topic *topic, const struct buffer *text, struct arena *arena,
                        union event *out, struct error *err)
{
    struct topic_defaults defaults = {.time_ms = JSON_TIME_ABSENT, .now_ms = 1000, .arena = arena};

    return topic_accept(topic, &defaults, text->data, text->size, out, err);
}

/* Taken, and the same after one more time around. */
static void check_valid(const struct topic *topic, const char *path)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    AUTO(buffer_free) struct buffer text = {0};
    AUTO(buffer_free) struct buffer once = {0};
    AUTO(buffer_free) struct buffer twice = {0};
    union event event;
    struct error err = {0};

    print_message("%s\n", path);
    read_file(path, &text);
    assert_ok(accept_text(topic, &text, arena, &event, &err));
    json_encode(topic->fields, &event, &once);
    assert_ok(accept_text(topic, &once, arena, &event, &err));
    json_encode(topic->fields, &event, &twice);
    assert_string_equal(once.data, twice.data);
}

static void valid(void **state)
{
    const struct kind *kind = *state;
    char pattern[512];
    glob_t found;

    snprintf(pattern, sizeof(pattern), "%s/%s*.json", MESSAGES_EXAMPLES, kind->name);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= kind->least_valid);
    for (size_t i = 0; i < found.gl_pathc; i++)
        check_valid(topic_find(kind->topic), found.gl_pathv[i]);
    globfree(&found);
}

static const char *text_at(const struct document *rows, int row, const char *member)
{
    char path[64];

    snprintf(path, sizeof(path), "%d.%s", row, member);
    return document_text(rows, path);
}

/* A row has the event as JSON, or as text where JSON could not hold it. */
static void check_invalid(const struct topic *topic, const struct document *rows, int row)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    AUTO(buffer_free) struct buffer body = {0};
    const char *text = text_at(rows, row, "text");
    char path[64];
    union event event;
    struct error err = {0};

    print_message("%s: %s\n", topic->name, text_at(rows, row, "name"));
    snprintf(path, sizeof(path), "%d.event", row);
    if (text)
        buffer_text(&body, text);
    else
        document_print(rows, path, &body);
    assert_fails(accept_text(topic, &body, arena, &event, &err), ERROR_INVALID);
    assert_string_equal(err.reason, text_at(rows, row, "reason"));
    assert_string_equal(err.pointer, text_at(rows, row, "pointer"));
}

static void invalid(void **state)
{
    const struct kind *kind = *state;
    AUTO(buffer_free) struct buffer text = {0};
    AUTO(document_free) struct document *rows = NULL;
    struct error err = {0};
    char path[512];

    snprintf(path, sizeof(path), "%s/invalid/%s.json", MESSAGES_EXAMPLES, kind->name);
    read_file(path, &text);
    assert_ok(document_parse(&rows, text.data, text.size, &err));
    assert_true(document_count(rows, "") >= (int)kind->least_invalid);
    for (int row = 0; row < document_count(rows, ""); row++)
        check_invalid(topic_find(kind->topic), rows, row);
}

/* What the schema says must be what the field table does. */
static void schema_matches(void **state)
{
    const struct topic *topic = topic_find(((const struct kind *)*state)->topic);
    AUTO(document_free) struct document *schema = NULL;
    struct error err = {0};
    char path[128];
    int required = 0;

    assert_ok(document_parse(&schema, topic->schema, strlen(topic->schema), &err));
    for (const struct json_field *field = topic->fields; field->name; field++) {
        snprintf(path, sizeof(path), "properties.%s.description", field->name);
        assert_non_null(document_text(schema, path));
        snprintf(path, sizeof(path), "properties.%s.maxLength", field->name);
        if (field->kind == JSON_TEXT)
            assert_int_equal(document_int(schema, path, -1), (int64_t)field->max);
        required += field->required;
    }
    assert_int_equal(document_count(schema, "required"), required);
}

static bool accept_message_of(size_t size, struct error *err)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    AUTO(buffer_free) struct buffer text = {0};
    union event event;

    buffer_text(&text, "{\"message\":\"");
    memset(buffer_reserve(&text, size), 'm', size);
    text.size += size;
    buffer_text(&text, "\"}");
    return accept_text(topic_find("logs"), &text, arena, &event, err);
}

static void limits_are_bytes(void **state)
{
    struct error err = {0};

    (void)state;
    assert_ok(accept_message_of(65536, &err));
    assert_fails(accept_message_of(65537, &err), ERROR_INVALID);
    assert_string_equal(err.pointer, "/message");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(limits_are_bytes)};

    return RUN_ROWS(kinds, valid) + RUN_ROWS(kinds, invalid) + RUN_ROWS(kinds, schema_matches) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
