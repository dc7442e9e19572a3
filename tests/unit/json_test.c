#include "support/test.h"

#include "base/json.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const colours[] = {"RED", "GREEN", NULL};

struct thing {
    int32_t count;
    double power;
    bool on;
    const char *text, *label;
    int colour;
    int64_t time_ms;
    struct id id;
    const char *extra;
};

#define AT(text, member) .name = (text), .offset = offsetof(struct thing, member)

static const struct json_field fields[] = {
    {AT("count", count), .kind = JSON_INT, .min = -5, .max = 5, .fallback = 3},
    {AT("power", power), .kind = JSON_DOUBLE},
    {AT("on", on), .kind = JSON_BOOL, .fallback = true},
    {AT("text", text), .kind = JSON_TEXT, .required = true, .min = 1, .max = 8},
    {AT("label", label), .kind = JSON_TEXT, .fallback_text = "none"},
    {AT("colour", colour), .kind = JSON_ENUM, .words = colours, .fallback = 1},
    {AT("time", time_ms), .kind = JSON_TIME},
    {AT("id", id), .kind = JSON_ID},
    {AT("extra", extra), .kind = JSON_OBJECT, .max = 20},
    {0},
};

static bool decode(const char *text, struct thing *out, struct arena *arena, struct error *err)
{
    return json_decode(fields, text, strlen(text), out, arena, err);
}

#define DEEP_8(text) "[[[[[[[[" text "]]]]]]]]"
#define DIGITS_10 "1234567890"
#define DIGITS_60 DIGITS_10 DIGITS_10 DIGITS_10 DIGITS_10 DIGITS_10 DIGITS_10
#define NAME_50 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwx"

