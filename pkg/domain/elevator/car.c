#include "domain/elevator/car.h"

#include <assert.h>

#define BIT(state) (1U << (state))

static const struct {
    const char *name;
    bool in_motion, doors_shut;
    unsigned next; /* the states that may follow */
} states[CAR_STATES] = {
    [CAR_IDLE] = {"idle", false, true,
                  BIT(CAR_TURNING) | BIT(CAR_ACCELERATING) | BIT(CAR_OPENING) |
                      BIT(CAR_OUT_OF_SERVICE)},
    [CAR_TURNING] = {"turning", false, true,
                     BIT(CAR_IDLE) | BIT(CAR_TURNING) | BIT(CAR_ACCELERATING) | BIT(CAR_OPENING) |
                         BIT(CAR_OUT_OF_SERVICE)},
    [CAR_ACCELERATING] = {"accelerating", true, true, BIT(CAR_MOVING) | BIT(CAR_DECELERATING)},
    [CAR_MOVING] = {"moving", true, true, BIT(CAR_MOVING) | BIT(CAR_DECELERATING)},
    [CAR_DECELERATING] = {"decelerating", true, true,
                          BIT(CAR_IDLE) | BIT(CAR_TURNING) | BIT(CAR_ACCELERATING) |
                              BIT(CAR_OPENING) | BIT(CAR_OUT_OF_SERVICE)},
    [CAR_OPENING] = {"doors_opening", false, false, BIT(CAR_OPEN)},
    [CAR_OPEN] = {"doors_open", false, false, BIT(CAR_OPEN) | BIT(CAR_CLOSING)},
    [CAR_CLOSING] = {"doors_closing", false, false,
                     BIT(CAR_IDLE) | BIT(CAR_TURNING) | BIT(CAR_ACCELERATING) | BIT(CAR_OPENING) |
                         BIT(CAR_OUT_OF_SERVICE)},
    [CAR_OUT_OF_SERVICE] = {"out_of_service", false, true, BIT(CAR_IDLE)},
};

struct car car_at(int floor)
{
    return (struct car){.position = 2 * floor,
                        .direction = ELEVATOR_UP,
                        .until_ms = CAR_NEVER,
                        .park = CAR_NOWHERE,
                        .hold_until_ms = INT64_MIN};
}

const char *car_state_name(enum car_state state)
{
    return states[state].name;
}

bool car_may_become(enum car_state from, enum car_state to)
{
    return states[from].next & BIT(to);
}

bool car_is_in_motion(const struct car *car)
{
    return states[car->state].in_motion;
}

bool car_doors_are_shut(const struct car *car)
{
    return states[car->state].doors_shut;
}

static bool is_at_floor(const struct car *car)
{
    return car->position % 2 == 0;
}

bool car_is_sound(const struct car *car)
{
    if (!car_doors_are_shut(car) && (car_is_in_motion(car) || !is_at_floor(car)))
        return false;
    if (!car_is_in_motion(car) && !is_at_floor(car))
        return false;
    if (car->state == CAR_OUT_OF_SERVICE && car->load)
        return false;
    return car->position >= 0 && car->load >= 0 &&
           (car->direction == ELEVATOR_UP || car->direction == ELEVATOR_DOWN);
}

int car_floor(const struct car *car)
{
    if (car->state == CAR_ACCELERATING || (car->state == CAR_MOVING && is_at_floor(car)))
        return car->position / 2 + car->direction;
    return is_at_floor(car) ? car->position / 2 : (car->position + car->direction) / 2;
}

bool car_decides(const struct car *car)
{
    return car->state == CAR_ACCELERATING || (car->state == CAR_MOVING && is_at_floor(car)) ||
           car->state == CAR_TURNING || car->state == CAR_CLOSING;
}

bool car_is_ready(const struct car *car)
{
    return car->state == CAR_OPEN && (car->waits || car->until_ms == CAR_NEVER);
}

bool car_is_free(const struct car *car)
{
    struct floor_set all = stops_all(&car->stops);

    return !car->load && !car->retiring && car_doors_are_shut(car) && floor_set_is_empty(&all) &&
           car->state != CAR_OUT_OF_SERVICE;
}

