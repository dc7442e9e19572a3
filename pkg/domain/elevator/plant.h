/*
 * plant: the building and the machinery of an elevator group: all that the model needs to know.
 *
 * Units   milliseconds. Floors are counted from 0, the lobby. A direction is ELEVATOR_UP or
 *         ELEVATOR_DOWN.
 * Source  The defaults are those of Crites and Barto, "Elevator Group Control Using Multiple
 *         Reinforcement Learning Agents", Machine Learning 33 (1998): 10 floors, 4 cars, 20 people
 *         a car, 1.45 s a floor, 1 s to turn, and 7.19 s more for a stop than for passing, which
 *         is  2 * half_floor_ms + opening_ms + closing_ms - floor_ms.
 */
#ifndef DOMAIN_ELEVATOR_PLANT_H
#define DOMAIN_ELEVATOR_PLANT_H

#include <stdbool.h>
#include <stdint.h>

#define PLANT_FLOORS_MAX 256
#define PLANT_CARS_MAX 64

#define ELEVATOR_DOWN (-1)
#define ELEVATOR_UP 1

struct plant {
    int floors, cars, capacity;
    int floor_ms;      /* a floor at full speed; even */
    int half_floor_ms; /* from rest to mid-floor at full speed, and from there to rest */
    int turn_ms;       /* before it leaves the other way */
    int opening_ms, closing_ms;
    int load_ms; /* mean, of one person who gets on or off */
};

static inline struct plant plant_default(void)
{
    return (struct plant){
        .floors = 10,
        .cars = 4,
        .capacity = 20,
        .floor_ms = 1450,
        .half_floor_ms = 2175,
        .turn_ms = 1000,
        .opening_ms = 2145,
        .closing_ms = 2145,
        .load_ms = 1000,
    };
}

static inline bool plant_is_valid(const struct plant *plant)
{
    return plant->floors >= 2 && plant->floors <= PLANT_FLOORS_MAX && plant->cars >= 1 &&
           plant->cars <= PLANT_CARS_MAX && plant->capacity >= 1 && plant->floor_ms > 0 &&
           plant->half_floor_ms > 0 && plant->turn_ms >= 0 && plant->opening_ms > 0 &&
           plant->closing_ms > 0 && plant->load_ms > 0;
}

#endif
