/* Parking and weather over HTTP: a whole api between a real client and a real PostgreSQL. */
#include "support/test.h"

#include "api.h"
#include "support/store_fixture.h"

#include "base/clock.h"
#include "base/document.h"
#include "broker/broker_memory.h"
#include "http_client.h"
#include "messages/parking.h"
#include "messages/weather.h"

#define WAIT_MS 5000
#define STAYS 60
#define FIRST_STAY 1000

static struct scene {
    struct fixture *fixture;
    struct broker *broker;
    struct api *api;
    struct client *client;
} scene;

/* The n-th of one kind: what a test can name in a URL. */
static struct id id_of(char kind, int n)
{
    struct id id = {0};

    id.bytes[0] = (uint8_t)kind;
    id.bytes[14] = (uint8_t)(n >> 8);
    id.bytes[15] = (uint8_t)n;
    return id;
}

static void drive(bool exits, const char *plate, const char *garage, int n, int64_t time_ms)
{
    const struct parking_entry entry = {id_of('e', n), time_ms, garage, plate};
    const struct parking_exit leaving = {id_of('f', n), time_ms, garage, plate};

    assert_true(fixture_insert(scene.fixture->store,
                               exits ? &store_parking_exits : &store_parking_entries,
                               exits ? (const void *)&leaving : (const void *)&entry));
}

static struct parking_summary summary_of(int n, int revision, int64_t exit_ms)
{
    return (struct parking_summary){.id = id_of((char)('0' + revision), n),
                                    .exit_time_ms = exit_ms,
                                    .entry_time_ms = exit_ms - HOUR,
                                    .session_id = id_of('e', n),
                                    .revision = revision,
                                    .garage_id = "north",
                                    .vehicle_plate = n % 2 ? "ODD-1" : "EVEN-1",
                                    .duration_s = 3600,
                                    .matched = true,
                                    .amount_cents = 100 + n,
                                    .currency = "EUR"};
}

static void summarise(const struct parking_summary *summary)
{
    assert_true(fixture_insert(scene.fixture->store, &store_parking_summaries, summary));
}

static void answer_weather(void)
{
    const struct weather_result known = {.id = id_of('w', 1),
                                         .request_time_ms = NOON,
                                         .outcome = WEATHER_RESULT_OK,
                                         .reason = "",
                                         .detail = "",
                                         .city = "Oslo",
                                         .location = "NO",
                                         .forecast_time_ms = NOON + 1,
                                         .temperature = -2.5,
                                         .condition = "Snowy",
                                         .humidity = 80,
                                         .wind_speed = 3.25,
                                         .provider = "synthetic"};
    struct weather_result failed = known;

    failed.id = id_of('w', 2);
    failed.outcome = WEATHER_RESULT_FAILED;
    failed.reason = "provider_unavailable";
    failed.detail = "It is away.";
    failed.forecast_time_ms = JSON_TIME_ABSENT;
    failed.temperature = failed.wind_speed = 0;
    failed.humidity = 0;
    failed.condition = failed.provider = "";
    assert_true(fixture_insert(scene.fixture->store, &store_weather_results, &known));
    assert_true(fixture_insert(scene.fixture->store, &store_weather_results, &failed));
}

/* Four sessions of three plates, one of them open, and a withdrawn one. Invoices: of 1 the second
 * revision holds, 2 has one, 3 was withdrawn. */
static void fill(void)
{
    drive(false, "AB-1", "north", 1, NOON);
    drive(true, "AB-1", "north", 1, NOON + HOUR);
    drive(true, "CD-2", "south", 2, NOON + 2 * HOUR);
    drive(true, "XY-9", "north", 3, NOON + 3 * HOUR / 2);
    drive(false, "XY-9", "north", 3, NOON + HOUR / 2);
    drive(false, "CD-2", "north", 4, NOON + 3 * HOUR);

    struct parking_summary first = summary_of(1, 1, NOON + 2 * HOUR);
    struct parking_summary corrected = summary_of(1, 2, NOON + HOUR);
    struct parking_summary other = summary_of(2, 1, NOON + HOUR);
    struct parking_summary lost = summary_of(3, 1, NOON + HOUR);
    struct parking_summary withdrawn = summary_of(3, 2, NOON + HOUR);
    withdrawn.withdrawn = true;
    corrected.amount_cents = 7;
    summarise(&first);
    summarise(&corrected);
    summarise(&other);
    summarise(&withdrawn);
    summarise(&lost); /* late: the highest revision holds, not the last that came */
    answer_weather();
}

