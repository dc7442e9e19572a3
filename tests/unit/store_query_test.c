/* Pages, statistics and their plans. */
#include "support/test.h"

#include "support/store_fixture.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANY                                                                                        \
    {                                                                                              \
        .present = false                                                                           \
    }
#define AT(ms)                                                                                     \
    {                                                                                              \
        .present = true, .type = STORE_TIME, .integer = (ms)                                       \
    }
#define NUMBER(n)                                                                                  \
    {                                                                                              \
        .present = true, .type = STORE_INT, .integer = (n)                                         \
    }
#define WORD(word)                                                                                 \
    {                                                                                              \
        .present = true, .type = STORE_TEXT, .text = (word)                                        \
    }

/* Appends "[rows]" to out. */
static void query(struct store *store, const struct store_query *query,
                  const struct store_value *parameters, struct buffer *out, struct store_page *page)
{
    struct json_writer writer = {.out = out};
    struct error err;

    json_open(&writer, NULL, page->single ? '{' : '[');
    assert_ok(store_select(store, query, parameters, &writer, page, &err));
    json_close(&writer, page->single ? '}' : ']');
}

static void expect(const struct fixture *fixture, const struct store_query *what,
                   const struct store_value *parameters, const char *want)
{
    AUTO(buffer_free) struct buffer out = {0};
    struct store_page page = {0};

    query(fixture->store, what, parameters, &out, &page);
    buffer_free(&page.last_keys);
    assert_string_equal(out.data, want);
}

/* ---- rows as JSON ---- */

static void log_becomes_json(void **state)
{
    struct fixture *fixture = *state;
    struct log_event event = fixture_log(NOON + 250);
    const struct store_value parameters[] = {ANY, ANY, ANY, ANY, ANY, ANY, ANY, NUMBER(10)};

    assert_true(id_parse("0190b0e0-0000-7000-8000-000000000001", 36, &event.id));
    event.message = "say \"hi\"\n";
    assert_true(fixture_insert(fixture->store, &store_logs, &event));
    expect(fixture, &store_logs_page, parameters,
           "[{\"id\":1,\"message\":\"say \\\"hi\\\"\\n\",\"timestamp\":1795262400.25,"
           "\"time\":\"2026-11-21T12:00:00.250Z\",\"level\":\"INFO\",\"service\":\"payments\","
           "\"event_id\":\"0190b0e0-0000-7000-8000-000000000001\",\"attributes\":{\"order\": 1},"
           "\"stream_id\":\"1\",\"traceparent\":null}]");
}

static void reading_becomes_json(void **state)
{
    struct fixture *fixture = *state;
    struct reading_event event = fixture_reading("m", NOON, 0.1);
    const struct store_value parameters[] = {WORD("site-1"), ANY, ANY, ANY, ANY, ANY, NUMBER(10)};

    assert_true(id_parse("0190b0e0-0000-7000-8000-000000000001", 36, &event.id));
    assert_true(fixture_insert(fixture->store, &store_readings, &event));
    expect(fixture, &store_readings_page, parameters,
           "[{\"stream_id\":\"1\",\"site_id\":\"site-1\",\"device_id\":\"m\","
           "\"power_reading\":0.1,\"timestamp\":\"2026-11-21T12:00:00.000Z\","
           "\"id\":\"0190b0e0-0000-7000-8000-000000000001\"}]");
}

static void every_type_becomes_json(void **state)
{
    struct fixture *fixture = *state;
    const struct store_query types = {
        .name = "types",
        .sql = "SELECT true AS b, -7 AS i, -9e18::int8 AS l, 'x'::text AS t, NULL::text AS n,"
               " 1.5::float8 AS d, 'NaN'::float8 AS nan, timestamptz '1969-12-31 23:59:59.9999Z'"
               " AS time, 'k1' ::text AS \"@a\", -3::int8 AS \"@b\""};
    AUTO(buffer_free) struct buffer out = {0};
    struct store_page page = {.single = true};

    query(fixture->store, &types, NULL, &out, &page);
    assert_string_equal(out.data, "{\"b\":true,\"i\":-7,\"l\":-9000000000000000000,\"t\":\"x\","
                                  "\"n\":null,\"d\":1.5,\"nan\":null,"
                                  "\"time\":\"1969-12-31T23:59:59.999Z\"}");
    assert_string_equal(page.last_keys.data, "k1|-3");
    assert_int_equal(page.rows, 1);
    buffer_free(&page.last_keys);
}

