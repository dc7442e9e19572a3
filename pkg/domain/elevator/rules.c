#include "domain/elevator/decision.h"

#include <math.h>
#include <stdlib.h>

static const struct car *car_of(const struct decision *decision, int index)
{
    return &decision->bank->cars[index];
}

static bool is_full(const struct decision *decision, int car)
{
    return car_of(decision, car)->load >= decision->bank->plant->capacity;
}

static bool has_calls(const struct decision *decision, int car)
{
    return !floor_set_is_empty(&decision->hall[car][0]) ||
           !floor_set_is_empty(&decision->hall[car][1]);
}

/* Riders or the car's own motion apart: it has been given nothing, and could go anywhere. */
static bool is_at_leisure(const struct decision *decision, int car)
{
    const struct car *it = car_of(decision, car);

    return decision_may_use(decision, car) && !it->load && !has_calls(decision, car) &&
           floor_set_is_empty(&it->stops.riders) &&
           (it->state == CAR_IDLE || it->state == CAR_CLOSING);
}

static int nearest_at_leisure(const struct decision *decision, int floor)
{
    int nearest = DECISION_NOBODY, least = PLANT_FLOORS_MAX;

    for (int i = 0; i < decision->bank->plant->cars; i++) {
        int distance = abs(car_floor(car_of(decision, i)) - floor);
        if (is_at_leisure(decision, i) && distance < least) {
            nearest = i;
            least = distance;
        }
    }
    return nearest;
}

void rule_naive(struct decision *decision)
{
    for (int i = 0; i < decision->count; i++) {
        if (decision->calls[i].car != DECISION_NOBODY)
            continue;
        int car = nearest_at_leisure(decision, decision->calls[i].floor);
        if (car == DECISION_NOBODY)
            return;
        decision_give(decision, i, car);
    }
}

/* ---- nearest ---- */

/* Where it goes: with riders or calls of its own that way; 0: idle. */
static int heading(const struct decision *decision, int car)
{
    const struct car *it = car_of(decision, car);

    if (!car_doors_are_shut(it) && it->lantern)
        return it->lantern;
    if (it->state == CAR_IDLE || (!it->load && !has_calls(decision, car)))
        return 0;
    return it->direction;
}

/* What is left of the distance, as the nearest-car rule counts it: a car that comes the right way
 * is a floor better than one that stands, one that goes away is the worst there is. */
static double score(const struct decision *decision, int car, const struct open_call *call)
{
    int ahead = call->floor - car_floor(car_of(decision, car)), way = heading(decision, car);

    if (!way || ahead * way > 0 || (ahead == 0 && way == call->direction))
        return abs(ahead) - (way == call->direction);
    return decision->bank->plant->floors;
}

static int nearest_by_score(const struct decision *decision, const struct open_call *call)
{
    int nearest = DECISION_NOBODY;
    double least = INFINITY;

    for (int i = 0; i < decision->bank->plant->cars; i++) {
        if (!decision_may_use(decision, i) || is_full(decision, i))
            continue;
        double it = score(decision, i, call);
        if (it < least) {
            nearest = i;
            least = it;
        }
    }
    return nearest;
}

void rule_nearest(struct decision *decision)
{
    for (int i = 0; i < decision->count; i++)
        if (decision->calls[i].car != DECISION_NOBODY && !decision->calls[i].frozen &&
            is_full(decision, decision->calls[i].car))
            decision_give(decision, i, DECISION_NOBODY);
    for (int i = 0; i < decision->count; i++)
        if (decision->calls[i].car == DECISION_NOBODY)
            decision_give(decision, i, nearest_by_score(decision, &decision->calls[i]));
}

/* ---- longest queue first ---- */

static bool lies_on_way(const struct car *car, const struct open_call *call)
{
    return car->load && call->direction == car->direction &&
           (call->floor - car_floor(car)) * car->direction >= 0;
}

/* Cars with riders stop for whatever they pass; the oldest calls each get a car without. */
static int nearest_without_riders(const struct decision *decision, int floor)
{
    int nearest = DECISION_NOBODY, least = PLANT_FLOORS_MAX;

    for (int i = 0; i < decision->bank->plant->cars; i++) {
        const struct car *car = car_of(decision, i);
        int distance = abs(car_floor(car) - floor);
        if (decision_may_use(decision, i) && !car->load && car_doors_are_shut(car) &&
            !has_calls(decision, i) && distance < least) {
            nearest = i;
            least = distance;
        }
    }
    return nearest;
}

void rule_lqf(struct decision *decision)
{
    for (int i = 0; i < decision->count; i++)
        if (!decision->calls[i].frozen)
            decision_give(decision, i, DECISION_NOBODY);
    for (int i = 0; i < decision->count; i++) {
        const struct open_call *call = &decision->calls[i];
        if (call->frozen)
            continue;
        int car = nearest_without_riders(decision, call->floor);
        if (car == DECISION_NOBODY)
            break;
        decision_give(decision, i, car);
    }
    for (int i = 0; i < decision->count; i++)
        for (int car = 0; car < decision->bank->plant->cars; car++)
            if (decision_may_use(decision, car) && !is_full(decision, car) &&
                lies_on_way(car_of(decision, car), &decision->calls[i]))
                decision_add(decision->hall[car], &decision->calls[i]);
}

/* ---- first there ---- */

static double eta_with(const struct decision *decision, const struct tour_model *model, int car,
                       const struct open_call *call)
{
    struct floor_set hall[2] = {decision->hall[car][0], decision->hall[car][1]};
    struct tour_start start;

    tour_begin(model, car_of(decision, car), decision->bank->now_ms, &start);
    decision_add(hall, call);
    return tour_eta(model, &start, hall, &(struct tour_target){call->floor, call->direction});
}

static int first_there(const struct decision *decision, const struct tour_model *model,
                       const struct open_call *call)
{
    int first = DECISION_NOBODY;
    double least = INFINITY;

    for (int i = 0; i < decision->bank->plant->cars; i++) {
        if (!decision_may_use(decision, i) || is_full(decision, i))
            continue;
        double eta = eta_with(decision, model, i, call);
        if (eta < least) {
            first = i;
            least = eta;
        }
    }
    return first;
}

void rule_eta(struct decision *decision, const struct tour_model *model)
{
    for (int i = 0; i < decision->count; i++)
        if (!decision->calls[i].frozen)
            decision_give(decision, i, DECISION_NOBODY);
    for (int i = 0; i < decision->count; i++)
        if (!decision->calls[i].frozen)
            decision_give(decision, i, first_there(decision, model, &decision->calls[i]));
}
