/* The connection, migrations and writing, on a real server that is killed and paused. */
#include "support/test.h"

#include "support/store_fixture.h"

#include "base/clock.h"
#include "store/migrations.h"

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define BATCH 100

static int migration_count(void)
{
    int count = 0;

    while (migrations[count].version)
        count++;
    return count;
}

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* Asks until the server answers again: what every worker's loop does. */
static void await_store(struct store *store)
{
    struct error err = {0};
    int64_t until_ms = now_ms() + 20000;
    bool answered = store_ping(store, &err);

    while (!answered && now_ms() < until_ms) {
        poll(NULL, 0, 50);
        answered = store_ping(store, &err);
    }
    if (!answered)
        fail_msg("%s", err.message);
}

/* ---- opening ---- */

static void refuse_url(const char *url)
{
    const struct store_options options = {.name = "test"};
    struct store *store = NULL;
    struct error err;

    assert_fails(store_open(&store, url, &options, &err), ERROR_INVALID);
    assert_null(strstr(err.message, "sec"));
}

static void url_is_checked_without_telling_it(void **state)
{
    (void)state;
    refuse_url("postgresql://user:secret@host:port/db");
    refuse_url("postgresql://user:sec/ret@host/db");
    refuse_url("postgresql://host/db?secret=1");
    refuse_url("secret");
}

static void away_server_is_unavailable_and_tried_again_later(void **state)
{
    const struct store_options options = {.name = "test", .timeout_ms = 1000};
    AUTO(store_close) struct store *store = NULL;
    struct error err;
    int refusals = 0;

    (void)state;
    assert_ok(store_open(&store, "postgresql://u:secret@127.0.0.1:1/x", &options, &err));
    int64_t start_ms = now_ms();
    for (int i = 0; i < 100; i++)
        refusals += !store_ping(store, &err) && err.code == ERROR_UNAVAILABLE &&
                    strstr(err.message, "refused") && !strstr(err.message, "secret");
    assert_int_equal(refusals, 100);
    assert_true(now_ms() - start_ms < 1000);
}

static void session_is_set_up(void **state)
{
    struct fixture *fixture = *state;

    fixture_expect(fixture,
                   "SELECT application_name, client_addr FROM pg_stat_activity"
                   " WHERE application_name = 'test'",
                   "test|127.0.0.1");
}

/* ---- migrations ---- */

static void migrations_run_once(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    int applied = -1;
    char want[16];

    snprintf(want, sizeof(want), "%d", migration_count());
    fixture_expect(fixture, "SELECT count(*) FROM schema_migrations", want);
    assert_ok(store_migrate(fixture->store, &applied, &err));
    assert_int_equal(applied, 0);
}

struct migrator {
    struct store *store;
    int applied;
    bool done;
    struct error err;
};

static void *migrate(void *context)
{
    struct migrator *migrator = context;

    migrator->done = store_migrate(migrator->store, &migrator->applied, &migrator->err);
    return NULL;
}

static void many_may_migrate_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct migrator migrators[4] = {0};
    pthread_t threads[ARRAY_LEN(migrators)];
    struct error err;
    int applied = 0;

    assert_ok(postgres_empty(&fixture->server, &err));
    for (size_t i = 0; i < ARRAY_LEN(migrators); i++) {
        migrators[i].store = fixture_connect(fixture);
        assert_int_equal(pthread_create(&threads[i], NULL, migrate, &migrators[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(migrators); i++) {
        pthread_join(threads[i], NULL);
        store_close(migrators[i].store);
        if (!migrators[i].done)
            fail_msg("%s", migrators[i].err.message);
        applied += migrators[i].applied;
    }
    assert_int_equal(applied, migration_count());
}

static const struct conflict_row {
    const char *name, *sql;
} conflict_rows[] = {
    {"a migration with another checksum is refused",
     "UPDATE schema_migrations SET checksum = 'x' WHERE version = 1"},
    {"a newer migration is refused",
     "INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'later', 'x')"},
    {"a migration missing in the middle is refused",
     "DELETE FROM schema_migrations WHERE version = 1"},
};

static void refuse_schema(const struct fixture *fixture, const struct conflict_row *row)
{
    struct error err;
    int applied;

    print_message("%s\n", row->name);
    fixture_run(fixture, "CREATE TABLE kept AS SELECT * FROM schema_migrations");
    fixture_run(fixture, row->sql);
    assert_fails(store_migrate(fixture->store, &applied, &err), ERROR_CONFLICT);
    assert_ok(store_ping(fixture->store, &err));
    fixture_run(fixture, "TRUNCATE schema_migrations;"
                         "INSERT INTO schema_migrations TABLE kept; DROP TABLE kept");
}

static void foreign_schema_is_refused(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(conflict_rows); i++)
        refuse_schema(*state, &conflict_rows[i]);
}

/* Another session holds the migrator's lock. */
static void waiting_for_another_migrator_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    AUTO(store_close) struct store *other = fixture_lock_migrations(fixture);
    struct error err;
    int applied;

    assert_non_null(other);
    int64_t start_ms = now_ms();
    assert_fails(store_migrate(fixture->store, &applied, &err), ERROR_UNAVAILABLE);
    assert_in_range(now_ms() - start_ms, FIXTURE_TIMEOUT_MS / 2, FIXTURE_TIMEOUT_MS + 500);
}