static const struct refusal {
    const char *name, *text, *reason, *pointer;
} refusals[] = {
    {"nothing", "", JSON_EMPTY, ""},
    {"only white space", " \t\r\n", JSON_EMPTY, ""},
    {"a word that is none", "nil", JSON_SYNTAX, ""},
    {"a bare minus", "{\"text\":\"a\",\"power\":-}", JSON_SYNTAX, ""},
    {"a leading zero", "{\"text\":\"a\",\"power\":01}", JSON_SYNTAX, ""},
    {"a leading plus", "{\"text\":\"a\",\"power\":+1}", JSON_SYNTAX, ""},
    {"a point without digits", "{\"text\":\"a\",\"power\":1.}", JSON_SYNTAX, ""},
    {"a point first", "{\"text\":\"a\",\"power\":.5}", JSON_SYNTAX, ""},
    {"an exponent without digits", "{\"text\":\"a\",\"power\":1e+}", JSON_SYNTAX, ""},
    {"hexadecimal", "{\"text\":\"a\",\"power\":0x10}", JSON_SYNTAX, ""},
    {"NaN", "{\"text\":\"a\",\"power\":NaN}", JSON_SYNTAX, ""},
    {"Infinity", "{\"text\":\"a\",\"power\":Infinity}", JSON_SYNTAX, ""},
    {"more than a double holds", "{\"text\":\"a\",\"power\":1e999}", JSON_RANGE, "/power"},
    {"less than a double holds", "{\"text\":\"a\",\"power\":-1E999}", JSON_RANGE, "/power"},
    {"so little that its digits are many", "{\"text\":\"a\",\"x\":[1e-20000]}", JSON_RANGE, ""},
    {"the same in an unknown field", "{\"text\":\"a\",\"x\":1e999}", JSON_RANGE, "/x"},
    {"the same with a capital E", "{\"text\":\"a\",\"x\":1E999}", JSON_RANGE, "/x"},
    {"the same deep inside", "{\"text\":\"a\",\"x\":[0,{\"y\":1e999}]}", JSON_RANGE, "/x/1/y"},
    {"a number of 64 digits", "{\"text\":\"a\",\"x\":" DIGITS_60 "1234}", JSON_RANGE, ""},
    {"a trailing comma", "{\"text\":\"a\",}", JSON_SYNTAX, ""},
    {"a trailing comma in a list", "{\"text\":\"a\",\"x\":[1,]}", JSON_SYNTAX, ""},
    {"no comma", "{\"text\":\"a\" \"x\":1}", JSON_SYNTAX, ""},
    {"no colon", "{\"text\" \"a\"}", JSON_SYNTAX, ""},
    {"a name without quotes", "{text:\"a\"}", JSON_SYNTAX, ""},
    {"a comment", "{\"text\":\"a\"} // note", JSON_SYNTAX, ""},
    {"a second value", "{\"text\":\"a\"}{}", JSON_SYNTAX, ""},
    {"an object without an end", "{\"text\":\"a\"", JSON_SYNTAX, ""},
    {"text without an end", "{\"text\":\"a", JSON_SYNTAX, ""},
    {"an escape at the end", "{\"text\":\"a\\", JSON_SYNTAX, ""},
    {"the wrong bracket", "{\"text\":\"a\",\"x\":[1}", JSON_SYNTAX, ""},
    {"a byte order mark", "\xef\xbb\xbf{\"text\":\"a\"}", JSON_SYNTAX, ""},
    {"a form feed as white space", "\f{\"text\":\"a\"}", JSON_SYNTAX, ""},
    {"a line feed in text", "{\"text\":\"a\nb\"}", JSON_SYNTAX, ""},
    {"an unknown escape", "{\"text\":\"a\\x\"}", JSON_SYNTAX, ""},
    {"three hex digits", "{\"text\":\"\\u12g4\"}", JSON_SYNTAX, ""},
    {"NUL by escape", "{\"text\":\"a\\u0000b\"}", JSON_ENCODING, ""},
    {"a lone high surrogate", "{\"text\":\"\\ud83d!\"}", JSON_ENCODING, ""},
    {"a lone low surrogate", "{\"text\":\"\\ude00\"}", JSON_ENCODING, ""},
    {"two low surrogates", "{\"text\":\"\\ude00\\ude00\"}", JSON_ENCODING, ""},
    {"a high surrogate and a character", "{\"text\":\"\\ud83d\\uffff\"}", JSON_ENCODING, ""},
    {"two high surrogates", "{\"text\":\"\\ud83d\\ud83d\"}", JSON_ENCODING, ""},
    {"a byte that starts nothing", "{\"text\":\"\xff\"}", JSON_ENCODING, ""},
    {"an overlong slash", "{\"text\":\"\xc0\xaf\"}", JSON_ENCODING, ""},
    {"an overlong of three bytes", "{\"text\":\"\xe0\x80\xaf\"}", JSON_ENCODING, ""},
    {"a surrogate in UTF-8", "{\"text\":\"\xed\xa0\x80\"}", JSON_ENCODING, ""},
    {"past U+10FFFF", "{\"text\":\"\xf4\x90\x80\x80\"}", JSON_ENCODING, ""},
    {"a character cut short", "{\"text\":\"\xe2\x82\"}", JSON_ENCODING, ""},
    {"bad UTF-8 in a name", "{\"text\":\"a\",\"\xff\":1}", JSON_ENCODING, ""},
    {"33 levels", "{\"text\":\"a\",\"x\":" DEEP_8(DEEP_8(DEEP_8(DEEP_8("")))) "}", JSON_DEPTH, ""},
    {"a name twice", "{\"text\":\"a\",\"text\":\"b\"}", JSON_DUPLICATE, "/text"},
    {"a name twice, once escaped", "{\"text\":\"a\",\"te\\u0078t\":\"b\"}", JSON_DUPLICATE,
     "/text"},
    {"an unknown name twice", "{\"text\":\"a\",\"x\":1,\"x\":2}", JSON_DUPLICATE, "/x"},
    {"a name twice inside", "{\"text\":\"a\",\"extra\":{\"k\":1,\"k\":1}}", JSON_DUPLICATE,
     "/extra/k"},
    {"a pointer escapes / and ~", "{\"text\":\"a\",\"x/y\":{\"a~/b\":1,\"a~/b\":1}}",
     JSON_DUPLICATE, "/x~1y/a~0~1b"},
    {"a pointer too long ends outside",
     "{\"text\":\"a\",\"x\":{\"" NAME_50 "\":{\"" NAME_50 "\":{\"k\":1,\"k\":1}}}}", JSON_DUPLICATE,
     "/x/" NAME_50},
    {"not an object", "[{\"text\":\"a\"}]", JSON_TYPE, ""},
    {"missing", "{}", JSON_MISSING, "/text"},
    {"names are case-sensitive", "{\"Text\":\"a\"}", JSON_MISSING, "/text"},
    {"null where it is required", "{\"text\":null}", JSON_TYPE, "/text"},
    {"a number for text", "{\"text\":1}", JSON_TYPE, "/text"},
    {"text too short", "{\"text\":\"\"}", JSON_RANGE, "/text"},
    {"text too long, in bytes", "{\"text\":\"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\"}", JSON_RANGE,
     "/text"},
    {"escaped text too long", "{\"text\":\"\\u20ac\\u20ac\\u20ac\"}", JSON_RANGE, "/text"},
    {"a number as text", "{\"text\":\"a\",\"power\":\"1\"}", JSON_TYPE, "/power"},
    {"an int above its limit", "{\"text\":\"a\",\"count\":6}", JSON_RANGE, "/count"},
    {"an int below its limit", "{\"text\":\"a\",\"count\":-5.5}", JSON_RANGE, "/count"},
    {"a fraction for an int", "{\"text\":\"a\",\"count\":1.5}", JSON_TYPE, "/count"},
    {"a number for a bool", "{\"text\":\"a\",\"on\":1}", JSON_TYPE, "/on"},
    {"an unknown word", "{\"text\":\"a\",\"colour\":\"red\"}", JSON_RANGE, "/colour"},
    {"the start of a word", "{\"text\":\"a\",\"colour\":\"RE\"}", JSON_RANGE, "/colour"},
    {"a time without a zone", "{\"text\":\"a\",\"time\":\"2026-11-21T08:30:00\"}", JSON_FORMAT,
     "/time"},
    {"a time as a number", "{\"text\":\"a\",\"time\":1}", JSON_TYPE, "/time"},
    {"an id that is none", "{\"text\":\"a\",\"id\":\"42\"}", JSON_FORMAT, "/id"},
    {"the zero id", "{\"text\":\"a\",\"id\":\"00000000-0000-0000-0000-000000000000\"}", JSON_FORMAT,
     "/id"},
    {"the largest id", "{\"text\":\"a\",\"id\":\"ffffffff-ffff-ffff-ffff-ffffffffffff\"}",
     JSON_FORMAT, "/id"},
    {"a list for an object", "{\"text\":\"a\",\"extra\":[]}", JSON_TYPE, "/extra"},
    {"an object too long", "{\"text\":\"a\",\"extra\":{\"k\":\"0123456789abcd\"}}", JSON_RANGE,
     "/extra"},
};

