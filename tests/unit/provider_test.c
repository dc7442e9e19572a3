/* The providers; Open-Meteo's is asked over HTTP at a server that is right, slow, wrong or absent.
 */
#include "support/test.h"

#include "cache.h"
#include "open_meteo.h"
#include "provider.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/broker_memory.h"
#include "http/http.h"
#include "support/server.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BERLIN                                                                                     \
    "{\"results\":[{\"name\":\"Berlin\",\"latitude\":52.52437,\"longitude\":13.41053,"             \
    "\"country_code\":\"DE\",\"country\":\"Germany\",\"admin1\":\"Land Berlin\"},"                 \
    "{\"name\":\"Berlin\",\"latitude\":44.46867,\"longitude\":-71.18508,\"country_code\":\"US\","  \
    "\"country\":\"United States\",\"admin1\":\"New Hampshire\"}],\"generationtime_ms\":0.6}"
#define FORECAST                                                                                   \
    "{\"latitude\":52.52,\"longitude\":13.42,\"current_units\":{\"time\":\"iso8601\","             \
    "\"wind_speed_10m\":\"m/s\"},\"current\":{\"time\":\"2026-11-21T12:45\",\"interval\":900,"     \
    "\"temperature_2m\":7.4,\"relative_humidity_2m\":81,\"wind_speed_10m\":3.25,"                  \
    "\"weather_code\":61}}"
#define FORECAST_MS INT64_C(1795265100000)

/* ---- the server ---- */

struct answer {
    int status; /* 0: none, ever */
    const char *body;
};

struct fixture {
    struct http_server *server;
    char url[64];
    pthread_mutex_t lock;
    struct answer search, forecast;   /* guarded by lock */
    char asked[256];                  /* guarded by lock: the last forecast's query */
    int failures;                     /* guarded by lock: 503s before the answer */
    struct http_exchange *waiting[8]; /* guarded by lock: to be answered at the end */
    size_t waiting_count;             /* guarded by lock */
    bool ending;                      /* guarded by lock: nobody waits any more */
    _Atomic int calls;

    struct metrics *metrics;
    struct broker *broker;
    struct provider_settings settings;
    struct providers providers;
    struct provider *provider;
    struct arena *arena;
};

static void answer(struct fixture *fixture, struct http_exchange *exchange,
                   const struct answer *how)
{
    pthread_mutex_lock(&fixture->lock);
    struct answer now = *how;
    if (fixture->failures)
        now = (struct answer){503, "busy"};
    fixture->failures -= fixture->failures > 0;
    if (!now.status && fixture->ending)
        now = (struct answer){503, "{}"};
    if (!now.status && fixture->waiting_count < ARRAY_LEN(fixture->waiting)) {
        http_defer(exchange);
        fixture->waiting[fixture->waiting_count++] = exchange;
    }
    pthread_mutex_unlock(&fixture->lock);

    fixture->calls++;
    if (now.status)
        http_reply(exchange, now.status, HTTP_JSON, now.body, strlen(now.body));
}

static void search(void *context, struct http_exchange *exchange)
{
    struct fixture *fixture = context;
    const char *name = http_query(exchange, "name"), *count = http_query(exchange, "count");
    static const struct answer odd = {400, "{}"};
    bool asked_well = name && count && strcmp(name, "Sp\xc3\xa4th & Co/?") != 0;

    answer(fixture, exchange, asked_well ? &fixture->search : &odd);
}

static void forecast(void *context, struct http_exchange *exchange)
{
    struct fixture *fixture = context;
    const char *latitude = http_query(exchange, "latitude");
    const char *current = http_query(exchange, "current");
    const char *unit = http_query(exchange, "wind_speed_unit");

    pthread_mutex_lock(&fixture->lock);
    snprintf(fixture->asked, sizeof(fixture->asked), "%s %s %s", latitude ? latitude : "",
             current ? current : "", unit ? unit : "");
    pthread_mutex_unlock(&fixture->lock);
    answer(fixture, exchange, &fixture->forecast);
}

static const struct http_route routes[] = {
    {"GET", "/v1/search", .handle = search},
    {"GET", "/v1/forecast", .handle = forecast},
    {0},
};

/* ---- a provider ---- */

static void open_provider(struct fixture *fixture)
{
    struct error err;

    assert_ok(providers_start(&fixture->providers, &fixture->settings, fixture->broker,
                              fixture->metrics, &err));
    fixture->provider = provider_open(&fixture->providers);
}

static void close_provider(struct fixture *fixture)
{
    provider_close(fixture->provider);
    providers_stop(&fixture->providers);
}

