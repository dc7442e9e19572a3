/*
 * decision: what the rules of a dispatcher share while they decide: the calls that are lit, oldest
 * first, and who serves each.
 *
 * Private to the dispatcher and its rules.
 */
#ifndef DOMAIN_ELEVATOR_DECISION_H
#define DOMAIN_ELEVATOR_DECISION_H

#include "domain/elevator/dispatcher.h"
#include "domain/elevator/tour.h"

#define DECISION_PARTS_MAX 16 /* cars that are sent for one call */
#define DECISION_CALLS_MAX (4 * PLANT_FLOORS_MAX)
#define DECISION_NOBODY (-1)

/* A call where more people wait than a car takes is there several times. */
struct open_call {
    int floor, direction;
    int64_t pressed_ms;
    int car;     /* that serves it, or DECISION_NOBODY; at first the one of the last decision */
    bool frozen; /* that car brakes for it: it stays */
};

struct decision {
    const struct bank *bank; /* borrowed */
    struct open_call calls[DECISION_CALLS_MAX];
    int count;
    int lit;                                  /* without the repetitions, which come last */
    struct floor_set hall[PLANT_CARS_MAX][2]; /* the sets of the cars: of the calls that have one */
};

void decision_give(struct decision *decision, int call, int car); /* or DECISION_NOBODY */
bool decision_has(const struct floor_set hall[2], const struct open_call *call);
void decision_add(struct floor_set hall[2], const struct open_call *call);
void decision_remove(struct floor_set hall[2], const struct open_call *call);

/* Takes part: is not out of service nor on its way to be. */
bool decision_may_use(const struct decision *decision, int car);

/* The simple rules: they give calls to cars. */
void rule_naive(struct decision *decision);
void rule_nearest(struct decision *decision);
void rule_lqf(struct decision *decision);
void rule_eta(struct decision *decision, const struct tour_model *model);

#endif
