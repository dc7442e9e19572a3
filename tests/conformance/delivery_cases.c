/* What arrives, in which order, and who gets it. */
#include "conformance/child.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static void keeps_bytes(struct stage *stage)
{
    static const char bytes[] = {'a', 0, '\r', '\n', (char)0xff};
    static const struct broker_header headers[] = {{"ce-type", "reading"}, {"ce-source", "söüß"}};
    struct broker_message message = {.stream = stage->name,
                                     .id = "one",
                                     .headers = headers,
                                     .header_count = ARRAY_LEN(headers),
                                     .data = bytes,
                                     .size = sizeof(bytes)};
    struct broker_receipt receipt;
    char subject[80];

    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.a.b=2F", stage->name);
    message.subject = subject;
    assert_true(try_publish(stage, &message, CALL_MS, &receipt));

    struct broker_consumer *consumer = consume(stage);
    struct broker_batch batch = take(consumer, 1, CALL_MS);
    assert_int_equal(batch.count, 1);
    const struct broker_delivery *got = &batch.deliveries[0];
    assert_int_equal(got->size, sizeof(bytes));
    assert_memory_equal(got->data, bytes, sizeof(bytes));
    assert_string_equal(got->subject, subject);
    assert_string_equal(got->id, "one");
    assert_string_equal(got->sequence, receipt.sequence);
    assert_string_equal(broker_header(got, "CE-Type"), "reading");
    assert_string_equal(broker_header(got, "ce-source"), "söüß");
    assert_null(broker_header(got, "ce-none"));
    expect_between("stored_ms", got->stored_ms, clock_wall_ms(clock_system()) - 5000,
                   clock_wall_ms(clock_system()) + 1000);
    done(consumer, 1);
    broker_close_consumer(consumer);
}

static void keeps_nothing(struct stage *stage)
{
    stage_declare(stage);
    publish(stage, "empty", "e", "", NULL);
    struct broker_consumer *consumer = consume(stage);
    expect_done(consumer, "", 1, CALL_MS);
    broker_close_consumer(consumer);
}

static void bounds_messages(struct stage *stage)
{
    char *data = calloc(1, BROKER_MESSAGE_MAX + 1), subject[80];
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = "big", .data = data};
    struct broker_receipt receipt;

    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.big", stage->name);
    memset(data, 'x', BROKER_MESSAGE_MAX + 1);
    message.size = BROKER_MESSAGE_MAX + 1;
    assert_false(try_publish(stage, &message, CALL_MS, &receipt));
    assert_int_equal(receipt.error.code, ERROR_TOO_LARGE);
    message.size = BROKER_MESSAGE_MAX;
    assert_true(try_publish(stage, &message, CALL_MS, &receipt));

    /* The largest can be buried as well: there is room for what a dead letter adds. */
    struct broker_consumer *consumer = consume(stage);
    struct broker_batch batch = take(consumer, 1, CALL_MS);
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.deliveries[0].size, BROKER_MESSAGE_MAX);
    assert_memory_equal(batch.deliveries[0].data, data, BROKER_MESSAGE_MAX);
    settle_all(consumer, 1, (struct broker_verdict){.action = BROKER_REJECT, .reason = "large"});
    expect_quiet(consumer, QUIET_MS);
    broker_close_consumer(consumer);
    free(data);
}

