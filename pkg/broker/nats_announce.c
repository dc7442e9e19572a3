/*
 * Announcements are plain messages: no stream keeps them. A listener has a connection of its own;
 * the library's thread puts what comes into a bounded queue, and the listener's thread tells it.
 */
#include "broker/nats_driver.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define LISTEN_MS 2000
#define QUEUE_MAX 8192 /* announcements that wait to be heard; the last place is for a GAP */
#define QUEUE_BYTES ((size_t)16 * 1024 * 1024)
#define IDLE_MS 10000

struct listener {
    struct broker_listener base;
    struct nats_connection connection;
    struct nats_subscription *subscription;
    broker_hear *hear;
    void *context;
    pthread_t teller;
    pthread_mutex_t lock;
    pthread_cond_t came;
    natsMsg **queue; /* guarded by lock, with everything below it; NULL is a GAP */
    size_t first, count, bytes;
    uint64_t reconnects; /* told as a GAP */
    bool open, stopping;
    bool started; /* the owner's: the teller runs */
};

bool nats_announce(struct broker *base, const char *topic, const void *data, size_t size,
                   struct error *err)
{
    struct nats_broker *broker = nats_broker_of(base);

    if (!nats_connection_ready(&broker->quick))
        return error_set(err, ERROR_UNAVAILABLE, "not connected");
    natsStatus status = natsConnection_Publish(broker->quick.handle, topic, data, (int)size);
    if (status != NATS_OK)
        return nats_failed(status, "publish", err);
    return !nats_denials_has(&broker->denials, topic) ||
           error_set(err, ERROR_DENIED, "not permitted to publish to this subject");
}

/* ---- the queue: the lock is held ---- */

static void append(struct listener *listener, natsMsg *message)
{
    listener->queue[(listener->first + listener->count++) % QUEUE_MAX] = message;
    pthread_cond_signal(&listener->came);
}

/* One GAP tells of everything that was lost between two announcements. */
static void append_gap(struct listener *listener)
{
    if (listener->count && !listener->queue[(listener->first + listener->count - 1) % QUEUE_MAX])
        return;
    append(listener, NULL);
}

static natsMsg *take_first(struct listener *listener)
{
    natsMsg *message = listener->queue[listener->first];

    listener->first = (listener->first + 1) % QUEUE_MAX;
    listener->count--;
    if (message)
        listener->bytes -= (size_t)natsMsg_GetDataLength(message);
    return message;
}

/* ---- the library's threads ---- */

/* The library counts a reconnect before anything comes over it, and tells of it at any time later:
 * asked with every announcement, a GAP never comes too late. */
static uint64_t count_reconnects(struct listener *listener)
{
    natsStatistics *statistics = NULL;
    uint64_t reconnects = 0;

    if (natsStatistics_Create(&statistics) == NATS_OK &&
        natsConnection_GetStats(listener->connection.handle, statistics) == NATS_OK)
        (void)natsStatistics_GetCounts(statistics, NULL, NULL, NULL, NULL, &reconnects);
    natsStatistics_Destroy(statistics);
    return reconnects;
}

/* The lock is held. */
static void note_reconnects(struct listener *listener, uint64_t reconnects)
{
    if (reconnects <= listener->reconnects)
        return;
    listener->reconnects = reconnects;
    append_gap(listener);
}

static void on_restored(void *context)
{
    struct listener *listener = context;

    pthread_mutex_lock(&listener->lock);
    bool open = listener->open;
    pthread_mutex_unlock(&listener->lock);
    if (!open)
        return; /* the first connection, while it is still being opened */
    uint64_t reconnects = count_reconnects(listener);
    pthread_mutex_lock(&listener->lock);
    note_reconnects(listener, reconnects);
    pthread_mutex_unlock(&listener->lock);
}

static void on_message(natsConnection *handle, natsSubscription *subscription, natsMsg *message,
                       void *context)
{
    struct listener *listener = context;
    uint64_t reconnects = count_reconnects(listener);
    size_t size = (size_t)natsMsg_GetDataLength(message);
    natsMsg *unused = NULL;

    (void)handle, (void)subscription;
    pthread_mutex_lock(&listener->lock);
    note_reconnects(listener, reconnects);
    if (listener->count < QUEUE_MAX - 1 && listener->bytes + size <= QUEUE_BYTES) {
        listener->bytes += size;
        append(listener, message);
    } else {
        append_gap(listener);
        unused = message;
    }
    pthread_mutex_unlock(&listener->lock);
    natsMsg_Destroy(unused);
}

