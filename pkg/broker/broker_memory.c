/*
 * The reference model of the contract: everything under one lock, written to be read.
 *
 *     memory_stream.c      what a stream holds: messages, ids, groups and their leases
 *     memory_topology.c    declare and trim
 *     memory_publish.c     publish, and the faults that a test ordered
 *     memory_consumer.c    fetch and settle
 *     memory_inspect.c     lag, peek, remove, list, examine
 *     memory_announce.c    announcements
 *     memory_state.c       buckets and watches
 *
 * Here: the worlds that names stand for, and what tests do to them.
 */
#include "broker/memory_driver.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static pthread_mutex_t worlds_lock = PTHREAD_MUTEX_INITIALIZER;
static struct memory_world *worlds; /* guarded by worlds_lock */

/* ---- what the other files ask of a world ---- */

bool memory_is_away(const struct memory_world *world, struct error *err)
{
    if (world->away)
        error_set(err, ERROR_UNAVAILABLE, "the broker is away");
    return world->away;
}

struct memory_stream *memory_find_stream(const struct memory_world *world, const char *name)
{
    struct memory_stream *stream = world->streams;

    while (stream && strcmp(stream->name, name) != 0)
        stream = stream->next;
    return stream;
}

struct memory_stream *memory_reach_stream(const struct memory_world *world, const char *name,
                                          struct error *err)
{
    struct memory_stream *stream = memory_find_stream(world, name);

    if (memory_is_away(world, err))
        return NULL;
    if (!stream)
        error_set(err, ERROR_NOT_FOUND, "no stream '%s'", name);
    return stream;
}

int64_t memory_now_ms(const struct memory_world *world)
{
    return clock_wall_ms(world->clock);
}

void memory_wait(struct memory_world *world, int64_t until_ms)
{
    (void)clock_wait(&world->changed, &world->lock, until_ms); /* the caller looks again */
}

/* ---- life ---- */

static void world_free(struct memory_world *world)
{
    while (world->streams) {
        struct memory_stream *stream = world->streams;
        world->streams = stream->next;
        memory_stream_free(stream);
    }
    memory_buckets_free(world->buckets);
    pthread_mutex_destroy(&world->lock);
    pthread_cond_destroy(&world->changed);
    free(world->fault_stream);
    free(world->name);
    free(world);
}

static struct memory_world *world_new(const char *name, const struct clock *clock)
{
    struct memory_world *world = memory_alloc(sizeof(*world));

    pthread_cond_init(&world->changed, NULL);
    pthread_mutex_init(&world->lock, NULL);
    world->name = memory_text(name);
    world->clock = clock ? clock : clock_system();
    return world;
}

/* With worlds_lock held. */
static void forget_unused(struct memory_world *world)
{
    struct memory_world **at = &worlds;

    if (world->handles > 0 || world->keep)
        return;
    while (*at != world)
        at = &(*at)->next;
    *at = world->next;
    world_free(world);
}

static struct memory_world *world_open(const char *name, const struct clock *clock)
{
    struct memory_world *world;

    pthread_mutex_lock(&worlds_lock);
    for (world = worlds; world && strcmp(world->name, name) != 0;)
        world = world->next;
    if (!world) {
        world = world_new(name, clock);
        world->next = worlds;
        worlds = world;
    }
    world->handles++;
    pthread_mutex_unlock(&worlds_lock);
    return world;
}

static bool memory_open(struct broker **out, const char *url, const struct broker_options *options,
                        struct error *err)
{
    struct memory_broker *broker = memory_alloc(sizeof(*broker));

    (void)err;
    broker->base.options = *options;
    broker->world = world_open(url + strlen("memory://"), options->clock);
    atomic_store(&broker->base.counters.connected, true);
    *out = &broker->base;
    return true;
}

static void memory_close(struct broker *base)
{
    struct memory_broker *broker = memory_broker_of(base);

    pthread_mutex_lock(&worlds_lock);
    broker->world->handles--;
    forget_unused(broker->world);
    pthread_mutex_unlock(&worlds_lock);
    free(broker);
}

static bool memory_ping(struct broker *base, int timeout_ms, struct error *err)
{
    struct memory_world *world = memory_world_of(base);

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool here = !memory_is_away(world, err);
    pthread_mutex_unlock(&world->lock);
    return here;
}

/* ---- what tests do to it ---- */

void broker_memory_fail(struct broker *broker, const char *stream, enum broker_memory_fault fault,
                        unsigned times)
{
    struct memory_world *world = memory_world_of(broker);

    pthread_mutex_lock(&world->lock);
    free(world->fault_stream);
    world->fault_stream = stream ? memory_text(stream) : NULL;
    world->fault = fault;
    world->fault_times = times;
    pthread_mutex_unlock(&world->lock);
}

void broker_memory_away(struct broker *broker, bool is_away)
{
    struct memory_world *world = memory_world_of(broker);

    pthread_mutex_lock(&world->lock);
    world->away = is_away;
    atomic_store(&broker->counters.connected, !is_away);
    if (!is_away)
        memory_announce_gap(world);
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
    broker_observe(broker, is_away ? BROKER_DISCONNECTED : BROKER_RECONNECTED, "");
}

void broker_memory_keep(struct broker *broker, bool keep)
{
    pthread_mutex_lock(&worlds_lock);
    memory_world_of(broker)->keep = keep;
    pthread_mutex_unlock(&worlds_lock);
}

const struct broker_driver broker_memory = {
    .scheme = "memory",
    .open = memory_open,
    .close = memory_close,
    .ping = memory_ping,
    .drain = memory_drain,
    .declare = memory_declare,
    .trim = memory_trim,
    .publish_async = memory_publish_async,
    .open_consumer = memory_open_consumer,
    .close_consumer = memory_close_consumer,
    .fetch = memory_fetch,
    .wake = memory_wake,
    .settle = memory_settle,
    .extend = memory_extend,
    .drain_consumer = memory_drain_consumer,
    .lag = memory_lag,
    .peek = memory_peek,
    .remove = memory_remove,
    .list = memory_list,
    .examine = memory_examine,
    .announce = memory_announce,
    .listen = memory_listen,
    .unlisten = memory_unlisten,
    .state_get = memory_state_get,
    .state_put = memory_state_put,
    .state_delete = memory_state_delete,
    .watch = memory_watch,
    .unwatch = memory_unwatch,
};
