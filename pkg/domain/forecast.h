/*
 * forecast: an invented forecast of the coming days. Pure: a day has the same weather whenever and
 * wherever it is asked for.
 *
 * Units  milliseconds since the epoch; days are UTC's.
 */
#ifndef DOMAIN_FORECAST_H
#define DOMAIN_FORECAST_H

#include <stddef.h>
#include <stdint.h>

#define FORECAST_DATE_SIZE 11 /* "2026-11-21" with the NUL */

struct forecast_day {
    char date[FORECAST_DATE_SIZE];
    int temperature_c; /* -20 to 54 */
    int temperature_f; /* as the forerunner has it: 32 + C / 0.5556, cut to a whole number */
    const char *summary;
};

/* The days from the one after now_ms on; now_ms from 0001 to 9999. */
void forecast_days(int64_t now_ms, struct forecast_day *out, size_t count);

#endif
