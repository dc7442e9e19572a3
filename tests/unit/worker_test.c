/* A worker between the memory broker and a real PostgreSQL. */
#include "support/test.h"

#include "worker.h"

#include "base/log.h"
#include "broker/broker_memory.h"
#include "broker/dead_letter.h"
#include "support/store_fixture.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define WAIT_MS 20000

#define KEEP_MS 100 /* between two looks at the leases */

struct scene {
    struct metrics *metrics;
    struct broker *broker;
    struct broker_group group;
    struct processor_settings settings;
    struct worker *worker;
};

static void scene_start(struct scene *scene, const struct fixture *fixture, int64_t ack_wait_ms)
{
    static int serial;
    struct broker_options options = {.name = "test"};
    struct broker_stream stream = {.name = "READINGS",
                                   .subjects = "readings.>",
                                   .max_bytes = 1 << 26,
                                   .dedup_window_ms = 60000,
                                   .replicas = 1};
    char url[64];
    struct error err;

    *scene = (struct scene){.metrics = metrics_new()};
    scene->group = (struct broker_group){.stream = "READINGS",
                                         .name = "processor-readings",
                                         .ack_wait_ms = ack_wait_ms,
                                         .max_in_flight = 1000,
                                         .max_attempts = 3};
    snprintf(url, sizeof(url), "memory://worker-%d", ++serial);
    assert_ok(broker_open(&scene->broker, url, &options, &err));
    assert_ok(broker_declare(scene->broker, &stream, 1, &scene->group, 1, NULL, NULL, 1000, &err));

    scene->settings.database_url = fixture->server.url;
    scene->settings.batch_rows = 500;
    struct worker_options worker = {.duty = duty_find("readings", 8),
                                    .group = &scene->group,
                                    .broker = scene->broker,
                                    .settings = &scene->settings,
                                    .metrics = scene->metrics};
    assert_ok(worker_start(&scene->worker, &worker, &err));
}

static void scene_end(struct scene *scene)
{
    worker_stop(scene->worker);
    broker_close(scene->broker);
    metrics_free(scene->metrics);
}

static void publish_one(const struct scene *scene, int number)
{
    char body[256], id[32];
    struct broker_receipt receipt;
    struct error err;

    snprintf(id, sizeof(id), "event-%d", number);
    int size = snprintf(body, sizeof(body),
                        "{\"site_id\":\"s\",\"device_id\":\"d\",\"power_reading\":%d,"
                        "\"timestamp\":\"2026-11-21T08:00:00Z\"}",
                        number);
    struct broker_message message = {.stream = "READINGS",
                                     .subject = "readings.s.d",
                                     .id = id,
                                     .data = body,
                                     .size = (size_t)size};
    assert_ok(broker_publish(scene->broker, &message, 1, 1000, &receipt, &err));
}

static void publish(const struct scene *scene, int first, int count)
{
    for (int i = first; i < first + count; i++)
        publish_one(scene, i);
}

static int64_t outstanding(const struct scene *scene)
{
    struct broker_lag lag;
    struct error err;

    assert_ok(broker_lag(scene->broker, "READINGS", "processor-readings", 1000, &lag, &err));
    return lag.unread + lag.in_flight;
}

/* Waits until everything is settled. */
static void wait_settled(const struct scene *scene)
{
    for (int waited = 0; outstanding(scene) && waited < WAIT_MS; waited += 5)
        poll(NULL, 0, 5);
    assert_int_equal(outstanding(scene), 0);
}

static void wait_ready(const struct scene *scene, bool want)
{
    struct error err;

    for (int waited = 0; worker_ready(scene->worker, &err) != want && waited < WAIT_MS; waited += 5)
        poll(NULL, 0, 5);
    assert_int_equal(worker_ready(scene->worker, &err), want);
}

struct letters {
    int count;
    char reason[64], number[16];
};

static void on_letter(void *context, const struct broker_delivery *delivery)
{
    struct letters *letters = context;
    const char *reason = broker_header(delivery, DEAD_REASON);

    letters->count++;
    snprintf(letters->reason, sizeof(letters->reason), "%s", reason);
    const char *power = memmem(delivery->data, delivery->size, "\"power_reading\":", 16);
    if (power)
        snprintf(letters->number, sizeof(letters->number), "%.*s", 3, power + 16);
}

static struct letters letters_of(const struct scene *scene)
{
    struct letters letters = {0};
    struct error err;

    assert_ok(broker_peek(scene->broker, DEAD_STREAM, "", 100, on_letter, &letters, 1000, &err));
    return letters;
}

/* What another instance of the group is handed in this time, while the worker's leases are kept. */
static size_t fetch_elsewhere(const struct scene *scene, int timeout_ms)
{
    AUTO(broker_close_consumer) struct broker_consumer *consumer = NULL;
    struct broker_batch batch = {0};
    struct error err;

    assert_ok(broker_open_consumer(&consumer, scene->broker, &scene->group, &err));
    for (int waited_ms = 0; waited_ms < timeout_ms && !batch.count; waited_ms += KEEP_MS) {
        bool fetched = broker_fetch(consumer, 500, SIZE_MAX, KEEP_MS, &batch, &err);
        assert_true(fetched);
        worker_keep(scene->worker);
    }
    return batch.count;
}

/* ---- rules ---- */

