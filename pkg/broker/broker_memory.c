/* The reference model of the contract: everything under one lock, written to be read. */
#include "broker/broker_memory.h"

#include "base/memory.h"
#include "broker/broker_driver.h"
#include "broker/checks.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEM_MAX_BYTES (1024UL * 1024) /* as a real broker has it */
#define SEEN_BUCKETS 4096

struct item {
    uint64_t sequence;
    int64_t stored_ms;
    struct broker_delivery delivery; /* owns its texts; attempt is not used */
    size_t bytes;
    unsigned holders; /* the stream, and every batch it is in */
};

#define ITEM_POINTER sizeof(void *) /* lists of items are lists of pointers to them */

/* An id inside its window. */
struct seen {
    struct seen *next_in_bucket, *next;
    uint64_t sequence;
    int64_t until_ms;
    char id[];
};

struct lease {
    struct item *item; /* the stream's, or dropped from it */
    unsigned attempt;
    int64_t due_ms; /* when it may be delivered again */
    bool delayed;
    const struct memory_consumer *holder;
};

struct group {
    struct group *next;
    char *name, *filter;
    int64_t ack_wait_ms;
    int max_in_flight;
    unsigned max_attempts;
    uint64_t next_sequence; /* nothing before it is unread */
    struct lease *leases;   /* by sequence */
    size_t lease_count, lease_capacity;
};

struct stream {
    struct stream *next;
    char *name, *subjects;
    int64_t max_bytes, dedup_window_ms;
    bool telemetry;
    struct item **items; /* without gaps: items[i] has first_sequence + i */
    size_t item_count, item_capacity;
    uint64_t first_sequence;
    size_t bytes;
    struct seen *seen_first, **seen_end; /* by time */
    struct seen *seen_buckets[SEEN_BUCKETS];
    struct group *groups;
};

/* What a name stands for. */
struct world {
    struct world *next;
    char *name;
    unsigned handles; /* guarded by worlds_lock */
    bool keep;        /* guarded by worlds_lock */
    const struct clock *clock;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct stream *streams; /* guarded by lock, with everything below it */
    bool away;
    enum broker_memory_fault fault;
    unsigned fault_times;
    char *fault_stream;
};

struct memory_broker {
    struct broker base;
    struct world *world;
    bool drained;     /* guarded by the world's lock */
    unsigned telling; /* the same; calls of `done` that have not returned */
};

struct memory_consumer {
    struct broker_consumer base;
    struct world *world;
    struct stream *stream;
    struct group *group;
    struct item **items; /* behind base.batch */
    size_t capacity;
    bool woken; /* guarded by the world's lock */
};

static pthread_mutex_t worlds_lock = PTHREAD_MUTEX_INITIALIZER;
static struct world *worlds; /* guarded by worlds_lock */

static struct world *world_of(const struct broker *broker)
{
    return CONTAINER_OF(broker, struct memory_broker, base)->world;
}

static struct memory_consumer *consumer_of(struct broker_consumer *consumer)
{
    return CONTAINER_OF(consumer, struct memory_consumer, base);
}

static int64_t now_ms(const struct world *world)
{
    return clock_wall_ms(world->clock);
}

/* At most until until_ms, by the machine's steady clock; with the lock held. */
static void wait_for_change(struct world *world, int64_t until_ms)
{
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};

    (void)pthread_cond_timedwait(&world->changed, &world->lock, &until);
}

/* ---- items and streams ---- */

static void item_release(struct item *item)
{
    if (--item->holders > 0)
        return;
    for (size_t i = 0; i < item->delivery.header_count; i++) {
        free((char *)item->delivery.headers[i].name);
        free((char *)item->delivery.headers[i].value);
    }
    free((struct broker_header *)item->delivery.headers);
    free((char *)item->delivery.subject);
    free((char *)item->delivery.id);
    free((char *)item->delivery.data);
    free((char *)item->delivery.sequence);
    free(item);
}

