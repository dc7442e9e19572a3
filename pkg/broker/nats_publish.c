/*
 * Every publish has a slot (nats_slots.h) from the moment it is taken until its one call of `done`.
 * Its answer comes to "<inbox of the connection>.<token>", and the token names the slot and its
 * use.
 *
 * Three kinds of threads: callers send on `quick` themselves while so little is under way that the
 * socket has room for it; otherwise the sender writes to `bulk`, and may block when the server
 * does; the sweeper keeps the deadlines and so never writes.
 */
#include "broker/nats_driver.h"

#include "base/memory.h"
#include "broker/nats_puback.h"
#include "broker/nats_slots.h"
#include "resilience/backoff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUICK_MAX 16                    /* publishes under way up to which a caller sends itself */
#define QUICK_BYTES ((size_t)48 * 1024) /* what surely fits into the buffer of a socket */
#define PENDING_BYTES ((size_t)32 * 1024 * 1024) /* what is kept for sending again */
#define MANY 256       /* publishes under way from which the sender is not woken for each */
#define BATCH 64       /* what the sender takes at a time */
#define RESEND_MS 1500 /* no answer in this time: sent again */
#define SWEEP_MS 20
#define IDLE_SWEEPS 50 /* with nothing pending, then the sweeper sleeps */
#define IDLE_MS 1000
#define NAMES_AFTER 3 /* refusals by nobody, then it asks whether there is a stream at all */
#define HEADER_OVERHEAD 16
#define ID_HEADER "Nats-Msg-Id"
#define NAMES_TOKEN "names"

static const struct backoff retries = {.first_ms = 50, .most_ms = 500};
static const struct nats_refusal nobody = {0, ERROR_UNAVAILABLE, "no_responders", true};
static const struct nats_refusal over_size = {0, ERROR_TOO_LARGE, "message_too_large", false};
static const struct nats_refusal no_stream = {0, ERROR_NOT_FOUND, NATS_NO_STREAM, false};
static const struct nats_refusal denied = {0, ERROR_DENIED, "denied", false};

struct lane {
    struct nats_connection *connection; /* borrowed */
    struct nats_subscription *answers;
    char inbox[NATS_INBOX_SIZE];
    size_t inbox_length;
};

struct nats_publisher {
    struct nats_broker *broker; /* borrowed */
    struct lane quick, bulk;
    pthread_t sender, sweeper;
    atomic_bool draining;
    _Atomic size_t telling; /* finished, and `done` not yet called or not yet back */
    pthread_mutex_t lock;
    pthread_cond_t queued, swept, drained;
    struct nats_slots slots; /* guarded by lock, with everything below it */
    size_t pending, pending_bytes, quick_pending, quick_bytes;
    int64_t due_ms; /* nothing has to be swept before */
    bool sender_waits, sweeper_sleeps, rush, stopping;
    char names_for[256]; /* the subject that is being looked up, or "" */
    bool names_wanted;
};

/* What a publish came to, made under the lock and told outside it. */
struct completion {
    broker_done *done;
    void *context;
    natsMsg *message; /* NULL: still in use */
    struct broker_receipt receipt;
};

static void write_sequence(char out[BROKER_SEQUENCE_SIZE], uint64_t sequence)
{
    char digits[20];
    size_t count = 0;

    do {
        digits[count++] = (char)('0' + sequence % 10);
    } while (sequence /= 10);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    out[count] = '\0';
}

/* ---- slots: the lock is held ---- */

static void queue(struct nats_publisher *publisher, struct nats_slot *slot)
{
    nats_slots_queue(&publisher->slots, slot);
    if (publisher->sender_waits &&
        (publisher->pending < MANY || publisher->slots.queue_count >= BATCH)) {
        publisher->sender_waits = false;
        pthread_cond_signal(&publisher->queued);
    }
}

static void look_at(struct nats_publisher *publisher, struct nats_slot *slot, int64_t next_ms)
{
    slot->next_ms = next_ms;
    if (next_ms < publisher->due_ms)
        publisher->due_ms = next_ms;
}

