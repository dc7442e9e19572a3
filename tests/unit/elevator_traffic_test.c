#include "support/test.h"

#include "domain/elevator/traffic.h"

#include <math.h>
#include <string.h>

#define HOURS 40

struct counts {
    double all, up, down, inter;
};

static void count(const char *profile, struct counts *out)
{
    const struct plant plant = plant_default();

    *out = (struct counts){0};
    for (uint64_t seed = 0; seed < HOURS; seed++) {
        AUTO(elevator_traffic_free)
        struct elevator_traffic *traffic =
            elevator_traffic_draw(elevator_profile_named(profile), &plant, 0, seed);
        for (size_t i = 0; i < traffic->count; i++) {
            const struct passenger *passenger = &traffic->passengers[i];
            assert_in_range(passenger->from, 0, plant.floors - 1);
            assert_in_range(passenger->to, 0, plant.floors - 1);
            assert_int_not_equal(passenger->from, passenger->to);
            assert_in_range(passenger->load_ms, 600, 6000);
            assert_in_range(passenger->arrival_ms, i ? traffic->passengers[i - 1].arrival_ms : 0,
                            ELEVATOR_HOUR_MS);
            out->up += passenger->from == 0;
            out->down += passenger->to == 0;
            out->inter += passenger->from && passenger->to;
        }
        out->all += (double)traffic->count;
    }
}

static const struct row {
    const char *name; /* of the profile */
    double up, down, inter;
} rows[] = {
    /* people an hour; the table's rows add up to 84 a floor */
    {"down", 0, 756, 0},
    {"down-2up", 120, 0.95 * 756, 0.05 * 756},
    {"down-4up", 240, 0.95 * 756, 0.05 * 756},
    {"up-60", 720, 0, 0},
    {"up-120", 1440, 0, 0},
    {"up-mix-120", 0.85 * 1440, 0.10 * 1440, 0.05 * 1440},
    {"lunch-100", 540, 540, 120},
    {"lunch-130", 702, 702, 156},
    {"inter-60", 0, 0, 720},
};

/* Within five standard deviations. */
static void assert_close(double count_of_all, double an_hour)
{
    double want = an_hour * HOURS;

    assert_true(fabs(count_of_all - want) <= 5 * sqrt(want));
}

static void people_an_hour(void **state)
{
    const struct row *row = *state;
    struct counts counts;

    count(row->name, &counts);
    assert_close(counts.up, row->up);
    assert_close(counts.down, row->down);
    assert_close(counts.inter, row->inter);
}

static void the_down_peak_has_its_shape(void **state)
{
    static const double table[ELEVATOR_INTERVALS] = {1, 2, 4, 4, 18, 12, 8, 7, 18, 5, 3, 2};
    const struct plant plant = plant_default();
    double counts[ELEVATOR_INTERVALS] = {0};

    (void)state;
    for (uint64_t seed = 0; seed < HOURS; seed++) {
        AUTO(elevator_traffic_free)
        struct elevator_traffic *traffic =
            elevator_traffic_draw(elevator_profile_named("down"), &plant, 0, seed);
        for (size_t i = 0; i < traffic->count; i++)
            counts[traffic->passengers[i].arrival_ms / 300000]++;
    }
    for (int i = 0; i < ELEVATOR_INTERVALS; i++)
        assert_close(counts[i], 9 * table[i]);
}

static void a_seed_draws_the_same_people(void **state)
{
    const struct plant plant = plant_default();
    const struct elevator_profile *profile = elevator_profile_named("lunch-100");
    AUTO(elevator_traffic_free)
    struct elevator_traffic *one = elevator_traffic_draw(profile, &plant, 0.1, 3);
    AUTO(elevator_traffic_free)
    struct elevator_traffic *same = elevator_traffic_draw(profile, &plant, 0.1, 3);
    AUTO(elevator_traffic_free)
    struct elevator_traffic *other = elevator_traffic_draw(profile, &plant, 0.1, 4);

    (void)state;
    assert_int_equal(one->count, same->count);
    for (size_t i = 0; i < one->count; i++) {
        const struct passenger *a = &one->passengers[i], *b = &same->passengers[i];
        assert_true(a->arrival_ms == b->arrival_ms && a->from == b->from && a->to == b->to &&
                    a->load_ms == b->load_ms && a->priority == b->priority);
    }
    assert_true(other->passengers[0].arrival_ms != one->passengers[0].arrival_ms);
}

static void getting_on_takes_a_second(void **state)
{
    const struct plant plant = plant_default();
    AUTO(elevator_traffic_free)
    struct elevator_traffic *traffic =
        elevator_traffic_draw(elevator_profile_named("up-120"), &plant, 0, 1);
    double sum = 0;

    (void)state;
    for (size_t i = 0; i < traffic->count; i++)
        sum += traffic->passengers[i].load_ms;
    assert_true(fabs(sum / (double)traffic->count - 1000) < 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_down_peak_has_its_shape),
                                       cmocka_unit_test(a_seed_draws_the_same_people),
                                       cmocka_unit_test(getting_on_takes_a_second)};

    return RUN_ROWS(rows, people_an_hour) +
           cmocka_run_group_tests_name("traffic", tests, NULL, NULL);
}
