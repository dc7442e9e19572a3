/*
 * A watch reads its bucket through a consumer that the server drops by itself: first what is there,
 * the last message of each key, then what comes. The consumer acknowledges nothing and numbers what
 * it sends: when a number is missing, the connection was lost or the consumer is gone, the watch
 * begins anew with another one, and tells what is not as it was told (nats_known.h).
 *
 * It asks for a batch at a time, so that what waits here is bounded however slow the watcher is.
 */
#include "broker/nats_bucket.h"

#include "base/id.h"
#include "base/memory.h"
#include "broker/nats_known.h"
#include "broker/nats_wire.h"
#include "resilience/backoff.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 1000
#define OPEN_MS 2000 /* for finding the bucket when the watch is opened */
#define STEP_MS 250  /* of waiting, then it looks whether it should end */
#define API_MS 1000
#define SNAPSHOT_SILENCE_MS 3000
#define HEARTBEAT_MS 5000
#define SILENCE_MS (2 * HEARTBEAT_MS + 2000)
#define EXPIRES_MS 30000
#define BATCH 256
#define BATCH_BYTES (8 * 1024 * 1024)
#define INACTIVE_NS 60000000000LL /* then the server drops the consumer */
#define SUBJECT_SIZE 300
#define NS_PER_MS 1000000LL

struct watch {
    struct broker_watch base;
    struct nats_broker *broker; /* borrowed */
    struct nats_connection connection;
    char *bucket, *pattern;
    broker_see *see;
    void *context;
    pthread_t thread;
    bool open, started; /* the owner's */
    atomic_bool stopping;

    /* The thread's. */
    struct nats_known known;
    char created[40]; /* the birth of the stream that the revisions in `known` are of */
    bool told_all;
};

/* From one beginning to the next. */
struct round {
    struct watch *watch;
    natsSubscription *subscription;
    char inbox[NATS_INBOX_SIZE], consumer[ID_TEXT_SIZE];
    unsigned epoch;    /* of the connection */
    uint64_t last;     /* of the stream when the round began: up to here it is the snapshot */
    uint64_t delivery; /* the consumer's latest */
    unsigned request;  /* the latest, the end of its reply subject */
    int received;      /* of that request's batch */
    bool live;         /* the snapshot is complete */
};

/* ---- telling ---- */

static void tell(struct watch *watch, const char *key, const void *data, size_t size,
                 uint64_t revision)
{
    const struct broker_value value = {
        .key = key, .data = data, .size = size, .revision = revision};

    watch->see(watch->context, BROKER_SEEN_VALUE, &value);
}

static void tell_gone(void *context, const char *key)
{
    struct round *round = context;

    tell(round->watch, key, NULL, 0, round->last);
}

static void complete(struct round *round)
{
    struct watch *watch = round->watch;

    if (round->live)
        return;
    round->live = true;
    nats_known_end(&watch->known, tell_gone, round);
    if (!watch->told_all)
        watch->see(watch->context, BROKER_SEEN_ALL, NULL);
    watch->told_all = true;
}

static const char *header_of(natsMsg *message, const char *name)
{
    const char *text = NULL;

    return natsMsgHeader_Get(message, name, &text) == NATS_OK ? text : NULL;
}

static void see_message(struct round *round, natsMsg *message, uint64_t revision)
{
    struct watch *watch = round->watch;
    const char *key = nats_bucket_key(watch->bucket, natsMsg_GetSubject(message));
    const char *data = natsMsg_GetData(message);
    bool deleted = nats_bucket_is_deletion(header_of(message, NATS_OPERATION_HEADER),
                                           header_of(message, NATS_MARKER_HEADER));

    if (!key)
        return;
    switch (nats_known_see(&watch->known, key, revision, deleted)) {
    case NATS_OLD:
        return;
    case NATS_NEW:
        tell(watch, key, data ? data : "", (size_t)natsMsg_GetDataLength(message), revision);
        return;
    case NATS_NEVER_THERE: /* it came and went; in a snapshot nobody asks */
        if (round->live)
            tell(watch, key, NULL, 0, revision);
        return;
    case NATS_DELETED:
        tell(watch, key, NULL, 0, revision);
        return;
    }
}

