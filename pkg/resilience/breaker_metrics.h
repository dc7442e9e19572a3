/*
 * breaker_metrics: what a breaker shows of itself, the same for every owner.
 *
 *     breaker_state{name,state}           gauge    1 for the state it is in, 0 for the others
 *     breaker_opened_total{name}          counter
 *     breaker_refused_total{name}         counter  calls that were not let through
 *     breaker_results_total{name,result}  counter  success, failure
 *
 * The owner calls breaker_metrics_show with the breaker guarded, best before each rendering
 * (metrics_on_render): it stores seven numbers and never waits.
 *
 * Ownership  the cells are the registry's, which outlives this. Several breakers: several names.
 * Threads    any; breaker_metrics_show reads the breaker.
 */
#ifndef RESILIENCE_BREAKER_METRICS_H
#define RESILIENCE_BREAKER_METRICS_H

#include "base/metrics.h"
#include "resilience/breaker.h"

struct breaker_metrics {
    struct metrics_cell *states[BREAKER_STATES];
    struct metrics_cell *opened, *refused, *succeeded, *failed;
};

/* name: what the breaker stands in front of ("broker", "store"); copied. Shows a new breaker. */
void breaker_metrics_register(struct breaker_metrics *out, struct metrics *metrics,
                              const char *name);

void breaker_metrics_show(const struct breaker_metrics *shown, const struct breaker *breaker);

#endif
