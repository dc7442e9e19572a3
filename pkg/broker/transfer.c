#include "broker/transfer.h"

#include "base/arena.h"
#include "base/id.h"
#include "base/memory.h"
#include "base/rfc3339.h"
#include "broker/broker_driver.h"
#include "broker/dead_letter.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BATCH 500
#define BATCH_BYTES ((size_t)4 * 1024 * 1024)
#define LOOK 16 /* messages of a stream without consumers at a time; a megabyte each at most */
#define LOOK_MS 5000
#define STORE_MS 5000
#define STORE_LEAST_MS 300
#define STORE_LEASE_SHARE 3 /* the time to store gets this part of the lease */
#define SETTLE_MS 5000
#define TOLD_HEADERS 3
#define ARENA_CHUNK ((size_t)64 * 1024)

#define BUCKET "moves"
#define BUCKET_KEY "last"

struct transfer {
    struct transfer_route route;
    struct broker_group group;        /* of the consumer */
    struct broker_consumer *consumer; /* NULL: the stream has no consumers */
    bool is_dead;                     /* what the stream has are dead letters */
    int64_t reached_ms;
    struct arena *arena; /* of the messages that are held */

    /* What is held: `count` messages were taken, the first `waiting` of the arrays are not stored
     * there yet. */
    size_t count, waiting;
    struct broker_message messages[BATCH];
    size_t places[BATCH]; /* of the messages, in what was taken */
    struct broker_receipt receipts[BATCH];

    /* By place. */
    struct broker_verdict verdicts[BATCH];
    const char *sequences[BATCH];
};

/* ---- one broker under two names ---- */

static bool put_mark(struct broker *broker, uint64_t expected, int timeout_ms,
                     uint64_t *out_revision, struct error *err)
{
    struct id id = id_new(clock_wall_ms(clock_system()));
    char text[ID_TEXT_SIZE];
    struct broker_value value = {.key = BUCKET_KEY, .data = text, .size = sizeof(text) - 1};

    id_format(&id, text);
    return broker_state_put(broker, BUCKET, &value, expected, timeout_ms, out_revision, err);
}

/* What is written to one and changes the other is one; the revision tells, whoever answers. */
bool transfer_check_apart(struct broker *from, struct broker *to, int timeout_ms, struct error *err)
{
    uint64_t mark = 0, ignored;

    if (put_mark(from, BROKER_ANY, timeout_ms, &mark, err) &&
        put_mark(to, BROKER_ANY, timeout_ms, &ignored, err) &&
        put_mark(from, mark, timeout_ms, &ignored, err))
        return true;
    if (err->code != ERROR_CONFLICT)
        return error_wrap(err, "are they two brokers?");
    error_set(err, ERROR_CONFLICT,
              "both are the same broker, or something else moves messages between them now");
    err->reason = "same_broker";
    return false;
}

/* ---- opening ---- */

