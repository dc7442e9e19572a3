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

/* The lock is held. */
static void show_connected(struct nats_connection *connection)
{
    bool connected = connection->up && connection->handle;

    atomic_store(&connection->connected, connected);
    if (connection->reports)
        atomic_store(&connection->broker->counters.connected, connected);
    pthread_cond_broadcast(&connection->changed);
}

static void set_up(struct nats_connection *connection, bool up)
{
    pthread_mutex_lock(&connection->lock);
    connection->up = up;
    show_connected(connection);
    pthread_mutex_unlock(&connection->lock);
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
    set_up(connection, false);
    if (connection->reports && !atomic_load(&connection->closing))
        broker_observe(connection->broker, BROKER_DISCONNECTED, "the connection is lost");
}

static void tell_back(struct nats_connection *connection, const char *words)
{
    if (connection->restored)
        connection->restored(connection->context);
    if (connection->reports && !atomic_load(&connection->closing))
        broker_observe(connection->broker, BROKER_RECONNECTED, words);
}

/* The permissions may be other ones now: what was denied is tried, and told, again. */
static void on_reconnected(natsConnection *handle, void *context)
{
    struct nats_connection *connection = context;

    learn_limits(connection, handle);
    denials_clear(connection->denials);
    atomic_fetch_add(&connection->epoch, 1);
    set_up(connection, true);
    if (connection->reports)
        atomic_fetch_add(&connection->broker->counters.reconnects, 1);
    tell_back(connection, "the connection is back");
}

