/*
 * nats_known: what a watch has told of, so that when it begins anew it tells only what changed.
 *
 * A key is in it from when its value is told until its deletion is. A round is one reading of the
 * bucket: what is not seen in it is not there any more.
 *
 * Ownership  keys are copied.
 * Threads    one.
 */
#ifndef BROKER_NATS_KNOWN_H
#define BROKER_NATS_KNOWN_H

#include <stdbool.h>
#include <stdint.h>

struct nats_known {
    void *tree; /* zeroed: empty */
    unsigned round;
};

enum nats_news { NATS_OLD, NATS_NEW, NATS_DELETED, NATS_NEVER_THERE };

/* strangers: the revisions are not those of the rounds before: everything counts as changed. */
void nats_known_begin(struct nats_known *known, bool strangers);

/* Whether this is to be told, and takes it as told. NEVER_THERE: the deletion of what was not. */
enum nats_news nats_known_see(struct nats_known *known, const char *key, uint64_t revision,
                              bool deleted);

/* Calls gone for each key that was not seen in this round, and forgets it. */
void nats_known_end(struct nats_known *known, void (*gone)(void *context, const char *key),
                    void *context);

void nats_known_free(struct nats_known *known);

#endif
