#include "support/test.h"

#include "domain/elevator/car.h"
#include "domain/traffic_random.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define SEQUENCES 10000
#define STEPS 60
#define NOW_MS 5000

static const struct plant plant = {.floors = 10,
                                   .cars = 1,
                                   .capacity = 3,
                                   .floor_ms = 1450,
                                   .half_floor_ms = 2175,
                                   .turn_ms = 1000,
                                   .opening_ms = 2145,
                                   .closing_ms = 2145,
                                   .load_ms = 1000};

/* ---- which state may follow which ---- */

#define S(state) (1U << (CAR_##state))

static const struct follows {
    const char *name;
    enum car_state from;
    unsigned to;
} follow_rows[] = {
    {"idle", CAR_IDLE, S(TURNING) | S(ACCELERATING) | S(OPENING) | S(OUT_OF_SERVICE)},
    {"turning", CAR_TURNING,
     S(IDLE) | S(TURNING) | S(ACCELERATING) | S(OPENING) | S(OUT_OF_SERVICE)},
    {"accelerating: on, or down again", CAR_ACCELERATING, S(MOVING) | S(DECELERATING)},
    {"moving: it cannot stop at once", CAR_MOVING, S(MOVING) | S(DECELERATING)},
    {"decelerating: it stands", CAR_DECELERATING,
     S(IDLE) | S(TURNING) | S(ACCELERATING) | S(OPENING) | S(OUT_OF_SERVICE)},
    {"doors that open are open next", CAR_OPENING, S(OPEN)},
    {"open doors close before anything else", CAR_OPEN, S(OPEN) | S(CLOSING)},
    {"closing: shut, or open again", CAR_CLOSING,
     S(IDLE) | S(TURNING) | S(ACCELERATING) | S(OPENING) | S(OUT_OF_SERVICE)},
    {"out of service: comes back idle", CAR_OUT_OF_SERVICE, S(IDLE)},
};

static void follows(void **state)
{
    const struct follows *row = *state;

    for (int to = 0; to < CAR_STATES; to++)
        assert_int_equal(car_may_become(row->from, (enum car_state)to), row->to >> to & 1);
}

static void doors_that_are_not_shut_stand_at_a_floor(void **state)
{
    (void)state;
    for (int i = 0; i < CAR_STATES; i++) {
        struct car car = car_at(3);
        car.state = (enum car_state)i;
        assert_false(car_is_in_motion(&car) && !car_doors_are_shut(&car));
        assert_true(car_is_sound(&car));
        car.position = 7; /* mid-floor */
        assert_int_equal(car_is_sound(&car), car_is_in_motion(&car));
    }
}

/* ---- what it does ---- */

enum action { NOTHING, CALL_5_UP, CALL_5_DOWN, CALL_HERE, CALL_2, PARK_7, RIDER_5, RETIRE };

static const struct transition {
    const char *name;
    enum car_state from;
    enum action action;
    bool time_is_up; /* then its next event */
    enum car_event event;
    enum car_state to;
} transitions[] = {
    {"idle, nothing to do", CAR_IDLE, NOTHING, false, CAR_DID_NOTHING, CAR_IDLE},
    {"idle, a call above", CAR_IDLE, CALL_5_UP, false, CAR_LEAVES, CAR_ACCELERATING},
    {"idle, a call above for down", CAR_IDLE, CALL_5_DOWN, false, CAR_LEAVES, CAR_ACCELERATING},
    {"idle, a call behind: turns", CAR_IDLE, CALL_2, false, CAR_TURNS, CAR_TURNING},
    {"idle, a call here: opens", CAR_IDLE, CALL_HERE, false, CAR_OPENS, CAR_OPENING},
    {"idle, to be parked", CAR_IDLE, PARK_7, false, CAR_LEAVES, CAR_ACCELERATING},
    {"idle, retired", CAR_IDLE, RETIRE, false, CAR_DID_NOTHING, CAR_OUT_OF_SERVICE},
    {"turned, the call is gone", CAR_TURNING, NOTHING, true, CAR_STANDS, CAR_IDLE},
    {"turned, and leaves", CAR_TURNING, CALL_5_UP, true, CAR_LEAVES, CAR_ACCELERATING},
    {"mid-floor, the call is far", CAR_ACCELERATING, CALL_5_UP, true, CAR_STAYS_ON, CAR_MOVING},
    {"mid-floor, nothing ahead: brakes", CAR_ACCELERATING, NOTHING, true, CAR_BRAKES,
     CAR_DECELERATING},
    {"before mid-floor nothing changes", CAR_ACCELERATING, CALL_5_UP, false, CAR_DID_NOTHING,
     CAR_ACCELERATING},
    {"has braked for a call: opens", CAR_DECELERATING, CALL_HERE, true, CAR_OPENS, CAR_OPENING},
    {"has braked for nothing: does not open", CAR_DECELERATING, NOTHING, true, CAR_STANDS,
     CAR_IDLE},
    {"has braked for nothing, a call ahead: on", CAR_DECELERATING, CALL_5_UP, true, CAR_LEAVES,
     CAR_ACCELERATING},
    {"a call while doors open: they open", CAR_OPENING, CALL_5_UP, true, CAR_OPENED, CAR_OPEN},
    {"a call while doors are open: they stay", CAR_OPEN, CALL_5_UP, false, CAR_DID_NOTHING,
     CAR_OPEN},
    {"a call for the floor left behind, while closing: reopens", CAR_CLOSING, CALL_HERE, true,
     CAR_OPENS, CAR_OPENING},
    {"closed, a rider ahead", CAR_CLOSING, RIDER_5, true, CAR_LEAVES, CAR_ACCELERATING},
    {"closed, nothing to do", CAR_CLOSING, NOTHING, true, CAR_STANDS, CAR_IDLE},
    {"closed, retired", CAR_CLOSING, RETIRE, true, CAR_STANDS, CAR_OUT_OF_SERVICE},
    {"closed, retired with a rider: finishes", CAR_CLOSING, RIDER_5, true, CAR_LEAVES,
     CAR_ACCELERATING},
    {"out of service takes no calls", CAR_OUT_OF_SERVICE, CALL_5_UP, false, CAR_DID_NOTHING,
     CAR_OUT_OF_SERVICE},
};