/* ---- receiving ---- */

enum progress {
    GOES_ON,
    ENDED, /* the request; there may be more */
    EMPTY, /* the request, because there is no more */
    BROKEN,
};

static bool says(natsMsg *message, const char *name, const char *word)
{
    const char *text = header_of(message, name);

    return text && strcasestr(text, word);
}

/* A heartbeat names the consumer's latest: what has not come by now is lost. */
static enum progress hear_heartbeat(const struct round *round, natsMsg *message)
{
    const char *last = header_of(message, "Nats-Last-Consumer");

    return !last || strtoull(last, NULL, 10) == round->delivery ? GOES_ON : BROKEN;
}

/* 404 and 408: nothing more in its time. 409: the bytes are full, or the consumer is gone, or … */
static enum progress hear_status(const struct round *round, natsMsg *message)
{
    const char *token = natsMsg_GetSubject(message) + strlen(round->inbox) + 1;

    if (strtoul(token, NULL, 10) != round->request)
        return GOES_ON;
    if (says(message, "Status", "100"))
        return hear_heartbeat(round, message);
    if (says(message, "Status", "404") || says(message, "Status", "408"))
        return EMPTY;
    return says(message, "Description", "MaxBytes") ? ENDED : BROKEN;
}

static enum progress hear(struct round *round, natsMsg *message)
{
    struct nats_ack ack;
    size_t length = strlen(round->inbox);
    const char *subject = natsMsg_GetSubject(message);

    if (strncmp(subject, round->inbox, length) == 0 && subject[length] == '.')
        return hear_status(round, message);
    if (!nats_ack_parse(natsMsg_GetReply(message), &ack) || ack.delivery != round->delivery + 1)
        return BROKEN;
    round->delivery = ack.delivery;
    see_message(round, message, ack.sequence);
    if (ack.sequence >= round->last)
        complete(round);
    return ++round->received == BATCH ? ENDED : GOES_ON;
}

static bool is_over(const struct round *round)
{
    return atomic_load(&round->watch->stopping) ||
           atomic_load(&round->watch->connection.epoch) != round->epoch;
}

/* The rest of what the request brings. */
static enum progress receive(struct round *round)
{
    int64_t silence_ms = round->live ? SILENCE_MS : SNAPSHOT_SILENCE_MS;
    int64_t heard_ms = nats_now_ms();
    enum progress progress = GOES_ON;

    while (progress == GOES_ON && !is_over(round)) {
        natsMsg *message = NULL;
        natsStatus status = natsSubscription_NextMsg(&message, round->subscription, STEP_MS);
        if (status == NATS_TIMEOUT && nats_now_ms() - heard_ms < silence_ms)
            continue;
        if (status != NATS_OK)
            return BROKEN;
        progress = hear(round, message);
        natsMsg_Destroy(message);
        heard_ms = nats_now_ms();
    }
    return progress == GOES_ON ? BROKEN : progress;
}

/* The snapshot is there at once or not at all; what comes later is waited for. */
static bool ask_for_more(struct round *round)
{
    struct watch *watch = round->watch;
    char subject[SUBJECT_SIZE], reply[NATS_INBOX_SIZE + 16], body[160];

    snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.MSG.NEXT." NATS_BUCKET_STREAM "%s.%s",
             watch->bucket, round->consumer);
    snprintf(reply, sizeof(reply), "%s.%u", round->inbox, ++round->request);
    int size =
        round->live
            ? snprintf(body, sizeof(body),
                       "{\"batch\":%d,\"max_bytes\":%d,\"expires\":%lld,\"idle_heartbeat\":%lld}",
                       BATCH, BATCH_BYTES, EXPIRES_MS * NS_PER_MS, HEARTBEAT_MS * NS_PER_MS)
            : snprintf(body, sizeof(body), "{\"batch\":%d,\"max_bytes\":%d,\"no_wait\":true}",
                       BATCH, BATCH_BYTES);
    round->received = 0;
    return nats_connection_ready(&watch->connection) &&
           natsConnection_PublishRequest(watch->connection.handle, subject, reply, body, size) ==
               NATS_OK;
}