struct interruption {
    struct store *store;
    struct error error;
    int64_t waited_ms;
};

static void *migrate_interrupted(void *context)
{
    struct interruption *interruption = context;
    int64_t start_ms = now_ms();
    int applied;

    if (store_migrate(interruption->store, &applied, &interruption->error))
        interruption->error.code = ERROR_NONE;
    interruption->waited_ms = now_ms() - start_ms;
    return NULL;
}

static void interruption_ends_the_call_and_all_that_follow(void **state)
{
    struct fixture *fixture = *state;
    AUTO(store_close) struct store *other = fixture_lock_migrations(fixture);
    struct interruption interruption = {.store = fixture->store};
    struct error err;
    pthread_t thread;

    assert_non_null(other);
    assert_int_equal(pthread_create(&thread, NULL, migrate_interrupted, &interruption), 0);
    poll(NULL, 0, 100); /* let it begin to wait; where it did not, the rule is the same */
    store_interrupt(fixture->store);
    pthread_join(thread, NULL);
    assert_int_equal(interruption.error.code, ERROR_CLOSED);
    assert_in_range(interruption.waited_ms, 0, FIXTURE_TIMEOUT_MS / 2);
    assert_fails(store_ping(fixture->store, &err), ERROR_CLOSED);
}

/* ---- inserting ---- */

static void row_arrives_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    struct log_event event = fixture_log(NOON + 123);
    const struct store_row row = {.event = &event, .stream_id = "17", .traceparent = "00-1-2-01"};
    struct error err;
    size_t inserted;

    event.level = LOG_EVENT_CRITICAL;
    event.message = "äöü \"x\" {a,b} \\ \n NULL";
    assert_ok(store_insert(fixture->store, &store_logs, &row, 1, &inserted, &err));
    assert_int_equal(inserted, 1);
    fixture_expect(fixture,
                   "SET timezone = 'UTC'; SELECT timestamp, level, service,"
                   " message = E'äöü \"x\" {a,b} \\\\ \\n NULL', attributes,"
                   " stream_id, traceparent, seq FROM logs",
                   "2026-11-21 12:00:00.123+00|CRITICAL|payments|t|{\"order\": 1}|17|00-1-2-01|1");
}

static void absent_values_are_null(void **state)
{
    struct fixture *fixture = *state;
    struct log_event event = fixture_log(NOON);
    const struct store_row row = {.event = &event};
    struct error err;
    size_t inserted;

    event.attributes = NULL;
    assert_ok(store_insert(fixture->store, &store_logs, &row, 1, &inserted, &err));
    fixture_expect(fixture,
                   "SELECT attributes IS NULL, stream_id IS NULL, traceparent IS NULL FROM logs",
                   "t|t|t");
}

struct logs_batch {
    struct log_event events[BATCH];
    struct store_row rows[BATCH];
};

static void fill(struct logs_batch *batch)
{
    for (size_t i = 0; i < BATCH; i++) {
        batch->events[i] = fixture_log(NOON + (int64_t)i);
        batch->rows[i] = (struct store_row){.event = &batch->events[i], .stream_id = "1"};
    }
}

static void batch_is_stored_once(void **state)
{
    struct fixture *fixture = *state;
    struct logs_batch batch;
    struct error err;
    size_t inserted;

    fill(&batch);
    assert_ok(store_insert(fixture->store, &store_logs, batch.rows, 0, &inserted, &err));
    assert_int_equal(inserted, 0);
    assert_ok(store_insert(fixture->store, &store_logs, batch.rows, 60, &inserted, &err));
    assert_int_equal(inserted, 60);
    assert_ok(store_insert(fixture->store, &store_logs, batch.rows, BATCH, &inserted, &err));
    assert_int_equal(inserted, BATCH - 60);
    assert_ok(store_insert(fixture->store, &store_logs, batch.rows, BATCH, &inserted, &err));
    assert_int_equal(inserted, 0);
    fixture_expect(fixture, "SELECT count(*), count(DISTINCT id) FROM logs", "100|100");
}

static void duplicates_in_one_batch_are_stored_once(void **state)
{
    struct fixture *fixture = *state;
    struct logs_batch batch;
    struct error err;
    size_t inserted;

    fill(&batch);
    batch.events[7] = batch.events[3];
    batch.events[99] = batch.events[3];
    assert_ok(store_insert(fixture->store, &store_logs, batch.rows, BATCH, &inserted, &err));
    assert_int_equal(inserted, BATCH - 2);
}

