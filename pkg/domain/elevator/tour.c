#include "domain/elevator/tour.h"

#include <stdlib.h>

#define SWEEPS 3
#define UNLIKELY 0.03
#define TALL 32 /* floors; above, blocks of them are one */

/*
 * Riders whose destinations are only likely: of n who board at floor f in a direction, the share of
 * floor j is pull(j) / pull_ahead(f + 1). So all of them together are one number, the spread
 * sum of n / pull_ahead; at floor j  spread * pull(j)  of them get off, beyond it remain
 * spread * pull_ahead.
 */
struct walk {
    const struct tour_model *model;
    double time_s, cost;
    int floor;
    bool at_rest;
    double load, load_per_stop;
    double boarded, spread; /* of those who boarded on the way */
    struct floor_set riders, hall[2];
    struct tour_target watched;
    double watched_s;
};

void tour_model_start(struct tour_model *model, const struct plant *plant,
                      const struct tour_weights *weights)
{
    model->floors = plant->floors;
    model->stride = 1 + (plant->floors - 1) / TALL;
    model->capacity = plant->capacity;
    model->floor_s = plant->floor_ms / 1000.0;
    model->slow_s = plant->half_floor_ms / 1000.0 - model->floor_s / 2;
    model->opening_s = plant->opening_ms / 1000.0;
    model->closing_s = plant->closing_ms / 1000.0;
    model->turn_s = plant->turn_ms / 1000.0;
    model->load_s = plant->load_ms / 1000.0;
    model->weights = *weights;
}

static void add_call(struct tour_model *model, const struct bank *bank, const struct rates *rates,
                     const struct tour_target *at)
{
    int side = stops_side(at->direction);
    const struct hall_call *call = &bank->calls[side][at->floor];

    model->calls[side][at->floor] =
        (struct tour_call){.age_s = (double)(bank->now_ms - call->pressed_ms) / 1000,
                           .rate = rates_of_button(rates, at->floor, at->direction),
                           .weight = call->weight * model->weights.wait,
                           .behind = call->behind};
}

void tour_model_update(struct tour_model *model, const struct bank *bank, const struct rates *rates)
{
    double up = 0, down = 0;

    for (int floor = 0; floor < model->floors; floor++) {
        int top = model->floors - 1 - floor;
        for (int direction = ELEVATOR_DOWN; direction <= ELEVATOR_UP; direction += 2)
            if (floor_set_has(&bank->lit[stops_side(direction)], floor))
                add_call(model, bank, rates, &(struct tour_target){floor, direction});
        model->pull[0][floor] = rates->pull[0][floor];
        model->pull[1][floor] = rates->pull[1][floor];
        down += rates->pull[1][floor];
        model->pull_ahead[1][floor + 1] = down;
        up += rates->pull[0][top];
        model->pull_ahead[0][top + 1] = up;
    }
    model->pull_ahead[0][model->floors + 1] = model->pull_ahead[1][0] = 0;
}

/* ---- the start ---- */

static void begin_at_doors(const struct tour_model *model, const struct car *car, double left_s,
                           struct tour_start *out)
{
    double off = 0;

    out->time_s = left_s;
    out->at_rest = true;
    out->committed = car->lantern != 0;
    if (car->lantern)
        out->direction = car->lantern;
    if (car->state == CAR_CLOSING)
        return;
    if (floor_set_has(&out->riders, out->floor)) {
        off = out->load_per_stop;
        floor_set_remove(&out->riders, out->floor);
    }
    out->load -= off;
    out->time_s += off * model->load_s + model->closing_s;
    if (car->state == CAR_OPENING && car->lantern) { /* somebody pressed the button */
        out->time_s += model->load_s;
        out->boarding = true;
    }
}

void tour_begin(const struct tour_model *model, const struct car *car, int64_t now_ms,
                struct tour_start *out)
{
    int stops = floor_set_count(&car->stops.riders);
    double left_s =
        car->until_ms == CAR_NEVER || car->waits ? 0 : (double)(car->until_ms - now_ms) / 1000;

    *out = (struct tour_start){.time_s = left_s,
                               .floor = car_floor(car),
                               .direction = car->direction,
                               .load = car->load,
                               .load_per_stop = stops ? (double)car->load / stops : 0,
                               .riders = car->stops.riders};
    switch (car->state) {
    case CAR_ACCELERATING:
        out->time_s += model->floor_s / 2;
        break;
    case CAR_MOVING: /* the floor between is passed, or mid-floor is reached first */
        out->time_s += car->position % 2 ? 0 : model->floor_s / 2;
        break;
    case CAR_DECELERATING:
        out->time_s -= model->slow_s;
        break;
    case CAR_OPENING:
    case CAR_OPEN:
    case CAR_CLOSING:
        begin_at_doors(model, car, left_s, out);
        break;
    default:
        out->at_rest = true;
        break;
    }
}

