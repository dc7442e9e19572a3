#include "broker/memory_driver.h"

#include "base/memory.h"

#include <stdlib.h>

#define ITEM_POINTER sizeof(void *) /* lists of items are lists of pointers to them */

struct memory_consumer {
    struct broker_consumer base;
    struct memory_world *world;
    struct memory_stream *stream;
    struct memory_group *group;
    struct memory_item **items; /* behind base.batch */
    size_t capacity;
    bool woken; /* guarded by the world's lock */
};

static struct memory_consumer *consumer_of(struct broker_consumer *consumer)
{
    return CONTAINER_OF(consumer, struct memory_consumer, base);
}

bool memory_open_consumer(struct broker_consumer **out, struct broker *base,
                          const struct broker_group *wanted, struct error *err)
{
    struct memory_world *world = memory_world_of(base);
    struct memory_consumer *consumer;

    pthread_mutex_lock(&world->lock);
    struct memory_stream *stream = memory_reach_stream(world, wanted->stream, err);
    struct memory_group *group = stream ? memory_stream_group(stream, wanted->name) : NULL;
    pthread_mutex_unlock(&world->lock);
    if (!stream)
        return false;
    if (!group)
        return error_set(err, ERROR_NOT_FOUND, "no consumer '%s'", wanted->name);
    consumer = memory_alloc(sizeof(*consumer));
    consumer->world = world;
    consumer->stream = stream;
    consumer->group = group;
    *out = &consumer->base;
    return true;
}

/* With the world's lock held. */
static void release_batch(struct memory_consumer *consumer)
{
    for (size_t i = 0; i < consumer->base.batch_count; i++)
        memory_item_release(consumer->items[i]);
    consumer->base.batch_count = 0;
}

/* Leases stay until they end, as after a crash. */
void memory_close_consumer(struct broker_consumer *base)
{
    struct memory_consumer *consumer = consumer_of(base);

    pthread_mutex_lock(&consumer->world->lock);
    release_batch(consumer);
    pthread_mutex_unlock(&consumer->world->lock);
    free(base->batch);
    free(consumer->items);
    free(consumer);
}

static void deliver(struct memory_consumer *consumer, struct memory_lease *lease, int64_t at_ms)
{
    struct broker_consumer *base = &consumer->base;

    if (base->batch_count == consumer->capacity) {
        consumer->capacity = consumer->capacity ? consumer->capacity * 2 : 16;
        base->batch = memory_resize(base->batch, consumer->capacity * sizeof(*base->batch));
        consumer->items = memory_resize(consumer->items, consumer->capacity * ITEM_POINTER);
    }
    lease->attempt++;
    lease->due_ms = at_ms + consumer->group->ack_wait_ms;
    lease->delayed = false;
    lease->holder = consumer;
    lease->item->holders++;
    consumer->items[base->batch_count] = lease->item;
    base->batch[base->batch_count] = lease->item->delivery;
    base->batch[base->batch_count++].attempt = lease->attempt;
}

/* What a batch still takes. */
struct room {
    size_t messages, bytes, max_bytes;
};

static bool take_room(struct room *room, const struct memory_item *item)
{
    size_t size = item->delivery.size;

    if (room->messages == 0 || (room->bytes > 0 && room->bytes + size > room->max_bytes))
        return false;
    room->messages--;
    room->bytes += size ? size : 1;
    return true;
}

static void deliver_due(struct memory_consumer *consumer, struct room *room, int64_t at_ms)
{
    struct memory_group *group = consumer->group;

    for (size_t i = 0; i < group->lease_count; i++) {
        struct memory_lease *lease = &group->leases[i];
        if (lease->due_ms > at_ms)
            continue;
        if (!take_room(room, lease->item))
            return;
        deliver(consumer, lease, at_ms);
    }
}

static void deliver_new(struct memory_consumer *consumer, struct room *room, int64_t at_ms)
{
    struct memory_stream *stream = consumer->stream;
    struct memory_group *group = consumer->group;

    for (;;) {
        size_t place = memory_group_unread(stream, group);
        if (place == stream->item_count || group->lease_count >= (size_t)group->max_in_flight)
            return;
        struct memory_item *item = stream->items[place];
        if (!take_room(room, item))
            return;
        group->next_sequence = item->sequence + 1;
        deliver(consumer, memory_group_lease(group, item), at_ms);
    }
}

