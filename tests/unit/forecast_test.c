#include "support/test.h"

#include "domain/forecast.h"

#include <string.h>

#define DAY_MS INT64_C(86400000)

static const struct row {
    const char *name;
    int64_t now_ms;
    const char *dates[3];
} rows[] = {
    {"in the middle of a day", INT64_C(1795249800123), {"2026-11-22", "2026-11-23", "2026-11-24"}},
    {"the first moment of a day", 0, {"1970-01-02", "1970-01-03", "1970-01-04"}},
    {"the last moment of a day", DAY_MS - 1, {"1970-01-02", "1970-01-03", "1970-01-04"}},
    {"before the epoch", -1, {"1970-01-01", "1970-01-02", "1970-01-03"}},
    {"across a leap day", INT64_C(1835265600000), {"2028-02-28", "2028-02-29", "2028-03-01"}},
};

static void dates(void **state)
{
    const struct row *row = *state;
    struct forecast_day days[ARRAY_LEN(row->dates)];

    forecast_days(row->now_ms, days, ARRAY_LEN(days));
    for (size_t i = 0; i < ARRAY_LEN(days); i++)
        assert_string_equal(days[i].date, row->dates[i]);
}

static void the_same_day_has_the_same_weather(void **state)
{
    struct forecast_day today[5], tomorrow[5];

    (void)state;
    forecast_days(INT64_C(1795249800123), today, ARRAY_LEN(today));
    forecast_days(INT64_C(1795249800123) + DAY_MS, tomorrow, ARRAY_LEN(tomorrow));
    for (size_t i = 0; i + 1 < ARRAY_LEN(today); i++) {
        assert_string_equal(today[i + 1].date, tomorrow[i].date);
        assert_int_equal(today[i + 1].temperature_c, tomorrow[i].temperature_c);
        assert_string_equal(today[i + 1].summary, tomorrow[i].summary);
    }
}

/* Over many days: every temperature from -20 to 54 comes, and nothing else. */
static void temperatures_are_in_range(void **state)
{
    struct forecast_day days[5];
    bool seen[75] = {false};
    size_t different = 0;

    (void)state;
    for (int64_t day = 0; day < 5000; day++) {
        forecast_days(day * DAY_MS, days, ARRAY_LEN(days));
        int celsius = days[0].temperature_c;
        assert_in_range(celsius + 20, 0, 74);
        assert_int_equal(days[0].temperature_f, 32 + (int)(celsius / 0.5556));
        assert_non_null(days[0].summary);
        different += !seen[celsius + 20];
        seen[celsius + 20] = true;
    }
    assert_int_equal(different, ARRAY_LEN(seen));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_day_has_the_same_weather),
        cmocka_unit_test(temperatures_are_in_range),
    };

    return RUN_ROWS(rows, dates) + cmocka_run_group_tests_name("forecast", tests, NULL, NULL);
}