static void start(struct fixture *fixture)
{
    static int serial;
    struct http_options http = {.service = "open-meteo", .deadline_ms = 20000};
    struct broker_options options = {.name = "test"};
    char url[64];
    struct error err;

    *fixture = (struct fixture){.search = {200, BERLIN}, .forecast = {200, FORECAST}};
    pthread_mutex_init(&fixture->lock, NULL);
    fixture->metrics = metrics_new();
    fixture->arena = arena_new(4096);
    snprintf(url, sizeof(url), "memory://provider-%d", ++serial);
    assert_ok(broker_open(&fixture->broker, url, &options, &err));
    assert_ok(http_start(&fixture->server, &http, routes, fixture, &err));
    snprintf(fixture->url, sizeof(fixture->url), "http://127.0.0.1:%d", http_port(fixture->server));
    fixture->settings = (struct provider_settings){.name = "open-meteo",
                                                   .url = fixture->url,
                                                   .search_url = fixture->url,
                                                   .timeout_ms = 5000,
                                                   .cache_s = 600};
    open_provider(fixture);
}

static void end(struct fixture *fixture)
{
    close_provider(fixture);
    pthread_mutex_lock(&fixture->lock);
    fixture->ending = true; /* a request that nobody waits for may still be on its way */
    size_t waiting = fixture->waiting_count;
    pthread_mutex_unlock(&fixture->lock);
    for (size_t i = 0; i < waiting; i++)
        http_reply(fixture->waiting[i], 503, HTTP_JSON, "{}", 2);
    http_stop(fixture->server);
    broker_close(fixture->broker);
    arena_free(fixture->arena);
    metrics_free(fixture->metrics);
    pthread_mutex_destroy(&fixture->lock);
}

static void set(struct fixture *fixture, struct answer search_answer, struct answer forecast_answer)
{
    pthread_mutex_lock(&fixture->lock);
    fixture->search = search_answer;
    fixture->forecast = forecast_answer;
    pthread_mutex_unlock(&fixture->lock);
}

static bool ask_for(struct fixture *fixture, const char *city, const char *location, int timeout_ms,
                    struct weather_result *out, struct error *err)
{
    struct weather_request request = {.city = city, .location = location};

    *out = (struct weather_result){0};
    *err = (struct error){0};
    return provider_ask(fixture->provider, &request, clock_steady_ms(clock_system()) + timeout_ms,
                        out, fixture->arena, err);
}

static void expect_failure(struct fixture *fixture, int timeout_ms, const char *reason)
{
    struct weather_result result;
    struct error err;

    assert_false(ask_for(fixture, "Berlin", "", timeout_ms, &result, &err));
    assert_string_equal(err.reason, reason);
}

/* ---- rules ---- */

static void tells_the_weather(void **state)
{
    struct fixture fixture;
    struct weather_result result;
    struct error err;

    (void)state;
    start(&fixture);
    assert_ok(ask_for(&fixture, "Berlin", "", 5000, &result, &err));
    assert_true(result.temperature == 7.4 && result.wind_speed == 3.25);
    assert_int_equal(result.humidity, 81);
    assert_string_equal(result.condition, "Rainy");
    assert_string_equal(result.provider, "open-meteo");
    assert_true(result.forecast_time_ms == FORECAST_MS);
    assert_string_equal(fixture.asked, "52.5244 temperature_2m,relative_humidity_2m,wind_speed_10m,"
                                       "weather_code ms");
    end(&fixture);
}

static void a_location_chooses_among_cities(void **state)
{
    struct fixture fixture;
    struct weather_result result;
    struct error err;

    (void)state;
    start(&fixture);
    assert_ok(ask_for(&fixture, "Berlin", "new hampshire", 5000, &result, &err));
    assert_int_equal(strncmp(fixture.asked, "44.4687 ", 8), 0);
    assert_ok(ask_for(&fixture, "Berlin", "us", 5000, &result, &err));
    assert_int_equal(strncmp(fixture.asked, "44.4687 ", 8), 0);
    assert_ok(ask_for(&fixture, "Berlin", "Atlantis", 5000, &result, &err));
    assert_int_equal(strncmp(fixture.asked, "52.5244 ", 8), 0);
    end(&fixture);
}

/* The server refuses exactly this name, if it comes whole. */
static void a_name_is_escaped(void **state)
{
    struct fixture fixture;
    struct weather_result result;
    struct error err;

    (void)state;
    start(&fixture);
    assert_false(ask_for(&fixture, "Sp\xc3\xa4th & Co/?", "", 5000, &result, &err));
    assert_string_equal(err.reason, "provider_invalid");
    end(&fixture);
}