static void on_closed(natsConnection *handle, void *context)
{
    struct nats_connection *connection = context;

    (void)handle;
    pthread_mutex_lock(&connection->lock);
    connection->up = false;
    connection->closed = true;
    show_connected(connection);
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
    return status == NATS_OK ? natsOptions_SetClosedCB(options, on_closed, connection) : status;
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

static natsStatus set_all(struct nats_connection *connection, const struct nats_settings *settings)
{
    natsStatus status = natsOptions_Create(&connection->options);

    if (status == NATS_OK)
        status = set_addresses(connection->options, settings->url);
    if (status == NATS_OK)
        status = natsOptions_SetName(connection->options, settings->name);
    if (status == NATS_OK)
        status = natsOptions_SetSendAsap(connection->options, settings->at_once);
    if (status == NATS_OK)
        status = set_liveness(connection->options);
    return status == NATS_OK ? set_events(connection->options, connection) : status;
}

/* ---- the first connection ---- */

/* Everything else may be better another time. */
static bool is_final(natsStatus status)
{
    static const natsStatus finals[] = {
        NATS_INVALID_ARG,
        NATS_INVALID_SUBJECT,
        NATS_ADDRESS_MISSING,
        NATS_PROTOCOL_ERROR,
        NATS_NOT_PERMITTED,
        NATS_CONNECTION_AUTH_FAILED,
        NATS_SECURE_CONNECTION_REQUIRED,
        NATS_SECURE_CONNECTION_WANTED,
        NATS_SSL_ERROR,
        NATS_NO_SERVER_SUPPORT,
    };

    for (size_t i = 0; i < ARRAY_LEN(finals); i++)
        if (finals[i] == status)
            return true;
    return false;
}

/* Returns whether to go on. Who waits is told; later it is told as what the server refuses. */
static bool note_failure(struct nats_connection *connection, natsStatus status)
{
    const char *text = natsStatus_GetText(status);

    pthread_mutex_lock(&connection->lock);
    connection->answered = true;
    connection->answer = status;
    bool awaited = connection->awaited;
    pthread_cond_broadcast(&connection->changed);
    pthread_mutex_unlock(&connection->lock);
    if (is_final(status) && !awaited && denials_add(connection->denials, text))
        broker_observe(connection->broker, BROKER_REFUSED, text);
    return !is_final(status) || !awaited;
}

static void begin(struct nats_connection *connection, natsConnection *handle)
{
    learn_limits(connection, handle);
    pthread_mutex_lock(&connection->lock);
    nats_subscriptions_make(connection, handle);
    bool late = !connection->awaited;
    connection->handle = handle;
    connection->answered = true;
    connection->answer = NATS_OK;
    if (late)
        atomic_fetch_add(&connection->epoch, 1);
    show_connected(connection);
    pthread_mutex_unlock(&connection->lock);
    if (late)
        tell_back(connection, "connected");
}

static void pause_dialling(struct nats_connection *connection)
{
    int64_t jitter_ms = clock_nanoseconds() % RECONNECT_JITTER_MS;
    int64_t until_ms = nats_now_ms() + RECONNECT_MS + jitter_ms;

    pthread_mutex_lock(&connection->lock);
    while (!atomic_load(&connection->closing) && nats_now_ms() < until_ms)
        nats_condition_wait(&connection->changed, &connection->lock, until_ms);
    pthread_mutex_unlock(&connection->lock);
}

/* From the first connection on the library sees to it. */
static void *dial(void *context)
{
    struct nats_connection *connection = context;

    while (!atomic_load(&connection->closing)) {
        natsConnection *handle = NULL;
        set_up(connection, true); /* until an event says otherwise */
        natsStatus status = natsConnection_Connect(&handle, connection->options);
        if (status == NATS_OK) {
            begin(connection, handle);
            return NULL;
        }
        if (!note_failure(connection, status))
            return NULL;
        pause_dialling(connection);
    }
    return NULL;
}

/* ---- life ---- */

bool nats_connection_open(struct nats_connection *connection, const struct nats_settings *settings,
                          struct error *err)
{
    pthread_mutex_init(&connection->lock, NULL);
    nats_condition_init(&connection->changed);
    atomic_store(&connection->max_payload, MAX_PAYLOAD);
    connection->awaited = true;
    natsStatus status = set_all(connection, settings);
    if (status != NATS_OK)
        return nats_failed(status, "connect", err);
    connection->dials = pthread_create(&connection->dialler, NULL, dial, connection) == 0;
    return connection->dials || error_set(err, ERROR_UNAVAILABLE, "no thread to be had");
}

bool nats_connection_await(struct nats_connection *connection, int64_t until_ms, struct error *err)
{
    pthread_mutex_lock(&connection->lock);
    while (!connection->answered && nats_now_ms() < until_ms)
        nats_condition_wait(&connection->changed, &connection->lock, until_ms);
    connection->awaited = false;
    natsStatus answer = connection->answer;
    pthread_mutex_unlock(&connection->lock);
    return !is_final(answer) || nats_failed(answer, "connect", err);
}

void nats_connection_forsake(struct nats_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    atomic_store(&connection->closing, true);
    pthread_cond_broadcast(&connection->changed);
    pthread_mutex_unlock(&connection->lock);
}

/* The library's last call comes after natsConnection_Close has returned. */
static void hang_up(struct nats_connection *connection)
{
    int64_t until_ms = nats_now_ms() + CLOSE_MS;

    natsConnection_Close(connection->handle);
    pthread_mutex_lock(&connection->lock);
    while (!connection->closed && nats_now_ms() < until_ms)
        nats_condition_wait(&connection->changed, &connection->lock, until_ms);
    pthread_mutex_unlock(&connection->lock);
    natsConnection_Destroy(connection->handle);
    connection->handle = NULL;
}

void nats_connection_close(struct nats_connection *connection)
{
    nats_connection_forsake(connection);
    if (connection->dials)
        pthread_join(connection->dialler, NULL);
    if (connection->handle)
        hang_up(connection);
    natsOptions_Destroy(connection->options);
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

void nats_inbox(char out[NATS_INBOX_SIZE])
{
    natsInbox *inbox = NULL;

    if (natsInbox_Create(&inbox) != NATS_OK)
        abort(); /* out of memory */
    snprintf(out, NATS_INBOX_SIZE, "%s", inbox);
    natsInbox_Destroy(inbox);
}
