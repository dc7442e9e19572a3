/*
 * Consumers of the Redis driver, where others have a hand in the server, replies come late, and
 * batches are too large for one script.
 */
#include "support/test.h"

#include "base/clock.h"
#include "base/memory.h"
#include "broker/broker.h"
#include "support/redis_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MS 5000
#define SHORT_MS 300
#define KEY "{millrace:S}"

struct world {
    struct server *server;
    struct broker *broker;
    struct broker_stream stream;
    struct broker_group group;
    struct broker_consumer *consumer;
    int published;
    atomic_int recreated, lost;
};

static void note(void *context, enum broker_incident incident, const char *detail)
{
    struct world *world = context;

    (void)detail;
    if (incident == BROKER_RECREATED)
        atomic_fetch_add(&world->recreated, 1);
    if (incident == BROKER_LOST)
        atomic_fetch_add(&world->lost, 1);
}

static int start_world(void **state)
{
    struct world *world = memory_alloc(sizeof(*world));
    struct broker_options options = {.observe = note, .context = world};

    world->stream = redis_fixture_stream("s.>", 100000000);
    world->group = redis_fixture_group();
    redis_fixture_open(&world->server, &world->broker, &options);
    *state = world;
    return 0;
}

static int end_world(void **state)
{
    struct world *world = *state;

    redis_fixture_close(world->consumer, world->broker, world->server);
    free(world);
    return 0;
}

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

static void expect_reply(struct world *world, const char *text, const char *expected)
{
    redis_fixture_expect(world->server, text, expected);
}

static void command(struct world *world, const char *text)
{
    expect_reply(world, text, "");
}

/* The stream, its group and an instance of it. */
static void declare(struct world *world)
{
    struct error err;

    assert_ok(broker_declare(world->broker, &world->stream, 1, &world->group, 1, NULL, NULL,
                             CALL_MS, &err));
    assert_ok(broker_open_consumer(&world->consumer, world->broker, &world->group, &err));
}

static void publish_one(struct world *world, const void *data, size_t size)
{
    struct broker_receipt receipt;
    struct error err;
    char id[16];

    snprintf(id, sizeof(id), "%d", ++world->published);
    struct broker_message message = {
        .stream = "S", .subject = "s.a", .id = id, .data = data, .size = size};
    assert_ok(broker_publish(world->broker, &message, 1, CALL_MS, &receipt, &err));
}

static void publish(struct world *world, int count, size_t size)
{
    char *data = memory_alloc(size + 1);

    for (int i = 0; i < count; i++)
        publish_one(world, data, size);
    free(data);
}

static struct broker_batch fetch(struct broker_consumer *consumer, size_t max, size_t max_bytes,
                                 int timeout_ms)
{
    struct broker_batch batch;
    struct error err;

    assert_ok(broker_fetch(consumer, max, max_bytes, timeout_ms, &batch, &err));
    return batch;
}

static void settle(struct broker_consumer *consumer, size_t count, enum broker_action action)
{
    struct broker_verdict *verdicts = memory_alloc((count + 1) * sizeof(*verdicts));
    struct error err;

    for (size_t i = 0; i < count; i++)
        verdicts[i].action = action;
    assert_ok(broker_settle(consumer, verdicts, count, CALL_MS, &err));
    free(verdicts);
}

static void take_this(struct broker_consumer *consumer, const char *id, unsigned attempt)
{
    struct broker_batch batch = fetch(consumer, 1, SIZE_MAX, CALL_MS);

    assert_int_equal(batch.count, 1);
    assert_string_equal(batch.deliveries[0].id, id);
    assert_int_equal(batch.deliveries[0].attempt, attempt);
}

static void drain(struct world *world)
{
    struct error err;

    assert_ok(broker_drain_consumer(world->consumer, CALL_MS, &err));
}

static struct broker_lag lag(struct world *world)
{
    struct broker_lag found;
    struct error err;

    assert_ok(broker_lag(world->broker, "S", "g", CALL_MS, &found, &err));
    return found;
}