static void become(struct car *car, enum car_state state, int64_t until_ms)
{
    assert(car_may_become(car->state, state));
    car->state = state;
    car->until_ms = until_ms;
    assert(car_is_sound(car));
}

/* ---- where to go ---- */

/* Towards the riders' floors other than this one; 0 without any. */
static int riders_direction(const struct car *car, int floor)
{
    struct floor_set riders = car->stops.riders;

    floor_set_remove(&riders, floor);
    if (floor_set_is_empty(&riders))
        return 0;
    return floor_set_lowest(&riders) > floor ? ELEVATOR_UP : ELEVATOR_DOWN;
}

static bool asks_here(const struct car *car, int floor, int direction)
{
    return floor_set_has(&car->stops.hall[stops_side(direction)], floor);
}

static bool asks_for(const struct car *car, int floor, int direction)
{
    return asks_here(car, floor, direction) || stops_are_ahead(&car->stops, floor, direction);
}

static int choose_lantern(const struct car *car)
{
    int floor = car->position / 2, riders = riders_direction(car, floor);

    if (riders)
        return riders;
    if (asks_for(car, floor, car->direction))
        return car->direction;
    if (asks_for(car, floor, -car->direction))
        return -car->direction;
    return 0;
}

static bool is_full(const struct car *car, const struct plant *plant)
{
    return car->load >= plant->capacity;
}

static bool opens_here(const struct car *car, const struct plant *plant, int lantern)
{
    int floor = car->position / 2;

    return floor_set_has(&car->stops.riders, floor) ||
           (lantern && asks_here(car, floor, lantern) && !is_full(car, plant));
}

static int choose_direction(const struct car *car)
{
    int floor = car->position / 2, riders = riders_direction(car, floor);

    if (riders)
        return riders;
    if (stops_are_ahead(&car->stops, floor, car->direction))
        return car->direction;
    if (stops_are_ahead(&car->stops, floor, -car->direction))
        return -car->direction;
    if (car->park == CAR_NOWHERE || car->park == floor || car->retiring)
        return 0;
    return car->park > floor ? ELEVATOR_UP : ELEVATOR_DOWN;
}

/* Of a car that stands with its doors shut. */
static enum car_event leave_or_stay(struct car *car, const struct plant *plant, int64_t now_ms)
{
    int lantern = choose_lantern(car), direction;

    if (opens_here(car, plant, lantern)) {
        car->lantern = lantern;
        become(car, CAR_OPENING, now_ms + plant->opening_ms);
        return CAR_OPENS;
    }
    car->lantern = 0;
    direction = choose_direction(car);
    if (!direction) {
        bool out = car->retiring && !car->load;
        if (out || car->state != CAR_IDLE)
            become(car, out ? CAR_OUT_OF_SERVICE : CAR_IDLE, CAR_NEVER);
        return CAR_STANDS;
    }
    if (direction != car->direction) {
        car->direction = direction;
        become(car, CAR_TURNING, now_ms + plant->turn_ms);
        return CAR_TURNS;
    }
    become(car, CAR_ACCELERATING, now_ms + plant->half_floor_ms);
    return CAR_LEAVES;
}

static bool is_parking_ahead(const struct car *car, int floor)
{
    struct floor_set all = stops_all(&car->stops);

    return floor_set_is_empty(&all) && car->park != CAR_NOWHERE && !car->retiring &&
           (car->park - floor) * car->direction > 0;
}

/* At mid-floor: the last moment to choose the next floor for a stop. */
static enum car_event stop_or_stay_on(struct car *car, const struct plant *plant)
{
    int next;

    car->position += car->direction;
    next = (car->position + car->direction) / 2;
    bool stops =
        stops_at(&car->stops, next, car->direction, is_full(car, plant)) ||
        (!stops_are_ahead(&car->stops, next, car->direction) && !is_parking_ahead(car, next));
    if (stops)
        become(car, CAR_DECELERATING, car->until_ms + plant->half_floor_ms);
    else
        become(car, CAR_MOVING, car->until_ms + plant->floor_ms / 2);
    return stops ? CAR_BRAKES : CAR_STAYS_ON;
}

