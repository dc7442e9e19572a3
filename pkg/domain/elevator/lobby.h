/*
 * lobby: how many people a car waits for at the lobby while many come in.
 *
 * In balance a car finds at the lobby who arrived while one of the cars made its round; with more
 * on board rounds get longer, but fewer are needed.
 *
 * Units  people, seconds.
 */
#ifndef DOMAIN_ELEVATOR_LOBBY_H
#define DOMAIN_ELEVATOR_LOBBY_H

#include "domain/elevator/tour.h"

/* Expected time of a round with so many people: up, stopping for them, and down empty. */
double lobby_round_s(const struct tour_model *model, double people);

/* The load that so many cars need to keep up with rate people a second; at most the capacity. */
double lobby_balance(const struct tour_model *model, double rate, int cars);

/* Most of what happens is that people come in at the lobby. */
bool lobby_is_busy(const struct rates *rates);

#endif