static void postpone(struct nats_publisher *publisher, struct nats_slot *slot, int64_t now_ms)
{
    slot->state = NATS_SLOT_WAITING;
    slot->refusals += slot->refusals < UINT16_MAX;
    look_at(publisher, slot,
            now_ms + backoff_ms(&retries, slot->refusals, (uint32_t)clock_nanoseconds()));
}

/* The slot is the caller's answer's no more; who still sends it gives it back afterwards. */
static void slot_finish(struct nats_publisher *publisher, struct nats_slot *slot,
                        struct completion *completion)
{
    struct broker_counters *counters = &publisher->broker->base.counters;

    completion->done = slot->done;
    completion->context = slot->context;
    atomic_fetch_add(&publisher->telling, 1);
    slot->done = NULL;
    publisher->pending--;
    publisher->pending_bytes -= slot->size;
    if (slot->quick) {
        publisher->quick_pending--;
        publisher->quick_bytes -= slot->size;
    }
    atomic_store_explicit(&counters->pending, publisher->pending, memory_order_relaxed);
    completion->message = slot->state == NATS_SLOT_SENDING || slot->state == NATS_SLOT_QUEUED
                              ? NULL
                              : nats_slots_give_back(&publisher->slots, slot);
}

static void tell(struct nats_publisher *publisher, struct completion *completion)
{
    struct broker_counters *counters = &publisher->broker->base.counters;
    const struct broker_receipt *receipt = &completion->receipt;

    if (completion->message)
        natsMsg_Destroy(completion->message);
    atomic_fetch_add_explicit(receipt->error.code != ERROR_NONE ? &counters->publish_failures
                              : receipt->duplicate              ? &counters->duplicates
                                                                : &counters->published,
                              1, memory_order_relaxed);
    completion->done(completion->context, receipt);
    if (atomic_fetch_sub(&publisher->telling, 1) != 1 || !atomic_load(&publisher->draining))
        return;
    pthread_mutex_lock(&publisher->lock);
    pthread_cond_broadcast(&publisher->drained);
    pthread_mutex_unlock(&publisher->lock);
}

static void receipt_refused(struct broker_receipt *receipt, const struct nats_refusal *refusal,
                            const char *words)
{
    error_set(&receipt->error, refusal->code, "%s", words);
    receipt->error.reason = refusal->reason;
}

/* ---- sending ---- */

static const struct lane *lane_of(const struct nats_publisher *publisher,
                                  const struct nats_slot *slot)
{
    return slot->quick ? &publisher->quick : &publisher->bulk;
}

/* Before it is in the library's hands: the answer may overtake the call. */
static void sending(struct nats_slot *slot)
{
    slot->state = NATS_SLOT_SENDING;
    slot->sends += slot->sends < UINT16_MAX;
}

static bool surely_not_sent(natsStatus status)
{
    return status != NATS_OK && status != NATS_TIMEOUT && status != NATS_IO_ERROR &&
           status != NATS_SSL_ERROR;
}

/* The library is done with it. Returns a message to destroy when its answer came meanwhile. */
static natsMsg *sent(struct nats_publisher *publisher, struct nats_slot *slot, natsStatus status)
{
    int64_t now_ms = nats_now_ms();

    if (!slot->done)
        return nats_slots_give_back(&publisher->slots, slot);
    if (surely_not_sent(status)) {
        slot->sends--;
        postpone(publisher, slot, now_ms);
        if (status == NATS_MAX_PAYLOAD) {
            slot->refusal = &over_size;
            slot->until_ms = publisher->due_ms = now_ms; /* the sweeper tells */
        }
        return NULL;
    }
    slot->state = NATS_SLOT_SENT;
    look_at(publisher, slot, now_ms + RESEND_MS);
    return NULL;
}

static natsStatus put(const struct lane *lane, natsMsg *message)
{
    if (!nats_connection_ready(lane->connection))
        return NATS_CONNECTION_DISCONNECTED;
    return natsConnection_PublishMsg(lane->connection->handle, message);
}

