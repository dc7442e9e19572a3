#include "broker/nats_connection.h"

#include "base/memory.h"
#include "broker/nats_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 2000
#define PING_INTERVAL_MS 4000 /* the third without an answer ends it: 12 to 16 s after the last */
#define PINGS_OUT 2
#define RECONNECT_MS 250
#define RECONNECT_JITTER_MS 500
#define WRITE_MS 3000
#define CLOSE_MS 5000
#define PASS_MS 50
#define MAX_PAYLOAD 1048576 /* until a server tells its own */

void nats_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

void nats_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t until_ms)
{
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};

    (void)pthread_cond_timedwait(condition, lock, &until);
}

bool nats_failed(natsStatus status, const char *what, struct error *err)
{
    enum error_code code = status == NATS_INVALID_ARG || status == NATS_INVALID_SUBJECT ||
                                   status == NATS_ADDRESS_MISSING || status == NATS_PROTOCOL_ERROR
                               ? ERROR_INVALID
                           : status == NATS_MAX_PAYLOAD   ? ERROR_TOO_LARGE
                           : status == NATS_NOT_PERMITTED ? ERROR_DENIED
                           : status == NATS_TIMEOUT       ? ERROR_TIMEOUT
                                                          : ERROR_UNAVAILABLE;

    return error_set(err, code, "%s: %s", what, natsStatus_GetText(status));
}

bool nats_denials_has(struct nats_denials *denials, const char *subject)
{
    bool found = false;

    pthread_mutex_lock(&denials->lock);
    for (size_t i = 0; i < ARRAY_LEN(denials->subjects); i++)
        found = found || strcmp(denials->subjects[i], subject) == 0;
    pthread_mutex_unlock(&denials->lock);
    return found;
}

/* False when it was there already. */
static bool denials_add(struct nats_denials *denials, const char *subject)
{
    if (nats_denials_has(denials, subject))
        return false;
    pthread_mutex_lock(&denials->lock);
    char *place = denials->subjects[denials->count++ % ARRAY_LEN(denials->subjects)];
    snprintf(place, sizeof(denials->subjects[0]), "%s", subject);
    pthread_mutex_unlock(&denials->lock);
    return true;
}

static void denials_clear(struct nats_denials *denials)
{
    pthread_mutex_lock(&denials->lock);
    memset(denials->subjects, 0, sizeof(denials->subjects));
    pthread_mutex_unlock(&denials->lock);
}

static void set_connected(struct nats_connection *connection, bool connected)
{
    pthread_mutex_lock(&connection->lock);
    atomic_store(&connection->connected, connected);
    pthread_cond_broadcast(&connection->changed);
    pthread_mutex_unlock(&connection->lock);
    if (connection->reports)
        atomic_store(&connection->broker->counters.connected, connected);
}

static void learn_limits(struct nats_connection *connection, natsConnection *handle)
{
    int64_t max = natsConnection_GetMaxPayload(handle);

    if (max > 0)
        atomic_store(&connection->max_payload, max);
}

static void on_disconnected(natsConnection *handle, void *context)
{
    struct nats_connection *connection = context;

    (void)handle;
    set_connected(connection, false);
    if (connection->reports && !atomic_load(&connection->closing))
        broker_observe(connection->broker, BROKER_DISCONNECTED, "the connection is lost");
}

/* The permissions may be other ones now: what was denied is tried, and told, again. */
static void on_reconnected(natsConnection *handle, void *context)
{
    struct nats_connection *connection = context;

    learn_limits(connection, handle);
    denials_clear(connection->denials);
    atomic_fetch_add(&connection->epoch, 1);
    set_connected(connection, true);
    if (connection->restored)
        connection->restored(connection->context);
    if (!connection->reports)
        return;
    atomic_fetch_add(&connection->broker->counters.reconnects, 1);
    broker_observe(connection->broker, BROKER_RECONNECTED, "the connection is back");
}

/* The first connection came late; whoever waited for it goes on as after a reconnect. */
static void on_connected(natsConnection *handle, void *context)
{
    struct nats_connection *connection = context;

    learn_limits(connection, handle);
    atomic_fetch_add(&connection->epoch, 1);
    set_connected(connection, natsConnection_Status(handle) == NATS_CONN_STATUS_CONNECTED);
    if (connection->restored)
        connection->restored(connection->context);
    if (connection->reports && nats_connection_ready(connection))
        broker_observe(connection->broker, BROKER_RECONNECTED, "connected");
}

