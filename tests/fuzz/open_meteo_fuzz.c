/* Any bytes as an answer of the weather provider: refused, or a forecast within its limits. */
#include "open_meteo.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_place(const char *json, size_t size, const char *location)
{
    struct open_meteo_place place;
    struct error err;

    if (!open_meteo_read_place(json, size, location, &place, &err)) {
        if (!err.reason ||
            (strcmp(err.reason, CITY_NOT_FOUND) != 0 && strcmp(err.reason, PROVIDER_INVALID) != 0))
            abort();
        return;
    }
    AUTO(buffer_free) struct buffer url = {0};
    open_meteo_forecast_url("http://h", &place, &url);
    if (!(fabs(place.latitude) <= 90 && fabs(place.longitude) <= 180) || url.size > 256)
        abort();
}

static void read_forecast(const char *json, size_t size)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    struct weather_result result = {0};
    struct error err;

    if (!open_meteo_read_forecast(json, size, 0, arena, &result, &err)) {
        if (strcmp(err.reason, PROVIDER_INVALID) != 0)
            abort();
        return;
    }
    if (!(fabs(result.temperature) <= 100) || result.humidity < 0 || result.humidity > 100 ||
        !(result.wind_speed >= 0 && result.wind_speed <= 200) || !result.condition)
        abort();
}

static void ask(const char *city, size_t size)
{
    AUTO(buffer_free) struct buffer url = {0};
    AUTO(buffer_free) struct buffer name = {0};

    buffer_text(&name, "");
    buffer_append(&name, city, size);
    struct weather_request request = {.city = name.data, .location = ""};
    open_meteo_search_url("http://h/", &request, &url);
    for (size_t i = 0; i < url.size; i++)
        if (url.data[i] <= ' ' || url.data[i] >= 0x7f)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = size ? (const char *)data : "";

    read_place(text, size, "");
    read_place(text, size, "Germany");
    read_forecast(text, size);
    ask(text, size);
    return 0;
}
