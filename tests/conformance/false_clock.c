#include "conformance/false_clock.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WALL_SECONDS 1000000000 /* steady time starts with the machine: it is never this late */

typedef int timed_wait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                       const struct timespec *until);

static _Atomic int64_t ahead_seconds;

void false_clock_set(int64_t seconds)
{
    ahead_seconds = seconds;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int result = (int)syscall(SYS_clock_gettime, clock, out);

    if (result == 0 && clock == CLOCK_REALTIME)
        out->tv_sec += ahead_seconds;
    return result;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           const struct timespec *until)
{
    struct timespec shifted = *until;
    timed_wait *next;

    *(void **)&next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    if (until->tv_sec > WALL_SECONDS)
        shifted.tv_sec -= ahead_seconds;
    return next(condition, mutex, &shifted);
}
