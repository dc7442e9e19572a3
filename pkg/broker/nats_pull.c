#include "broker/nats_consumer.h"

#include "base/memory.h"
#include "broker/nats_wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a request; one that a dead leader held is missed so long. Not shorter: a 2.9 server that meets
 * an ended request with a redelivery in its hands counts that message as unread, too. */
#define EXPIRES_MS 5000
#define GRACE_MS 1000
#define HOLD_MS 100 /* after a refusal: no storm of requests */
#define STEP_MS 250 /* of waiting, then the requests are looked after */
#define RING_FIRST 64
#define COUNT_MARK '-' /* "<inbox>.<number of the request>-<messages asked for>" */
#define DRAIN_SHARE 2  /* a drain waits for what is open for this part of its time */
#define BYTES_MAX ((size_t)8 * 1024 * 1024) /* read ahead, when the caller wants more */
#define HEADERS_BYTES ((size_t)64 * 1024)
#define ARENA_BYTES ((size_t)16 * 1024)
#define ID_HEADER "Nats-Msg-Id"

/* ---- the library's threads: they put aside what came ---- */

/* The lock is held. */
static void push(struct nats_consumer *consumer, natsMsg *message)
{
    if (consumer->ring_count == consumer->ring_room) {
        size_t room = consumer->ring_room ? 2 * consumer->ring_room : RING_FIRST;
        struct nats_arrival *ring = memory_alloc(room * sizeof(*ring));
        for (size_t i = 0; i < consumer->ring_count; i++)
            ring[i] = consumer->ring[(consumer->ring_first + i) % consumer->ring_room];
        free(consumer->ring);
        consumer->ring = ring;
        consumer->ring_room = room;
        consumer->ring_first = 0;
    }
    consumer->ring[(consumer->ring_first + consumer->ring_count++) % consumer->ring_room] =
        (struct nats_arrival){message, nats_now_ms()};
    consumer->ring_bytes += (size_t)natsMsg_GetDataLength(message);
}

/* How many messages a request that ended did not get: one that was refused does not say, and got
 * none of what it asked for, which its subject tells. Others may still be open. */
static int64_t left_over(const struct nats_consumer *consumer, natsMsg *message)
{
    const char *text = NULL;

    if (natsMsgHeader_Get(message, "Nats-Pending-Messages", &text) != NATS_OK || !text)
        text = strchr(natsMsg_GetSubject(message) + strlen(consumer->pull_inbox), COUNT_MARK);
    long long left = text ? strtoll(text + (*text == COUNT_MARK), NULL, 10) : 0;
    return left < 0 || left > consumer->expected ? consumer->expected : left;
}

static bool header_has(natsMsg *message, const char *name, const char *word)
{
    const char *text = NULL;

    return natsMsgHeader_Get(message, name, &text) == NATS_OK && text && strcasestr(text, word);
}

/* The end of a request. 404 and 408: nothing came in its time; a full measure is no refusal either;
 * everything else asks for a pause, and some of it for a look at the consumer. */
static void request_ended(struct nats_consumer *consumer, natsMsg *message)
{
    bool idle = header_has(message, "Status", "404") || header_has(message, "Status", "408");
    bool full = header_has(message, "Description", "MaxBytes");
    bool deleted =
        header_has(message, "Description", "deleted") || header_has(message, "Status", "503");

    if (header_has(message, "Status", "100"))
        return;
    pthread_mutex_lock(&consumer->lock);
    consumer->expected -= left_over(consumer, message);
    if (!full)
        consumer->behind = 0; /* or out of reach: a waiting request learns of more */
    if (!idle && !full)
        consumer->hold_until_ms = nats_now_ms() + HOLD_MS;
    consumer->suspicious = consumer->suspicious || deleted;
    pthread_cond_signal(&consumer->arrived);
    pthread_mutex_unlock(&consumer->lock);
}

static bool is_under(const char *subject, const char *inbox)
{
    size_t length = strlen(inbox);

    return strncmp(subject, inbox, length) == 0 && subject[length] == '.';
}

