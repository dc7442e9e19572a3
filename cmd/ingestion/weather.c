#include "weather.h"

#include "base/clock.h"
#include "domain/forecast.h"
#include "messages/weather.h"

#include <string.h>

#define DAYS 5
#define STATUS_BAD_GATEWAY 502

static void write_weather(const struct weather_result *result, struct json_writer *out)
{
    char id[ID_TEXT_SIZE];

    id_format(&result->id, id);
    json_text(out, "city", result->city);
    json_text(out, "location", result->location);
    json_time(out, "forecastTime",
              result->forecast_time_ms == JSON_TIME_ABSENT ? result->request_time_ms
                                                           : result->forecast_time_ms);
    json_double(out, "temperature", result->temperature);
    json_text(out, "condition", result->condition);
    json_int(out, "humidity", result->humidity);
    json_double(out, "windSpeed", result->wind_speed);
    json_text(out, "requestId", id);
}

static int answer_failure(const struct weather_result *result, struct error *err)
{
    error_set(err, ERROR_UNAVAILABLE, "%s",
              *result->detail ? result->detail : "the weather could not be found out");
    err->reason = *result->reason ? result->reason : "failed";
    return STATUS_BAD_GATEWAY;
}

static int answer(const void *event, struct json_writer *out, struct error *err)
{
    const struct weather_result *result = event;

    switch ((enum weather_result_outcome)result->outcome) {
    case WEATHER_RESULT_OK:
        write_weather(result, out);
        return 200;
    case WEATHER_RESULT_FAILED:
        return answer_failure(result, err);
    case WEATHER_RESULT_EXPIRED:
        break;
    }
    error_set(err, ERROR_TIMEOUT, "the request was not looked at before its deadline");
    err->reason = "reply_timeout";
    return http_status_of(err);
}

const struct call_route weather_call = {
    .name = "weather",
    .request = "weather-requests",
    .result = "weather-results",
    .location = "/WeatherForecast/requests/",
    .answer = answer,
    .requests = {.kind = METRICS_COUNTER,
                 .name = "weather_requests_total",
                 .help = "Weather requests, by what became of them",
                 .labels = {"outcome"}},
    .seconds = {.kind = METRICS_HISTOGRAM,
                .name = "weather_request_duration_seconds",
                .help = "From a weather request that waits to its answer",
                .buckets = METRICS_SECONDS,
                .bucket_count = METRICS_SECONDS_COUNT},
};

void weather_forecast(void *context, struct http_exchange *exchange)
{
    struct forecast_day days[DAYS];
    struct buffer body = {0};
    struct json_writer writer = {.out = &body};

    (void)context;
    forecast_days(clock_wall_ms(clock_system()), days, ARRAY_LEN(days));
    json_open(&writer, NULL, '[');
    for (size_t i = 0; i < ARRAY_LEN(days); i++) {
        json_open(&writer, NULL, '{');
        json_text(&writer, "date", days[i].date);
        json_int(&writer, "temperatureC", days[i].temperature_c);
        json_text(&writer, "summary", days[i].summary);
        json_int(&writer, "temperatureF", days[i].temperature_f);
        json_close(&writer, '}');
    }
    json_close(&writer, ']');
    http_reply_buffer(exchange, 200, HTTP_JSON, &body);
}

/* The forerunner's body. */
void weather_health(void *context, struct http_exchange *exchange)
{
    static const char well[] = "Service is healthy";

    (void)context;
    http_reply(exchange, 200, "text/plain", well, strlen(well));
}
