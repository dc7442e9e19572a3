/* The consuming thread, on the memory broker and on a real one. */
#include "support/test.h"

#include "loop.h"

#include "base/log.h"
#include "broker/broker_memory.h"
#include "support/server.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>

#define WAIT_MS 10000

/* What `work` does with its batches. */
enum manner {
    SETTLES,
    HOLDS,  /* waits until it is asked to stop */
    STALLS, /* does as if something were away until it is let go */
};

struct scene {
    struct metrics *metrics;
    struct metrics_cell *circuit;
    struct broker *broker;
    struct broker_group group;
    struct loop *loop;
    enum manner manner;
    atomic_bool free;
    atomic_int batches, messages, waits;
    atomic_bool same; /* the loop that work is called with is that of the scene */
};

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

static bool wait_here(struct scene *scene, struct loop *loop)
{
    struct error trouble;

    error_set(&trouble, ERROR_UNAVAILABLE, "it is away");
    for (unsigned attempt = 1; scene->manner == HOLDS || !scene->free; attempt++) {
        loop_tell(loop, &trouble, "waiting");
        scene->waits++;
        if (!loop_wait(loop, attempt))
            return false;
    }
    loop_tell(loop, NULL, "");
    return true;
}

static bool work(void *context, struct loop *loop, const struct broker_batch *deliveries,
                 struct error *err)
{
    struct scene *scene = context;
    struct broker_verdict verdicts[16] = {{.action = BROKER_DONE}};

    scene->same = loop == scene->loop;
    scene->batches++;
    scene->messages += (int)deliveries->count;
    if (scene->manner != SETTLES && !wait_here(scene, loop))
        return true;
    return loop_settle(loop, verdicts, deliveries->count, err);
}

static void publish_one(const struct scene *scene)
{
    static int serial;
    struct broker_receipt receipt;
    struct error err;
    char id[16];
    struct broker_message message = {
        .stream = "S", .subject = "s.a", .id = id, .data = "x", .size = 1};

    snprintf(id, sizeof(id), "%d", ++serial);
    assert_ok(broker_publish(scene->broker, &message, 1, 1000, &receipt, &err));
}

static void publish(const struct scene *scene, int count)
{
    for (int i = 0; i < count; i++)
        publish_one(scene);
}

static void declare(struct broker *broker, const struct broker_group *group)
{
    struct broker_stream stream = {.name = "S",
                                   .subjects = "s.>",
                                   .max_bytes = 1 << 20,
                                   .dedup_window_ms = 60000,
                                   .replicas = 1};
    struct error err;

    assert_ok(broker_declare(broker, &stream, 1, group, 1, NULL, NULL, 5000, &err));
}

static void scene_open(struct scene *scene, enum manner manner, int64_t ack_wait_ms)
{
    static const struct metrics_description circuit = {
        .kind = METRICS_GAUGE, .name = "circuit", .help = "x"};
    static int serial;
    char url[64];
    struct error err;

    *scene = (struct scene){.metrics = metrics_new(), .manner = manner};
    scene->circuit = metrics_cell(metrics_family(scene->metrics, &circuit), NULL);
    scene->group = (struct broker_group){.stream = "S",
                                         .name = "g",
                                         .ack_wait_ms = ack_wait_ms,
                                         .max_in_flight = 100,
                                         .max_attempts = 3};
    snprintf(url, sizeof(url), "memory://loop-%d", ++serial);
    assert_ok(broker_open(&scene->broker, url, &(struct broker_options){.name = "test"}, &err));
    declare(scene->broker, &scene->group);
    publish(scene, 5);

    struct loop_options options = {.name = "s",
                                   .broker = scene->broker,
                                   .group = &scene->group,
                                   .batch_messages = 16,
                                   .batch_bytes = 1 << 16,
                                   .work = work,
                                   .context = scene,
                                   .circuit = scene->circuit};
    assert_ok(loop_start(&scene->loop, &options, &err));
}

static void scene_close(struct scene *scene)
{
    loop_stop(scene->loop);
    broker_close(scene->broker);
    metrics_free(scene->metrics);
}

static int64_t outstanding(const struct scene *scene)
{
    struct broker_lag lag;
    struct error err;

    assert_ok(broker_lag(scene->broker, "S", "g", 1000, &lag, &err));
    return lag.unread + lag.in_flight;
}

static void wait_settled(const struct scene *scene)
{
    for (int waited = 0; outstanding(scene) && waited < WAIT_MS; waited += 5)
        poll(NULL, 0, 5);
    assert_int_equal(outstanding(scene), 0);
}

static void wait_ready(const struct scene *scene, bool want)
{
    struct error err;

    for (int waited = 0; loop_ready(scene->loop, &err) != want && waited < WAIT_MS; waited += 5)
        poll(NULL, 0, 5);
    assert_int_equal(loop_ready(scene->loop, &err), want);
}