static void filters(struct stage *stage)
{
    char one[80], rest[80], exact[80];
    struct broker_group groups[] = {stage->group, stage->group, stage->group};

    snprintf(one, sizeof(one), "%s.*.meter", stage->name);
    snprintf(rest, sizeof(rest), "%s.b.>", stage->name);
    snprintf(exact, sizeof(exact), "%s.a", stage->name);
    groups[0].name = "one";
    groups[0].filter = one;
    groups[1].name = "rest";
    groups[1].filter = rest;
    groups[2].name = "exact";
    groups[2].filter = exact;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        stage_declare_group(stage, &groups[i]);
    publish(stage, "a", NULL, "a", NULL);
    publish(stage, "a.meter", NULL, "a.meter", NULL);
    publish(stage, "b.meter", NULL, "b.meter", NULL);
    publish(stage, "b.c.meter", NULL, "b.c.meter", NULL);

    struct broker_consumer *consumer = consume_as(stage->broker, &groups[0]);
    expect_done(consumer, "a.meter", 1, CALL_MS);
    expect_done(consumer, "b.meter", 1, CALL_MS);
    expect_quiet(consumer, QUIET_MS);
    broker_close_consumer(consumer);
    consumer = consume_as(stage->broker, &groups[1]);
    expect_done(consumer, "b.meter", 1, CALL_MS);
    expect_done(consumer, "b.c.meter", 1, CALL_MS);
    expect_quiet(consumer, QUIET_MS);
    broker_close_consumer(consumer);
    consumer = consume_as(stage->broker, &groups[2]);
    expect_done(consumer, "a", 1, CALL_MS);
    expect_quiet(consumer, QUIET_MS);
    broker_close_consumer(consumer);
}

static void empty_on_time(struct stage *stage)
{
    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    for (int i = 0; i < 20; i++) {
        struct stopwatch started = stopwatch_start(stage);
        assert_int_equal(take(consumer, 10, 100).count, 0);
        expect_took("an empty fetch", stage, &started, 95, 200);
    }
    publish(stage, "a", NULL, "after", NULL);
    expect_done(consumer, "after", 1, CALL_MS);
    broker_close_consumer(consumer);
}

static void partial_at_once(struct stage *stage)
{
    stage_declare(stage);
    publish_numbers(stage, 1, 3);
    struct broker_consumer *consumer = consume(stage);
    size_t got = 0;
    struct stopwatch started = stopwatch_start(stage);
    while (got < 3) {
        struct broker_batch batch = take(consumer, 100, CALL_MS);
        assert_true(batch.count > 0);
        got += batch.count;
        done(consumer, batch.count);
    }
    expect_took("three of a hundred", stage, &started, 0, 500);
    broker_close_consumer(consumer);
}

static void publish_tens(struct stage *stage)
{
    for (int i = 0; i < 6; i++)
        publish(stage, "a", NULL, "ten bytes.", NULL);
}

static size_t take_bytes(struct broker_consumer *consumer, size_t max_bytes)
{
    struct broker_batch batch;
    struct error err;

    assert_ok(broker_fetch(consumer, 100, max_bytes, CALL_MS, &batch, &err));
    done(consumer, batch.count);
    return batch.count;
}

static void bounds_batches(struct stage *stage)
{
    size_t got = 0;

    stage_declare(stage);
    publish_tens(stage);
    struct broker_consumer *consumer = consume(stage);
    while (got < 6) {
        struct broker_batch batch = take(consumer, 2, CALL_MS);
        expect_between("messages", (int64_t)batch.count, 1, 2);
        got += batch.count;
        done(consumer, batch.count);
    }
    publish_tens(stage);
    for (got = 0; got < 6;) {
        size_t taken = take_bytes(consumer, 25);
        expect_between("messages of 25 bytes", (int64_t)taken, 1, 2);
        got += taken;
    }
    publish(stage, "a", NULL, "longer than the batch may be", NULL);
    assert_int_equal(take_bytes(consumer, 5), 1);
    broker_close_consumer(consumer);
}

static void *wake_soon(void *consumer)
{
    pause_ms(100);
    broker_wake(consumer);
    return NULL;
}

static void wakes(struct stage *stage)
{
    pthread_t thread;

    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    struct stopwatch started = stopwatch_start(stage);
    pthread_create(&thread, NULL, wake_soon, consumer);
    expect_quiet(consumer, CALL_MS);
    expect_took("the woken fetch", stage, &started, 50, 1000);
    pthread_join(thread, NULL);
    publish(stage, "a", NULL, "after", NULL);
    expect_done(consumer, "after", 1, CALL_MS);
    broker_close_consumer(consumer);
}

