/*
 * provider: who knows the weather: one table of drivers, one provider a terminal.
 *
 * Ownership  A provider borrows what the terminals share; close it first.
 * Errors     The reason says why there is no forecast, in the words of a WeatherResult:
 *            "city_not_found", "provider_unavailable", "provider_timeout", "provider_invalid",
 *            "circuit_open". CLOSED: it was interrupted, and the request stays to be answered.
 * Threads    A provider belongs to its terminal's thread; providers_interrupt may come from any.
 * Units      milliseconds of the steady clock.
 */
#ifndef RESPONDER_PROVIDER_H
#define RESPONDER_PROVIDER_H

#include "circuit.h"

#include "base/arena.h"
#include "broker/broker.h"
#include "messages/weather.h"

#define PROVIDER_TIMEOUT "provider_timeout"
#define PROVIDER_UNAVAILABLE "provider_unavailable"

struct provider_settings {
    const char *name;       /* of the driver */
    int delay_ms;           /* synthetic: how long it takes at least */
    const char *url;        /* open-meteo: of forecasts */
    const char *search_url; /* open-meteo: of cities */
    int timeout_ms;
    int cache_s; /* how long a forecast is as good as a new one; 0: it never is */
};

enum provider_cache { CACHE_HIT, CACHE_STALE, CACHE_MISS, CACHE_FAILED, CACHE_RESULTS };

/* What the terminals share. */
struct providers {
    const struct provider_settings *settings; /* borrowed */
    struct broker *broker;                    /* borrowed; keeps the cache */
    struct metrics_cell *cache[CACHE_RESULTS];
    struct circuit circuit;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool interrupted; /* guarded by lock */
    int asked;        /* guarded by lock: requests that are being worked on */
};

/* INVALID when the settings lack what the driver needs. */
bool providers_start(struct providers *providers, const struct provider_settings *settings,
                     struct broker *broker, struct metrics *metrics, struct error *err) MUST_CHECK;
void providers_stop(struct providers *providers);

/* Waits up to timeout_ms until nobody asks any more. */
void providers_await(struct providers *providers, int timeout_ms);

/* Every wait, now and later, ends at once with CLOSED. For calls of a provider: provider_interrupt.
 */
void providers_interrupt(struct providers *providers);

/* For drivers: waits up to wait_ms; CLOSED when interrupted. */
bool providers_pause(struct providers *providers, int64_t wait_ms, struct error *err) MUST_CHECK;

struct provider;

struct provider *provider_open(struct providers *providers);
void provider_close(struct provider *provider);
void provider_interrupt(struct provider *provider);

/* Fills in the forecast, its time, the provider and, where the forecast is not quite what was
 * asked for, the detail; the rest of *out is the caller's. Texts are the arena's or static. */
bool provider_ask(struct provider *provider, const struct weather_request *request,
                  int64_t until_ms, struct weather_result *out, struct arena *arena,
                  struct error *err) MUST_CHECK;

/* ---- a driver ---- */

struct provider_driver {
    const char *name;
    bool (*check)(const struct provider_settings *settings, struct error *err); /* NULL: any do */
    void *(*open)(struct providers *providers);
    bool (*ask)(void *state, const struct weather_request *request, int64_t until_ms,
                struct weather_result *out, struct arena *arena, struct error *err);
    void (*interrupt)(void *state); /* NULL: nothing but pauses */
    void (*close)(void *state);
};

extern const struct provider_driver provider_synthetic, provider_open_meteo;
extern const char *const provider_names[]; /* NULL ends */

#endif
