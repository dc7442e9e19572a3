#include "support/test.h"

#include "arguments.h"
#include "pace.h"

#include <stdlib.h>
#include <string.h>

#define SECOND_NS INT64_C(1000000000)
#define NOW_NS (100 * SECOND_NS)
#define WALL_MS INT64_C(1795000000000)

static void a_speed_divides_the_time_between_events(void **state)
{
    struct pace pace;

    (void)state;
    pace_start(&pace, 10, 0, WALL_MS - 600000, NOW_NS);
    assert_int_equal(pace_due_ns(&pace, WALL_MS - 590000, NOW_NS, WALL_MS), NOW_NS + SECOND_NS);
}

static void a_rate_counts_events(void **state)
{
    struct pace pace;

    (void)state;
    pace_start(&pace, 0, 4, WALL_MS - 600000, NOW_NS);
    for (int i = 0; i < 6; i++) {
        int64_t due_ns = pace_due_ns(&pace, WALL_MS - 500000, NOW_NS, WALL_MS);
        assert_int_equal(due_ns, NOW_NS + i * SECOND_NS / 4);
        pace_done(&pace, WALL_MS - 500000, due_ns);
    }
}

static void nothing_happens_before_its_time(void **state)
{
    struct pace pace;

    (void)state;
    pace_start(&pace, 10, 0, WALL_MS - 1000, NOW_NS);
    assert_int_equal(pace_due_ns(&pace, WALL_MS + 3000, NOW_NS, WALL_MS), NOW_NS + 3 * SECOND_NS);
}

static void lost_time_is_lost(void **state)
{
    struct pace pace;

    (void)state;
    pace_start(&pace, 1, 0, WALL_MS - 600000, NOW_NS);
    pace_done(&pace, WALL_MS - 600000, NOW_NS + 5 * SECOND_NS);
    assert_int_equal(pace_due_ns(&pace, WALL_MS - 599000, NOW_NS + 5 * SECOND_NS, WALL_MS),
                     NOW_NS + 6 * SECOND_NS);
}

static void a_little_delay_is_made_up_for(void **state)
{
    struct pace pace;

    (void)state;
    pace_start(&pace, 1, 0, WALL_MS - 600000, NOW_NS);
    pace_done(&pace, WALL_MS - 600000, NOW_NS + SECOND_NS / 20);
    assert_int_equal(pace_due_ns(&pace, WALL_MS - 599000, NOW_NS, WALL_MS), NOW_NS + SECOND_NS);
}

static const struct behind_row {
    const char *name;
    double duration_s, speed, rate, natural;
    int64_t want_ms;
} behind_rows[] = {
    {"real time starts now", 60, 1, 0, 3, 0},
    {"slow motion starts now", 60, 0.5, 0, 3, 0},
    {"ten times as fast is nine durations behind", 60, 10, 0, 3, 540000},
    {"without an end it takes an hour to catch up", 0, 2, 0, 3, 3600000},
    {"a rate makes a speed, and a margin", 10, 1, 30, 3, (int64_t)(10 * 9 * 1.25 + 60) * 1000},
    {"a rate below the natural one has the margin", 10, 1, 1, 3, 60000},
};

static void start_is_so_far_back(void **state)
{
    const struct behind_row *row = *state;
    int64_t got_ms = pace_behind_ms(row->duration_s, row->speed, row->rate, row->natural);

    assert_in_range(got_ms + 1000, row->want_ms, row->want_ms + 2000);
}

static const struct mistake_row {
    const char *name;
    const char *argument, *value;
    const char *says;
} mistake_rows[] = {
    {"an unknown name", "--wrong", NULL, "there is no option '--wrong'"},
    {"a word", "parking", NULL, "'parking' is no option"},
    {"a value is missing", "--rate", NULL, "--rate: N is missing"},
    {"a flag with a value", "--json=yes", NULL, "--json takes no value"},
    {"a number that is none", "--workers", "8x", "--workers '8x': want a whole number"},
    {"an empty number", "--workers", "", "--workers '': want"},
    {"none of it", "--workers", "0", "from 1 to 256"},
    {"too large", "--bulk", "1001", "from 1 to 1000"},
    {"no finite number", "--speed", "nan", "--speed 'nan'"},
    {"a negative duration", "--duration", "-1", "--duration '-1'"},
    {"a negative seed", "--seed", "-1", "--seed '-1'"},
    {"an unknown system", "--only", "parking,wether", "--only 'parking,wether'"},
    {"no system", "--only", "", "--only ''"},
    {"a system too few", "--only", "parking,", "--only 'parking,'"},
    {"a time without a zone", "--start", "2026-11-21T08:30:00", "--start"},
    {"a URL without a scheme", "--url", "localhost:8000", "--url 'localhost:8000'"},
};

static void a_mistake_is_named(void **state)
{
    const struct mistake_row *row = *state;
    char *argv[] = {(char *)"simulator", (char *)row->argument, (char *)row->value, NULL};
    struct simulator_settings settings;
    struct error err;

    assert_fails(arguments_read(row->value ? 3 : 2, argv, &settings, &err), ERROR_INVALID);
    if (!strstr(err.message, row->says))
        fail_msg("%s", err.message);
}

static void options_and_environment_set(void **state)
{
    char *argv[] = {(char *)"simulator",
                    (char *)"--only",
                    (char *)"logs,parking",
                    (char *)"--start",
                    (char *)"1970-01-01T00:00:01Z",
                    (char *)"--speed",
                    (char *)"2.5",
                    (char *)"--seed=42",
                    (char *)"--capacity",
                    (char *)"7",
                    (char *)"--json"};
    struct simulator_settings settings;
    struct error err;

    (void)state;
    setenv("GARAGE_CAPACITY", "50", 1);
    setenv("MAX_EXIT_WAIT", "9", 1);
    assert_ok(arguments_read(ARRAY_LEN(argv), argv, &settings, &err));
    assert_int_equal(settings.systems, 5);
    assert_int_equal(settings.start_ms, 1000);
    assert_true(settings.speed == 2.5);
    assert_int_equal(settings.seed, 42);
    assert_int_equal(settings.capacity, 7);
    assert_int_equal(settings.entry_wait_s, 3);
    assert_int_equal(settings.exit_wait_s, 9);
    assert_int_equal(settings.workers, 8);
    assert_true(settings.json);
    setenv("GARAGE_CAPACITY", "many", 1);
    assert_fails(arguments_read(1, argv, &settings, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "GARAGE_CAPACITY: --capacity 'many'"));
    unsetenv("GARAGE_CAPACITY");
    unsetenv("MAX_EXIT_WAIT");
}

static void rate_and_speed_exclude_each_other(void **state)
{
    char *argv[] = {(char *)"simulator", (char *)"--rate=5", (char *)"--speed=2"};
    struct simulator_settings settings;
    struct error err;

    (void)state;
    assert_fails(arguments_read(3, argv, &settings, &err), ERROR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_speed_divides_the_time_between_events),
        cmocka_unit_test(a_rate_counts_events),
        cmocka_unit_test(nothing_happens_before_its_time),
        cmocka_unit_test(lost_time_is_lost),
        cmocka_unit_test(a_little_delay_is_made_up_for),
        cmocka_unit_test(options_and_environment_set),
        cmocka_unit_test(rate_and_speed_exclude_each_other),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    failed += RUN_ROWS(behind_rows, start_is_so_far_back);
    return failed + RUN_ROWS(mistake_rows, a_mistake_is_named);
}