static void in_order(struct stage *stage)
{
    char text[16];

    stage_declare(stage);
    publish_numbers(stage, 1, 200);
    struct broker_consumer *consumer = consume(stage);
    for (int next = 1; next <= 200;) {
        struct broker_batch batch = take(consumer, 64, CALL_MS);
        assert_true(batch.count > 0);
        for (size_t i = 0; i < batch.count; i++) {
            snprintf(text, sizeof(text), "%d", next++);
            assert_string_equal(batch.deliveries[i].id, text);
        }
        done(consumer, batch.count);
    }
    broker_close_consumer(consumer);
}

/* ---- many at a time ---- */

#define PUBLISHERS 3
#define FETCHERS 3
#define EACH 300

struct crowd {
    struct stage *stage;
    int number;
    bool failed;
    int *seen; /* per message; each written by whoever settles it */
    pthread_mutex_t *lock;
    int *left; /* guarded by lock, as seen is */
};

static void *publish_many(void *context)
{
    struct crowd *crowd = context;
    struct broker_receipt receipt;
    char text[16], subject[80];

    snprintf(subject, sizeof(subject), "%s.p%d", crowd->stage->name, crowd->number);
    for (int i = 0; i < EACH && !crowd->failed; i++) {
        snprintf(text, sizeof(text), "%d", crowd->number * EACH + i);
        struct broker_message message = {.stream = crowd->stage->name,
                                         .subject = subject,
                                         .id = text,
                                         .data = text,
                                         .size = strlen(text)};
        crowd->failed = !try_publish(crowd->stage, &message, CALL_MS, &receipt);
    }
    return NULL;
}

static bool note_batch(struct crowd *crowd, const struct broker_batch *batch)
{
    pthread_mutex_lock(crowd->lock);
    for (size_t i = 0; i < batch->count; i++) {
        int number = (int)strtol(batch->deliveries[i].id, NULL, 10);
        *crowd->left -= crowd->seen[number]++ == 0;
    }
    bool more = *crowd->left > 0;
    pthread_mutex_unlock(crowd->lock);
    return more;
}

static void *fetch_many(void *context)
{
    struct crowd *crowd = context;
    struct broker_verdict verdicts[32] = {{.action = BROKER_DONE}};
    struct broker_consumer *consumer;
    struct broker_batch batch;
    struct error err;
    int64_t until_ms = now_ms() + 4LL * CALL_MS;
    bool more = true;

    crowd->failed =
        !broker_open_consumer(&consumer, crowd->stage->broker, &crowd->stage->group, &err);
    while (!crowd->failed && more && now_ms() < until_ms) {
        crowd->failed = !broker_fetch(consumer, ARRAY_LEN(verdicts), SIZE_MAX, 50, &batch, &err) ||
                        !broker_settle(consumer, verdicts, batch.count, CALL_MS, &err);
        more = !crowd->failed && note_batch(crowd, &batch);
    }
    if (!crowd->failed)
        crowd->failed = !broker_drain_consumer(consumer, CALL_MS, &err);
    broker_close_consumer(consumer);
    return NULL;
}

static void loses_nothing(struct stage *stage)
{
    static int seen[PUBLISHERS * EACH];
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct crowd crowd[PUBLISHERS + FETCHERS];
    pthread_t threads[PUBLISHERS + FETCHERS];
    int left = PUBLISHERS * EACH;

    stage->group.ack_wait_ms = 20000; /* nothing may come twice because the machine was busy */
    stage_declare(stage);
    for (int i = 0; i < PUBLISHERS + FETCHERS; i++) {
        crowd[i] =
            (struct crowd){.stage = stage, .number = i, .seen = seen, .lock = &lock, .left = &left};
        pthread_create(&threads[i], NULL, i < PUBLISHERS ? publish_many : fetch_many, &crowd[i]);
    }
    for (int i = 0; i < PUBLISHERS + FETCHERS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(crowd[i].failed);
    }
    for (size_t i = 0; i < ARRAY_LEN(seen); i++)
        assert_int_equal(seen[i], 1);
    expect_all_settled(stage);
}

/* ---- groups ---- */