static void unknown_type_is_a_bug(void **state)
{
    struct fixture *fixture = *state;
    const struct store_query numeric = {.name = "numeric", .sql = "SELECT 1.5 AS d"};
    AUTO(buffer_free) struct buffer out = {0};
    struct json_writer writer = {.out = &out};
    struct store_page page = {0};
    struct error err;

    assert_fails(store_select(fixture->store, &numeric, NULL, &writer, &page, &err),
                 ERROR_INTERNAL);
}

/* ---- pages ---- */

#define PAGED 40

/* All rows of a table in pages; between the pages something new arrives at the top. */
static size_t walk(const struct fixture *fixture, const struct store_query *what,
                   struct store_value *parameters, struct buffer *out)
{
    const struct store_newest *newest = &what->newest;
    struct store_value *time = &parameters[newest->cursor - 1], *tie = time + 1;
    struct store_page page = {0};
    size_t rows = 0;

    do {
        query(fixture->store, what, parameters, out, &page);
        rows += page.rows;
        if (!page.rows)
            break;
        char *separator = strchr(page.last_keys.data, '|');
        *time = (struct store_value)AT(strtoll(page.last_keys.data, NULL, 10));
        *tie = (struct store_value){.present = true, .type = what->parameters[newest->cursor]};
        if (tie->type == STORE_ID)
            assert_true(id_parse(separator + 1, 36, &tie->id));
        else
            tie->integer = strtoll(separator + 1, NULL, 10);
        struct log_event log = fixture_log(NOON + DAY);
        struct reading_event reading = fixture_reading("new", NOON + DAY, 0);
        fixture_insert(fixture->store, &store_logs, &log);
        fixture_insert(fixture->store, &store_readings, &reading);
    } while (rows <= PAGED);
    buffer_free(&page.last_keys);
    return rows;
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;

    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

/* Half of the rows share one time; the others lie days apart, in and out of partitions. */
static int64_t time_of(int i)
{
    return i % 2 ? NOON : NOON - i * DAY / 4;
}

static void pages_of_logs_leave_out_and_repeat_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    int dropped;

    assert_ok(store_maintain(fixture->store, &store_logs, NOON, 0, &dropped, &err));
    for (int i = 0; i < PAGED; i++) {
        char message[32];
        struct log_event event = fixture_log(time_of(i));
        snprintf(message, sizeof(message), "<%d>", i);
        event.message = message;
        assert_true(fixture_insert(fixture->store, &store_logs, &event));
    }
    for (int limit = 1; limit <= 9; limit += 4) {
        struct store_value parameters[] = {ANY, ANY, ANY, ANY, WORD("<"), ANY, ANY, NUMBER(limit)};
        AUTO(buffer_free) struct buffer out = {0};
        assert_int_equal(walk(fixture, &store_logs_page, parameters, &out), PAGED);
        for (int i = 0; i < PAGED; i++) {
            char message[32];
            snprintf(message, sizeof(message), "<%d>", i);
            assert_int_equal(count_of(out.data, message), 1);
        }
    }
}

static void pages_of_readings_leave_out_and_repeat_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    int dropped;

    assert_ok(store_maintain(fixture->store, &store_readings, NOON, 0, &dropped, &err));
    for (int i = 0; i < PAGED; i++) {
        struct reading_event event = fixture_reading("old", time_of(i), 5000 + i);
        assert_true(fixture_insert(fixture->store, &store_readings, &event));
    }
    for (int limit = 1; limit <= 9; limit += 4) {
        struct store_value parameters[] = {WORD("site-1"), ANY, ANY, WORD("old"), ANY, ANY,
                                           NUMBER(limit)};
        AUTO(buffer_free) struct buffer out = {0};
        assert_int_equal(walk(fixture, &store_readings_page, parameters, &out), PAGED);
        for (int i = 0; i < PAGED; i++) {
            char power[32];
            snprintf(power, sizeof(power), ":%d,", 5000 + i);
            assert_int_equal(count_of(out.data, power), 1);
        }
    }
}

