#include "domain/elevator/dispatcher.h"

#include "domain/elevator/decision.h"
#include "domain/elevator/lobby.h"
#include "domain/elevator/median.h"
#include "domain/elevator/search.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const dispatcher_rule_names[] = {"naive", "nearest", "lqf", "eta",
                                             "fim",   "horizon", NULL};

#define SMALL_GROUP 8 /* cars: searched in full */
#define PARK_GAIN_S 0.3
#define SPLIT_LOAD 0.5 /* of the capacity */
#define SPLIT_AHEAD_S 0.0
#define HOLD_MOST_MS 30000
#define HOLD_FACTOR 1.7
#define HOLD_WAITING_MAX 4

static const struct search_limits limits_small = {
    .restarts = 3, .budget = 8000, .candidates = SMALL_GROUP, .swap_below = 64};
static const struct search_limits limits_large = {
    .restarts = 0, .budget = 12000, .candidates = 20, .swap_below = 30};

static const struct tour_weights weights_fim = {.wait = 1, .rider = 0, .done = 0};
static const struct tour_weights weights_horizon = {.wait = 1, .rider = 1, .done = 30};

struct dispatcher {
    enum dispatcher_rule rule;
    struct plant plant;
    struct rates rates;
    struct tour_model model;
    struct search *search;
    struct median_table medians;
    struct decision decision;
    int8_t owner[2][PLANT_FLOORS_MAX]; /* of the last decision, by stops_side */
    int park[PLANT_CARS_MAX];
    int64_t loading_since_ms[PLANT_CARS_MAX];
};

struct dispatcher *dispatcher_new(const struct plant *plant, enum dispatcher_rule rule,
                                  uint64_t seed)
{
    struct dispatcher *dispatcher = memory_alloc(sizeof(*dispatcher));

    dispatcher->rule = rule;
    dispatcher->plant = *plant;
    rates_start(&dispatcher->rates, plant->floors);
    tour_model_start(&dispatcher->model, plant,
                     rule == DISPATCHER_HORIZON ? &weights_horizon : &weights_fim);
    dispatcher->search =
        search_new(plant->cars <= SMALL_GROUP ? &limits_small : &limits_large, seed);
    memset(dispatcher->owner, DECISION_NOBODY, sizeof(dispatcher->owner));
    for (int i = 0; i < plant->cars; i++)
        dispatcher->park[i] = CAR_NOWHERE;
    for (int i = 0; i < plant->cars; i++)
        dispatcher->loading_since_ms[i] = CAR_NEVER;
    return dispatcher;
}

void dispatcher_free(struct dispatcher *dispatcher)
{
    if (!dispatcher)
        return;
    search_free(dispatcher->search);
    free(dispatcher);
}

void dispatcher_boarded(struct dispatcher *dispatcher, int floor, int destination, int64_t now_ms)
{
    rates_boarded(&dispatcher->rates, floor, destination, now_ms);
}

/* ---- the decision's own ---- */

bool decision_has(const struct floor_set hall[2], const struct open_call *call)
{
    return floor_set_has(&hall[stops_side(call->direction)], call->floor);
}

void decision_add(struct floor_set hall[2], const struct open_call *call)
{
    floor_set_add(&hall[stops_side(call->direction)], call->floor);
}

void decision_remove(struct floor_set hall[2], const struct open_call *call)
{
    floor_set_remove(&hall[stops_side(call->direction)], call->floor);
}

void decision_give(struct decision *decision, int index, int car)
{
    struct open_call *call = &decision->calls[index];

    if (call->car != DECISION_NOBODY)
        decision_remove(decision->hall[call->car], call);
    call->car = car;
    if (car != DECISION_NOBODY)
        decision_add(decision->hall[car], call);
}

bool decision_may_use(const struct decision *decision, int car)
{
    const struct car *it = &decision->bank->cars[car];

    return !it->retiring && it->state != CAR_OUT_OF_SERVICE;
}

/* The call that this car brakes for. */
static bool is_braked_for(const struct bank *bank, const struct open_call *call)
{
    const struct car *car = &bank->cars[call->car];

    return car->state == CAR_DECELERATING && car_floor(car) == call->floor &&
           floor_set_has(&car->stops.hall[stops_side(call->direction)], call->floor);
}

static void add_call(struct dispatcher *dispatcher, const struct bank *bank, int floor,
                     int direction)
{
    struct decision *decision = &dispatcher->decision;
    int side = stops_side(direction), at = decision->count++;
    struct open_call call = {.floor = floor,
                             .direction = direction,
                             .pressed_ms = bank->calls[side][floor].pressed_ms,
                             .car = dispatcher->owner[side][floor]};

    if (call.car != DECISION_NOBODY && !decision_may_use(decision, call.car))
        call.car = DECISION_NOBODY;
    call.frozen = call.car != DECISION_NOBODY && is_braked_for(bank, &call);
    if (call.car != DECISION_NOBODY)
        decision_add(decision->hall[call.car], &call);
    for (; at > 0 && decision->calls[at - 1].pressed_ms > call.pressed_ms; at--)
        decision->calls[at] = decision->calls[at - 1];
    decision->calls[at] = call;
}

