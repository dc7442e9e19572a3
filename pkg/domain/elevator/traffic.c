#include "domain/elevator/traffic.h"

#include "domain/traffic_random.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INTERVAL_MS 300000 /* the hour's twelfth */
#define LOAD_ORDER 20
#define LOAD_LEAST 0.6 /* of the mean */
#define LOAD_MOST 6.0

enum kind { UP, DOWN, INTER, KINDS };

static const double down_peak[ELEVATOR_INTERVALS] = {1, 2, 4, 4, 18, 12, 8, 7, 18, 5, 3, 2};

const struct elevator_profile elevator_profiles[] = {
    {.name = "down", .down_peak = true},
    {.name = "down-2up", .down_peak = true, .up = 10, .inter_share = 0.05},
    {.name = "down-4up", .down_peak = true, .up = 20, .inter_share = 0.05},
    {.name = "up-60", .up = 60},
    {.name = "up-120", .up = 120},
    {.name = "up-mix-120", .up = 102, .down = 12, .inter = 6},
    {.name = "lunch-100", .up = 45, .down = 45, .inter = 10},
    {.name = "lunch-130", .up = 58.5, .down = 58.5, .inter = 13},
    {.name = "inter-60", .inter = 60},
};

const size_t elevator_profile_count = ARRAY_LEN(elevator_profiles);

const struct elevator_profile *elevator_profile_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(elevator_profiles); i++)
        if (strcmp(elevator_profiles[i].name, name) == 0)
            return &elevator_profiles[i];
    return NULL;
}

/* ---- drawing ---- */

static double draw_exponential(struct traffic_random *random)
{
    return -log(1 - traffic_random_share(random));
}

static int draw_load_ms(struct traffic_random *random, int mean_ms)
{
    double load;

    do {
        load = 0;
        for (int i = 0; i < LOAD_ORDER; i++)
            load += draw_exponential(random) / LOAD_ORDER;
    } while (load < LOAD_LEAST || load > LOAD_MOST);
    return (int)lround(load * mean_ms);
}

static int draw_floor(struct traffic_random *random, const struct plant *plant)
{
    return 1 + (int)traffic_random_below(random, (uint64_t)plant->floors - 1);
}

static void draw_trip(struct traffic_random *random, const struct plant *plant, enum kind kind,
                      struct passenger *out)
{
    int floor = draw_floor(random, plant), other = floor;

    while (kind == INTER && other == floor && plant->floors > 2)
        other = draw_floor(random, plant);
    out->from = kind == UP ? 0 : floor;
    out->to = kind == UP ? floor : kind == DOWN || other == floor ? 0 : other;
}

static void find_rates(const struct elevator_profile *profile, const struct plant *plant,
                       int interval, double rates[KINDS])
{
    double table = profile->down_peak ? down_peak[interval] * (plant->floors - 1) : 0;

    rates[UP] = profile->up;
    rates[DOWN] = profile->down + table * (1 - profile->inter_share);
    rates[INTER] = profile->inter + table * profile->inter_share;
}

static enum kind draw_kind(struct traffic_random *random, const double rates[KINDS])
{
    double drawn = traffic_random_share(random) * (rates[UP] + rates[DOWN] + rates[INTER]);

    if (drawn < rates[UP])
        return UP;
    return drawn < rates[UP] + rates[DOWN] ? DOWN : INTER;
}

static void append(struct elevator_traffic *traffic, const struct passenger *passenger)
{
    if ((traffic->count & (traffic->count - 1)) == 0) /* room is the next power of two */
        traffic->passengers = memory_resize(
            traffic->passengers, (traffic->count ? 2 * traffic->count : 1) * sizeof(*passenger));
    traffic->passengers[traffic->count++] = *passenger;
}

struct elevator_traffic *elevator_traffic_draw(const struct elevator_profile *profile,
                                               const struct plant *plant, double priority_share,
                                               uint64_t seed)
{
    struct elevator_traffic *traffic = memory_alloc(sizeof(*traffic));
    struct traffic_random random = traffic_random_start(seed, 0);

    for (int interval = 0; interval < ELEVATOR_INTERVALS; interval++) {
        double rates[KINDS], since_ms = 0;
        find_rates(profile, plant, interval, rates);
        double mean_ms = INTERVAL_MS / (rates[UP] + rates[DOWN] + rates[INTER]);
        while ((since_ms += draw_exponential(&random) * mean_ms) < INTERVAL_MS) {
            struct passenger passenger = {.arrival_ms =
                                              (int64_t)interval * INTERVAL_MS + (int64_t)since_ms};
            draw_trip(&random, plant, draw_kind(&random, rates), &passenger);
            passenger.load_ms = draw_load_ms(&random, plant->load_ms);
            passenger.priority = traffic_random_happens(&random, priority_share);
            append(traffic, &passenger);
        }
    }
    return traffic;
}

void elevator_traffic_free(struct elevator_traffic *traffic)
{
    if (!traffic)
        return;
    free(traffic->passengers);
    free(traffic);
}