/* ---- what others did to the server ---- */

static void orphan_is_delivered(void **state)
{
    struct world *world = *state;

    world->group.ack_wait_ms = 500;
    declare(world);
    publish(world, 2, 1);
    command(world, "XREADGROUP GROUP g somebody COUNT 1 STREAMS " KEY " >");
    take_this(world->consumer, "2", 1);
    settle(world->consumer, 1, BROKER_DONE);
    int64_t started_ms = now_ms();
    take_this(world->consumer, "1", 2);
    assert_in_range(now_ms() - started_ms, 0, 3000);
    settle(world->consumer, 1, BROKER_DONE);
    drain(world);
    assert_int_equal(lag(world).unread + lag(world).in_flight, 0);
}

static void stale_lease_goes(void **state)
{
    struct world *world = *state;

    declare(world);
    publish(world, 1, 1);
    command(world, "ZADD " KEY ":lease:g 1 1-1");
    command(world, "ZADD " KEY ":delay:g 1 2-2");
    take_this(world->consumer, "1", 1);
    settle(world->consumer, 1, BROKER_DONE);
    drain(world);
    expect_reply(world, "ZCARD " KEY ":lease:g", ":0\r\n");
    expect_reply(world, "ZCARD " KEY ":delay:g", ":0\r\n");
    assert_int_equal(world->lost, 0);
}

static void flushed_server_is_told(void **state)
{
    struct world *world = *state;
    struct broker_batch batch;
    struct error err;

    declare(world);
    assert_int_equal(fetch(world->consumer, 1, SIZE_MAX, 100).count, 0);
    command(world, "FLUSHALL");
    assert_fails(broker_fetch(world->consumer, 1, SIZE_MAX, CALL_MS, &batch, &err),
                 ERROR_NOT_FOUND);
    assert_string_equal(err.reason, "stream_not_found");
}

static void scripts_may_be_forgotten(void **state)
{
    struct world *world = *state;

    declare(world);
    publish(world, 3, 1);
    take_this(world->consumer, "1", 1);
    command(world, "SCRIPT FLUSH");
    settle(world->consumer, 1, BROKER_RETRY);
    command(world, "SCRIPT FLUSH");
    take_this(world->consumer, "1", 2);
    settle(world->consumer, 1, BROKER_DONE);
    take_this(world->consumer, "2", 1);
    settle(world->consumer, 1, BROKER_DONE);
}

static void group_is_recreated_amid_work(void **state)
{
    struct world *world = *state;

    world->group.ack_wait_ms = 1000;
    declare(world);
    publish(world, 4, 1);
    take_this(world->consumer, "1", 1);
    settle(world->consumer, 1, BROKER_DONE);
    take_this(world->consumer, "2", 1);
    command(world, "XGROUP DESTROY " KEY " g");
    settle(world->consumer, 1, BROKER_RETRY); /* nobody knows of it any more but its lease */
    unsigned seen[5] = {0};
    for (int64_t until_ms = now_ms() + CALL_MS; seen[2] + seen[3] + seen[4] < 3;) {
        struct broker_batch batch = fetch(world->consumer, 10, SIZE_MAX, 200);
        for (size_t i = 0; i < batch.count; i++)
            seen[batch.deliveries[i].id[0] - '0']++;
        settle(world->consumer, batch.count, BROKER_DONE);
        assert_true(now_ms() < until_ms);
    }
    assert_int_equal(seen[1], 0);
    assert_int_equal(world->recreated, 1);
}

static void read_only_server_is_waited_for(void **state)
{
    struct world *world = *state;
    struct broker_batch batch;
    struct error err;

    declare(world);
    publish(world, 1, 1);
    command(world, "REPLICAOF 127.0.0.1 1");
    assert_fails(broker_fetch(world->consumer, 1, SIZE_MAX, SHORT_MS, &batch, &err),
                 ERROR_UNAVAILABLE);
    command(world, "REPLICAOF NO ONE");
    take_this(world->consumer, "1", 1);
    settle(world->consumer, 1, BROKER_DONE);
}

