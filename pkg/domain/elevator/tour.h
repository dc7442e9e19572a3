/*
 * tour: what it costs when one car serves a set of hall calls in one collective tour.
 *
 * The car is walked from its present state through at most three sweeps - its way, back, its way
 * again - with the physics of the plant. At each hall call stand, after a wait of W and with
 * arrivals at rate r, 1 + rW people whose squared waits are expected to be W^2 + rW^3 / 3; whom the
 * car has no room for waits TOUR_LATER_S more. Those who board spread over the destinations by
 * learned weights: a floor that somebody probably wants costs a probable stop, and the way there is
 * travelled with the probability that anybody goes so far.
 *
 * cost = squared waits (weighted) + rider * time of the riders + done * time until all is done
 *
 * Units  seconds from now; the cost is in square seconds.
 */
#ifndef DOMAIN_ELEVATOR_TOUR_H
#define DOMAIN_ELEVATOR_TOUR_H

#include "domain/elevator/dispatcher.h"
#include "domain/elevator/rates.h"

#define TOUR_LATER_S 60.0

struct tour_weights {
    double wait, rider, done;
};

struct tour_call {
    double age_s, rate, weight, behind;
};

/* What holds for all tours of one decision. */
struct tour_model {
    int floors, capacity, stride; /* floors that are walked at once where nothing is certain */
    double floor_s, slow_s;       /* a floor passed; what braking for it adds, as leaving it does */
    double opening_s, closing_s, turn_s, load_s;
    struct tour_weights weights;
    struct tour_call calls[2][PLANT_FLOORS_MAX]; /* by stops_side; only lit ones count */
    double pull[2][PLANT_FLOORS_MAX];            /* of destinations */
    double pull_ahead[2][PLANT_FLOORS_MAX + 2];  /* at or beyond floor; index floor + 1 */
};

/* Where a car is when its tour begins. */
struct tour_start {
    double time_s; /* passes floor, or has its doors shut there */
    bool at_rest;
    int floor, direction;
    bool committed; /* it will serve this direction first, whatever lies there */
    double load, load_per_stop;
    bool boarding; /* somebody is about to */
    struct floor_set riders;
};

struct tour_target {
    int floor, direction;
};

void tour_model_start(struct tour_model *model, const struct plant *plant,
                      const struct tour_weights *weights);
/* What the rates say, and the calls that are lit. */
void tour_model_update(struct tour_model *model, const struct bank *bank,
                       const struct rates *rates);
void tour_begin(const struct tour_model *model, const struct car *car, int64_t now_ms,
                struct tour_start *out);

double tour_cost(const struct tour_model *model, const struct tour_start *start,
                 const struct floor_set hall[2]);

/* When the call, which is in hall, will be served. */
double tour_eta(const struct tour_model *model, const struct tour_start *start,
                const struct floor_set hall[2], const struct tour_target *call);

/* When everything is done. */
double tour_end(const struct tour_model *model, const struct tour_start *start,
                const struct floor_set hall[2]);

#endif
