#include "support/test.h"

#include "base/macros.h"
#include "question.h"

#include <string.h>

#define NOW_MS INT64_C(1700000000000)
#define HOUR_MS INT64_C(3600000)

/* A request is pairs of name and value. */
struct pair {
    const char *name, *value;
};

static const char *find(const void *request, const struct parameter *parameter)
{
    for (const struct pair *pair = request; pair->name != NULL; pair++)
        if (strcmp(pair->name, parameter->name) == 0)
            return pair->value;
    return NULL;
}

static bool ask(struct question *question, const struct pair *request, struct error *err)
{
    AUTO(arena_free) struct arena *arena = arena_new(256);

    return question_read(question, find, request, NOW_MS, arena, err);
}

static const struct values {
    const char *name;
    const struct resource *resource;
    struct pair request[4];
    enum slot slot;
    bool absent;
    int64_t integer;
    const char *text;
} values[] = {
    {"a page has 100 rows", &resource_logs, {{0}}, SLOT_LIMIT, .integer = 100},
    {"a page of readings too", &resource_readings, {{"site_id", "s"}}, SLOT_LIMIT, .integer = 100},
    {"a page begins at any time", &resource_logs, {{0}}, SLOT_FROM, .absent = true},
    {"a page ends at any time", &resource_logs, {{0}}, SLOT_TO, .absent = true},
    {"the first page has no cursor", &resource_logs, {{0}}, SLOT_KEYS, .absent = true},
    {"statistics end now", &resource_logs_stats, {{0}}, SLOT_TO, .integer = NOW_MS},
    {"statistics of logs are of an hour",
     &resource_logs_stats,
     {{0}},
     SLOT_FROM,
     .integer = NOW_MS - HOUR_MS},
    {"statistics of logs are of an hour before the end",
     &resource_logs_stats,
     {{"to", "1970-01-01T02:00:00Z"}},
     SLOT_FROM,
     .integer = HOUR_MS},
    {"statistics of a site are of a day",
     &resource_site_stats,
     {{"site_id", "s"}},
     SLOT_FROM,
     .integer = NOW_MS - 24 * HOUR_MS},
    {"statistics of a site are per hour",
     &resource_site_stats,
     {{"site_id", "s"}},
     SLOT_BUCKET,
     .text = "hour"},
    {"the whole of 7 days of logs",
     &resource_logs_stats,
     {{"from_timestamp", "0"}, {"to_timestamp", "604800"}},
     SLOT_TO,
     .integer = INT64_C(7) * 24 * HOUR_MS},
    {"a level in any case", &resource_logs, {{"level", "warning"}}, SLOT_LEVEL, .text = "WARNING"},
    {"a garage is of a day",
     &resource_parking_garage,
     {{"garage_id", "north"}},
     SLOT_FROM,
     .integer = NOW_MS - 24 * HOUR_MS},
    {"sessions begin at any time", &resource_parking_sessions, {{0}}, SLOT_FROM, .absent = true},
    {"open or not, both are listed", &resource_parking_sessions, {{0}}, SLOT_OPEN, .absent = true},
    {"true in any case", &resource_parking_sessions, {{"open", "True"}}, SLOT_OPEN, .text = "true"},
    {"the garage is in the path",
     &resource_parking_garage,
     {{"garage_id", "north"}},
     SLOT_GARAGE,
     .text = "north"},
    {"a page of invoices has 100 rows",
     &resource_parking_invoices,
     {{0}},
     SLOT_LIMIT,
     .integer = 100},
    {"the site is in the path",
     &resource_readings,
     {{"site_id", "north"}},
     SLOT_SITE,
     .text = "north"},
};

static void check_value(void **state)
{
    const struct values *row = *state;
    struct question question = {.resource = row->resource};
    struct error err;

    assert_ok(ask(&question, row->request, &err));
    const struct store_value *value = &question.slots[row->slot];
    assert_int_equal(value->present, !row->absent);
    assert_int_equal(value->integer, row->integer);
    if (row->text != NULL)
        assert_string_equal(value->text, row->text);
}

