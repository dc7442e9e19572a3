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
    static struct keeper_chore chore;
    static int serial;
    struct broker_options options = {.name = "test"};
    char url[64];
    struct error err;

    chore = (struct keeper_chore){topic_find("readings"), &store_readings};
    snprintf(url, sizeof(url), "memory://keeper-%d", ++serial);
    scene->metrics = metrics_new();
    assert_ok(broker_open(&scene->broker, url, &options, &err));
    struct keeper_options keeper = {.broker = scene->broker,
                                    .database_url = fixture->server.url,
                                    .chores = &chore,
                                    .chore_count = 1,
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
    const char *mistake; /* NULL: none */
} rows[] = {
    {"one topic", "logs", NULL},
    {"several, with blanks", " logs, readings ,logs", NULL},
    {"an unknown topic is named, and those there are", "logs,log",
     "no topic 'log'; there are: logs readings"},
    {"no topic at all", " , ", "names no topic"},
};

static void chooses(void **state)
{
    const struct row *row = *state;
    const struct processor_settings settings = {.database_url = "postgresql://127.0.0.1:1/none",
                                                .topics = row->topics,
                                                .workers = 1,
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
        CASE(stopping_does_not_wait_for_a_migration),
    };

    log_start("keeper", LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests_name("keeper", tests, fixture_start, fixture_end) +
           RUN_ROWS(rows, chooses);
}
