#include "broker/memory_driver.h"

#include "broker/checks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ITEM_MAX_BYTES (1024UL * 1024) /* as a real broker has it */

/* Takes one of the faults that were ordered, when it is meant for this stream. */
static bool take_fault(struct memory_world *world, const char *stream,
                       enum broker_memory_fault *out)
{
    if (world->fault_times == 0 ||
        (world->fault_stream && strcmp(world->fault_stream, stream) != 0))
        return false;
    world->fault_times--;
    *out = world->fault;
    return true;
}

static bool make_room(struct memory_stream *stream, size_t bytes, struct error *err)
{
    if ((int64_t)bytes <= stream->max_bytes && stream->telemetry)
        while ((int64_t)(stream->bytes + bytes) > stream->max_bytes)
            memory_stream_drop(stream, 0);
    return (int64_t)(stream->bytes + bytes) <= stream->max_bytes ||
           error_set(err, ERROR_FULL, "stream '%s' holds %zu of %lld bytes", stream->name,
                     stream->bytes, (long long)stream->max_bytes);
}

static void store(struct memory_world *world, const struct broker_message *message,
                  struct broker_receipt *receipt)
{
    struct memory_stream *stream = memory_reach_stream(world, message->stream, &receipt->error);
    size_t bytes = memory_message_bytes(message);
    int64_t at_ms = memory_now_ms(world);
    uint64_t sequence;

    if (!stream)
        return;
    if (!pattern_matches(stream->subjects, message->subject)) {
        error_set(&receipt->error, ERROR_INVALID, "it is not for stream '%s'", stream->name);
        return;
    }
    if (bytes > ITEM_MAX_BYTES) {
        error_set(&receipt->error, ERROR_TOO_LARGE, "%zu bytes", bytes);
        return;
    }
    receipt->duplicate = memory_stream_has_seen(stream, message->id, at_ms, &sequence);
    if (!receipt->duplicate) {
        if (!make_room(stream, bytes, &receipt->error))
            return;
        sequence = stream->end_sequence;
        memory_stream_append(stream, message, at_ms);
    }
    snprintf(receipt->sequence, sizeof(receipt->sequence), "%" PRIu64, sequence);
}

static void store_or_fail(struct memory_world *world, const struct broker_message *message,
                          struct broker_receipt *receipt)
{
    enum broker_memory_fault fault;

    if (!take_fault(world, message->stream, &fault)) {
        store(world, message, receipt);
        return;
    }
    if (fault == BROKER_MEMORY_STORED)
        store(world, message, receipt);
    if (fault == BROKER_MEMORY_UNAVAILABLE)
        error_set(&receipt->error, ERROR_UNAVAILABLE, "as the test asked");
    else if (fault == BROKER_MEMORY_FULL)
        error_set(&receipt->error, ERROR_FULL, "as the test asked");
    else
        error_set(&receipt->error, ERROR_UNKNOWN, "as the test asked");
}

static void count_publish(struct broker *broker, const struct broker_receipt *receipt)
{
    struct broker_counters *counters = &broker->counters;

    if (receipt->error.code != ERROR_NONE)
        atomic_fetch_add(&counters->publish_failures, 1);
    else if (receipt->duplicate)
        atomic_fetch_add(&counters->duplicates, 1);
    else
        atomic_fetch_add(&counters->published, 1);
}

bool memory_publish_async(struct broker *base, const struct broker_message *message, int timeout_ms,
                          broker_done *done, void *context, struct error *err)
{
    struct memory_broker *broker = memory_broker_of(base);
    struct memory_world *world = broker->world;
    struct broker_receipt receipt = {0};

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool drained = broker->drained;
    if (!drained) {
        store_or_fail(world, message, &receipt);
        broker->telling++;
        pthread_cond_broadcast(&world->changed);
    }
    pthread_mutex_unlock(&world->lock);
    if (drained)
        return error_set(err, ERROR_CLOSED, "the broker is drained");
    count_publish(base, &receipt);
    done(context, &receipt);
    pthread_mutex_lock(&world->lock);
    broker->telling--;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
    return true;
}

/* Only the answers that other threads are being told have to be waited for. */
bool memory_drain(struct broker *base, int timeout_ms, struct error *err)
{
    struct memory_broker *broker = memory_broker_of(base);
    struct memory_world *world = broker->world;
    int64_t until_ms = clock_steady_ms(clock_system()) + timeout_ms;

    pthread_mutex_lock(&world->lock);
    broker->drained = true;
    while (broker->telling && clock_steady_ms(clock_system()) < until_ms)
        memory_wait(world, until_ms);
    unsigned telling = broker->telling;
    pthread_mutex_unlock(&world->lock);
    return !telling || error_set(err, ERROR_TIMEOUT, "%u publishes are not told yet", telling);
}