static const struct broker_header *copy_headers(const struct broker_message *message)
{
    struct broker_header *headers =
        memory_alloc((message->header_count + 1) * sizeof(struct broker_header));

    for (size_t i = 0; i < message->header_count; i++)
        headers[i] = (struct broker_header){.name = memory_text(message->headers[i].name),
                                            .value = memory_text(message->headers[i].value)};
    return headers;
}

static size_t message_bytes(const struct broker_message *message)
{
    size_t bytes = message->size + strlen(message->subject) + strlen(message->id);

    for (size_t i = 0; i < message->header_count; i++)
        bytes += strlen(message->headers[i].name) + strlen(message->headers[i].value);
    return bytes;
}

static struct item *item_new(const struct broker_message *message, uint64_t sequence,
                             int64_t stored_ms)
{
    struct item *item = memory_alloc(sizeof(*item));
    char text[BROKER_SEQUENCE_SIZE];

    snprintf(text, sizeof(text), "%" PRIu64, sequence);
    item->sequence = sequence;
    item->stored_ms = stored_ms;
    item->bytes = message_bytes(message);
    item->holders = 1;
    item->delivery = (struct broker_delivery){
        .subject = memory_text(message->subject),
        .id = memory_text(message->id),
        .headers = copy_headers(message),
        .header_count = message->header_count,
        .data = memory_copy(message->data, message->size),
        .size = message->size,
        .stored_ms = stored_ms,
        .sequence = memory_text(text),
    };
    return item;
}

static struct stream *find_stream(const struct world *world, const char *name)
{
    struct stream *stream = world->streams;

    while (stream && strcmp(stream->name, name) != 0)
        stream = stream->next;
    return stream;
}

static struct group *find_group(const struct stream *stream, const char *name)
{
    struct group *group = stream->groups;

    while (group && strcmp(group->name, name) != 0)
        group = group->next;
    return group;
}

static uint64_t end_sequence(const struct stream *stream)
{
    return stream->first_sequence + stream->item_count;
}

static bool is_for(const struct group *group, const struct item *item)
{
    return !group->filter || pattern_matches(group->filter, item->delivery.subject);
}

static void remove_lease(struct group *group, size_t i)
{
    group->lease_count--;
    memmove(&group->leases[i], &group->leases[i + 1],
            (group->lease_count - i) * sizeof(*group->leases));
}

/* Its number in the group's leases; lease_count when it has none. */
static size_t find_lease(const struct group *group, uint64_t sequence)
{
    size_t i = 0;

    while (i < group->lease_count && group->leases[i].item->sequence != sequence)
        i++;
    return i;
}

/* Also from the work of every group: only telemetry loses what is not settled. */
static void drop_first(struct stream *stream)
{
    struct item *item = stream->items[0];

    for (struct group *group = stream->groups; group; group = group->next) {
        size_t i = find_lease(group, item->sequence);
        if (i < group->lease_count)
            remove_lease(group, i);
        if (group->next_sequence <= item->sequence)
            group->next_sequence = item->sequence + 1;
    }
    stream->item_count--;
    stream->first_sequence++;
    memmove(&stream->items[0], &stream->items[1], stream->item_count * ITEM_POINTER);
    stream->bytes -= item->bytes;
    item_release(item);
}

static void append_item(struct stream *stream, struct item *item)
{
    if (stream->item_count == stream->item_capacity) {
        stream->item_capacity = stream->item_capacity ? stream->item_capacity * 2 : 64;
        stream->items = memory_resize(stream->items, stream->item_capacity * ITEM_POINTER);
    }
    stream->items[stream->item_count++] = item;
    stream->bytes += item->bytes;
}

/* ---- ids that were seen ---- */

static struct seen **bucket_of(struct stream *stream, const char *id)
{
    uint64_t hash = 14695981039346656037U;

    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * 1099511628211U;
    return &stream->seen_buckets[hash % SEEN_BUCKETS];
}

