#include "crew.h"

#include "base/clock.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MS 1000
#define QUEUE_SPARE 16 /* besides the two bodies that a queue can hold */

/* A few orders; it may take one for another, which then waits for the next request. */
struct orders {
    uint64_t bits[128];
};

struct member {
    pthread_t thread;
    struct delivery *delivery;
    struct traffic_event *batch; /* of the thread */
    size_t capacity;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct traffic_event *queue; /* guarded by lock, with what follows */
    size_t count;
    bool finishing, discarding, halted, done;
};

struct crew {
    struct member *members;
    size_t count;
};

/* ---- the worker ---- */

static bool pause_member(void *context, int64_t for_ms)
{
    struct member *member = context;
    int64_t until_ms = clock_steady_ms(clock_system()) + for_ms;

    pthread_mutex_lock(&member->lock);
    while (!member->halted && clock_wait(&member->changed, &member->lock, until_ms))
        continue;
    bool goes_on = !member->halted;
    pthread_mutex_unlock(&member->lock);
    return goes_on;
}

/* Whether the order was new to them. */
static bool add_order(struct orders *orders, uint64_t order)
{
    uint64_t *word = &orders->bits[order / 64 % ARRAY_LEN(orders->bits)];
    uint64_t bit = UINT64_C(1) << order % 64;
    bool is_new = !(*word & bit);

    *word |= bit;
    return is_new;
}

/* Takes events of the kind of the first, as many as one request may have, none past another one of
 * its order. With the lock held. */
static size_t take_batch(struct member *member)
{
    struct orders orders = {0};
    enum traffic_kind kind = member->queue[0].kind;
    size_t room = delivery_room(member->delivery, kind), taken = 0, kept = 0;

    for (size_t i = 0; i < member->count; i++) {
        const struct traffic_event *event = &member->queue[i];
        if (add_order(&orders, event->order) && event->kind == kind && taken < room)
            member->batch[taken++] = *event;
        else
            member->queue[kept++] = *event;
    }
    member->count = kept;
    pthread_cond_broadcast(&member->changed);
    return taken;
}

/* 0: there is nothing more to do. */
static size_t next_batch(struct member *member)
{
    size_t taken = 0;

    pthread_mutex_lock(&member->lock);
    while (member->count == 0 && !member->finishing)
        (void)clock_wait(&member->changed, &member->lock,
                         clock_steady_ms(clock_system()) + IDLE_MS);
    if (member->count > 0 && !member->halted && !member->discarding)
        taken = take_batch(member);
    pthread_mutex_unlock(&member->lock);
    return taken;
}

static void *work(void *context)
{
    struct member *member = context;
    size_t count;

    while ((count = next_batch(member)) > 0)
        delivery_run(member->delivery, member->batch, count);
    pthread_mutex_lock(&member->lock);
    member->done = true;
    pthread_cond_broadcast(&member->changed);
    pthread_mutex_unlock(&member->lock);
    return NULL;
}

/* ---- the crew ---- */

static void prepare(struct member *member, const struct delivery_options *options)
{
    struct delivery_options own = *options;

    own.pause = pause_member;
    own.context = member;
    member->delivery = delivery_new(&own);
    member->capacity = 2 * (size_t)options->bulk + QUEUE_SPARE;
    member->queue = memory_alloc(member->capacity * sizeof(*member->queue));
    member->batch = memory_alloc((size_t)options->bulk * sizeof(*member->batch));
    pthread_mutex_init(&member->lock, NULL);
    pthread_cond_init(&member->changed, NULL);
}

static void release(struct member *member)
{
    delivery_free(member->delivery);
    free(member->queue);
    free(member->batch);
    pthread_cond_destroy(&member->changed);
    pthread_mutex_destroy(&member->lock);
}

bool crew_start(struct crew **out, int workers, const struct delivery_options *options,
                struct error *err)
{
    struct crew *crew = memory_alloc(sizeof(*crew));

    crew->members = memory_alloc((size_t)workers * sizeof(*crew->members));
    while (crew->count < (size_t)workers) {
        struct member *member = &crew->members[crew->count];
        prepare(member, options);
        int status = pthread_create(&member->thread, NULL, work, member);
        if (status != 0) {
            release(member);
            crew_halt(crew);
            crew_stop(crew);
            return error_set(err, ERROR_INTERNAL, "start a worker: %s", strerror(status));
        }
        crew->count++;
    }
    *out = crew;
    return true;
}

bool crew_give(struct crew *crew, const struct traffic_event *event, int timeout_ms)
{
    struct member *member = &crew->members[event->order % crew->count];
    int64_t until_ms = clock_steady_ms(clock_system()) + timeout_ms;

    pthread_mutex_lock(&member->lock);
    while (member->count == member->capacity &&
           clock_wait(&member->changed, &member->lock, until_ms))
        continue;
    bool has_room = member->count < member->capacity;
    if (has_room)
        member->queue[member->count++] = *event;
    pthread_cond_broadcast(&member->changed);
    pthread_mutex_unlock(&member->lock);
    return has_room;
}

static void tell(struct member *member, bool discard, bool halt)
{
    pthread_mutex_lock(&member->lock);
    member->finishing = true;
    member->discarding |= discard;
    member->halted |= halt;
    pthread_cond_broadcast(&member->changed);
    pthread_mutex_unlock(&member->lock);
    if (halt)
        delivery_interrupt(member->delivery);
}

void crew_finish(struct crew *crew, bool discard)
{
    for (size_t i = 0; i < crew->count; i++)
        tell(&crew->members[i], discard, false);
}

void crew_halt(struct crew *crew)
{
    for (size_t i = 0; i < crew->count; i++)
        tell(&crew->members[i], true, true);
}

bool crew_is_done(struct crew *crew, int timeout_ms)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + timeout_ms;
    bool done = true;

    for (size_t i = 0; i < crew->count && done; i++) {
        struct member *member = &crew->members[i];
        pthread_mutex_lock(&member->lock);
        while (!member->done && clock_wait(&member->changed, &member->lock, until_ms))
            continue;
        done = member->done;
        pthread_mutex_unlock(&member->lock);
    }
    return done;
}

void crew_stop(struct crew *crew)
{
    if (!crew)
        return;
    for (size_t i = 0; i < crew->count; i++) {
        pthread_join(crew->members[i].thread, NULL);
        release(&crew->members[i]);
    }
    free(crew->members);
    free(crew);
}
