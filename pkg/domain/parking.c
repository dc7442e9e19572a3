#include "domain/parking.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define PLATE_MIN 2
#define PLATE_MAX 12
#define HOUR_S 3600
#define DAY_S 86400

static bool is_of_plate(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool parking_plate_is_valid(const char *plate)
{
    size_t size = strlen(plate);

    if (size < PLATE_MIN || size > PLATE_MAX || !is_of_plate(plate[0]) ||
        !is_of_plate(plate[size - 1]))
        return false;
    for (size_t i = 0; i < size; i++)
        if (!is_of_plate(plate[i]) && plate[i] != '-')
            return false;
    return true;
}

/* Of a stay of less than a day. */
static double part_day_cents(const struct parking_tariff *tariff, double stay_s)
{
    double cents = ceil(stay_s / HOUR_S) * (double)tariff->hour_cents;

    return tariff->day_cents && cents > (double)tariff->day_cents ? (double)tariff->day_cents
                                                                  : cents;
}

int64_t parking_price_cents(const struct parking_tariff *tariff, double stay_s)
{
    if (!(stay_s > 0) || stay_s <= (double)tariff->free_s)
        return 0;
    double days = floor(stay_s / DAY_S);
    double cents =
        days * part_day_cents(tariff, DAY_S) + part_day_cents(tariff, stay_s - days * DAY_S);
    return cents < (double)INT64_MAX ? (int64_t)cents : INT64_MAX;
}
