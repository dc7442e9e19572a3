#include "support/test.h"

#include "base/json.h"
#include "event/cloudevents.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A request's headers as lines, "name: value". */
static const char *header_of(void *context, const char *name)
{
    static char values[8][256]; /* as many as one request needs at once */
    static size_t next;
    const char *line = context;
    size_t size = strlen(name);

    while (line && *line) {
        const char *end = strchr(line, '\n');
        if (strncasecmp(line, name, size) == 0 && line[size] == ':') {
            int length = (int)((end ? end : line + strlen(line)) - (line + size + 2));
            char *value = values[next++ % ARRAY_LEN(values)];
            snprintf(value, sizeof(values[0]), "%.*s", length, line + size + 2);
            return value;
        }
        line = end ? end + 1 : NULL;
    }
    return NULL;
}

static struct cloudevent_request request_of(const char *headers, const char *body)
{
    return (struct cloudevent_request){
        .header = header_of, .context = (void *)headers, .body = body, .size = strlen(body)};
}

#define BINARY "CE-SpecVersion: 1.0\nce-type: t\nce-source: /s\nContent-Type: application/json\n"
#define STRUCTURED "content-type: application/cloudevents+json; charset=utf-8"
#define ENVELOPE "\"specversion\":\"1.0\",\"id\":\"42\",\"source\":\"/s\",\"type\":\"t\""
#define UUID "01932f0e-7c00-7abc-8def-0123456789ab"

static const struct good {
    const char *name, *headers, *body;
    const char *source, *data, *place;
    int64_t time_ms;
} goods[] = {
    {"binary", BINARY "ce-id: 42", "{\"a\":1}", "/s", "{\"a\":1}", "", JSON_TIME_ABSENT},
    {"binary with a time", BINARY "ce-id: 42\nce-time: 1970-01-01T00:00:01Z", "{}", "/s", "{}", "",
     1000},
    {"binary, escaped",
     "ce-specversion: 1.0\nce-id: 42\nce-type: t\nce-source: \"a%20\\\"%C3%BC%\"", "{}",
     "a \"\xc3\xbc%", "{}", "", JSON_TIME_ABSENT},
    {"binary, any JSON type",
     "ce-specversion: 1.0\nce-id: 42\nce-type: t\nce-source: /s\n"
     "content-type: application/vnd.x+json; v=1",
     "{}", "/s", "{}", "", JSON_TIME_ABSENT},
    {"structured", STRUCTURED,
     "{" ENVELOPE ",\"data\":{ \"a\" : 1.50 },\"time\":\"1970-01-01T00:00:01Z\"}", "/s",
     "{\"a\":1.50}", "/data", 1000},
    {"structured, its headers do not count", STRUCTURED "\nce-specversion: 0.3",
     "{" ENVELOPE ",\"data\":{},\"datacontenttype\":\"text/json\",\"extension\":7}", "/s", "{}",
     "/data", JSON_TIME_ABSENT},
};

static void good(void **state)
{
    const struct good *row = *state;
    struct cloudevent_request request = request_of(row->headers, row->body);
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    struct cloudevent event;
    struct error err = {0};
    AUTO(buffer_free) struct buffer key = {0};

    assert_true(cloudevent_is(&request));
    assert_ok(cloudevent_read(&request, arena, &event, &err));
    assert_string_equal(event.type, "t");
    assert_string_equal(event.source, row->source);
    assert_int_equal(event.size, strlen(row->data));
    assert_memory_equal(event.data, row->data, event.size);
    assert_string_equal(event.place, row->place);
    assert_true(event.time_ms == row->time_ms);

    buffer_append(&key, row->source, strlen(row->source) + 1);
    buffer_text(&key, "42");
    struct id want = id_derive("cloudevent", key.data, key.size);
    assert_memory_equal(&event.id, &want, sizeof(want));
}