static void gets_history(struct stage *stage)
{
    struct broker_group late = stage->group;

    stage_declare(stage);
    publish_numbers(stage, 1, 5);
    late.name = "late";
    stage_declare_group(stage, &late);
    struct broker_consumer *consumer = consume_as(stage->broker, &late);
    expect_done(consumer, "1", 1, CALL_MS);
    expect_done(consumer, "2", 1, CALL_MS);
    broker_close_consumer(consumer);
}

static void groups_get_all(struct stage *stage)
{
    struct broker_group other = stage->group;

    other.name = "other";
    stage_declare(stage);
    stage_declare_group(stage, &other);
    publish_numbers(stage, 1, 2);
    struct broker_consumer *first = consume(stage), *second = consume_as(stage->broker, &other);
    expect_done(first, "1", 1, CALL_MS);
    expect_done(second, "1", 1, CALL_MS);
    expect_done(first, "2", 1, CALL_MS);
    expect_done(second, "2", 1, CALL_MS);
    broker_close_consumer(second);
    broker_close_consumer(first);
}

static void instances_share(struct stage *stage)
{
    struct broker *other_broker = stage_broker(stage);

    stage_declare(stage);
    struct broker_consumer *first = consume(stage),
                           *second = consume_as(other_broker, &stage->group);
    publish_numbers(stage, 1, 20);
    struct broker_consumer *turns[] = {first, second};
    bool seen[21] = {false};
    int left = 20;
    int64_t until_ms = now_ms() + CALL_MS;
    for (int turn = 0; left > 0 && now_ms() < until_ms; turn++) {
        struct broker_batch batch = take(turns[turn % 2], 3, 100);
        for (size_t i = 0; i < batch.count; i++, left--) {
            long number = strtol(batch.deliveries[i].id, NULL, 10);
            assert_int_equal(batch.deliveries[i].attempt, 1);
            assert_false(seen[number]);
            seen[number] = true;
        }
        done(turns[turn % 2], batch.count);
    }
    assert_int_equal(left, 0);
    expect_quiet(first, ACK_WAIT_MS + QUIET_MS);
    expect_quiet(second, QUIET_MS);
    broker_close_consumer(second);
    broker_close_consumer(first);
    broker_close(other_broker);
}

static void survivors_go_on(struct stage *stage)
{
    struct broker *other_broker = stage_broker(stage);

    stage_declare(stage);
    struct broker_consumer *first = consume(stage),
                           *second = consume_as(other_broker, &stage->group);
    publish_numbers(stage, 1, 1);
    take_this(first, "1", 1, CALL_MS);
    broker_close_consumer(first);
    publish_numbers(stage, 2, 2);
    expect_done(second, "2", 1, CALL_MS);
    expect_done(second, "1", 2, WAIT_MS);
    broker_close_consumer(second);
    broker_close(other_broker);
}

static void continues(struct stage *stage)
{
    stage_declare(stage);
    publish_numbers(stage, 1, 3);
    struct broker_consumer *consumer = consume(stage);
    expect_done(consumer, "1", 1, CALL_MS);
    struct error err;
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    broker_close_consumer(consumer);

    struct broker *again = stage_broker(stage);
    consumer = consume_as(again, &stage->group);
    struct broker_batch batch = take(consumer, 1, CALL_MS);
    assert_int_equal(batch.count, 1);
    assert_string_equal(batch.deliveries[0].id, "2");
    done(consumer, 1);
    broker_close_consumer(consumer);
    broker_close(again);
}