static void hands_over_and_settles(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, SETTLES, 30000);
    wait_settled(&scene);
    assert_int_equal(scene.messages, 5);
    assert_true(scene.same);
    assert_int_equal(metrics_value(scene.circuit), 1);
    scene_close(&scene);
}

/* What another instance of the group is handed in this time, while the leases are kept. */
static size_t fetch_elsewhere(const struct scene *scene, int timeout_ms)
{
    AUTO(broker_close_consumer) struct broker_consumer *consumer = NULL;
    struct broker_batch batch = {0};
    struct error err;

    assert_ok(broker_open_consumer(&consumer, scene->broker, &scene->group, &err));
    for (int64_t until_ms = now_ms() + timeout_ms; now_ms() < until_ms && !batch.count;) {
        bool fetched = broker_fetch(consumer, 16, SIZE_MAX, 50, &batch, &err);
        assert_true(fetched);
        loop_keep(scene->loop);
    }
    return batch.count;
}

/* For three leases. */
static void a_held_batch_keeps_its_leases(void **state)
{
    struct broker_stats stats;
    struct scene scene;
    struct error err;

    (void)state;
    scene_open(&scene, STALLS, 1000);
    wait_ready(&scene, false);
    assert_false(loop_ready(scene.loop, &err));
    assert_string_equal(err.message, "it is away");
    assert_int_equal(metrics_value(scene.circuit), 0);
    assert_int_equal(fetch_elsewhere(&scene, 3300), 0);
    publish(&scene, 3);
    scene.free = true;
    wait_settled(&scene);
    wait_ready(&scene, true);
    assert_int_equal(metrics_value(scene.circuit), 1);
    broker_stats(scene.broker, &stats);
    assert_int_equal(stats.redelivered, 0);
    assert_int_equal(scene.messages, 8);
    scene_close(&scene);
}

static void a_held_batch_is_not_waited_for(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, HOLDS, 30000);
    wait_ready(&scene, false);
    int64_t start_ms = now_ms();
    loop_stop(scene.loop);
    scene.loop = NULL;
    assert_in_range(now_ms() - start_ms, 0, 2500);
    assert_int_equal(outstanding(&scene), 5);
    scene_close(&scene);
}

/* However often it failed, it waits a fifth of a lease at most: 30 times take 3 s, not 30. */
static void a_wait_is_shorter_than_a_lease(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, HOLDS, 500);
    assert_int_equal(loop_patience_ms(scene.loop), 100);
    assert_int_equal(loop_patience_of(&(struct broker_group){.ack_wait_ms = 3600000}), 2500);
    wait_ready(&scene, false);
    for (int waited = 0; scene.waits < 30 && waited < WAIT_MS; waited += 5)
        poll(NULL, 0, 5);
    assert_true(scene.waits >= 30);
    scene_close(&scene);
}

static void an_absent_broker_is_told_and_waited_for(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, SETTLES, 30000);
    wait_settled(&scene);
    broker_memory_away(scene.broker, true);
    wait_ready(&scene, false);
    assert_int_equal(metrics_value(scene.circuit), 0);
    broker_memory_away(scene.broker, false);
    publish(&scene, 1);
    wait_settled(&scene);
    wait_ready(&scene, true);
    assert_int_equal(scene.messages, 6);
    scene_close(&scene);
}

#define SEVERAL 6

/* Its sockets stay open and mute, so that each waits for all of its time; but all at once. */
static void several_end_together(void **state)
{
    AUTO(server_close) struct server *server = NULL;
    AUTO(broker_close) struct broker *broker = NULL;
    struct broker_group group = {
        .stream = "S", .name = "g", .ack_wait_ms = 30000, .max_in_flight = 100, .max_attempts = 3};
    struct loop *loops[SEVERAL];
    struct error err;

    (void)state;
    assert_ok(server_start_nats(&server, &err));
    assert_ok(
        broker_open(&broker, server_url(server), &(struct broker_options){.name = "t"}, &err));
    declare(broker, &group);
    struct loop_options options = {.name = "s",
                                   .broker = broker,
                                   .group = &group,
                                   .batch_messages = 16,
                                   .batch_bytes = 1 << 16,
                                   .work = work};
    for (size_t i = 0; i < SEVERAL; i++)
        assert_ok(loop_start(&loops[i], &options, &err));
    server_pause(server);
    int64_t start_ms = now_ms();
    for (size_t i = 0; i < SEVERAL; i++)
        loop_halt(loops[i]);
    for (size_t i = 0; i < SEVERAL; i++)
        loop_stop(loops[i]);
    int64_t took_ms = now_ms() - start_ms;
    server_resume(server);
    assert_in_range(took_ms, 0, 4000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_over_and_settles),
        cmocka_unit_test(a_held_batch_keeps_its_leases),
        cmocka_unit_test(a_held_batch_is_not_waited_for),
        cmocka_unit_test(a_wait_is_shorter_than_a_lease),
        cmocka_unit_test(an_absent_broker_is_told_and_waited_for),
        cmocka_unit_test(several_end_together),
    };

    log_start("loop", LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
