/* How much a client keeps when nobody takes it away. */
#include "conformance/stage.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_BYTES 100000
#define BATCH_BYTES 500000
#define MIB (1024LL * 1024)

/* In use by this process; a sanitizer's allocator does not tell, and shows no growth. */
static int64_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return (int64_t)(info.uordblks + info.hblkhd);
}

/* ---- a handler that is slow ---- */

static void publish_large(struct stage *stage, int count)
{
    static char data[MESSAGE_BYTES];
    char subject[80], id[16];
    struct broker_receipt receipt;

    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = id, .data = data, .size = sizeof(data)};
    for (int i = 0; i < count; i++) {
        snprintf(id, sizeof(id), "%d", i);
        assert_true(try_publish(stage, &message, CALL_MS, &receipt));
    }
}

static size_t take_half_mb(struct broker_consumer *consumer)
{
    struct broker_batch batch;
    struct error err;

    assert_ok(broker_fetch(consumer, 1000, BATCH_BYTES, CALL_MS, &batch, &err));
    expect_between("messages", (int64_t)batch.count, 1, BATCH_BYTES / MESSAGE_BYTES);
    return batch.count;
}

/* The caller bounds its batches by bytes; the number of messages would allow all of the stream. */
static void slow_handler_is_bounded(struct stage *stage)
{
    stage->group.ack_wait_ms = 30000;
    stage->group.max_in_flight = 10000;
    stage_declare(stage);
    publish_large(stage, 500);
    struct broker *broker = stage_broker(stage);
    struct broker_consumer *consumer = consume_as(broker, &stage->group);
    int64_t before = heap_bytes();
    for (int i = 0; i < 2; i++) /* then it knows how much there is to read ahead */
        done(consumer, take_half_mb(consumer));
    size_t count = take_half_mb(consumer);
    pause_ms(500);
    int64_t held = lag(stage).in_flight;
    expect_between("messages handed out, of 0.1 MB", held, 1, 50);
    pause_ms(1500);
    expect_in_flight(stage, held);
    expect_between("bytes of growth while the handler works", heap_bytes() - before, INT64_MIN,
                   5 * MIB);
    done(consumer, count);
    broker_close_consumer(consumer);
    broker_close(broker);
}

/* ---- a broker that does not answer ---- */

static void count_call(void *context, const struct broker_receipt *receipt)
{
    (void)receipt;
    atomic_fetch_add((atomic_int *)context, 1);
}

/* How many publishes are taken before one is refused; it has to be for want of room. */
static int publish_until_refused(struct broker *broker, const struct stage *stage, size_t size,
                                 atomic_int *calls)
{
    static char data[MESSAGE_BYTES];
    char subject[80], id[16];
    struct error err = {0};
    int taken = 0;

    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = id, .data = data, .size = size};
    for (; taken < 5000; taken++) {
        snprintf(id, sizeof(id), "%zu-%d", size, taken);
        if (!broker_publish_async(broker, &message, 2000, count_call, calls, &err))
            break;
    }
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_string_equal(err.reason, "too_many_pending");
    return taken;
}

static void pending_is_bounded(struct stage *stage, size_t size, int least, int most)
{
    static atomic_int calls;
    struct broker_options options = {.max_pending = 1000};
    struct broker *broker;
    struct error err;

    stage_declare(stage);
    assert_ok(broker_open(&broker, stage->url, &options, &err));
    server_pause(stage->server);
    int64_t before = heap_bytes();
    int taken = publish_until_refused(broker, stage, size, &calls);
    expect_between("publishes taken", taken, least, most);
    expect_between("bytes of growth", heap_bytes() - before, INT64_MIN, 40 * MIB);
    for (int64_t until_ms = now_ms() + WAIT_MS; calls < taken && now_ms() < until_ms;)
        pause_ms(10);
    assert_int_equal(calls, taken);
    server_resume(stage->server);
    broker_close(broker);
    assert_int_equal(calls, taken);
}

static void pending_messages_are_bounded(struct stage *stage)
{
    pending_is_bounded(stage, 10, 1000, 1000);
}

static void pending_bytes_are_bounded(struct stage *stage)
{
    pending_is_bounded(stage, MESSAGE_BYTES, 200, 400);
}

static const struct conformance_case cases[] = {
    {"a slow handler bounds memory", slow_handler_is_bounded, ONLY_REAL | ONE_SERVER},
    {"publishes without an answer are bounded in number, and each is answered once",
     pending_messages_are_bounded, OWN_SERVER},
    {"publishes without an answer are bounded in bytes, and each is answered once",
     pending_bytes_are_bounded, OWN_SERVER},
};

const struct conformance_list bound_cases = {cases, ARRAY_LEN(cases)};