/* First deliveries, in order, until this one; in how many fetches. */
static size_t take_to(struct world *world, size_t next, size_t last, size_t max_bytes)
{
    size_t fetches = 0;

    for (; next <= last; fetches++) {
        struct broker_batch batch = fetch(world->consumer, 1000, max_bytes, CALL_MS);
        for (size_t i = 0; i < batch.count; i++, next++) {
            assert_int_equal(strtoul(batch.deliveries[i].id, NULL, 10), next);
            assert_int_equal(batch.deliveries[i].attempt, 1);
        }
        settle(world->consumer, batch.count, BROKER_DONE);
    }
    return fetches;
}

static void extend(struct world *world)
{
    struct error err;

    assert_ok(broker_extend(world->consumer, &err));
}

static void hold_for(struct world *world, int64_t ms)
{
    for (int64_t until_ms = now_ms() + ms; now_ms() < until_ms;) {
        extend(world);
        command(world, "BLPOP no-such-key 0.2");
    }
}

/* What is settled can be trimmed, so it has to go on. */
static void full_memory_stops_nothing(void **state)
{
    struct world *world = *state;

    world->group.ack_wait_ms = 1500;
    declare(world);
    publish(world, 300, 1);
    command(world, "CONFIG SET maxmemory 1");
    take_this(world->consumer, "1", 1);
    settle(world->consumer, 1, BROKER_RETRY);
    take_this(world->consumer, "1", 2);
    hold_for(world, 2000);
    settle(world->consumer, 1, BROKER_DONE);
    take_to(world, 2, 300, SIZE_MAX);
    command(world, "CONFIG SET maxmemory 0");
    drain(world);
    assert_int_equal(lag(world).unread + lag(world).in_flight, 0);
}

static void server_settings_rule(void **state)
{
    struct world *world = *state;
    struct broker_group greedy = world->group;
    struct broker_consumer *consumer;
    struct error err;

    world->group.max_in_flight = 2;
    declare(world);
    publish(world, 5, 1);
    greedy.max_in_flight = 100;
    assert_ok(broker_open_consumer(&consumer, world->broker, &greedy, &err));
    assert_int_equal(fetch(consumer, 10, SIZE_MAX, CALL_MS).count, 2);
    settle(consumer, 2, BROKER_DONE);
    broker_close_consumer(consumer);
}

/* ---- replies that come late ---- */

static void late_reply_is_not_lost(void **state)
{
    struct world *world = *state;

    declare(world);
    publish(world, 2, 1);
    server_pause(world->server);
    int64_t started_ms = now_ms();
    assert_int_equal(fetch(world->consumer, 1, SIZE_MAX, SHORT_MS).count, 0);
    assert_in_range(now_ms() - started_ms, SHORT_MS - 5, SHORT_MS + 1000);
    server_resume(world->server);
    take_this(world->consumer, "1", 1);
    settle(world->consumer, 1, BROKER_DONE);
    take_this(world->consumer, "2", 1);
    settle(world->consumer, 1, BROKER_DONE);
}

/* ack_wait is long: what comes at once was given back. */
static void late_reply_is_given_back(void **state)
{
    struct world *world = *state;
    struct broker_consumer *next;
    struct error err;

    declare(world);
    publish(world, 2, 1);
    server_pause(world->server);
    assert_int_equal(fetch(world->consumer, 10, SIZE_MAX, SHORT_MS).count, 0);
    server_resume(world->server);
    drain(world);
    assert_ok(broker_open_consumer(&next, world->broker, &world->group, &err));
    take_this(next, "1", 1);
    settle(next, 1, BROKER_DONE);
    take_this(next, "2", 1);
    settle(next, 1, BROKER_DONE);
    broker_close_consumer(next);
}

static void move_lease(struct world *world, const char *id, int64_t by_ms)
{
    char text[200];

    snprintf(text, sizeof(text), "ZINCRBY " KEY ":lease:g %lld %s", (long long)by_ms, id);
    command(world, text);
}

