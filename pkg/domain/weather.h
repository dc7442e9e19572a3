/*
 * weather: an invented weather that is the same on every machine, and the words for a real one.
 * Pure.
 *
 * The invented weather of a city in an hour comes from the bytes of a SHA-256, of "weather", a
 * NUL and "<city, A to Z as a to z> <hours since 1970 in UTC>", in pairs, the high byte first:
 *
 *     temperature   bytes 0, 1     (n mod 500) / 10 - 10      [-10, 40)
 *     humidity      bytes 2, 3     n mod 70 + 30              30 to 99
 *     wind          bytes 4, 5     (n mod 300) / 10           [0, 30)
 *     condition     bytes 10, 11   n mod 10, a place in the list of ten words
 *
 * where it is too warm for snow (3 degrees or more) it rains.
 *
 * Units  degrees Celsius, percent, metres per second, milliseconds since the epoch.
 */
#ifndef DOMAIN_WEATHER_H
#define DOMAIN_WEATHER_H

#include <stdint.h>

#define WEATHER_HOUR_MS INT64_C(3600000)

struct weather {
    double temperature; /* one decimal */
    int humidity;
    double wind_speed;     /* one decimal */
    const char *condition; /* static */
};

struct weather weather_invent(const char *city, int64_t time_ms);

/* The word for a present weather of WMO table 4677, as forecasts use it; NULL: they do not. */
const char *weather_condition_of_code(int code);

#endif
