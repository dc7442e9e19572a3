/*
 * parking_duty: what the processor does for the parking garages beside storing.
 *
 * A closed session gets its price and becomes a summary; a summary is told to the writer; the
 * vehicles that are in are counted.
 */
#ifndef PROCESSOR_PARKING_DUTY_H
#define PROCESSOR_PARKING_DUTY_H

#include "delivery.h"
#include "emission.h"
#include "occupancy.h"

struct parking_settings {
    int free_minutes, hour_cents, day_cents; /* day_cents 0: no cap */
    const char *currency;                    /* ISO 4217 */
};

bool parking_settings_check(const struct parking_settings *settings, struct error *err) MUST_CHECK;

extern const struct emission_kind parking_emission;
extern const struct delivery_kind parking_delivery;
extern const struct occupancy_kind parking_occupancy;

#endif