/* ---- the listener's thread ---- */

static void tell(struct listener *listener, natsMsg *message)
{
    if (!message) {
        listener->hear(listener->context, BROKER_GAP, "", NULL, 0);
        return;
    }
    listener->hear(listener->context, BROKER_HEARD, natsMsg_GetSubject(message),
                   natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message));
    natsMsg_Destroy(message);
}

static void *teller(void *context)
{
    struct listener *listener = context;

    pthread_mutex_lock(&listener->lock);
    while (!listener->stopping) {
        if (!listener->count) {
            nats_condition_wait(&listener->came, &listener->lock, nats_now_ms() + IDLE_MS);
            continue;
        }
        natsMsg *message = take_first(listener);
        pthread_mutex_unlock(&listener->lock);
        tell(listener, message);
        pthread_mutex_lock(&listener->lock);
    }
    pthread_mutex_unlock(&listener->lock);
    return NULL;
}

/* ---- life ---- */

/* The server answers the flush when it knows of the subscription, and after a refusal of it. */
static bool subscribe(struct listener *listener, const char *pattern, int64_t until_ms,
                      struct error *err)
{
    struct nats_connection *connection = &listener->connection;
    const char *text = NULL;

    if (!nats_connection_wait(connection, until_ms))
        return error_set(err, ERROR_UNAVAILABLE, "not connected");
    if (!nats_connection_subscribe(connection, pattern, on_message, listener,
                                   &listener->subscription, err))
        return false;
    int64_t left_ms = until_ms - nats_now_ms();
    natsStatus status = natsConnection_FlushTimeout(connection->handle, left_ms > 1 ? left_ms : 1);
    if (status != NATS_OK)
        return error_set(err, ERROR_UNAVAILABLE, "subscribe: %s", natsStatus_GetText(status));
    return natsConnection_GetLastError(connection->handle, &text) != NATS_NOT_PERMITTED ||
           error_set(err, ERROR_DENIED, "not permitted to subscribe");
}

static bool start(struct listener *listener, struct nats_broker *broker, const char *pattern,
                  struct error *err)
{
    struct nats_settings settings = {
        .url = broker->url, .name = broker->base.options.name, .at_once = true};
    int64_t until_ms = nats_now_ms() + LISTEN_MS;

    if (!nats_connection_open(&listener->connection, &settings, err) ||
        !nats_connection_await(&listener->connection, until_ms, err))
        return false;
    pthread_mutex_lock(&listener->lock);
    listener->open = true;
    pthread_mutex_unlock(&listener->lock);
    if (!subscribe(listener, pattern, until_ms, err))
        return false;
    if (pthread_create(&listener->teller, NULL, teller, listener) != 0)
        return error_set(err, ERROR_UNAVAILABLE, "no thread to be had");
    listener->started = true;
    return true;
}

static void stop_teller(struct listener *listener)
{
    pthread_mutex_lock(&listener->lock);
    listener->stopping = true;
    pthread_cond_signal(&listener->came);
    pthread_mutex_unlock(&listener->lock);
    pthread_join(listener->teller, NULL);
}

void nats_unlisten(struct broker_listener *base)
{
    struct listener *listener = CONTAINER_OF(base, struct listener, base);

    if (listener->started)
        stop_teller(listener);
    nats_connection_unsubscribe(listener->subscription);
    nats_connection_close(&listener->connection);
    while (listener->count)
        natsMsg_Destroy(take_first(listener));
    pthread_cond_destroy(&listener->came);
    pthread_mutex_destroy(&listener->lock);
    free(listener->queue);
    free(listener);
}

bool nats_listen(struct broker_listener **out, struct broker *base, const char *pattern,
                 broker_hear *hear, void *context, struct error *err)
{
    struct nats_broker *broker = nats_broker_of(base);
    struct listener *listener = memory_alloc(sizeof(*listener));

    listener->hear = hear;
    listener->context = context;
    listener->queue = memory_alloc(QUEUE_MAX * sizeof(natsMsg *));
    listener->connection.broker = base;
    listener->connection.denials = &broker->denials;
    listener->connection.restored = on_restored;
    listener->connection.context = listener;
    pthread_mutex_init(&listener->lock, NULL);
    nats_condition_init(&listener->came);
    if (!start(listener, broker, pattern, err)) {
        nats_unlisten(&listener->base);
        return false;
    }
    *out = &listener->base;
    return true;
}
