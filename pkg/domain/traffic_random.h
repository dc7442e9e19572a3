/*
 * traffic_random: the same numbers for the same seed, on every machine. Not for secrets.
 *
 * Source  G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators",
 *         OOPSLA 2014: the SplitMix64 generator.
 */
#ifndef DOMAIN_TRAFFIC_RANDOM_H
#define DOMAIN_TRAFFIC_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct traffic_random {
    uint64_t state;
};

static inline uint64_t traffic_random_next(struct traffic_random *random)
{
    uint64_t mixed = random->state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

/* Of a seed as many generators as wanted, which have nothing to do with each other. */
static inline struct traffic_random traffic_random_start(uint64_t seed, uint64_t stream)
{
    struct traffic_random of_stream = {stream};
    struct traffic_random of_seed = {seed ^ traffic_random_next(&of_stream)};

    return (struct traffic_random){traffic_random_next(&of_seed)};
}

/* From 0 to limit - 1; limit is above 0. */
static inline uint64_t traffic_random_below(struct traffic_random *random, uint64_t limit)
{
    return (uint64_t)(((unsigned __int128)traffic_random_next(random) * limit) >> 64);
}

/* From least to most, both included. */
static inline int64_t traffic_random_between(struct traffic_random *random, int64_t least,
                                             int64_t most)
{
    return least + (int64_t)traffic_random_below(random, (uint64_t)(most - least) + 1);
}

/* From 0 to below 1. */
static inline double traffic_random_share(struct traffic_random *random)
{
    return (double)(traffic_random_next(random) >> 11) * 0x1p-53;
}

static inline bool traffic_random_happens(struct traffic_random *random, double probability)
{
    return traffic_random_share(random) < probability;
}

#endif