/* A lease that ends later than any that the server could give now. */
static void lease_of_before_the_clock_was_put_back_ends(void **state)
{
    struct world *world = *state;
    struct broker_batch batch;

    world->group.ack_wait_ms = 1000;
    declare(world);
    publish(world, 1, 1);
    batch = fetch(world->consumer, 1, SIZE_MAX, CALL_MS);
    move_lease(world, batch.deliveries[0].sequence, 3600000);
    broker_close_consumer(world->consumer);
    struct error err;
    assert_ok(broker_open_consumer(&world->consumer, world->broker, &world->group, &err));
    take_this(world->consumer, "1", 2);
    settle(world->consumer, 1, BROKER_DONE);
}

static void late_retry_leaves_newer_lease(void **state)
{
    struct world *world = *state;
    struct broker_consumer *second;
    struct error err;

    world->group.ack_wait_ms = 2000;
    declare(world);
    publish(world, 1, 1);
    assert_ok(broker_open_consumer(&second, world->broker, &world->group, &err));
    take_this(world->consumer, "1", 1);
    take_this(second, "1", 2);
    settle(world->consumer, 1, BROKER_RETRY);
    assert_int_equal(fetch(world->consumer, 1, SIZE_MAX, SHORT_MS).count, 0);
    settle(second, 1, BROKER_DONE);
    assert_int_equal(fetch(world->consumer, 1, SIZE_MAX, 2500).count, 0);
    broker_close_consumer(second);
    drain(world);
    assert_int_equal(lag(world).in_flight, 0);
}

/* ---- large batches ---- */

static void overshoot_is_unread(void **state)
{
    struct world *world = *state;

    declare(world);
    publish(world, 2, 10);
    publish(world, 6, 50000);
    publish(world, 2, 10);
    struct broker_batch batch = fetch(world->consumer, 100, 120000, CALL_MS);
    assert_int_equal(batch.count, 4);
    assert_int_equal(lag(world).in_flight, 4);
    assert_int_equal(lag(world).unread, 6);
    settle(world->consumer, batch.count, BROKER_DONE);
    take_to(world, 5, 10, 60000);
    drain(world);
    assert_int_equal(lag(world).unread + lag(world).in_flight, 0);
}

#define MANY 3000

static void publish_at_once(struct world *world, size_t count)
{
    struct broker_message *messages = memory_alloc(count * sizeof(*messages));
    struct broker_receipt *receipts = memory_alloc(count * sizeof(*receipts));
    char(*ids)[24] = memory_alloc(count * sizeof(*ids));
    struct error err;

    for (size_t i = 0; i < count; i++) {
        snprintf(ids[i], sizeof(ids[i]), "%zu", i);
        messages[i] = (struct broker_message){
            .stream = "S", .subject = "s.a", .id = ids[i], .data = "x", .size = 1};
    }
    assert_ok(broker_publish(world->broker, messages, count, CALL_MS, receipts, &err));
    free(ids);
    free(receipts);
    free(messages);
}

static void large_batch_is_in_order(void **state)
{
    struct world *world = *state;

    declare(world);
    publish_at_once(world, MANY);
    assert_in_range(take_to(world, 0, MANY - 1, SIZE_MAX), 3, 4);
    drain(world);
    assert_int_equal(lag(world).unread + lag(world).in_flight, 0);
}

/* Instances that fetch as much as they can of a group that may hold little. */
struct crowd {
    struct world *world;
    atomic_int held, most, left, failed;
    atomic_int seen[MANY];
};

static bool work_some(struct crowd *crowd, struct broker_consumer *consumer, struct error *err)
{
    static const struct broker_verdict done[1000] = {{.action = BROKER_DONE}};
    struct broker_batch batch;

    if (!broker_fetch(consumer, 1000, SIZE_MAX, 50, &batch, err))
        return false;
    int held = atomic_fetch_add(&crowd->held, (int)batch.count) + (int)batch.count;
    if (held > crowd->most)
        crowd->most = held;
    for (size_t i = 0; i < batch.count; i++)
        crowd->left -=
            atomic_fetch_add(&crowd->seen[strtoul(batch.deliveries[i].id, NULL, 10)], 1) == 0;
    atomic_fetch_sub(&crowd->held, (int)batch.count);
    return broker_settle(consumer, done, batch.count, CALL_MS, err);
}