static void on_closed(natsConnection *handle, void *context)
{
    struct nats_connection *connection = context;

    (void)handle;
    pthread_mutex_lock(&connection->lock);
    atomic_store(&connection->connected, false);
    connection->closed = true;
    pthread_cond_broadcast(&connection->changed);
    pthread_mutex_unlock(&connection->lock);
}

static void on_error(natsConnection *handle, natsSubscription *subscription, natsStatus status,
                     void *context)
{
    struct nats_connection *connection = context;
    const char *text = NULL;
    natsStatus ignored;
    char subject[256];

    (void)subscription;
    text = nats_GetLastError(&ignored);
    if (!text || !*text)
        (void)natsConnection_GetLastError(handle, &text);
    if (!text || !*text)
        text = natsStatus_GetText(status);
    bool publish = nats_denied_subject(text, subject, sizeof(subject));
    if (denials_add(connection->denials, publish ? subject : text))
        broker_observe(connection->broker, BROKER_REFUSED, text);
    if (publish && connection->denied)
        connection->denied(connection->context, subject);
}

static natsStatus set_liveness(natsOptions *options)
{
    natsStatus status = natsOptions_SetTimeout(options, CONNECT_MS);

    if (status == NATS_OK)
        status = natsOptions_SetMaxReconnect(options, -1);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectWait(options, RECONNECT_MS);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectJitter(options, RECONNECT_JITTER_MS, RECONNECT_JITTER_MS);
    if (status == NATS_OK)
        status = natsOptions_SetPingInterval(options, PING_INTERVAL_MS);
    if (status == NATS_OK)
        status = natsOptions_SetMaxPingsOut(options, PINGS_OUT);
    if (status == NATS_OK)
        status = natsOptions_SetWriteDeadline(options, WRITE_MS);
    if (status == NATS_OK)
        status = natsOptions_SetFailRequestsOnDisconnect(options, true);
    return status == NATS_OK ? natsOptions_SetReconnectBufSize(options, 1) : status;
}

static natsStatus set_events(natsOptions *options, struct nats_connection *connection)
{
    natsStatus status = natsOptions_SetErrorHandler(options, on_error, connection);

    if (status == NATS_OK)
        status = natsOptions_SetDisconnectedCB(options, on_disconnected, connection);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectedCB(options, on_reconnected, connection);
    if (status == NATS_OK)
        status = natsOptions_SetClosedCB(options, on_closed, connection);
    return status == NATS_OK
               ? natsOptions_SetRetryOnFailedConnect(options, true, on_connected, connection)
               : status;
}

/* "nats://one:4222,two:4222"; natsOptions_SetURL would take it for one address. */
static natsStatus set_addresses(natsOptions *options, const char *url)
{
    char *text = memory_text(url), *rest = text;
    const char **addresses = memory_alloc((strlen(url) + 1) * sizeof(*addresses));
    int count = 0;

    while (rest)
        addresses[count++] = strsep(&rest, ",");
    natsStatus status = natsOptions_SetServers(options, addresses, count);
    free(addresses);
    free(text);
    return status;
}

bool nats_connection_open(struct nats_connection *connection, const struct nats_settings *settings,
                          struct error *err)
{
    natsOptions *options = NULL;
    natsStatus status = natsOptions_Create(&options);

    pthread_mutex_init(&connection->lock, NULL);
    nats_condition_init(&connection->changed);
    atomic_store(&connection->max_payload, MAX_PAYLOAD);
    if (status == NATS_OK)
        status = set_addresses(options, settings->url);
    if (status == NATS_OK)
        status = natsOptions_SetName(options, settings->name);
    if (status == NATS_OK)
        status = natsOptions_SetSendAsap(options, settings->at_once);
    if (status == NATS_OK)
        status = set_liveness(options);
    if (status == NATS_OK)
        status = set_events(options, connection);
    if (status == NATS_OK)
        status = natsConnection_Connect(&connection->handle, options);
    natsOptions_Destroy(options);
    if (status == NATS_OK) {
        learn_limits(connection, connection->handle);
        set_connected(connection, true);
    }
    return status == NATS_OK || status == NATS_NOT_YET_CONNECTED ||
           nats_failed(status, "connect", err);
}

/* The library's last call comes after natsConnection_Close has returned. */
void nats_connection_close(struct nats_connection *connection)
{
    int64_t until_ms = nats_now_ms() + CLOSE_MS;

    if (connection->handle) {
        atomic_store(&connection->closing, true);
        natsConnection_Close(connection->handle);
        pthread_mutex_lock(&connection->lock);
        while (!connection->closed && nats_now_ms() < until_ms)
            nats_condition_wait(&connection->changed, &connection->lock, until_ms);
        pthread_mutex_unlock(&connection->lock);
        natsConnection_Destroy(connection->handle);
        connection->handle = NULL;
    }
    pthread_cond_destroy(&connection->changed);
    pthread_mutex_destroy(&connection->lock);
}

