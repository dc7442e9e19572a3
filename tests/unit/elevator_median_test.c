#include "support/test.h"

#include "base/macros.h"
#include "base/memory.h"
#include "domain/elevator/median.h"
#include "domain/traffic_random.h"

#include <math.h>
#include <stdlib.h>

#define FLOORS_MAX 9
#define COUNT_MAX 4
#define ROUNDS 2000
#define CLOSE 1e-9

static void free_table(struct median_table *table)
{
    free(table);
}
AUTO_DEFINE(struct median_table *, free_table)

/* All places there are, as digits of a number to the base of floors. */
static double try_all(const double *weights, int floors, int count)
{
    int all = 1, places[COUNT_MAX];
    double least = INFINITY;

    for (int i = 0; i < count; i++)
        all *= floors;
    for (int number = 0; number < all; number++) {
        for (int i = 0, rest = number; i < count; i++, rest /= floors)
            places[i] = rest % floors;
        least = fmin(least, median_cost(weights, floors, places, count));
    }
    return least;
}

static void as_good_as_trying_all(void **state)
{
    AUTO(free_table) struct median_table *table = memory_alloc(sizeof(*table));
    struct traffic_random random = traffic_random_start(7, 0);

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        double weights[FLOORS_MAX];
        int medians[COUNT_MAX], floors = (int)traffic_random_between(&random, 2, FLOORS_MAX);
        int count = (int)traffic_random_between(&random, 1, floors < 7 ? COUNT_MAX : 3);
        for (int i = 0; i < floors; i++)
            weights[i] = traffic_random_happens(&random, 0.3) ? 0 : traffic_random_share(&random);
        double cost = median_floors(table, weights, floors, count, medians);
        assert_true(fabs(cost - try_all(weights, floors, count)) < CLOSE);
        assert_true(fabs(cost - median_cost(weights, floors, medians, count)) < CLOSE);
        for (int i = 1; i < count; i++)
            assert_true(medians[i] >= medians[i - 1]);
    }
}

static const struct row {
    const char *name;
    int floors, count;
    double weights[FLOORS_MAX];
    int want[COUNT_MAX];
} rows[] = {
    {"one car stands where half the people are on either side", 5, 1, {1, 1, 1, 1, 1}, {2}},
    {"one car of a lobby with most of them stands there", 5, 1, {9, 1, 1, 1, 1}, {0}},
    {"two cars, two crowds", 6, 2, {5, 0, 0, 0, 0, 5}, {0, 5}},
};

static void known(void **state)
{
    AUTO(free_table) struct median_table *table = memory_alloc(sizeof(*table));
    const struct row *row = *state;
    int medians[COUNT_MAX];

    median_floors(table, row->weights, row->floors, row->count, medians);
    for (int i = 0; i < row->count; i++)
        assert_int_equal(medians[i], row->want[i]);
}

static void more_cars_than_floors(void **state)
{
    AUTO(free_table) struct median_table *table = memory_alloc(sizeof(*table));
    const double weights[] = {1, 2, 3};
    int medians[COUNT_MAX];

    (void)state;
    assert_true(median_floors(table, weights, 3, COUNT_MAX, medians) < CLOSE);
    assert_true(median_cost(weights, 3, medians, COUNT_MAX) < CLOSE);
    for (int i = 0; i < COUNT_MAX; i++)
        assert_in_range(medians[i], 0, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_good_as_trying_all),
                                       cmocka_unit_test(more_cars_than_floors)};

    return RUN_ROWS(rows, known) + cmocka_run_group_tests_name("median", tests, NULL, NULL);
}
