/*
 * stops: where a car is to stop, served direction by direction (LOOK): all that lies ahead first,
 * then all that lies behind. Sets of floors, so that none is there twice.
 *
 * A rider's stop counts in either direction; a hall call only in its own, or where the car turns.
 * Plain values; pure.
 */
#ifndef DOMAIN_ELEVATOR_STOPS_H
#define DOMAIN_ELEVATOR_STOPS_H

#include "domain/elevator/plant.h"

#define FLOOR_SET_WORDS (PLANT_FLOORS_MAX / 64)
#define STOPS_NONE (-1)

struct floor_set {
    uint64_t words[FLOOR_SET_WORDS];
};

static inline bool floor_set_has(const struct floor_set *set, int floor)
{
    return set->words[floor >> 6] >> (floor & 63) & 1;
}

static inline void floor_set_add(struct floor_set *set, int floor)
{
    set->words[floor >> 6] |= UINT64_C(1) << (floor & 63);
}

static inline void floor_set_remove(struct floor_set *set, int floor)
{
    set->words[floor >> 6] &= ~(UINT64_C(1) << (floor & 63));
}

static inline bool floor_set_is_empty(const struct floor_set *set)
{
    uint64_t any = 0;

    for (int i = 0; i < FLOOR_SET_WORDS; i++)
        any |= set->words[i];
    return !any;
}

int floor_set_count(const struct floor_set *set);
int floor_set_lowest(const struct floor_set *set);  /* or STOPS_NONE */
int floor_set_highest(const struct floor_set *set); /* or STOPS_NONE */

/* The one farthest that way, or STOPS_NONE. */
int floor_set_farthest(const struct floor_set *set, int direction);

struct stops {
    struct floor_set riders;  /* car calls */
    struct floor_set hall[2]; /* hall calls, by stops_side */
};

/* Index of a direction in arrays of two. */
static inline int stops_side(int direction)
{
    return direction > 0 ? 0 : 1;
}

/* All floors of all kinds. */
struct floor_set stops_all(const struct stops *stops);

/* Is there a stop beyond the floor, that way? */
bool stops_are_ahead(const struct stops *stops, int floor, int direction);

/* Does a car that comes to the floor that way stop there? A full one only for its riders. */
bool stops_at(const struct stops *stops, int floor, int direction, bool full);

/* In the order in which a car will serve them that is next at the floor (included) and goes that
 * way; at most limit floors, each once. Returns how many. */
int stops_list(const struct stops *stops, int floor, int direction, int *out, int limit);

#endif