static int scene_start(void **state)
{
    static struct api_settings settings;
    struct error err;

    fixture_start((void **)&scene.fixture);
    fixture_database((void **)&scene.fixture);
    settings = (struct api_settings){.host = "127.0.0.1",
                                     .broker_url = "memory://api-parking",
                                     .database_url = scene.fixture->server.url,
                                     .query_threads = 1,
                                     .query_queue = 16,
                                     .query_timeout_ms = WAIT_MS,
                                     .origins = "",
                                     .garage_capacity = 40};
    assert_ok(broker_open(&scene.broker, settings.broker_url, NULL, &err));
    assert_ok(api_start(&scene.api, &settings, &err));
    api_refresh(scene.api);
    scene.client = client_open(api_port(scene.api));
    fill();
    *state = &scene;
    return 0;
}

static int scene_end(void **state)
{
    (void)state;
    client_close(scene.client);
    api_stop(scene.api);
    broker_close(scene.broker);
    fixture_close((void **)&scene.fixture);
    fixture_end((void **)&scene.fixture);
    return 0;
}

#define E1 "65000000-0000-0000-0000-000000000001"
#define E4 "65000000-0000-0000-0000-000000000004"
#define AB_1                                                                                       \
    "{\"session_id\":\"" E1 "\",\"garage_id\":\"north\",\"vehicle_plate\":\"AB-1\","               \
    "\"entry_time\":\"2026-11-21T12:00:00.000Z\",\"exit_time\":\"2026-11-21T13:00:00.000Z\","      \
    "\"duration_s\":3600,\"matched\":true,\"anomalous\":false,\"open\":false,\"revision\":1}"
#define CD_2                                                                                       \
    "{\"session_id\":\"" E4 "\",\"garage_id\":\"north\",\"vehicle_plate\":\"CD-2\","               \
    "\"entry_time\":\"2026-11-21T15:00:00.000Z\",\"exit_time\":null,\"duration_s\":null,"          \
    "\"matched\":false,\"anomalous\":false,\"open\":true,\"revision\":0}"
#define FULL_RANGE "?from=2026-11-21T00:00:00Z&to=2026-11-22T00:00:00Z"

