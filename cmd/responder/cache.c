#include "cache.h"

#include "broker/announce.h"
#include "event/subject.h"

#include <stdio.h>
#include <string.h>

#define GET_MS 300
#define PUT_MS 300

struct cached {
    const char *place;
    int64_t made_ms, forecast_ms;
    double temperature, wind_speed;
    int32_t humidity;
    const char *condition;
};

static const struct json_field fields[] = {
    {.name = "place",
     .kind = JSON_TEXT,
     .required = true,
     .offset = offsetof(struct cached, place)},
    {.name = "madeTime",
     .kind = JSON_TIME,
     .required = true,
     .offset = offsetof(struct cached, made_ms)},
    {.name = "forecastTime",
     .kind = JSON_TIME,
     .required = true,
     .offset = offsetof(struct cached, forecast_ms)},
    {.name = "temperature",
     .kind = JSON_DOUBLE,
     .required = true,
     .min = -100,
     .max = 100,
     .offset = offsetof(struct cached, temperature)},
    {.name = "windSpeed",
     .kind = JSON_DOUBLE,
     .required = true,
     .min = 0,
     .max = 200,
     .offset = offsetof(struct cached, wind_speed)},
    {.name = "humidity",
     .kind = JSON_INT,
     .required = true,
     .min = 0,
     .max = 100,
     .offset = offsetof(struct cached, humidity)},
    {.name = "condition",
     .kind = JSON_TEXT,
     .required = true,
     .min = 1,
     .max = 64,
     .offset = offsetof(struct cached, condition)},
    {0},
};

static void fold(struct buffer *text)
{
    for (size_t i = 0; i < text->size; i++)
        if (text->data[i] >= 'A' && text->data[i] <= 'Z')
            text->data[i] = (char)(text->data[i] - 'A' + 'a');
}

/* ".berlin.germany": escaped, so that no two places look alike. */
static void name_place(const struct weather_request *request, struct buffer *out)
{
    AUTO(buffer_free) struct buffer city = {0};
    AUTO(buffer_free) struct buffer location = {0};

    buffer_text(&city, request->city);
    buffer_text(&location, request->location);
    fold(&city);
    fold(&location);
    subject_key(out, city.data);
    subject_key(out, location.data);
}

static void slot_of(const struct buffer *place, char out[CACHE_KEY_SIZE])
{
    struct id hash = id_derive("weather-cache", place->data, place->size);
    unsigned slot = (hash.bytes[0] * 256U + hash.bytes[1]) % CACHE_SLOTS;

    snprintf(out, CACHE_KEY_SIZE, "open-meteo.slot-%u", slot);
}

void cache_key(const struct weather_request *request, char out[CACHE_KEY_SIZE])
{
    AUTO(buffer_free) struct buffer place = {0};

    name_place(request, &place);
    slot_of(&place, out);
}

/* What the bucket had. */
struct seen {
    struct arena *arena;
    const char *data; /* NULL: nothing */
    size_t size;
};

static void see(void *context, enum broker_seen what, const struct broker_value *value)
{
    struct seen *seen = context;

    if (what != BROKER_SEEN_VALUE || !value->data)
        return;
    seen->data = arena_copy(seen->arena, value->data, value->size);
    seen->size = value->size;
}

bool cache_get(struct broker *broker, const struct weather_request *request, struct arena *arena,
               struct weather_result *out, int64_t *out_made_ms, struct error *err)
{
    AUTO(buffer_free) struct buffer place = {0};
    char key[CACHE_KEY_SIZE];
    struct seen seen = {.arena = arena};
    struct cached cached;

    name_place(request, &place);
    slot_of(&place, key);
    if (!broker_state_get(broker, CACHE_BUCKET, key, see, &seen, GET_MS, err))
        return false;
    if (!seen.data || !json_decode(fields, seen.data, seen.size, &cached, arena, err) ||
        strcmp(cached.place, place.data) != 0)
        return error_set(err, ERROR_NOT_FOUND, "no forecast for the place");
    out->forecast_time_ms = cached.forecast_ms;
    out->temperature = cached.temperature;
    out->humidity = cached.humidity;
    out->wind_speed = cached.wind_speed;
    out->condition = cached.condition;
    *out_made_ms = cached.made_ms;
    return true;
}

void cache_put(struct broker *broker, const struct weather_request *request,
               const struct weather_result *result, int64_t made_ms)
{
    AUTO(buffer_free) struct buffer place = {0};
    AUTO(buffer_free) struct buffer json = {0};
    char key[CACHE_KEY_SIZE];
    struct error ignored; /* it is asked for again */
    uint64_t revision;

    name_place(request, &place);
    slot_of(&place, key);
    struct cached cached = {
        .place = place.data,
        .made_ms = made_ms,
        .forecast_ms = result->forecast_time_ms,
        .temperature = result->temperature,
        .wind_speed = result->wind_speed,
        .humidity = result->humidity,
        .condition = result->condition,
    };
    json_encode(fields, &cached, &json);
    struct broker_value value = {.key = key, .data = json.data, .size = json.size};
    (void)!broker_state_put(broker, CACHE_BUCKET, &value, BROKER_ANY, PUT_MS, &revision, &ignored);
}