static void forget_first_seen(struct stream *stream)
{
    struct seen *seen = stream->seen_first;
    struct seen **at = bucket_of(stream, seen->id);

    while (*at != seen)
        at = &(*at)->next_in_bucket;
    *at = seen->next_in_bucket;
    stream->seen_first = seen->next;
    if (!stream->seen_first)
        stream->seen_end = &stream->seen_first;
    free(seen);
}

static const struct seen *find_seen(struct stream *stream, const char *id, int64_t at_ms)
{
    struct seen *seen;

    while (stream->seen_first && stream->seen_first->until_ms <= at_ms)
        forget_first_seen(stream);
    for (seen = *bucket_of(stream, id); seen; seen = seen->next_in_bucket)
        if (strcmp(seen->id, id) == 0)
            return seen;
    return NULL;
}

static void remember(struct stream *stream, const char *id, uint64_t sequence, int64_t at_ms)
{
    size_t size = strlen(id) + 1;
    struct seen *seen = memory_alloc(sizeof(*seen) + size);
    struct seen **bucket = bucket_of(stream, id);

    memcpy(seen->id, id, size);
    seen->sequence = sequence;
    seen->until_ms = at_ms + stream->dedup_window_ms;
    seen->next_in_bucket = *bucket;
    *bucket = seen;
    *stream->seen_end = seen;
    stream->seen_end = &seen->next;
}

/* ---- life ---- */

static void group_free(struct group *group)
{
    free(group->name);
    free(group->filter);
    free(group->leases);
    free(group);
}

static void stream_free(struct stream *stream)
{
    while (stream->item_count)
        item_release(stream->items[--stream->item_count]);
    while (stream->seen_first)
        forget_first_seen(stream);
    while (stream->groups) {
        struct group *group = stream->groups;
        stream->groups = group->next;
        group_free(group);
    }
    free(stream->items);
    free(stream->name);
    free(stream->subjects);
    free(stream);
}

static void world_free(struct world *world)
{
    while (world->streams) {
        struct stream *stream = world->streams;
        world->streams = stream->next;
        stream_free(stream);
    }
    pthread_mutex_destroy(&world->lock);
    pthread_cond_destroy(&world->changed);
    free(world->fault_stream);
    free(world->name);
    free(world);
}

static struct world *world_new(const char *name, const struct clock *clock)
{
    struct world *world = memory_alloc(sizeof(*world));
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&world->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&world->lock, NULL);
    world->name = memory_text(name);
    world->clock = clock ? clock : clock_system();
    return world;
}

/* With worlds_lock held. */
static void forget_unused(struct world *world)
{
    struct world **at = &worlds;

    if (world->handles > 0 || world->keep)
        return;
    while (*at != world)
        at = &(*at)->next;
    *at = world->next;
    world_free(world);
}

static struct world *world_open(const char *name, const struct clock *clock)
{
    struct world *world;

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
    struct memory_broker *broker = CONTAINER_OF(base, struct memory_broker, base);

    pthread_mutex_lock(&worlds_lock);
    broker->world->handles--;
    forget_unused(broker->world);
    pthread_mutex_unlock(&worlds_lock);
    free(broker);
}

static bool away(const struct world *world, struct error *err)
{
    if (world->away)
        error_set(err, ERROR_UNAVAILABLE, "the broker is away");
    return world->away;
}

static bool memory_ping(struct broker *base, int timeout_ms, struct error *err)
{
    struct world *world = world_of(base);

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool here = !away(world, err);
    pthread_mutex_unlock(&world->lock);
    return here;
}

/* Only the answers that other threads are being told have to be waited for. */
static bool memory_drain(struct broker *base, int timeout_ms, struct error *err)
{
    struct memory_broker *broker = CONTAINER_OF(base, struct memory_broker, base);
    struct world *world = broker->world;
    int64_t until_ms = clock_steady_ms(clock_system()) + timeout_ms;

    pthread_mutex_lock(&world->lock);
    broker->drained = true;
    while (broker->telling && clock_steady_ms(clock_system()) < until_ms)
        wait_for_change(world, until_ms);
    unsigned telling = broker->telling;
    pthread_mutex_unlock(&world->lock);
    return !telling || error_set(err, ERROR_TIMEOUT, "%u publishes are not told yet", telling);
}