static const struct refusal_row {
    const char *name;
    const char *says;
    int64_t timestamp_ms;
    const char *attributes, *message;
    bool no_id;
} refusal_rows[] = {
    {"an escaped NUL in attributes", "column attributes", NOON, "{\"a\":\"\\u0000\"}", "m", false},
    {"attributes that are not JSON", "column attributes", NOON, "{", "m", false},
    {"text that is not UTF-8", "column message", NOON, "{}", "\xff", false},
    {"a time beyond counting", "column timestamp", INT64_MAX, "{}", "m", false},
    {"a time beyond the server's", "column timestamp", INT64_MAX / 1000 + 946684800000, "{}", "m",
     false},
    {"a time before the calendar", "column timestamp", -(INT64_MAX / 2000), "{}", "m", false},
    {"no time", "\"timestamp\"", JSON_TIME_ABSENT, "{}", "m", false},
    {"no id", "\"id\"", NOON, "{}", "m", true},
    {"no message", "\"message\"", NOON, "{}", NULL, false},
};

static void refuse_data(const struct fixture *fixture, const struct refusal_row *row)
{
    struct logs_batch batch;
    struct log_event *wrong = &batch.events[50];
    struct error err;
    size_t inserted;

    print_message("%s\n", row->name);
    fill(&batch);
    wrong->timestamp_ms = row->timestamp_ms;
    wrong->attributes = row->attributes;
    wrong->message = row->message;
    if (row->no_id)
        wrong->id = (struct id){0};
    assert_fails(store_insert(fixture->store, &store_logs, batch.rows, BATCH, &inserted, &err),
                 ERROR_INVALID);
    if (!strstr(err.message, row->says))
        fail_msg("%s: does not say %s", err.message, row->says);
    fixture_expect(fixture, "SELECT count(*) FROM logs", "0");
    assert_true(fixture_insert(fixture->store, &store_logs, &batch.events[0]));
    fixture_run(fixture, "TRUNCATE logs");
}

static void refused_data_is_invalid_and_named(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(refusal_rows); i++)
        refuse_data(*state, &refusal_rows[i]);
}

static void numbers_arrive_exactly(void **state)
{
    struct fixture *fixture = *state;
    struct reading_event event = fixture_reading("m", NOON, nextafter(0.1, 1));

    assert_true(fixture_insert(fixture->store, &store_readings, &event));
    fixture_expect(fixture, "SELECT power_reading FROM readings", "0.10000000000000002");
}

/* ---- faults ---- */

static void idle_connection_that_was_cut_is_replaced(void **state)
{
    struct fixture *fixture = *state;
    struct log_event event = fixture_log(NOON);

    fixture_run(fixture, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                         " WHERE application_name = 'test'");
    await_store(fixture->store);
    assert_true(fixture_insert(fixture->store, &store_logs, &event));
}

static void killed_server_loses_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct log_event before = fixture_log(NOON), after = fixture_log(NOON + 1);
    const struct store_row row = {.event = &after};
    struct error err;
    size_t inserted;

    assert_true(fixture_insert(fixture->store, &store_logs, &before));
    postgres_kill(&fixture->server);
    assert_fails(store_insert(fixture->store, &store_logs, &row, 1, &inserted, &err),
                 ERROR_UNAVAILABLE);
    assert_fails(store_ping(fixture->store, &err), ERROR_UNAVAILABLE);
    assert_ok(postgres_start(&fixture->server, &err));
    await_store(fixture->store);
    assert_false(fixture_insert(fixture->store, &store_logs, &before));
    assert_true(fixture_insert(fixture->store, &store_logs, &after));
}

struct killer {
    struct postgres *server;
    int after_ms;
};

static void *kill_later(void *context)
{
    struct killer *killer = context;

    poll(NULL, 0, killer->after_ms);
    postgres_kill(killer->server);
    return NULL;
}

/* What was answered with true is there after the crash, once; what failed can be repeated. */
static void server_killed_while_inserting(void **state)
{
    struct fixture *fixture = *state;
    struct killer killer = {&fixture->server, 300};
    pthread_t thread;
    struct logs_batch batch;
    struct error err;
    size_t inserted, stored = 0;
    char want[32];

    assert_int_equal(pthread_create(&thread, NULL, kill_later, &killer), 0);
    for (bool up = true; up;) {
        fill(&batch);
        up = store_insert(fixture->store, &store_logs, batch.rows, BATCH, &inserted, &err);
        stored += up ? inserted : 0;
    }
    pthread_join(thread, NULL);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_ok(postgres_start(&fixture->server, &err));
    await_store(fixture->store);
    assert_ok(store_insert(fixture->store, &store_logs, batch.rows, BATCH, &inserted, &err));
    assert_true(inserted == 0 || inserted == BATCH);
    snprintf(want, sizeof(want), "%zu", stored + BATCH);
    fixture_expect(fixture, "SELECT count(DISTINCT id) FROM logs", want);
}