/* The shortcut over the newest day must give what the whole range gives, with today's clock. */
static void newest_page_reaches_beyond_the_newest_day(void **state)
{
    struct fixture *fixture = *state;
    int64_t now_ms = clock_wall_ms(clock_system());
    static const int hours[] = {-1, 2, 23, 25, 49, 1000};

    for (size_t i = 0; i < ARRAY_LEN(hours); i++) {
        struct reading_event event = fixture_reading("m", now_ms - hours[i] * HOUR, hours[i]);
        assert_true(fixture_insert(fixture->store, &store_readings, &event));
    }
    for (int limit = 1; limit <= 7; limit++) {
        const struct store_value parameters[] = {WORD("site-1"), ANY, ANY, ANY, ANY, ANY,
                                                 NUMBER(limit)};
        AUTO(buffer_free) struct buffer out = {0};
        struct store_page page = {0};
        query(fixture->store, &store_readings_page, parameters, &out, &page);
        assert_int_equal(page.rows, limit < 6 ? limit : 6);
        const char *at = out.data;
        for (size_t i = 0; i < page.rows; i++) {
            char power[32];
            snprintf(power, sizeof(power), "\"power_reading\":%d,", hours[i]);
            at = strstr(at, power);
            assert_non_null(at);
        }
        buffer_free(&page.last_keys);
    }
}

static const struct filter_row {
    const char *name;
    struct store_value parameters[8];
    const char *want; /* the messages, newest first */
} filter_rows[] = {
    {"no filter gives all", {ANY, ANY, ANY, ANY, ANY, ANY, ANY, NUMBER(9)}, "c b% A"},
    {"from is included", {AT(NOON + 1), ANY, ANY, ANY, ANY, ANY, ANY, NUMBER(9)}, "c b%"},
    {"to is not", {ANY, AT(NOON + 1), ANY, ANY, ANY, ANY, ANY, NUMBER(9)}, "A"},
    {"a level", {ANY, ANY, WORD("ERROR"), ANY, ANY, ANY, ANY, NUMBER(9)}, "b%"},
    {"a service", {ANY, ANY, ANY, WORD("mail"), ANY, ANY, ANY, NUMBER(9)}, "c"},
    {"text in either case", {ANY, ANY, ANY, ANY, WORD("a"), ANY, ANY, NUMBER(9)}, "A"},
    {"no wildcards in text", {ANY, ANY, ANY, ANY, WORD("%"), ANY, ANY, NUMBER(9)}, "b%"},
    {"no wildcards in text", {ANY, ANY, ANY, ANY, WORD("_"), ANY, ANY, NUMBER(9)}, ""},
    {"a limit", {ANY, ANY, ANY, ANY, ANY, ANY, ANY, NUMBER(2)}, "c b%"},
    {"an empty range", {AT(NOON + 1), AT(NOON), ANY, ANY, ANY, ANY, ANY, NUMBER(9)}, ""},
};

static void insert_three(const struct fixture *fixture)
{
    struct log_event events[] = {fixture_log(NOON), fixture_log(NOON + 1), fixture_log(NOON + 2)};

    events[0].message = "A";
    events[1].message = "b%";
    events[1].level = LOG_EVENT_ERROR;
    events[2].message = "c";
    events[2].service = "mail";
    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        assert_true(fixture_insert(fixture->store, &store_logs, &events[i]));
}

static void filters(void **state)
{
    struct fixture *fixture = *state;

    insert_three(fixture);
    for (size_t i = 0; i < ARRAY_LEN(filter_rows); i++) {
        AUTO(buffer_free) struct buffer out = {0}, messages = {0};
        struct store_page page = {0};
        query(fixture->store, &store_logs_page, filter_rows[i].parameters, &out, &page);
        buffer_text(&messages, "");
        for (const char *at = out.data; (at = strstr(at, "\"message\":\""));) {
            at += strlen("\"message\":\"");
            buffer_print(&messages, "%s%.*s", messages.size ? " " : "", (int)strcspn(at, "\""), at);
        }
        print_message("%s\n", filter_rows[i].name);
        assert_string_equal(messages.data, filter_rows[i].want);
        buffer_free(&page.last_keys);
    }
}

