/*
 * store_fixture: what the tests of the store share: one server for a program, an empty migrated
 * database for each test, and events to put into it.
 *
 * Every function fails the test when it cannot do its part.
 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "messages/logs.h"
#include "messages/readings.h"
#include "store/store.h"
#include "support/postgres.h"

#define NOON INT64_C(1795262400000) /* 2026-11-21T12:00:00Z */
#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define FIXTURE_TIMEOUT_MS 3000

struct fixture {
    struct postgres server;
    struct store *store; /* of the test that runs */
};

/* For cmocka; *state becomes a struct fixture. */
int fixture_start(void **state);
int fixture_end(void **state);
int fixture_database(void **state); /* per test: an empty, migrated database */
int fixture_close(void **state);

struct store *fixture_connect(const struct fixture *fixture);

/* Another session that holds the migrators' lock until it is closed. */
struct store *fixture_lock_migrations(const struct fixture *fixture);

struct log_event fixture_log(int64_t timestamp_ms);
struct reading_event fixture_reading(const char *device, int64_t timestamp_ms, double power);

/* Inserts one event; true when it was new. */
bool fixture_insert(struct store *store, const struct store_table *table, const void *event);

/* Fails unless the SQL gives this text: rows as lines, columns joined by '|'. */
void fixture_expect(const struct fixture *fixture, const char *sql, const char *want);
void fixture_run(const struct fixture *fixture, const char *sql);

#endif
