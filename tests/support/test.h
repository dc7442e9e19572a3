/* What every test includes. cmocka wants these headers first. */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"

/* Fails with the message of the error rather than with "false". */
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if (!(call))                                                                               \
            fail_msg("%s: %s", #call, err.message);                                                \
    } while (0)

#define assert_fails(call, want)                                                                   \
    do {                                                                                           \
        if (call)                                                                                  \
            fail_msg("%s: expected to fail", #call);                                               \
        assert_int_equal(err.code, want);                                                          \
    } while (0)

/*
 * One reported test per row. Rows are structs that start with `const char *name`; `check` gets its
 * row as *state.
 */
#define RUN_ROWS(rows, check)                                                                      \
    ({                                                                                             \
        struct CMUnitTest tests_[ARRAY_LEN(rows)];                                                 \
        for (size_t i_ = 0; i_ < ARRAY_LEN(rows); i_++)                                            \
            tests_[i_] = (struct CMUnitTest){.name = (rows)[i_].name,                              \
                                             .test_func = (check),                                 \
                                             .initial_state = (void *)&(rows)[i_]};                \
        cmocka_run_group_tests_name(#check, tests_, NULL, NULL);                                   \
    })

#endif