/* ---- topology ---- */

static void declare_stream(struct world *world, const struct broker_stream *wanted,
                           const struct broker_declaration *declaration)
{
    struct stream *stream = find_stream(world, wanted->name);
    char detail[128] = "";

    if (!stream) {
        stream = memory_alloc(sizeof(*stream));
        stream->name = memory_text(wanted->name);
        stream->subjects = memory_text(wanted->subjects);
        stream->max_bytes = wanted->max_bytes;
        stream->dedup_window_ms = wanted->dedup_window_ms;
        stream->telemetry = wanted->telemetry;
        stream->first_sequence = 1;
        stream->seen_end = &stream->seen_first;
        stream->next = world->streams;
        world->streams = stream;
        declaration->report(declaration->context, wanted->name, BROKER_CREATED, "");
        return;
    }
    snprintf(detail, sizeof(detail), "%s%s%s%s",
             strcmp(stream->subjects, wanted->subjects) != 0 ? "subjects " : "",
             stream->max_bytes != wanted->max_bytes ? "max_bytes " : "",
             stream->dedup_window_ms != wanted->dedup_window_ms ? "dedup_window_ms " : "",
             stream->telemetry != wanted->telemetry ? "telemetry " : "");
    declaration->report(declaration->context, wanted->name, *detail ? BROKER_DRIFTED : BROKER_SAME,
                        detail);
}

static struct group *add_group(struct stream *stream, const struct broker_group *wanted)
{
    struct group *group = memory_alloc(sizeof(*group));

    group->name = memory_text(wanted->name);
    group->filter = wanted->filter ? memory_text(wanted->filter) : NULL;
    group->ack_wait_ms = wanted->ack_wait_ms;
    group->max_in_flight = wanted->max_in_flight;
    group->max_attempts = wanted->max_attempts;
    group->next_sequence = stream->first_sequence;
    group->next = stream->groups;
    stream->groups = group;
    return group;
}

static bool declare_group(struct world *world, const struct broker_group *wanted,
                          const struct broker_declaration *declaration, struct error *err)
{
    struct stream *stream = find_stream(world, wanted->stream);
    const struct group *group;
    char detail[128] = "";

    if (!stream)
        return error_set(err, ERROR_NOT_FOUND, "no stream '%s'", wanted->stream);
    group = find_group(stream, wanted->name);
    if (!group) {
        add_group(stream, wanted);
        declaration->report(declaration->context, wanted->name, BROKER_CREATED, "");
        return true;
    }
    const char *want_filter = wanted->filter ? wanted->filter : "";
    const char *have_filter = group->filter ? group->filter : "";
    snprintf(detail, sizeof(detail), "%s%s%s",
             strcmp(want_filter, have_filter) != 0 ? "filter " : "",
             group->ack_wait_ms != wanted->ack_wait_ms ? "ack_wait_ms " : "",
             group->max_in_flight != wanted->max_in_flight ? "max_in_flight " : "");
    declaration->report(declaration->context, wanted->name, *detail ? BROKER_DRIFTED : BROKER_SAME,
                        detail);
    return true;
}

static bool memory_declare(struct broker *base, const struct broker_declaration *declaration,
                           int timeout_ms, struct error *err)
{
    struct world *world = world_of(base);

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool done = !away(world, err);
    for (size_t i = 0; done && i < declaration->stream_count; i++)
        declare_stream(world, &declaration->streams[i], declaration);
    for (size_t i = 0; done && i < declaration->group_count; i++)
        done = declare_group(world, &declaration->groups[i], declaration, err);
    pthread_mutex_unlock(&world->lock);
    return done;
}

