/*
 * A watch reads the bucket's revision, then the bucket, and then the log from that revision on. Its
 * values come out of the bucket, never out of the log: so none is older than one before it, and a
 * key that changed often comes once. When the connection was lost, or the log was cut past its
 * place, it begins anew and tells what differs from what it told.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "broker/checks.h"
#include "broker/redis_bucket.h"
#include "broker/redis_feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WATCH_MS 2000 /* for the server to let us in */
#define CALL_MS 5000
#define BLOCK_MS 4000 /* without news; then the bucket is asked whether it is still the same */
#define REST_MS 200   /* after a refusal */
#define SCAN_KEYS "32"
#define CHANGES 64 /* at a time */

/* A key that was told and has not been told as deleted. */
struct known {
    char *key;
    uint64_t revision; /* 0: of a bucket that is no more */
    unsigned round;
};

struct watch {
    struct broker_watch base;
    struct redis_broker *broker; /* borrowed */
    struct redis_feed feed;
    char bucket[REDIS_KEY_SIZE], log[REDIS_KEY_SIZE];
    char *pattern;
    broker_see *see;
    void *context;

    struct known *known; /* by key */
    size_t count, room;
    uint64_t position; /* the bucket's revision; everything up to here was told */
    unsigned round;    /* of the snapshots */
    bool complete;     /* the first was */
};

static int64_t steady_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* ---- what was told ---- */