static void a_forecast_is_fetched_once(void **state)
{
    struct fixture fixture;
    struct weather_result first, second;
    struct error err;

    (void)state;
    start(&fixture);
    assert_ok(ask_for(&fixture, "Berlin", "Germany", 5000, &first, &err));
    assert_int_equal(fixture.calls, 2);
    set(&fixture, (struct answer){500, ""}, (struct answer){500, ""});
    assert_ok(ask_for(&fixture, "berlin", "GERMANY", 5000, &second, &err));
    assert_int_equal(fixture.calls, 2);
    assert_true(second.temperature == first.temperature);
    assert_true(second.forecast_time_ms == first.forecast_time_ms);
    assert_null(second.detail);
    assert_false(ask_for(&fixture, "Berlin", "", 400, &second, &err)); /* another place */
    end(&fixture);
}

static void without_a_cache_each_is_fetched(void **state)
{
    struct fixture fixture;
    struct weather_result result;
    struct error err;

    (void)state;
    start(&fixture);
    fixture.settings.cache_s = 0;
    assert_ok(ask_for(&fixture, "Berlin", "", 5000, &result, &err));
    assert_ok(ask_for(&fixture, "Berlin", "", 5000, &result, &err));
    assert_int_equal(fixture.calls, 4);
    end(&fixture);
}

/* Puts a forecast of this age into the cache. */
static void put(struct fixture *fixture, int64_t age_ms)
{
    const struct weather_request request = {.city = "Berlin", .location = ""};
    int64_t made_ms = clock_wall_ms(clock_system()) - age_ms;
    const struct weather_result old = {
        .forecast_time_ms = made_ms, .temperature = -3.5, .condition = "Snowy"};

    cache_put(fixture->broker, &request, &old, made_ms);
}

static void an_old_forecast_gives_way_to_a_new_one(void **state)
{
    struct fixture fixture;
    struct weather_result result;
    struct error err;

    (void)state;
    start(&fixture);
    put(&fixture, 601000);
    assert_ok(ask_for(&fixture, "Berlin", "", 5000, &result, &err));
    assert_true(result.temperature == 7.4);
    end(&fixture);
}

static void an_old_forecast_stands_in_for_a_provider_that_fails(void **state)
{
    struct fixture fixture;
    struct weather_result result;
    struct error err;

    (void)state;
    start(&fixture);
    put(&fixture, 601000);
    set(&fixture, (struct answer){200, "{]"}, (struct answer){500, ""});
    assert_ok(ask_for(&fixture, "Berlin", "", 5000, &result, &err));
    assert_true(result.temperature == -3.5);
    assert_non_null(strstr(result.detail, "last forecast"));
    put(&fixture, INT64_C(4) * 3600000); /* too old for that */
    expect_failure(&fixture, 5000, "provider_invalid");
    end(&fixture);
}

/* Somebody else's place has the slot. */
static void a_forecast_of_another_place_is_not_taken(void **state)
{
    const struct weather_request berlin = {.city = "Berlin", .location = ""};
    char want[CACHE_KEY_SIZE], key[CACHE_KEY_SIZE] = "", city[32] = "";
    struct fixture fixture;
    struct weather_result result;
    struct error err;

    (void)state;
    cache_key(&berlin, want);
    for (int i = 0; i < 100000 && strcmp(key, want) != 0; i++) {
        snprintf(city, sizeof(city), "City %d", i);
        cache_key(&(const struct weather_request){.city = city, .location = ""}, key);
    }
    assert_string_equal(key, want);
    start(&fixture);
    put(&fixture, 0);
    assert_ok(ask_for(&fixture, city, "", 5000, &result, &err));
    assert_true(result.temperature == 7.4); /* and not Berlin's */
    end(&fixture);
}

static void an_absent_cache_costs_little(void **state)
{
    struct fixture fixture;
    struct weather_result result;
    struct error err;

    (void)state;
    start(&fixture);
    broker_memory_away(fixture.broker, true);
    assert_ok(ask_for(&fixture, "Berlin", "", 5000, &result, &err));
    assert_true(result.temperature == 7.4);
    broker_memory_away(fixture.broker, false);
    end(&fixture);
}

static void a_short_failure_is_tried_again(void **state)
{
    struct fixture fixture;
    struct weather_result result;
    struct error err;

    (void)state;
    start(&fixture);
    fixture.failures = 2;
    assert_ok(ask_for(&fixture, "Berlin", "", 10000, &result, &err));
    assert_int_equal(fixture.calls, 4); /* 503, 503, city, forecast */
    end(&fixture);
}

