#include "support/test.h"

#include "base/buffer.h"

#include <stdio.h>
#include <string.h>

static void appends_bytes_text_and_formats(void **state)
{
    AUTO(buffer_free) struct buffer buffer = {0};

    (void)state;
    buffer_append(&buffer, "a\0b", 3);
    buffer_text(&buffer, "cd");
    buffer_print(&buffer, "%d-%s", 42, "ef");
    assert_int_equal(buffer.size, 10);
    assert_memory_equal(buffer.data, "a\0bcd42-ef", 11);
}

static void nothing_appended_is_an_empty_string(void **state)
{
    AUTO(buffer_free) struct buffer buffer = {0};

    (void)state;
    buffer_append(&buffer, NULL, 0);
    assert_int_equal(buffer.size, 0);
    assert_string_equal(buffer.data, "");
}

/* Formats of every length around the places where the buffer grows. */
static void formats_of_any_length_are_whole(void **state)
{
    char want[1200];

    (void)state;
    for (int width = 1; width < (int)sizeof(want) - 1; width++) {
        AUTO(buffer_free) struct buffer buffer = {0};
        buffer_text(&buffer, "x");
        buffer_print(&buffer, "%*d", width, 7);
        want[0] = 'x';
        snprintf(want + 1, sizeof(want) - 1, "%*d", width, 7);
        assert_int_equal(buffer.size, width + 1);
        assert_string_equal(buffer.data, want);
    }
}

static void grows_and_keeps_what_it_has(void **state)
{
    AUTO(buffer_free) struct buffer buffer = {0};

    (void)state;
    for (int i = 0; i < 100000; i++) {
        buffer_append(&buffer, &(char){(char)('a' + i % 26)}, 1);
        assert_int_equal(buffer.data[buffer.size], 0);
    }
    for (size_t i = 0; i < buffer.size; i++)
        assert_int_equal(buffer.data[i], 'a' + i % 26);
    assert_in_range(buffer.capacity, 100001, 300000);
}

static void reserved_room_is_written_by_the_caller(void **state)
{
    AUTO(buffer_free) struct buffer buffer = {0};

    (void)state;
    buffer_text(&buffer, "head ");
    memset(buffer_reserve(&buffer, 5000), 'z', 5000);
    buffer.size += 5000;
    assert_int_equal(strlen(buffer.data), 5005);
    assert_int_equal(strncmp(buffer.data, "head zzz", 8), 0);
}

static void clear_keeps_the_memory_and_free_does_not(void **state)
{
    struct buffer buffer = {0};

    (void)state;
    buffer_clear(&buffer);
    buffer_text(&buffer, "text");
    const char *data = buffer.data;
    buffer_clear(&buffer);
    assert_int_equal(buffer.size, 0);
    assert_string_equal(buffer.data, "");
    assert_ptr_equal(buffer.data, data);
    buffer_free(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.capacity, 0);
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_bytes_text_and_formats),
        cmocka_unit_test(nothing_appended_is_an_empty_string),
        cmocka_unit_test(formats_of_any_length_are_whole),
        cmocka_unit_test(grows_and_keeps_what_it_has),
        cmocka_unit_test(reserved_room_is_written_by_the_caller),
        cmocka_unit_test(clear_keeps_the_memory_and_free_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
