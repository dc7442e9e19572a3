#include "support/test.h"

#include "domain/elevator/dispatcher.h"

#include <string.h>

#define NOW_MS 600000
#define NOBODY (-1)

/* The forerunner's two cases (its floors and cars count from 1): cars idle at 1, going up at 5 with
 * a rider for 6, idle at 10. */
struct scene {
    struct plant plant;
    struct car cars[4];
    struct bank bank;
    struct car_command commands[4];
};

static void set_scene(struct scene *scene, int cars)
{
    memset(scene, 0, sizeof(*scene));
    scene->plant = plant_default();
    scene->plant.cars = cars;
    for (int i = 0; i < cars; i++)
        scene->cars[i] = car_at(0);
    scene->bank = (struct bank){
        .plant = &scene->plant, .cars = scene->cars, .now_ms = NOW_MS, .deciding = NOBODY};
}

static void put_rider(struct car *car, int to, int count)
{
    car->load = count;
    car_call(car, to);
}

static void set_in_motion(struct car *car, int direction)
{
    car->state = CAR_ACCELERATING;
    car->direction = direction;
    car->until_ms = NOW_MS + 1000;
}

static void press(struct scene *scene, int floor, int direction, int age_s)
{
    floor_set_add(&scene->bank.lit[stops_side(direction)], floor);
    scene->bank.calls[stops_side(direction)][floor] =
        (struct hall_call){.pressed_ms = NOW_MS - 1000 * age_s, .weight = 1};
}

static int owner(const struct scene *scene, int floor, int direction)
{
    int found = NOBODY;

    for (int i = 0; i < scene->plant.cars; i++)
        if (floor_set_has(&scene->commands[i].hall[stops_side(direction)], floor)) {
            assert_int_equal(found, NOBODY);
            found = i;
        }
    return found;
}

static void decide(struct scene *scene, enum dispatcher_rule rule)
{
    AUTO(dispatcher_free)
    struct dispatcher *dispatcher = dispatcher_new(&scene->plant, rule, 1);

    dispatcher_decide(dispatcher, &scene->bank, scene->commands);
}

static const struct forerunner {
    const char *name;
    enum dispatcher_rule rule;
    int floor, car;
} forerunner_rows[] = {
    {"naive: floor 2 up, car 1", DISPATCHER_NAIVE, 1, 0},
    {"nearest: floor 2 up, car 1", DISPATCHER_NEAREST, 1, 0},
    {"nearest: floor 6 up, car 2", DISPATCHER_NEAREST, 5, 1},
    {"eta: floor 2 up, car 1", DISPATCHER_ETA, 1, 0},
    {"eta: floor 6 up, car 2", DISPATCHER_ETA, 5, 1},
    {"fim: floor 2 up, car 1", DISPATCHER_FIM, 1, 0},
    {"fim: floor 6 up, car 2", DISPATCHER_FIM, 5, 1},
    {"horizon: floor 2 up, car 1", DISPATCHER_HORIZON, 1, 0},
    {"horizon: floor 6 up, car 2", DISPATCHER_HORIZON, 5, 1},
};

static void forerunner(void **state)
{
    const struct forerunner *row = *state;
    struct scene scene;

    set_scene(&scene, 3);
    scene.cars[1] = car_at(4);
    put_rider(&scene.cars[1], 5, 1);
    set_in_motion(&scene.cars[1], ELEVATOR_UP);
    scene.cars[2] = car_at(9);
    press(&scene, row->floor, ELEVATOR_UP, 0);
    decide(&scene, row->rule);
    assert_int_equal(owner(&scene, row->floor, ELEVATOR_UP), row->car);
}

static const struct rule_row {
    const char *name;
    enum dispatcher_rule rule;
} rule_rows[] = {
    {"nearest", DISPATCHER_NEAREST}, {"lqf", DISPATCHER_LQF},         {"eta", DISPATCHER_ETA},
    {"fim", DISPATCHER_FIM},         {"horizon", DISPATCHER_HORIZON},
};