static void on_arrival(natsConnection *handle, natsSubscription *subscription, natsMsg *message,
                       void *context)
{
    struct nats_consumer *consumer = context;

    (void)handle, (void)subscription;
    if (is_under(natsMsg_GetSubject(message), consumer->pull_inbox)) {
        request_ended(consumer, message);
        natsMsg_Destroy(message);
        return;
    }
    pthread_mutex_lock(&consumer->lock);
    push(consumer, message);
    consumer->expected -= consumer->expected > 0;
    if (consumer->waiting) {
        consumer->waiting = false;
        pthread_cond_signal(&consumer->arrived);
    }
    pthread_mutex_unlock(&consumer->lock);
}

static void on_answer(natsConnection *handle, natsSubscription *subscription, natsMsg *message,
                      void *context)
{
    struct nats_consumer *consumer = context;
    const char *token = natsMsg_GetSubject(message) + strlen(consumer->answer_inbox) + 1;
    natsMsg *unused = message;

    (void)handle, (void)subscription;
    pthread_mutex_lock(&consumer->lock);
    if (strcmp(token, NATS_INFO_TOKEN) == 0) {
        unused = consumer->info;
        consumer->info = message;
    } else if (strtoul(token, NULL, 10) == consumer->confirm_round &&
               !natsMsg_IsNoResponders(message)) {
        consumer->confirmed++;
    }
    pthread_cond_signal(&consumer->arrived);
    pthread_mutex_unlock(&consumer->lock);
    natsMsg_Destroy(unused);
}

void nats_wake(struct broker_consumer *base)
{
    struct nats_consumer *consumer = nats_consumer_of(base);

    pthread_mutex_lock(&consumer->lock);
    consumer->woken = true;
    pthread_cond_signal(&consumer->arrived);
    pthread_mutex_unlock(&consumer->lock);
}

/* ---- requests ---- */

/*
 * Two kinds. What is known to be in the stream is read ahead by requests that the server fulfils or
 * ends at once. Only a fetch that waits leaves a request open, for one message and for as long as
 * it waits itself: a longer or a larger one would take messages while this worker is busy and
 * another one is free.
 */
struct request {
    int64_t count;      /* 0: none */
    int64_t expires_ms; /* 0: at once */
};

/* What may be read ahead: two batches, and no more than a quarter of what the group may hold. */
static int64_t capacity(const struct nats_consumer *consumer, size_t max)
{
    int64_t quarter = consumer->base.group->max_in_flight / 4;
    int64_t two = max > INT32_MAX / 2 ? INT32_MAX : 2 * (int64_t)max;
    int64_t least = two < quarter ? two : quarter;

    return least > 0 ? least : 1;
}

static size_t bytes_allowed(const struct nats_consumer *consumer, size_t max_bytes)
{
    size_t least = (size_t)atomic_load(&consumer->broker->pull.max_payload) + HEADERS_BYTES;

    if (max_bytes > BYTES_MAX)
        max_bytes = BYTES_MAX;
    return max_bytes < least ? least : max_bytes;
}

/* The lock is held. Requests of a connection that was lost, or that ended unheard, are forgotten.
 */
static void forget_lost(struct nats_consumer *consumer, int64_t now_ms)
{
    unsigned epoch = atomic_load(&consumer->broker->pull.epoch);

    if (epoch != consumer->epoch)
        consumer->behind = INT64_MAX;
    if (epoch != consumer->epoch || now_ms > consumer->lost_ms) {
        consumer->inexact = consumer->inexact || consumer->expected > 0;
        consumer->expected = 0;
    }
    consumer->epoch = epoch;
}

/* What to ask for now; waiting for longer than wait_ms is of no use, below 0 nobody waits. */
static struct request plan(struct nats_consumer *consumer, int64_t room, size_t max_bytes,
                           int64_t wait_ms)
{
    int64_t now_ms = nats_now_ms(), busy = (int64_t)consumer->base.batch_count;
    struct request request = {0};

    pthread_mutex_lock(&consumer->lock);
    forget_lost(consumer, now_ms);
    int64_t open = consumer->expected + (int64_t)consumer->ring_count;
    int64_t known = consumer->behind - open;
    if (now_ms >= consumer->hold_until_ms && consumer->ring_bytes < max_bytes) {
        if (known > 0 && open <= room / 2 && busy + open < consumer->base.group->max_in_flight)
            request.count = known < room - open ? known : room - open;
        else if (open == 0 && wait_ms >= 0)
            request = (struct request){1, wait_ms < EXPIRES_MS ? wait_ms : EXPIRES_MS};
    }
    consumer->expected += request.count;
    int64_t lost_ms = now_ms + request.expires_ms + GRACE_MS;
    if (request.count && lost_ms > consumer->lost_ms)
        consumer->lost_ms = lost_ms;
    pthread_mutex_unlock(&consumer->lock);
    return request;
}

