/*
 * redis_pending: a publish from the moment it is taken until its one call of `done`, and lists of
 * them.
 *
 * It holds the message as it goes over the wire, in two pieces: the key of its id, and the
 * arguments of the publish script. A batch is the keys of all, then the arguments of all.
 *
 * Ownership  Who takes one out of its list frees it.
 */
#ifndef BROKER_REDIS_PENDING_H
#define BROKER_REDIS_PENDING_H

#include "broker/broker.h"

struct redis_pending {
    struct redis_pending *next;
    broker_done *done; /* NULL: it was called already, and this waits for its reply alone */
    void *context;
    int64_t until_ms;
    bool uncertain; /* sent once without an answer: it may be stored */
    size_t argument_count;
    size_t key_size, argument_size; /* of the pieces in bytes, which stand behind the name */
    const char *pieces;
    const void *result; /* of the reply that is being read */
    char stream[];      /* its name */
};

struct redis_pending *redis_pending_new(const struct broker_message *message);
size_t redis_pending_size(const struct redis_pending *pending); /* what it holds, in bytes */

struct redis_pendings {
    struct redis_pending *first, *last;
    size_t count;
};

void redis_pendings_add(struct redis_pendings *list, struct redis_pending *pending);
struct redis_pending *redis_pendings_take(struct redis_pendings *list); /* NULL: empty */

/* Everything in `front` comes before what is in the list, and front is empty then. */
void redis_pendings_put_back(struct redis_pendings *list, struct redis_pendings *front);

/* Moves the first of the list, and those behind it that are for the same stream, in their order:
 * until there are `most` or `most_bytes` of them. */
void redis_pendings_batch(struct redis_pendings *list, size_t most, size_t most_bytes,
                          struct redis_pendings *out);

#endif