static void begin(struct dispatcher *dispatcher, const struct bank *bank)
{
    struct decision *decision = &dispatcher->decision;

    decision->bank = bank;
    decision->count = 0;
    memset(decision->hall, 0, (size_t)bank->plant->cars * sizeof(decision->hall[0]));
    for (int floor = 0; floor < bank->plant->floors; floor++)
        for (int direction = ELEVATOR_DOWN; direction <= ELEVATOR_UP; direction += 2)
            if (floor_set_has(&bank->lit[stops_side(direction)], floor))
                add_call(dispatcher, bank, floor, direction);
            else
                dispatcher->owner[stops_side(direction)][floor] = DECISION_NOBODY;
    decision->lit = decision->count;
}

/* In a large group a call where more people are expected than half a car takes is repeated: each of
 * several cars takes its part. */
static void split_call(struct dispatcher *dispatcher, const struct open_call *call)
{
    struct decision *decision = &dispatcher->decision;
    struct tour_call *model = &dispatcher->model.calls[stops_side(call->direction)][call->floor];
    double people = 1 + model->behind + model->rate * (model->age_s + SPLIT_AHEAD_S);
    int parts = 1 + (int)(people / (SPLIT_LOAD * dispatcher->plant.capacity));

    if (parts > DECISION_PARTS_MAX)
        parts = DECISION_PARTS_MAX;
    model->rate /= parts;
    for (int i = 1; i < parts && decision->count < DECISION_CALLS_MAX; i++) {
        struct open_call *part = &decision->calls[decision->count++];
        *part = *call;
        part->car = DECISION_NOBODY;
        part->frozen = false;
    }
}

static void split_calls(struct dispatcher *dispatcher)
{
    struct decision *decision = &dispatcher->decision;

    for (int i = 0; i < decision->lit; i++)
        split_call(dispatcher, &decision->calls[i]);
}

static void remember(struct dispatcher *dispatcher)
{
    const struct decision *decision = &dispatcher->decision;

    for (int i = 0; i < decision->lit; i++) {
        const struct open_call *call = &decision->calls[i];
        dispatcher->owner[stops_side(call->direction)][call->floor] = (int8_t)call->car;
    }
}

/* ---- parking ---- */

static bool is_at_lobby(const struct car *car)
{
    return car->position == 0 && !car_is_in_motion(car);
}

/* People may board it there. */
static bool is_loading(const struct car *car)
{
    return is_at_lobby(car) && (car->state == CAR_OPENING || car->state == CAR_OPEN) &&
           car->lantern != ELEVATOR_DOWN;
}

struct parking {
    int cars[PLANT_CARS_MAX], places[PLANT_CARS_MAX], count; /* by place */
};

static bool is_free(const struct dispatcher *dispatcher, int car)
{
    const struct decision *decision = &dispatcher->decision;

    return decision_may_use(decision, car) &&
           (car_doors_are_shut(&decision->bank->cars[car]) ||
            is_loading(&decision->bank->cars[car])) &&
           !decision->bank->cars[car].load && floor_set_is_empty(&decision->hall[car][0]) &&
           floor_set_is_empty(&decision->hall[car][1]) &&
           floor_set_is_empty(&decision->bank->cars[car].stops.riders);
}

/* Where it stands, or is on its way to. */
static int place_of(const struct dispatcher *dispatcher, int car)
{
    int park = dispatcher->park[car];

    return park != CAR_NOWHERE ? park : car_floor(&dispatcher->decision.bank->cars[car]);
}

static void find_free(const struct dispatcher *dispatcher, struct parking *out)
{
    out->count = 0;
    for (int car = 0; car < dispatcher->plant.cars; car++) {
        if (!is_free(dispatcher, car))
            continue;
        int at = out->count++, place = place_of(dispatcher, car);
        for (; at > 0 && out->places[at - 1] > place; at--) {
            out->cars[at] = out->cars[at - 1];
            out->places[at] = out->places[at - 1];
        }
        out->cars[at] = car;
        out->places[at] = place;
    }
}

static void park(struct dispatcher *dispatcher)
{
    double weights[PLANT_FLOORS_MAX], sum = 0;
    int medians[PLANT_CARS_MAX], floors = dispatcher->plant.floors;
    struct parking free_cars;

    find_free(dispatcher, &free_cars);
    for (int car = 0; car < dispatcher->plant.cars; car++)
        if (!is_free(dispatcher, car))
            dispatcher->park[car] = CAR_NOWHERE;
    if (!free_cars.count)
        return;
    for (int floor = 0; floor < floors; floor++)
        sum += weights[floor] = rates_of_floor(&dispatcher->rates, floor);
    double best = median_floors(&dispatcher->medians, weights, floors, free_cars.count, medians);
    double now = median_cost(weights, floors, free_cars.places, free_cars.count);
    if ((now - best) / sum * dispatcher->model.floor_s <= PARK_GAIN_S)
        return;
    for (int i = 0; i < free_cars.count; i++)
        dispatcher->park[free_cars.cars[i]] = medians[i];
}

