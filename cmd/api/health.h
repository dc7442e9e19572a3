/*
 * health: whether the broker and the store answer, asked now and then by one thread and told to
 * every request without waiting. What changes is logged.
 *
 * Threads  health_refresh from one thread; it waits up to 2 s. health_check from any.
 */
#ifndef API_HEALTH_H
#define API_HEALTH_H

#include "broker/broker.h"
#include "store/store.h"

struct health;

enum health_part { HEALTH_BROKER, HEALTH_STORE, HEALTH_PARTS };

/* The broker is borrowed; the store that it asks is its own. Until the first refresh nothing is
 * known to be well. */
bool health_open(struct health **out, struct broker *broker, const char *database_url,
                 struct error *err) MUST_CHECK;
void health_close(struct health *health);
AUTO_DEFINE(struct health *, health_close)

void health_refresh(struct health *health);

/* Did it answer the last time it was asked? */
bool health_check(struct health *health, enum health_part part, struct error *err) MUST_CHECK;

#endif
