/* What store_examine says of a real PostgreSQL. */
#include "support/test.h"

#include "store/examine.h"

#include "base/clock.h"
#include "support/store_fixture.h"

#include <stdlib.h>
#include <string.h>

static void says_which_durability_a_commit_has(void **state)
{
    const struct fixture *fixture = *state;
    struct store_examination found;
    struct error err;

    assert_ok(store_examine(fixture->store, &found, &err));
    assert_in_range(strtol(found.version, NULL, 10), 15, 99);
    assert_string_equal(found.synchronous_commit, "on");
    assert_string_equal(found.standbys, "");
    assert_false(found.fsync); /* so the fixture starts it */
    assert_false(found.in_recovery);
}

static void says_what_the_session_gets(void **state)
{
    const struct fixture *fixture = *state;
    struct store_examination found;
    struct error err;

    fixture_run(fixture, "ALTER DATABASE millrace SET synchronous_commit = 'local'");
    AUTO(store_close) struct store *store = fixture_connect(fixture);
    assert_ok(store_examine(store, &found, &err));
    assert_string_equal(found.synchronous_commit, "local");
}

static void tells_the_servers_time(void **state)
{
    const struct fixture *fixture = *state;
    struct store_examination found;
    struct error err;

    int64_t before_ms = clock_wall_ms(clock_system());
    assert_ok(store_examine(fixture->store, &found, &err));
    assert_true(found.clock_ms >= before_ms - 1);
    assert_true(found.clock_ms <= clock_wall_ms(clock_system()) + 1);
}

static const struct row {
    const char *name, *sql; /* done to a migrated database */
    enum store_schema want;
} rows[] = {
    {"all of ours", "SELECT 1", STORE_SCHEMA_CURRENT},
    {"the last is missing",
     "DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)",
     STORE_SCHEMA_BEHIND},
    {"none was applied", "DELETE FROM schema_migrations", STORE_SCHEMA_NONE},
    {"no table of them", "DROP TABLE schema_migrations", STORE_SCHEMA_NONE},
    {"one too many", "INSERT INTO schema_migrations VALUES (9999, 'x', 'y')", STORE_SCHEMA_STRANGE},
    {"another text", "UPDATE schema_migrations SET checksum = 'x' WHERE version = 1",
     STORE_SCHEMA_STRANGE},
};

static void expect_schema(const struct fixture *fixture, const struct row *row)
{
    struct store_examination found;
    struct error err;

    fixture_run(fixture, row->sql);
    assert_ok(store_examine(fixture->store, &found, &err));
    if (found.schema != row->want)
        fail_msg("%s: %d", row->name, (int)found.schema);
    assert_true(found.known > 1);
}

static void migrate_anew(const struct fixture *fixture)
{
    struct error err;
    int ignored;

    fixture_run(fixture, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    assert_ok(store_migrate(fixture->store, &ignored, &err));
}

static void knows_the_schema(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        expect_schema(*state, &rows[i]);
        migrate_anew(*state);
    }
}

static void a_server_that_is_away_is_unavailable(void **state)
{
    const struct store_options options = {.timeout_ms = 200};
    AUTO(store_close) struct store *store = NULL;
    struct store_examination found;
    struct error err;

    (void)state;
    assert_ok(store_open(&store, "postgresql://127.0.0.1:1/none", &options, &err));
    assert_fails(store_examine(store, &found, &err), ERROR_UNAVAILABLE);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_database, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(says_which_durability_a_commit_has),
        CASE(says_what_the_session_gets),
        CASE(tells_the_servers_time),
        CASE(knows_the_schema),
        CASE(a_server_that_is_away_is_unavailable),
    };

    return cmocka_run_group_tests_name("store_examine", tests, fixture_start, fixture_end);
}
