/*
 * emission: the events that follow from what a batch stored.
 *
 * The store says what follows (store_apply); here it becomes an event of another topic, whose id is
 * derived from the key that the store gave, so that emitting it again is a duplicate. All of a
 * batch is published before the batch is settled; while the broker is away the batch is held.
 *
 * Ownership  An emission owns the events it was handed until emission_reset.
 * Threads    one emission, one thread: its worker's.
 */
#ifndef PROCESSOR_EMISSION_H
#define PROCESSOR_EMISSION_H

#include "base/metrics.h"
#include "broker/broker.h"
#include "loop.h"

struct processor_settings;

struct emission_kind {
    const char *topic; /* of the events that follow */
    /* Adds what the store does not know. */
    void (*finish)(const struct processor_settings *settings, void *event);
    /* Counts the events that are new, under the label that this gives; NULL: not this one. */
    const struct metrics_description *counter;
    const char *(*label)(const void *event);
};

struct emission;

/* All borrowed until emission_free. */
struct emission *emission_new(const struct emission_kind *kind,
                              const struct processor_settings *settings, struct metrics *metrics);
void emission_free(struct emission *emission);
AUTO_DEFINE(struct emission *, emission_free)

/* Forgets what it was handed. */
void emission_reset(struct emission *emission);

/* A store_follow whose context is the emission. */
void emission_take(void *emission, const char *key, const char *json, size_t size);

/* Returns when all is stored; false: it was asked to stop before. */
bool emission_publish(struct emission *emission, struct broker *broker,
                      struct loop *loop) MUST_CHECK;

#endif