static enum car_event move_on(struct car *car, const struct plant *plant)
{
    if (is_at_floor(car))
        return stop_or_stay_on(car, plant);
    car->position += car->direction;
    become(car, CAR_MOVING, car->until_ms + plant->floor_ms - plant->floor_ms / 2);
    return CAR_PASSES;
}

static enum car_event advance(struct car *car, const struct plant *plant)
{
    int64_t now_ms = car->until_ms;

    switch (car->state) {
    case CAR_ACCELERATING:
    case CAR_MOVING:
        return move_on(car, plant);
    case CAR_DECELERATING:
        car->position += car->direction;
        return leave_or_stay(car, plant, now_ms);
    case CAR_OPENING:
        become(car, CAR_OPEN, CAR_NEVER);
        floor_set_remove(&car->stops.riders, car->position / 2);
        return CAR_OPENED;
    case CAR_OPEN:
        car->waits = false;
        become(car, CAR_OPEN, CAR_NEVER);
        return CAR_TRANSFERRED;
    case CAR_TURNING:
    case CAR_CLOSING:
        return leave_or_stay(car, plant, now_ms);
    default:
        return CAR_DID_NOTHING;
    }
}

enum car_event car_advance(struct car *car, const struct plant *plant, int64_t now_ms)
{
    return car->until_ms <= now_ms ? advance(car, plant) : CAR_DID_NOTHING;
}

/* ---- what it is told ---- */

enum car_event car_command(struct car *car, const struct plant *plant,
                           const struct car_command *command, int64_t now_ms)
{
    bool takes_calls = !car->retiring && car->state != CAR_OUT_OF_SERVICE;

    car->stops.hall[0] = takes_calls ? command->hall[0] : (struct floor_set){{0}};
    car->stops.hall[1] = takes_calls ? command->hall[1] : (struct floor_set){{0}};
    car->park = command->park;
    car->hold_until_ms = command->hold_until_ms;
    if (car->state != CAR_IDLE)
        return CAR_DID_NOTHING;
    enum car_event event = leave_or_stay(car, plant, now_ms);
    return event == CAR_STANDS ? CAR_DID_NOTHING : event;
}

void car_call(struct car *car, int floor)
{
    if (car->state != CAR_OPEN || floor != car->position / 2)
        floor_set_add(&car->stops.riders, floor);
}

void car_forget(struct car *car, int floor, int direction)
{
    floor_set_remove(&car->stops.hall[stops_side(direction)], floor);
}

static void transfer(struct car *car, int64_t until_ms)
{
    assert(car_is_ready(car));
    car->waits = false;
    become(car, CAR_OPEN, until_ms);
}

void car_alight(struct car *car, int64_t now_ms, int transfer_ms)
{
    assert(car->load > 0);
    car->load--;
    transfer(car, now_ms + transfer_ms);
}

void car_board(struct car *car, int destination, int64_t now_ms, int transfer_ms)
{
    assert(destination != car->position / 2);
    car->load++;
    floor_set_add(&car->stops.riders, destination);
    transfer(car, now_ms + transfer_ms);
}

void car_choose_lantern(struct car *car, int direction)
{
    if (car->state != CAR_OPEN || car->load)
        return;
    car->lantern = choose_lantern(car);
    if (!car->lantern)
        car->lantern = direction;
}

void car_wait(struct car *car, int64_t until_ms)
{
    assert(car_is_ready(car));
    car->waits = true;
    become(car, CAR_OPEN, until_ms);
}

void car_close(struct car *car, const struct plant *plant, int64_t now_ms)
{
    assert(car_is_ready(car));
    car->waits = false;
    become(car, CAR_CLOSING, now_ms + plant->closing_ms);
}

void car_retire(struct car *car, int64_t now_ms)
{
    if (car->retiring)
        return;
    car->retiring = true;
    car->stops.hall[0] = car->stops.hall[1] = (struct floor_set){{0}};
    car->park = CAR_NOWHERE;
    car->hold_until_ms = now_ms;
    if (car->state == CAR_IDLE && !car->load)
        become(car, CAR_OUT_OF_SERVICE, CAR_NEVER);
}

void car_return(struct car *car)
{
    car->retiring = false;
    if (car->state == CAR_OUT_OF_SERVICE)
        become(car, CAR_IDLE, CAR_NEVER);
}