/* A full car comes up to floor 3, an empty one stands far away. */
static void a_full_car_is_not_sent(void **state)
{
    const struct rule_row *row = *state;
    struct scene scene;

    set_scene(&scene, 2);
    scene.cars[0] = car_at(2);
    put_rider(&scene.cars[0], 9, scene.plant.capacity);
    set_in_motion(&scene.cars[0], ELEVATOR_UP);
    scene.cars[1] = car_at(9);
    press(&scene, 4, ELEVATOR_UP, 0);
    decide(&scene, row->rule);
    assert_int_equal(owner(&scene, 4, ELEVATOR_UP), 1);
}

static void a_car_out_of_service_takes_nothing(void **state)
{
    const struct rule_row *row = *state;
    struct scene scene;

    set_scene(&scene, 2);
    scene.cars[0] = car_at(4);
    car_retire(&scene.cars[0], NOW_MS);
    scene.cars[1] = car_at(9);
    press(&scene, 4, ELEVATOR_UP, 0);
    press(&scene, 3, ELEVATOR_DOWN, 5);
    decide(&scene, row->rule);
    assert_int_not_equal(owner(&scene, 4, ELEVATOR_UP), 0);
    assert_int_not_equal(owner(&scene, 3, ELEVATOR_DOWN), 0);
}

/* The car that had the call goes out of service: it is somebody else's, by the same path. */
static void its_calls_are_given_to_others(void **state)
{
    const struct rule_row *row = *state;
    struct scene scene;

    set_scene(&scene, 2);
    scene.cars[0] = car_at(5);
    AUTO(dispatcher_free)
    struct dispatcher *dispatcher = dispatcher_new(&scene.plant, row->rule, 1);
    press(&scene, 4, ELEVATOR_UP, 0);
    dispatcher_decide(dispatcher, &scene.bank, scene.commands);
    assert_int_equal(owner(&scene, 4, ELEVATOR_UP), 0);
    car_retire(&scene.cars[0], NOW_MS);
    dispatcher_decide(dispatcher, &scene.bank, scene.commands);
    assert_int_equal(owner(&scene, 4, ELEVATOR_UP), 1);
}

static void nobody_is_there_to_take_it(void **state)
{
    const struct rule_row *row = *state;
    struct scene scene;

    set_scene(&scene, 1);
    car_retire(&scene.cars[0], NOW_MS);
    press(&scene, 4, ELEVATOR_UP, 0);
    decide(&scene, row->rule);
    assert_int_equal(owner(&scene, 4, ELEVATOR_UP), NOBODY);
}

/* ---- the horizon ---- */

static void nothing_is_promised(void **state)
{
    struct scene scene;

    (void)state;
    set_scene(&scene, 2);
    scene.cars[0] = car_at(6);
    scene.cars[1] = car_at(0);
    put_rider(&scene.cars[1], 9, 1);
    AUTO(dispatcher_free)
    struct dispatcher *dispatcher = dispatcher_new(&scene.plant, DISPATCHER_HORIZON, 1);
    press(&scene, 8, ELEVATOR_DOWN, 0);
    dispatcher_decide(dispatcher, &scene.bank, scene.commands);
    assert_int_equal(owner(&scene, 8, ELEVATOR_DOWN), 0);
    scene.cars[0] = car_at(0); /* it went elsewhere, the other one is there */
    put_rider(&scene.cars[0], 5, 10);
    scene.cars[1] = car_at(9);
    dispatcher_decide(dispatcher, &scene.bank, scene.commands);
    assert_int_equal(owner(&scene, 8, ELEVATOR_DOWN), 1);
}

