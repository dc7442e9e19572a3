#include "support/test.h"

#include "base/memory.h"
#include "base/ndjson.h"

#include <stdlib.h>
#include <string.h>

#define LIMIT 5

/* What was handed over: "1:abc 3:! " where ! is too long. */
struct seen {
    struct buffer text;
    int room; /* lines that it still takes; below 0: any number */
};

static bool take(void *context, const struct ndjson_line *line)
{
    struct seen *seen = context;

    buffer_print(&seen->text, "%d:", (int)line->number);
    if (line->too_long)
        buffer_text(&seen->text, "!");
    else
        buffer_append(&seen->text, line->bytes, line->size);
    buffer_text(&seen->text, " ");
    return seen->room < 0 || --seen->room > 0;
}

static const struct row {
    const char *name, *input, *want;
} rows[] = {
    {"nothing", "", ""},
    {"lines", "a\nbc\n", "1:a 2:bc "},
    {"a last line without an end", "a\nbc", "1:a 2:bc "},
    {"CRLF", "a\r\nbc\r\n", "1:a 2:bc "},
    {"a last line that ends with CR", "a\r", "1:a "},
    {"a CR inside a line stays", "a\rb\n", "1:a\rb "},
    {"only the CR before the LF goes", "a\r\r\n", "1:a\r "},
    {"empty lines count and are left out", "\n\r\na\n\n\nb\n\n", "3:a 6:b "},
    {"a line at the limit", "12345\n12345", "1:12345 2:12345 "},
    {"a line at the limit, with CRLF", "12345\r\nx\n", "1:12345 2:x "},
    {"a line over the limit", "123456\nx\n", "1:! 2:x "},
    {"a line far over the limit", "1234567890123456789\nx\n", "1:! 2:x "},
    {"a last line over the limit", "x\n123456", "1:x 2:! "},
    {"over the limit by a CR inside", "12345\r6\nx\n", "1:! 2:x "},
    {"over the limit, then CRLF", "123456\r\nx\n", "1:! 2:x "},
    {"over the limit by a CR at the end", "12345\r\r\nx", "1:! 2:x "},
};

/* However the input is cut, the lines are the same; and taking one at a time changes nothing. */
static void cut(const struct row *row, size_t piece, int room)
{
    struct seen seen = {.room = -1};
    AUTO(ndjson_free) struct ndjson reader;
    size_t size = strlen(row->input);
    size_t used = 0;

    ndjson_start(&reader, LIMIT, take, &seen);
    while (used < size) {
        size_t left = size - used < piece ? size - used : piece;
        /* A copy of its own, so that reading past it shows. */
        char *copy = memory_copy(row->input + used, left);
        seen.room = room;
        size_t got = ndjson_feed(&reader, copy, left);
        free(copy);
        assert_true(got > 0 && got <= left);
        assert_true(reader.partial.size <= LIMIT + 1);
        used += got;
    }
    ndjson_finish(&reader);
    assert_string_equal(seen.text.data ? seen.text.data : "", row->want);
    buffer_free(&seen.text);
}

static void any_cut(void **state)
{
    const struct row *row = *state;

    for (size_t piece = 1; piece <= strlen(row->input) + 1; piece++) {
        cut(row, piece, -1);
        cut(row, piece, 1);
    }
}

static void stops_behind_the_line(void **state)
{
    struct seen seen = {.room = 2};
    AUTO(ndjson_free) struct ndjson reader;

    (void)state;
    ndjson_start(&reader, LIMIT, take, &seen);
    assert_int_equal(ndjson_feed(&reader, "a\nb\nc\nd", 7), 4);
    assert_string_equal(seen.text.data, "1:a 2:b ");
    seen.room = -1;
    assert_int_equal(ndjson_feed(&reader, "c\nd", 3), 3);
    ndjson_finish(&reader);
    assert_string_equal(seen.text.data, "1:a 2:b 3:c 4:d ");
    buffer_free(&seen.text);
}

static const char *only_line;

static bool remember(void *context, const struct ndjson_line *line)
{
    (void)context;
    only_line = line->bytes;
    return true;
}

static void a_whole_line_is_not_copied(void **state)
{
    static const char piece[] = "abc\n";
    AUTO(ndjson_free) struct ndjson reader;

    (void)state;
    ndjson_start(&reader, LIMIT, remember, NULL);
    assert_int_equal(ndjson_feed(&reader, piece, 4), 4);
    assert_ptr_equal(only_line, piece);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stops_behind_the_line),
        cmocka_unit_test(a_whole_line_is_not_copied),
    };

    return RUN_ROWS(rows, any_cut) + cmocka_run_group_tests(tests, NULL, NULL);
}