static void every_event_is_stored_once(void **state)
{
    struct scene scene;

    scene_start(&scene, *state, 30000);
    publish(&scene, 0, 1200);
    wait_settled(&scene);
    fixture_expect(*state, "SELECT count(*), count(DISTINCT id) FROM readings", "1200|1200");
    assert_int_equal(letters_of(&scene).count, 0);
    scene_end(&scene);
}

/* The refused row is found among its neighbours, which are stored. */
static void what_the_store_refuses_is_one_dead_letter(void **state)
{
    struct scene scene;

    fixture_run(*state, "ALTER TABLE readings ADD CHECK (power_reading <> 777)");
    scene_start(&scene, *state, 30000);
    publish(&scene, 500, 500);
    wait_settled(&scene);
    fixture_expect(*state, "SELECT count(*) FROM readings", "499");
    struct letters letters = letters_of(&scene);
    assert_int_equal(letters.count, 1);
    assert_string_equal(letters.number, "777");
    scene_end(&scene);
}

/* The store is away for several leases: the batch is held, its leases kept, no attempt burned. */
static void an_absent_store_burns_no_attempt(void **state)
{
    struct fixture *fixture = *state;
    struct broker_stats stats;
    struct error err;
    struct scene scene;

    scene_start(&scene, fixture, 1000);
    publish(&scene, 0, 10);
    wait_settled(&scene);
    postgres_kill(&fixture->server);
    publish(&scene, 10, 1);
    wait_ready(&scene, false);
    assert_int_equal(fetch_elsewhere(&scene, 3500), 0); /* more than three leases */
    broker_stats(scene.broker, &stats);
    assert_int_equal(stats.redelivered, 0);
    assert_int_equal(outstanding(&scene), 1);

    assert_ok(postgres_start(&fixture->server, &err));
    wait_settled(&scene);
    wait_ready(&scene, true);
    broker_stats(scene.broker, &stats);
    assert_int_equal(stats.redelivered, 0);
    assert_int_equal(letters_of(&scene).count, 0);
    fixture_expect(fixture, "SELECT count(*), count(DISTINCT id) FROM readings", "11|11");
    scene_end(&scene);
}

/* The store answers and yet takes nothing: that is no fault of the batch either. */
static void a_store_that_takes_nothing_burns_no_attempt(void **state)
{
    struct broker_stats stats;
    struct scene scene;

    scene_start(&scene, *state, 1000);
    fixture_run(*state, "ALTER TABLE readings RENAME TO elsewhere");
    publish(&scene, 0, 1);
    wait_ready(&scene, false);
    assert_int_equal(fetch_elsewhere(&scene, 3500), 0); /* more than three leases */
    broker_stats(scene.broker, &stats);
    assert_int_equal(stats.redelivered, 0);

    fixture_run(*state, "ALTER TABLE elsewhere RENAME TO readings");
    wait_settled(&scene);
    wait_ready(&scene, true);
    assert_int_equal(letters_of(&scene).count, 0);
    fixture_expect(*state, "SELECT count(*), count(DISTINCT id) FROM readings", "1|1");
    scene_end(&scene);
}

/* Asked to stop while it waits, it does not wait for the store; what it held comes again. */
static void stops_while_it_waits(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct scene scene;

    scene_start(&scene, fixture, 1000);
    publish(&scene, 0, 1);
    wait_settled(&scene);
    postgres_kill(&fixture->server);
    publish(&scene, 1, 50);
    wait_ready(&scene, false);
    int64_t start_ms = clock_steady_ms(clock_system());
    worker_stop(scene.worker);
    scene.worker = NULL;
    assert_in_range(clock_steady_ms(clock_system()) - start_ms, 0, 3000);
    assert_int_equal(outstanding(&scene), 50);
    assert_ok(postgres_start(&fixture->server, &err));
    scene_end(&scene);
}

/* While a dead letter cannot be stored its message is not settled either. */
static void dead_letters_wait_for_their_stream(void **state)
{
    static const char text[] = "not an event";
    struct broker_message message = {.stream = "READINGS",
                                     .subject = "readings.s.d",
                                     .id = "bad",
                                     .data = text,
                                     .size = sizeof(text) - 1};
    struct broker_receipt receipt;
    struct broker_stats stats;
    struct scene scene;
    struct error err;

    scene_start(&scene, *state, 30000);
    broker_memory_fail(scene.broker, DEAD_STREAM, BROKER_MEMORY_FULL, 1);
    assert_ok(broker_publish(scene.broker, &message, 1, 1000, &receipt, &err));
    publish(&scene, 0, 3);
    wait_settled(&scene);
    fixture_expect(*state, "SELECT count(*) FROM readings", "3");
    broker_stats(scene.broker, &stats);
    assert_true(stats.redelivered > 0);
    assert_int_equal(letters_of(&scene).count, 1);
    scene_end(&scene);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_database, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_event_is_stored_once),
        CASE(what_the_store_refuses_is_one_dead_letter),
        CASE(an_absent_store_burns_no_attempt),
        CASE(a_store_that_takes_nothing_burns_no_attempt),
        CASE(stops_while_it_waits),
        CASE(dead_letters_wait_for_their_stream),
    };

    log_start("worker", LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests_name("worker", tests, fixture_start, fixture_end);
}