static void a_call_that_is_braked_for_is_frozen(void **state)
{
    struct scene scene;

    (void)state;
    set_scene(&scene, 2);
    scene.cars[0] = car_at(3);
    AUTO(dispatcher_free)
    struct dispatcher *dispatcher = dispatcher_new(&scene.plant, DISPATCHER_HORIZON, 1);
    press(&scene, 4, ELEVATOR_UP, 0);
    dispatcher_decide(dispatcher, &scene.bank, scene.commands);
    assert_int_equal(owner(&scene, 4, ELEVATOR_UP), 0);
    car_command(&scene.cars[0], &scene.plant, &scene.commands[0], NOW_MS);
    assert_int_equal(car_advance(&scene.cars[0], &scene.plant, NOW_MS + 2175), CAR_BRAKES);
    scene.cars[1] = car_at(4);
    dispatcher_decide(dispatcher, &scene.bank, scene.commands);
    assert_int_equal(owner(&scene, 4, ELEVATOR_UP), 0);
}

/* One car, two calls: the one with priority is served by the car, and it is near; a second car is
 * left to the other. With equal weights it is the other way about. */
static void priority_comes_first(void **state)
{
    struct scene scene;

    (void)state;
    set_scene(&scene, 2);
    scene.cars[0] = car_at(5);
    scene.cars[1] = car_at(0);
    put_rider(&scene.cars[1], 2, 1);
    press(&scene, 9, ELEVATOR_DOWN, 20);
    press(&scene, 1, ELEVATOR_DOWN, 0);
    decide(&scene, DISPATCHER_HORIZON);
    assert_int_equal(owner(&scene, 9, ELEVATOR_DOWN), 0);
    scene.cars[0] = car_at(3);
    scene.bank.calls[1][1].weight = 100;
    decide(&scene, DISPATCHER_HORIZON);
    assert_int_equal(owner(&scene, 1, ELEVATOR_DOWN), 0);
}

static void free_cars_go_where_people_are(void **state)
{
    struct scene scene;

    (void)state;
    set_scene(&scene, 2);
    AUTO(dispatcher_free)
    struct dispatcher *dispatcher = dispatcher_new(&scene.plant, DISPATCHER_HORIZON, 1);
    for (int i = 0; i < 60; i++)
        dispatcher_boarded(dispatcher, i % 2 ? 8 : 3, 0, NOW_MS - 1000 * i);
    dispatcher_decide(dispatcher, &scene.bank, scene.commands);
    assert_int_equal(scene.commands[0].park + scene.commands[1].park, 11);
    assert_true(scene.commands[0].park == 3 || scene.commands[0].park == 8);
}

static void the_same_seed_decides_the_same(void **state)
{
    struct scene one, other;

    (void)state;
    set_scene(&one, 4);
    for (int floor = 1; floor < 10; floor++)
        press(&one, floor, ELEVATOR_DOWN, 3 * floor);
    set_scene(&other, 4);
    other.bank = one.bank;
    other.bank.plant = &other.plant;
    other.bank.cars = other.cars;
    decide(&one, DISPATCHER_HORIZON);
    decide(&other, DISPATCHER_HORIZON);
    for (int floor = 1; floor < 10; floor++) {
        assert_int_not_equal(owner(&one, floor, ELEVATOR_DOWN), NOBODY);
        assert_int_equal(owner(&one, floor, ELEVATOR_DOWN), owner(&other, floor, ELEVATOR_DOWN));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_promised),
        cmocka_unit_test(a_call_that_is_braked_for_is_frozen),
        cmocka_unit_test(priority_comes_first),
        cmocka_unit_test(free_cars_go_where_people_are),
        cmocka_unit_test(the_same_seed_decides_the_same),
    };

    return RUN_ROWS(forerunner_rows, forerunner) + RUN_ROWS(rule_rows, a_full_car_is_not_sent) +
           RUN_ROWS(rule_rows, a_car_out_of_service_takes_nothing) +
           RUN_ROWS(rule_rows, its_calls_are_given_to_others) +
           RUN_ROWS(rule_rows, nobody_is_there_to_take_it) +
           cmocka_run_group_tests_name("dispatcher", tests, NULL, NULL);
}