static const struct refusals {
    const char *name;
    const struct resource *resource;
    struct pair request[4];
    const char *reason, *pointer;
} refusals[] = {
    {"no rows", &resource_logs, {{"limit", "0"}}, JSON_RANGE, "/query/limit"},
    {"more than 1000 rows", &resource_logs, {{"limit", "1001"}}, JSON_RANGE, "/query/limit"},
    {"a level that there is not", &resource_logs, {{"level", "LOUD"}}, JSON_RANGE, "/query/level"},
    {"a bucket that there is not",
     &resource_site_stats,
     {{"site_id", "s"}, {"bucket", "week"}},
     JSON_RANGE,
     "/query/bucket"},
    {"what is no cursor", &resource_logs, {{"cursor", "x"}}, "invalid_cursor", "/query/cursor"},
    {"what is neither open nor not",
     &resource_parking_sessions,
     {{"open", "1"}},
     JSON_RANGE,
     "/query/open"},
    {"a plate that is none",
     &resource_parking_invoices,
     {{"plate", "ABCDEFGHIJKLM"}},
     JSON_RANGE,
     "/query/plate"},
    {"a garage of more than 400 days",
     &resource_parking_garage,
     {{"garage_id", "g"}, {"from_timestamp", "0"}},
     JSON_RANGE,
     "/query/from"},
    {"a request that is no UUID",
     &resource_weather_request,
     {{"id", "42"}},
     JSON_FORMAT,
     "/path/id"},
    {"statistics that end before they begin",
     &resource_logs_stats,
     {{"from_timestamp", "2"}, {"to_timestamp", "1"}},
     JSON_RANGE,
     "/query/from"},
    {"statistics of no time",
     &resource_logs_stats,
     {{"from_timestamp", "2"}, {"to_timestamp", "2"}},
     JSON_RANGE,
     "/query/from"},
    {"statistics of logs of more than 7 days",
     &resource_logs_stats,
     {{"from_timestamp", "0"}, {"to_timestamp", "604800.001"}},
     JSON_RANGE,
     "/query/from"},
    {"statistics from a time that is to come",
     &resource_logs_stats,
     {{"from_timestamp", "1700000001"}},
     JSON_RANGE,
     "/query/from"},
};

static void check_refusal(void **state)
{
    const struct refusals *row = *state;
    struct question question = {.resource = row->resource};
    struct error err;

    assert_fails(ask(&question, row->request, &err), ERROR_INVALID);
    assert_string_equal(err.reason, row->reason);
    assert_string_equal(err.pointer, row->pointer);
}

static const struct resource *const resources[] = {&resource_logs,
                                                   &resource_logs_stats,
                                                   &resource_readings,
                                                   &resource_site_stats,
                                                   &resource_parking_sessions,
                                                   &resource_parking_garage,
                                                   &resource_parking_invoices,
                                                   &resource_weather_request};

static void check_arguments(const struct resource *resource, const struct resource_part *part)
{
    static const enum store_type types[SLOTS] = {
        [SLOT_FROM] = STORE_TIME,    [SLOT_TO] = STORE_TIME,     [SLOT_LEVEL] = STORE_TEXT,
        [SLOT_SERVICE] = STORE_TEXT, [SLOT_SEARCH] = STORE_TEXT, [SLOT_SITE] = STORE_TEXT,
        [SLOT_DEVICE] = STORE_TEXT,  [SLOT_BUCKET] = STORE_TEXT, [SLOT_GAP] = STORE_INT,
        [SLOT_LIMIT] = STORE_INT,    [SLOT_UNCUT] = STORE_INT,   [SLOT_PLATE] = STORE_TEXT,
        [SLOT_GARAGE] = STORE_TEXT,  [SLOT_OPEN] = STORE_TEXT,   [SLOT_REQUEST] = STORE_ID,
        [SLOT_CAPACITY] = STORE_INT,
    };

    for (size_t i = 0; i < part->query->parameter_count; i++) {
        enum slot slot = part->arguments[i];
        enum store_type type =
            slot < SLOT_KEYS ? types[slot] : resource->cursor->keys[slot - SLOT_KEYS];
        assert_int_equal(type, part->query->parameters[i]);
    }
}

/* A statement gets what its parameters say, and each of them from a slot that is filled with it. */
static void every_argument_has_the_type_of_its_statement(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(resources); i++)
        for (const struct resource_part *part = resources[i]->parts; part->query != NULL; part++)
            check_arguments(resources[i], part);
}

static void a_page_goes_on_where_its_cursor_says(void **state)
{
    AUTO(buffer_free) struct buffer cursor = {0};
    struct question question = {.resource = &resource_logs};
    struct error err;

    (void)state;
    cursor_write(resource_logs.cursor, "1700000000123|42", 16, &cursor);
    assert_ok(ask(&question, (struct pair[]){{"cursor", cursor.data}, {0}}, &err));
    assert_int_equal(question.slots[SLOT_KEYS].integer, 1700000000123);
    assert_int_equal(question.slots[SLOT_KEYS + 1].integer, 42);
}

static void a_cursor_of_logs_is_none_of_readings(void **state)
{
    AUTO(buffer_free) struct buffer cursor = {0};
    struct question question = {.resource = &resource_readings};
    struct error err;

    (void)state;
    cursor_write(resource_logs.cursor, "1700000000123|42", 16, &cursor);
    assert_fails(
        ask(&question, (struct pair[]){{"site_id", "s"}, {"cursor", cursor.data}, {0}}, &err),
        ERROR_INVALID);
    assert_string_equal(err.reason, "invalid_cursor");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_argument_has_the_type_of_its_statement),
        cmocka_unit_test(a_page_goes_on_where_its_cursor_says),
        cmocka_unit_test(a_cursor_of_logs_is_none_of_readings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(values, check_value) +
           RUN_ROWS(refusals, check_refusal);
}