/* ---- the walk ---- */

static inline void spend(struct walk *walk, double seconds)
{
    walk->time_s += seconds;
    walk->cost += walk->load * seconds * walk->model->weights.rider;
}

/* Is there any of them, when mean of those who boarded are expected? 1 - (1 - mean / n)^n, with n
 * rounded to a power of two up to 8. */
static inline double chance(const struct walk *walk, double mean)
{
    double n = walk->boarded, none;

    if (n < 1.5)
        return mean < 1 ? mean : 1;
    none = 1 - mean / (n < 3 ? 2 : n < 6 ? 4 : 8);
    if (none <= 0)
        return 1;
    none *= none;
    if (n >= 3)
        none *= none;
    if (n >= 6)
        none *= none;
    return 1 - none;
}

static inline double ahead(const struct walk *walk, int floor, int direction)
{
    return walk->spread * walk->model->pull_ahead[stops_side(direction)][floor + direction + 1];
}

static void board(struct walk *walk, double people, int floor, int direction)
{
    double pull = walk->model->pull_ahead[stops_side(direction)][floor + direction + 1];

    walk->load += people;
    walk->boarded += people;
    walk->spread += pull > 0 ? people / pull : 0;
}

static void pick_up(struct walk *walk, int floor, int direction)
{
    const struct tour_model *model = walk->model;
    int side = stops_side(direction);
    const struct tour_call *call = &model->calls[side][floor];
    double wait = walk->time_s + call->age_s, people = 1 + call->behind + call->rate * wait;
    double room = model->capacity - walk->load, squared = wait * wait;

    walk->cost += call->weight * ((1 + call->behind) * squared + call->rate * squared * wait / 3);
    if (floor == walk->watched.floor && direction == walk->watched.direction)
        walk->watched_s = walk->time_s;
    if (people > room) {
        double later = wait + TOUR_LATER_S;
        walk->cost += call->weight * (people - room) * (later * later - squared);
        people = room > 0 ? room : 0;
    }
    spend(walk, people * model->load_s);
    board(walk, people, floor, direction);
    floor_set_remove(&walk->hall[side], floor);
}

/* So many floors where likely people get off, if that many boarded: stops, on the way. */
static void stop_perhaps(struct walk *walk, double likely, int floors)
{
    const struct tour_model *model = walk->model;

    if (walk->at_rest || likely <= 0)
        return;
    spend(walk, floors * chance(walk, likely / floors) *
                        (2 * model->slow_s + model->opening_s + model->closing_s) +
                    likely * model->load_s);
    walk->load -= likely;
}

static void let_all_off(struct walk *walk)
{
    walk->load = walk->boarded = walk->spread = 0;
}

/* is_last: nothing certain lies beyond. True: the car has turned, with those who go back. */
static bool serve(struct walk *walk, int floor, int direction, bool is_last)
{
    const struct tour_model *model = walk->model;
    int side = stops_side(direction);
    bool rider = floor_set_has(&walk->riders, floor);
    bool call = floor_set_has(&walk->hall[side], floor);
    bool turns = is_last && !call && floor_set_has(&walk->hall[!side], floor) &&
                 chance(walk, ahead(walk, floor, direction)) < 0.5;
    double likely = walk->spread * model->pull[side][floor];

    if (!rider && !call && !turns) {
        stop_perhaps(walk, likely, 1);
        return false;
    }
    spend(walk, (walk->at_rest ? 0 : model->slow_s) + model->opening_s);
    likely += rider ? walk->load_per_stop : 0;
    spend(walk, likely * model->load_s);
    walk->load -= likely;
    floor_set_remove(&walk->riders, floor);
    if (call)
        pick_up(walk, floor, direction);
    if (turns) {
        let_all_off(walk);
        pick_up(walk, floor, -direction);
    }
    spend(walk, model->closing_s);
    walk->at_rest = true;
    return turns;
}

static int find_end(const struct walk *walk, int direction)
{
    struct stops all = {walk->riders, {walk->hall[0], walk->hall[1]}};
    struct floor_set set = stops_all(&all);

    return floor_set_farthest(&set, direction);
}

static void travel(struct walk *walk, double floors)
{
    spend(walk, (walk->at_rest ? walk->model->slow_s : 0) + walk->model->floor_s * floors);
    walk->at_rest = false;
}

static bool is_done(const struct walk *walk)
{
    uint64_t any = 0;

    for (int i = 0; i < FLOOR_SET_WORDS; i++)
        any |= walk->hall[0].words[i] | walk->hall[1].words[i];
    return !any;
}

