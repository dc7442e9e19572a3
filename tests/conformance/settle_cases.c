/* What becomes of a message that was delivered: leases, retries, attempts. */
#include "conformance/stage.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static struct broker_verdict retry(int64_t delay_ms)
{
    return (struct broker_verdict){.action = BROKER_RETRY, .delay_ms = delay_ms};
}

static void ack_is_final(struct stage *stage)
{
    struct error err;

    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker *other = stage_broker(stage);
    struct broker_consumer *consumer = consume_as(other, &stage->group);
    expect_done(consumer, "1", 1, CALL_MS);
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    broker_close_consumer(consumer);
    broker_close(other);

    consumer = consume(stage);
    expect_quiet(consumer, ACK_WAIT_MS + QUIET_MS);
    broker_close_consumer(consumer);
}

static void unsettled_comes_again(struct stage *stage)
{
    struct broker *other = stage_broker(stage);

    stage_declare(stage);
    struct broker_consumer *first = consume(stage), *second = consume_as(other, &stage->group);
    struct stopwatch leased = stopwatch_start(stage); /* not later than the lease */
    publish_numbers(stage, 1, 1);
    take_this(first, "1", 1, CALL_MS);
    take_this(second, "1", 2, WAIT_MS);
    expect_took("redelivered", stage, &leased, ACK_WAIT_MS, WAIT_MS);
    done(second, 1);
    broker_close_consumer(second);
    broker_close_consumer(first);
    broker_close(other);
}

static void retries_after(struct stage *stage, int64_t delay_ms)
{
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    struct stopwatch settled = stopwatch_start(stage);
    settle_all(consumer, 1, retry(delay_ms));
    take_this(consumer, "1", 2, WAIT_MS);
    expect_took("came again", stage, &settled, delay_ms, delay_ms + LATE_MS);
    done(consumer, 1);
    expect_quiet(consumer, QUIET_MS);
    broker_close_consumer(consumer);
}

static void retries_now(struct stage *stage)
{
    retries_after(stage, 0);
}

static void retries_below_ack_wait(struct stage *stage)
{
    retries_after(stage, ACK_WAIT_MS / 2);
}

static void retries_above_ack_wait(struct stage *stage)
{
    retries_after(stage, 2 * ACK_WAIT_MS + 500);
}

static void delay_outlives_client(struct stage *stage)
{
    struct broker *other = stage_broker(stage);
    struct error err;

    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume_as(other, &stage->group);
    take_this(consumer, "1", 1, CALL_MS);
    struct stopwatch settled = stopwatch_start(stage);
    settle_all(consumer, 1, retry(1500));
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    broker_close_consumer(consumer);
    broker_close(other);

    consumer = consume(stage);
    take_this(consumer, "1", 2, WAIT_MS);
    expect_took("came again", stage, &settled, 1500, 1500 + LATE_MS);
    done(consumer, 1);
    broker_close_consumer(consumer);
}

static void extend(struct broker_consumer *consumer)
{
    struct error err;

    assert_ok(broker_extend(consumer, &err));
}

static void extend_prevents(struct stage *stage)
{
    struct broker *other = stage_broker(stage);

    stage->group.ack_wait_ms = 2LL * ACK_WAIT_MS; /* the extensions have half of it to arrive */
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *first = consume(stage), *second = consume_as(other, &stage->group);
    take_this(first, "1", 1, CALL_MS);
    for (int i = 0; i < 3; i++) {
        expect_quiet(second, (int)stage->group.ack_wait_ms / 2);
        extend(first);
    }
    expect_quiet(second, (int)stage->group.ack_wait_ms / 2);
    struct stopwatch extended = stopwatch_start(stage);
    extend(first);
    take_this(second, "1", 2, WAIT_MS);
    expect_took("the last extension lasted", stage, &extended, stage->group.ack_wait_ms,
                stage->group.ack_wait_ms + LATE_MS);
    done(second, 1);
    broker_close_consumer(second);
    broker_close_consumer(first);
    broker_close(other);
}