static const struct bad {
    const char *name, *headers, *body;
    const char *reason, *pointer, *says;
} bads[] = {
    {"no id", BINARY, "{}", JSON_MISSING, "", "ce-id"},
    {"no source", "ce-specversion: 1.0\nce-id: 1\nce-type: t", "{}", JSON_MISSING, "", "ce-source"},
    {"no type", "ce-specversion: 1.0\nce-id: 1\nce-source: s", "{}", JSON_MISSING, "", "ce-type"},
    {"an empty id", BINARY "ce-id: ", "{}", JSON_RANGE, "", "ce-id"},
    {"an id that is not text", BINARY "ce-id: %FF", "{}", JSON_ENCODING, "", "ce-id"},
    {"a NUL in an id", BINARY "ce-id: a%00b", "{}", JSON_ENCODING, "", "ce-id"},
    {"another version", "ce-specversion: 0.3\nce-id: 1\nce-type: t\nce-source: s", "{}", JSON_RANGE,
     "", "1.0"},
    {"a time without a zone", BINARY "ce-id: 1\nce-time: 2026-11-21T08:30:00", "{}", JSON_FORMAT,
     "", "ce-time"},
    {"data that is not JSON",
     "ce-specversion: 1.0\nce-id: 1\nce-type: t\nce-source: s\ncontent-type: text/plain", "x",
     JSON_FORMAT, "", "JSON"},
    {"a batch", "content-type: application/cloudevents-batch+json", "[]", JSON_FORMAT, "", "only"},
    {"structured, not JSON", STRUCTURED, "x", JSON_SYNTAX, "", "byte"},
    {"structured, no type", STRUCTURED,
     "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"data\":{}}", JSON_MISSING, "/type",
     "type"},
    {"structured, no data", STRUCTURED, "{" ENVELOPE "}", JSON_MISSING, "/data", "data"},
    {"structured, data is a list", STRUCTURED, "{" ENVELOPE ",\"data\":[]}", JSON_TYPE, "/data",
     "object"},
    {"structured, data in base64", STRUCTURED, "{" ENVELOPE ",\"data_base64\":\"e30=\"}",
     JSON_FORMAT, "/data_base64", "JSON"},
    {"structured, data that says it is text", STRUCTURED,
     "{" ENVELOPE ",\"datacontenttype\":\"text/plain\",\"data\":{}}", JSON_FORMAT,
     "/datacontenttype", "JSON"},
    {"structured, another version", STRUCTURED,
     "{\"specversion\":\"2\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"data\":{}}", JSON_RANGE,
     "/specversion", "1.0"},
};

static void bad(void **state)
{
    const struct bad *row = *state;
    struct cloudevent_request request = request_of(row->headers, row->body);
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    struct cloudevent event;
    struct error err = {0};

    assert_fails(cloudevent_read(&request, arena, &event, &err), ERROR_INVALID);
    assert_string_equal(err.reason, row->reason);
    assert_string_equal(err.pointer, row->pointer);
    assert_non_null(strstr(err.message, row->says));
}

static void a_plain_request_is_none(void **state)
{
    struct cloudevent_request request = request_of("content-type: application/json", "{}");

    (void)state;
    assert_false(cloudevent_is(&request));
}

static void a_uuid_is_the_id_itself(void **state)
{
    struct cloudevent_request request = request_of(BINARY "ce-id: " UUID "\nce-subject: x", "{}");
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    struct cloudevent event;
    struct error err = {0};
    char text[ID_TEXT_SIZE];

    (void)state;
    assert_ok(cloudevent_read(&request, arena, &event, &err));
    id_format(&event.id, text);
    assert_string_equal(text, UUID);
    assert_string_equal(event.subject, "x");
}

static void errors_are_located_in_the_body(void **state)
{
    struct cloudevent event = {.place = "/data"};
    struct error err = {.pointer = "/site_id"};

    (void)state;
    assert_false(cloudevent_locate(&event, &err));
    assert_string_equal(err.pointer, "/data/site_id");

    memset(err.pointer, 'x', sizeof(err.pointer) - 1);
    assert_false(cloudevent_locate(&event, &err));
    assert_string_equal(err.pointer, "/data");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_is_none),
        cmocka_unit_test(a_uuid_is_the_id_itself),
        cmocka_unit_test(errors_are_located_in_the_body),
    };

    return RUN_ROWS(goods, good) + RUN_ROWS(bads, bad) + cmocka_run_group_tests(tests, NULL, NULL);
}
