/*
 * traffic: what happens in a simulated town, one event after the other, in the order of its time.
 * Pure: the seed and the beginning say everything; nothing waits.
 *
 * - Parking: in each garage a car drives in after 1 s to entry_wait_s if there is room, again and
 *   again; its entry is reported with the probability TRAFFIC_ENTRY_REPORTED. After 1 s to
 *   exit_wait_s some parked car drives out, which is always reported: 20 % of the exits have no
 *   entry.
 * - Readings: each meter every TRAFFIC_METER_MS, by a load curve (load_curve.h) times a factor of
 *   the meter's own, give or take 5 %. Every fourth house has panels on its roof.
 * - Logs: of each service one after 0.5 to 4 s, now and then a burst of errors.
 * - Weather: somebody asks after 1 to 9 s, about one place after the other.
 *
 * Every kind has random numbers of its own: leaving some kinds out does not change the others. Ids
 * (UUID version 8) come from the seed alone, so with another beginning the ids are the same.
 *
 * Ownership  Text in an event is static.
 * Units      seconds, milliseconds, watts.
 */
#ifndef DOMAIN_TRAFFIC_H
#define DOMAIN_TRAFFIC_H

#include "domain/garage.h"

#include "base/id.h"

#define TRAFFIC_ENTRY_REPORTED 0.8
#define TRAFFIC_METER_MS 10000

enum traffic_kind {
    TRAFFIC_ENTRY,
    TRAFFIC_EXIT,
    TRAFFIC_READING,
    TRAFFIC_LOG,
    TRAFFIC_WEATHER,
    TRAFFIC_KINDS,
};

enum traffic_system {
    TRAFFIC_PARKING = 1,
    TRAFFIC_READINGS = 2,
    TRAFFIC_LOGS = 4,
    TRAFFIC_WEATHER_CALLS = 8,
    TRAFFIC_EVERYTHING = 15,
};

struct traffic_options {
    uint64_t seed;
    int64_t start_ms;
    unsigned systems; /* enum traffic_system, one at least */
    int garages, capacity, entry_wait_s, exit_wait_s;
    int sites, meters; /* meters: of each site */
    int services;
};

enum traffic_level { TRAFFIC_DEBUG, TRAFFIC_INFO, TRAFFIC_WARNING, TRAFFIC_ERROR };

struct traffic_event {
    enum traffic_kind kind;
    struct id id;
    int64_t time_ms;
    uint64_t order; /* the same for all events of a plate: they are to arrive in their order */
    int place;      /* the garage, site or service, from 0 */
    union {
        char plate[GARAGE_PLATE_SIZE]; /* ENTRY, EXIT */
        struct {
            int meter; /* from 0 */
            double power_w;
        } reading;
        struct {
            enum traffic_level level;
            const char *message;
        } log;
        struct {
            const char *city, *location;
        } weather;
    };
};

struct traffic;

/* The options are copied. */
struct traffic *traffic_new(const struct traffic_options *options);
void traffic_free(struct traffic *traffic);
AUTO_DEFINE(struct traffic *, traffic_free)

/* The next event; times never go back. There is always one. */
void traffic_next(struct traffic *traffic, struct traffic_event *out);

/* About how many events a simulated second has once the garages are full. */
double traffic_per_second(const struct traffic_options *options);

const struct garage_town *traffic_town(const struct traffic *traffic); /* NULL without parking */

#endif
