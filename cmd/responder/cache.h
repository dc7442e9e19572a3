/*
 * cache: forecasts that were made already, shared by every responder of a broker.
 *
 * A state bucket, "weather". A place (city and location) has one of CACHE_SLOTS keys,
 * "open-meteo.slot-1234", so that no flood of cities fills the broker; the value says which place
 * it is of, and a place that has the slot after another is found again when it is asked for.
 *
 * Errors  What the broker does not answer in time is not there; nobody waits for it.
 * Units   milliseconds; wall time since the epoch.
 */
#ifndef RESPONDER_CACHE_H
#define RESPONDER_CACHE_H

#include "base/arena.h"
#include "broker/broker.h"
#include "messages/weather.h"

#define CACHE_BUCKET "weather"
#define CACHE_SLOTS 4096
#define CACHE_KEY_SIZE 32

/* NOT_FOUND: no forecast for the place. Other errors: it could not be looked for. Fills in the
 * forecast and its time; made_ms is when it was put there. */
bool cache_get(struct broker *broker, const struct weather_request *request, struct arena *arena,
               struct weather_result *out, int64_t *out_made_ms, struct error *err) MUST_CHECK;

void cache_put(struct broker *broker, const struct weather_request *request,
               const struct weather_result *result, int64_t made_ms);

/* Where a place is kept. */
void cache_key(const struct weather_request *request, char out[CACHE_KEY_SIZE]);

#endif
