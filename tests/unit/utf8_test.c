#include "support/test.h"

#include "base/utf8.h"

#include <string.h>

static const struct row {
    const char *name, *text;
    size_t length;
} rows[] = {
    {"nothing is no character", "", 0},
    {"one byte", "ab", 1},
    {"two bytes", "\xc3\xa9 ", 2},
    {"three bytes", "\xe2\x82\xac ", 3},
    {"four bytes", "\xf0\x9f\x9a\x97 ", 4},
    {"the last character of all", "\xf4\x8f\xbf\xbf", 4},
    {"past the last character", "\xf4\x90\x80\x80", 0},
    {"a first byte that never was", "\xf5\x80\x80\x80", 0},
    {"a tail alone", "\x80", 0},
    {"two bytes, cut", "\xc3", 0},
    {"three bytes, cut", "\xe2\x82", 0},
    {"four bytes, cut", "\xf0\x9f\x9a", 0},
    {"a tail that is none", "\xe2\x82z", 0},
    {"overlong in two", "\xc1\xbf", 0},
    {"overlong in three", "\xe0\x9f\xbf", 0},
    {"overlong in four", "\xf0\x8f\xbf\xbf", 0},
    {"least of three", "\xe0\xa0\x80", 3},
    {"least of four", "\xf0\x90\x80\x80", 4},
    {"before the surrogates", "\xed\x9f\xbf", 3},
    {"a surrogate", "\xed\xa0\x80", 0},
};

static void measures(void **state)
{
    const struct row *row = *state;

    assert_int_equal(utf8_length(row->text, strlen(row->text)), row->length);
    for (size_t size = 0; size < row->length; size++)
        assert_int_equal(utf8_length(row->text, size), 0);
}

static const struct text {
    const char *name, *text;
    bool want;
} texts[] = {
    {"nothing is text", "", true},
    {"one character after another", "a\xc3\xa9\xf0\x9f\x9a\x97z", true},
    {"a bad byte at the front", "\x80 a", false},
    {"a bad byte in the middle", "a\xff z", false},
    {"a character cut by the end", "a\xc3", false},
};

static void is_valid(void **state)
{
    const struct text *row = *state;

    assert_int_equal(utf8_is_valid(row->text, strlen(row->text)), row->want);
}

int main(void)
{
    return RUN_ROWS(rows, measures) + RUN_ROWS(texts, is_valid);
}