/* At floor 3 (mid-floor below it when braking), heading up. */
static struct car car_in(enum car_state state)
{
    struct car car = car_at(3);

    car.state = state;
    if (state == CAR_DECELERATING)
        car.position = 5;
    if (state != CAR_IDLE && state != CAR_OPEN && state != CAR_OUT_OF_SERVICE)
        car.until_ms = NOW_MS;
    car.retiring = state == CAR_OUT_OF_SERVICE;
    return car;
}

static enum car_event act(struct car *car, enum action action)
{
    struct car_command command = {.park = action == PARK_7 ? 7 : CAR_NOWHERE};

    if (action == CALL_5_UP || action == CALL_HERE || action == CALL_2)
        floor_set_add(&command.hall[0], action == CALL_5_UP ? 5 : action == CALL_HERE ? 3 : 2);
    if (action == CALL_5_DOWN)
        floor_set_add(&command.hall[1], 5);
    if (action == RIDER_5) {
        car->load = 1;
        car_call(car, 5);
    }
    if (action == RETIRE)
        car_retire(car, NOW_MS);
    return car_command(car, &plant, &command, NOW_MS);
}

static void transition(void **state)
{
    const struct transition *row = *state;
    struct car car = car_in(row->from);
    enum car_event event = act(&car, row->action);

    if (row->time_is_up) {
        assert_int_equal(event, CAR_DID_NOTHING);
        event = car_advance(&car, &plant, NOW_MS);
    }
    assert_int_equal(event, row->event);
    assert_string_equal(car_state_name(car.state), car_state_name(row->to));
    assert_true(car_is_sound(&car));
}

/* ---- physics ---- */

/* Rest to rest over n floors: half a floor up to speed, n - 1 floors, half a floor to brake; a
 * position for each floor between. */
static void a_trip_takes_what_the_formula_says(void **state)
{
    (void)state;
    for (int floors = 1; floors < plant.floors; floors++) {
        struct car car = car_at(0);
        struct car_command command = {.park = CAR_NOWHERE};
        int passed = 0;
        floor_set_add(&command.hall[1], floors);
        assert_int_equal(car_command(&car, &plant, &command, 0), CAR_LEAVES);
        for (enum car_event event = CAR_LEAVES; event != CAR_OPENS; passed += event == CAR_PASSES) {
            assert_true(car_is_sound(&car));
            event = car_advance(&car, &plant, car.until_ms);
        }
        assert_int_equal(passed, floors - 1);
        assert_int_equal(car_floor(&car), floors);
        int64_t trip_ms = 2 * plant.half_floor_ms + (floors - 1) * plant.floor_ms;
        assert_int_equal(car.until_ms, trip_ms + plant.opening_ms);
    }
}

static void a_stop_costs_7190_ms_more_than_passing(void **state)
{
    struct car car = car_at(0);
    struct car_command command = {.park = CAR_NOWHERE};
    int stops = 0;

    (void)state;
    floor_set_add(&command.hall[0], 2);
    floor_set_add(&command.hall[0], 4);
    assert_int_equal(car_command(&car, &plant, &command, 0), CAR_LEAVES);
    while (stops < 2) {
        int64_t now_ms = car.until_ms;
        enum car_event event = car_advance(&car, &plant, now_ms);
        stops += event == CAR_OPENS;
        if (event == CAR_OPENS)
            car_forget(&car, car_floor(&car), car.lantern);
        if (event == CAR_OPENED)
            car_close(&car, &plant, now_ms);
    }
    assert_int_equal(car.until_ms,
                     2 * 2175 + 3 * 1450 + 7190 + plant.opening_ms); /* four floors, one stop */
}

