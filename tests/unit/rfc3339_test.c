#include "support/test.h"

#include "base/rfc3339.h"

#include <string.h>

static const struct row {
    const char *name, *text;
    const char *want; /* NULL: refused */
} rows[] = {
    {"the epoch", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"},
    {"milliseconds", "2026-11-21T08:30:00.123Z", "2026-11-21T08:30:00.123Z"},
    {"more digits are cut, not rounded", "2026-11-21T08:30:00.9999999999Z",
     "2026-11-21T08:30:00.999Z"},
    {"one digit is tenths", "2026-11-21T08:30:00.5Z", "2026-11-21T08:30:00.500Z"},
    {"lower case", "2026-11-21t08:30:00z", "2026-11-21T08:30:00.000Z"},
    {"east of Greenwich is earlier", "2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00.000Z"},
    {"west is later", "2026-12-31T23:30:00-00:45", "2027-01-01T00:15:00.000Z"},
    {"an unknown offset is UTC", "2026-01-01T00:00:00-00:00", "2026-01-01T00:00:00.000Z"},
    {"before the epoch", "1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"},
    {"the first year", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"},
    {"the last moment", "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"},
    {"a leap day", "2024-02-29T12:00:00Z", "2024-02-29T12:00:00.000Z"},
    {"a leap day of a fourth century", "2000-02-29T12:00:00Z", "2000-02-29T12:00:00.000Z"},
    {"the end of a February", "1900-02-28T23:59:59Z", "1900-02-28T23:59:59.000Z"},
    {"a leap second", "2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"},
    {"a leap second has no fraction", "2016-12-31T23:59:60.5Z", "2017-01-01T00:00:00.000Z"},
    {"a leap second elsewhere", "1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00.000Z"},
    {"a leap second at noon", "2016-12-31T12:59:60Z", NULL},
    {"a leap second within a month", "2016-12-30T23:59:60Z", NULL},
    {"no zone", "2026-11-21T08:30:00", NULL},
    {"no time", "2026-11-21", NULL},
    {"no seconds", "2026-11-21T08:30Z", NULL},
    {"a space for the T", "2026-11-21 08:30:00Z", NULL},
    {"year 0", "0000-01-01T00:00:00Z", NULL},
    {"year 0 in UTC", "0001-01-01T00:00:00+00:01", NULL},
    {"year 10000 in UTC", "9999-12-31T23:59:59-00:01", NULL},
    {"month 13", "2026-13-01T00:00:00Z", NULL},
    {"day 0", "2026-01-00T00:00:00Z", NULL},
    {"30 February", "2024-02-30T00:00:00Z", NULL},
    {"29 February of a common year", "2026-02-29T00:00:00Z", NULL},
    {"29 February of a century", "1900-02-29T00:00:00Z", NULL},
    {"31 April", "2026-04-31T00:00:00Z", NULL},
    {"hour 24", "2026-01-01T24:00:00Z", NULL},
    {"minute 60", "2026-01-01T00:60:00Z", NULL},
    {"second 61", "2026-01-01T00:00:61Z", NULL},
    {"a point without digits", "2026-01-01T00:00:00.Z", NULL},
    {"an offset of 24 hours", "2026-01-01T00:00:00+24:00", NULL},
    {"an offset without a colon", "2026-01-01T00:00:00+0100", NULL},
    {"an offset of hours", "2026-01-01T00:00:00+01", NULL},
    {"more behind it", "2026-01-01T00:00:00Z ", NULL},
    {"a sign in a number", "2026-01-01T00:00:-1Z", NULL},
    {"nothing", "", NULL},
};

static void parses(void **state)
{
    const struct row *row = *state;
    char got[RFC3339_SIZE];
    int64_t time_ms = -1;

    assert_int_equal(rfc3339_parse(row->text, strlen(row->text), &time_ms), row->want != NULL);
    if (row->want) {
        rfc3339_format(time_ms, got);
        assert_string_equal(got, row->want);
    }
}

static void known_moments(void **state)
{
    int64_t time_ms = 0;

    (void)state;
    assert_true(rfc3339_parse("2026-11-21T08:30:00.123Z", 24, &time_ms));
    assert_int_equal(time_ms, INT64_C(1795249800123));
    assert_true(rfc3339_parse("0001-01-01T00:00:00Z", 20, &time_ms));
    assert_int_equal(time_ms, INT64_C(-62135596800000));
}

static void every_day_comes_back(void **state)
{
    char text[RFC3339_SIZE];
    int64_t got = 0;

    (void)state;
    for (int64_t day = -719162; day <= 2932896; day += 7) {
        int64_t want = day * 86400000 + (day & 0xffff);
        rfc3339_format(want, text);
        if (!rfc3339_parse(text, RFC3339_SIZE - 1, &got) || got != want)
            fail_msg("%s", text);
    }
}

static void far_times_become_the_nearest(void **state)
{
    char text[RFC3339_SIZE];

    (void)state;
    rfc3339_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
    rfc3339_format(INT64_MIN, text);
    assert_string_equal(text, "0001-01-01T00:00:00.000Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_moments),
        cmocka_unit_test(every_day_comes_back),
        cmocka_unit_test(far_times_become_the_nearest),
    };

    return RUN_ROWS(rows, parses) + cmocka_run_group_tests(tests, NULL, NULL);
}
