/*
 * parking: number plates, and what a stay costs. Pure.
 *
 * Units  seconds, cents.
 */
#ifndef DOMAIN_PARKING_H
#define DOMAIN_PARKING_H

#include <stdbool.h>
#include <stdint.h>

/* 2 to 12 of A-Z, 0-9 and '-', with a letter or a digit at both ends. */
bool parking_plate_is_valid(const char *plate);

struct parking_tariff {
    int64_t free_s;     /* a stay of at most this costs nothing */
    int64_t hour_cents; /* of each hour that has begun, the free time included */
    int64_t day_cents;  /* the most for each 24 hours, from the entry on; 0: no cap */
};

/* Never negative, and never less for a longer stay. A negative stay is one of 0 s; a price beyond
 * INT64_MAX is INT64_MAX. */
int64_t parking_price_cents(const struct parking_tariff *tariff, double stay_s);

#endif