/* Past what is not for the group: such a message is nothing that it could settle. */
static void skip_others(const struct stream *stream, struct group *group)
{
    while (group->next_sequence < end_sequence(stream) &&
           !is_for(group, stream->items[group->next_sequence - stream->first_sequence]))
        group->next_sequence++;
}

/* The first that some group has not settled. */
static uint64_t unsettled_sequence(struct stream *stream)
{
    uint64_t floor = end_sequence(stream);

    for (struct group *group = stream->groups; group; group = group->next) {
        skip_others(stream, group);
        uint64_t first =
            group->lease_count ? group->leases[0].item->sequence : group->next_sequence;
        if (first < floor)
            floor = first;
    }
    return floor;
}

/* A stream without groups is kept by age alone: nobody has settled what is in it. */
static void trim(struct stream *stream, int64_t before_ms)
{
    uint64_t floor = unsettled_sequence(stream);
    bool crowded = stream->groups && (int64_t)stream->bytes > stream->max_bytes / 2;

    while (stream->item_count && stream->first_sequence < floor &&
           (crowded || stream->items[0]->stored_ms <= before_ms))
        drop_first(stream);
}

static struct stream *reach_stream(const struct world *world, const char *name, struct error *err)
{
    struct stream *stream = find_stream(world, name);

    if (away(world, err))
        return NULL;
    if (!stream)
        error_set(err, ERROR_NOT_FOUND, "no stream '%s'", name);
    return stream;
}

static bool memory_trim(struct broker *base, const char *name, int64_t keep_ms, int timeout_ms,
                        struct error *err)
{
    struct world *world = world_of(base);

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    struct stream *stream = reach_stream(world, name, err);
    if (stream)
        trim(stream, now_ms(world) - keep_ms);
    pthread_mutex_unlock(&world->lock);
    return stream != NULL;
}

/* ---- publish ---- */

/* Takes one of the faults that were ordered, when it is meant for this stream. */
static bool take_fault(struct world *world, const char *stream, enum broker_memory_fault *out)
{
    if (world->fault_times == 0 ||
        (world->fault_stream && strcmp(world->fault_stream, stream) != 0))
        return false;
    world->fault_times--;
    *out = world->fault;
    return true;
}

static bool make_room(struct stream *stream, size_t bytes, struct error *err)
{
    if ((int64_t)bytes <= stream->max_bytes && stream->telemetry)
        while ((int64_t)(stream->bytes + bytes) > stream->max_bytes)
            drop_first(stream);
    return (int64_t)(stream->bytes + bytes) <= stream->max_bytes ||
           error_set(err, ERROR_FULL, "stream '%s' holds %zu of %lld bytes", stream->name,
                     stream->bytes, (long long)stream->max_bytes);
}

static void store(struct world *world, const struct broker_message *message,
                  struct broker_receipt *receipt)
{
    struct stream *stream = reach_stream(world, message->stream, &receipt->error);
    size_t bytes = message_bytes(message);
    int64_t at_ms = now_ms(world);
    const struct seen *seen;

    if (!stream)
        return;
    if (!pattern_matches(stream->subjects, message->subject)) {
        error_set(&receipt->error, ERROR_INVALID, "it is not for stream '%s'", stream->name);
        return;
    }
    if (bytes > ITEM_MAX_BYTES) {
        error_set(&receipt->error, ERROR_TOO_LARGE, "%zu bytes", bytes);
        return;
    }
    seen = find_seen(stream, message->id, at_ms);
    if (!seen && !make_room(stream, bytes, &receipt->error))
        return;
    uint64_t sequence = seen ? seen->sequence : end_sequence(stream);
    snprintf(receipt->sequence, sizeof(receipt->sequence), "%" PRIu64, sequence);
    receipt->duplicate = seen != NULL;
    if (!seen) {
        append_item(stream, item_new(message, sequence, at_ms));
        remember(stream, message->id, sequence, at_ms);
    }
}

static void store_or_fail(struct world *world, const struct broker_message *message,
                          struct broker_receipt *receipt)
{
    enum broker_memory_fault fault;

