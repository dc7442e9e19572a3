/*
 * open_meteo: what is asked of Open-Meteo, and what its answers mean. No I/O.
 *
 * Two questions: where a city is (geocoding search), and the weather at that place. A location
 * (a country, its two letters, or a region) chooses among cities of the same name; where none
 * of them fits, and without one, it is the first that Open-Meteo names.
 *
 * Errors  NOT_FOUND "city_not_found"; INVALID "provider_invalid": the answer is not what the
 *         documentation says, whatever it is instead.
 * Source  open-meteo.com/en/docs and /en/docs/geocoding-api.
 */
#ifndef RESPONDER_OPEN_METEO_H
#define RESPONDER_OPEN_METEO_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "messages/weather.h"

#define CITY_NOT_FOUND "city_not_found"
#define PROVIDER_INVALID "provider_invalid"

struct open_meteo_place {
    double latitude, longitude;
};

/* base: "https://geocoding-api.open-meteo.com" */
void open_meteo_search_url(const char *base, const struct weather_request *request,
                           struct buffer *out);
void open_meteo_forecast_url(const char *base, const struct open_meteo_place *place,
                             struct buffer *out);

bool open_meteo_read_place(const char *json, size_t size, const char *location,
                           struct open_meteo_place *out, struct error *err) MUST_CHECK;

/* Fills in the forecast and its time: now_ms when the answer does not say. Texts are static. */
bool open_meteo_read_forecast(const char *json, size_t size, int64_t now_ms, struct arena *arena,
                              struct weather_result *out, struct error *err) MUST_CHECK;

#endif