static const struct row {
    const char *name, *target;
    int status, sessions; /* how many ids are in the answer; -1: any */
    const char *told;
} rows[] = {
    {"sessions are listed, but for what was withdrawn", "/parking/sessions", 200, 4,
     "{\"sessions\":[" CD_2 ","},
    {"one is told with all it has", "/parking/sessions?plate=AB-1", 200, 1,
     "{\"sessions\":[" AB_1 "],\"next\":null}"},
    {"sessions of a plate", "/parking/sessions?plate=CD-2", 200, 2, "CD-2"},
    {"open ones", "/parking/sessions?open=true", 200, 1, CD_2},
    {"open ones of a plate", "/parking/sessions?open=true&plate=CD-2", 200, 1, CD_2},
    {"closed ones of a plate", "/parking/sessions?open=false&plate=CD-2", 200, 1, "\"south\""},
    {"closed ones", "/parking/sessions?open=false", 200, 3, AB_1},
    {"true in any case", "/parking/sessions?open=TRUE", 200, 1, CD_2},
    {"sessions of a garage", "/parking/sessions?garage=south", 200, 1, "\"matched\":false"},
    {"from is included", "/parking/sessions?from=2026-11-21T15:00:00Z", 200, 1, CD_2},
    {"to is not", "/parking/sessions?to=2026-11-21T12:00:00.001Z", 200, 1, AB_1},
    {"nothing is before it", "/parking/sessions?to=2026-11-21T12:00:00Z", 200, 0, "[]"},
    {"open is a yes or a no", "/parking/sessions?open=maybe", 422, -1, "\"/query/open\""},
    {"a plate that is too long", "/parking/sessions?plate=ABCDEFGHIJKLM", 422, -1,
     "\"/query/plate\""},
    {"sessions are no more than 1000", "/parking/sessions?limit=1001", 422, -1, "\"/query/limit\""},
    {"a time that is none", "/parking/sessions?from=noon", 422, -1, "\"/query/from\""},
    {"a cursor that is none", "/parking/sessions?cursor=abc", 422, -1, "\"invalid_cursor\""},

    {"a garage", "/parking/garages/north" FULL_RANGE, 200, -1,
     "{\"garage_id\":\"north\",\"from\":\"2026-11-21T00:00:00.000Z\","
     "\"to\":\"2026-11-22T00:00:00.000Z\",\"occupancy\":1,\"capacity\":40,"
     "\"hours\":[{\"hour\":\"2026-11-21T12:00:00.000Z\",\"entries\":2,\"exits\":0},"
     "{\"hour\":\"2026-11-21T13:00:00.000Z\",\"entries\":0,\"exits\":2},"
     "{\"hour\":\"2026-11-21T15:00:00.000Z\",\"entries\":1,\"exits\":0}]}"},
    {"a garage is empty until somebody comes", "/parking/garages/west" FULL_RANGE, 200, -1,
     "\"occupancy\":0,\"capacity\":40,\"hours\":[]}"},
    {"a garage's hours have an order",
     "/parking/garages/north?from=2026-11-22T00:00:00Z&to=2026-11-21T00:00:00Z", 422, -1,
     "\"/query/from\""},
    {"a garage's hours are of 400 days at most", "/parking/garages/north?from=2024-11-22T00:00:00Z",
     422, -1, "\"/query/from\""},

    {"the last word on each session is an invoice", "/parking/invoices", 200, 2,
     "\"amount_cents\":7,\"currency\":\"EUR\""},
    {"an invoice says what it is for", "/parking/invoices?plate=EVEN-1", 200, 1,
     "{\"invoices\":[{\"id\":\"31000000-0000-0000-0000-000000000002\","
     "\"session_id\":\"65000000-0000-0000-0000-000000000002\",\"revision\":1,"
     "\"garage_id\":\"north\",\"vehicle_plate\":\"EVEN-1\","
     "\"entry_time\":\"2026-11-21T12:00:00.000Z\",\"exit_time\":\"2026-11-21T13:00:00.000Z\","
     "\"duration_s\":3600,\"matched\":true,\"anomalous\":false,\"amount_cents\":102,"
     "\"currency\":\"EUR\"}],\"next\":null}"},
    {"invoices of a plate", "/parking/invoices?plate=ODD-1", 200, 1, "\"revision\":2"},
    {"invoices of a garage", "/parking/invoices?garage=south", 200, 0, "[]"},
    {"an invoice that was corrected is at its new time only",
     "/parking/invoices?from=2026-11-21T13:00:00.001Z", 200, 0, "[]"},
    {"invoices before", "/parking/invoices?to=2026-11-21T13:00:00Z", 200, 0, "[]"},
    {"no invoices are none", "/parking/invoices?limit=0", 422, -1, "\"/query/limit\""},
    {"a garage that is no text", "/parking/invoices?garage=%ff", 400, -1, "\"/query/garage\""},
    {"a cursor of another list", "/parking/invoices?cursor=x", 422, -1, "\"invalid_cursor\""},

    {"an answer to a request", "/WeatherForecast/requests/77000000-0000-0000-0000-000000000001",
     200, -1,
     "{\"requestId\":\"77000000-0000-0000-0000-000000000001\",\"status\":\"OK\",\"reason\":null,"
     "\"detail\":null,\"city\":\"Oslo\",\"location\":\"NO\","
     "\"requestTime\":\"2026-11-21T12:00:00.000Z\",\"forecastTime\":\"2026-11-21T12:00:00.001Z\","
     "\"temperature\":-2.5,\"condition\":\"Snowy\",\"humidity\":80,\"windSpeed\":3.25,"
     "\"provider\":\"synthetic\"}"},
    {"its path is read in any case",
     "/weatherforecast/Requests/77000000-0000-0000-0000-000000000001", 200, -1, "\"Oslo\""},
    {"a failure has no weather", "/WeatherForecast/requests/77000000-0000-0000-0000-000000000002",
     200, -1,
     "\"status\":\"FAILED\",\"reason\":\"provider_unavailable\",\"detail\":\"It is away.\","
     "\"city\":\"Oslo\",\"location\":\"NO\",\"requestTime\":\"2026-11-21T12:00:00.000Z\","
     "\"forecastTime\":null,\"temperature\":null,\"condition\":null,\"humidity\":null,"
     "\"windSpeed\":null,\"provider\":null}"},
    {"a request that nobody knows",
     "/WeatherForecast/requests/77000000-0000-0000-0000-000000000003", 404, -1,
     "\"code\":\"request_not_found\""},
    {"a request's id is a UUID", "/WeatherForecast/requests/7", 422, -1, "\"/path/id\""},
};

static int count_of(const char *text, const char *part)
{
    int count = 0;

    for (const char *at = text; (at = strstr(at, part)); at++)
        count++;
    return count;
}

