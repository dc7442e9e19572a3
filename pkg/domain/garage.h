/*
 * garage: who is parked where, in a town of garages and cars. Pure.
 *
 * The town has four times as many cars as places, so that cars come back. A car is in one garage at
 * most, its plate (AAA000) is its own, and its comings and goings have different times, each later
 * than the one before.
 *
 * Ownership  The town is one handle. Randomness and time are passed in.
 * Units      milliseconds; time never runs backwards between calls.
 */
#ifndef DOMAIN_GARAGE_H
#define DOMAIN_GARAGE_H

#include "domain/traffic_random.h"

#include "base/macros.h"

#include <stddef.h>

#define GARAGE_PLATE_SIZE 7       /* with the NUL */
#define GARAGE_PLACES_MAX 4000000 /* of a town: there are four times as many plates */

struct garage_town;

struct garage_town *garage_town_new(int garages, int capacity);
void garage_town_free(struct garage_town *town);
AUTO_DEFINE(struct garage_town *, garage_town_free)

/* Some car that is parked nowhere drives in. False: the garage is full. */
bool garage_enter(struct garage_town *town, int garage, int64_t now_ms,
                  struct traffic_random *random, int *out_car) MUST_CHECK;

/* Some parked car drives out. False: nobody is there, or it came this very millisecond. */
bool garage_leave(struct garage_town *town, int garage, int64_t now_ms,
                  struct traffic_random *random, int *out_car) MUST_CHECK;

int garage_occupancy(const struct garage_town *town, int garage);

void garage_plate(int car, char out[GARAGE_PLATE_SIZE]);

#endif