/* Takes what is to be sent from the queue; what was answered meanwhile is only given back. */
static size_t take_queued(struct nats_publisher *publisher, struct nats_slot **batch)
{
    size_t count = 0;

    while (count < BATCH && publisher->slots.queue_count) {
        struct nats_slot *slot = nats_slots_unqueue(&publisher->slots);
        if (!slot->done) {
            natsMsg_Destroy(nats_slots_give_back(&publisher->slots, slot));
            continue;
        }
        sending(slot);
        batch[count++] = slot;
    }
    return count;
}

/* Is there a stream for a subject that nobody answers on? The reply comes like an answer. */
static void ask_names(struct nats_publisher *publisher)
{
    AUTO(document_free) struct document *request = document_new();
    AUTO(buffer_free) struct buffer body = {0};
    char reply[NATS_INBOX_SIZE + sizeof(NAMES_TOKEN) + 1];

    document_set_text(request, "subject", publisher->names_for);
    document_print(request, "", &body);
    publisher->names_wanted = false;
    pthread_mutex_unlock(&publisher->lock);
    snprintf(reply, sizeof(reply), "%s." NAMES_TOKEN, publisher->bulk.inbox);
    if (nats_connection_ready(publisher->bulk.connection))
        (void)natsConnection_PublishRequest(publisher->bulk.connection->handle,
                                            "$JS.API.STREAM.NAMES", reply, body.data,
                                            (int)body.size); /* the next refusal asks again */
    pthread_mutex_lock(&publisher->lock);
}

static void *sender(void *context)
{
    struct nats_publisher *publisher = context;
    struct nats_slot *batch[BATCH];
    natsStatus statuses[BATCH];

    pthread_mutex_lock(&publisher->lock);
    while (!publisher->stopping) {
        size_t count = take_queued(publisher, batch);
        if (count == 0 && publisher->names_wanted) {
            ask_names(publisher);
            continue;
        }
        if (count == 0) {
            publisher->sender_waits = true;
            nats_condition_wait(&publisher->queued, &publisher->lock,
                                nats_now_ms() + (publisher->pending ? 1 : IDLE_MS));
            publisher->sender_waits = false;
            continue;
        }
        pthread_mutex_unlock(&publisher->lock);
        for (size_t i = 0; i < count; i++)
            statuses[i] = put(lane_of(publisher, batch[i]), batch[i]->message);
        pthread_mutex_lock(&publisher->lock);
        for (size_t i = 0; i < count; i++)
            natsMsg_Destroy(sent(publisher, batch[i], statuses[i]));
    }
    pthread_mutex_unlock(&publisher->lock);
    return NULL;
}

/* ---- answers ---- */

static void stored(struct nats_publisher *publisher, const char *token,
                   const struct nats_puback *answer)
{
    struct completion completion;

    pthread_mutex_lock(&publisher->lock);
    struct nats_slot *slot = nats_slots_find(&publisher->slots, token);
    if (slot)
        slot_finish(publisher, slot, &completion);
    pthread_mutex_unlock(&publisher->lock);
    if (!slot)
        return;
    completion.receipt.error = (struct error){.reason = "none"};
    completion.receipt.duplicate = answer->duplicate;
    write_sequence(completion.receipt.sequence, answer->sequence);
    tell(publisher, &completion);
}

/* The lock is held. */
static void want_names(struct nats_publisher *publisher, const struct nats_slot *slot)
{
    if (publisher->names_wanted || slot->refusals < NAMES_AFTER || slot->refusals % NAMES_AFTER)
        return;
    snprintf(publisher->names_for, sizeof(publisher->names_for), "%s",
             natsMsg_GetSubject(slot->message));
    publisher->names_wanted = true;
    pthread_cond_signal(&publisher->queued);
}

static void refused(struct nats_publisher *publisher, const char *token,
                    const struct nats_refusal *refusal, const char *words)
{
    struct completion completion = {0};

    pthread_mutex_lock(&publisher->lock);
    struct nats_slot *slot = nats_slots_find(&publisher->slots, token);
    if (slot) {
        slot->answers++;
        slot->refusal = refusal;
        if (!refusal->passing) {
            slot_finish(publisher, slot, &completion);
        } else if (slot->state == NATS_SLOT_SENT) {
            postpone(publisher, slot, nats_now_ms());
            if (refusal == &nobody)
                want_names(publisher, slot);
        }
    }
    pthread_mutex_unlock(&publisher->lock);
    if (!completion.done)
        return;
    receipt_refused(&completion.receipt, refusal, words);
    tell(publisher, &completion);
}