static void *work(void *context)
{
    struct crowd *crowd = context;
    int64_t until_ms = now_ms() + 4LL * CALL_MS;
    struct broker_consumer *consumer;
    struct error err;

    if (!broker_open_consumer(&consumer, crowd->world->broker, &crowd->world->group, &err)) {
        crowd->failed++;
        return NULL;
    }
    while (crowd->left > 0 && now_ms() < until_ms && !crowd->failed)
        crowd->failed += !work_some(crowd, consumer, &err);
    crowd->failed += !broker_drain_consumer(consumer, CALL_MS, &err);
    broker_close_consumer(consumer);
    return NULL;
}

static void cap_holds_in_bulk(void **state)
{
    static struct crowd crowd;
    struct world *world = *state;
    pthread_t threads[4];

    world->group.max_in_flight = 200;
    declare(world);
    publish_at_once(world, MANY);
    crowd.world = world;
    crowd.left = MANY;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &crowd), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.failed, 0);
    assert_int_equal(crowd.left, 0);
    assert_in_range(crowd.most, 100, 200);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(crowd.seen[i], 1);
    assert_int_equal(lag(world).unread + lag(world).in_flight, 0);
}

/* ---- what is read ahead ---- */

#define BATCH 256 /* the least for which the next one is read ahead */
#define SOME 600  /* more than two of them */

static struct broker_consumer *open_another(struct world *world)
{
    struct broker_consumer *consumer;
    struct error err;

    assert_ok(broker_open_consumer(&consumer, world->broker, &world->group, &err));
    return consumer;
}

/*
 * A worker stalls for longer than its leases, and somebody else gets all that it had. heard: it had
 * what was read ahead in its hands; extended: it says that it goes on when it is too late.
 */
static void stall(struct world *world, bool heard, bool extended)
{
    world->group.ack_wait_ms = 2000;
    declare(world);
    publish_at_once(world, SOME);
    assert_int_equal(fetch(world->consumer, BATCH, SIZE_MAX, CALL_MS).count, BATCH);
    if (heard)
        hold_for(world, 300);
    command(world, "BLPOP no-such-key 2.3");
    struct broker_consumer *other = open_another(world);
    assert_int_equal(fetch(other, SOME, SIZE_MAX, CALL_MS).count, SOME);
    if (extended)
        extend(world);
    settle(world->consumer, BATCH, BROKER_DONE);
    assert_int_equal(fetch(world->consumer, SOME, SIZE_MAX, SHORT_MS).count, 0);
    settle(world->consumer, 0, BROKER_DONE);
    settle(other, SOME, BROKER_DONE);
    broker_close_consumer(other);
}

static void ended_leases_are_not_worked_on(void **state)
{
    stall(*state, true, false);
}

static void ended_leases_that_nobody_heard_of_are_not_worked_on(void **state)
{
    stall(*state, false, false);
}

static void ended_leases_are_not_extended(void **state)
{
    stall(*state, true, true);
}

static void extended_leases_last(void **state)
{
    struct world *world = *state;

    world->group.ack_wait_ms = 1000;
    declare(world);
    publish_at_once(world, SOME);
    assert_int_equal(fetch(world->consumer, BATCH, SIZE_MAX, CALL_MS).count, BATCH);
    hold_for(world, 2500);
    settle(world->consumer, BATCH, BROKER_DONE);
    take_to(world, BATCH, SOME - 1, SIZE_MAX);
}