    if (!take_fault(world, message->stream, &fault)) {
        store(world, message, receipt);
        return;
    }
    if (fault == BROKER_MEMORY_STORED)
        store(world, message, receipt);
    if (fault == BROKER_MEMORY_UNAVAILABLE)
        error_set(&receipt->error, ERROR_UNAVAILABLE, "as the test asked");
    else if (fault == BROKER_MEMORY_FULL)
        error_set(&receipt->error, ERROR_FULL, "as the test asked");
    else
        error_set(&receipt->error, ERROR_UNKNOWN, "as the test asked");
}

static void count_publish(struct broker *broker, const struct broker_receipt *receipt)
{
    struct broker_counters *counters = &broker->counters;

    if (receipt->error.code != ERROR_NONE)
        atomic_fetch_add(&counters->publish_failures, 1);
    else if (receipt->duplicate)
        atomic_fetch_add(&counters->duplicates, 1);
    else
        atomic_fetch_add(&counters->published, 1);
}

static bool memory_publish_async(struct broker *base, const struct broker_message *message,
                                 int timeout_ms, broker_done *done, void *context,
                                 struct error *err)
{
    struct memory_broker *broker = CONTAINER_OF(base, struct memory_broker, base);
    struct world *world = broker->world;
    struct broker_receipt receipt = {0};

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool drained = broker->drained;
    if (!drained) {
        store_or_fail(world, message, &receipt);
        broker->telling++;
        pthread_cond_broadcast(&world->changed);
    }
    pthread_mutex_unlock(&world->lock);
    if (drained)
        return error_set(err, ERROR_CLOSED, "the broker is drained");
    count_publish(base, &receipt);
    done(context, &receipt);
    pthread_mutex_lock(&world->lock);
    broker->telling--;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
    return true;
}

/* ---- consume ---- */

static bool memory_open_consumer(struct broker_consumer **out, struct broker *base,
                                 const struct broker_group *wanted, struct error *err)
{
    struct world *world = world_of(base);
    struct memory_consumer *consumer;

    pthread_mutex_lock(&world->lock);
    struct stream *stream = reach_stream(world, wanted->stream, err);
    struct group *group = stream ? find_group(stream, wanted->name) : NULL;
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
        item_release(consumer->items[i]);
    consumer->base.batch_count = 0;
}

/* Leases stay until they end, as after a crash. */
static void memory_close_consumer(struct broker_consumer *base)
{
    struct memory_consumer *consumer = consumer_of(base);

    pthread_mutex_lock(&consumer->world->lock);
    release_batch(consumer);
    pthread_mutex_unlock(&consumer->world->lock);
    free(base->batch);
    free(consumer->items);
    free(consumer);
}

static void deliver(struct memory_consumer *consumer, struct lease *lease, int64_t at_ms)
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

static bool take_room(struct room *room, const struct item *item)
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
    struct group *group = consumer->group;

    for (size_t i = 0; i < group->lease_count; i++) {
        struct lease *lease = &group->leases[i];
        if (lease->due_ms > at_ms)
            continue;
        if (!take_room(room, lease->item))
            return;
        deliver(consumer, lease, at_ms);
    }
}

static struct lease *add_lease(struct group *group, struct item *item)
{
    if (group->lease_count == group->lease_capacity) {
        group->lease_capacity = group->lease_capacity ? group->lease_capacity * 2 : 16;
        group->leases =
            memory_resize(group->leases, group->lease_capacity * sizeof(*group->leases));
    }
    struct lease *lease = &group->leases[group->lease_count++];
    *lease = (struct lease){.item = item};
    return lease;
}

static void deliver_new(struct memory_consumer *consumer, struct room *room, int64_t at_ms)
{
    struct stream *stream = consumer->stream;
    struct group *group = consumer->group;

    for (;;) {
        skip_others(stream, group);
        if (group->next_sequence >= end_sequence(stream) ||
            group->lease_count >= (size_t)group->max_in_flight)
            return;
        struct item *item = stream->items[group->next_sequence - stream->first_sequence];
        if (!take_room(room, item))
            return;
        group->next_sequence++;
        deliver(consumer, add_lease(group, item), at_ms);
    }
}