static void check_row(void **state)
{
    const struct row *row = *state;

    if (client_get(scene.client, row->target) != row->status)
        fail_msg("%d: %s", scene.client->status, scene.client->body);
    if (!strstr(scene.client->body, row->told))
        fail_msg("'%s' is not in %s", row->told, scene.client->body);
    if (row->sessions >= 0)
        assert_int_equal(count_of(scene.client->body, "{\"") - 1, row->sessions);
}

/* ---- pages ---- */

/* Half of the stays are at one time. */
static void stay_often(void)
{
    for (int i = 0; i < STAYS; i++) {
        int64_t from_ms = i % 2 ? NOON - DAY : NOON - i * DAY / 8;
        char plate[16];
        snprintf(plate, sizeof(plate), "N-%03d", i);
        drive(false, plate, "many", FIRST_STAY + i, from_ms);
        if (i % 3)
            drive(true, plate, "many", FIRST_STAY + i, from_ms + HOUR);
        struct parking_summary summary = summary_of(FIRST_STAY + i, 1, from_ms);
        summary.garage_id = "many";
        summary.vehicle_plate = i % 4 ? plate : "SAME";
        summarise(&summary);
    }
}

/* Counts the stays of a page; none was on another. */
static int see_page(const char *body, char seen[STAYS])
{
    static const char member[] = "\"session_id\":\"";
    int found = 0;

    for (const char *at = body; (at = strstr(at, member)); found++) {
        at += strlen(member);
        long n = strtol((char[]){at[32], at[33], at[34], at[35], 0}, NULL, 16) - FIRST_STAY;
        assert_in_range(n, 0, STAYS - 1);
        assert_int_equal(seen[n]++, 0);
    }
    return found;
}

static void read_next(char path[1024], const char *target)
{
    AUTO(document_free) struct document *document = NULL;
    struct error err;

    assert_ok(document_parse(&document, scene.client->body, scene.client->body_size, &err));
    const char *next = document_text(document, "next");
    path[0] = '\0';
    if (next)
        snprintf(path, 1024, "%s&cursor=%s", target, next);
}

static void walk(const char *target, int want)
{
    char seen[STAYS] = {0}, path[1024];
    int found = 0;

    snprintf(path, sizeof(path), "%s", target);
    for (int pages = 0; *path; pages++) {
        assert_int_equal(client_get(scene.client, path), 200);
        found += see_page(scene.client->body, seen);
        assert_true(pages <= want);
        read_next(path, target);
    }
    assert_int_equal(found, want);
}

static void pages_repeat_and_leave_out_nothing(void **state)
{
    (void)state;
    stay_often();
    for (int limit = 1; limit <= 17; limit += 4) {
        char target[128];
        const struct {
            const char *path;
            int want;
        } lists[] = {
            {"/parking/sessions?garage=many", STAYS},
            {"/parking/sessions?garage=many&open=true", STAYS / 3},
            {"/parking/sessions?garage=many&open=false", STAYS * 2 / 3},
            {"/parking/invoices?garage=many", STAYS},
            {"/parking/invoices?plate=SAME", STAYS / 4},
        };
        for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
            snprintf(target, sizeof(target), "%s&limit=%d", lists[i].path, limit);
            walk(target, lists[i].want);
        }
    }
}

/* ---- consumers ---- */

static void a_consumer_of_two_topics_is_listed_once(void **state)
{
    const struct broker_stream stream = {.name = "PARKING",
                                         .subjects = "parking.>",
                                         .max_bytes = 1 << 20,
                                         .dedup_window_ms = 60000,
                                         .replicas = 1};
    const struct broker_group group = {.stream = "PARKING",
                                       .name = "processor-parking",
                                       .ack_wait_ms = 30000,
                                       .max_in_flight = 10,
                                       .max_attempts = 3};
    struct error err;

    (void)state;
    assert_ok(broker_declare(scene.broker, &stream, 1, &group, 1, NULL, NULL, WAIT_MS, &err));
    assert_int_equal(client_get(scene.client, "/consumers"), 200);
    assert_int_equal(count_of(scene.client->body, "\"processor-parking\""), 1);
    assert_int_equal(client_get(scene.client, "/consumers/processor-parking/lag"), 200);
    assert_non_null(strstr(scene.client->body, "\"stream\":\"PARKING\""));
    assert_int_equal(client_get(scene.client, "/consumers/nobody/lag"), 404);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_repeat_and_leave_out_nothing),
        cmocka_unit_test(a_consumer_of_two_topics_is_listed_once),
    };
    void *state = NULL;

    scene_start(&state);
    int failed = RUN_ROWS(rows, check_row) + cmocka_run_group_tests(tests, NULL, NULL);
    scene_end(&state);
    return failed;
}
