#include "resilience/backoff.h"

#define DOUBLINGS_MAX 62 /* the most that an int64_t takes */

int64_t backoff_ms(const struct backoff *backoff, unsigned attempt, uint32_t random)
{
    unsigned doublings = attempt > 1 ? attempt - 1 : 0;
    int64_t delay_ms = backoff->most_ms;

    if (doublings > DOUBLINGS_MAX)
        doublings = DOUBLINGS_MAX;
    if (backoff->first_ms <= backoff->most_ms >> doublings)
        delay_ms = backoff->first_ms << doublings;

    uint64_t share_ms = (uint64_t)(delay_ms / 2);
    uint64_t taken_ms = (uint64_t)(((unsigned __int128)(share_ms + 1) * random) >> 32);
    return delay_ms - (int64_t)share_ms + (int64_t)taken_ms;
}
