#include "support/test.h"

#include "base/macros.h"
#include "parameters.h"

#include <stdio.h>
#include <string.h>

static const char *const words[] = {"INFO", "ERROR", NULL};

enum { LIMIT, FROM, LEVEL, SEARCH, SITE, PLACE, SLOT_COUNT };

static const struct parameter table[] = {
    {.name = "limit",
     .kind = PARAMETER_INT,
     .slot = LIMIT,
     .min = 1,
     .max = 1000,
     .fallback = "100"},
    {.name = "from", .kind = PARAMETER_TIME, .slot = FROM},
    {.name = "from_timestamp", .kind = PARAMETER_SECONDS, .slot = FROM},
    {.name = "level", .kind = PARAMETER_WORD, .slot = LEVEL, .words = words},
    {.name = "q", .kind = PARAMETER_TEXT, .slot = SEARCH, .min = 1, .max = 8},
    {.name = "site_id", .kind = PARAMETER_TEXT, .slot = SITE, .in_path = true, .min = 1, .max = 4},
    {.name = "id", .kind = PARAMETER_ID, .slot = PLACE, .in_path = true},
    {0},
};

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

static const struct reads {
    const char *name;
    struct pair request[3];
    int slot;
    bool absent;
    int64_t integer;
    const char *text;
} reads[] = {
    {"a missing parameter has its fallback", {{0}}, LIMIT, .integer = 100},
    {"an empty parameter has its fallback", {{"limit", ""}}, LIMIT, .integer = 100},
    {"a missing parameter without fallback is absent", {{0}}, FROM, .absent = true},
    {"an empty parameter without fallback is absent", {{"q", ""}}, SEARCH, .absent = true},
    {"a parameter that is in no table is ignored", {{"color", "x"}}, LIMIT, .integer = 100},
    {"the least number", {{"limit", "1"}}, LIMIT, .integer = 1},
    {"the greatest number", {{"limit", "1000"}}, LIMIT, .integer = 1000},
    {"a time", {{"from", "1970-01-01T00:00:01.5Z"}}, FROM, .integer = 1500},
    {"seconds", {{"from_timestamp", "1700000000.25"}}, FROM, .integer = 1700000000250},
    {"seconds before the epoch", {{"from_timestamp", "-1"}}, FROM, .integer = -1000},
    {"no seconds is a time too", {{"from_timestamp", "0"}}, FROM, .integer = 0},
    {"seconds are rounded to milliseconds",
     {{"from_timestamp", "1700000000.0009"}},
     FROM,
     .integer = 1700000000001},
    {"the first name of a slot wins",
     {{"from_timestamp", "5"}, {"from", "1970-01-01T00:00:01Z"}},
     FROM,
     .integer = 1000},
    {"a word", {{"level", "ERROR"}}, LEVEL, .text = "ERROR"},
    {"a word in another case", {{"level", "error"}}, LEVEL, .text = "ERROR"},
    {"text as long as allowed", {{"q", "12345678"}}, SEARCH, .text = "12345678"},
    {"text beyond ASCII", {{"q", "\xc3\xa9"}}, SEARCH, .text = "\xc3\xa9"},
    {"text in the path", {{"site_id", "s 1"}}, SITE, .text = "s 1"},
};

static void check_read(void **state)
{
    const struct reads *row = *state;
    struct store_value slots[SLOT_COUNT] = {{0}};
    struct error err;

    assert_ok(parameters_read(table, find, row->request, slots, &err));
    const struct store_value *value = &slots[row->slot];
    assert_int_equal(value->present, !row->absent);
    assert_int_equal(value->integer, row->integer);
    if (row->text != NULL)
        assert_string_equal(value->text, row->text);
}

static const struct refusals {
    const char *name;
    struct pair request[2];
    const char *reason, *pointer;
} refusals[] = {
    {"a number below the least", {{"limit", "0"}}, JSON_RANGE, "/query/limit"},
    {"a negative number", {{"limit", "-1"}}, JSON_RANGE, "/query/limit"},
    {"a number above the greatest", {{"limit", "1001"}}, JSON_RANGE, "/query/limit"},
    {"a number that no integer holds",
     {{"limit", "99999999999999999999"}},
     JSON_RANGE,
     "/query/limit"},
    {"an id that is short", {{"id", "0190b0e0-0000-7000-8000"}}, JSON_FORMAT, "/path/id"},
    {"an id with something behind",
     {{"id", "0190b0e0-0000-7000-8000-000000000001x"}},
     JSON_FORMAT,
     "/path/id"},
    {"a fraction", {{"limit", "1.5"}}, JSON_TYPE, "/query/limit"},
    {"a number with something behind", {{"limit", "1x"}}, JSON_TYPE, "/query/limit"},
    {"a number behind a blank", {{"limit", " 1"}}, JSON_TYPE, "/query/limit"},
    {"a sign alone", {{"limit", "-"}}, JSON_TYPE, "/query/limit"},
    {"a date without a time", {{"from", "2026-11-21"}}, JSON_FORMAT, "/query/from"},
    {"a time without a zone", {{"from", "2026-11-21T08:30:00"}}, JSON_FORMAT, "/query/from"},
    {"seconds that are text", {{"from_timestamp", "now"}}, JSON_TYPE, "/query/from_timestamp"},
    {"seconds without a number", {{"from_timestamp", "e"}}, JSON_TYPE, "/query/from_timestamp"},
    {"seconds that are not a number",
     {{"from_timestamp", "nan"}},
     JSON_TYPE,
     "/query/from_timestamp"},
    {"hexadecimal seconds", {{"from_timestamp", "0x10"}}, JSON_TYPE, "/query/from_timestamp"},
    {"seconds without end", {{"from_timestamp", "1e999"}}, JSON_RANGE, "/query/from_timestamp"},
    {"seconds past the year 9999",
     {{"from_timestamp", "253402300800"}},
     JSON_RANGE,
     "/query/from_timestamp"},
    {"a word that is not known", {{"level", "LOUD"}}, JSON_RANGE, "/query/level"},
    {"text that is too long", {{"q", "123456789"}}, JSON_RANGE, "/query/q"},
    {"bytes that are no text", {{"q", "\xff"}}, JSON_ENCODING, "/query/q"},
    {"a path that is too long", {{"site_id", "12345"}}, JSON_RANGE, "/path/site_id"},
};

static void check_refusal(void **state)
{
    const struct refusals *row = *state;
    struct store_value slots[SLOT_COUNT] = {{0}};
    struct error err;

    assert_fails(parameters_read(table, find, row->request, slots, &err), ERROR_INVALID);
    assert_string_equal(err.reason, row->reason);
    assert_string_equal(err.pointer, row->pointer);
}

int main(void)
{
    return RUN_ROWS(reads, check_read) + RUN_ROWS(refusals, check_refusal);
}
