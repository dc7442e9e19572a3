/*
 * eye: what a watcher saw, and short words for state.
 *
 * As stage's words, they fail the case when the broker refuses, and belong to its main thread.
 */
#ifndef TESTS_CONFORMANCE_EYE_H
#define TESTS_CONFORMANCE_EYE_H

#include "conformance/stage.h"

#include "broker/announce.h"

#include <pthread.h>

/* The new revision. expected: as in announce.h. */
uint64_t put(struct broker *broker, const char *bucket, const char *key, const char *text,
             uint64_t expected);
void delete_it(struct broker *broker, const char *bucket, const char *key, uint64_t expected);

#define SEEN_MAX 4096

struct seen {
    bool all;
    char key[64], text[16]; /* text "(deleted)": it was */
    uint64_t revision;
};

struct eye {
    struct broker_watch *watch;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool blocked; /* guarded by lock, with everything below it: the callback waits */
    size_t count;
    struct seen seen[SEEN_MAX]; /* what is more is only counted */
};

#define DELETED "(deleted)"

struct eye *watch(struct broker *broker, const char *bucket, const char *pattern);
void eye_free(struct eye *eye); /* unwatches, unless eye->watch is NULL */

void set_blocked(struct eye *eye, bool blocked); /* the callback that comes next */

/* The last that was seen of a key; key NULL: the end of the snapshot; NULL: nothing. With the lock
 * held, or while nothing changes. */
const struct seen *last_seen(const struct eye *eye, const char *key);

/* Until this is the last that was seen of the key; key NULL: until the snapshot is complete. */
void wait_until_seen(struct eye *eye, const char *key, const char *text);

size_t count_seen(struct eye *eye);

/* How often something was seen of a key; key NULL: how often the end of the snapshot was. */
size_t count_of(struct eye *eye, const char *key);

/* Each key's revisions rise, and the snapshot ended once. */
void expect_in_order(struct eye *eye);

#endif