bool transfer_open(struct transfer **out, const struct transfer_route *route, struct error *err)
{
    AUTO(transfer_close) struct transfer *transfer = memory_alloc(sizeof(*transfer));

    transfer->route = *route;
    transfer->is_dead = strcmp(route->stream, DEAD_STREAM) == 0;
    transfer->arena = arena_new(ARENA_CHUNK);
    if (route->group) {
        transfer->group = *route->group;
        transfer->group.max_attempts = UINT_MAX; /* what is given up would stay here */
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

int64_t transfer_reached_ms(const struct transfer *transfer)
{
    return transfer->reached_ms;
}

/* ---- messages ---- */

static const char *copy(struct arena *arena, const char *text)
{
    return arena_copy(arena, text, strlen(text));
}

/* The same for the same message, however often it is taken; another for that of another broker at
 * the same place. */
static const char *id_of(const struct transfer *transfer, const struct broker_delivery *delivery)
{
    char key[BROKER_ID_MAX + BROKER_SEQUENCE_SIZE + 32], text[ID_TEXT_SIZE];

    if (delivery->id[0] && !transfer->is_dead)
        return copy(transfer->arena, delivery->id);
    int size = snprintf(key, sizeof(key), "%s@%" PRId64 " %s", delivery->sequence,
                        delivery->stored_ms, delivery->id);
    struct id id = id_derive(transfer->route.stream, key, (size_t)size);
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
    size_t count = tell_origin(arena, delivery, headers), place = transfer->count++;

    for (size_t i = 0; i < delivery->header_count; i++)
        if (strncasecmp(delivery->headers[i].name, "Nats-", 5) != 0)
            headers[count++] = (struct broker_header){copy(arena, delivery->headers[i].name),
                                                      copy(arena, delivery->headers[i].value)};
    if (delivery->stored_ms > transfer->reached_ms)
        transfer->reached_ms = delivery->stored_ms;
    transfer->sequences[place] = copy(arena, delivery->sequence);
    transfer->verdicts[place] = (struct broker_verdict){.action = BROKER_RETRY};
    transfer->places[transfer->waiting] = place;
    transfer->messages[transfer->waiting++] = (struct broker_message){
        .stream = transfer->route.stream,
        .subject = copy(arena, delivery->subject),
        .id = id_of(transfer, delivery),
        .headers = headers,
        .header_count = count,
        .data = arena_copy(arena, delivery->data, delivery->size),
        .size = delivery->size,
    };
}

static void forget_held(struct transfer *transfer)
{
    arena_reset(transfer->arena);
    transfer->count = transfer->waiting = 0;
}

/* ---- taking ---- */

static bool take_batch(struct transfer *transfer, int timeout_ms, struct error *err)
{
    struct broker_batch batch;

    if (!broker_fetch(transfer->consumer, BATCH, BATCH_BYTES, timeout_ms, &batch, err))
        return false;
    for (size_t i = 0; i < batch.count; i++)
        add_message(transfer, &batch.deliveries[i]);
    return true;
}

static void on_message(void *context, const struct broker_delivery *delivery)
{
    add_message(context, delivery);
}

static bool take(struct transfer *transfer, int timeout_ms, struct error *err)
{
    const struct transfer_route *route = &transfer->route;

    if (transfer->consumer)
        return take_batch(transfer, timeout_ms, err);
    if (broker_peek(route->from, route->stream, "", LOOK, on_message, transfer, LOOK_MS, err))
        return true;
    forget_held(transfer);
    return false;
}

/* ---- storing ---- */

static int store_ms(const struct transfer *transfer)
{
    int64_t share_ms = transfer->group.ack_wait_ms / STORE_LEASE_SHARE;

    if (!transfer->consumer || share_ms > STORE_MS)
        return STORE_MS;
    return share_ms > STORE_LEAST_MS ? (int)share_ms : STORE_LEAST_MS;
}

/* What is stored is done; the rest moves up. Returns how many are stored. */
static size_t note_stored(struct transfer *transfer)
{
    size_t sent = transfer->waiting, kept = 0;

    for (size_t i = 0; i < sent; i++) {
        size_t place = transfer->places[i];
        if (transfer->receipts[i].error.code == ERROR_NONE) {
            transfer->verdicts[place].action = BROKER_DONE;
            continue;
        }
        transfer->places[kept] = place;
        transfer->messages[kept++] = transfer->messages[i];
    }
    transfer->waiting = kept;
    return sent - kept;
}

static bool store(struct transfer *transfer, size_t *out_moved, struct error *err)
{
    struct error ignored;
    bool stored = broker_send(transfer->route.to, transfer->messages, transfer->waiting,
                              store_ms(transfer), transfer->receipts, err);

    *out_moved = note_stored(transfer);
    /* A lease that is not extended ends: then the message comes again, and is a duplicate. */
    if (!stored && transfer->consumer)
        (void)!broker_extend(transfer->consumer, &ignored);
    return stored;
}

/* ---- settling ---- */

static bool remove_stored(struct transfer *transfer, int timeout_ms, struct error *err)
{
    const char *stored[LOOK];
    size_t count = 0;

    for (size_t i = 0; i < transfer->count; i++)
        if (transfer->verdicts[i].action == BROKER_DONE)
            stored[count++] = transfer->sequences[i];
    return broker_remove(transfer->route.from, transfer->route.stream, stored, count, timeout_ms,
                         err);
}

/* What is stored there leaves, what is not is given back. */
static bool settle(struct transfer *transfer, int timeout_ms, struct error *err)
{
    bool settled = transfer->count == 0 ||
                   (transfer->consumer ? broker_settle(transfer->consumer, transfer->verdicts,
                                                       transfer->count, timeout_ms, err)
                                       : remove_stored(transfer, timeout_ms, err));

    forget_held(transfer);
    return settled;
}

static bool step(struct transfer *transfer, int timeout_ms, size_t *out_moved, struct error *err)
{
    if (transfer->count == 0 && !take(transfer, timeout_ms, err))
        return false;
    if (transfer->count == 0)
        return true;
    return store(transfer, out_moved, err) && settle(transfer, SETTLE_MS, err);
}

bool transfer_step(struct transfer *transfer, int timeout_ms, size_t *out_moved, struct error *err)
{
    *out_moved = 0;
    return step(transfer, timeout_ms, out_moved, err) ||
           error_wrap(err, "transfer '%s'", transfer->route.stream);
}

bool transfer_finish(struct transfer *transfer, int timeout_ms, struct error *err)
{
    struct error trouble;
    bool settled = settle(transfer, timeout_ms, err);
    bool drained =
        !transfer->consumer || broker_drain_consumer(transfer->consumer, timeout_ms, &trouble);

    if (settled && !drained)
        *err = trouble;
    return (settled && drained) || error_wrap(err, "transfer '%s'", transfer->route.stream);
}
