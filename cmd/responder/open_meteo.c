#include "open_meteo.h"

#include "base/document.h"
#include "base/rfc3339.h"
#include "domain/weather.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CHOICES 10 /* cities of the same name, when there is a location to choose by */

/* ---- questions ---- */

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._~", c));
}

static void escape(const char *text, struct buffer *out)
{
    for (; *text; text++) {
        if (is_unreserved(*text))
            buffer_append(out, text, 1);
        else
            buffer_print(out, "%%%02X", (unsigned char)*text);
    }
}

static void start(const char *base, const char *path, struct buffer *out)
{
    size_t size = strlen(base);

    while (size && base[size - 1] == '/')
        size--;
    buffer_append(out, base, size);
    buffer_text(out, path);
}

void open_meteo_search_url(const char *base, const struct weather_request *request,
                           struct buffer *out)
{
    start(base, "/v1/search?name=", out);
    escape(request->city, out);
    buffer_print(out, "&count=%d", *request->location ? CHOICES : 1);
}

void open_meteo_forecast_url(const char *base, const struct open_meteo_place *place,
                             struct buffer *out)
{
    start(base, "/v1/forecast?", out);
    buffer_print(out,
                 "latitude=%.4f&longitude=%.4f&current=temperature_2m,relative_humidity_2m,"
                 "wind_speed_10m,weather_code&wind_speed_unit=ms",
                 place->latitude, place->longitude);
}

/* ---- answers ---- */

static bool refuse(struct error *err, const char *what)
{
    error_set(err, ERROR_INVALID, "the provider's answer %s", what);
    err->reason = PROVIDER_INVALID;
    return false;
}

static const char *text_of(const struct document *document, int result, const char *member)
{
    char path[64];

    snprintf(path, sizeof(path), "results.%d.%s", result, member);
    return document_text(document, path);
}

static double number_of(const struct document *document, int result, const char *member)
{
    char path[64];

    snprintf(path, sizeof(path), "results.%d.%s", result, member);
    return document_number(document, path, NAN);
}

static bool lies_in(const struct document *document, int result, const char *location)
{
    static const char *const members[] = {"country", "country_code", "admin1"};

    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        const char *name = text_of(document, result, members[i]);
        if (name && strcasecmp(name, location) == 0)
            return true;
    }
    return false;
}

static int choose(const struct document *document, int count, const char *location)
{
    for (int i = 0; *location && i < count && i < CHOICES; i++)
        if (lies_in(document, i, location))
            return i;
    return 0;
}

bool open_meteo_read_place(const char *json, size_t size, const char *location,
                           struct open_meteo_place *out, struct error *err)
{
    AUTO(document_free) struct document *document = NULL;
    struct error ignored;

    if (!document_parse(&document, json, size, &ignored))
        return refuse(err, "is no JSON");
    /* No result: the member is left out. An answer that is about something else has no such time
     * either. */
    bool searched =
        document_has(document, "results") || document_has(document, "generationtime_ms");
    int count = document_count(document, "results");
    if (!searched || (count < 0 && document_has(document, "results")))
        return refuse(err, "is no list of places");
    if (count <= 0) {
        error_set(err, ERROR_NOT_FOUND, "the provider knows no such city");
        err->reason = CITY_NOT_FOUND;
        return false;
    }

    int result = choose(document, count, location);
    out->latitude = number_of(document, result, "latitude");
    out->longitude = number_of(document, result, "longitude");
    if (!(fabs(out->latitude) <= 90 && fabs(out->longitude) <= 180)) /* NaN is no place either */
        return refuse(err, "has a place without coordinates");
    return true;
}

struct answer {
    const char *current, *units; /* objects */
};

static const struct json_field answer_fields[] = {
    {.name = "current",
     .kind = JSON_OBJECT,
     .required = true,
     .offset = offsetof(struct answer, current)},
    {.name = "current_units", .kind = JSON_OBJECT, .offset = offsetof(struct answer, units)},
    {0},
};

struct units {
    const char *wind_speed;
};

static const struct json_field units_fields[] = {
    {.name = "wind_speed_10m", .kind = JSON_TEXT, .offset = offsetof(struct units, wind_speed)},
    {0},
};

struct current {
    const char *time; /* "2026-11-21T12:45", in UTC */
    double temperature, humidity, wind_speed;
    int32_t code;
};

static const struct json_field current_fields[] = {
    {.name = "time", .kind = JSON_TEXT, .offset = offsetof(struct current, time)},
    {.name = "temperature_2m",
     .kind = JSON_DOUBLE,
     .required = true,
     .min = -100,
     .max = 100,
     .offset = offsetof(struct current, temperature)},
    {.name = "relative_humidity_2m",
     .kind = JSON_DOUBLE,
     .required = true,
     .min = 0,
     .max = 100,
     .offset = offsetof(struct current, humidity)},
    {.name = "wind_speed_10m",
     .kind = JSON_DOUBLE,
     .required = true,
     .min = 0,
     .max = 200,
     .offset = offsetof(struct current, wind_speed)},
    {.name = "weather_code",
     .kind = JSON_INT,
     .required = true,
     .min = 0,
     .max = 99,
     .offset = offsetof(struct current, code)},
    {0},
};

static bool read_time(const char *time, int64_t now_ms, int64_t *out_ms)
{
    char text[RFC3339_SIZE];

    *out_ms = now_ms;
    if (!time)
        return true;
    int size = snprintf(text, sizeof(text), "%.16s:00Z", time);
    return strlen(time) == 16 && rfc3339_parse(text, (size_t)size, out_ms);
}

/* Metres per second were asked for; an older server that does not know the parameter answers with
 * another unit. */
static bool are_metres(const char *units, struct arena *arena)
{
    struct units read;
    struct error ignored;

    if (!units)
        return true;
    return json_decode(units_fields, units, strlen(units), &read, arena, &ignored) &&
           (!read.wind_speed || strcmp(read.wind_speed, "m/s") == 0);
}

bool open_meteo_read_forecast(const char *json, size_t size, int64_t now_ms, struct arena *arena,
                              struct weather_result *out, struct error *err)
{
    struct answer answer;
    struct current current;
    struct error why;

    if (!json_decode(answer_fields, json, size, &answer, arena, &why) ||
        !json_decode(current_fields, answer.current, strlen(answer.current), &current, arena, &why))
        return refuse(err, why.message);
    if (!read_time(current.time, now_ms, &out->forecast_time_ms))
        return refuse(err, "has a time that is none");
    if (!are_metres(answer.units, arena))
        return refuse(err, "is not in metres per second");
    out->condition = weather_condition_of_code(current.code);
    if (!out->condition)
        return refuse(err, "has a weather code that is none");
    out->temperature = current.temperature;
    out->humidity = (int32_t)lround(current.humidity);
    out->wind_speed = current.wind_speed;
    return true;
}
