/*
 * Open-Meteo over HTTP: cache, circuit, two calls that are tried again inside the deadline.
 *
 * When it cannot be asked, a forecast of at most STALE_MS is better than none; the result's detail
 * says so and its forecast time is the old one.
 */
#include "provider.h"

#include "cache.h"
#include "open_meteo.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/memory.h"
#include "http/http_client.h"
#include "resilience/backoff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS 3
#define ANSWER_MAX ((size_t)256 * 1024)
#define FAIR_MS 1000                    /* a call cut shorter says nothing about the provider */
#define STALE_MS (3 * INT64_C(3600000)) /* a forecast that may still stand in for a new one */
#define SKEW_MS INT64_C(60000)          /* that another machine's clock may be ahead of ours */

static const struct backoff retry_backoff = {.first_ms = 100, .most_ms = 1000};

struct meteo {
    struct providers *providers; /* borrowed */
    struct http_client *client;
};

static bool is_url(const char *text)
{
    return strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
}

static bool check(const struct provider_settings *settings, struct error *err)
{
    return (is_url(settings->url) && is_url(settings->search_url)) ||
           error_set(err, ERROR_INVALID,
                     "WEATHER_PROVIDER=open-meteo needs OPEN_METEO_URL and "
                     "OPEN_METEO_GEOCODING_URL, http:// or https://");
}

static void *open_meteo_open(struct providers *providers)
{
    struct meteo *meteo = memory_alloc(sizeof(*meteo));

    meteo->providers = providers;
    meteo->client = http_client_new("millrace");
    return meteo;
}

static void open_meteo_close(void *state)
{
    struct meteo *meteo = state;

    http_client_free(meteo->client);
    free(meteo);
}

static void open_meteo_interrupt(void *state)
{
    struct meteo *meteo = state;

    http_client_interrupt(meteo->client);
}

/* ---- calls ---- */

static int64_t left_ms(int64_t until_ms)
{
    return until_ms - clock_steady_ms(clock_system());
}

static bool fail(struct error *err, enum error_code code, const char *reason, const char *message)
{
    error_set(err, code, "the provider %s", message);
    err->reason = reason;
    return false;
}

/* No whole answer came: what that says, to the circuit and to whoever asked. */
static bool fail_call(struct meteo *meteo, const struct error *why, bool was_fair,
                      struct error *err)
{
    struct circuit *circuit = &meteo->providers->circuit;

    switch (why->code) {
    case ERROR_CLOSED:
        circuit_report(circuit, CIRCUIT_SILENT);
        return error_set(err, ERROR_CLOSED, "interrupted");
    case ERROR_TIMEOUT:
        circuit_report(circuit, was_fair ? CIRCUIT_FAILED : CIRCUIT_SILENT);
        return fail(err, ERROR_TIMEOUT, PROVIDER_TIMEOUT, "did not answer in time");
    case ERROR_TOO_LARGE:
        circuit_report(circuit, CIRCUIT_WELL);
        return fail(err, ERROR_INVALID, PROVIDER_INVALID, "answered with too much");
    default:
        circuit_report(circuit, CIRCUIT_FAILED);
        return fail(err, ERROR_UNAVAILABLE, PROVIDER_UNAVAILABLE, "cannot be reached");
    }
}

static bool judge(struct meteo *meteo, const struct http_result *result, struct error *err)
{
    struct circuit *circuit = &meteo->providers->circuit;
    bool down = result->status >= 500 || result->status == 429 || result->status == 408;
    char answer[64];

    circuit_report(circuit, down ? CIRCUIT_FAILED : CIRCUIT_WELL);
    if (result->status == 200)
        return true;
    snprintf(answer, sizeof(answer), "answered with status %d", result->status);
    return down ? fail(err, ERROR_UNAVAILABLE, PROVIDER_UNAVAILABLE, answer)
                : fail(err, ERROR_INVALID, PROVIDER_INVALID, answer);
}

/* One attempt that passed the circuit. */
static bool call(struct meteo *meteo, const char *url, int64_t until_ms, struct http_result *out,
                 struct error *err)
{
    int64_t timeout_ms = left_ms(until_ms);
    int most_ms = meteo->providers->settings->timeout_ms;
    struct http_call get = {
        .method = "GET", .url = url, .answer_max = ANSWER_MAX, .timeout_ms = (int)timeout_ms};
    struct error why;

    out->retry_after_ms = -1;
    if (timeout_ms <= 0) {
        circuit_report(&meteo->providers->circuit, CIRCUIT_SILENT);
        return fail(err, ERROR_TIMEOUT, PROVIDER_TIMEOUT, "did not answer in time");
    }
    if (!http_client_call(meteo->client, &get, out, &why))
        return fail_call(meteo, &why, timeout_ms >= (most_ms < FAIR_MS ? most_ms / 2 : FAIR_MS),
                         err);
    return judge(meteo, out, err);
}

