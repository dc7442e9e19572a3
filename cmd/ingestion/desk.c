#include "desk.h"

#include "base/clock.h"

#include <stdlib.h>

#define SILENCES_TO_OPEN 5
#define IDLE_MS 3600000 /* of the watch, while nobody waits */

/* ---- with the lock held ---- */

static bool take(struct desk *desk, struct waiter *waiter)
{
    bool mine = waiter->waits;

    waiter->waits = false;
    if (mine)
        waiting_remove(&desk->waiting, waiter);
    return mine;
}

/* It was not found out whether somebody answers. */
static void forget_probe(struct desk *desk, const struct waiter *waiter)
{
    if (waiter->probe)
        breaker_cancel(&desk->breaker);
}

static struct waiter *take_all(struct desk *desk, const struct id *id)
{
    struct waiter *taken = NULL, *waiter;

    while ((waiter = waiting_find(&desk->waiting, id))) {
        (void)take(desk, waiter);
        waiter->next = taken;
        taken = waiter;
    }
    return taken;
}

/* Somebody whose own request is on its way, so that there will be a reply. */
static bool somebody_is_first(const struct desk *desk, const struct id *id)
{
    struct waiter *waiter = waiting_find(&desk->waiting, id);

    while (waiter && waiter->repeat)
        waiter = waiting_find_next(waiter);
    return waiter != NULL;
}

/* Only whose request arrived, who waited as long as we do by ourselves, and since the breaker
 * opened last, has learnt that nobody answers. */
static void judge_silence(struct desk *desk, const struct waiter *waiter, int64_t now_ms)
{
    if (atomic_load(&waiter->sent) && !waiter->impatient &&
        waiter->started_ms >= desk->breaker.opened_ms)
        breaker_failure(&desk->breaker, now_ms);
    else
        forget_probe(desk, waiter);
}

/* The first whose time is over; NULL: nobody's is. */
static struct waiter *take_due(struct desk *desk)
{
    int64_t now_ms = clock_steady_ms(clock_system());
    struct waiter *first = desk->waiting.first;

    if (!first || first->deadline_ms > now_ms)
        return NULL;
    (void)take(desk, first);
    judge_silence(desk, first, now_ms);
    return first;
}

static int64_t next_deadline_ms(const struct desk *desk)
{
    return desk->waiting.first ? desk->waiting.first->deadline_ms
                               : clock_steady_ms(clock_system()) + IDLE_MS;
}

static bool admit(struct desk *desk, struct waiter *waiter, struct error *err)
{
    if (waiting_is_full(&desk->waiting)) {
        error_set(err, ERROR_FULL, "%zu others wait for their reply: try again in a moment",
                  desk->waiting.count);
        err->reason = "too_many_waiting";
        return false;
    }
    if (!breaker_allows(&desk->breaker, clock_steady_ms(clock_system()))) {
        error_set(err, ERROR_UNAVAILABLE, "nobody answers such requests at the moment");
        err->reason = "call_circuit_open";
        return false;
    }
    waiter->probe = desk->breaker.state == BREAKER_HALF_OPEN;
    waiter->waits = true;
    waiting_add(&desk->waiting, waiter);
    if (desk->waiting.first == waiter)
        pthread_cond_signal(&desk->changed);
    return true;
}

/* ---- for everybody ---- */

bool desk_admit(struct desk *desk, struct waiter *waiter, struct error *err)
{
    pthread_mutex_lock(&desk->lock);
    bool admitted = admit(desk, waiter, err);
    pthread_mutex_unlock(&desk->lock);
    return admitted;
}

bool desk_take(struct desk *desk, struct waiter *waiter)
{
    pthread_mutex_lock(&desk->lock);
    bool mine = take(desk, waiter);
    if (mine)
        forget_probe(desk, waiter);
    pthread_mutex_unlock(&desk->lock);
    return mine;
}

struct waiter *desk_take_replied(struct desk *desk, const struct id *id)
{
    pthread_mutex_lock(&desk->lock);
    struct waiter *taken = take_all(desk, id);
    if (taken)
        breaker_success(&desk->breaker);
    pthread_mutex_unlock(&desk->lock);
    return taken;
}

struct waiter *desk_take_repeats(struct desk *desk, struct waiter *waiter)
{
    struct waiter *taken = NULL;

    pthread_mutex_lock(&desk->lock);
    waiter->repeat = true;
    if (!somebody_is_first(desk, &waiter->id))
        taken = take_all(desk, &waiter->id);
    for (struct waiter *one = taken; one; one = one->next)
        forget_probe(desk, one);
    pthread_mutex_unlock(&desk->lock);
    return taken;
}

struct waiter *desk_take_any(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    struct waiter *first = desk->waiting.first;
    if (first)
        (void)take(desk, first);
    pthread_mutex_unlock(&desk->lock);
    return first;
}

size_t desk_count(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    size_t count = desk->waiting.count;
    pthread_mutex_unlock(&desk->lock);
    return count;
}

bool desk_is_open(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    bool open = desk->breaker.state == BREAKER_OPEN;
    pthread_mutex_unlock(&desk->lock);
    return open;
}

int64_t desk_retry_after_ms(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    int64_t wait_ms = breaker_wait_ms(&desk->breaker, clock_steady_ms(clock_system()));
    pthread_mutex_unlock(&desk->lock);
    return wait_ms;
}

/* ---- life ---- */

static void *watch(void *context)
{
    struct desk *desk = context;

    pthread_mutex_lock(&desk->lock);
    while (!desk->stopping) {
        struct waiter *due = take_due(desk);
        if (!due) {
            (void)clock_wait(&desk->changed, &desk->lock, next_deadline_ms(desk));
            continue;
        }
        pthread_mutex_unlock(&desk->lock);
        desk->options.late(due);
        pthread_mutex_lock(&desk->lock);
    }
    pthread_mutex_unlock(&desk->lock);
    return NULL;
}

void desk_start(struct desk *desk, const struct desk_options *options)
{
    *desk = (struct desk){
        .options = *options,
        .breaker = {.limit = SILENCES_TO_OPEN, .open_ms = options->open_ms},
    };
    waiting_start(&desk->waiting, options->max);
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->changed, NULL);
    if (pthread_create(&desk->watch, NULL, watch, desk) != 0)
        abort(); /* no thread is to be had: like memory */
}

void desk_close(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    desk->stopping = true;
    pthread_cond_signal(&desk->changed);
    pthread_mutex_unlock(&desk->lock);
    pthread_join(desk->watch, NULL);
}

void desk_stop(struct desk *desk)
{
    waiting_stop(&desk->waiting);
    pthread_cond_destroy(&desk->changed);
    pthread_mutex_destroy(&desk->lock);
}
