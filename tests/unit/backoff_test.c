#include "support/test.h"

#include "resilience/backoff.h"

static const struct row {
    const char *name;
    int64_t first_ms, most_ms;
    unsigned attempt;
    int64_t low_ms, high_ms; /* at the least and the most random number */
} rows[] = {
    {"the first attempt waits for up to the first delay", 100, 60000, 1, 50, 100},
    {"an attempt 0 counts as the first", 100, 60000, 0, 50, 100},
    {"the second doubles", 100, 60000, 2, 100, 200},
    {"the fifth is 16 times", 100, 60000, 5, 800, 1600},
    {"the limit holds", 100, 1000, 5, 500, 1000},
    {"a first delay over the limit is the limit", 5000, 1000, 1, 500, 1000},
    {"attempts without end stay at the limit", 100, 60000, 4000000000u, 30000, 60000},
    {"an odd delay", 5, 5, 1, 3, 5},
    {"the least delay is never none", 1, 10, 1, 1, 1},
    {"the longest delay there is", INT64_MAX, INT64_MAX, 64, INT64_MAX / 2 + 1,
     INT64_MAX - (1 << 30) + 1},
    {"no delay at all", 0, 0, 3, 0, 0},
};

static void waits(void **state)
{
    const struct row *row = *state;
    struct backoff backoff = {.first_ms = row->first_ms, .most_ms = row->most_ms};

    assert_true(backoff_ms(&backoff, row->attempt, 0) == row->low_ms);
    assert_true(backoff_ms(&backoff, row->attempt, UINT32_MAX) == row->high_ms);
}

/* Every delay of the half must come up, about as often as any other. */
static void spreads_evenly(void **state)
{
    struct backoff backoff = {.first_ms = 18, .most_ms = 18};
    int seen[19] = {0};

    (void)state;
    for (uint32_t i = 0; i < 10000; i++)
        seen[backoff_ms(&backoff, 1, i * 429496u)]++;
    for (int delay = 0; delay < 9; delay++)
        assert_int_equal(seen[delay], 0);
    for (int delay = 9; delay <= 18; delay++)
        assert_in_range(seen[delay], 990, 1010);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(spreads_evenly)};

    return RUN_ROWS(rows, waits) + cmocka_run_group_tests(tests, NULL, NULL);
}