static void negative_limit_is_invalid(void **state)
{
    struct fixture *fixture = *state;
    const struct store_value parameters[] = {ANY, ANY, ANY, ANY, ANY, ANY, ANY, NUMBER(-1)};
    AUTO(buffer_free) struct buffer out = {0};
    struct json_writer writer = {.out = &out};
    struct store_page page = {0};
    struct error err;

    assert_fails(store_select(fixture->store, &store_logs_page, parameters, &writer, &page, &err),
                 ERROR_INVALID);
}

/* ---- statistics of logs ---- */

static void logs_are_counted(void **state)
{
    struct fixture *fixture = *state;
    const struct store_value all[] = {ANY, ANY, ANY, ANY, NUMBER(10)};
    const struct store_value none[] = {AT(NOON + DAY), ANY, ANY, ANY, NUMBER(10)};
    const struct store_value errors[] = {ANY, ANY, WORD("ERROR"), ANY, NUMBER(10)};
    struct log_event late = fixture_log(NOON + 60 * SECOND);

    insert_three(fixture);
    late.message = "c";
    assert_true(fixture_insert(fixture->store, &store_logs, &late));
    expect(fixture, &store_logs_levels, all,
           "[{\"level\":\"INFO\",\"count\":3,\"share\":0.75},"
           "{\"level\":\"ERROR\",\"count\":1,\"share\":0.25}]");
    expect(fixture, &store_logs_services, all,
           "[{\"service\":\"payments\",\"count\":3,\"errors\":1,\"error_rate\":0.3333333333333333,"
           "\"last_seen\":\"2026-11-21T12:01:00.000Z\"},{\"service\":\"mail\",\"count\":1,"
           "\"errors\":0,\"error_rate\":0,\"last_seen\":\"2026-11-21T12:00:00.002Z\"}]");
    expect(
        fixture, &store_logs_minutes, all,
        "[{\"minute\":\"2026-11-21T12:00:00.000Z\",\"count\":3,\"trace\":0,\"debug\":0,"
        "\"info\":2,\"warning\":0,\"error\":1,\"critical\":0,\"error_rate\":0.3333333333333333},"
        "{\"minute\":\"2026-11-21T12:01:00.000Z\",\"count\":1,\"trace\":0,\"debug\":0,\"info\":1,"
        "\"warning\":0,\"error\":0,\"critical\":0,\"error_rate\":0}]");
    expect(fixture, &store_logs_top, errors,
           "[{\"message\":\"b%\",\"count\":1,\"last_seen\":\"2026-11-21T12:00:00.001Z\"}]");
    expect(
        fixture, &store_logs_summary, all,
        "[{\"count\":4,\"errors\":1,\"error_rate\":0.25,"
        "\"first_seen\":\"2026-11-21T12:00:00.000Z\",\"last_seen\":\"2026-11-21T12:01:00.000Z\"}]");
    expect(fixture, &store_logs_summary, none,
           "[{\"count\":0,\"errors\":0,\"error_rate\":0,\"first_seen\":null,\"last_seen\":null}]");
    expect(fixture, &store_logs_levels, none, "[]");
}

/* ---- energy ---- */

#define MINUTE (60 * SECOND)

struct point {
    const char *device;
    int64_t after_noon_ms;
    double power;
};

