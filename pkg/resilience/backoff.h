/*
 * backoff: how long to wait before the next attempt.
 *
 * Doubles from first_ms to most_ms, then takes a random share of the last half, so that many who
 * failed together do not return together. Pure: the caller brings the randomness.
 *
 * Source  "Exponential Backoff And Jitter" (equal jitter), AWS Architecture Blog, 2015.
 */
#ifndef RESILIENCE_BACKOFF_H
#define RESILIENCE_BACKOFF_H

#include <stdint.h>

struct backoff {
    int64_t first_ms, most_ms;
};

/* attempt counts from 1; random is any number, evenly spread over its range. */
int64_t backoff_ms(const struct backoff *backoff, unsigned attempt, uint32_t random);

#endif
