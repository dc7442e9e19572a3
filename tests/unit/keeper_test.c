/* The keeper on the memory broker and a real database; which topics a processor serves. */
#include "support/test.h"

#include "keeper.h"
#include "processor.h"

#include "base/log.h"
#include "support/store_fixture.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define WAIT_MS 20000

struct scene {
    struct metrics *metrics;
    struct broker *broker;
    struct keeper *keeper;
};

static const struct topology_settings topology = {.stream_max_bytes = 1 << 26,
                                                  .stream_replicas = 1,
                                                  .dedup_window_s = 600,
                                                  .ack_wait_ms = 30000,
                                                  .max_in_flight = 1000,
                                                  .max_attempts = 5};

static void scene_start(struct scene *scene, const struct fixture *fixture)
{
    static const struct duty *served[2];
    static int serial;
    struct broker_options options = {.name = "test"};
    char url[64];
    struct error err;

    served[0] = duty_find("readings", 8);
    served[1] = duty_find("parking", 7);
    snprintf(url, sizeof(url), "memory://keeper-%d", ++serial);
    scene->metrics = metrics_new();
    assert_ok(broker_open(&scene->broker, url, &options, &err));
    struct keeper_options keeper = {.broker = scene->broker,
                                    .database_url = fixture->server.url,
                                    .duties = served,
                                    .duty_count = ARRAY_LEN(served),
                                    .topology = &topology,
                                    .metrics = scene->metrics};
    assert_ok(keeper_start(&scene->keeper, &keeper, &err));
}

static void scene_end(struct scene *scene)
{
    keeper_stop(scene->keeper);
    broker_close(scene->broker);
    metrics_free(scene->metrics);
}

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* Waits until the metrics have the line. */
static void await_metric(const struct scene *scene, const char *line)
{
    AUTO(buffer_free) struct buffer page = {0};
    int64_t until_ms = now_ms() + WAIT_MS;

    do {
        poll(NULL, 0, 20);
        buffer_clear(&page);
        buffer_text(&page, ""); /* so that it is a string before there is a metric */
        metrics_render(scene->metrics, &page);
    } while (!strstr(page.data, line) && now_ms() < until_ms);
    if (!strstr(page.data, line))
        fail_msg("no %s in %s", line, page.data);
}

static void publish(const struct scene *scene, const char *id)
{
    const struct broker_message message = {
        .stream = "READINGS", .subject = "readings.s.d", .id = id, .data = "{}", .size = 2};
    struct broker_receipt receipt;
    struct error err;

    assert_ok(broker_publish(scene->broker, &message, 1, 1000, &receipt, &err));
}

static void prepares_what_workers_need(void **state)
{
    struct scene scene;
    struct error err;

    scene_start(&scene, *state);
    assert_true(keeper_prepared(scene.keeper, WAIT_MS));
    assert_ok(keeper_check(scene.keeper, &err));
    publish(&scene, "a");
    fixture_expect(
        *state, "SELECT count(*) > 3 FROM pg_inherits WHERE inhparent = 'readings'::regclass", "t");
    scene_end(&scene);
}

/* One waits for a retry, two were never delivered. */
static void lag_counts_each_message_once(void **state)
{
    struct broker_group group = topology_group(&topology, "READINGS", "processor-readings");
    struct broker_verdict later = {.action = BROKER_RETRY, .delay_ms = 600000};
    struct broker_consumer *consumer = NULL;
    struct broker_batch batch;
    struct scene scene;
    struct error err;

    scene_start(&scene, *state);
    assert_true(keeper_prepared(scene.keeper, WAIT_MS));
    publish(&scene, "a");
    publish(&scene, "b");
    publish(&scene, "c");
    assert_ok(broker_open_consumer(&consumer, scene.broker, &group, &err));
    assert_ok(broker_fetch(consumer, 1, SIZE_MAX, 1000, &batch, &err));
    assert_int_equal(batch.count, 1);
    assert_ok(broker_settle(consumer, &later, 1, 1000, &err));
    await_metric(&scene,
                 "broker_consumer_lag{stream=\"READINGS\",consumer=\"processor-readings\"} 3\n");
    broker_close_consumer(consumer);
    scene_end(&scene);
}

