/* Partitions: made, filled from the default one, dropped. */
#include "support/test.h"

#include "support/store_fixture.h"

#include "base/clock.h"
#include "messages/parking.h"

#include <stdio.h>
#include <string.h>

#define PARTITIONS                                                                                 \
    "SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_inherits i"                      \
    " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'readings'::regclass"

#define BY_PARTITION                                                                               \
    "SELECT tableoid::regclass::text AS name, count(*) FROM readings GROUP BY name ORDER BY name"

static void maintain(const struct fixture *fixture, int64_t now_ms, int retention_days,
                     int want_dropped)
{
    struct error err;
    int dropped = -1;

    assert_ok(
        store_maintain(fixture->store, &store_readings, now_ms, retention_days, &dropped, &err));
    assert_int_equal(dropped, want_dropped);
}

static void insert_at(const struct fixture *fixture, int64_t timestamp_ms)
{
    struct reading_event event = fixture_reading("m", timestamp_ms, 1);

    assert_true(fixture_insert(fixture->store, &store_readings, &event));
}

static void a_day_before_and_three_ahead_are_made(void **state)
{
    struct fixture *fixture = *state;

    maintain(fixture, NOON, 0, 0);
    maintain(fixture, NOON, 0, 0);
    fixture_expect(fixture, PARTITIONS,
                   "readings_default readings_p20261120 readings_p20261121 readings_p20261122"
                   " readings_p20261123 readings_p20261124");
    maintain(fixture, NOON + DAY, 0, 0);
    fixture_expect(fixture, "SELECT to_regclass('readings_p20261125')", "readings_p20261125");
}

static void every_row_is_in_the_partition_of_its_day(void **state)
{
    struct fixture *fixture = *state;

    maintain(fixture, NOON, 0, 0);
    insert_at(fixture, NOON - 12 * HOUR);     /* the first moment of the day */
    insert_at(fixture, NOON + 12 * HOUR - 1); /* the last */
    insert_at(fixture, NOON + 12 * HOUR);
    insert_at(fixture, NOON - 40 * DAY);
    insert_at(fixture, 0);
    fixture_expect(fixture, BY_PARTITION,
                   "readings_default|2\nreadings_p20261121|2\nreadings_p20261122|1");
}

static void rows_in_default_move_into_their_partition(void **state)
{
    struct fixture *fixture = *state;
    struct reading_event early = fixture_reading("m", NOON, 7);

    assert_true(fixture_insert(fixture->store, &store_readings, &early));
    insert_at(fixture, NOON + DAY);
    insert_at(fixture, NOON - 9 * DAY);
    maintain(fixture, NOON, 0, 0);
    fixture_expect(fixture, BY_PARTITION,
                   "readings_default|1\nreadings_p20261121|1\nreadings_p20261122|1");
    assert_false(fixture_insert(fixture->store, &store_readings, &early));
    fixture_expect(fixture, "SELECT power_reading, stream_id FROM readings WHERE power_reading = 7",
                   "7|1");
}

static void arrived_when_they_happened(const struct fixture *fixture)
{
    fixture_run(fixture, "UPDATE readings SET stored_at = timestamp");
}

static void retention_drops_whole_days_and_cleans_default(void **state)
{
    struct fixture *fixture = *state;

    maintain(fixture, NOON, 0, 0);
    insert_at(fixture, NOON);
    insert_at(fixture, NOON - 9 * DAY);
    insert_at(fixture, NOON - 2 * DAY - 1); /* before the first partition */
    arrived_when_they_happened(fixture);
    maintain(fixture, NOON + 3 * DAY, 3, 1); /* up to the 21st at noon: the 20th has ended */
    fixture_expect(fixture, BY_PARTITION, "readings_p20261121|1");
    maintain(fixture, NOON + 4 * DAY, 3, 1);
    fixture_expect(fixture, "SELECT count(*) FROM readings", "0");
}

static void retention_keeps_what_is_younger(void **state)
{
    struct fixture *fixture = *state;

    insert_at(fixture, NOON - 10 * DAY + 1);
    insert_at(fixture, NOON - 10 * DAY - 1);
    insert_at(fixture, NOON + 100 * DAY);
    arrived_when_they_happened(fixture);
    maintain(fixture, NOON, 10, 0);
    fixture_expect(fixture, "SELECT count(*) FROM readings_default", "2");
}

/* Acknowledged today, it is not deleted today, however old it says it is. */
static void retention_counts_from_the_arrival_of_what_came_late(void **state)
{
    struct fixture *fixture = *state;

    insert_at(fixture, NOON - 4000 * DAY);
    maintain(fixture, NOON, 10, 0);
    fixture_expect(fixture, "SELECT count(*) FROM readings_default", "1");
    arrived_when_they_happened(fixture);
    maintain(fixture, NOON, 10, 0);
    fixture_expect(fixture, "SELECT count(*) FROM readings_default", "0");
}

static void keep(const struct fixture *fixture, const struct store_table *table)
{
    struct error err;
    char sql[120], want[80];
    int dropped;

    assert_ok(store_maintain(fixture->store, table, NOON, 1, &dropped, &err));
    assert_ok(store_maintain(fixture->store, table, NOON + DAY, 1, &dropped, &err));
    assert_int_equal(dropped, 1);
    snprintf(want, sizeof(want), "%s_p20261122", table->name);
    snprintf(sql, sizeof(sql), "SELECT to_regclass('%s')", want);
    fixture_expect(fixture, sql, want);
}