static void refused(void **state)
{
    const struct refusal *row = *state;
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    struct thing thing;
    struct error err = {0};

    assert_fails(decode(row->text, &thing, arena, &err), ERROR_INVALID);
    assert_string_equal(err.reason, row->reason);
    assert_string_equal(err.pointer, row->pointer);
}

/* Each is decoded and encoded again. */
static const struct round {
    const char *name, *text, *want;
} rounds[] = {
    {"absent fields take their fallback", "{\"text\":\"a\"}",
     "{\"count\":3,\"power\":0,\"on\":true,\"text\":\"a\",\"label\":\"none\",\"colour\":"
     "\"GREEN\"}"},
    {"so does null",
     "{\"text\":\"a\",\"count\":null,\"on\":null,\"colour\":null,\"time\":null,\"id\":null,"
     "\"extra\":null,\"label\":null,\"power\":null}",
     "{\"count\":3,\"power\":0,\"on\":true,\"text\":\"a\",\"label\":\"none\",\"colour\":"
     "\"GREEN\"}"},
    {"every kind",
     " { \"id\" : \"01932F0E-7C00-7ABC-8DEF-0123456789AB\", "
     "\"time\":\"2026-11-21T09:30:00.5+01:00\",\n"
     "\"extra\": { \"k \\\" y\" : [ 1.50 , 2 ] }, "
     "\"colour\":\"RED\",\"on\":false,\"power\":-1234.56,"
     "\"count\":-5e0,\"text\":\"a\",\"label\":\"\"}\r\n",
     "{\"count\":-5,\"power\":-1234.56,\"on\":false,\"text\":\"a\",\"label\":\"\",\"colour\":"
     "\"RED\","
     "\"time\":\"2026-11-21T08:30:00.500Z\",\"id\":\"01932f0e-7c00-7abc-8def-0123456789ab\","
     "\"extra\":{\"k \\\" y\":[1.50,2]}}"},
    {"escapes in text and names", "{\"te\\u0078t\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}",
     "{\"count\":3,\"power\":0,\"on\":true,\"text\":\"\\\"\\\\/"
     "\\b\\f\\n\\r\\t\",\"label\":\"none\","
     "\"colour\":\"GREEN\"}"},
    {"a surrogate pair, a control character", "{\"text\":\"\\ud83d\\ude00\\u0001\"}",
     "{\"count\":3,\"power\":0,\"on\":true,\"text\":\"\xf0\x9f\x98\x80\\u0001\",\"label\":\"none\","
     "\"colour\":\"GREEN\"}"},
    {"unknown fields are dropped, 32 levels are taken",
     "{\"text\":\"a\",\"x\":" DEEP_8(DEEP_8(DEEP_8("[[[[[[[]]]]]]]"))) "}",
     "{\"count\":3,\"power\":0,\"on\":true,\"text\":\"a\",\"label\":\"none\",\"colour\":"
     "\"GREEN\"}"},
    {"the longest number", "{\"text\":\"a\",\"x\":" DIGITS_60 "123}",
     "{\"count\":3,\"power\":0,\"on\":true,\"text\":\"a\",\"label\":\"none\",\"colour\":"
     "\"GREEN\"}"},
    {"equal names in different objects", "{\"text\":\"a\",\"extra\":{\"text\":{\"text\":1}}}",
     "{\"count\":3,\"power\":0,\"on\":true,\"text\":\"a\",\"label\":\"none\",\"colour\":\"GREEN\","
     "\"extra\":{\"text\":{\"text\":1}}}"},
};