static void a_slow_provider_has_a_deadline(void **state)
{
    struct fixture fixture;

    (void)state;
    start(&fixture);
    set(&fixture, (struct answer){200, BERLIN}, (struct answer){0});
    int64_t started_ms = clock_steady_ms(clock_system());
    expect_failure(&fixture, 500, "provider_timeout");
    assert_in_range(clock_steady_ms(clock_system()) - started_ms, 400, 3000);
    end(&fixture);
}

static void an_absent_provider_is_unavailable_then_the_circuit_opens(void **state)
{
    struct fixture fixture;
    int port, reserved = server_reserve_port(&port); /* nobody listens there */

    (void)state;
    assert_true(reserved >= 0);
    start(&fixture);
    snprintf(fixture.url, sizeof(fixture.url), "http://127.0.0.1:%d", port);
    expect_failure(&fixture, 5000, "provider_unavailable"); /* three calls */
    expect_failure(&fixture, 5000, "provider_unavailable"); /* two, and it is open */
    int64_t started_ms = clock_steady_ms(clock_system());
    expect_failure(&fixture, 5000, "circuit_open");
    assert_in_range(clock_steady_ms(clock_system()) - started_ms, 0, 2000);
    close(reserved);
    end(&fixture);
}

static void *interrupt_when_called(void *context)
{
    struct fixture *fixture = context;

    while (!fixture->calls)
        poll(NULL, 0, 5);
    provider_interrupt(fixture->provider);
    return NULL;
}

static void an_interruption_ends_a_call(void **state)
{
    pthread_t thread;
    struct fixture fixture;
    struct weather_result result;
    struct error err;

    (void)state;
    start(&fixture);
    set(&fixture, (struct answer){0}, (struct answer){0});
    assert_int_equal(pthread_create(&thread, NULL, interrupt_when_called, &fixture), 0);
    assert_false(ask_for(&fixture, "Berlin", "", 15000, &result, &err));
    assert_int_equal(err.code, ERROR_CLOSED);
    pthread_join(thread, NULL);
    end(&fixture);
}

static void synthetic_takes_its_time_inside_the_deadline(void **state)
{
    struct fixture fixture;
    struct weather_result result;
    struct error err;

    (void)state;
    start(&fixture);
    close_provider(&fixture);
    fixture.settings = (struct provider_settings){.name = "synthetic", .delay_ms = 100};
    open_provider(&fixture);
    int64_t started_ms = clock_steady_ms(clock_system());
    assert_ok(ask_for(&fixture, "Berlin", "", 5000, &result, &err));
    assert_true(clock_steady_ms(clock_system()) - started_ms >= 100);
    expect_failure(&fixture, 50, "provider_timeout");
    providers_interrupt(&fixture.providers);
    assert_false(ask_for(&fixture, "Berlin", "", 5000, &result, &err));
    assert_int_equal(err.code, ERROR_CLOSED);
    end(&fixture);
}

static void open_meteo_needs_its_addresses(void **state)
{
    struct provider_settings settings = {
        .name = "open-meteo", .url = "https://api.open-meteo.com", .search_url = ""};
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    struct providers providers;
    struct error err;

    (void)state;
    assert_fails(providers_start(&providers, &settings, NULL, metrics, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "OPEN_METEO_GEOCODING_URL"));
}

/* ---- answers ---- */

#define CURRENT(members) "{\"current\":{" members "}}"