/* Finishes every publish that was sent to this subject. */
static void refuse_subject(struct nats_publisher *publisher, const char *subject,
                           const struct nats_refusal *refusal, const char *words)
{
    pthread_mutex_lock(&publisher->lock);
    for (uint32_t i = 0; i < publisher->slots.used; i++) {
        struct nats_slot *slot = &publisher->slots.all[i];
        struct completion completion = {0};
        if (!slot->done || !slot->sends || strcmp(natsMsg_GetSubject(slot->message), subject) != 0)
            continue;
        slot_finish(publisher, slot, &completion);
        pthread_mutex_unlock(&publisher->lock);
        receipt_refused(&completion.receipt, refusal, words);
        tell(publisher, &completion);
        pthread_mutex_lock(&publisher->lock);
    }
    pthread_mutex_unlock(&publisher->lock);
}

static void on_denied(void *context, const char *subject)
{
    refuse_subject(context, subject, &denied, "not permitted to publish to this subject");
}

static void on_restored(void *context)
{
    struct nats_publisher *publisher = context;

    pthread_mutex_lock(&publisher->lock);
    publisher->rush = true;
    publisher->due_ms = 0;
    pthread_cond_signal(&publisher->swept);
    pthread_mutex_unlock(&publisher->lock);
}

static void names_answered(struct nats_publisher *publisher, natsMsg *message)
{
    AUTO(document_free) struct document *answer = NULL;
    struct error ignored;
    char subject[sizeof(publisher->names_for)];

    if (!document_parse(&answer, natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message),
                        &ignored) ||
        document_has(answer, "error") || document_count(answer, "streams") > 0)
        return;
    pthread_mutex_lock(&publisher->lock);
    memcpy(subject, publisher->names_for, sizeof(subject));
    pthread_mutex_unlock(&publisher->lock);
    refuse_subject(publisher, subject, &no_stream, "no stream takes this subject");
}

static void on_answer(natsConnection *handle, natsSubscription *subscription, natsMsg *message,
                      void *context)
{
    struct nats_publisher *publisher = context;
    const char *token = natsMsg_GetSubject(message) + publisher->quick.inbox_length + 1;
    struct nats_puback answer;

    (void)handle, (void)subscription;
    if (strcmp(token, NAMES_TOKEN) == 0) {
        names_answered(publisher, message);
    } else if (natsMsg_GetDataLength(message) == 0) {
        if (natsMsg_IsNoResponders(message))
            refused(publisher, token, &nobody, "no stream answers for this subject");
    } else if (nats_puback_parse(natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message),
                                 &answer)) {
        if (answer.status || answer.number)
            refused(publisher, token, nats_refusal(answer.number, answer.status),
                    answer.description);
        else
            stored(publisher, token, &answer);
    }
    natsMsg_Destroy(message);
}

/* ---- deadlines ---- */

static void receipt_late(struct broker_receipt *receipt, const struct nats_slot *slot)
{
    if (slot->sends > slot->answers)
        error_set(&receipt->error, ERROR_UNKNOWN, "no answer in time");
    else if (slot->refusal)
        receipt_refused(receipt, slot->refusal, slot->refusal->reason);
    else
        error_set(&receipt->error, ERROR_UNAVAILABLE, "not connected");
}

/* When this slot has to be looked at again; what waits for a connection, in every sweep. */
static void note_due(struct nats_publisher *publisher, const struct nats_slot *slot, int64_t now_ms)
{
    bool waits = slot->state == NATS_SLOT_SENT || slot->state == NATS_SLOT_WAITING;
    int64_t due_ms = waits && slot->next_ms < slot->until_ms ? slot->next_ms : slot->until_ms;

    if (due_ms < now_ms)
        due_ms = now_ms;
    if (due_ms < publisher->due_ms)
        publisher->due_ms = due_ms;
}

