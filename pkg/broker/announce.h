/*
 * announce: at most once, to whoever listens now; state: the latest value of each key.
 *
 * Announcements have no history and come in order per publisher; a listener that lost something, or
 * may have (it was too slow, the connection broke), is told by a GAP: topic "", no data. Topics lie
 * outside the subjects of every stream ("bc.…"). listen returns when it hears.
 *
 * A state bucket, made when it is first used, keeps one value per key under one revision that rises
 * with every change in the bucket. A watcher gets a snapshot (what is there, without what was
 * deleted), its end, then every later value; of several quick changes of a key it may get only the
 * last. When a watch had to begin anew (the connection broke, it was too slow), it gets what
 * changed meanwhile, deletions too, and never an older value after a newer one; SEEN_ALL comes
 * once. A watch and a listener go on by themselves when the broker is back.
 *
 * A driver that cannot do these says so: ERROR_INVALID with the reason "unsupported".
 * Threads  Callbacks come from the driver's threads: they hand over and never block. unlisten and
 *          unwatch wait for a callback that has begun, so none may call them; after they return no
 *          callback comes.
 */
#ifndef BROKER_ANNOUNCE_H
#define BROKER_ANNOUNCE_H

#include "broker/broker.h"

struct broker_listener;
struct broker_watch;

enum broker_heard { BROKER_HEARD, BROKER_GAP };

typedef void broker_hear(void *context, enum broker_heard what, const char *topic, const void *data,
                         size_t size);

bool broker_announce(struct broker *broker, const char *topic, const void *data, size_t size,
                     struct error *err) MUST_CHECK;
bool broker_listen(struct broker_listener **out, struct broker *broker, const char *pattern,
                   broker_hear *hear, void *context, struct error *err) MUST_CHECK;
void broker_unlisten(struct broker_listener *listener);
AUTO_DEFINE(struct broker_listener *, broker_unlisten)

struct broker_value {
    const char *key;
    const void *data; /* NULL: deleted */
    size_t size;
    uint64_t revision;
};

enum broker_seen { BROKER_SEEN_VALUE, BROKER_SEEN_ALL }; /* ALL: the snapshot is complete */

typedef void broker_see(void *context, enum broker_seen what, const struct broker_value *value);

/* get: the callback runs once before it returns; NOT_FOUND when there is no value. */
bool broker_state_get(struct broker *broker, const char *bucket, const char *key, broker_see *see,
                      void *context, int timeout_ms, struct error *err) MUST_CHECK;
/* expected: BROKER_ANY puts; 0 creates; else the revision it must have. CONFLICT when not. */
#define BROKER_ANY UINT64_MAX
bool broker_state_put(struct broker *broker, const char *bucket, const struct broker_value *value,
                      uint64_t expected, int timeout_ms, uint64_t *out_revision,
                      struct error *err) MUST_CHECK;
bool broker_state_delete(struct broker *broker, const char *bucket, const char *key,
                         uint64_t expected, int timeout_ms, struct error *err) MUST_CHECK;
bool broker_watch(struct broker_watch **out, struct broker *broker, const char *bucket,
                  const char *pattern, broker_see *see, void *context,
                  struct error *err) MUST_CHECK;
void broker_unwatch(struct broker_watch *watch);
AUTO_DEFINE(struct broker_watch *, broker_unwatch)

#endif
