#include "domain/elevator/rates.h"

#include <math.h>
#include <string.h>

#define FORGET_S 240.0
#define DESTINATION_KEEPS 0.995
#define PRIOR_BOARDINGS 0.1 /* a button, in FORGET_S */
#define PRIOR_PULL 0.5      /* all destinations of a direction together */
#define AGE_MS 500          /* younger is up to date */

void rates_start(struct rates *rates, int floors)
{
    memset(rates, 0, sizeof(*rates));
    rates->floors = floors;
    for (int i = 0; i < floors; i++)
        rates->pull[0][i] = rates->pull[1][i] = PRIOR_PULL / floors;
}

void rates_age(struct rates *rates, int64_t now_ms)
{
    if (now_ms - rates->at_ms < AGE_MS)
        return;
    double kept = exp(-(double)(now_ms - rates->at_ms) / 1000 / FORGET_S);
    for (int i = 0; i < rates->floors; i++) {
        rates->boarded[0][i] *= kept;
        rates->boarded[1][i] *= kept;
    }
    rates->at_ms = now_ms;
}

void rates_boarded(struct rates *rates, int floor, int destination, int64_t now_ms)
{
    int side = stops_side(destination - floor);

    rates_age(rates, now_ms);
    rates->boarded[side][floor] += 1;
    for (int i = 0; i < rates->floors; i++) {
        double pull = rates->pull[side][i] * DESTINATION_KEEPS;
        rates->pull[side][i] =
            pull > PRIOR_PULL / rates->floors ? pull : PRIOR_PULL / rates->floors;
    }
    rates->pull[side][destination] += 1;
}

double rates_of_button(const struct rates *rates, int floor, int direction)
{
    return (rates->boarded[stops_side(direction)][floor] + PRIOR_BOARDINGS) / FORGET_S;
}

double rates_of_floor(const struct rates *rates, int floor)
{
    return rates_of_button(rates, floor, ELEVATOR_UP) +
           rates_of_button(rates, floor, ELEVATOR_DOWN);
}