static void late_extend_is_harmless(struct stage *stage)
{
    struct broker *other = stage_broker(stage);

    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *first = consume(stage), *second = consume_as(other, &stage->group);
    take_this(first, "1", 1, CALL_MS);
    take_this(second, "1", 2, WAIT_MS);
    done(second, 1);
    extend(first);
    done(first, 1);
    expect_quiet(second, ACK_WAIT_MS + QUIET_MS);
    publish_numbers(stage, 2, 2);
    expect_done(second, "2", 1, CALL_MS);
    broker_close_consumer(second);
    broker_close_consumer(first);
    broker_close(other);
}

/* What a worker's timer does while the worker works. */
struct timer {
    struct broker_consumer *consumer;
    int64_t every_ms;
    atomic_bool stop;
    atomic_int calls, failures;
    pthread_t thread;
};

static void *extend_now_and_then(void *context)
{
    struct timer *timer = context;
    struct error err;

    while (!timer->stop) {
        timer->failures += !broker_extend(timer->consumer, &err);
        timer->calls++;
        pause_ms(timer->every_ms);
    }
    return NULL;
}

static void timer_start(struct timer *timer)
{
    assert_int_equal(pthread_create(&timer->thread, NULL, extend_now_and_then, timer), 0);
}

/* One more, begun after this was. */
static void wait_for_call(struct timer *timer)
{
    int calls = timer->calls;

    for (int64_t until_ms = now_ms() + CALL_MS; timer->calls < calls + 2 && now_ms() < until_ms;)
        pause_ms(1);
    assert_true(timer->calls >= calls + 2);
}

static void timer_stop(struct timer *timer)
{
    timer->stop = true;
    pthread_join(timer->thread, NULL);
    assert_int_equal(timer->failures, 0);
}

static void extends_from_a_timer(struct stage *stage)
{
    struct broker *other = stage_broker(stage);

    stage->group.ack_wait_ms = 2LL * ACK_WAIT_MS; /* the extensions have most of it to arrive */
    stage_declare(stage);
    publish_numbers(stage, 1, 3);
    struct broker_consumer *first = consume(stage), *second = consume_as(other, &stage->group);
    struct timer timer = {.consumer = first, .every_ms = ACK_WAIT_MS / 4};
    size_t held = 0;
    for (int64_t until_ms = now_ms() + CALL_MS; held < 3 && now_ms() < until_ms;) {
        struct broker_batch batch = take(first, 3, CALL_MS);
        if (batch.count == 3 - held)
            break; /* the rest is what the handler is slow with */
        held += batch.count;
        done(first, batch.count);
    }
    timer_start(&timer);
    expect_quiet(second, (int)(2 * stage->group.ack_wait_ms + LATE_MS));
    timer_stop(&timer);
    done(first, 3 - held);
    expect_quiet(second, (int)stage->group.ack_wait_ms + QUIET_MS);
    expect_all_settled(stage);
    broker_close_consumer(second);
    broker_close_consumer(first);
    broker_close(other);
}

#define ROUNDS 200

/* A timer that never rests, while batches come and go: each message is delivered and settled once.
 */
static void extends_amid_settling(struct stage *stage)
{
    struct error err;

    stage->group.ack_wait_ms = 30000;
    stage_declare(stage);
    publish_numbers(stage, 1, ROUNDS);
    struct broker_consumer *consumer = consume(stage);
    struct timer timer = {.consumer = consumer, .every_ms = 1};
    timer_start(&timer);
    for (int got = 0; got < ROUNDS;) {
        struct broker_batch batch = take(consumer, 1 + (size_t)got % 3, CALL_MS);
        assert_true(batch.count > 0);
        for (size_t i = 0; i < batch.count; i++)
            assert_int_equal(batch.deliveries[i].attempt, 1);
        got += (int)batch.count;
        if (got % 2)
            wait_for_call(&timer);
        done(consumer, batch.count);
    }
    timer_stop(&timer);
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    expect_all_settled(stage);
    broker_close_consumer(consumer);
}

static void extend_without_a_batch(struct stage *stage)
{
    struct error err;

    stage->group.ack_wait_ms = 4LL * ACK_WAIT_MS; /* an extended delay would be late */
    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    extend(consumer);
    expect_quiet(consumer, 100);
    extend(consumer);
    publish_numbers(stage, 1, 2);
    take_this(consumer, "1", 1, CALL_MS);
    struct stopwatch settled = stopwatch_start(stage);
    settle_all(consumer, 1, retry(500));
    extend(consumer); /* it is not held any more: the delay stays what it is */
    take_this(consumer, "2", 1, CALL_MS);
    extend(consumer); /* the other one */
    done(consumer, 1);
    extend(consumer);
    take_this(consumer, "1", 2, WAIT_MS);
    expect_took("came again", stage, &settled, 500, 500 + LATE_MS);
    done(consumer, 1);
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    extend(consumer);
    expect_all_settled(stage);
    broker_close_consumer(consumer);
}