/* Until something may have become due, and not beyond until_ms, by the machine's steady clock. */
static void wait_for_work(struct memory_consumer *consumer, int64_t until_ms)
{
    struct world *world = consumer->world;
    int64_t steady_ms = clock_steady_ms(clock_system()), at_ms = now_ms(world);
    int64_t wait_ms = until_ms - steady_ms;

    for (size_t i = 0; i < consumer->group->lease_count; i++)
        if (consumer->group->leases[i].due_ms - at_ms < wait_ms)
            wait_ms = consumer->group->leases[i].due_ms - at_ms;
    if (world->clock != clock_system() && wait_ms > BROKER_MEMORY_POLL_MS)
        wait_ms = BROKER_MEMORY_POLL_MS;
    if (wait_ms < 1)
        wait_ms = 1;
    wait_for_change(world, steady_ms + wait_ms);
}

static void try_fetch(struct memory_consumer *consumer, size_t max, size_t max_bytes)
{
    struct room room = {.messages = max, .max_bytes = max_bytes};
    int64_t at_ms = now_ms(consumer->world);

    if (consumer->world->away)
        return;
    deliver_due(consumer, &room, at_ms);
    deliver_new(consumer, &room, at_ms);
}

static bool memory_fetch(struct broker_consumer *base, size_t max, size_t max_bytes, int timeout_ms,
                         struct error *err)
{
    struct memory_consumer *consumer = consumer_of(base);
    struct world *world = consumer->world;
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
    bool here = base->batch_count || !away(world, err);
    pthread_mutex_unlock(&world->lock);
    return here;
}

/* A wake while nobody waits is for the next fetch: else it could be missed by a moment. */
static void memory_wake(struct broker_consumer *base)
{
    struct memory_consumer *consumer = consumer_of(base);

    pthread_mutex_lock(&consumer->world->lock);
    consumer->woken = true;
    pthread_cond_broadcast(&consumer->world->changed);
    pthread_mutex_unlock(&consumer->world->lock);
}

/* A late DONE wins, whoever has the message now; a late RETRY says nothing about a newer lease. */
static void settle_one(struct memory_consumer *consumer, const struct broker_delivery *delivery,
                       const struct item *item, const struct broker_verdict *verdict)
{
    struct group *group = consumer->group;
    size_t i = find_lease(group, item->sequence);

    if (i == group->lease_count)
        return;
    if (verdict->action == BROKER_DONE) {
        remove_lease(group, i);
    } else if (group->leases[i].attempt == delivery->attempt) {
        group->leases[i].due_ms = now_ms(consumer->world) + verdict->delay_ms;
        group->leases[i].delayed = true;
        group->leases[i].holder = NULL;
    }
}

