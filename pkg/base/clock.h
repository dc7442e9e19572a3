/*
 * clock: where a module that needs the time gets it, so that tests can say what time it is.
 *
 * Wall time is for what people and other machines see; steady time never jumps and is for waits.
 * Units    milliseconds; wall time since the epoch.
 * Threads  any thread may read any clock; a fake may be advanced while others read it.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct clock {
    int64_t (*wall_ms)(const struct clock *clock);
    int64_t (*steady_ms)(const struct clock *clock);
};

/* The machine's clocks. Never released. */
const struct clock *clock_system(void);

struct clock_fake {
    struct clock clock;
    _Atomic int64_t now_ms; /* both clocks show it */
};

void clock_fake_start(struct clock_fake *fake, int64_t now_ms);
void clock_fake_advance(struct clock_fake *fake, int64_t by_ms);

int64_t clock_wall_ms(const struct clock *clock);
int64_t clock_steady_ms(const struct clock *clock);

/* Steady nanoseconds of the machine, for measuring how long something took. */
int64_t clock_nanoseconds(void);

/*
 * Waits for a condition, with its lock held; false once the machine's steady clock is past
 * until_ms. As with any condition, true says only that it is worth looking again:
 *
 *     while (!queue->count && clock_wait(&queue->changed, &queue->lock, until_ms))
 *         continue;
 */
bool clock_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t until_ms);

#endif
