#include "event_form.h"

#include "messages/logs.h"
#include "messages/parking.h"
#include "messages/readings.h"
#include "messages/weather.h"

#include <stdio.h>

const struct event_route event_routes[TRAFFIC_KINDS] = {
    [TRAFFIC_ENTRY] = {"entry", "/parking/entries", true},
    [TRAFFIC_EXIT] = {"exit", "/parking/exits", true},
    [TRAFFIC_READING] = {"reading", "/readings", true},
    [TRAFFIC_LOG] = {"log", "/logs", true},
    [TRAFFIC_WEATHER] = {"weather", "/WeatherForecast/city", false},
};

static const char *const places[TRAFFIC_KINDS] = {
    [TRAFFIC_ENTRY] = "garage",
    [TRAFFIC_EXIT] = "garage",
    [TRAFFIC_READING] = "site",
    [TRAFFIC_LOG] = "service",
};

static const int levels[] = {
    [TRAFFIC_DEBUG] = LOG_EVENT_DEBUG,
    [TRAFFIC_INFO] = LOG_EVENT_INFO,
    [TRAFFIC_WARNING] = LOG_EVENT_WARNING,
    [TRAFFIC_ERROR] = LOG_EVENT_ERROR,
};

void event_place(const struct traffic_event *event, char out[EVENT_PLACE_SIZE])
{
    const char *place = places[event->kind];

    *out = '\0';
    if (place)
        snprintf(out, EVENT_PLACE_SIZE, "%s-%d", place, event->place + 1);
}

static void form_entry(const struct traffic_event *event, const char *place, struct buffer *out)
{
    const struct parking_entry entry = {.id = event->id,
                                        .entry_date_time_ms = event->time_ms,
                                        .garage_id = place,
                                        .vehicle_plate = event->plate};

    json_encode(parking_entry_fields, &entry, out);
}

static void form_exit(const struct traffic_event *event, const char *place, struct buffer *out)
{
    const struct parking_exit leaving = {.id = event->id,
                                         .exit_date_time_ms = event->time_ms,
                                         .garage_id = place,
                                         .vehicle_plate = event->plate};

    json_encode(parking_exit_fields, &leaving, out);
}

static void form_reading(const struct traffic_event *event, const char *place, struct buffer *out)
{
    char meter[EVENT_PLACE_SIZE];

    snprintf(meter, sizeof(meter), "meter-%d", event->reading.meter + 1);
    const struct reading_event reading = {.id = event->id,
                                          .timestamp_ms = event->time_ms,
                                          .site_id = place,
                                          .device_id = meter,
                                          .power_reading = event->reading.power_w};
    json_encode(reading_event_fields, &reading, out);
}

static void form_log(const struct traffic_event *event, const char *place, struct buffer *out)
{
    const struct log_event log = {.id = event->id,
                                  .timestamp_ms = event->time_ms,
                                  .level = levels[event->log.level],
                                  .service = place,
                                  .message = event->log.message};

    json_encode(log_event_fields, &log, out);
}

static void form_weather(const struct traffic_event *event, const char *place, struct buffer *out)
{
    const struct weather_request request = {.id = event->id,
                                            .request_time_ms = event->time_ms,
                                            .city = event->weather.city,
                                            .location = event->weather.location};

    (void)place;
    json_encode(weather_request_fields, &request, out);
}

void event_form(const struct traffic_event *event, struct buffer *out)
{
    static void (*const forms[TRAFFIC_KINDS])(const struct traffic_event *event, const char *place,
                                              struct buffer *out) = {
        [TRAFFIC_ENTRY] = form_entry,     [TRAFFIC_EXIT] = form_exit,
        [TRAFFIC_READING] = form_reading, [TRAFFIC_LOG] = form_log,
        [TRAFFIC_WEATHER] = form_weather,
    };
    char place[EVENT_PLACE_SIZE];

    event_place(event, place);
    forms[event->kind](event, place, out);
}
