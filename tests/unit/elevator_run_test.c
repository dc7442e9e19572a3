#include "support/test.h"

#include "domain/elevator/run.h"

#include <math.h>
#include <string.h>

#define RUNS 10
#define NAIVE_WAIT_S 33.2 /* in 100 hours of down only */
#define NAIVE_TOLERANCE 0.06
#define BETTER_BY 0.95

static struct elevator_result run(const char *profile, enum dispatcher_rule rule, uint64_t seed,
                                  elevator_watch *watch)
{
    struct elevator_run_options options = {
        .plant = plant_default(), .rule = rule, .seed = seed, .watch = watch};
    AUTO(elevator_traffic_free)
    struct elevator_traffic *traffic =
        elevator_traffic_draw(elevator_profile_named(profile), &options.plant, 0, seed);
    struct elevator_result result;

    options.traffic = traffic;
    elevator_run(&options, &result);
    assert_int_equal(result.people, traffic->count);
    return result;
}

static double mean_wait_s(const char *profile, enum dispatcher_rule rule)
{
    double sum_s = 0;

    for (uint64_t seed = 1; seed <= RUNS; seed++)
        sum_s += run(profile, rule, seed, NULL).wait_s;
    return sum_s / RUNS;
}

static void the_naive_rule_waits_as_long_as_it_should(void **state)
{
    double wait_s = mean_wait_s("down", DISPATCHER_NAIVE);

    (void)state;
    if (fabs(wait_s / NAIVE_WAIT_S - 1) > NAIVE_TOLERANCE)
        fail_msg("%.2f s, not %.2f s", wait_s, NAIVE_WAIT_S);
}

static void the_horizon_beats_fim_on_the_same_people(void **state)
{
    double fim_s = mean_wait_s("down", DISPATCHER_FIM);
    double horizon_s = mean_wait_s("down", DISPATCHER_HORIZON);

    (void)state;
    if (horizon_s > BETTER_BY * fim_s)
        fail_msg("%.2f s against %.2f s", horizon_s, fim_s);
}

static void on_moment(void *context, enum elevator_moment moment, const struct bank *bank)
{
    (void)context;
    (void)moment;
    for (int i = 0; i < bank->plant->cars; i++) {
        assert_true(car_is_sound(&bank->cars[i]));
        assert_in_range(bank->cars[i].load, 0, bank->plant->capacity);
        assert_in_range(bank->cars[i].position, 0, 2 * (bank->plant->floors - 1));
    }
}

/* Nobody is forgotten, by any rule, in any traffic. */
static void everybody_is_delivered(void **state)
{
    (void)state;
    for (size_t i = 0; i < elevator_profile_count; i++)
        for (int rule = 0; rule < DISPATCHER_RULES; rule++) {
            struct elevator_result result =
                run(elevator_profiles[i].name, (enum dispatcher_rule)rule, 5, on_moment);
            if (result.undelivered)
                fail_msg("%s, %s: %zu are left", elevator_profiles[i].name,
                         dispatcher_rule_names[rule], result.undelivered);
        }
}

static void the_same_seed_gives_the_same(void **state)
{
    struct elevator_result one = run("lunch-100", DISPATCHER_HORIZON, 9, NULL);
    struct elevator_result other = run("lunch-100", DISPATCHER_HORIZON, 9, NULL);

    (void)state;
    assert_true(one.wait_s == other.wait_s && one.system_s == other.system_s &&
                one.longest_wait_s == other.longest_wait_s);
}

/* One person, from the lobby to floor 9, cars at the lobby: doors, nine floors, doors, and the two
 * transfers; the wait is until the doors are open. */
static void one_person(void **state)
{
    struct passenger passenger = {.arrival_ms = 1000, .from = 0, .to = 9, .load_ms = 1000};
    struct elevator_traffic traffic = {&passenger, 1};
    struct elevator_run_options options = {.plant = plant_default(), .traffic = &traffic};
    struct elevator_result result;

    (void)state;
    for (int rule = 0; rule < DISPATCHER_RULES; rule++) {
        options.rule = (enum dispatcher_rule)rule;
        elevator_run(&options, &result);
        assert_true(fabs(result.wait_s - 2.145) < 1e-9);
        assert_true(fabs(result.system_s - (2.145 + 1 + 2.145 + 15.95 + 2.145 + 1)) < 1e-9);
    }
}

/* 30 people at once, cars of 20: those left behind press again, and are served. */
static void a_full_car_leaves_people_behind(void **state)
{
    struct passenger passengers[30];
    struct elevator_traffic traffic = {passengers, 30};
    struct elevator_run_options options = {.plant = plant_default(), .traffic = &traffic};
    struct elevator_result result;

    (void)state;
    for (int i = 0; i < 30; i++)
        passengers[i] = (struct passenger){.from = 5, .load_ms = 1000};
    options.plant.cars = 1;
    for (int rule = 0; rule < DISPATCHER_RULES; rule++) {
        options.rule = (enum dispatcher_rule)rule;
        elevator_run(&options, &result);
        assert_int_equal(result.undelivered, 0);
        assert_true(result.longest_wait_s > 60);
    }
}

static void priority_waits_less(void **state)
{
    double theirs_s = 0, others_s = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        struct elevator_run_options options = {.plant = plant_default(),
                                               .rule = DISPATCHER_HORIZON,
                                               .priority_weight = 10,
                                               .seed = seed};
        AUTO(elevator_traffic_free)
        struct elevator_traffic *traffic =
            elevator_traffic_draw(elevator_profile_named("down"), &options.plant, 0.02, seed);
        struct elevator_result result;
        options.traffic = traffic;
        elevator_run(&options, &result);
        theirs_s += result.priority_wait_s;
        others_s += result.other_wait_s;
    }
    assert_true(theirs_s < 0.9 * others_s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_naive_rule_waits_as_long_as_it_should),
        cmocka_unit_test(the_horizon_beats_fim_on_the_same_people),
        cmocka_unit_test(everybody_is_delivered),
        cmocka_unit_test(the_same_seed_gives_the_same),
        cmocka_unit_test(one_person),
        cmocka_unit_test(a_full_car_leaves_people_behind),
        cmocka_unit_test(priority_waits_less),
    };

    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