static const struct energy_row {
    const char *name;
    struct point points[6]; /* a NULL device ends */
    struct store_value from, to;
    const char *bucket;
    int64_t max_gap_seconds;
    const char *want; /* hour or day: count, devices, min, avg, max, kWh */
} energy_rows[] = {
    {"1000 W for half an hour is 0.5 kWh",
     {{"a", 0, 1000}, {"a", 30 * MINUTE, 1000}},
     ANY,
     ANY,
     "hour",
     3600,
     "12: 2 1 1000 1000 1000 0.5"},
    {"between two readings the power is a line",
     {{"a", 0, 0}, {"a", 30 * MINUTE, 2000}},
     ANY,
     ANY,
     "hour",
     3600,
     "12: 2 1 0 1000 2000 0.5"},
    {"an interval is cut where the hour ends, the power there interpolated",
     {{"a", 30 * MINUTE, 1800}, {"a", 90 * MINUTE, 5400}},
     ANY,
     ANY,
     "hour",
     3600,
     "12: 1 1 1800 1800 1800 1.35; 13: 1 1 5400 5400 5400 2.25"},
    {"the same in one day is the sum",
     {{"a", 30 * MINUTE, 1800}, {"a", 90 * MINUTE, 5400}},
     ANY,
     ANY,
     "day",
     3600,
     "00: 2 1 1800 3600 5400 3.6"},
    {"a range takes its part of the interval that enters it",
     {{"a", 30 * MINUTE, 1800}, {"a", 90 * MINUTE, 5400}},
     AT(NOON + HOUR),
     ANY,
     "hour",
     3600,
     "13: 1 1 5400 5400 5400 2.25"},
    {"and of the one that leaves it",
     {{"a", 30 * MINUTE, 1800}, {"a", 90 * MINUTE, 5400}},
     ANY,
     AT(NOON + HOUR),
     "hour",
     3600,
     "12: 1 1 1800 1800 1800 1.35"},
    {"even when no reading is inside",
     {{"a", -10 * MINUTE, 600}, {"a", 130 * MINUTE, 600}},
     AT(NOON),
     AT(NOON + 2 * HOUR),
     "hour",
     10800,
     "12: 0 0 null null null 0.6; 13: 0 0 null null null 0.6"},
    {"a gap as long as the limit is bridged",
     {{"a", 0, 1000}, {"a", HOUR, 1000}},
     ANY,
     ANY,
     "hour",
     3600,
     "12: 1 1 1000 1000 1000 1; 13: 1 1 1000 1000 1000 0"},
    {"a longer one is not",
     {{"a", 0, 1000}, {"a", HOUR + 1, 1000}},
     ANY,
     ANY,
     "hour",
     3600,
     "12: 1 1 1000 1000 1000 0; 13: 1 1 1000 1000 1000 0"},
    {"devices are integrated on their own and added",
     {{"a", 0, 1000}, {"b", 10 * MINUTE, 500}, {"a", 30 * MINUTE, 1000}, {"b", 40 * MINUTE, 500}},
     ANY,
     ANY,
     "hour",
     3600,
     "12: 4 2 500 750 1000 0.75"},
    {"two readings at once have no time between them",
     {{"a", 0, 1000}, {"a", 30 * MINUTE, 1000}, {"a", 30 * MINUTE, 1000}, {"a", 45 * MINUTE, 1000}},
     ANY,
     ANY,
     "hour",
     3600,
     "12: 4 1 1000 1000 1000 0.75"},
    {"what is fed in counts negative",
     {{"a", 0, -2000}, {"a", 30 * MINUTE, -2000}},
     ANY,
     ANY,
     "hour",
     3600,
     "12: 2 1 -2000 -2000 -2000 -1"},
    {"no readings, no buckets", {{0}}, ANY, ANY, "hour", 3600, ""},
};

/* [{"from":"2026-11-21T12:…","count":2,…}] as "12: 2 …" */
static void shorten(const char *json, struct buffer *out)
{
    buffer_text(out, "");
    for (const char *at = json; (at = strstr(at, "\"from\":\""));) {
        at += strlen("\"from\":\"");
        buffer_print(out, "%s%.2s:", out->size ? "; " : "", at + strlen("2026-11-21T"));
        const char *end = strchr(at, '}');
        while ((at = strchr(at, ',')) && at < end) {
            at = strstr(at, "\":") + 2;
            buffer_print(out, " %.*s", (int)strcspn(at, ",}"), at);
        }
        at = end;
    }
}