/* Every table that says what it is partitioned by is. */
static void every_partitioned_table_is_kept(void **state)
{
    static const struct store_table *const tables[] = {
        &store_logs, &store_readings, &store_parking_summaries, &store_weather_results};

    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        keep(*state, tables[i]);
}

static void insert_summary(const struct fixture *fixture, int revision, int64_t exit_ms)
{
    const struct parking_summary summary = {.id = id_new(exit_ms),
                                            .session_id = {{7}},
                                            .exit_time_ms = exit_ms,
                                            .entry_time_ms = exit_ms,
                                            .revision = revision,
                                            .garage_id = "g",
                                            .vehicle_plate = "AB",
                                            .currency = "EUR"};

    assert_true(fixture_insert(fixture->store, &store_parking_summaries, &summary));
}

/* In a partition that is made around rows of the default one, too. */
static void a_correction_is_kept_a_day_longer_than_what_it_corrects(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    int dropped;

    insert_summary(fixture, 1, NOON);
    fixture_expect(fixture, "SELECT count(*) FROM parking_corrections", "0");
    insert_summary(fixture, 3, NOON);
    assert_ok(store_maintain(fixture->store, &store_parking_summaries, NOON, 0, &dropped, &err));
    insert_summary(fixture, 2, NOON);
    fixture_expect(fixture, "SELECT revision FROM parking_corrections", "3");
    fixture_run(fixture, "UPDATE parking_corrections SET stored_at = '2026-11-21 12:00Z'");
    assert_ok(store_maintain(fixture->store, &store_parking_summaries, NOON + 2 * DAY, 1, &dropped,
                             &err));
    fixture_expect(fixture, "SELECT count(*) FROM parking_corrections", "1");
    assert_ok(store_maintain(fixture->store, &store_parking_summaries, NOON + 2 * DAY + 1, 1,
                             &dropped, &err));
    fixture_expect(fixture, "SELECT count(*) FROM parking_corrections", "0");
}

static void second_process_leaves_it_to_the_first(void **state)
{
    struct fixture *fixture = *state;
    const struct store_query lock = {
        .name = "lock",
        .sql = "SELECT pg_advisory_lock(hashtext('millrace'), hashtext('readings'))::text AS x"};
    AUTO(store_close) struct store *other = fixture_connect(fixture);
    AUTO(buffer_free) struct buffer out = {0};
    struct json_writer writer = {.out = &out};
    struct store_page page = {0};
    struct error err;

    assert_ok(store_select(other, &lock, NULL, &writer, &page, &err));
    maintain(fixture, NOON, 0, 0);
    fixture_expect(fixture, PARTITIONS, "readings_default");
    store_close(other);
    other = NULL;
    /* The server takes a moment to see that the session ended. */
    fixture_expect(fixture,
                   "SELECT pg_advisory_lock(hashtext('millrace'), hashtext('readings')),"
                   " pg_advisory_unlock(hashtext('millrace'), hashtext('readings'))",
                   "|t");
    maintain(fixture, NOON, 0, 0);
    fixture_expect(fixture, "SELECT to_regclass('readings_p20261121')", "readings_p20261121");
    fixture_expect(fixture, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0");
}

/* A session that reads for ever must not make inserts wait for ever behind the drop. */
static void drop_gives_up_when_the_table_is_in_use(void **state)
{
    struct fixture *fixture = *state;
    const struct store_query hold = {.name = "hold",
                                     .sql = "SELECT count(*) FROM readings_p20261120"};
    AUTO(store_close) struct store *reader = fixture_connect(fixture);
    AUTO(buffer_free) struct buffer out = {0};
    struct json_writer writer = {.out = &out};
    struct store_page page = {0};
    struct error err;
    int dropped;

    maintain(fixture, NOON, 0, 0);
    const struct store_query begin = {.name = "begin", .sql = "BEGIN"};
    assert_ok(store_select(reader, &begin, NULL, &writer, &page, &err));
    assert_ok(store_select(reader, &hold, NULL, &writer, &page, &err));
    int64_t start_ms = clock_steady_ms(clock_system());
    assert_fails(store_maintain(fixture->store, &store_readings, NOON + 9 * DAY, 1, &dropped, &err),
                 ERROR_UNAVAILABLE);
    assert_true(clock_steady_ms(clock_system()) - start_ms < 2000);
    fixture_expect(fixture, "SELECT to_regclass('readings_p20261130')", "readings_p20261130");
    insert_at(fixture, NOON);
    store_close(reader);
    reader = NULL;
    maintain(fixture, NOON + 9 * DAY, 1, 5);
}

#define ON_DATABASE(test) cmocka_unit_test_setup_teardown(test, fixture_database, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DATABASE(a_day_before_and_three_ahead_are_made),
        ON_DATABASE(every_row_is_in_the_partition_of_its_day),
        ON_DATABASE(rows_in_default_move_into_their_partition),
        ON_DATABASE(retention_drops_whole_days_and_cleans_default),
        ON_DATABASE(retention_keeps_what_is_younger),
        ON_DATABASE(retention_counts_from_the_arrival_of_what_came_late),
        ON_DATABASE(every_partitioned_table_is_kept),
        ON_DATABASE(a_correction_is_kept_a_day_longer_than_what_it_corrects),
        ON_DATABASE(second_process_leaves_it_to_the_first),
        ON_DATABASE(drop_gives_up_when_the_table_is_in_use),
    };

    return cmocka_run_group_tests(tests, fixture_start, fixture_end);
}
