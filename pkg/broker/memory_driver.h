/*
 * memory_driver: what the files of the model know of each other. See broker_memory.h.
 *
 * A world is what a name stands for: everything in it is under one lock, and everything that
 * happens in it broadcasts one condition. It is written to be read, not to be quick.
 */
#ifndef BROKER_MEMORY_DRIVER_H
#define BROKER_MEMORY_DRIVER_H

#include "broker/broker_driver.h"
#include "broker/broker_memory.h"
#include "broker/memory_stream.h"

struct memory_bucket;
struct memory_listener;

struct memory_world {
    struct memory_world *next;
    char *name;
    unsigned handles; /* guarded by the list's lock */
    bool keep;        /* the same */
    const struct clock *clock;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct memory_stream *streams; /* guarded by lock, with everything below it */
    struct memory_bucket *buckets;
    struct memory_listener *listeners;
    bool away;
    enum broker_memory_fault fault;
    unsigned fault_times;
    char *fault_stream;
};

struct memory_broker {
    struct broker base;
    struct memory_world *world;
    bool drained;     /* guarded by the world's lock */
    unsigned telling; /* the same; calls of `done` that have not returned */
};

static inline struct memory_broker *memory_broker_of(struct broker *broker)
{
    return CONTAINER_OF(broker, struct memory_broker, base);
}

static inline struct memory_world *memory_world_of(struct broker *broker)
{
    return memory_broker_of(broker)->world;
}

/* ---- with the world's lock held ---- */

/* True when it is away: UNAVAILABLE. */
bool memory_is_away(const struct memory_world *world, struct error *err) MUST_CHECK;

struct memory_stream *memory_find_stream(const struct memory_world *world, const char *name);

/* NULL when it is away or there is no such stream. */
struct memory_stream *memory_reach_stream(const struct memory_world *world, const char *name,
                                          struct error *err) MUST_CHECK;

int64_t memory_now_ms(const struct memory_world *world); /* by its clock */

/* Until something changes, and not beyond until_ms of the machine's steady clock. */
void memory_wait(struct memory_world *world, int64_t until_ms);

/* A thread that tells somebody something looks again this often, whatever it was told. */
#define MEMORY_LOOK_MS 1000

/* ---- memory_topology.c, memory_publish.c ---- */

bool memory_declare(struct broker *broker, const struct broker_declaration *declaration,
                    int timeout_ms, struct error *err);
bool memory_trim(struct broker *broker, const char *stream, int64_t keep_ms, int timeout_ms,
                 struct error *err);
bool memory_publish_async(struct broker *broker, const struct broker_message *message,
                          int timeout_ms, broker_done *done, void *context, struct error *err);
bool memory_drain(struct broker *broker, int timeout_ms, struct error *err);

/* ---- memory_consumer.c ---- */

bool memory_open_consumer(struct broker_consumer **out, struct broker *broker,
                          const struct broker_group *group, struct error *err);
void memory_close_consumer(struct broker_consumer *consumer);
bool memory_fetch(struct broker_consumer *consumer, size_t max, size_t max_bytes, int timeout_ms,
                  struct error *err);
void memory_wake(struct broker_consumer *consumer);
bool memory_settle(struct broker_consumer *consumer, const struct broker_verdict *verdicts,
                   bool confirm, int timeout_ms, struct error *err);
bool memory_extend(struct broker_consumer *consumer, struct error *err);
bool memory_drain_consumer(struct broker_consumer *consumer, int timeout_ms, struct error *err);

/* ---- memory_inspect.c ---- */

bool memory_lag(struct broker *broker, const char *stream, const char *group, int timeout_ms,
                struct broker_lag *out, struct error *err);
bool memory_peek(struct broker *broker, const char *stream, const char *from, size_t max,
                 broker_peeked *each, void *context, int timeout_ms, struct error *err);
bool memory_remove(struct broker *broker, const char *stream, const char *const *sequences,
                   size_t count, int timeout_ms, struct error *err);
bool memory_list(struct broker *broker, broker_listed *each, void *context, int timeout_ms,
                 struct error *err);
bool memory_examine(struct broker *broker, broker_found_that *each, void *context, int timeout_ms,
                    struct error *err);

/* ---- memory_announce.c: a thread for each listener ---- */

bool memory_announce(struct broker *broker, const char *topic, const void *data, size_t size,
                     struct error *err);
bool memory_listen(struct broker_listener **out, struct broker *broker, const char *pattern,
                   broker_hear *hear, void *context, struct error *err);
void memory_unlisten(struct broker_listener *listener);

/* It was away: whoever listens may have lost something. With the lock held. */
void memory_announce_gap(struct memory_world *world);

/* ---- memory_state.c: a thread for each watch ---- */

bool memory_state_get(struct broker *broker, const char *bucket, const char *key, broker_see *see,
                      void *context, int timeout_ms, struct error *err);
bool memory_state_put(struct broker *broker, const char *bucket, const struct broker_value *value,
                      uint64_t expected, int timeout_ms, uint64_t *out_revision, struct error *err);
bool memory_state_delete(struct broker *broker, const char *bucket, const char *key,
                         uint64_t expected, int timeout_ms, struct error *err);
bool memory_watch(struct broker_watch **out, struct broker *broker, const char *bucket,
                  const char *pattern, broker_see *see, void *context, struct error *err);
void memory_unwatch(struct broker_watch *watch);

void memory_buckets_free(struct memory_bucket *buckets);

#endif