/* ---- the lobby ---- */

static bool is_relieved(const struct dispatcher *dispatcher, int loading)
{
    const struct bank *bank = dispatcher->decision.bank;

    for (int i = 0; i < bank->plant->cars; i++) {
        const struct car *car = &bank->cars[i];
        if (i != loading && is_at_lobby(car) && !car->load &&
            (car->state == CAR_IDLE || is_loading(car)))
            return true;
    }
    return false;
}

/* One that stands ready opens before anybody presses. */
static void open_at_lobby(const struct dispatcher *dispatcher, struct car_command *commands)
{
    const struct bank *bank = dispatcher->decision.bank;
    int ready = DECISION_NOBODY;

    for (int i = 0; i < bank->plant->cars; i++) {
        if (is_loading(&bank->cars[i]))
            return;
        if (bank->cars[i].state == CAR_IDLE && is_at_lobby(&bank->cars[i]) &&
            is_free(dispatcher, i))
            ready = i;
    }
    if (ready != DECISION_NOBODY)
        floor_set_add(&commands[ready].hall[0], 0);
}

static void hold(struct dispatcher *dispatcher, int index, double enough,
                 struct car_command *command)
{
    const struct bank *bank = dispatcher->decision.bank;
    const struct car *car = &bank->cars[index];
    int64_t *since_ms = &dispatcher->loading_since_ms[index];

    if (car->load == 0 || *since_ms == CAR_NEVER)
        *since_ms = bank->now_ms;
    if (car->load < enough && !is_relieved(dispatcher, index) &&
        (car->load || is_free(dispatcher, index)))
        command->hold_until_ms = *since_ms + HOLD_MOST_MS;
}

static void fill_at_lobby(struct dispatcher *dispatcher, struct car_command *commands)
{
    const struct decision *decision = &dispatcher->decision;
    const struct bank *bank = decision->bank;
    double rate = rates_of_button(&dispatcher->rates, 0, ELEVATOR_UP);
    int waiting_max = bank->plant->cars > SMALL_GROUP ? bank->plant->cars : HOLD_WAITING_MAX;

    if (!lobby_is_busy(&dispatcher->rates) || decision->lit >= waiting_max)
        return;
    double enough = HOLD_FACTOR * lobby_balance(&dispatcher->model, rate, bank->plant->cars);
    open_at_lobby(dispatcher, commands);
    for (int i = 0; i < bank->plant->cars; i++)
        if (is_loading(&bank->cars[i]))
            hold(dispatcher, i, enough, &commands[i]);
        else
            dispatcher->loading_since_ms[i] = CAR_NEVER;
}

/* ---- commands ---- */

static void command(const struct dispatcher *dispatcher, struct car_command *commands)
{
    for (int car = 0; car < dispatcher->plant.cars; car++)
        commands[car] = (struct car_command){
            .hall = {dispatcher->decision.hall[car][0], dispatcher->decision.hall[car][1]},
            .park = dispatcher->park[car],
            .hold_until_ms = INT64_MIN};
}

/* In a large group a car that comes to a floor where nobody waits changes nothing. */
static bool is_of_no_moment(const struct dispatcher *dispatcher, const struct bank *bank)
{
    if (dispatcher->plant.cars <= SMALL_GROUP || bank->deciding < 0)
        return false;
    int floor = car_floor(&bank->cars[bank->deciding]);
    return !floor_set_has(&bank->lit[0], floor) && !floor_set_has(&bank->lit[1], floor);
}

static void apply_rule(struct dispatcher *dispatcher, const struct bank *bank)
{
    struct decision *decision = &dispatcher->decision;

    rates_age(&dispatcher->rates, bank->now_ms);
    if (dispatcher->rule >= DISPATCHER_ETA)
        tour_model_update(&dispatcher->model, bank, &dispatcher->rates);
    if (dispatcher->rule == DISPATCHER_HORIZON && dispatcher->plant.cars > SMALL_GROUP)
        split_calls(dispatcher);
    switch (dispatcher->rule) {
    case DISPATCHER_NAIVE:
        rule_naive(decision);
        break;
    case DISPATCHER_NEAREST:
        rule_nearest(decision);
        break;
    case DISPATCHER_LQF:
        rule_lqf(decision);
        break;
    case DISPATCHER_ETA:
        rule_eta(decision, &dispatcher->model);
        break;
    default:
        search_assign(dispatcher->search, decision, &dispatcher->model);
        break;
    }
    remember(dispatcher);
    if (dispatcher->rule == DISPATCHER_HORIZON)
        park(dispatcher);
}

void dispatcher_decide(struct dispatcher *dispatcher, const struct bank *bank,
                       struct car_command *commands)
{
    begin(dispatcher, bank);
    if (!is_of_no_moment(dispatcher, bank))
        apply_rule(dispatcher, bank);
    command(dispatcher, commands);
    if (dispatcher->rule == DISPATCHER_HORIZON)
        fill_at_lobby(dispatcher, commands);
}
