#include "waiting.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void waiting_start(struct waiting *waiting, size_t max)
{
    *waiting = (struct waiting){.bucket_count = 1, .max = max};
    while (waiting->bucket_count < max)
        waiting->bucket_count *= 2;
    waiting->buckets = memory_alloc(waiting->bucket_count * sizeof(struct waiter *));
}

void waiting_stop(struct waiting *waiting)
{
    assert(!waiting->count);
    free(waiting->buckets);
}

bool waiting_is_full(const struct waiting *waiting)
{
    return waiting->count >= waiting->max;
}

/* Ids that clients choose may share a bucket: its length is bounded by max. */
static struct waiter **bucket_of(const struct waiting *waiting, const struct id *id)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

    for (size_t i = 0; i < sizeof(id->bytes); i++)
        hash = (hash ^ id->bytes[i]) * UINT64_C(1099511628211);
    return &waiting->buckets[(hash ^ (hash >> 32)) & (waiting->bucket_count - 1)];
}

static void insert_by_deadline(struct waiting *waiting, struct waiter *waiter)
{
    struct waiter *after = waiting->last;

    while (after && after->deadline_ms > waiter->deadline_ms)
        after = after->earlier;
    waiter->earlier = after;
    waiter->later = after ? after->later : waiting->first;
    *(waiter->earlier ? &waiter->earlier->later : &waiting->first) = waiter;
    *(waiter->later ? &waiter->later->earlier : &waiting->last) = waiter;
}

void waiting_add(struct waiting *waiting, struct waiter *waiter)
{
    struct waiter **bucket = bucket_of(waiting, &waiter->id);

    assert(!waiting_is_full(waiting));
    waiter->next = *bucket;
    *bucket = waiter;
    insert_by_deadline(waiting, waiter);
    waiting->count++;
}

void waiting_remove(struct waiting *waiting, struct waiter *waiter)
{
    struct waiter **at = bucket_of(waiting, &waiter->id);

    while (*at != waiter)
        at = &(*at)->next;
    *at = waiter->next;
    *(waiter->earlier ? &waiter->earlier->later : &waiting->first) = waiter->later;
    *(waiter->later ? &waiter->later->earlier : &waiting->last) = waiter->earlier;
    waiting->count--;
}

static struct waiter *find_from(struct waiter *waiter, const struct id *id)
{
    while (waiter && memcmp(&waiter->id, id, sizeof(*id)) != 0)
        waiter = waiter->next;
    return waiter;
}

struct waiter *waiting_find(const struct waiting *waiting, const struct id *id)
{
    return find_from(*bucket_of(waiting, id), id);
}

struct waiter *waiting_find_next(const struct waiter *waiter)
{
    return find_from(waiter->next, &waiter->id);
}