static bool memory_settle(struct broker_consumer *base, const struct broker_verdict *verdicts,
                          bool confirm, int timeout_ms, struct error *err)
{
    struct memory_consumer *consumer = consumer_of(base);
    struct world *world = consumer->world;

    (void)confirm, (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool here = !away(world, err);
    for (size_t i = 0; here && i < base->batch_count; i++)
        settle_one(consumer, &base->batch[i], consumer->items[i], &verdicts[i]);
    release_batch(consumer);
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
    return here;
}

/* What has gone to another instance meanwhile is left to it. */
static bool memory_extend(struct broker_consumer *base, struct error *err)
{
    struct memory_consumer *consumer = consumer_of(base);
    struct group *group = consumer->group;
    struct world *world = consumer->world;

    pthread_mutex_lock(&world->lock);
    bool here = !away(world, err);
    for (size_t i = 0; here && i < group->lease_count; i++)
        if (group->leases[i].holder == consumer)
            group->leases[i].due_ms = now_ms(world) + group->ack_wait_ms;
    pthread_mutex_unlock(&world->lock);
    return here;
}

/* Nothing is read ahead, and every settlement was known when it returned. */
static bool memory_drain_consumer(struct broker_consumer *base, int timeout_ms, struct error *err)
{
    (void)base, (void)timeout_ms, (void)err;
    return true;
}

/* ---- inspect ---- */

static void measure(const struct stream *stream, const struct group *group, int64_t at_ms,
                    struct broker_lag *out)
{
    const struct item *oldest = group->lease_count ? group->leases[0].item : NULL;

    *out = (struct broker_lag){.in_flight = (int64_t)group->lease_count};
    for (size_t i = 0; i < group->lease_count; i++)
        out->delayed += group->leases[i].delayed;
    for (uint64_t at = group->next_sequence; at < end_sequence(stream); at++) {
        const struct item *item = stream->items[at - stream->first_sequence];
        if (!is_for(group, item))
            continue;
        out->unread++;
        if (!oldest)
            oldest = item;
    }
    if (oldest)
        out->oldest_age_ms = at_ms - oldest->stored_ms;
}

static bool memory_lag(struct broker *base, const char *stream_name, const char *group_name,
                       int timeout_ms, struct broker_lag *out, struct error *err)
{
    struct world *world = world_of(base);

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    struct stream *stream = reach_stream(world, stream_name, err);
    struct group *group = stream ? find_group(stream, group_name) : NULL;
    if (group)
        measure(stream, group, now_ms(world), out);
    else if (stream)
        error_set(err, ERROR_NOT_FOUND, "no consumer '%s'", group_name);
    pthread_mutex_unlock(&world->lock);
    return group != NULL;
}

/* The items from `from` on, held for the caller, so that no callback runs under the lock. */
static size_t hold_items(const struct stream *stream, uint64_t from, size_t max, struct item ***out)
{
    size_t skipped = from > stream->first_sequence ? from - stream->first_sequence : 0;
    size_t count = skipped < stream->item_count ? stream->item_count - skipped : 0;

    if (count > max)
        count = max;
    *out = memory_alloc((count + 1) * ITEM_POINTER);
    for (size_t i = 0; i < count; i++) {
        (*out)[i] = stream->items[skipped + i];
        (*out)[i]->holders++;
    }
    return count;
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
static bool memory_peek(struct broker *base, const char *name, const char *from, size_t max,
                        broker_peeked *each, void *context, int timeout_ms, struct error *err)
{
    struct world *world = world_of(base);
    uint64_t start = strtoull(from, NULL, 10);
    struct item **items = NULL;
    size_t count = 0;

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    struct stream *stream = reach_stream(world, name, err);
    if (stream)
        count = hold_items(stream, start, max, &items);
    pthread_mutex_unlock(&world->lock);

    for (size_t i = 0; i < count; i++)
        each(context, &items[i]->delivery);
    pthread_mutex_lock(&world->lock);
    for (size_t i = 0; i < count; i++)
        item_release(items[i]);
    pthread_mutex_unlock(&world->lock);
    free(items);
    return stream != NULL;
}

/* ---- what tests do to it ---- */

void broker_memory_fail(struct broker *broker, const char *stream, enum broker_memory_fault fault,
                        unsigned times)
{
    struct world *world = world_of(broker);

    pthread_mutex_lock(&world->lock);
    free(world->fault_stream);
    world->fault_stream = stream ? memory_text(stream) : NULL;
    world->fault = fault;
    world->fault_times = times;
    pthread_mutex_unlock(&world->lock);
}

void broker_memory_away(struct broker *broker, bool is_away)
{
    struct world *world = world_of(broker);

    pthread_mutex_lock(&world->lock);
    world->away = is_away;
    atomic_store(&broker->counters.connected, !is_away);
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
    broker_observe(broker, is_away ? BROKER_DISCONNECTED : BROKER_RECONNECTED, "");
}

void broker_memory_keep(struct broker *broker, bool keep)
{
    pthread_mutex_lock(&worlds_lock);
    world_of(broker)->keep = keep;
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
};
