/* The invented weather is the same everywhere; the values are those of the documented formula. */
#include "support/test.h"

#include "domain/weather.h"

#include <string.h>

#define BASE_MS INT64_C(1795248000000) /* an hour's start */

static const struct invented {
    const char *name, *city;
    int64_t time_ms;
    double temperature;
    int humidity;
    double wind_speed;
    const char *condition;
} inventions[] = {
    {"a city in an hour", "Berlin", BASE_MS, 8.0, 90, 27.3, "Rainy"},
    {"the case of its letters does not count, nor the minute", "berlin", BASE_MS + 3599999, 8.0, 90,
     27.3, "Rainy"},
    {"the next hour is another one", "Berlin", BASE_MS + 3600000, 32.6, 34, 2.7, "Foggy"},
    {"bytes beyond ASCII stay", "S\xc3\xa3o Paulo", BASE_MS, 34.1, 52, 8.8, "Foggy"},
    {"the first hour of all", "London", 0, 6.3, 58, 7.3, "Thunderstorm"},
    {"snow when it is cold", "Oslo", BASE_MS + 22 * WEATHER_HOUR_MS, -2.3, 92, 15.0, "Snowy"},
    {"rain instead of snow when it is warm", "Oslo", BASE_MS + 17 * WEATHER_HOUR_MS, 32.0, 32, 3.9,
     "Rainy"},
};

static void invents(void **state)
{
    const struct invented *row = *state;
    struct weather weather = weather_invent(row->city, row->time_ms);

    assert_true(weather.temperature == row->temperature);
    assert_int_equal(weather.humidity, row->humidity);
    assert_true(weather.wind_speed == row->wind_speed);
    assert_string_equal(weather.condition, row->condition);
}

static void stays_within_its_ranges_and_reaches_them(void **state)
{
    double coldest = 100, warmest = -100, calmest = 100, windiest = 0;
    int driest = 100, wettest = 0;

    (void)state;
    for (int hour = 0; hour < 20000; hour++) {
        struct weather weather = weather_invent("Lima", hour * WEATHER_HOUR_MS);
        coldest = weather.temperature < coldest ? weather.temperature : coldest;
        warmest = weather.temperature > warmest ? weather.temperature : warmest;
        calmest = weather.wind_speed < calmest ? weather.wind_speed : calmest;
        windiest = weather.wind_speed > windiest ? weather.wind_speed : windiest;
        driest = weather.humidity < driest ? weather.humidity : driest;
        wettest = weather.humidity > wettest ? weather.humidity : wettest;
    }
    assert_true(coldest == -10.0 && warmest == 39.9);
    assert_true(calmest == 0.0 && windiest == 29.9);
    assert_int_equal(driest, 30);
    assert_int_equal(wettest, 99);
}

static const struct coded {
    const char *name;
    int code;
    const char *condition; /* NULL: none */
} codes[] = {
    {"0 is clear", 0, "Clear"},
    {"2 is partly cloudy", 2, "Partly Cloudy"},
    {"3 is overcast", 3, "Cloudy"},
    {"48 is rime fog", 48, "Foggy"},
    {"57 is freezing drizzle", 57, "Rainy"},
    {"77 is snow grains", 77, "Snowy"},
    {"86 is a snow shower", 86, "Snowy"},
    {"95 is a thunderstorm", 95, "Thunderstorm"},
    {"99 is one with hail", 99, "Stormy"},
    {"4 is none of a forecast", 4, NULL},
    {"100 is none", 100, NULL},
    {"-1 is none", -1, NULL},
};

static void names(void **state)
{
    const struct coded *row = *state;
    const char *condition = weather_condition_of_code(row->code);

    assert_int_equal(condition == NULL, row->condition == NULL);
    if (row->condition && condition)
        assert_string_equal(condition, row->condition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stays_within_its_ranges_and_reaches_them),
    };

    return RUN_ROWS(inventions, invents) + RUN_ROWS(codes, names) +
           cmocka_run_group_tests_name("ranges", tests, NULL, NULL);
}
