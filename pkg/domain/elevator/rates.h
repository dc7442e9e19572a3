/*
 * rates: how often each button is pressed and where people go, learned from those who board.
 *
 * Boardings are forgotten exponentially in time; destinations lose a little weight with each
 * boarding. Nothing is known in advance but a small, even prior.
 *
 * Units  people a second; milliseconds of the cars' clock.
 */
#ifndef DOMAIN_ELEVATOR_RATES_H
#define DOMAIN_ELEVATOR_RATES_H

#include "domain/elevator/stops.h"

struct rates {
    int floors;
    int64_t at_ms;                       /* what follows is of this time */
    double boarded[2][PLANT_FLOORS_MAX]; /* forgotten by and by, by stops_side */
    double pull[2][PLANT_FLOORS_MAX];    /* of a destination, by stops_side */
};

void rates_start(struct rates *rates, int floors);
void rates_boarded(struct rates *rates, int floor, int destination, int64_t now_ms);

/* Brings it up to date; the others are of that time. */
void rates_age(struct rates *rates, int64_t now_ms);

double rates_of_button(const struct rates *rates, int floor, int direction);
double rates_of_floor(const struct rates *rates, int floor);

#endif