static const struct wrong {
    const char *name;
    struct answer search, forecast;
    const char *reason;
} wrongs[] = {
    {"a city that it does not know",
     {200, "{\"generationtime_ms\":0.1}"},
     {200, FORECAST},
     "city_not_found"},
    {"an empty list of cities", {200, "{\"results\":[]}"}, {200, FORECAST}, "city_not_found"},
    {"no JSON", {200, "<html>"}, {200, FORECAST}, "provider_invalid"},
    {"half an answer", {200, "{\"results\":[{\"latitude\":1"}, {200, FORECAST}, "provider_invalid"},
    {"something else", {200, "{\"hello\":1}"}, {200, FORECAST}, "provider_invalid"},
    {"no list of cities", {200, "{\"results\":{}}"}, {200, FORECAST}, "provider_invalid"},
    {"a city without coordinates",
     {200, "{\"results\":[{\"latitude\":1}]}"},
     {200, FORECAST},
     "provider_invalid"},
    {"a city that is a number", {200, "{\"results\":[1]}"}, {200, FORECAST}, "provider_invalid"},
    {"coordinates beyond the pole",
     {200, "{\"results\":[{\"latitude\":91,\"longitude\":0}]}"},
     {200, FORECAST},
     "provider_invalid"},
    {"404", {404, "{}"}, {200, FORECAST}, "provider_invalid"},
    {"a redirect", {302, ""}, {200, FORECAST}, "provider_invalid"},
    {"500 each time", {200, BERLIN}, {500, "{}"}, "provider_unavailable"},
    {"too many requests", {429, "{}"}, {200, FORECAST}, "provider_unavailable"},
    {"no current weather", {200, BERLIN}, {200, "{}"}, "provider_invalid"},
    {"a field that is missing",
     {200, BERLIN},
     {200, CURRENT("\"temperature_2m\":1,\"relative_humidity_2m\":1,\"wind_speed_10m\":1")},
     "provider_invalid"},
    {"a field that is null",
     {200, BERLIN},
     {200, CURRENT("\"temperature_2m\":null,\"relative_humidity_2m\":1,\"wind_speed_10m\":1,"
                   "\"weather_code\":1")},
     "provider_invalid"},
    {"a temperature of text",
     {200, BERLIN},
     {200, CURRENT("\"temperature_2m\":\"1\",\"relative_humidity_2m\":1,\"wind_speed_10m\":1,"
                   "\"weather_code\":1")},
     "provider_invalid"},
    {"a temperature of the sun",
     {200, BERLIN},
     {200, CURRENT("\"temperature_2m\":5500,\"relative_humidity_2m\":1,\"wind_speed_10m\":1,"
                   "\"weather_code\":1")},
     "provider_invalid"},
    {"a code that is none",
     {200, BERLIN},
     {200, CURRENT("\"temperature_2m\":1,\"relative_humidity_2m\":1,\"wind_speed_10m\":1,\"weather_"
                   "code\":42")},
     "provider_invalid"},
    {"a time that is none",
     {200, BERLIN},
     {200, CURRENT("\"time\":\"2026-13-21T12:45\",\"temperature_2m\":1,\"relative_humidity_2m\":1,"
                   "\"wind_speed_10m\":1,\"weather_code\":1")},
     "provider_invalid"},
    {"kilometres per hour",
     {200, BERLIN},
     {200, "{\"current_units\":{\"wind_speed_10m\":\"km/"
           "h\"},\"current\":{\"temperature_2m\":1,\"relative_humidity_2m\":1,\"wind_speed_10m\":1,"
           "\"weather_code\":1}}"},
     "provider_invalid"},
};

static void refuses(void **state)
{
    const struct wrong *row = *state;
    struct fixture fixture;

    start(&fixture);
    set(&fixture, row->search, row->forecast);
    expect_failure(&fixture, 5000, row->reason);
    end(&fixture);
}

static void refuses_an_endless_answer(void **state)
{
    AUTO(buffer_free) struct buffer body = {0};
    struct fixture fixture;

    (void)state;
    memset(buffer_reserve(&body, 4 << 20), ' ', 4 << 20);
    body.size = 4 << 20;
    start(&fixture);
    set(&fixture, (struct answer){200, body.data}, (struct answer){200, FORECAST});
    expect_failure(&fixture, 5000, "provider_invalid");
    end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_the_weather),
        cmocka_unit_test(a_location_chooses_among_cities),
        cmocka_unit_test(a_name_is_escaped),
        cmocka_unit_test(a_forecast_is_fetched_once),
        cmocka_unit_test(without_a_cache_each_is_fetched),
        cmocka_unit_test(an_old_forecast_gives_way_to_a_new_one),
        cmocka_unit_test(an_old_forecast_stands_in_for_a_provider_that_fails),
        cmocka_unit_test(a_forecast_of_another_place_is_not_taken),
        cmocka_unit_test(an_absent_cache_costs_little),
        cmocka_unit_test(a_short_failure_is_tried_again),
        cmocka_unit_test(a_slow_provider_has_a_deadline),
        cmocka_unit_test(an_absent_provider_is_unavailable_then_the_circuit_opens),
        cmocka_unit_test(an_interruption_ends_a_call),
        cmocka_unit_test(synthetic_takes_its_time_inside_the_deadline),
        cmocka_unit_test(open_meteo_needs_its_addresses),
        cmocka_unit_test(refuses_an_endless_answer),
    };

    log_start("provider", LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests_name("provider", tests, NULL, NULL) + RUN_ROWS(wrongs, refuses);
}