static void follow(struct round *round)
{
    while (!is_over(round) && ask_for_more(round)) {
        enum progress progress = receive(round);
        if (progress == BROKEN)
            return;
        if (progress == EMPTY)
            complete(round);
    }
}

/* ---- rounds ---- */

static struct document *consumer_document(const struct round *round)
{
    struct document *document = document_new();
    char text[NATS_BUCKET_SIZE];

    snprintf(text, sizeof(text), NATS_BUCKET_STREAM "%s", round->watch->bucket);
    document_set_text(document, "stream_name", text);
    document_set_text(document, "config.name", round->consumer);
    document_set_text(document, "config.deliver_policy", "last_per_subject");
    document_set_text(document, "config.ack_policy", "none");
    document_set_text(document, "config.replay_policy", "instant");
    nats_bucket_subject(text, round->watch->bucket, round->watch->pattern);
    document_set_text(document, "config.filter_subject", text);
    document_set_int(document, "config.inactive_threshold", INACTIVE_NS);
    document_set_int(document, "config.num_replicas", 1);
    document_set_bool(document, "config.mem_storage", true);
    return document;
}

static bool create_consumer(struct round *round, struct error *err)
{
    AUTO(document_free) struct document *wanted = NULL;
    AUTO(document_free) struct document *answer = NULL;
    AUTO(buffer_free) struct buffer body = {0};
    const struct id id = id_new(clock_wall_ms(clock_system()));
    char subject[SUBJECT_SIZE];

    id_format(&id, round->consumer);
    wanted = consumer_document(round);
    document_print(wanted, "", &body);
    snprintf(subject, sizeof(subject), "CONSUMER.CREATE." NATS_BUCKET_STREAM "%s.%s",
             round->watch->bucket, round->consumer);
    return nats_api(round->watch->broker, subject, body.data, nats_now_ms() + API_MS, &answer, err);
}

static bool subscribe(struct round *round)
{
    char subject[NATS_INBOX_SIZE + 2];

    nats_inbox(round->inbox);
    snprintf(subject, sizeof(subject), "%s.*", round->inbox);
    return nats_connection_ready(&round->watch->connection) &&
           natsConnection_SubscribeSync(&round->subscription, round->watch->connection.handle,
                                        subject) == NATS_OK;
}

static bool begin(struct round *round, struct error *err)
{
    struct watch *watch = round->watch;
    AUTO(document_free) struct document *info = NULL;

    round->epoch = atomic_load(&watch->connection.epoch);
    if (!nats_bucket_open(watch->broker, watch->bucket, nats_now_ms() + API_MS, &info, err))
        return false;
    const char *created = document_text(info, "created");
    round->last = (uint64_t)document_int(info, "state.last_seq", 0);
    if (!subscribe(round) || !create_consumer(round, err))
        return false;
    bool same = created && strcmp(created, watch->created) == 0;
    snprintf(watch->created, sizeof(watch->created), "%s", created ? created : "");
    nats_known_begin(&watch->known, !same);
    return true;
}

/* Nobody waits for the answer; what is not deleted ends by itself. */
static void delete_consumer(struct round *round)
{
    struct nats_connection *connection = &round->watch->connection;
    char subject[SUBJECT_SIZE], reply[NATS_INBOX_SIZE + 16];

    if (!*round->consumer || !nats_connection_ready(connection))
        return;
    snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.DELETE." NATS_BUCKET_STREAM "%s.%s",
             round->watch->bucket, round->consumer);
    snprintf(reply, sizeof(reply), "%s.0", round->inbox);
    (void)natsConnection_PublishRequest(connection->handle, subject, reply, "", 0);
}