static void late_ack_wins(struct stage *stage)
{
    struct broker *other = stage_broker(stage);

    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *first = consume(stage), *second = consume_as(other, &stage->group);
    take_this(first, "1", 1, CALL_MS);
    take_this(second, "1", 2, WAIT_MS);
    done(first, 1);
    broker_close_consumer(second); /* it never settles: the late ack has to have ended it */
    expect_quiet(first, ACK_WAIT_MS + LATE_MS);
    broker_close_consumer(first);
    broker_close(other);
    expect_in_flight(stage, 0);
}

static void ack_after_expiry(struct stage *stage)
{
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    pause_ms(ACK_WAIT_MS + 200);
    done(consumer, 1);
    pause_ms(100); /* an ack is not confirmed, and nobody else asks meanwhile */
    expect_quiet(consumer, ACK_WAIT_MS);
    expect_in_flight(stage, 0);
    broker_close_consumer(consumer);
}

static void double_ack_is_ok(struct stage *stage)
{
    struct broker *other = stage_broker(stage);

    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *first = consume(stage), *second = consume_as(other, &stage->group);
    take_this(first, "1", 1, CALL_MS);
    take_this(second, "1", 2, WAIT_MS);
    done(second, 1);
    done(first, 1);
    expect_quiet(second, ACK_WAIT_MS + QUIET_MS);
    broker_close_consumer(second);
    broker_close_consumer(first);
    broker_close(other);
    expect_all_settled(stage);
}

/* The number in the id says what to do with it: 1 done, 2 retry, 3 reject. */
static void settle_mixed(struct broker_consumer *consumer, const struct broker_batch *batch)
{
    static const struct broker_verdict verdicts[] = {
        {.action = BROKER_DONE},
        {.action = BROKER_RETRY, .delay_ms = 300},
        {.action = BROKER_REJECT, .reason = "bad"},
    };
    struct broker_verdict chosen[3];
    struct error err;

    assert_in_range(batch->count, 1, 3);
    for (size_t i = 0; i < batch->count; i++)
        chosen[i] = verdicts[batch->deliveries[i].id[0] - '1'];
    assert_ok(broker_settle(consumer, chosen, batch->count, CALL_MS, &err));
}

static void mixed_batch(struct stage *stage)
{
    char dead[80];

    stage_declare(stage);
    publish_numbers(stage, 1, 3);
    struct broker_consumer *consumer = consume(stage);
    for (size_t got = 0; got < 3;) {
        struct broker_batch batch = take(consumer, 3, CALL_MS);
        got += batch.count;
        settle_mixed(consumer, &batch);
    }
    expect_done(consumer, "2", 2, WAIT_MS);
    expect_quiet(consumer, ACK_WAIT_MS + QUIET_MS);
    snprintf(dead, sizeof(dead), "dead.%s.group", stage->name);
    assert_int_equal(count_stored(stage, "DEAD", dead), 1);
    broker_close_consumer(consumer);
}

static void exact_attempts(struct stage *stage)
{
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    settle_all(consumer, 1, retry(0));
    take_this(consumer, "1", 2, CALL_MS);
    broker_close_consumer(consumer); /* a crash counts as well */
    consumer = consume(stage);
    take_this(consumer, "1", 3, WAIT_MS);
    settle_all(consumer, 1, retry(10));
    expect_done(consumer, "1", 4, CALL_MS);
    broker_close_consumer(consumer);
}

static void inspection_counts_nothing(struct stage *stage)
{
    stage_declare(stage);
    publish_numbers(stage, 1, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(count_stored(stage, stage->name, stage->name), 3);
        assert_int_equal(lag(stage).unread, 3);
    }
    struct broker_consumer *consumer = consume(stage);
    expect_done(consumer, "1", 1, CALL_MS);
    broker_close_consumer(consumer);
}

