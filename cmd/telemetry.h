/*
 * telemetry: what every service tells about its broker: incidents to the log, counts to the
 * metrics.
 *
 * Threads  telemetry_observe is called by the broker's threads; the rest by the one that starts.
 */
#ifndef CMD_TELEMETRY_H
#define CMD_TELEMETRY_H

#include "base/metrics.h"
#include "broker/broker.h"

/* For broker_options.observe: one log line per incident. */
void telemetry_observe(void *context, enum broker_incident incident, const char *detail);

struct telemetry; /* the gauges and counters of one broker */

/* Adds broker_… to the registry, read anew at each rendering. Both are borrowed; free it after the
 * last rendering and before the registry. */
struct telemetry *telemetry_new(struct metrics *metrics, const struct broker *broker);
void telemetry_free(struct telemetry *telemetry);
AUTO_DEFINE(struct telemetry *, telemetry_free)

#endif
