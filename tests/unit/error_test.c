#include "support/test.h"

#include "base/utf8.h"

#include <string.h>

static void set_gives_the_reason_of_the_code(void **state)
{
    struct error err = {.pointer = "/old"};

    (void)state;
    assert_fails(error_set(&err, ERROR_NOT_FOUND, "car %d", 7), ERROR_NOT_FOUND);
    assert_string_equal(err.message, "car 7");
    assert_string_equal(err.reason, "not_found");
    assert_string_equal(err.pointer, "");
}

static void input_points_at_the_field(void **state)
{
    struct error err;

    (void)state;
    assert_fails(error_input(&err, "out_of_range", "/floor", "floor %d", 99), ERROR_INVALID);
    assert_string_equal(err.message, "floor 99");
    assert_string_equal(err.reason, "out_of_range");
    assert_string_equal(err.pointer, "/floor");
}

static void wrap_puts_context_in_front_and_keeps_the_rest(void **state)
{
    struct error err;

    (void)state;
    error_input(&err, "out_of_range", "/floor", "floor 99");
    assert_fails(error_wrap(&err, "line %d", 3), ERROR_INVALID);
    assert_string_equal(err.message, "line 3: floor 99");
    assert_string_equal(err.reason, "out_of_range");
    assert_string_equal(err.pointer, "/floor");
}

static void arguments_may_come_from_the_error_itself(void **state)
{
    struct error err;

    (void)state;
    error_set(&err, ERROR_TIMEOUT, "late");
    error_set(&err, ERROR_INTERNAL, "not expected: %s", err.message);
    assert_string_equal(err.message, "not expected: late");
    error_wrap(&err, "again '%s'", err.message);
    assert_string_equal(err.message, "again 'not expected: late': not expected: late");
}

/* Every cut of a long text must leave whole characters, and as many as fit. */
static void too_long_is_cut_between_characters(void **state)
{
    static const char car[4] = {'\xf0', '\x9f', '\x9a', '\x97'};
    char text[401] = "", pad[8];
    struct error err;

    (void)state;
    for (int shift = 0; shift < 4; shift++) {
        memset(pad, 'x', sizeof(pad));
        pad[shift] = '\0';
        for (size_t at = 0; at + 4 < sizeof(text); at += 4)
            memcpy(text + at, car, 4);
        error_input(&err, "reason", text, "%s%s", pad, text);

        size_t size = strlen(err.message);
        assert_in_range(size, sizeof(err.message) - 4, sizeof(err.message) - 1);
        for (size_t at = 0; at < size; at += utf8_length(err.message + at, size - at))
            assert_int_not_equal(utf8_length(err.message + at, size - at), 0);
        assert_int_equal(strlen(err.pointer), 92);
    }
}

static void wrapping_for_ever_keeps_the_outermost(void **state)
{
    struct error err;

    (void)state;
    error_set(&err, ERROR_FULL, "the cause");
    for (int i = 0; i < 100; i++)
        error_wrap(&err, "layer %d", i);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    assert_int_equal(strncmp(err.message, "layer 99: layer 98: ", 20), 0);
}

static void every_code_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int code = 0; code < ERROR_CODES; code++) {
        assert_non_null(error_code_name((enum error_code)code));
        for (int other = 0; other < code; other++)
            assert_string_not_equal(error_code_name((enum error_code)code),
                                    error_code_name((enum error_code)other));
    }
    assert_string_equal(error_code_name((enum error_code)ERROR_CODES), "internal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_gives_the_reason_of_the_code),
        cmocka_unit_test(input_points_at_the_field),
        cmocka_unit_test(wrap_puts_context_in_front_and_keeps_the_rest),
        cmocka_unit_test(arguments_may_come_from_the_error_itself),
        cmocka_unit_test(too_long_is_cut_between_characters),
        cmocka_unit_test(wrapping_for_ever_keeps_the_outermost),
        cmocka_unit_test(every_code_has_a_name_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