static void a_call_is_taken_up_to_mid_floor_and_not_after(void **state)
{
    struct car car = car_at(0);
    struct car_command far = {.park = CAR_NOWHERE}, near = {.park = CAR_NOWHERE};

    (void)state;
    floor_set_add(&far.hall[0], 5);
    near = far;
    floor_set_add(&near.hall[0], 1);
    car_command(&car, &plant, &far, 0);
    struct car early = car, late = car;
    car_command(&early, &plant, &near, 2174);
    assert_int_equal(car_advance(&early, &plant, early.until_ms), CAR_BRAKES);
    assert_int_equal(car_advance(&late, &plant, late.until_ms), CAR_STAYS_ON);
    car_command(&late, &plant, &near, 2176);
    assert_int_equal(car_advance(&late, &plant, late.until_ms), CAR_PASSES);
    assert_int_equal(car_floor(&late), 2);
}

static void it_resumes_from_its_bytes(void **state)
{
    struct car car = car_at(0), copy;
    struct car_command command = {.park = 6};

    (void)state;
    car_command(&car, &plant, &command, 0);
    while (car.until_ms != CAR_NEVER) {
        memcpy(&copy, &car, sizeof(car));
        assert_int_equal(car_advance(&car, &plant, car.until_ms),
                         car_advance(&copy, &plant, copy.until_ms));
        assert_memory_equal(&car, &copy, sizeof(car));
    }
    assert_int_equal(car_floor(&car), 6);
}

/* ---- anything at any time ---- */

static struct floor_set random_floors(struct traffic_random *random)
{
    return (struct floor_set){{traffic_random_next(random) & traffic_random_next(random) & 0x3ff}};
}

static void command_anything(struct traffic_random *random, struct car *car, int64_t now_ms)
{
    struct car_command command = {
        .hall = {random_floors(random), random_floors(random)},
        .park = (int)traffic_random_between(random, CAR_NOWHERE, plant.floors - 1),
        .hold_until_ms = now_ms + traffic_random_between(random, -1000, 1000)};

    car_command(car, &plant, &command, now_ms);
}

static void use_open_car(struct traffic_random *random, struct car *car, int64_t now_ms)
{
    int floor = car_floor(car), other = (floor + 1) % plant.floors;

    if (car->lantern)
        other = floor + car->lantern;
    switch (traffic_random_below(random, 5)) {
    case 0:
        if (car->load && floor_set_is_empty(&car->stops.riders))
            car_alight(car, now_ms, 1000);
        break;
    case 1:
        if (other >= 0 && other < plant.floors && car->load < plant.capacity)
            car_board(car, other, now_ms, 1000);
        break;
    case 2:
        car_choose_lantern(car, (int)traffic_random_between(random, -1, 1));
        break;
    case 3:
        car_wait(car, now_ms + 500);
        break;
    default:
        car_close(car, &plant, now_ms);
        break;
    }
}

static void do_anything(struct traffic_random *random, struct car *car, int64_t *now_ms)
{
    int before = car->position;
    bool stood = !car_is_in_motion(car);

    if (car->until_ms != CAR_NEVER && traffic_random_happens(random, 0.5))
        *now_ms = car->until_ms;
    switch (traffic_random_below(random, 8)) {
    case 0:
    case 1:
        command_anything(random, car, *now_ms);
        break;
    case 2:
        if (traffic_random_happens(random, 0.1))
            car_retire(car, *now_ms);
        break;
    case 3:
        car_return(car);
        break;
    case 4:
        car_forget(car, (int)traffic_random_below(random, 10),
                   traffic_random_happens(random, 0.5) ? ELEVATOR_UP : ELEVATOR_DOWN);
        break;
    default:
        if (car_is_ready(car))
            use_open_car(random, car, *now_ms);
        else
            car_advance(car, &plant, *now_ms);
        break;
    }
    assert_true(car_is_sound(car));
    assert_false(!car_doors_are_shut(car) && (car_is_in_motion(car) || car->position % 2));
    assert_in_range(car->position, 0, 2 * (plant.floors - 1));
    assert_true(car->position == before || !stood || car_is_in_motion(car));
}

static void it_stays_sound_whatever_happens(void **state)
{
    uint64_t seed = (uint64_t)time(NULL);

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint64_t sequence = 0; sequence < SEQUENCES; sequence++) {
        struct traffic_random random = traffic_random_start(seed, sequence);
        struct car car = car_at((int)traffic_random_below(&random, 10));
        int64_t now_ms = 0;
        for (int step = 0; step < STEPS; step++)
            do_anything(&random, &car, &now_ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doors_that_are_not_shut_stand_at_a_floor),
        cmocka_unit_test(a_trip_takes_what_the_formula_says),
        cmocka_unit_test(a_stop_costs_7190_ms_more_than_passing),
        cmocka_unit_test(a_call_is_taken_up_to_mid_floor_and_not_after),
        cmocka_unit_test(it_resumes_from_its_bytes),
        cmocka_unit_test(it_stays_sound_whatever_happens),
    };

    return RUN_ROWS(follow_rows, follows) + RUN_ROWS(transitions, transition) +
           cmocka_run_group_tests_name("car", tests, NULL, NULL);
}
