/*
 * A bucket keeps the last value of each key, a deletion being a value without data. A watch has a
 * copy of the values that were there when it began, and after them looks for the lowest revision
 * that it has not shown: however slow it is, nothing queues up, and changes come in their order.
 */
#include "broker/memory_driver.h"

#include "base/memory.h"
#include "broker/checks.h"

#include <stdlib.h>
#include <string.h>

struct memory_bucket {
    struct memory_bucket *next;
    char *name;
    uint64_t revision;
    struct broker_value *values; /* owns their texts; one for each key there ever was */
    size_t count, capacity;
};

struct memory_watch {
    struct broker_watch base;
    struct memory_world *world;
    struct memory_bucket *bucket;
    char *pattern;
    broker_see *see;
    void *context;
    pthread_t thread;
    bool stopped;                  /* guarded by the world's lock, with everything below it */
    struct broker_value *snapshot; /* owns their texts */
    size_t count, next;            /* of the snapshot */
    uint64_t revision;             /* of what was shown last */
};

static struct memory_watch *watch_of(struct broker_watch *watch)
{
    return CONTAINER_OF(watch, struct memory_watch, base);
}

/* ---- values ---- */

static struct broker_value value_copy(const struct broker_value *value)
{
    struct broker_value copy = *value;

    copy.key = memory_text(value->key);
    copy.data = value->data ? memory_copy(value->data, value->size) : NULL;
    return copy;
}

static void value_free(struct broker_value *value)
{
    free((char *)value->key);
    free((void *)value->data);
}

/* ---- buckets ---- */

static struct memory_bucket *reach_bucket(struct memory_world *world, const char *name)
{
    struct memory_bucket *bucket = world->buckets;

    while (bucket && strcmp(bucket->name, name) != 0)
        bucket = bucket->next;
    if (bucket)
        return bucket;
    bucket = memory_alloc(sizeof(*bucket));
    bucket->name = memory_text(name);
    bucket->next = world->buckets;
    world->buckets = bucket;
    return bucket;
}

void memory_buckets_free(struct memory_bucket *bucket)
{
    while (bucket) {
        struct memory_bucket *next = bucket->next;
        while (bucket->count)
            value_free(&bucket->values[--bucket->count]);
        free(bucket->values);
        free(bucket->name);
        free(bucket);
        bucket = next;
    }
}

/* NULL when there never was one; without data when it was deleted. */
static struct broker_value *find_value(const struct memory_bucket *bucket, const char *key)
{
    for (size_t i = 0; i < bucket->count; i++)
        if (strcmp(bucket->values[i].key, key) == 0)
            return &bucket->values[i];
    return NULL;
}

static void set_value(struct memory_bucket *bucket, struct broker_value *at,
                      const struct broker_value *value)
{
    struct broker_value copy = value_copy(value);

    copy.revision = ++bucket->revision;
    if (at) {
        value_free(at);
        *at = copy;
        return;
    }
    if (bucket->count == bucket->capacity) {
        bucket->capacity = bucket->capacity ? bucket->capacity * 2 : 16;
        bucket->values = memory_resize(bucket->values, bucket->capacity * sizeof(*bucket->values));
    }
    bucket->values[bucket->count++] = copy;
}

