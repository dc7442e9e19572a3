#include "conformance/eye.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t put(struct broker *broker, const char *bucket, const char *key, const char *text,
             uint64_t expected)
{
    struct broker_value value = {.key = key, .data = text, .size = strlen(text)};
    uint64_t revision;
    struct error err;

    assert_ok(broker_state_put(broker, bucket, &value, expected, CALL_MS, &revision, &err));
    return revision;
}

void delete_it(struct broker *broker, const char *bucket, const char *key, uint64_t expected)
{
    struct error err;

    assert_ok(broker_state_delete(broker, bucket, key, expected, CALL_MS, &err));
}

static void see(void *context, enum broker_seen what, const struct broker_value *value)
{
    struct eye *eye = context;
    struct seen seen = {.all = what == BROKER_SEEN_ALL};

    if (!seen.all) {
        snprintf(seen.key, sizeof(seen.key), "%s", value->key);
        if (value->data)
            snprintf(seen.text, sizeof(seen.text), "%.*s", value->size < 15 ? (int)value->size : 15,
                     (const char *)value->data);
        else
            snprintf(seen.text, sizeof(seen.text), DELETED);
        seen.revision = value->revision;
    }
    pthread_mutex_lock(&eye->lock);
    if (eye->count < SEEN_MAX)
        eye->seen[eye->count] = seen;
    eye->count++;
    pthread_cond_broadcast(&eye->changed);
    for (int64_t until_ms = now_ms() + 3LL * WAIT_MS;
         eye->blocked && clock_wait(&eye->changed, &eye->lock, until_ms);)
        continue;
    pthread_mutex_unlock(&eye->lock);
}

static struct eye *eye_new(void)
{
    struct eye *eye = memory_alloc(sizeof(*eye));

    pthread_mutex_init(&eye->lock, NULL);
    pthread_cond_init(&eye->changed, NULL);
    return eye;
}

struct eye *watch(struct broker *broker, const char *bucket, const char *pattern)
{
    struct eye *eye = eye_new();
    struct error err;

    assert_ok(broker_watch(&eye->watch, broker, bucket, pattern, see, eye, &err));
    return eye;
}

void eye_free(struct eye *eye)
{
    broker_unwatch(eye->watch);
    pthread_cond_destroy(&eye->changed);
    pthread_mutex_destroy(&eye->lock);
    free(eye);
}

void set_blocked(struct eye *eye, bool blocked)
{
    pthread_mutex_lock(&eye->lock);
    eye->blocked = blocked;
    pthread_cond_broadcast(&eye->changed);
    pthread_mutex_unlock(&eye->lock);
}

const struct seen *last_seen(const struct eye *eye, const char *key)
{
    for (size_t i = eye->count < SEEN_MAX ? eye->count : SEEN_MAX; i-- > 0;)
        if (key ? strcmp(eye->seen[i].key, key) == 0 : eye->seen[i].all)
            return &eye->seen[i];
    return NULL;
}

static bool is_seen(const struct eye *eye, const char *key, const char *text)
{
    const struct seen *seen = last_seen(eye, key);

    return seen && (!key || strcmp(seen->text, text) == 0);
}

void wait_until_seen(struct eye *eye, const char *key, const char *text)
{
    int64_t until_ms = now_ms() + WAIT_MS;

    pthread_mutex_lock(&eye->lock);
    while (!is_seen(eye, key, text) && clock_wait(&eye->changed, &eye->lock, until_ms))
        continue;
    bool seen = is_seen(eye, key, text);
    const struct seen *last = last_seen(eye, key);
    pthread_mutex_unlock(&eye->lock);
    if (!seen)
        fail_msg("'%s' of '%s' was not seen, but '%s'", text ? text : "the end",
                 key ? key : "the snapshot", last ? last->text : "nothing");
}

size_t count_seen(struct eye *eye)
{
    pthread_mutex_lock(&eye->lock);
    size_t count = eye->count;
    pthread_mutex_unlock(&eye->lock);
    return count;
}

size_t count_of(struct eye *eye, const char *key)
{
    size_t count = 0;

    pthread_mutex_lock(&eye->lock);
    for (size_t i = 0; i < eye->count && i < SEEN_MAX; i++)
        count += key ? strcmp(eye->seen[i].key, key) == 0 : eye->seen[i].all;
    pthread_mutex_unlock(&eye->lock);
    return count;
}

/* With the lock held. What was seen of the same key before; NULL: nothing. */
static const struct seen *seen_before(const struct eye *eye, size_t i)
{
    for (size_t j = i; j-- > 0;)
        if (!eye->seen[j].all && strcmp(eye->seen[j].key, eye->seen[i].key) == 0)
            return &eye->seen[j];
    return NULL;
}

void expect_in_order(struct eye *eye)
{
    assert_int_equal(count_of(eye, NULL), 1);
    pthread_mutex_lock(&eye->lock);
    for (size_t i = 0; i < eye->count && i < SEEN_MAX; i++) {
        const struct seen *seen = &eye->seen[i];
        const struct seen *before = seen->all ? NULL : seen_before(eye, i);
        if (before && before->revision >= seen->revision)
            fail_msg("'%s' came with %llu after %llu", seen->key,
                     (unsigned long long)seen->revision, (unsigned long long)before->revision);
    }
    pthread_mutex_unlock(&eye->lock);
}