/* Until something may have become due, and not beyond until_ms, by the machine's steady clock. */
static void wait_for_work(struct memory_consumer *consumer, int64_t until_ms)
{
    struct memory_world *world = consumer->world;
    int64_t steady_ms = clock_steady_ms(clock_system()), at_ms = memory_now_ms(world);
    int64_t wait_ms = until_ms - steady_ms;

    for (size_t i = 0; i < consumer->group->lease_count; i++)
        if (consumer->group->leases[i].due_ms - at_ms < wait_ms)
            wait_ms = consumer->group->leases[i].due_ms - at_ms;
    if (world->clock != clock_system() && wait_ms > BROKER_MEMORY_POLL_MS)
        wait_ms = BROKER_MEMORY_POLL_MS;
    if (wait_ms < 1)
        wait_ms = 1;
    memory_wait(world, steady_ms + wait_ms);
}

static void try_fetch(struct memory_consumer *consumer, size_t max, size_t max_bytes)
{
    struct room room = {.messages = max, .max_bytes = max_bytes};
    int64_t at_ms = memory_now_ms(consumer->world);

    if (consumer->world->away)
        return;
    deliver_due(consumer, &room, at_ms);
    deliver_new(consumer, &room, at_ms);
}

bool memory_fetch(struct broker_consumer *base, size_t max, size_t max_bytes, int timeout_ms,
                  struct error *err)
{
    struct memory_consumer *consumer = consumer_of(base);
    struct memory_world *world = consumer->world;
    int64_t until_ms = clock_steady_ms(clock_system()) + timeout_ms;

    pthread_mutex_lock(&world->lock);
    release_batch(consumer);
    for (;;) {
        try_fetch(consumer, max, max_bytes);
        if (base->batch_count || consumer->woken || clock_steady_ms(clock_system()) >= until_ms)
            break;
        wait_for_work(consumer, until_ms);
    }
    consumer->woken = false;
    bool here = base->batch_count || !memory_is_away(world, err);
    pthread_mutex_unlock(&world->lock);
    return here;
}

/* A wake while nobody waits is for the next fetch: else it could be missed by a moment. */
void memory_wake(struct broker_consumer *base)
{
    struct memory_consumer *consumer = consumer_of(base);

    pthread_mutex_lock(&consumer->world->lock);
    consumer->woken = true;
    pthread_cond_broadcast(&consumer->world->changed);
    pthread_mutex_unlock(&consumer->world->lock);
}

/* A late DONE wins, whoever has the message now; a late RETRY says nothing about a newer lease. */
static void settle_one(struct memory_consumer *consumer, const struct broker_delivery *delivery,
                       const struct memory_item *item, const struct broker_verdict *verdict)
{
    struct memory_group *group = consumer->group;
    size_t i = memory_group_find(group, item->sequence);

    if (i == group->lease_count)
        return;
    if (verdict->action == BROKER_DONE) {
        memory_group_settle(group, i);
    } else if (group->leases[i].attempt == delivery->attempt) {
        group->leases[i].due_ms = memory_now_ms(consumer->world) + verdict->delay_ms;
        group->leases[i].delayed = true;
        group->leases[i].holder = NULL;
    }
}

bool memory_settle(struct broker_consumer *base, const struct broker_verdict *verdicts,
                   bool confirm, int timeout_ms, struct error *err)
{
    struct memory_consumer *consumer = consumer_of(base);
    struct memory_world *world = consumer->world;

    (void)confirm, (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool here = !memory_is_away(world, err);
    for (size_t i = 0; here && i < base->batch_count; i++)
        settle_one(consumer, &base->batch[i], consumer->items[i], &verdicts[i]);
    release_batch(consumer);
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
    return here;
}

/* What has gone to another instance meanwhile is left to it. */
bool memory_extend(struct broker_consumer *base, struct error *err)
{
    struct memory_consumer *consumer = consumer_of(base);
    struct memory_group *group = consumer->group;
    struct memory_world *world = consumer->world;

    pthread_mutex_lock(&world->lock);
    bool here = !memory_is_away(world, err);
    for (size_t i = 0; here && i < group->lease_count; i++)
        if (group->leases[i].holder == consumer)
            group->leases[i].due_ms = memory_now_ms(world) + group->ack_wait_ms;
    pthread_mutex_unlock(&world->lock);
    return here;
}

/* Nothing is read ahead, and every settlement was known when it returned. */
bool memory_drain_consumer(struct broker_consumer *base, int timeout_ms, struct error *err)
{
    (void)base, (void)timeout_ms, (void)err;
    return true;
}