static void caps_in_flight(struct stage *stage)
{
    struct broker *other_broker = stage_broker(stage);

    stage->group.max_in_flight = 3;
    stage->group.ack_wait_ms = 10000;
    stage_declare(stage);
    publish_numbers(stage, 1, 10);
    struct broker_consumer *first = consume(stage),
                           *second = consume_as(other_broker, &stage->group);
    size_t held = take(first, 2, CALL_MS).count;
    assert_true(held > 0);
    size_t other = take(second, 10, 500).count;
    expect_between("in flight", (int64_t)(held + other), 1, 3);
    expect_between("in flight by the broker", lag(stage).in_flight, 1, 3);
    done(first, held);
    done(second, other);
    struct broker_consumer *turns[] = {first, second};
    size_t got = held + other;
    int64_t until_ms = now_ms() + CALL_MS;
    for (int turn = 0; got < 10 && now_ms() < until_ms; turn++) {
        struct broker_batch batch = take(turns[turn % 2], 10, 100);
        expect_between("in flight", (int64_t)batch.count, 0, 3);
        got += batch.count;
        done(turns[turn % 2], batch.count);
    }
    assert_int_equal(got, 10);
    broker_close_consumer(second);
    broker_close_consumer(first);
    broker_close(other_broker);
}

/* What a client reads ahead is on its way for a moment. */
static bool reaches_cap(struct stage *stage)
{
    int64_t until_ms = now_ms() + 1000;
    bool reached = false;

    while (!reached && now_ms() < until_ms) {
        reached = lag(stage).in_flight >= stage->group.max_in_flight;
        pause_ms(reached ? 0 : 20);
    }
    return reached;
}

/* What clients bound by themselves is not enough: with the cap reached another one gets nothing. */
static void caps_in_flight_of_processes(struct stage *stage)
{
    pid_t children[2];
    size_t count = 0, held, got = 0;

    stage->group.max_in_flight = 2;
    stage->group.ack_wait_ms = 8000;
    stage_declare(stage);
    publish_numbers(stage, 1, 10);
    while (count < ARRAY_LEN(children) && !reaches_cap(stage))
        children[count++] = child_start(stage, &held);
    struct stopwatch started = stopwatch_start(stage);
    struct broker_consumer *consumer = consume(stage);
    expect_quiet(consumer, 500);
    expect_took("the leases outlast the look", stage, &started, 0, 4000);
    expect_in_flight(stage, stage->group.max_in_flight);
    for (size_t i = 0; i < count; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    for (int64_t until_ms = now_ms() + 2LL * WAIT_MS; got < 10 && now_ms() < until_ms;) {
        struct broker_batch batch = take(consumer, 10, 100);
        expect_between("in flight", (int64_t)batch.count, 0, stage->group.max_in_flight);
        got += batch.count;
        done(consumer, batch.count);
    }
    assert_int_equal(got, 10);
    broker_close_consumer(consumer);
}

static const struct conformance_case cases[] = {
    {"bytes, headers, subject and id arrive as they were sent", keeps_bytes, ANY_DRIVER},
    {"an empty payload arrives as one", keeps_nothing, ONE_SERVER},
    {"G2 the largest message passes and can be buried, one byte more is TOO_LARGE", bounds_messages,
     ANY_DRIVER},
    {"a filter lets only its subjects through", filters, ONE_SERVER},
    {"an empty fetch returns at its deadline, 20 times in a row", empty_on_time, ALONE},
    {"a partial batch returns at once", partial_at_once, ALONE},
    {"a batch stays within its messages and bytes, but for the first", bounds_batches, ONE_SERVER},
    {"wake ends a waiting fetch", wakes, ONE_SERVER},
    {"G4 first deliveries come in publish order", in_order, ANY_DRIVER},
    {"G1 concurrent publishers and fetchers lose nothing", loses_nothing, ANY_DRIVER},
    {"a new group gets the history", gets_history, ANY_DRIVER},
    {"two groups each get everything", groups_get_all, ANY_DRIVER},
    {"G5 instances of a group share: each message is leased to one", instances_share, ANY_DRIVER},
    {"G5 one instance ends and the others go on with its messages", survivors_go_on, ANY_DRIVER},
    {"a restart under the same name continues where it was", continues, ONE_SERVER},
    {"G13 max_in_flight holds over all instances", caps_in_flight, ANY_DRIVER},
    {"G13 max_in_flight holds over processes, and what a killed one held is given to others",
     caps_in_flight_of_processes, ONLY_REAL},
};

const struct conformance_list delivery_cases = {cases, ARRAY_LEN(cases)};
