/*
 * gate: the breaker in front of the broker.
 *
 * While publishes fail one after the other it refuses at once instead of letting every client wait
 * for its time-out; now and then one passes as a probe.
 *
 * Threads  any thread; every publish that passed is reported, by the thread that has its receipt,
 * or cancelled, by the one that could not make it.
 */
#ifndef INGESTION_GATE_H
#define INGESTION_GATE_H

#include "base/clock.h"
#include "base/error.h"
#include "resilience/breaker.h"

#include <pthread.h>

struct gate {
    const struct clock *clock; /* borrowed */
    pthread_mutex_t lock;
    struct breaker breaker; /* guarded by lock */
};

void gate_start(struct gate *gate, const struct clock *clock);
void gate_stop(struct gate *gate);

/* UNAVAILABLE with the reason "circuit_open" when the broker is believed to be away. */
bool gate_passes(struct gate *gate, struct error *err) MUST_CHECK;

/* code: what became of the publish. Only an absent broker counts against it. */
void gate_report(struct gate *gate, enum error_code code);

void gate_cancel(struct gate *gate);

enum breaker_state gate_state(struct gate *gate);

#endif