bool nats_connection_ready(struct nats_connection *connection)
{
    return atomic_load_explicit(&connection->connected, memory_order_acquire);
}

bool nats_connection_wait(struct nats_connection *connection, int64_t until_ms)
{
    pthread_mutex_lock(&connection->lock);
    while (!nats_connection_ready(connection) && nats_now_ms() < until_ms)
        nats_condition_wait(&connection->changed, &connection->lock, until_ms);
    pthread_mutex_unlock(&connection->lock);
    return nats_connection_ready(connection);
}

/* ---- subscriptions ---- */

/* Its end is watched from the start: a subscription that has ended by itself (drained) would not
 * tell one who asks later. */
struct nats_subscription {
    struct nats_connection *connection; /* borrowed */
    natsSubscription *handle;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool ended; /* guarded by lock: no handler runs or will run */
};

static void on_complete(void *context)
{
    struct nats_subscription *subscription = context;

    pthread_mutex_lock(&subscription->lock);
    subscription->ended = true;
    pthread_cond_signal(&subscription->over);
    pthread_mutex_unlock(&subscription->lock);
}

bool nats_connection_subscribe(struct nats_connection *connection, const char *subject,
                               natsMsgHandler handler, void *context,
                               struct nats_subscription **out, struct error *err)
{
    struct nats_subscription *subscription = memory_alloc(sizeof(*subscription));
    natsStatus status = natsConnection_Subscribe(&subscription->handle, connection->handle, subject,
                                                 handler, context);

    subscription->connection = connection;
    pthread_mutex_init(&subscription->lock, NULL);
    nats_condition_init(&subscription->over);
    if (status == NATS_OK)
        status = natsSubscription_SetPendingLimits(subscription->handle, -1, -1);
    if (status == NATS_OK)
        status = natsSubscription_SetOnCompleteCB(subscription->handle, on_complete, subscription);
    if (status != NATS_OK) {
        subscription->ended = true; /* nobody will tell */
        nats_connection_unsubscribe(subscription);
        return nats_failed(status, "subscribe to an inbox", err);
    }
    *out = subscription;
    return true;
}

natsStatus nats_connection_finish(struct nats_subscription *subscription, int64_t timeout_ms)
{
    natsStatus status = natsSubscription_DrainTimeout(subscription->handle, timeout_ms);

    return status == NATS_OK
               ? natsSubscription_WaitForDrainCompletion(subscription->handle, timeout_ms)
               : status;
}

/*
 * The library's reader looks a subscription up and then uses it without holding on to it: freed in
 * between, it is written to when it is gone (3.4.1). So it is taken out first, and kept until an
 * answer of the server has come past the reader. Nothing is ever that long between the two.
 */
void nats_connection_release(struct nats_connection *connection, natsSubscription *handle)
{
    if (!handle)
        return;
    (void)natsSubscription_Unsubscribe(handle); /* it may have ended by itself */
    if (nats_connection_ready(connection))
        (void)natsConnection_FlushTimeout(connection->handle, PASS_MS);
    natsSubscription_Destroy(handle);
}

/* When the end does not come in time the subscription is leaked rather than written to when it is
 * gone. */
void nats_connection_unsubscribe(struct nats_subscription *subscription)
{
    int64_t until_ms = nats_now_ms() + CLOSE_MS;

    if (!subscription)
        return;
    nats_connection_release(subscription->connection, subscription->handle);
    pthread_mutex_lock(&subscription->lock);
    while (!subscription->ended && nats_now_ms() < until_ms)
        nats_condition_wait(&subscription->over, &subscription->lock, until_ms);
    bool ended = subscription->ended;
    pthread_mutex_unlock(&subscription->lock);
    if (!ended)
        return;
    pthread_cond_destroy(&subscription->over);
    pthread_mutex_destroy(&subscription->lock);
    free(subscription);
}

void nats_inbox(char out[NATS_INBOX_SIZE])
{
    natsInbox *inbox = NULL;

    if (natsInbox_Create(&inbox) != NATS_OK)
        abort(); /* out of memory */
    snprintf(out, NATS_INBOX_SIZE, "%s", inbox);
    natsInbox_Destroy(inbox);
}