static void room_is_left_for_others(void **state)
{
    struct world *world = *state;

    world->group.max_in_flight = 2 * BATCH;
    declare(world);
    publish_at_once(world, MANY);
    assert_int_equal(fetch(world->consumer, BATCH, SIZE_MAX, CALL_MS).count, BATCH);
    hold_for(world, 300);
    struct broker_consumer *other = open_another(world);
    assert_int_equal(fetch(other, 100, SIZE_MAX, CALL_MS).count, 100);
    settle(other, 100, BROKER_DONE);
    settle(world->consumer, BATCH, BROKER_DONE);
    broker_close_consumer(other);
}

static void closing_gives_it_back(void **state)
{
    struct world *world = *state;

    declare(world);
    publish_at_once(world, SOME);
    assert_int_equal(fetch(world->consumer, BATCH, SIZE_MAX, CALL_MS).count, BATCH);
    broker_close_consumer(world->consumer);
    world->consumer = open_another(world);
    take_to(world, BATCH, SOME - 1, SIZE_MAX);
}

static void lost_connection_loses_none_of_it(void **state)
{
    struct world *world = *state;
    bool seen[SOME] = {false};
    size_t left = SOME;

    world->group.ack_wait_ms = 1000;
    declare(world);
    publish_at_once(world, SOME);
    for (int64_t until_ms = now_ms() + 2LL * CALL_MS; left > 0 && now_ms() < until_ms;) {
        struct broker_batch batch = fetch(world->consumer, BATCH, SIZE_MAX, 200);
        for (size_t i = 0; i < batch.count; i++) {
            bool *one = &seen[strtoul(batch.deliveries[i].id, NULL, 10)];
            left -= !*one;
            *one = true;
        }
        if (left > SOME / 2)
            command(world, "CLIENT KILL TYPE normal");
        struct broker_verdict verdicts[BATCH] = {{.action = BROKER_DONE}};
        struct error err; /* what is not settled comes again */
        (void)!broker_settle(world->consumer, verdicts, batch.count, CALL_MS, &err);
    }
    assert_int_equal(left, 0);
}

/* Thousands of retries wait for a server that does not answer. */
static void slow_server_is_not_asked_for_more(void **state)
{
    const size_t large = 8000, ahead = 2000;
    struct world *world = *state;
    struct error err;

    world->group.max_in_flight = 100000;
    declare(world);
    publish_at_once(world, 2 * large);
    assert_int_equal(fetch(world->consumer, large, SIZE_MAX, CALL_MS).count, large);
    hold_for(world, 300);
    server_pause(world->server);
    settle(world->consumer, large, BROKER_RETRY);
    assert_int_equal(fetch(world->consumer, ahead, SIZE_MAX, SHORT_MS).count, ahead);
    settle(world->consumer, ahead, BROKER_DONE);
    server_resume(world->server);
    assert_ok(broker_drain_consumer(world->consumer, CALL_MS, &err));
    assert_int_equal(lag(world).unread + lag(world).in_flight, 2 * large - ahead);
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, start_world, end_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD(orphan_is_delivered),
        WORLD(stale_lease_goes),
        WORLD(flushed_server_is_told),
        WORLD(scripts_may_be_forgotten),
        WORLD(group_is_recreated_amid_work),
        WORLD(read_only_server_is_waited_for),
        WORLD(full_memory_stops_nothing),
        WORLD(server_settings_rule),
        WORLD(late_reply_is_not_lost),
        WORLD(late_reply_is_given_back),
        WORLD(late_retry_leaves_newer_lease),
        WORLD(overshoot_is_unread),
        WORLD(large_batch_is_in_order),
        WORLD(cap_holds_in_bulk),
        WORLD(lease_of_before_the_clock_was_put_back_ends),
        WORLD(ended_leases_are_not_worked_on),
        WORLD(ended_leases_that_nobody_heard_of_are_not_worked_on),
        WORLD(ended_leases_are_not_extended),
        WORLD(extended_leases_last),
        WORLD(room_is_left_for_others),
        WORLD(closing_gives_it_back),
        WORLD(lost_connection_loses_none_of_it),
        WORLD(slow_server_is_not_asked_for_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