/* A garage that nobody is in any more is shown as empty. */
static void occupancy_is_what_is_open_in_the_store(void **state)
{
    struct scene scene;

    scene_start(&scene, *state);
    assert_true(keeper_prepared(scene.keeper, WAIT_MS));
    fixture_run(*state,
                "SELECT * FROM parking_apply(ARRAY['2026-11-21T08:00Z', '2026-11-21T09:00Z',"
                " '2026-11-21T10:00Z']::timestamptz[],"
                " ARRAY[gen_random_uuid(), gen_random_uuid(), gen_random_uuid()],"
                " ARRAY['a', 'a', 'b \\\"'], ARRAY['AAA111', 'AAA222', 'AAA333'],"
                " ARRAY[false, false, false],"
                " ARRAY['1', '2', '3'], ARRAY[NULL, NULL, NULL]::text[])");
    await_metric(&scene, "parking_occupancy{garage=\"a\"} 2\n");
    await_metric(&scene, "parking_occupancy{garage=\"b \\\\\\\"\"} 1\n");
    fixture_run(*state, "UPDATE parking_sessions SET exit_time = entry_time WHERE garage_id <> 'a'"
                        " OR vehicle_plate = 'AAA111'");
    await_metric(&scene, "parking_occupancy{garage=\"b \\\\\\\"\"} 0\n");
    await_metric(&scene, "parking_occupancy{garage=\"a\"} 1\n");
    scene_end(&scene);
}

static void lag_is_shown_once_for_a_consumer_of_two_topics(void **state)
{
    AUTO(buffer_free) struct buffer page = {0};
    static const char line[] =
        "broker_consumer_lag{stream=\"PARKING\",consumer=\"processor-parking\"} 1\n";
    const struct broker_message message = {
        .stream = "PARKING", .subject = "parking.exit.g", .id = "a", .data = "{}", .size = 2};
    struct broker_receipt receipt;
    struct scene scene;
    struct error err;

    scene_start(&scene, *state);
    assert_true(keeper_prepared(scene.keeper, WAIT_MS));
    assert_ok(broker_publish(scene.broker, &message, 1, 1000, &receipt, &err));
    await_metric(&scene, line);
    metrics_render(scene.metrics, &page);
    assert_null(strstr(strstr(page.data, line) + 1, line));
    scene_end(&scene);
}

/* Somebody else migrates, which may take minutes. */
static void stopping_does_not_wait_for_a_migration(void **state)
{
    struct fixture *fixture = *state;
    AUTO(store_close) struct store *other = fixture_lock_migrations(fixture);
    struct scene scene;

    assert_non_null(other);
    scene_start(&scene, fixture);
    assert_false(keeper_prepared(scene.keeper, 300));
    int64_t start_ms = now_ms();
    scene_end(&scene);
    assert_in_range(now_ms() - start_ms, 0, 1000);
}

static const struct row {
    const char *name, *topics;
    const char *currency;
    const char *mistake; /* NULL: none */
} rows[] = {
    {"one topic", "logs", "EUR", NULL},
    {"several, with blanks", " logs, readings ,logs", "EUR", NULL},
    {"all", "logs,readings,parking,summaries,weather", "CHF", NULL},
    {"an unknown topic is named, and those there are", "logs,log", "EUR",
     "no topic 'log'; there are: logs readings parking summaries weather"},
    {"no topic at all", " , ", "EUR", "names no topic"},
    {"a currency has three letters", "parking", "EURO", "PARKING_CURRENCY"},
    {"and they are capitals", "parking", "eur", "PARKING_CURRENCY"},
};

static void chooses(void **state)
{
    const struct row *row = *state;
    const struct processor_settings settings = {.database_url = "postgresql://127.0.0.1:1/none",
                                                .topics = row->topics,
                                                .workers = 1,
                                                .parking = {.currency = row->currency},
                                                .topology = topology};
    struct broker_options options = {.name = "test"};
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    AUTO(broker_close) struct broker *broker = NULL;
    AUTO(processor_close) struct processor *processor = NULL;
    struct error err;

    assert_ok(broker_open(&broker, "memory://topics", &options, &err));
    bool opened = processor_open(&processor, &settings, broker, metrics, &err);
    assert_int_equal(opened, row->mistake == NULL);
    if (row->mistake && !opened)
        assert_non_null(strstr(err.message, row->mistake));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_database, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(prepares_what_workers_need),
        CASE(lag_counts_each_message_once),
        CASE(occupancy_is_what_is_open_in_the_store),
        CASE(lag_is_shown_once_for_a_consumer_of_two_topics),
        CASE(stopping_does_not_wait_for_a_migration),
    };

    log_start("keeper", LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests_name("keeper", tests, fixture_start, fixture_end) +
           RUN_ROWS(rows, chooses);
}