static void top_up(struct nats_consumer *consumer, size_t max, size_t max_bytes, int64_t wait_ms)
{
    struct nats_connection *connection = &consumer->broker->pull;
    char body[128], reply[NATS_INBOX_SIZE + 32];

    if (!nats_connection_ready(connection))
        return;
    max_bytes = bytes_allowed(consumer, max_bytes);
    struct request request = plan(consumer, capacity(consumer, max), max_bytes, wait_ms);
    if (request.count == 0)
        return;
    int size = request.expires_ms
                   ? snprintf(body, sizeof(body), "{\"batch\":1,\"expires\":%" PRId64 "000000}",
                              request.expires_ms)
                   : snprintf(body, sizeof(body),
                              "{\"batch\":%" PRId64 ",\"max_bytes\":%zu,\"no_wait\":true}",
                              request.count, max_bytes);
    snprintf(reply, sizeof(reply), "%s.%u%c%" PRId64, consumer->pull_inbox, ++consumer->requests,
             COUNT_MARK, request.count);
    if (natsConnection_PublishRequest(connection->handle, consumer->next_subject, reply, body,
                                      size) == NATS_OK)
        return;
    pthread_mutex_lock(&consumer->lock);
    consumer->expected -= request.count < consumer->expected ? request.count : consumer->expected;
    consumer->hold_until_ms = nats_now_ms() + HOLD_MS;
    pthread_mutex_unlock(&consumer->lock);
}

/* ---- fetch ---- */

static void release_batch(struct nats_consumer *consumer)
{
    for (size_t i = 0; i < consumer->lease_count; i++)
        natsMsg_Destroy(consumer->leases[i].message);
    consumer->lease_count = 0;
    consumer->base.batch_count = 0;
    arena_reset(consumer->arena);
}

static void make_room(struct nats_consumer *consumer, size_t count)
{
    if (count <= consumer->lease_room)
        return;
    consumer->leases = memory_resize(consumer->leases, count * sizeof(*consumer->leases));
    consumer->base.batch =
        memory_resize(consumer->base.batch, count * sizeof(*consumer->base.batch));
    consumer->lease_room = count;
}

static struct nats_arrival pop(struct nats_consumer *consumer)
{
    struct nats_arrival arrival = consumer->ring[consumer->ring_first];

    consumer->ring_first = (consumer->ring_first + 1) % consumer->ring_room;
    consumer->ring_count--;
    consumer->ring_bytes -= (size_t)natsMsg_GetDataLength(arrival.message);
    return arrival;
}

/* Takes what is there; the lock is held. A lease that ended here may be somebody else's by now. */
static void take(struct nats_consumer *consumer, size_t max, size_t max_bytes)
{
    int64_t oldest_ms = nats_now_ms() - consumer->base.group->ack_wait_ms;
    size_t bytes = 0;

    make_room(consumer, consumer->ring_count < max ? consumer->ring_count : max);
    while (consumer->ring_count && consumer->lease_count < max) {
        const struct nats_arrival *next = &consumer->ring[consumer->ring_first];
        size_t size = (size_t)natsMsg_GetDataLength(next->message);
        if (consumer->lease_count && bytes + size > max_bytes)
            return;
        struct nats_arrival arrival = pop(consumer);
        if (arrival.leased_ms < oldest_ms) {
            natsMsg_Destroy(arrival.message);
            continue;
        }
        bytes += size;
        consumer->leases[consumer->lease_count++].message = arrival.message;
    }
}

static void fill_headers(struct nats_consumer *consumer, natsMsg *message,
                         struct broker_delivery *delivery)
{
    const char **names = NULL;
    int count = 0;

