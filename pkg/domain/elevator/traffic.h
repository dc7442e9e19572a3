/*
 * traffic: the people of one hour, all drawn before it begins, so that every rule meets the same.
 *
 * Arrivals are Poisson with a rate that is constant over five minutes. Those of the down kind go
 * from any floor to the lobby, of the up kind from the lobby to any floor, of the inter-floor kind
 * from any floor to any other, never the lobby; floors are drawn uniformly. The time a person takes
 * to get on, and again to get off, is Erlang of order 20 and mean 1 s, drawn again while outside
 * 0.6 s to 6 s.
 *
 * Ownership  The list belongs to the handle.
 * Units      milliseconds from the start of the hour; rates are people in five minutes.
 * Source     The down-peak and the load times: Crites and Barto, Machine Learning 33 (1998). The
 *            generator: domain/traffic_random.h (SplitMix64).
 */
#ifndef DOMAIN_ELEVATOR_TRAFFIC_H
#define DOMAIN_ELEVATOR_TRAFFIC_H

#include "domain/elevator/plant.h"

#include "base/macros.h"

#include <stddef.h>

#define ELEVATOR_HOUR_MS 3600000
#define ELEVATOR_INTERVALS 12

struct elevator_profile {
    const char *name;
    bool down_peak;         /* the published table: its rates are per floor above the lobby */
    double up, down, inter; /* in all; besides the table if there is one */
    double inter_share;     /* of the table's people, who go to another floor than the lobby */
};

extern const struct elevator_profile elevator_profiles[];
extern const size_t elevator_profile_count;
const struct elevator_profile *elevator_profile_named(const char *name); /* or NULL */

struct passenger {
    int64_t arrival_ms;
    int from, to;
    int load_ms;
    bool priority;
};

struct elevator_traffic {
    struct passenger *passengers; /* by arrival */
    size_t count;
};

/* priority_share, 0 to 1, of the people have priority. */
struct elevator_traffic *elevator_traffic_draw(const struct elevator_profile *profile,
                                               const struct plant *plant, double priority_share,
                                               uint64_t seed);
void elevator_traffic_free(struct elevator_traffic *traffic);
AUTO_DEFINE(struct elevator_traffic *, elevator_traffic_free)

#endif