/* Of those on board, who gets off at the floors after from, as far as to. */
static double likely_between(const struct walk *walk, int from, int to, int direction)
{
    return ahead(walk, from, direction) - ahead(walk, to, direction);
}

/* Beyond the last certain stop, as far as somebody is likely to go; and back to it if there is more
 * to do. */
static void sweep_on(struct walk *walk, int direction)
{
    int stride = walk->model->stride, floor = walk->floor;
    double floors = 0;

    for (;;) {
        int left = direction > 0 ? walk->model->floors - 1 - floor : floor;
        int step = stride < left ? stride : left;
        double beyond = chance(walk, ahead(walk, floor, direction));
        if (beyond < UNLIKELY || !step)
            break;
        double likely = likely_between(walk, floor, floor + step * direction, direction);
        travel(walk, beyond * step);
        floors += beyond * step;
        floor += step * direction;
        stop_perhaps(walk, likely, step);
    }
    let_all_off(walk);
    if (floors > 0 && !is_done(walk))
        travel(walk, floors);
}

/* The next floor that is looked at by itself: in a tall building only those of certain stops. */
static int next_floor(const struct walk *walk, int direction, int end)
{
    int floor = walk->floor + direction;
    const struct floor_set *hall = &walk->hall[stops_side(direction)];

    if (walk->model->stride == 1 && walk->boarded > 0)
        return floor;
    while (floor != end && !floor_set_has(&walk->riders, floor) && !floor_set_has(hall, floor))
        floor += direction;
    return floor;
}

static void go_to(struct walk *walk, int floor, int direction)
{
    int between = abs(floor - walk->floor) - 1;

    travel(walk, between + 1);
    if (between && walk->boarded > 0)
        stop_perhaps(walk, likely_between(walk, walk->floor, floor - direction, direction),
                     between);
    walk->floor = floor;
}

static void sweep(struct walk *walk, int direction)
{
    int end = find_end(walk, direction);
    bool certain = end != STOPS_NONE && (end - walk->floor) * direction > 0, turned;

    while (turned = serve(walk, walk->floor, direction, !certain), certain) {
        go_to(walk, next_floor(walk, direction, end), direction);
        certain = walk->floor != end;
    }
    if (!turned && walk->boarded > 0)
        sweep_on(walk, direction);
    else if (!turned)
        let_all_off(walk);
}

/* As the car itself will choose. */
static int first_direction(const struct walk *walk, const struct tour_start *start)
{
    int direction = start->direction, end;

    if (start->committed || start->load > 0 ||
        floor_set_has(&walk->hall[stops_side(direction)], start->floor))
        return direction;
    end = find_end(walk, direction);
    if (end != STOPS_NONE && (end - start->floor) * direction > 0)
        return direction;
    return -direction;
}

static void go(struct walk *walk, const struct tour_start *start)
{
    const struct tour_model *model = walk->model;
    int direction = first_direction(walk, start);

    if (start->boarding)
        board(walk, 1, start->floor, direction);
    if (!is_done(walk) || walk->load > 0) {
        if (direction != start->direction && start->at_rest)
            spend(walk, model->turn_s);
        sweep(walk, direction);
        for (int i = 1; i < SWEEPS && !is_done(walk); i++) {
            direction = -direction;
            spend(walk, model->turn_s);
            sweep(walk, direction);
        }
        if (walk->load > 0) { /* turned with the last ones */
            spend(walk, model->turn_s);
            sweep(walk, -direction);
        }
    }
    walk->cost += model->weights.done * walk->time_s;
}

static struct walk walk_from(const struct tour_model *model, const struct tour_start *start,
                             const struct floor_set hall[2])
{
    return (struct walk){.model = model,
                         .time_s = start->time_s,
                         .floor = start->floor,
                         .at_rest = start->at_rest,
                         .load = start->load,
                         .load_per_stop = start->load_per_stop,
                         .riders = start->riders,
                         .hall = {hall[0], hall[1]},
                         .watched = {.floor = STOPS_NONE}};
}

double tour_cost(const struct tour_model *model, const struct tour_start *start,
                 const struct floor_set hall[2])
{
    struct walk walk = walk_from(model, start, hall);

    go(&walk, start);
    return walk.cost;
}

double tour_eta(const struct tour_model *model, const struct tour_start *start,
                const struct floor_set hall[2], const struct tour_target *call)
{
    struct walk walk = walk_from(model, start, hall);

    walk.watched = *call;
    go(&walk, start);
    return walk.watched_s;
}

double tour_end(const struct tour_model *model, const struct tour_start *start,
                const struct floor_set hall[2])
{
    struct walk walk = walk_from(model, start, hall);

    go(&walk, start);
    return walk.time_s;
}