/* Returns whether it came so far as to be live. */
static bool run_round(struct watch *watch)
{
    struct round round = {.watch = watch};
    struct error err;

    if (!nats_connection_wait(&watch->connection, nats_now_ms() + STEP_MS))
        return false;
    if (begin(&round, &err))
        follow(&round);
    delete_consumer(&round);
    nats_connection_release(&watch->connection, round.subscription);
    return round.live;
}

static void *run(void *context)
{
    static const struct backoff pauses = {.first_ms = 50, .most_ms = 2000};
    struct watch *watch = context;
    struct nats_connection *connection = &watch->connection;
    unsigned attempt = 0;

    while (!atomic_load(&watch->stopping)) {
        attempt = run_round(watch) ? 1 : attempt + 1;
        int64_t until_ms = nats_now_ms() + backoff_ms(&pauses, attempt, id_random());
        pthread_mutex_lock(&connection->lock);
        if (!atomic_load(&watch->stopping))
            nats_condition_wait(&connection->changed, &connection->lock, until_ms);
        pthread_mutex_unlock(&connection->lock);
    }
    return NULL;
}

/* ---- life ---- */

/* What will not pass is told at once; everything else is the thread's to wait for. */
static bool look_for_bucket(struct watch *watch, struct error *err)
{
    AUTO(document_free) struct document *info = NULL;
    int64_t until_ms = nats_now_ms() + OPEN_MS;

    return nats_bucket_open(watch->broker, watch->bucket, until_ms, &info, err) ||
           err->code == ERROR_UNAVAILABLE;
}

static bool start(struct watch *watch, struct error *err)
{
    struct nats_settings settings = {
        .url = watch->broker->url, .name = watch->broker->base.options.name, .at_once = true};

    if (!look_for_bucket(watch, err))
        return false;
    watch->open = true;
    if (!nats_connection_open(&watch->connection, &settings, err) ||
        !nats_connection_await(&watch->connection, nats_now_ms() + CONNECT_MS, err))
        return false;
    watch->started = pthread_create(&watch->thread, NULL, run, watch) == 0;
    return watch->started || error_set(err, ERROR_UNAVAILABLE, "no thread to be had");
}

static void stop(struct watch *watch)
{
    struct nats_connection *connection = &watch->connection;

    pthread_mutex_lock(&connection->lock);
    atomic_store(&watch->stopping, true);
    pthread_cond_broadcast(&connection->changed);
    pthread_mutex_unlock(&connection->lock);
    pthread_join(watch->thread, NULL);
}

void nats_unwatch(struct broker_watch *base)
{
    struct watch *watch = CONTAINER_OF(base, struct watch, base);

    if (watch->started)
        stop(watch);
    if (watch->open)
        nats_connection_close(&watch->connection);
    nats_known_free(&watch->known);
    free(watch->bucket);
    free(watch->pattern);
    free(watch);
}

// NOLINTNEXTLINE(readability-function-size): the driver interface's parameters
bool nats_watch(struct broker_watch **out, struct broker *base, const char *bucket,
                const char *pattern, broker_see *see, void *context, struct error *err)
{
    struct nats_broker *broker = nats_broker_of(base);
    struct watch *watch = memory_alloc(sizeof(*watch));

    watch->broker = broker;
    watch->bucket = memory_text(bucket);
    watch->pattern = memory_text(pattern);
    watch->see = see;
    watch->context = context;
    watch->connection.broker = base;
    watch->connection.denials = &broker->denials;
    if (!start(watch, err)) {
        nats_unwatch(&watch->base);
        return false;
    }
    *out = &watch->base;
    return true;
}
