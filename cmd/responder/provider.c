#include "provider.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static const struct provider_driver *const drivers[] = {&provider_synthetic, &provider_open_meteo};

const char *const provider_names[] = {"synthetic", "open-meteo", NULL};

struct provider {
    const struct provider_driver *driver;
    struct providers *providers; /* borrowed */
    void *state;
};

static const struct provider_driver *driver_of(const struct provider_settings *settings)
{
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++)
        if (strcmp(drivers[i]->name, settings->name) == 0)
            return drivers[i];
    return NULL;
}

/* ---- what the terminals share ---- */

static void add_metrics(struct providers *providers, struct metrics *metrics)
{
    static const struct metrics_description lookups = {
        .kind = METRICS_COUNTER,
        .name = "weather_cache_lookups_total",
        .help = "Forecasts looked for in the cache, by what was found",
        .labels = {"result"}};
    static const char *const results[] = {[CACHE_HIT] = "hit",
                                          [CACHE_STALE] = "stale",
                                          [CACHE_MISS] = "miss",
                                          [CACHE_FAILED] = "failed"};

    for (size_t i = 0; i < CACHE_RESULTS; i++)
        providers->cache[i] =
            metrics_cell(metrics_family(metrics, &lookups), (const char *[]){results[i]});
}

bool providers_start(struct providers *providers, const struct provider_settings *settings,
                     struct broker *broker, struct metrics *metrics, struct error *err)
{
    const struct provider_driver *driver = driver_of(settings);

    if (!driver)
        return error_set(err, ERROR_INVALID, "WEATHER_PROVIDER: no provider '%s'", settings->name);
    if (driver->check && !driver->check(settings, err))
        return false;
    *providers = (struct providers){.settings = settings, .broker = broker};
    pthread_mutex_init(&providers->lock, NULL);
    pthread_cond_init(&providers->changed, NULL);
    circuit_start(&providers->circuit, metrics);
    add_metrics(providers, metrics);
    return true;
}

void providers_stop(struct providers *providers)
{
    circuit_stop(&providers->circuit);
    pthread_cond_destroy(&providers->changed);
    pthread_mutex_destroy(&providers->lock);
}

void providers_await(struct providers *providers, int timeout_ms)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + timeout_ms;

    pthread_mutex_lock(&providers->lock);
    while (providers->asked && clock_wait(&providers->changed, &providers->lock, until_ms))
        continue;
    pthread_mutex_unlock(&providers->lock);
}

void providers_interrupt(struct providers *providers)
{
    pthread_mutex_lock(&providers->lock);
    providers->interrupted = true;
    pthread_cond_broadcast(&providers->changed);
    pthread_mutex_unlock(&providers->lock);
}

bool providers_pause(struct providers *providers, int64_t wait_ms, struct error *err)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + wait_ms;

    pthread_mutex_lock(&providers->lock);
    while (!providers->interrupted && clock_wait(&providers->changed, &providers->lock, until_ms))
        continue;
    bool interrupted = providers->interrupted;
    pthread_mutex_unlock(&providers->lock);
    return !interrupted || error_set(err, ERROR_CLOSED, "interrupted");
}

static void count(struct providers *providers, int change)
{
    pthread_mutex_lock(&providers->lock);
    providers->asked += change;
    pthread_cond_broadcast(&providers->changed);
    pthread_mutex_unlock(&providers->lock);
}

/* ---- one of them ---- */

struct provider *provider_open(struct providers *providers)
{
    struct provider *provider = memory_alloc(sizeof(*provider));

    provider->driver = driver_of(providers->settings);
    provider->providers = providers;
    provider->state = provider->driver->open(providers);
    return provider;
}

void provider_close(struct provider *provider)
{
    if (!provider)
        return;
    provider->driver->close(provider->state);
    free(provider);
}

void provider_interrupt(struct provider *provider)
{
    if (provider->driver->interrupt)
        provider->driver->interrupt(provider->state);
}

bool provider_ask(struct provider *provider, const struct weather_request *request,
                  int64_t until_ms, struct weather_result *out, struct arena *arena,
                  struct error *err)
{
    out->provider = provider->driver->name;
    count(provider->providers, 1);
    bool answered = provider->driver->ask(provider->state, request, until_ms, out, arena, err);
    count(provider->providers, -1);
    return answered;
}
