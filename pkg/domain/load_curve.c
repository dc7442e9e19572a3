#include "domain/load_curve.h"

#include <math.h>

#define DAY_H 24.0
#define HOUR_MS 3600000
#define DAY_MS INT64_C(86400000)

#define MORNING                                                                                    \
    {                                                                                              \
        .hour = 7.5, .reach_h = 2.5, .height_w = 900                                               \
    }
#define EVENING                                                                                    \
    {                                                                                              \
        .hour = 19.5, .reach_h = 4, .height_w = 1600                                               \
    }
#define SUN                                                                                        \
    {                                                                                              \
        .hour = 12.5, .reach_h = 6, .height_w = -4000                                              \
    }

const struct load_curve load_curve_house = {.base_w = 250, .humps = {MORNING, EVENING}};
const struct load_curve load_curve_solar_house = {.base_w = 250, .humps = {MORNING, EVENING, SUN}};

static double hour_of_day(int64_t time_ms)
{
    return (double)((time_ms % DAY_MS + DAY_MS) % DAY_MS) / HOUR_MS;
}

static double hump_w(const struct load_hump *hump, double hour)
{
    double distance = fabs(hour - hump->hour);

    if (distance > DAY_H / 2)
        distance = DAY_H - distance;
    if (distance >= hump->reach_h)
        return 0;
    return hump->height_w / 2 * (1 + cos(M_PI * distance / hump->reach_h));
}

double load_curve_power_w(const struct load_curve *curve, int64_t time_ms)
{
    double hour = hour_of_day(time_ms), power_w = curve->base_w;

    for (size_t i = 0; i < LOAD_HUMPS_MAX; i++)
        power_w += hump_w(&curve->humps[i], hour);
    return power_w;
}

double load_curve_daily_wh(const struct load_curve *curve)
{
    double energy_wh = curve->base_w * DAY_H;

    for (size_t i = 0; i < LOAD_HUMPS_MAX; i++)
        energy_wh += curve->humps[i].height_w * curve->humps[i].reach_h;
    return energy_wh;
}