    delivery->id = "";
    if (natsMsgHeader_Keys(message, &names, &count) != NATS_OK)
        return;
    struct broker_header *headers = arena_alloc(consumer->arena, (size_t)count * sizeof(*headers));
    for (int i = 0; i < count; i++) {
        headers[i].name = names[i];
        headers[i].value = "";
        (void)natsMsgHeader_Get(message, names[i], &headers[i].value); /* it is there */
        if (strcmp(names[i], ID_HEADER) == 0)
            delivery->id = headers[i].value;
    }
    free(names);
    delivery->headers = headers;
    delivery->header_count = (size_t)count;
}

static bool fill(struct nats_consumer *consumer, struct nats_lease *lease,
                 struct broker_delivery *delivery, uint64_t *pending)
{
    natsMsg *message = lease->message;
    struct nats_ack ack;

    if (!nats_ack_parse(natsMsg_GetReply(message), &ack))
        return false;
    *pending = ack.pending;
    lease->number = ack.sequence;
    lease->delivery = ack.delivery;
    snprintf(lease->sequence, sizeof(lease->sequence), "%" PRIu64, ack.sequence);
    *delivery = (struct broker_delivery){
        .subject = natsMsg_GetSubject(message),
        .data = natsMsg_GetData(message),
        .size = (size_t)natsMsg_GetDataLength(message),
        .attempt = ack.delivered > UINT32_MAX ? UINT32_MAX : (unsigned)ack.delivered,
        .stored_ms = ack.stored_ms,
        .sequence = lease->sequence,
    };
    fill_headers(consumer, message, delivery);
    return true;
}

static void learn_behind(struct nats_consumer *consumer, uint64_t pending)
{
    pthread_mutex_lock(&consumer->lock);
    consumer->behind = pending > INT64_MAX ? INT64_MAX : (int64_t)pending;
    pthread_mutex_unlock(&consumer->lock);
}

/* A message that is no delivery has no place in the batch; its lease is released with the rest. */
static void fill_batch(struct nats_consumer *consumer)
{
    struct broker_consumer *base = &consumer->base;
    uint64_t pending = 0;

    for (size_t i = 0; i < consumer->lease_count; i++)
        base->batch_count +=
            fill(consumer, &consumer->leases[i], &base->batch[base->batch_count], &pending);
    if (base->batch_count)
        learn_behind(consumer, pending);
}

/* Waits for the first message, at most until until_ms; true when it was woken. */
static bool collect(struct nats_consumer *consumer, size_t max, size_t max_bytes, int64_t until_ms)
{
    pthread_mutex_lock(&consumer->lock);
    if (!consumer->ring_count && !consumer->woken && !consumer->info) {
        consumer->waiting = true;
        nats_condition_wait(&consumer->arrived, &consumer->lock, until_ms);
        consumer->waiting = false;
    }
    bool woken = consumer->woken;
    consumer->woken = false;
    take(consumer, max, max_bytes);
    pthread_mutex_unlock(&consumer->lock);
    fill_batch(consumer);
    return woken;
}

bool nats_fetch(struct broker_consumer *base, size_t max, size_t max_bytes, int timeout_ms,
                struct error *err)
{
    struct nats_consumer *consumer = nats_consumer_of(base);
    int64_t until_ms = nats_now_ms() + timeout_ms;
    bool woken = false;

    do {
        release_batch(consumer);
        if (base->drained)
            return error_set(err, ERROR_CLOSED, "the consumer is drained");
        if (!nats_look_after(consumer, until_ms, err))
            return false;
        int64_t now_ms = nats_now_ms(), step_ms = now_ms + STEP_MS;
        top_up(consumer, max, max_bytes, until_ms > now_ms ? until_ms - now_ms : 0);
        woken = collect(consumer, max, max_bytes, step_ms < until_ms ? step_ms : until_ms);
    } while (base->batch_count == 0 && !woken && nats_now_ms() < until_ms);
    if (base->batch_count)
        top_up(consumer, max, max_bytes, -1);
    consumer->empty_fetches = base->batch_count ? 0 : consumer->empty_fetches + 1;
    return true;
}

/* ---- life ---- */

/*
 * Every request has its end first: its messages, the server's word, or its time. While one is open
 * a message may be on its way, and in a cluster whoever sent it does not learn that nobody listens
 * here any more; it would come again when its lease ends. A single server gives it back itself, and
 * then a 2.9 counts it as unread, too. Only a request that outlives its share of the drain's time,
 * of a long fetch that was woken, is given up open.
 */