/* True: the slot is finished, and completion says how. */
static bool sweep_slot(struct nats_publisher *publisher, struct nats_slot *slot, int64_t now_ms,
                       struct completion *completion)
{
    if (!slot->done || slot->state == NATS_SLOT_FREE)
        return false;
    if (now_ms >= slot->until_ms) {
        receipt_late(&completion->receipt, slot);
        slot_finish(publisher, slot, completion);
        return true;
    }
    if ((slot->state != NATS_SLOT_SENT && slot->state != NATS_SLOT_WAITING) ||
        (now_ms < slot->next_ms && !publisher->rush) ||
        !nats_connection_ready(lane_of(publisher, slot)->connection)) {
        note_due(publisher, slot, now_ms);
        return false;
    }
    if (slot->until_ms < publisher->due_ms)
        publisher->due_ms = slot->until_ms;
    atomic_fetch_add(&publisher->broker->base.counters.publish_retries, 1);
    queue(publisher, slot);
    return false;
}

/* The lock is held, and let go for every completion. */
static void sweep(struct nats_publisher *publisher)
{
    struct completion completion;
    int64_t now_ms = nats_now_ms();

    if (now_ms < publisher->due_ms)
        return;
    publisher->due_ms = INT64_MAX;
    for (uint32_t i = 0; i < publisher->slots.used; i++) {
        memset(&completion, 0, sizeof(completion));
        if (!sweep_slot(publisher, &publisher->slots.all[i], now_ms, &completion))
            continue;
        pthread_mutex_unlock(&publisher->lock);
        tell(publisher, &completion);
        pthread_mutex_lock(&publisher->lock);
    }
    publisher->rush = false;
    if (publisher->pending == 0)
        publisher->slots.used = 0;
}

static void *sweeper(void *context)
{
    struct nats_publisher *publisher = context;
    int idle = 0;

    pthread_mutex_lock(&publisher->lock);
    while (!publisher->stopping) {
        idle = publisher->pending ? 0 : idle + 1;
        publisher->sweeper_sleeps = idle > IDLE_SWEEPS;
        nats_condition_wait(&publisher->swept, &publisher->lock,
                            nats_now_ms() + (publisher->sweeper_sleeps ? IDLE_MS : SWEEP_MS));
        publisher->sweeper_sleeps = false;
        if (publisher->pending)
            sweep(publisher);
    }
    pthread_mutex_unlock(&publisher->lock);
    return NULL;
}

/* ---- publish ---- */

static size_t size_on_wire(const struct broker_message *message)
{
    size_t size = message->size + sizeof(ID_HEADER) + strlen(message->id) + HEADER_OVERHEAD;

    for (size_t i = 0; i < message->header_count; i++)
        size += strlen(message->headers[i].name) + strlen(message->headers[i].value) + 4;
    return size;
}

static natsMsg *build(const struct broker_message *message, const char *reply)
{
    natsMsg *built = NULL;
    natsStatus status =
        natsMsg_Create(&built, message->subject, reply, message->data, (int)message->size);

    for (size_t i = 0; status == NATS_OK && i < message->header_count; i++)
        status = natsMsgHeader_Set(built, message->headers[i].name, message->headers[i].value);
    if (status == NATS_OK)
        status = natsMsgHeader_Set(built, ID_HEADER, message->id);
    if (status == NATS_OK)
        return built;
    natsMsg_Destroy(built);
    return NULL;
}

static bool has_room(const struct nats_publisher *publisher, size_t size, struct error *err)
{
    if (atomic_load(&publisher->draining) || publisher->stopping)
        return error_set(err, ERROR_CLOSED, "the broker is draining");
    if (nats_slots_all_taken(&publisher->slots) ||
        (publisher->pending && publisher->pending_bytes + size > PENDING_BYTES)) {
        error_set(err, ERROR_UNAVAILABLE, "too many publishes without an answer");
        err->reason = "too_many_pending";
        return false;
    }
    return true;
}

static bool may_be_quick(struct nats_publisher *publisher, size_t size)
{
    return publisher->pending < QUICK_MAX && publisher->quick_bytes + size <= QUICK_BYTES &&
           publisher->slots.queue_count == 0 && nats_connection_ready(publisher->quick.connection);
}