static void round_trip(void **state)
{
    const struct round *row = *state;
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    AUTO(buffer_free) struct buffer out = {0};
    struct thing thing;
    struct error err = {0};

    memset(&thing, 0xa5, sizeof(thing));
    assert_ok(decode(row->text, &thing, arena, &err));
    json_encode(fields, &thing, &out);
    assert_string_equal(out.data, row->want);
}

static const struct number {
    const char *name;
    double value;
    const char *want;
} numbers[] = {
    {"zero", 0, "0"},
    {"minus zero keeps its sign", -0.0, "-0"},
    {"whole", 42, "42"},
    {"few decimals", 1234.56, "1234.56"},
    {"a tenth", 0.1, "0.1"},
    {"six decimals", -0.000001, "-0.000001"},
    {"a sum that is not 0.3", 0.1 + 0.2, "0.30000000000000004"},
    {"a third", 1.0 / 3, "0.3333333333333333"},
    {"2^53 - 1", 9007199254740991.0, "9007199254740991"},
    {"large", 1e300, "1e+300"},
    {"the largest", DBL_MAX, "1.7976931348623157e+308"},
    {"the smallest", 5e-324, "5e-324"},
    {"not a number", (double)NAN, "null"},
    {"infinite", (double)INFINITY, "null"},
};

static void number(void **state)
{
    const struct number *row = *state;
    AUTO(buffer_free) struct buffer out = {0};
    struct json_writer writer = {.out = &out};

    json_double(&writer, NULL, row->value);
    assert_string_equal(out.data, row->want);
    if (isfinite(row->value))
        assert_true(strtod(out.data, NULL) == row->value);
}

