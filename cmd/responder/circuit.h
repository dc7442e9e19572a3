/*
 * circuit: the breaker in front of a provider, which all terminals share; its metrics are those of
 * breaker_metrics.h, under the name "provider".
 *
 * Threads  any; every call that passed is reported once.
 */
#ifndef RESPONDER_CIRCUIT_H
#define RESPONDER_CIRCUIT_H

#include "base/error.h"
#include "base/metrics.h"
#include "resilience/breaker.h"
#include "resilience/breaker_metrics.h"

#include <pthread.h>

#define CIRCUIT_OPEN "circuit_open"

enum circuit_report {
    CIRCUIT_WELL,
    CIRCUIT_FAILED,
    CIRCUIT_SILENT, /* it was not made after all, or says nothing about the provider */
};

struct circuit {
    struct breaker_metrics shown;
    pthread_mutex_t lock;
    struct breaker breaker; /* guarded by lock */
};

void circuit_start(struct circuit *circuit, struct metrics *metrics);
void circuit_stop(struct circuit *circuit);

/* UNAVAILABLE, "circuit_open", while the provider is believed to be down. */
bool circuit_passes(struct circuit *circuit, struct error *err) MUST_CHECK;
void circuit_report(struct circuit *circuit, enum circuit_report report);

#endif
