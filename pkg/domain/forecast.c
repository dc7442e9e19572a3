#include "domain/forecast.h"

#include "domain/traffic_random.h"

#include "base/macros.h"

#include <time.h>

#define DAY_S 86400
#define COLDEST_C (-20)
#define RANGE_C 75
#define CELSIUS_PER_FAHRENHEIT 0.5556 /* the forerunner's rounding of 5/9 */

static const char *const summaries[] = {"Freezing", "Bracing", "Chilly", "Cool",       "Mild",
                                        "Warm",     "Balmy",   "Hot",    "Sweltering", "Scorching"};

static int64_t day_of(int64_t now_ms)
{
    int64_t seconds = now_ms / 1000 - (now_ms % 1000 < 0);

    return seconds / DAY_S - (seconds % DAY_S < 0);
}

static void forecast_one(int64_t day, struct forecast_day *out)
{
    time_t seconds = (time_t)(day * DAY_S);
    struct traffic_random random = {(uint64_t)day}; /* which scatters neighbouring days */
    int above = (int)traffic_random_below(&random, RANGE_C);
    struct tm date;

    gmtime_r(&seconds, &date);
    strftime(out->date, sizeof(out->date), "%Y-%m-%d", &date);
    out->temperature_c = COLDEST_C + above;
    out->temperature_f = 32 + (int)(out->temperature_c / CELSIUS_PER_FAHRENHEIT);
    out->summary = summaries[above * (int)ARRAY_LEN(summaries) / RANGE_C];
}

void forecast_days(int64_t now_ms, struct forecast_day *out, size_t count)
{
    int64_t today = day_of(now_ms);

    for (size_t i = 0; i < count; i++)
        forecast_one(today + 1 + (int64_t)i, &out[i]);
}