/* A slot in the state SENDING, so that nobody touches it until the message is made. */
static struct nats_slot *reserve(struct nats_publisher *publisher, size_t size, char *reply,
                                 struct error *err)
{
    struct nats_slot *slot = NULL;

    pthread_mutex_lock(&publisher->lock);
    if (has_room(publisher, size, err)) {
        slot = nats_slots_take(&publisher->slots);
        slot->quick = may_be_quick(publisher, size);
        slot->size = size;
        slot->sends = slot->answers = slot->refusals = 0;
        slot->refusal = NULL;
        slot->state = NATS_SLOT_SENDING;
        publisher->pending++;
        publisher->pending_bytes += size;
        publisher->quick_pending += slot->quick;
        publisher->quick_bytes += slot->quick ? size : 0;
        atomic_store_explicit(&publisher->broker->base.counters.pending, publisher->pending,
                              memory_order_relaxed);
        if (publisher->sweeper_sleeps)
            pthread_cond_signal(&publisher->swept);
    }
    pthread_mutex_unlock(&publisher->lock);
    if (!slot)
        return NULL;

    const struct lane *lane = lane_of(publisher, slot);
    memcpy(reply, lane->inbox, lane->inbox_length);
    reply[lane->inbox_length] = '.';
    nats_slots_token(&publisher->slots, slot, reply + lane->inbox_length + 1);
    return slot;
}

/* What was reserved and could not be made. */
static void drop(struct nats_publisher *publisher, struct nats_slot *slot)
{
    struct completion unused;

    pthread_mutex_lock(&publisher->lock);
    slot->state = NATS_SLOT_WAITING;
    slot_finish(publisher, slot, &unused);
    atomic_fetch_sub(&publisher->telling, 1); /* nobody is told */
    pthread_cond_broadcast(&publisher->drained);
    pthread_mutex_unlock(&publisher->lock);
}

static void send_now(struct nats_publisher *publisher, struct nats_slot *slot)
{
    natsStatus status = put(&publisher->quick, slot->message);

    pthread_mutex_lock(&publisher->lock);
    natsMsg *unused = sent(publisher, slot, status);
    pthread_mutex_unlock(&publisher->lock);
    natsMsg_Destroy(unused);
}

bool nats_publish_async(struct broker *base, const struct broker_message *message, int timeout_ms,
                        broker_done *done, void *context, struct error *err)
{
    struct nats_broker *broker = nats_broker_of(base);
    struct nats_publisher *publisher = broker->publisher;
    size_t size = size_on_wire(message);
    char reply[NATS_INBOX_SIZE + NATS_TOKEN_SIZE + 2];

    if (size > (size_t)atomic_load(&broker->bulk.max_payload))
        return error_set(err, ERROR_TOO_LARGE, "%zu bytes are more than the server takes", size);

    struct nats_slot *slot = reserve(publisher, size, reply, err);
    if (!slot)
        return false;
    natsMsg *built = build(message, reply);
    if (!built) {
        drop(publisher, slot);
        return error_set(err, ERROR_INVALID, "NATS cannot carry these headers");
    }

    bool quick = slot->quick; /* the slot may have another use once it is given away */
    pthread_mutex_lock(&publisher->lock);
    slot->message = built;
    slot->until_ms = nats_now_ms() + timeout_ms;
    if (slot->until_ms < publisher->due_ms)
        publisher->due_ms = slot->until_ms;
    slot->context = context;
    slot->done = done;
    if (quick)
        sending(slot);
    else
        queue(publisher, slot);
    pthread_mutex_unlock(&publisher->lock);
    if (quick)
        send_now(publisher, slot);
    return true;
}

bool nats_drain(struct broker *base, int timeout_ms, struct error *err)
{
    struct nats_publisher *publisher = nats_broker_of(base)->publisher;
    int64_t until_ms = nats_now_ms() + timeout_ms;

    pthread_mutex_lock(&publisher->lock);
    atomic_store(&publisher->draining, true);
    while (publisher->pending + atomic_load(&publisher->telling) && nats_now_ms() < until_ms)
        nats_condition_wait(&publisher->drained, &publisher->lock, until_ms);
    size_t pending = publisher->pending + atomic_load(&publisher->telling);
    pthread_mutex_unlock(&publisher->lock);
    return !pending || error_set(err, ERROR_TIMEOUT, "%zu publishes have no answer", pending);
}