/* Where it is, or would be. */
static size_t find_place(const struct watch *watch, const char *key)
{
    size_t low = 0, high = watch->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(watch->known[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct known *find_known(const struct watch *watch, const char *key)
{
    size_t place = find_place(watch, key);
    bool found = place < watch->count && strcmp(watch->known[place].key, key) == 0;

    return found ? &watch->known[place] : NULL;
}

static struct known *add_known(struct watch *watch, const char *key)
{
    size_t place = find_place(watch, key);

    if (watch->count == watch->room) {
        watch->room = watch->room ? watch->room * 2 : 16;
        watch->known = memory_resize(watch->known, watch->room * sizeof(*watch->known));
    }
    memmove(&watch->known[place + 1], &watch->known[place],
            (watch->count - place) * sizeof(*watch->known));
    watch->count++;
    watch->known[place] = (struct known){.key = memory_text(key)};
    return &watch->known[place];
}

static void remove_known(struct watch *watch, struct known *known)
{
    size_t place = (size_t)(known - watch->known);

    free(known->key);
    watch->count--;
    memmove(known, known + 1, (watch->count - place) * sizeof(*known));
}

/* ---- telling ---- */

static void tell_value(struct watch *watch, const struct broker_value *value)
{
    struct known *known = find_known(watch, value->key);
    bool told = known && known->revision == value->revision;

    if (!known)
        known = add_known(watch, value->key);
    known->revision = value->revision;
    known->round = watch->round;
    if (!told)
        watch->see(watch->context, BROKER_SEEN_VALUE, value);
}

static void tell_deleted(struct watch *watch, const char *key, uint64_t revision)
{
    struct broker_value value = {.key = key, .revision = revision};
    struct known *known = find_known(watch, key);

    if (known && known->revision && known->revision >= revision)
        return; /* it came back, and that was told */
    watch->see(watch->context, BROKER_SEEN_VALUE, &value);
    if (known)
        remove_known(watch, known);
}

/* ---- the snapshot ---- */

static bool call(struct watch *watch, int count, const char **arguments, redisReply **out,
                 struct error *err)
{
    return redis_link_call(watch->feed.link, count, arguments, NULL, steady_ms() + CALL_MS, out,
                           err);
}

static bool read_revision(struct watch *watch, int64_t until_ms, uint64_t *out, struct error *err)
{
    const char *arguments[] = {"HGET", watch->bucket, REDIS_BUCKET_REVISION};
    redisReply *reply;

    if (!redis_link_call(watch->feed.link, ARRAY_LEN(arguments), arguments, NULL, until_ms, &reply,
                         err))
        return false;
    *out = reply->str ? strtoull(reply->str, NULL, 10) : 0;
    redis_reply_free(reply);
    return true;
}

static void tell_members(struct watch *watch, const redisReply *members)
{
    struct broker_value value;

    for (size_t i = 0; i + 1 < members->elements; i += 2) {
        const char *key = members->element[i]->str;
        if (pattern_matches(watch->pattern, key) &&
            redis_bucket_value(key, members->element[i + 1], &value))
            tell_value(watch, &value);
    }
}

static bool scan(struct watch *watch, struct error *err)
{
    char cursor[24] = "0";
    const char *arguments[] = {"HSCAN", watch->bucket, cursor, "COUNT", SCAN_KEYS};
    redisReply *reply;

    do {
        if (redis_feed_is_stopping(&watch->feed))
            return error_set(err, ERROR_CLOSED, "it is to stop");
        if (!call(watch, ARRAY_LEN(arguments), arguments, &reply, err))
            return false;
        tell_members(watch, reply->element[1]);
        snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
        redis_reply_free(reply);
    } while (strcmp(cursor, "0") != 0);
    return true;
}

/* What has the bucket's own revision was there when that was read: its deletion is in the log. */
static void tell_missing(struct watch *watch)
{
    for (size_t i = watch->count; i-- > 0;) {
        const struct known *known = &watch->known[i];
        if (known->round != watch->round)
            tell_deleted(watch, known->key, watch->position);
    }
}

/* Revisions that go back are another bucket's: nothing that was told says anything about it. */
static void forget_revisions(struct watch *watch)
{
    for (size_t i = 0; i < watch->count; i++)
        watch->known[i].revision = 0;
}

static bool take_snapshot(struct watch *watch, struct error *err)
{
    uint64_t revision;

    if (!read_revision(watch, steady_ms() + CALL_MS, &revision, err))
        return false;
    if (revision < watch->position)
        forget_revisions(watch);
    watch->position = revision;
    watch->round++;
    if (!scan(watch, err))
        return false;
    tell_missing(watch);
    if (!watch->complete)
        watch->see(watch->context, BROKER_SEEN_ALL, &(struct broker_value){0});
    watch->complete = true;
    return true;
}

/* ---- what follows ---- */

/* A log entry: ["<revision>-0", ["key", key, "op", "put" or "delete", …]]. */
struct change {
    const char *key;
    bool deleted;
    uint64_t revision;
};

static bool read_change(const redisReply *entry, struct change *out)
{
    if (entry->elements != 2 || entry->element[1]->elements < 4)
        return false;
    const redisReply *fields = entry->element[1];
    *out = (struct change){.key = fields->element[1]->str,
                           .deleted = strcmp(fields->element[3]->str, "delete") == 0,
                           .revision = strtoull(entry->element[0]->str, NULL, 10)};
    return true;
}

static void tell_change(struct watch *watch, const struct change *change, const redisReply *stored)
{
    const struct known *known = find_known(watch, change->key);
    struct broker_value value;

    if (known && known->revision >= change->revision)
        return;
    if (redis_bucket_value(change->key, stored, &value))
        tell_value(watch, &value);
    else if (change->deleted)
        tell_deleted(watch, change->key, change->revision);
}

/* The values as they are now, of the changes that are meant. */
static bool tell_changes(struct watch *watch, const struct change *changes, size_t count,
                         struct error *err)
{
    const char *arguments[2 + CHANGES] = {"HMGET", watch->bucket};
    redisReply *values;

    if (count == 0)
        return true;
    for (size_t i = 0; i < count; i++)
        arguments[2 + i] = changes[i].key;
    if (!call(watch, (int)(2 + count), arguments, &values, err))
        return false;
    for (size_t i = 0; i < count && i < values->elements; i++)
        tell_change(watch, &changes[i], values->element[i]);
    redis_reply_free(values);
    return true;
}

/* False: the log was cut past our place, or the values cannot be had; it begins anew. */
static bool take_in(struct watch *watch, const redisReply *entries)
{
    struct change changes[CHANGES];
    size_t count = 0;
    uint64_t position = watch->position;
    struct error err;

    for (size_t i = 0; i < entries->elements && i < CHANGES; i++) {
        struct change *change = &changes[count];
        if (!read_change(entries->element[i], change) || change->revision != position + 1)
            return false;
        position++;
        count += pattern_matches(watch->pattern, change->key);
    }
    if (!tell_changes(watch, changes, count, &err))
        return false;
    watch->position = position;
    return true;
}

/* Nothing came: false when something should have. */
static bool is_same_bucket(struct watch *watch)
{
    uint64_t revision;
    struct error err;

    return read_revision(watch, steady_ms() + CALL_MS, &revision, &err) &&
           revision == watch->position;
}

/* Until it has to begin anew, or is to stop. */
static void follow(struct watch *watch)
{
    char from[REDIS_KEY_SIZE], block[16], most[16];
    const char *arguments[] = {"XREAD", "COUNT", most, "BLOCK", block, "STREAMS", watch->log, from};
    bool goes_on = true;

    snprintf(block, sizeof(block), "%d", BLOCK_MS);
    snprintf(most, sizeof(most), "%d", CHANGES);
    while (goes_on && !redis_feed_is_stopping(&watch->feed)) {
        redisReply *reply;
        struct error err;
        snprintf(from, sizeof(from), "%" PRIu64 "-0", watch->position);
        redis_link_append(watch->feed.link, ARRAY_LEN(arguments), arguments, NULL);
        if (!redis_link_wait(watch->feed.link, steady_ms() + BLOCK_MS + CALL_MS, &reply, &err))
            break;
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 1)
            goes_on = take_in(watch, reply->element[0]->element[1]);
        else
            goes_on = reply->type == REDIS_REPLY_NIL && is_same_bucket(watch);
        redis_reply_free(reply);
    }
    if (goes_on)
        redis_link_drop(watch->feed.link);
}

static void *watch_on(void *context)
{
    struct watch *watch = context;
    struct error err;

    while (!redis_feed_is_stopping(&watch->feed)) {
        if (take_snapshot(watch, &err)) {
            follow(watch);
            continue;
        }
        redis_refused(watch->broker, &err);
        if (redis_link_is_connected(watch->feed.link)) /* else the link makes pauses */
            redis_feed_rest(&watch->feed, REST_MS);
    }
    return NULL;
}

/* ---- life ---- */

static void watch_free(struct watch *watch)
{
    redis_feed_close(&watch->feed);
    for (size_t i = 0; i < watch->count; i++)
        free(watch->known[i].key);
    free(watch->known);
    free(watch->pattern);
    free(watch);
}

// NOLINTNEXTLINE(readability-function-size): the driver interface's parameters
bool redis_watch(struct broker_watch **out, struct broker *base, const char *bucket,
                 const char *pattern, broker_see *see, void *context, struct error *err)
{
    struct watch *watch = memory_alloc(sizeof(*watch));
    uint64_t revision;

    watch->broker = redis_broker_of(base);
    watch->pattern = memory_text(pattern);
    watch->see = see;
    watch->context = context;
    redis_bucket_key(watch->bucket, bucket, "");
    redis_bucket_key(watch->log, bucket, ":log");
    redis_feed_open(&watch->feed, watch->broker);
    if (!read_revision(watch, steady_ms() + WATCH_MS, &revision, err)) {
        watch_free(watch);
        return false;
    }
    redis_feed_start(&watch->feed, watch_on, watch);
    *out = &watch->base;
    return true;
}

void redis_unwatch(struct broker_watch *watch)
{
    watch_free(CONTAINER_OF(watch, struct watch, base));
}