static bool is_expected(const struct broker_value *found, uint64_t expected, struct error *err)
{
    uint64_t revision = found && found->data ? found->revision : 0;

    return expected == BROKER_ANY || expected == revision ||
           error_set(err, ERROR_CONFLICT, "its revision is %llu, not %llu",
                     (unsigned long long)revision, (unsigned long long)expected);
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
bool memory_state_get(struct broker *base, const char *name, const char *key, broker_see *see,
                      void *context, int timeout_ms, struct error *err)
{
    struct memory_world *world = memory_world_of(base);
    struct broker_value copy = {.data = NULL};

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool here = !memory_is_away(world, err);
    const struct broker_value *found = here ? find_value(reach_bucket(world, name), key) : NULL;
    if (found && found->data)
        copy = value_copy(found);
    pthread_mutex_unlock(&world->lock);
    if (!copy.data)
        return here && error_set(err, ERROR_NOT_FOUND, "it has no value");
    see(context, BROKER_SEEN_VALUE, &copy);
    value_free(&copy);
    return true;
}

/* A value without data deletes; what is not there stays so. The revision is the bucket's then. */
static bool change(struct memory_world *world, const char *name, const struct broker_value *value,
                   uint64_t expected, uint64_t *out_revision, struct error *err)
{
    struct memory_bucket *bucket = reach_bucket(world, name);
    struct broker_value *at = find_value(bucket, value->key);

    if (!is_expected(at, expected, err))
        return false;
    if (value->data || (at && at->data))
        set_value(bucket, at, value);
    *out_revision = bucket->revision;
    pthread_cond_broadcast(&world->changed);
    return true;
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
bool memory_state_put(struct broker *base, const char *name, const struct broker_value *wanted,
                      uint64_t expected, int timeout_ms, uint64_t *out_revision, struct error *err)
{
    struct memory_world *world = memory_world_of(base);
    struct broker_value value = *wanted;

    (void)timeout_ms;
    if (!value.data)
        value.data = ""; /* no bytes are a value */
    pthread_mutex_lock(&world->lock);
    bool put =
        !memory_is_away(world, err) && change(world, name, &value, expected, out_revision, err);
    pthread_mutex_unlock(&world->lock);
    return put;
}

bool memory_state_delete(struct broker *base, const char *name, const char *key, uint64_t expected,
                         int timeout_ms, struct error *err)
{
    struct memory_world *world = memory_world_of(base);
    struct broker_value value = {.key = key, .data = NULL};
    uint64_t revision;

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool done =
        !memory_is_away(world, err) && change(world, name, &value, expected, &revision, err);
    pthread_mutex_unlock(&world->lock);
    return done;
}

/* ---- watches ---- */

/* The lowest revision that was not shown; NULL when there is none. */
static const struct broker_value *next_change(const struct memory_watch *watch)
{
    const struct memory_bucket *bucket = watch->bucket;
    const struct broker_value *found = NULL;

    for (size_t i = 0; i < bucket->count; i++) {
        const struct broker_value *value = &bucket->values[i];
        if (value->revision > watch->revision && (!found || value->revision < found->revision) &&
            pattern_matches(watch->pattern, value->key))
            found = value;
    }
    return found;
}

/* With the lock held, but not while it shows the value or, when that is NULL, the end. */
static void show_one(struct memory_watch *watch, struct broker_value *value)
{
    struct memory_world *world = watch->world;

    pthread_mutex_unlock(&world->lock);
    watch->see(watch->context, value ? BROKER_SEEN_VALUE : BROKER_SEEN_ALL, value);
    if (value)
        value_free(value);
    pthread_mutex_lock(&world->lock);
}

static void show_next_change(struct memory_watch *watch)
{
    const struct broker_value *value = next_change(watch);

    if (!value) {
        memory_wait(watch->world, clock_steady_ms(clock_system()) + MEMORY_LOOK_MS);
        return;
    }
    struct broker_value copy = value_copy(value);
    watch->revision = copy.revision;
    show_one(watch, &copy);
}

static void *show(void *context)
{
    struct memory_watch *watch = context;

    pthread_mutex_lock(&watch->world->lock);
    while (!watch->stopped && watch->next < watch->count)
        show_one(watch, &watch->snapshot[watch->next++]);
    if (!watch->stopped)
        show_one(watch, NULL);
    while (!watch->stopped)
        show_next_change(watch);
    pthread_mutex_unlock(&watch->world->lock);
    return NULL;
}

static void take_snapshot(struct memory_watch *watch)
{
    const struct memory_bucket *bucket = watch->bucket;

    watch->snapshot = memory_alloc(bucket->count * sizeof(*watch->snapshot));
    for (size_t i = 0; i < bucket->count; i++)
        if (bucket->values[i].data && pattern_matches(watch->pattern, bucket->values[i].key))
            watch->snapshot[watch->count++] = value_copy(&bucket->values[i]);
    watch->revision = bucket->revision;
}

static void watch_free(struct memory_watch *watch)
{
    while (watch->next < watch->count)
        value_free(&watch->snapshot[watch->next++]);
    free(watch->snapshot);
    free(watch->pattern);
    free(watch);
}

/* With the lock held. */
static bool start(struct memory_watch *watch, const char *bucket, struct error *err)
{
    if (memory_is_away(watch->world, err))
        return false;
    watch->bucket = reach_bucket(watch->world, bucket);
    take_snapshot(watch);
    int failed = pthread_create(&watch->thread, NULL, show, watch);
    return !failed || error_set(err, ERROR_UNAVAILABLE, "no thread: %s", strerror(failed));
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
bool memory_watch(struct broker_watch **out, struct broker *base, const char *bucket,
                  const char *pattern, broker_see *see, void *context, struct error *err)
{
    struct memory_watch *watch = memory_alloc(sizeof(*watch));
    struct memory_world *world = memory_world_of(base);

    watch->world = world;
    watch->pattern = memory_text(pattern);
    watch->see = see;
    watch->context = context;
    pthread_mutex_lock(&world->lock);
    bool started = start(watch, bucket, err);
    pthread_mutex_unlock(&world->lock);
    if (!started)
        watch_free(watch);
    else
        *out = &watch->base;
    return started;
}

void memory_unwatch(struct broker_watch *base)
{
    struct memory_watch *watch = watch_of(base);
    struct memory_world *world = watch->world;

    pthread_mutex_lock(&world->lock);
    watch->stopped = true;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
    pthread_join(watch->thread, NULL);
    watch_free(watch);
}
