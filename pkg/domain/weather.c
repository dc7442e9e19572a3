#include "domain/weather.h"

#include "base/id.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define CITY_MAX 128   /* bytes of the city that count */
#define THAW_TENTHS 30 /* no snow from here on */

static const char *const conditions[] = {"Sunny",        "Partly Cloudy", "Cloudy", "Rainy",
                                         "Thunderstorm", "Snowy",         "Foggy",  "Windy",
                                         "Clear",        "Stormy"};

static int pair(const struct id *bytes, size_t at, int below)
{
    return (bytes->bytes[at] * 256 + bytes->bytes[at + 1]) % below;
}

static struct id bytes_of(const char *city, int64_t hour)
{
    char key[CITY_MAX + 24];
    size_t size = strnlen(city, CITY_MAX);

    for (size_t i = 0; i < size; i++)
        key[i] = (char)(city[i] >= 'A' && city[i] <= 'Z' ? city[i] - 'A' + 'a' : city[i]);
    size += (size_t)snprintf(key + size, sizeof(key) - size, " %" PRId64, hour);
    return id_derive("weather", key, size);
}

struct weather weather_invent(const char *city, int64_t time_ms)
{
    struct id bytes = bytes_of(city, time_ms / WEATHER_HOUR_MS);
    int tenths = pair(&bytes, 0, 500) - 100;
    const char *condition = conditions[pair(&bytes, 10, ARRAY_LEN(conditions))];

    if (tenths >= THAW_TENTHS && strcmp(condition, "Snowy") == 0)
        condition = "Rainy";
    return (struct weather){
        .temperature = tenths / 10.0,
        .humidity = pair(&bytes, 2, 70) + 30,
        .wind_speed = pair(&bytes, 4, 300) / 10.0,
        .condition = condition,
    };
}

const char *weather_condition_of_code(int code)
{
    static const struct {
        int first, last;
        const char *condition;
    } codes[] = {
        {0, 0, "Clear"},    {1, 1, "Sunny"},   {2, 2, "Partly Cloudy"}, {3, 3, "Cloudy"},
        {45, 45, "Foggy"},  {48, 48, "Foggy"}, {51, 57, "Rainy"},       {61, 67, "Rainy"},
        {71, 77, "Snowy"},  {80, 82, "Rainy"}, {85, 86, "Snowy"},       {95, 95, "Thunderstorm"},
        {96, 99, "Stormy"},
    };

    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (code >= codes[i].first && code <= codes[i].last)
            return codes[i].condition;
    return NULL;
}
