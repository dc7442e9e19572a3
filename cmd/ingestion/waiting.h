/*
 * waiting: who waits for a reply: found by the id of the request, and in the order of the
 * deadlines.
 *
 * A waiter is embedded in its owner's struct (CONTAINER_OF). Several may wait under one id.
 * Ownership  Waiters are borrowed from being added to being removed.
 * Threads    Not thread-safe: its owner guards it.
 */
#ifndef INGESTION_WAITING_H
#define INGESTION_WAITING_H

#include "base/id.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct waiter {
    struct id id;
    int64_t started_ms, deadline_ms;
    bool impatient;   /* its deadline is the client's own, and earlier than ours */
    atomic_bool sent; /* the broker has its request */
    /* the desk's */
    bool waits, probe, repeat;
    /* the table's */
    struct waiter *next; /* of its bucket */
    struct waiter *earlier, *later;
};

struct waiting {
    struct waiter **buckets;
    size_t bucket_count; /* a power of two */
    struct waiter *first, *last;
    size_t count, max;
};

void waiting_start(struct waiting *waiting, size_t max);
void waiting_stop(struct waiting *waiting); /* it must be empty */

bool waiting_is_full(const struct waiting *waiting);

/* There must be room. Behind those of the same deadline; as good as free where deadlines rise. */
void waiting_add(struct waiting *waiting, struct waiter *waiter);
void waiting_remove(struct waiting *waiting, struct waiter *waiter);

/* Those who wait under the id: the first, and the next after one; NULL: no more. */
struct waiter *waiting_find(const struct waiting *waiting, const struct id *id);
struct waiter *waiting_find_next(const struct waiter *waiter);

#endif