static void paused_server_is_unavailable_in_time(void **state)
{
    struct fixture *fixture = *state;
    const struct store_options options = {.name = "paused", .timeout_ms = 500};
    AUTO(store_close) struct store *store = NULL;
    struct log_event event = fixture_log(NOON);
    const struct store_row row = {.event = &event};
    struct error err;
    size_t inserted;

    assert_ok(store_open(&store, fixture->server.url, &options, &err));
    assert_ok(store_ping(store, &err));
    postgres_pause(&fixture->server);
    for (int i = 0; i < 2; i++) { /* on the old connection, and on a new one */
        int64_t start_ms = now_ms();
        bool stored = store_insert(store, &store_logs, &row, 1, &inserted, &err);
        int64_t took_ms = now_ms() - start_ms;
        if (stored || err.code != ERROR_UNAVAILABLE || took_ms < 400 || took_ms > 900)
            postgres_resume(&fixture->server);
        assert_false(stored);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
        assert_in_range(took_ms, 400, 900);
    }
    postgres_resume(&fixture->server);
    await_store(store);
    fixture_insert(store, &store_logs, &event);
    fixture_expect(fixture, "SELECT count(*) FROM logs", "1");
}

static void statement_that_waits_too_long_leaves_the_connection_usable(void **state)
{
    struct fixture *fixture = *state;
    const struct store_options options = {.name = "slow", .timeout_ms = 500};
    AUTO(store_close) struct store *store = NULL;
    struct log_event event = fixture_log(NOON);
    const struct store_row row = {.event = &event};
    const struct store_query slow = {.name = "slow", .sql = "SELECT pg_sleep(5)::text AS slept"};
    AUTO(buffer_free) struct buffer out = {0};
    struct json_writer writer = {.out = &out};
    struct store_page page = {0};
    struct error err;
    size_t inserted;

    assert_ok(store_open(&store, fixture->server.url, &options, &err));
    assert_fails(store_select(store, &slow, NULL, &writer, &page, &err), ERROR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "57014"));
    assert_ok(store_insert(store, &store_logs, &row, 1, &inserted, &err));
}

static void changed_table_is_prepared_anew(void **state)
{
    struct fixture *fixture = *state;
    const struct store_query query = {.name = "all", .sql = "SELECT * FROM schema_migrations"};
    AUTO(buffer_free) struct buffer out = {0};
    struct json_writer writer = {.out = &out};
    struct store_page page = {0};
    struct error err;

    fixture_run(fixture, "ALTER TABLE schema_migrations ALTER applied_at DROP NOT NULL");
    assert_ok(store_select(fixture->store, &query, NULL, &writer, &page, &err));
    fixture_run(fixture, "ALTER TABLE schema_migrations ADD more text");
    assert_fails(store_select(fixture->store, &query, NULL, &writer, &page, &err),
                 ERROR_UNAVAILABLE);
    await_store(fixture->store);
    assert_ok(store_select(fixture->store, &query, NULL, &writer, &page, &err));
    buffer_free(&page.last_keys);
}

#define ON_DATABASE(test) cmocka_unit_test_setup_teardown(test, fixture_database, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(url_is_checked_without_telling_it),
        cmocka_unit_test(away_server_is_unavailable_and_tried_again_later),
        ON_DATABASE(session_is_set_up),
        ON_DATABASE(migrations_run_once),
        ON_DATABASE(many_may_migrate_at_once),
        ON_DATABASE(foreign_schema_is_refused),
        ON_DATABASE(waiting_for_another_migrator_is_bounded),
        ON_DATABASE(interruption_ends_the_call_and_all_that_follow),
        ON_DATABASE(row_arrives_as_it_was),
        ON_DATABASE(absent_values_are_null),
        ON_DATABASE(batch_is_stored_once),
        ON_DATABASE(duplicates_in_one_batch_are_stored_once),
        ON_DATABASE(refused_data_is_invalid_and_named),
        ON_DATABASE(numbers_arrive_exactly),
        ON_DATABASE(idle_connection_that_was_cut_is_replaced),
        ON_DATABASE(killed_server_loses_nothing),
        ON_DATABASE(server_killed_while_inserting),
        ON_DATABASE(paused_server_is_unavailable_in_time),
        ON_DATABASE(statement_that_waits_too_long_leaves_the_connection_usable),
        ON_DATABASE(changed_table_is_prepared_anew),
    };

    return cmocka_run_group_tests(tests, fixture_start, fixture_end);
}
