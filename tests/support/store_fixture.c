#include "support/test.h"

#include "support/store_fixture.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

int fixture_start(void **state)
{
    struct fixture *fixture = memory_alloc(sizeof(*fixture));
    struct error err;

    *state = fixture;
    assert_ok(postgres_open(&fixture->server, false, &err));
    return 0;
}

int fixture_end(void **state)
{
    struct fixture *fixture = *state;

    postgres_close(&fixture->server);
    free(fixture);
    return 0;
}

struct store *fixture_connect(const struct fixture *fixture)
{
    const struct store_options options = {.name = "test", .timeout_ms = FIXTURE_TIMEOUT_MS};
    struct store *store = NULL;
    struct error err;

    assert_ok(store_open(&store, fixture->server.url, &options, &err));
    return store;
}

struct store *fixture_lock_migrations(const struct fixture *fixture)
{
    const struct store_query lock = {.name = "lock",
                                     .sql = "SELECT pg_advisory_lock(hashtext('millrace'),"
                                            " hashtext('schema_migrations'))::text AS locked"};
    struct store *store = fixture_connect(fixture);
    AUTO(buffer_free) struct buffer out = {0};
    struct json_writer writer = {.out = &out};
    struct store_page page = {0};
    struct error err;

    assert_ok(store_select(store, &lock, NULL, &writer, &page, &err));
    buffer_free(&page.last_keys);
    return store;
}

int fixture_database(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    int applied;

    assert_ok(postgres_empty(&fixture->server, &err));
    fixture->store = fixture_connect(fixture);
    assert_ok(store_migrate(fixture->store, &applied, &err));
    return 0;
}

int fixture_close(void **state)
{
    struct fixture *fixture = *state;

    store_close(fixture->store);
    fixture->store = NULL;
    return 0;
}

struct log_event fixture_log(int64_t timestamp_ms)
{
    return (struct log_event){
        .id = id_new(timestamp_ms),
        .timestamp_ms = timestamp_ms,
        .level = LOG_EVENT_INFO,
        .service = "payments",
        .message = "card authorised",
        .attributes = "{\"order\":1}",
    };
}

struct reading_event fixture_reading(const char *device, int64_t timestamp_ms, double power)
{
    return (struct reading_event){
        .id = id_new(timestamp_ms),
        .timestamp_ms = timestamp_ms,
        .site_id = "site-1",
        .device_id = device,
        .power_reading = power,
    };
}

bool fixture_insert(struct store *store, const struct store_table *table, const void *event)
{
    const struct store_row row = {.event = event, .stream_id = "1"};
    size_t inserted;
    struct error err;

    assert_ok(store_insert(store, table, &row, 1, &inserted, &err));
    return inserted == 1;
}

void fixture_expect(const struct fixture *fixture, const char *sql, const char *want)
{
    AUTO(buffer_free) struct buffer out = {0};
    struct error err;

    assert_ok(postgres_query(&fixture->server, sql, &out, &err));
    buffer_text(&out, "");
    if (out.size && out.data[out.size - 1] == '\n')
        out.data[out.size - 1] = '\0';
    assert_string_equal(out.data, want);
}

void fixture_run(const struct fixture *fixture, const char *sql)
{
    AUTO(buffer_free) struct buffer out = {0};
    struct error err;

    assert_ok(postgres_query(&fixture->server, sql, &out, &err));
}
