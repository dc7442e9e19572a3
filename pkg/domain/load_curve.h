/*
 * load_curve: the electric power that a household draws in the course of a day. Pure.
 *
 * A load that is always there, and humps on it. A hump is a raised cosine around its hour h:
 *
 *     P(t) = base + sum of  height / 2 * (1 + cos(pi * d / reach))   while d < reach
 *
 * where d is the distance of the time of day t from h, the shorter way round the clock. A hump's
 * energy is therefore height * reach, and the day's is  24 h * base + sum of height * reach.  The
 * sun is a hump of negative height: what the house feeds in.
 *
 * Units  watts, watt-hours, hours; times are milliseconds since the epoch, the day is that of UTC.
 */
#ifndef DOMAIN_LOAD_CURVE_H
#define DOMAIN_LOAD_CURVE_H

#include <stddef.h>
#include <stdint.h>

struct load_hump {
    double hour, reach_h, height_w; /* reach: at most 12 */
};

#define LOAD_HUMPS_MAX 3

struct load_curve {
    double base_w;
    struct load_hump humps[LOAD_HUMPS_MAX]; /* those without a reach are none */
};

/* A house in the morning and in the evening; and one that has panels on its roof besides. */
extern const struct load_curve load_curve_house, load_curve_solar_house;

double load_curve_power_w(const struct load_curve *curve, int64_t time_ms);
double load_curve_daily_wh(const struct load_curve *curve);

#endif
