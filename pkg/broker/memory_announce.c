#include "broker/memory_driver.h"

#include "base/memory.h"
#include "broker/checks.h"

#include <stdlib.h>
#include <string.h>

struct notice {
    struct notice *next;
    enum broker_heard what;
    char *topic;
    void *data;
    size_t size;
};

struct memory_listener {
    struct broker_listener base;
    struct memory_listener *next; /* guarded by the world's lock */
    struct memory_world *world;
    char *pattern;
    broker_hear *hear;
    void *context;
    pthread_t thread;
    bool stopped; /* guarded by the world's lock, with everything below it */
    struct notice *first, *last;
    size_t count, bytes; /* gaps do not count: there are never two of them in a row */
};

static struct memory_listener *listener_of(struct broker_listener *listener)
{
    return CONTAINER_OF(listener, struct memory_listener, base);
}

static void notice_free(struct notice *notice)
{
    free(notice->topic);
    free(notice->data);
    free(notice);
}

static void append(struct memory_listener *listener, enum broker_heard what, const char *topic,
                   const void *data, size_t size)
{
    struct notice *notice = memory_alloc(sizeof(*notice));

    notice->what = what;
    notice->topic = memory_text(topic);
    notice->data = memory_copy(data, size);
    notice->size = size;
    if (listener->last)
        listener->last->next = notice;
    else
        listener->first = notice;
    listener->last = notice;
    listener->count += what == BROKER_HEARD;
    listener->bytes += size;
}

static void append_gap(struct memory_listener *listener)
{
    if (!listener->last || listener->last->what != BROKER_GAP)
        append(listener, BROKER_GAP, "", "", 0);
}

static struct notice *take_first(struct memory_listener *listener)
{
    struct notice *notice = listener->first;

    listener->first = notice->next;
    if (!listener->first)
        listener->last = NULL;
    listener->count -= notice->what == BROKER_HEARD;
    listener->bytes -= notice->size;
    return notice;
}

static bool is_behind(const struct memory_listener *listener, size_t size)
{
    return listener->count == BROKER_MEMORY_NOTICES ||
           listener->bytes + size > BROKER_MEMORY_NOTICE_BYTES;
}

bool memory_announce(struct broker *base, const char *topic, const void *data, size_t size,
                     struct error *err)
{
    struct memory_world *world = memory_world_of(base);
    struct memory_listener *listener;

    pthread_mutex_lock(&world->lock);
    bool here = !memory_is_away(world, err);
    for (listener = here ? world->listeners : NULL; listener; listener = listener->next) {
        if (!pattern_matches(listener->pattern, topic))
            continue;
        if (is_behind(listener, size))
            append_gap(listener);
        else
            append(listener, BROKER_HEARD, topic, data, size);
    }
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
    return here;
}

void memory_announce_gap(struct memory_world *world)
{
    for (struct memory_listener *listener = world->listeners; listener; listener = listener->next)
        append_gap(listener);
}

static void *tell(void *context)
{
    struct memory_listener *listener = context;
    struct memory_world *world = listener->world;

    pthread_mutex_lock(&world->lock);
    while (!listener->stopped) {
        if (!listener->first) {
            memory_wait(world, clock_steady_ms(clock_system()) + MEMORY_LOOK_MS);
            continue;
        }
        struct notice *notice = take_first(listener);
        pthread_mutex_unlock(&world->lock);
        listener->hear(listener->context, notice->what, notice->topic, notice->data, notice->size);
        notice_free(notice);
        pthread_mutex_lock(&world->lock);
    }
    pthread_mutex_unlock(&world->lock);
    return NULL;
}

static void listener_free(struct memory_listener *listener)
{
    while (listener->first)
        notice_free(take_first(listener));
    free(listener->pattern);
    free(listener);
}

/* With the lock held: nothing is announced before the listener is among the others. */
static bool start(struct memory_listener *listener, struct error *err)
{
    struct memory_world *world = listener->world;

    if (memory_is_away(world, err))
        return false;
    int failed = pthread_create(&listener->thread, NULL, tell, listener);
    if (failed)
        return error_set(err, ERROR_UNAVAILABLE, "no thread: %s", strerror(failed));
    listener->next = world->listeners;
    world->listeners = listener;
    return true;
}

bool memory_listen(struct broker_listener **out, struct broker *base, const char *pattern,
                   broker_hear *hear, void *context, struct error *err)
{
    struct memory_listener *listener = memory_alloc(sizeof(*listener));
    struct memory_world *world = memory_world_of(base);

    listener->world = world;
    listener->pattern = memory_text(pattern);
    listener->hear = hear;
    listener->context = context;
    pthread_mutex_lock(&world->lock);
    bool started = start(listener, err);
    pthread_mutex_unlock(&world->lock);
    if (!started)
        listener_free(listener);
    else
        *out = &listener->base;
    return started;
}

void memory_unlisten(struct broker_listener *base)
{
    struct memory_listener *listener = listener_of(base);
    struct memory_world *world = listener->world;
    struct memory_listener **at = &world->listeners;

    pthread_mutex_lock(&world->lock);
    while (*at != listener)
        at = &(*at)->next;
    *at = listener->next;
    listener->stopped = true;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
    pthread_join(listener->thread, NULL);
    listener_free(listener);
}