static void await_arrivals(struct nats_consumer *consumer, int64_t until_ms)
{
    pthread_mutex_lock(&consumer->lock);
    if (consumer->lost_ms < until_ms)
        until_ms = consumer->lost_ms;
    while ((consumer->expected > 0 || consumer->inexact) && nats_now_ms() < until_ms) {
        consumer->waiting = true;
        nats_condition_wait(&consumer->arrived, &consumer->lock, until_ms);
    }
    consumer->waiting = false;
    pthread_mutex_unlock(&consumer->lock);
}

/* Gives up reading: what the server sent before it heard of that is in the ring afterwards. */
static bool stop_arrivals(struct nats_consumer *consumer, int64_t until_ms, struct error *err)
{
    bool connected = nats_connection_wait(&consumer->broker->pull, until_ms);
    int64_t left_ms = until_ms - nats_now_ms();

    if (!connected)
        return error_set(err, ERROR_UNAVAILABLE, "not connected");
    if (left_ms <= 0)
        return error_set(err, ERROR_TIMEOUT, "no time is left to stop reading");
    natsStatus status = nats_connection_finish(consumer->arrivals, left_ms);
    return status == NATS_OK || status == NATS_INVALID_SUBSCRIPTION ||
           nats_failed(status, "stop reading", err);
}

bool nats_drain_consumer(struct broker_consumer *base, int timeout_ms, struct error *err)
{
    struct nats_consumer *consumer = nats_consumer_of(base);
    int64_t now_ms = nats_now_ms(), until_ms = now_ms + timeout_ms;

    base->drained = true;
    await_arrivals(consumer, now_ms + timeout_ms / DRAIN_SHARE);
    return stop_arrivals(consumer, until_ms, err) && nats_give_back(consumer, until_ms, err) &&
           nats_confirm_settled(consumer, until_ms, err);
}

void nats_close_consumer(struct broker_consumer *base)
{
    struct nats_consumer *consumer = nats_consumer_of(base);

    nats_connection_unsubscribe(consumer->arrivals);
    nats_connection_unsubscribe(consumer->answers);
    release_batch(consumer);
    while (consumer->ring_count)
        natsMsg_Destroy(pop(consumer).message);
    natsMsg_Destroy(consumer->info);
    free(consumer->ring);
    free(consumer->leases);
    free(base->batch);
    arena_free(consumer->arena);
    pthread_cond_destroy(&consumer->arrived);
    pthread_mutex_destroy(&consumer->lock);
    free(consumer);
}

static bool subscribe(struct nats_consumer *consumer, char *inbox, natsMsgHandler handler,
                      struct nats_subscription **out, struct error *err)
{
    char subject[NATS_INBOX_SIZE + 2];

    nats_inbox(inbox);
    snprintf(subject, sizeof(subject), "%s.*", inbox);
    return nats_connection_subscribe(&consumer->broker->pull, subject, handler, consumer, out, err);
}

bool nats_open_consumer(struct broker_consumer **out, struct broker *base,
                        const struct broker_group *group, struct error *err)
{
    struct nats_consumer *consumer = memory_alloc(sizeof(*consumer));

    consumer->base.broker = base;
    consumer->base.group = group;
    consumer->broker = nats_broker_of(base);
    consumer->arena = arena_new(ARENA_BYTES);
    consumer->behind = INT64_MAX;
    pthread_mutex_init(&consumer->lock, NULL);
    nats_condition_init(&consumer->arrived);
    snprintf(consumer->next_subject, sizeof(consumer->next_subject),
             "$JS.API.CONSUMER.MSG.NEXT.%s.%s", group->stream, group->name);
    snprintf(consumer->info_subject, sizeof(consumer->info_subject), "$JS.API.CONSUMER.INFO.%s.%s",
             group->stream, group->name);
    if (subscribe(consumer, consumer->pull_inbox, on_arrival, &consumer->arrivals, err) &&
        subscribe(consumer, consumer->answer_inbox, on_answer, &consumer->answers, err) &&
        nats_bind(consumer, err)) {
        *out = &consumer->base;
        return true;
    }
    nats_close_consumer(&consumer->base);
    return false;
}
