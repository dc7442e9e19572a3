#include "broker/transfer.h"

#include "base/arena.h"
#include "base/id.h"
#include "base/memory.h"
#include "base/rfc3339.h"
#include "broker/broker_driver.h"
#include "broker/dead_letter.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BATCH 500
#define BATCH_BYTES ((size_t)4 * 1024 * 1024)
#define LOOK 16 /* messages of a stream without consumers at a time; a megabyte each at most */
#define STORE_MS 10000
#define AGAIN_MS 1000 /* until what could not be stored is tried again */
#define TOLD_HEADERS 3
#define ARENA_CHUNK ((size_t)64 * 1024)

struct transfer {
    struct transfer_route route;
    struct broker_group group;        /* of the consumer */
    struct broker_consumer *consumer; /* NULL: the stream has no consumers */
    struct arena *arena;              /* of one step, with what follows */
    struct broker_message messages[BATCH];
    struct broker_receipt receipts[BATCH];
    struct broker_verdict verdicts[BATCH];
    size_t count;
};

bool transfer_open(struct transfer **out, const struct transfer_route *route, struct error *err)
{
    AUTO(transfer_close) struct transfer *transfer = memory_alloc(sizeof(*transfer));

    transfer->route = *route;
    transfer->arena = arena_new(ARENA_CHUNK);
    if (route->group) {
        transfer->group = *route->group;
        transfer->group.max_attempts = UINT_MAX; /* to be taken along is not an attempt */
        if (!broker_open_consumer(&transfer->consumer, route->from, &transfer->group, err))
            return error_wrap(err, "transfer");
    }
    *out = transfer;
    transfer = NULL;
    return true;
}

void transfer_close(struct transfer *transfer)
{
    if (!transfer)
        return;
    broker_close_consumer(transfer->consumer);
    arena_free(transfer->arena);
    free(transfer);
}

/* ---- messages ---- */

static const char *copy(struct arena *arena, const char *text)
{
    return arena_copy(arena, text, strlen(text));
}

/* The same for the same message, however often it is taken. */
static const char *id_of(const struct transfer *transfer, const struct broker_delivery *delivery)
{
    struct id id;
    char text[ID_TEXT_SIZE];

    if (delivery->id[0])
        return copy(transfer->arena, delivery->id);
    id = id_derive(transfer->route.stream, delivery->sequence, strlen(delivery->sequence));
    id_format(&id, text);
    return copy(transfer->arena, text);
}

/* Where it was and when, for who names by that what he stores (dead_letter_origin). */
static size_t tell_origin(struct arena *arena, const struct broker_delivery *delivery,
                          struct broker_header *out)
{
    char *first = arena_alloc(arena, RFC3339_SIZE);
    size_t count = 0;

    if (broker_header(delivery, DEAD_SEQUENCE))
        return 0; /* it is told already */
    rfc3339_format(delivery->stored_ms, first);
    out[count++] = (struct broker_header){DEAD_SEQUENCE, copy(arena, delivery->sequence)};
    out[count++] = (struct broker_header){DEAD_FIRST, first};
    if (delivery->id[0])
        out[count++] = (struct broker_header){DEAD_ID, copy(arena, delivery->id)};
    return count;
}

static void add_message(struct transfer *transfer, const struct broker_delivery *delivery)
{
    struct arena *arena = transfer->arena;
    struct broker_header *headers =
        arena_alloc(arena, (delivery->header_count + TOLD_HEADERS) * sizeof(*headers));
    size_t count = tell_origin(arena, delivery, headers);

    for (size_t i = 0; i < delivery->header_count; i++)
        if (strncasecmp(delivery->headers[i].name, "Nats-", 5) != 0)
            headers[count++] = (struct broker_header){copy(arena, delivery->headers[i].name),
                                                      copy(arena, delivery->headers[i].value)};
    transfer->messages[transfer->count++] = (struct broker_message){
        .stream = transfer->route.stream,
        .subject = copy(arena, delivery->subject),
        .id = id_of(transfer, delivery),
        .headers = headers,
        .header_count = count,
        .data = arena_copy(arena, delivery->data, delivery->size),
        .size = delivery->size,
    };
}

/* How many of the step's messages are stored there; err is about the first that is not. */
static size_t store(struct transfer *transfer, struct error *err)
{
    size_t stored = 0;

    if (broker_send(transfer->route.to, transfer->messages, transfer->count, STORE_MS,
                    transfer->receipts, err))
        return transfer->count;
    for (size_t i = 0; i < transfer->count; i++)
        stored += transfer->receipts[i].error.code == ERROR_NONE;
    return stored;
}

/* ---- with a consumer ---- */

static bool take_batch(struct transfer *transfer, int timeout_ms, size_t *out_moved,
                       struct error *err)
{
    struct broker_batch batch;
    struct error trouble = {0};

    if (!broker_fetch(transfer->consumer, BATCH, BATCH_BYTES, timeout_ms, &batch, err))
        return false;
    for (size_t i = 0; i < batch.count; i++)
        add_message(transfer, &batch.deliveries[i]);
    size_t stored = batch.count ? store(transfer, &trouble) : 0;
    for (size_t i = 0; i < batch.count; i++)
        transfer->verdicts[i] =
            transfer->receipts[i].error.code == ERROR_NONE
                ? (struct broker_verdict){.action = BROKER_DONE}
                : (struct broker_verdict){.action = BROKER_RETRY, .delay_ms = AGAIN_MS};
    if (!broker_settle(transfer->consumer, transfer->verdicts, batch.count, STORE_MS, err))
        return false;
    *out_moved = stored;
    if (stored < batch.count)
        *err = trouble;
    return stored == batch.count;
}

/* ---- without ---- */

struct look {
    struct transfer *transfer;
    const char *sequences[LOOK];
};

static void on_message(void *context, const struct broker_delivery *delivery)
{
    struct look *look = context;

    look->sequences[look->transfer->count] = copy(look->transfer->arena, delivery->sequence);
    add_message(look->transfer, delivery);
}

static bool take_front(struct transfer *transfer, int timeout_ms, size_t *out_moved,
                       struct error *err)
{
    const struct transfer_route *route = &transfer->route;
    struct look look = {.transfer = transfer};
    struct error trouble = {0};
    const char *done[LOOK];

    if (!broker_peek(route->from, route->stream, "", LOOK, on_message, &look, timeout_ms, err))
        return false;
    if (transfer->count == 0)
        return true;
    *out_moved = store(transfer, &trouble);
    for (size_t i = 0, next = 0; i < transfer->count; i++)
        if (transfer->receipts[i].error.code == ERROR_NONE)
            done[next++] = look.sequences[i];
    if (!broker_remove(route->from, route->stream, done, *out_moved, STORE_MS, err))
        return false;
    if (*out_moved < transfer->count)
        *err = trouble;
    return *out_moved == transfer->count;
}

bool transfer_step(struct transfer *transfer, int timeout_ms, size_t *out_moved, struct error *err)
{
    arena_reset(transfer->arena);
    transfer->count = 0;
    *out_moved = 0;
    return (transfer->consumer ? take_batch : take_front)(transfer, timeout_ms, out_moved, err) ||
           error_wrap(err, "transfer '%s'", transfer->route.stream);
}

bool transfer_finish(struct transfer *transfer, int timeout_ms, struct error *err)
{
    return !transfer->consumer || broker_drain_consumer(transfer->consumer, timeout_ms, err);
}