/* Any bits of a double, and any number with up to eight decimals, come back as they were. */
static void numbers_come_back(void **state)
{
    AUTO(buffer_free) struct buffer out = {0};
    uint64_t bits = 42;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        struct json_writer writer = {.out = &out};
        double value = 0;
        bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        if (i % 2)
            memcpy(&value, &bits, sizeof(value));
        else
            value = (double)(int64_t)(bits >> 24) / pow(10, i % 9);
        if (!isfinite(value))
            continue;
        buffer_clear(&out);
        json_double(&writer, NULL, value);
        if (strtod(out.data, NULL) != value)
            fail_msg("%.17g became %s", value, out.data);
    }
}

static void many_members(void **state)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    AUTO(buffer_free) struct buffer text = {0};
    struct thing thing;
    struct error err = {0};

    (void)state;
    buffer_text(&text, "{\"text\":\"a\"");
    for (int i = 0; i < 50000; i++)
        buffer_print(&text, ",\"n%d\":{\"a\":%d}", i, i);
    size_t without_end = text.size;
    buffer_text(&text, ",\"extra\":{\"k\":1}}");
    assert_ok(json_decode(fields, text.data, text.size, &thing, arena, &err));
    assert_string_equal(thing.extra, "{\"k\":1}");

    text.size = without_end;
    buffer_text(&text, ",\"n77\":0}");
    assert_fails(json_decode(fields, text.data, text.size, &thing, arena, &err), ERROR_INVALID);
    assert_string_equal(err.pointer, "/n77");

    buffer_clear(&text);
    buffer_text(&text, "{\"text\":\"a\",\"x\":{\"n77\":0");
    for (int i = 0; i < 50000; i++)
        buffer_print(&text, ",\"n%d\":1", i);
    buffer_text(&text, "}}");
    assert_fails(json_decode(fields, text.data, text.size, &thing, arena, &err), ERROR_INVALID);
    assert_string_equal(err.pointer, "/x/n77");
}

/* A thousand levels would be a stack overflow if they reached a recursion. */
static void bottomless(void **state)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    AUTO(buffer_free) struct buffer text = {0};
    struct thing thing;
    struct error err = {0};

    (void)state;
    memset(buffer_reserve(&text, 1000000), '[', 1000000);
    text.size = 1000000;
    assert_fails(json_decode(fields, text.data, text.size, &thing, arena, &err), ERROR_INVALID);
    assert_string_equal(err.reason, JSON_DEPTH);
}

static void says_where(void **state)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    struct thing thing;
    struct error err = {0};

    (void)state;
    assert_fails(decode("{\"text\":nul}", &thing, arena, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "byte 8"));
}

static void writes(void **state)
{
    AUTO(buffer_free) struct buffer out = {0};
    struct json_writer writer = {.out = &out};

    (void)state;
    json_open(&writer, NULL, '{');
    json_text(&writer, "a\"b", NULL);
    json_open(&writer, "list", '[');
    json_int(&writer, NULL, INT64_MIN);
    json_int(&writer, NULL, 0);
    json_bytes(&writer, NULL, "x\0y", 3);
    json_open(&writer, NULL, '{');
    json_close(&writer, '}');
    json_close(&writer, ']');
    json_bool(&writer, "yes", true);
    json_time(&writer, "t", 0);
    json_null(&writer, "none");
    json_raw(&writer, "raw", "[1]", 3);
    json_close(&writer, '}');
    assert_string_equal(out.data,
                        "{\"a\\\"b\":null,\"list\":[-9223372036854775808,0,\"x\\u0000y\",{}],"
                        "\"yes\":true,\"t\":\"1970-01-01T00:00:00.000Z\",\"none\":null,"
                        "\"raw\":[1]}");
    assert_int_equal(strlen(out.data), out.size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back),
        cmocka_unit_test(many_members),
        cmocka_unit_test(bottomless),
        cmocka_unit_test(says_where),
        cmocka_unit_test(writes),
    };

    return RUN_ROWS(refusals, refused) + RUN_ROWS(rounds, round_trip) + RUN_ROWS(numbers, number) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
