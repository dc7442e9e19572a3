#include "domain/garage.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>

#define CARS_PER_PLACE 4
#define LETTERS 26
#define DIGITS 10
#define PLATES 17576000
#define STRIDE 7654321 /* has no divisor with PLATES in common: neighbours look nothing alike */

struct car {
    int64_t last_ms; /* it came or went */
    bool parked;
};

struct garage_town {
    int capacity, cars;
    struct car *car;
    int *occupancy;
    int *parked; /* of each garage capacity cars, those at the front are there */
};

struct garage_town *garage_town_new(int garages, int capacity)
{
    struct garage_town *town = memory_alloc(sizeof(*town));
    size_t places = (size_t)garages * (size_t)capacity;

    assert(garages > 0 && capacity > 0 && places <= GARAGE_PLACES_MAX);
    town->capacity = capacity;
    town->cars = (int)places * CARS_PER_PLACE;
    town->car = memory_alloc((size_t)town->cars * sizeof(*town->car));
    town->occupancy = memory_alloc((size_t)garages * sizeof(*town->occupancy));
    town->parked = memory_alloc(places * sizeof(*town->parked));
    for (int i = 0; i < town->cars; i++)
        town->car[i].last_ms = INT64_MIN;
    return town;
}

void garage_town_free(struct garage_town *town)
{
    if (!town)
        return;
    free(town->car);
    free(town->occupancy);
    free(town->parked);
    free(town);
}

static int *places_of(struct garage_town *town, int garage)
{
    return town->parked + (size_t)garage * (size_t)town->capacity;
}

/* Comes to an end: three of four cars are not parked, and those that went just now were. */
bool garage_enter(struct garage_town *town, int garage, int64_t now_ms,
                  struct traffic_random *random, int *out_car)
{
    int *occupancy = &town->occupancy[garage];

    if (*occupancy == town->capacity)
        return false;
    int car = (int)traffic_random_below(random, (uint64_t)town->cars);
    while (town->car[car].parked || town->car[car].last_ms >= now_ms)
        car = (car + 1) % town->cars;
    town->car[car] = (struct car){.last_ms = now_ms, .parked = true};
    places_of(town, garage)[(*occupancy)++] = car;
    *out_car = car;
    return true;
}

bool garage_leave(struct garage_town *town, int garage, int64_t now_ms,
                  struct traffic_random *random, int *out_car)
{
    int *occupancy = &town->occupancy[garage], *places = places_of(town, garage);

    if (*occupancy == 0)
        return false;
    int place = (int)traffic_random_below(random, (uint64_t)*occupancy);
    int car = places[place];
    if (town->car[car].last_ms >= now_ms)
        return false;
    town->car[car] = (struct car){.last_ms = now_ms};
    places[place] = places[--*occupancy];
    *out_car = car;
    return true;
}

int garage_occupancy(const struct garage_town *town, int garage)
{
    return town->occupancy[garage];
}

void garage_plate(int car, char out[GARAGE_PLATE_SIZE])
{
    int number = (int)((int64_t)car * STRIDE % PLATES);

    for (int i = 5; i >= 0; i--) {
        int base = i < 3 ? LETTERS : DIGITS;
        out[i] = (char)((i < 3 ? 'A' : '0') + number % base);
        number /= base;
    }
    out[GARAGE_PLATE_SIZE - 1] = '\0';
}