/* ---- life ---- */

static void init(struct nats_publisher *publisher, size_t max_pending)
{
    nats_slots_init(&publisher->slots, max_pending);
    publisher->due_ms = INT64_MAX;
    pthread_mutex_init(&publisher->lock, NULL);
    nats_condition_init(&publisher->queued);
    nats_condition_init(&publisher->swept);
    nats_condition_init(&publisher->drained);
}

static bool open_lane(struct nats_publisher *publisher, struct lane *lane,
                      struct nats_connection *connection, struct error *err)
{
    char subject[NATS_INBOX_SIZE + 2];

    lane->connection = connection;
    nats_inbox(lane->inbox);
    lane->inbox_length = strlen(lane->inbox);
    snprintf(subject, sizeof(subject), "%s.*", lane->inbox);
    return nats_connection_subscribe(connection, subject, on_answer, publisher, &lane->answers,
                                     err);
}

static void listen(struct nats_publisher *publisher, struct nats_connection *connection)
{
    connection->denied = on_denied;
    connection->restored = on_restored;
    connection->context = publisher;
}

struct nats_publisher *nats_publisher_new(struct nats_broker *broker)
{
    struct nats_publisher *publisher = memory_alloc(sizeof(*publisher));

    publisher->broker = broker;
    init(publisher, broker->base.options.max_pending);
    listen(publisher, &broker->quick);
    listen(publisher, &broker->bulk);
    pthread_create(&publisher->sender, NULL, sender, publisher);
    pthread_create(&publisher->sweeper, NULL, sweeper, publisher);
    return publisher;
}

bool nats_publisher_start(struct nats_publisher *publisher, struct error *err)
{
    return open_lane(publisher, &publisher->quick, &publisher->broker->quick, err) &&
           open_lane(publisher, &publisher->bulk, &publisher->broker->bulk, err);
}

/* Ends what has no answer. A denial may still be told beside it, until the connections are closed.
 */
static void abandon(struct nats_publisher *publisher)
{
    pthread_mutex_lock(&publisher->lock);
    for (uint32_t i = 0; i < publisher->slots.count; i++) {
        struct nats_slot *slot = &publisher->slots.all[i];
        struct completion completion = {0};
        if (!slot->done) {
            natsMsg_Destroy(slot->message);
            slot->message = NULL;
            continue;
        }
        error_set(&completion.receipt.error,
                  slot->sends > slot->answers ? ERROR_UNKNOWN : ERROR_CLOSED,
                  "the broker was closed");
        slot->state = NATS_SLOT_WAITING;
        slot_finish(publisher, slot, &completion);
        pthread_mutex_unlock(&publisher->lock);
        tell(publisher, &completion);
        pthread_mutex_lock(&publisher->lock);
    }
    pthread_mutex_unlock(&publisher->lock);
}

void nats_publisher_stop(struct nats_publisher *publisher)
{
    if (!publisher)
        return;
    nats_connection_unsubscribe(publisher->quick.answers);
    nats_connection_unsubscribe(publisher->bulk.answers);
    pthread_mutex_lock(&publisher->lock);
    publisher->stopping = true;
    pthread_cond_signal(&publisher->queued);
    pthread_cond_signal(&publisher->swept);
    pthread_mutex_unlock(&publisher->lock);
    pthread_join(publisher->sender, NULL);
    pthread_join(publisher->sweeper, NULL);
    abandon(publisher);
}

void nats_publisher_free(struct nats_publisher *publisher)
{
    if (!publisher)
        return;
    pthread_cond_destroy(&publisher->queued);
    pthread_cond_destroy(&publisher->swept);
    pthread_cond_destroy(&publisher->drained);
    pthread_mutex_destroy(&publisher->lock);
    nats_slots_free(&publisher->slots);
    free(publisher);
}