static void energy(void **state)
{
    struct fixture *fixture = *state;
    struct reading_event other = fixture_reading("z", NOON, 9999);

    other.site_id = "site-2";
    for (size_t i = 0; i < ARRAY_LEN(energy_rows); i++) {
        const struct energy_row *row = &energy_rows[i];
        const struct store_value parameters[] = {WORD("site-1"),    ANY,
                                                 row->from,         row->to,
                                                 WORD(row->bucket), NUMBER(row->max_gap_seconds),
                                                 NUMBER(100)};
        AUTO(buffer_free) struct buffer out = {0}, got = {0};
        struct store_page page = {0};

        fixture_run(fixture, "TRUNCATE readings");
        fixture_insert(fixture->store, &store_readings, &other);
        for (const struct point *point = row->points; point->device; point++) {
            struct reading_event event =
                fixture_reading(point->device, NOON + point->after_noon_ms, point->power);
            fixture_insert(fixture->store, &store_readings, &event);
        }
        query(fixture->store, &store_readings_stats, parameters, &out, &page);
        shorten(out.data, &got);
        print_message("%s\n", row->name);
        assert_string_equal(got.data, row->want);
    }
}

static void energy_of_one_device(void **state)
{
    struct fixture *fixture = *state;
    const struct store_value parameters[] = {WORD("site-1"), WORD("a"), AT(NOON), AT(NOON + HOUR),
                                             WORD("hour"),   ANY,       NUMBER(1)};

    for (int i = 0; i < 4; i++) {
        struct reading_event event =
            fixture_reading(i % 2 ? "a" : "b", NOON + 15 * MINUTE * i, i % 2 ? 1000 : 70);
        assert_true(fixture_insert(fixture->store, &store_readings, &event));
    }
    expect(fixture, &store_readings_stats, parameters,
           "[{\"from\":\"2026-11-21T12:00:00.000Z\",\"count\":2,\"devices\":1,\"min\":1000,"
           "\"avg\":1000,\"max\":1000,\"energy_kwh\":0.5}]");
}

/* ---- plans ---- */

static void explain(const struct fixture *fixture, const struct store_query *what,
                    const char *arguments, struct buffer *out)
{
    AUTO(buffer_free) struct buffer sql = {0};
    struct error err;

    buffer_print(&sql,
                 "SET plan_cache_mode = force_generic_plan; PREPARE q AS %s;"
                 " EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE q (%s)",
                 what->sql, arguments);
    assert_ok(postgres_query(&fixture->server, sql.data, out, &err));
}

static const struct plan_row {
    const char *name;
    const struct store_query *query;
    const char *arguments;
    bool one_partition;
    bool sorts; /* what its index finds, which is little */
} plan_rows[] = {
    {"the newest logs come from the index", &store_logs_page,
     "NULL, NULL, NULL, NULL, NULL, NULL, NULL, 10", false, false},
    {"logs of a day touch one partition", &store_logs_page,
     "'2026-11-21 00:00Z', '2026-11-22 00:00Z', NULL, NULL, NULL, NULL, NULL, 10", true, false},
    {"a cursor prunes too", &store_logs_page,
     "'2026-11-21 00:00Z', NULL, NULL, NULL, NULL, '2026-11-21 12:00Z', 500, 10", true, false},
    {"the newest readings of a site come from the index", &store_readings_page,
     "'site-1', NULL, NULL, NULL, NULL, NULL, 10", false, false},
    {"readings of a day touch one partition", &store_readings_page,
     "'site-1', '2026-11-21 00:00Z', '2026-11-22 00:00Z', NULL, NULL, NULL, 10", true, false},
    {"the newest sessions come from the index", &store_parking_sessions,
     "NULL, NULL, NULL, NULL, NULL, NULL, NULL, 10", false, false},
    {"sessions of a plate do, and are sorted", &store_parking_sessions,
     "'P7', NULL, NULL, NULL, NULL, NULL, NULL, 10", false, true},
    {"sessions of a garage do", &store_parking_sessions,
     "NULL, 'g', NULL, NULL, NULL, NULL, NULL, 10", false, false},
    {"open sessions do", &store_parking_sessions, "NULL, NULL, 'true', NULL, NULL, NULL, NULL, 10",
     false, false},
    {"the newest invoices do", &store_parking_invoices, "NULL, NULL, NULL, NULL, NULL, NULL, 10",
     false, false},
    {"invoices of a plate do", &store_parking_invoices, "'P7', NULL, NULL, NULL, NULL, NULL, 10",
     false, false},
    {"invoices of a garage do", &store_parking_invoices, "NULL, 'g', NULL, NULL, NULL, NULL, 10",
     false, false},
    {"who is in a garage does", &store_parking_garage, "'g', NULL", false, false},
    {"a weather result does", &store_weather_result, "'00000000-0000-0000-0000-000000000001'",
     false, false},
};

