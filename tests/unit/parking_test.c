#include "support/test.h"

#include "domain/parking.h"

#include <math.h>

static const struct plate {
    const char *name, *text;
    bool want;
} plates[] = {
    {"three letters and three digits", "AAA000", true},
    {"hyphens inside", "B-MR-1842", true},
    {"digits alone", "42", true},
    {"the shortest", "A1", true},
    {"the longest", "ABCDEF-01234", true},
    {"several hyphens in a row", "A--1", true},
    {"nothing", "", false},
    {"too short", "A", false},
    {"too long", "ABCDEFG-01234", false},
    {"a small letter", "AAa000", false},
    {"a space", "AAA 000", false},
    {"a hyphen in front", "-AAA000", false},
    {"a hyphen at the end", "AAA000-", false},
    {"hyphens alone", "--", false},
    {"a dot", "AAA.000", false},
    {"a line break", "AAA\n000", false},
    {"a letter beyond ASCII",
     "\xc3\x84"
     "B12",
     false},
};

static void plate(void **state)
{
    const struct plate *row = *state;

    assert_int_equal(parking_plate_is_valid(row->text), row->want);
}

/* 15 minutes are free, 250 an hour, at most 2000 a day */
static const struct parking_tariff usual = {.free_s = 900, .hour_cents = 250, .day_cents = 2000};
static const struct parking_tariff uncapped = {.hour_cents = 250};
static const struct parking_tariff free_of_charge = {.free_s = 900};
static const struct parking_tariff days_free = {
    .free_s = 172800, .hour_cents = 250, .day_cents = 2000};
static const struct parking_tariff dear = {.hour_cents = INT64_MAX};

static const struct price {
    const char *name;
    const struct parking_tariff *tariff;
    double stay_s;
    int64_t want;
} prices[] = {
    {"no stay", &usual, 0, 0},
    {"the exit before the entry", &usual, -5, 0},
    {"not a number", &usual, NAN, 0},
    {"the whole free time", &usual, 900, 0},
    {"a moment more than free: its hour is paid in full", &usual, 900.001, 250},
    {"an hour to the second", &usual, 3600, 250},
    {"a second hour has begun", &usual, 3600.5, 500},
    {"the last hour under the cap", &usual, 8.0 * 3600, 2000},
    {"the cap of a day", &usual, 8.0 * 3600 + 1, 2000},
    {"a day to the second", &usual, 86400, 2000},
    {"the second day has begun", &usual, 86401, 2250},
    {"a day and a half", &usual, 86400 * 1.5, 4000},
    {"ten days", &usual, 864000, 20000},
    {"without a cap", &uncapped, 86400, 6000},
    {"without a cap, the second day", &uncapped, 86401, 6250},
    {"without free time the first second costs", &uncapped, 1, 250},
    {"nothing costs anything", &free_of_charge, 1e9, 0},
    {"more than a day is free", &days_free, 172800, 0},
    {"more than a day was free", &days_free, 172801, 4250},
    {"more than can be counted", &dear, 7200, INT64_MAX},
    {"an endless stay", &usual, 1e300, INT64_MAX},
};

static void price(void **state)
{
    const struct price *row = *state;

    assert_true(parking_price_cents(row->tariff, row->stay_s) == row->want);
}

static void longer_is_never_cheaper(void **state)
{
    static const struct parking_tariff *const tariffs[] = {&usual, &uncapped, &free_of_charge,
                                                           &days_free};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(tariffs); i++) {
        int64_t before = 0;
        for (int step = 0; step < 5600; step++) { /* to four days */
            int64_t now = parking_price_cents(tariffs[i], step * 61.7);
            assert_true(now >= before);
            before = now;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(longer_is_never_cheaper)};

    return RUN_ROWS(plates, plate) + RUN_ROWS(prices, price) +
           cmocka_run_group_tests_name("parking", tests, NULL, NULL);
}
