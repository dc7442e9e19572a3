#include "support/test.h"

#include "domain/elevator/tour.h"

#include <math.h>

#define CLOSE 1e-6
#define NOW_MS 1000000
#define CALLS_MAX 3

enum state_of { IDLE, STARTED, CLOSING };

static const struct row {
    const char *name;
    enum state_of state;
    int floor, direction, rider; /* a rider's floor, or -1 */
    struct tour_target calls[CALLS_MAX];
    int count; /* the last one is asked for */
    double want_s;
} rows[] = {
    /* a floor from rest to rest 4.35, each further one 1.45; doors 2.145; one person 1; turn 1 */
    {"the same floor: doors", IDLE, 4, 1, -1, {{4, 1}}, 1, 2.145},
    {"one floor up", IDLE, 4, 1, -1, {{5, 1}}, 1, 4.35 + 2.145},
    {"three floors up", IDLE, 0, 1, -1, {{3, 1}}, 1, 7.25 + 2.145},
    {"nine floors up, for one who goes down", IDLE, 0, 1, -1, {{9, -1}}, 1, 15.95 + 2.145},
    {"the other way: it turns", IDLE, 5, 1, -1, {{2, -1}}, 1, 1 + 7.25 + 2.145},
    {"a stop on the way: 7.19 s and one person",
     IDLE,
     0,
     1,
     -1,
     {{2, 1}, {4, 1}},
     2,
     4.35 + 3 * 1.45 + 7.19 + 1 + 2.145},
    {"a rider's stop on the way costs the same",
     CLOSING,
     0,
     1,
     2,
     {{4, 1}},
     1,
     2.145 + 4.35 + 3 * 1.45 + 7.19 + 1 + 2.145},
    {"already under way: mid-floor is in 2.175 s", STARTED, 0, 1, 9, {{2, 1}}, 1, 5.8 + 2.145},
    {"closing doors shut first, then open again", CLOSING, 0, 1, 9, {{0, 1}}, 1, 2.145 + 2.145},
    {"on the way back: up 9 floors, one gets off, down 4",
     STARTED,
     0,
     1,
     9,
     {{5, -1}},
     1,
     15.95 + 2.145 + 1 + 2.145 + 1 + 8.7 + 2.145},
};

static void set_up(struct tour_model *model, const struct row *row, struct floor_set hall[2])
{
    const struct plant plant = plant_default();

    tour_model_start(model, &plant, &(struct tour_weights){.wait = 1});
    for (int floor = 0; floor < plant.floors; floor++) { /* everybody goes to the ends */
        model->pull_ahead[0][floor + 1] = model->pull_ahead[1][floor + 1] = 1;
        model->pull[0][floor] = floor == plant.floors - 1;
        model->pull[1][floor] = floor == 0;
    }
    for (int i = 0; i < row->count; i++) {
        int side = stops_side(row->calls[i].direction);
        floor_set_add(&hall[side], row->calls[i].floor);
        model->calls[side][row->calls[i].floor] = (struct tour_call){.weight = 1};
    }
}

static struct car set_car(const struct row *row)
{
    const struct plant plant = plant_default();
    struct car car = car_at(row->floor);

    car.direction = row->direction;
    if (row->rider >= 0) {
        car.load = 1;
        floor_set_add(&car.stops.riders, row->rider);
    }
    if (row->state == STARTED) {
        car.state = CAR_ACCELERATING;
        car.until_ms = NOW_MS + plant.half_floor_ms;
    }
    if (row->state == CLOSING) {
        car.state = CAR_CLOSING;
        car.lantern = row->direction;
        car.until_ms = NOW_MS + plant.closing_ms;
    }
    return car;
}

static void by_hand(void **state)
{
    const struct row *row = *state;
    struct floor_set hall[2] = {{{0}}, {{0}}};
    struct tour_model model = {0};
    struct tour_start start;
    struct car car = set_car(row);

    set_up(&model, row, hall);
    tour_begin(&model, &car, NOW_MS, &start);
    double eta_s = tour_eta(&model, &start, hall, &row->calls[row->count - 1]);
    if (fabs(eta_s - row->want_s) > CLOSE)
        fail_msg("%.4f s, not %.4f s", eta_s, row->want_s);
    if (row->count == 1) /* and the cost is its square */
        assert_true(fabs(tour_cost(&model, &start, hall) - eta_s * eta_s) < CLOSE);
}

/* W = age + 2.145 s; 1 + rW people: W^2 + r W^3 / 3, weighted. */
static void those_who_come_meanwhile(void **state)
{
    struct floor_set hall[2] = {{{0}}, {{0}}};
    struct tour_model model = {0};
    struct tour_start start;
    struct car car = set_car(&rows[0]);
    double wait_s = 10 + 2.145;

    (void)state;
    set_up(&model, &rows[0], hall);
    model.calls[0][4] = (struct tour_call){.age_s = 10, .rate = 0.2, .weight = 3};
    tour_begin(&model, &car, NOW_MS, &start);
    double want = 3 * (wait_s * wait_s + 0.2 * wait_s * wait_s * wait_s / 3);
    assert_true(fabs(tour_cost(&model, &start, hall) - want) < CLOSE);
}

static void whom_it_has_no_room_for_waits_longer(void **state)
{
    struct floor_set hall[2] = {{{0}}, {{0}}};
    struct tour_model model = {0};
    struct tour_start start;
    struct car car = set_car(&rows[6]);

    (void)state;
    set_up(&model, &rows[6], hall);
    car.load = model.capacity;
    floor_set_remove(&car.stops.riders, 2);
    floor_set_add(&car.stops.riders, 9);
    tour_begin(&model, &car, NOW_MS, &start);
    assert_true(tour_cost(&model, &start, hall) > TOUR_LATER_S * TOUR_LATER_S);
}

static void riders_and_the_end_cost_time(void **state)
{
    struct floor_set none[2] = {{{0}}, {{0}}};
    struct tour_model model = {0};
    struct tour_start start;
    struct car car = set_car(&rows[7]); /* under way to floor 9, one rider */
    double arrives_s = 15.95 + 2.145, end_s = arrives_s + 1 + 2.145;

    (void)state;
    set_up(&model, &(struct row){0}, none);
    model.weights = (struct tour_weights){.rider = 2, .done = 5};
    tour_begin(&model, &car, NOW_MS, &start);
    assert_true(fabs(tour_end(&model, &start, none) - end_s) < CLOSE);
    /* what happens before mid-floor happens whatever is decided */
    double want = 2 * (arrives_s + 1 - 2.175 - 0.725) + 5 * end_s;
    assert_true(fabs(tour_cost(&model, &start, none) - want) < CLOSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(those_who_come_meanwhile),
                                       cmocka_unit_test(whom_it_has_no_room_for_waits_longer),
                                       cmocka_unit_test(riders_and_the_end_cost_time)};

    return RUN_ROWS(rows, by_hand) + cmocka_run_group_tests_name("tour", tests, NULL, NULL);
}
