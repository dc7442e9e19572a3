/* The invented weather, which needs nobody and is the same at every delivery. */
#include "provider.h"

#include "base/clock.h"
#include "domain/weather.h"

static void *open_synthetic(struct providers *providers)
{
    return providers;
}

static bool take_time(struct providers *providers, int64_t until_ms, struct error *err)
{
    int64_t left_ms = until_ms - clock_steady_ms(clock_system());
    int64_t delay_ms = providers->settings->delay_ms;

    if (delay_ms <= left_ms)
        return !delay_ms || providers_pause(providers, delay_ms, err);
    if (!providers_pause(providers, left_ms, err))
        return false;
    error_set(err, ERROR_TIMEOUT, "the provider did not answer in time");
    err->reason = PROVIDER_TIMEOUT;
    return false;
}

/* The interface's parameters are more than it needs: there is nothing to allocate.
 * NOLINTNEXTLINE(readability-non-const-parameter) */
static bool ask(void *state, const struct weather_request *request, int64_t until_ms,
                struct weather_result *out, struct arena *arena, struct error *err)
{
    (void)arena;
    if (!take_time(state, until_ms, err))
        return false;
    struct weather weather = weather_invent(request->city, request->request_time_ms);
    out->forecast_time_ms = request->request_time_ms - request->request_time_ms % WEATHER_HOUR_MS;
    out->temperature = weather.temperature;
    out->humidity = weather.humidity;
    out->wind_speed = weather.wind_speed;
    out->condition = weather.condition;
    return true;
}

static void close_synthetic(void *state)
{
    (void)state;
}

const struct provider_driver provider_synthetic = {
    .name = "synthetic",
    .open = open_synthetic,
    .ask = ask,
    .close = close_synthetic,
};
