/*
 * dispatcher: which car serves which hall call, decided anew on every event; nothing is promised.
 *
 * It sees when a button was pressed, never how many wait or where they want to go; of the cars it
 * sees all of struct car; and it is told of everybody who boards. Its command for a car is the
 * whole set of that car's hall calls, where to park and how long to hold its doors. A car that has
 * begun to brake keeps the calls of the floor it comes to. A full car is given nothing it could
 * only pass, a car out of service nothing at all.
 *
 * Rules
 *   naive    nearest idle car, first in first out
 *   nearest  nearest car, one that comes the right way before one that stands; once and for all,
 *            unless that car is full; collective
 *   lqf      the call that has waited longest first; cars with riders stop on their way
 *   eta      each call, oldest first, to the car that is there first; anew on every event
 *   fim      the assignment with the least sum of squared waits that search finds
 *   horizon  the same search (search.h), for tours that also count their riders' time and their own
 *            end (tour.h), with rates learned while it runs (rates.h); free cars park at the
 * medians of these (median.h), and while many come in at the lobby a car stands open there
 *            (lobby.h). The priority of a call multiplies its cost, and the square of the wait sees
 *            to it that nobody starves.
 *
 * Ownership  One handle, allocated once; deciding allocates nothing.
 * Threads    one handle, one thread.
 * Units      milliseconds of the cars' clock.
 */
#ifndef DOMAIN_ELEVATOR_DISPATCHER_H
#define DOMAIN_ELEVATOR_DISPATCHER_H

#include "domain/elevator/car.h"

#include "base/macros.h"

enum dispatcher_rule {
    DISPATCHER_NAIVE,
    DISPATCHER_NEAREST,
    DISPATCHER_LQF,
    DISPATCHER_ETA,
    DISPATCHER_FIM,
    DISPATCHER_HORIZON,
    DISPATCHER_RULES, /* how many there are */
};

extern const char *const dispatcher_rule_names[]; /* NULL ends */

struct hall_call {
    int64_t pressed_ms; /* when its lamp came on; counts only where it is lit */
    double weight;      /* 1: as everybody; above: priority */
    int behind;         /* people known to wait: whom a full car left there */
};

/* All there is to see. */
struct bank {
    const struct plant *plant; /* borrowed */
    const struct car *cars;    /* borrowed; plant->cars of them */
    int64_t now_ms;
    int deciding;            /* the car that comes to a mid-floor, or -1: something else is up */
    struct floor_set lit[2]; /* by stops_side */
    struct hall_call calls[2][PLANT_FLOORS_MAX]; /* by stops_side, floor */
};

struct dispatcher;

struct dispatcher *dispatcher_new(const struct plant *plant, enum dispatcher_rule rule,
                                  uint64_t seed);
void dispatcher_free(struct dispatcher *dispatcher);
AUTO_DEFINE(struct dispatcher *, dispatcher_free)

/* Somebody boarded, and pressed a button. */
void dispatcher_boarded(struct dispatcher *dispatcher, int floor, int destination, int64_t now_ms);

/* commands: as many as there are cars. */
void dispatcher_decide(struct dispatcher *dispatcher, const struct bank *bank,
                       struct car_command *commands);

#endif