/* Whether there is another attempt, after its pause; err stays what the last one said. */
static bool may_retry(struct meteo *meteo, unsigned attempt, int64_t retry_after_ms,
                      int64_t until_ms, struct error *err)
{
    int64_t wait_ms = backoff_ms(&retry_backoff, attempt, id_random());
    struct error interrupted;

    if (err->code != ERROR_UNAVAILABLE || attempt >= ATTEMPTS)
        return false;
    if (wait_ms < retry_after_ms)
        wait_ms = retry_after_ms;
    if (wait_ms >= left_ms(until_ms))
        return false;
    if (!providers_pause(meteo->providers, wait_ms, &interrupted)) {
        *err = interrupted;
        return false;
    }
    return circuit_passes(&meteo->providers->circuit, &interrupted);
}

static bool get(struct meteo *meteo, const char *url, int64_t until_ms, struct http_result *out,
                struct error *err)
{
    if (!circuit_passes(&meteo->providers->circuit, err))
        return false;
    for (unsigned attempt = 1; !call(meteo, url, until_ms, out, err); attempt++) {
        int64_t retry_after_ms = err->code == ERROR_UNAVAILABLE ? out->retry_after_ms : -1;

        if (!may_retry(meteo, attempt, retry_after_ms, until_ms, err))
            return false;
    }
    return true;
}

/* ---- a forecast ---- */

static bool find_place(struct meteo *meteo, const struct weather_request *request, int64_t until_ms,
                       struct open_meteo_place *out, struct error *err)
{
    AUTO(buffer_free) struct buffer url = {0};
    struct http_result result;

    open_meteo_search_url(meteo->providers->settings->search_url, request, &url);
    return get(meteo, url.data, until_ms, &result, err) &&
           open_meteo_read_place(result.body, result.size, request->location, out, err);
}

static bool find_forecast(struct meteo *meteo, const struct open_meteo_place *place,
                          int64_t until_ms, struct weather_result *out, struct arena *arena,
                          struct error *err)
{
    AUTO(buffer_free) struct buffer url = {0};
    struct http_result result;

    open_meteo_forecast_url(meteo->providers->settings->url, place, &url);
    return get(meteo, url.data, until_ms, &result, err) &&
           open_meteo_read_forecast(result.body, result.size, clock_wall_ms(clock_system()), arena,
                                    out, err);
}

static enum provider_cache look(struct meteo *meteo, const struct weather_request *request,
                                struct weather_result *out, struct arena *arena)
{
    struct providers *providers = meteo->providers;
    enum provider_cache found = CACHE_MISS;
    int64_t made_ms;
    struct error err;

    if (!providers->settings->cache_s)
        return CACHE_MISS;
    if (cache_get(providers->broker, request, arena, out, &made_ms, &err)) {
        int64_t age_ms = clock_wall_ms(clock_system()) - made_ms;
        if (age_ms >= -SKEW_MS && age_ms < (int64_t)providers->settings->cache_s * 1000)
            found = CACHE_HIT;
        else if (age_ms >= -SKEW_MS && age_ms < STALE_MS)
            found = CACHE_STALE;
    } else if (err.code != ERROR_NOT_FOUND) {
        found = CACHE_FAILED;
    }
    metrics_add(providers->cache[found], 1);
    return found;
}

static void take_forecast(const struct weather_result *from, struct weather_result *out)
{
    out->forecast_time_ms = from->forecast_time_ms;
    out->temperature = from->temperature;
    out->humidity = from->humidity;
    out->wind_speed = from->wind_speed;
    out->condition = from->condition;
}

static void keep(struct meteo *meteo, const struct weather_request *request,
                 const struct weather_result *result)
{
    if (meteo->providers->settings->cache_s)
        cache_put(meteo->providers->broker, request, result, clock_wall_ms(clock_system()));
}

static bool ask(void *state, const struct weather_request *request, int64_t until_ms,
                struct weather_result *out, struct arena *arena, struct error *err)
{
    struct meteo *meteo = state;
    struct weather_result cached = {0};
    struct open_meteo_place place;

    enum provider_cache found = look(meteo, request, &cached, arena);
    if (found == CACHE_HIT) {
        take_forecast(&cached, out);
        return true;
    }
    if (find_place(meteo, request, until_ms, &place, err) &&
        find_forecast(meteo, &place, until_ms, out, arena, err)) {
        keep(meteo, request, out);
        return true;
    }
    if (found != CACHE_STALE || err->code == ERROR_CLOSED || err->code == ERROR_NOT_FOUND)
        return false;
    take_forecast(&cached, out);
    out->detail = "the provider could not be asked: this is its last forecast";
    return true;
}

const struct provider_driver provider_open_meteo = {
    .name = "open-meteo",
    .check = check,
    .open = open_meteo_open,
    .ask = ask,
    .interrupt = open_meteo_interrupt,
    .close = open_meteo_close,
};
