#include "support/test.h"

#include "base/macros.h"
#include "cursor.h"

#include <string.h>

static const struct cursor_kind logs = {"logs", 2, {STORE_TIME, STORE_INT}};
static const struct cursor_kind other = {"other", 2, {STORE_TIME, STORE_INT}};
static const struct cursor_kind readings = {"readings", 2, {STORE_TIME, STORE_ID}};
static const struct cursor_kind named = {"named", 2, {STORE_INT, STORE_TEXT}};

static bool read_back(const struct cursor_kind *kind, const char *cursor,
                      struct store_value *values, struct error *err)
{
    AUTO(arena_free) struct arena *arena = arena_new(256);

    return cursor_read(kind, cursor, arena, values, err);
}

static void write_keys(const struct cursor_kind *kind, const char *keys, struct buffer *out)
{
    cursor_write(kind, keys, strlen(keys), out);
}

static void numbers_come_back(void **state)
{
    AUTO(buffer_free) struct buffer cursor = {0};
    struct store_value values[CURSOR_KEYS_MAX];
    struct error err;

    (void)state;
    write_keys(&logs, "1700000000123|-42", &cursor);
    assert_ok(read_back(&logs, cursor.data, values, &err));
    assert_true(values[0].present && values[1].present);
    assert_int_equal(values[0].type, STORE_TIME);
    assert_int_equal(values[0].integer, 1700000000123);
    assert_int_equal(values[1].type, STORE_INT);
    assert_int_equal(values[1].integer, -42);
}

static void ids_come_back(void **state)
{
    static const char id[] = "019aa5a0-0000-7000-8000-00000000abcd";
    AUTO(buffer_free) struct buffer cursor = {0};
    struct store_value values[CURSOR_KEYS_MAX];
    char text[ID_TEXT_SIZE];
    struct error err;

    (void)state;
    write_keys(&readings, "5|019aa5a0-0000-7000-8000-00000000abcd", &cursor);
    assert_ok(read_back(&readings, cursor.data, values, &err));
    id_format(&values[1].id, text);
    assert_string_equal(text, id);
}

static void the_last_text_may_hold_the_separator(void **state)
{
    AUTO(arena_free) struct arena *arena = arena_new(256);
    AUTO(buffer_free) struct buffer cursor = {0};
    struct store_value values[CURSOR_KEYS_MAX];
    struct error err;

    (void)state;
    write_keys(&named, "7|a|b", &cursor);
    assert_ok(cursor_read(&named, cursor.data, arena, values, &err));
    assert_string_equal(values[1].text, "a|b");
}

static void a_cursor_needs_no_escaping_in_a_query(void **state)
{
    AUTO(buffer_free) struct buffer cursor = {0};

    (void)state;
    write_keys(&logs, "1700000000123|42", &cursor);
    assert_int_equal(strspn(cursor.data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                         "0123456789-_"),
                     cursor.size);
}

static void check_refused(const struct cursor_kind *kind, const char *cursor)
{
    struct store_value values[CURSOR_KEYS_MAX];
    struct error err;

    assert_fails(read_back(kind, cursor, values, &err), ERROR_INVALID);
    assert_string_equal(err.reason, "invalid_cursor");
    assert_string_equal(err.pointer, "/query/cursor");
}

static void one_changed_character_is_refused(void **state)
{
    AUTO(buffer_free) struct buffer cursor = {0};

    (void)state;
    write_keys(&logs, "1700000000123|42", &cursor);
    for (size_t i = 0; i < cursor.size; i++) {
        char kept = cursor.data[i];
        cursor.data[i] = kept == 'A' ? 'B' : 'A';
        check_refused(&logs, cursor.data);
        cursor.data[i] = kept;
    }
}

/* 11 bytes are 15 digits, and the last of them has 2 bits to spare. */
static void only_one_text_means_a_position(void **state)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    AUTO(buffer_free) struct buffer cursor = {0};

    (void)state;
    write_keys(&logs, "1|4", &cursor);
    char *last = &cursor.data[cursor.size - 1];
    *last = alphabet[strchr(alphabet, *last) - alphabet + 1];
    check_refused(&logs, cursor.data);
}

static void every_cut_is_refused(void **state)
{
    AUTO(buffer_free) struct buffer cursor = {0};

    (void)state;
    write_keys(&logs, "1700000000123|42", &cursor);
    while (cursor.size > 0) {
        cursor.data[--cursor.size] = '\0';
        check_refused(&logs, cursor.data);
    }
}

static const struct refusals {
    const char *name;
    const struct cursor_kind *maker; /* NULL: keys are the cursor itself */
    const struct cursor_kind *reader;
    const char *keys;
} refusals[] = {
    {"a cursor of another list", &other, &logs, "1|2"},
    {"no cursor at all", NULL, &logs, "hello"},
    {"an empty one", NULL, &logs, ""},
    {"characters outside the alphabet", NULL, &logs, "ab+/=="},
    {"a key too few", &logs, &logs, "1"},
    {"a key too many", &logs, &logs, "1|2|3"},
    {"no keys", &logs, &logs, ""},
    {"an empty key", &logs, &logs, "|2"},
    {"a key that is not a number", &logs, &logs, "1|x"},
    {"a key with a blank", &logs, &logs, "1| 2"},
    {"a key that no integer holds", &logs, &logs, "1|9223372036854775808"},
    {"a key that is not an id", &readings, &readings, "1|2"},
};

static void check_refusal(void **state)
{
    const struct refusals *row = *state;
    AUTO(buffer_free) struct buffer cursor = {0};

    if (row->maker != NULL)
        write_keys(row->maker, row->keys, &cursor);
    else
        buffer_text(&cursor, row->keys);
    check_refused(row->reader, cursor.data);
}

static void a_cursor_that_is_too_long_is_refused(void **state)
{
    AUTO(buffer_free) struct buffer cursor = {0};
    char keys[CURSOR_SIZE_MAX] = {0};

    (void)state;
    keys[0] = '1';
    keys[1] = '|';
    memset(keys + 2, 'x', sizeof(keys) - 3);
    write_keys(&named, keys, &cursor);
    check_refused(&named, cursor.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back),
        cmocka_unit_test(ids_come_back),
        cmocka_unit_test(the_last_text_may_hold_the_separator),
        cmocka_unit_test(a_cursor_needs_no_escaping_in_a_query),
        cmocka_unit_test(one_changed_character_is_refused),
        cmocka_unit_test(only_one_text_means_a_position),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(a_cursor_that_is_too_long_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(refusals, check_refusal);
}