static void strict_order_through_retry(struct stage *stage)
{
    stage->group.max_in_flight = 1;
    stage_declare(stage);
    publish_numbers(stage, 1, 3);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    settle_all(consumer, 1, retry(300));
    expect_quiet(consumer, 200);
    take_this(consumer, "1", 2, CALL_MS);
    settle_all(consumer, 1, retry(0));
    expect_done(consumer, "1", 3, CALL_MS);
    expect_done(consumer, "2", 1, CALL_MS);
    expect_done(consumer, "3", 1, CALL_MS);
    broker_close_consumer(consumer);
}

static void strict_order_through_crash(struct stage *stage)
{
    struct broker *other = stage_broker(stage);

    stage->group.max_in_flight = 1;
    stage_declare(stage);
    publish_numbers(stage, 1, 3);
    struct broker_consumer *consumer = consume_as(other, &stage->group);
    expect_done(consumer, "1", 1, CALL_MS);
    take_this(consumer, "2", 1, CALL_MS);
    broker_close_consumer(consumer);
    broker_close(other);
    consumer = consume(stage);
    expect_done(consumer, "2", 2, WAIT_MS);
    expect_done(consumer, "3", 1, CALL_MS);
    broker_close_consumer(consumer);
}

static void unsettled_batch_blocks_fetch(struct stage *stage)
{
    struct broker_verdict verdicts[2] = {{.action = BROKER_DONE}};
    struct broker_batch batch;
    struct error err;

    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    assert_fails(broker_fetch(consumer, 1, SIZE_MAX, 100, &batch, &err), ERROR_INVALID);
    assert_fails(broker_settle(consumer, verdicts, 2, 100, &err), ERROR_INVALID);
    verdicts[0] = retry(BROKER_DELAY_MAX_MS + 1);
    assert_fails(broker_settle(consumer, verdicts, 1, 100, &err), ERROR_INVALID);
    verdicts[0] = (struct broker_verdict){.action = BROKER_REJECT};
    assert_fails(broker_settle(consumer, verdicts, 1, 100, &err), ERROR_INVALID);
    done(consumer, 1);
    broker_close_consumer(consumer);
}

static const struct conformance_case cases[] = {
    {"an ack is final across a reconnect", ack_is_final, ANY_DRIVER},
    {"G6 G7 the unsettled comes again after ack_wait and within a second", unsettled_comes_again,
     ANY_DRIVER},
    {"G7 retry 0 comes at once", retries_now, ANY_DRIVER},
    {"G7 a retry below ack_wait comes in time", retries_below_ack_wait, ANY_DRIVER},
    {"G7 a retry above ack_wait comes in time, and not before", retries_above_ack_wait, ANY_DRIVER},
    {"G7 G20 a delay outlives the client that asked for it", delay_outlives_client, ANY_DRIVER},
    {"G6 extend restarts the lease in full", extend_prevents, ANY_DRIVER},
    {"G6 extend after the lease is harmless", late_extend_is_harmless, ANY_DRIVER},
    {"G6 extend from a timer's thread keeps what is being worked on", extends_from_a_timer,
     ANY_DRIVER},
    {"G6 extend from a timer's thread while batches come and go", extends_amid_settling,
     ANY_DRIVER},
    {"G6 extend does nothing for what is not held, and nothing without a batch",
     extend_without_a_batch, ANY_DRIVER},
    {"G9 a late ack wins over a newer lease", late_ack_wins, ANY_DRIVER},
    {"G9 an ack after expiry counts when nobody has it", ack_after_expiry, ANY_DRIVER},
    {"G9 a double ack is ok", double_ack_is_ok, ANY_DRIVER},
    {"a mixed batch: done, retry and reject each do theirs", mixed_batch, ANY_DRIVER},
    {"G8 attempt counts deliveries from 1, crashes included", exact_attempts, ANY_DRIVER},
    {"G8 inspection does not count", inspection_counts_nothing, ANY_DRIVER},
    {"G4 strict order through retries", strict_order_through_retry, ANY_DRIVER},
    {"G4 strict order through a crash", strict_order_through_crash, ANY_DRIVER},
    {"a batch has to be settled, with verdicts that make sense, before the next",
     unsettled_batch_blocks_fetch, ANY_DRIVER},
};

const struct conformance_list settle_cases = {cases, ARRAY_LEN(cases)};