static void fill_tables(const struct fixture *fixture)
{
    static const struct store_table *const tables[] = {&store_logs, &store_readings,
                                                       &store_parking_summaries};
    struct error err;
    int dropped;

    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        assert_ok(store_maintain(fixture->store, tables[i], NOON, 0, &dropped, &err));
    fixture_run(fixture,
                "INSERT INTO logs (timestamp, id, level, service, message)"
                " SELECT timestamptz '2026-11-24Z' - n * interval '20s', gen_random_uuid(), 'INFO',"
                " 's', 'm' FROM generate_series(1, 20000) n;"
                "INSERT INTO readings (timestamp, id, site_id, device_id, power_reading)"
                " SELECT timestamptz '2026-11-24Z' - n * interval '20s', gen_random_uuid(),"
                " 'site-' || n % 9, 'd', n FROM generate_series(1, 20000) n;"
                "INSERT INTO parking_sessions (entry_time, exit_time, session_id, revision,"
                " matched, anomalous, withdrawn, garage_id, vehicle_plate)"
                " SELECT timestamptz '2026-11-24Z' - n * interval '20s', '2026-11-25Z',"
                " gen_random_uuid(), 1, true, false, false, 'g', 'P' || n % 999"
                " FROM generate_series(1, 20000) n;"
                "INSERT INTO parking_events (time, id, is_exit, garage_id, vehicle_plate)"
                " SELECT entry_time, session_id, false, garage_id, vehicle_plate"
                " FROM parking_sessions;"
                "INSERT INTO parking_summaries (exit_time, entry_time, duration_s, amount_cents,"
                " id, session_id, revision, matched, anomalous, withdrawn, garage_id,"
                " vehicle_plate, currency) SELECT entry_time, entry_time, 0, 0, session_id,"
                " session_id, 1 + (revision % 2), true, false, false, 'g', vehicle_plate, 'EUR'"
                " FROM parking_sessions;"
                "INSERT INTO weather_results (request_time, temperature, wind_speed, id, humidity,"
                " outcome, reason, detail, city, location, condition, provider)"
                " SELECT timestamptz '2026-11-24Z' - n * interval '20s', 0, 0, gen_random_uuid(),"
                " 0, 'OK', '', '', '', '', '', '' FROM generate_series(1, 20000) n; ANALYZE");
}

static void pages_use_indexes_and_prune(void **state)
{
    struct fixture *fixture = *state;

    fill_tables(fixture);
    for (size_t i = 0; i < ARRAY_LEN(plan_rows); i++) {
        AUTO(buffer_free) struct buffer plan = {0};
        print_message("%s\n", plan_rows[i].name);
        explain(fixture, plan_rows[i].query, plan_rows[i].arguments, &plan);
        bool sorts =
            count_of(plan.data, "Sort Method") != count_of(plan.data, "Sort (actual rows=0");
        if (strstr(plan.data, "Seq Scan") || strstr(plan.data, "Bitmap") ||
            sorts != plan_rows[i].sorts)
            fail_msg("%s", plan.data);
        if (plan_rows[i].one_partition && count_of(plan.data, "Index Scan") != 1)
            fail_msg("%s", plan.data);
    }
}

#define ON_DATABASE(test) cmocka_unit_test_setup_teardown(test, fixture_database, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DATABASE(log_becomes_json),
        ON_DATABASE(reading_becomes_json),
        ON_DATABASE(every_type_becomes_json),
        ON_DATABASE(unknown_type_is_a_bug),
        ON_DATABASE(pages_of_logs_leave_out_and_repeat_nothing),
        ON_DATABASE(pages_of_readings_leave_out_and_repeat_nothing),
        ON_DATABASE(newest_page_reaches_beyond_the_newest_day),
        ON_DATABASE(filters),
        ON_DATABASE(negative_limit_is_invalid),
        ON_DATABASE(logs_are_counted),
        ON_DATABASE(energy),
        ON_DATABASE(energy_of_one_device),
        ON_DATABASE(pages_use_indexes_and_prune),
    };

    return cmocka_run_group_tests(tests, fixture_start, fixture_end);
}
