#include "base/clock.h"

#include "base/macros.h"

#include <time.h>

static int64_t read_ns(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t system_wall_ms(const struct clock *clock)
{
    (void)clock;
    return read_ns(CLOCK_REALTIME) / 1000000;
}

static int64_t system_steady_ms(const struct clock *clock)
{
    (void)clock;
    return read_ns(CLOCK_MONOTONIC) / 1000000;
}

const struct clock *clock_system(void)
{
    static const struct clock machine = {.wall_ms = system_wall_ms, .steady_ms = system_steady_ms};

    return &machine;
}

static int64_t fake_now_ms(const struct clock *clock)
{
    return atomic_load(&CONTAINER_OF(clock, struct clock_fake, clock)->now_ms);
}

void clock_fake_start(struct clock_fake *fake, int64_t now_ms)
{
    fake->clock = (struct clock){.wall_ms = fake_now_ms, .steady_ms = fake_now_ms};
    atomic_init(&fake->now_ms, now_ms);
}

void clock_fake_advance(struct clock_fake *fake, int64_t by_ms)
{
    atomic_fetch_add(&fake->now_ms, by_ms);
}

int64_t clock_wall_ms(const struct clock *clock)
{
    return clock->wall_ms(clock);
}

int64_t clock_steady_ms(const struct clock *clock)
{
    return clock->steady_ms(clock);
}

int64_t clock_nanoseconds(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

bool clock_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t until_ms)
{
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};

    return pthread_cond_clockwait(condition, lock, CLOCK_MONOTONIC, &until) == 0;
}
