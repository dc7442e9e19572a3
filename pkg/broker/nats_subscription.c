/* Subscriptions with a handler: from the first connection on, and until their last call is over. */
#include "broker/nats_connection.h"

#include "base/memory.h"

#include <stdlib.h>

#define CLOSE_MS 5000
#define PASS_MS 300

enum state {
    WAITING,    /* for the first connection */
    BEING_MADE, /* in the library's hands */
    MADE,       /* or it failed, or is not wanted any more */
};

/* Its end is watched from the start: a subscription that has ended by itself (drained) would not
 * tell one who asks later. */
struct nats_subscription {
    struct nats_connection *connection; /* borrowed */
    natsSubscription *handle;
    char *subject;
    natsMsgHandler handler;
    void *context;
    struct nats_subscription *next; /* guarded by the connection's lock, with the next */
    enum state state;
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

static natsStatus make(struct nats_subscription *subscription, natsConnection *handle)
{
    natsStatus status =
        natsConnection_Subscribe(&subscription->handle, handle, subscription->subject,
                                 subscription->handler, subscription->context);

    if (status == NATS_OK)
        status = natsSubscription_SetPendingLimits(subscription->handle, -1, -1);
    if (status == NATS_OK)
        status = natsSubscription_SetOnCompleteCB(subscription->handle, on_complete, subscription);
    if (status != NATS_OK)
        subscription->ended = true; /* nobody will tell */
    return status;
}

void nats_subscriptions_make(struct nats_connection *connection, natsConnection *handle)
{
    while (connection->waiting) {
        struct nats_subscription *subscription = connection->waiting;
        connection->waiting = subscription->next;
        subscription->state = BEING_MADE;
        pthread_mutex_unlock(&connection->lock);
        (void)make(subscription, handle); /* what fails here failed with its connection */
        pthread_mutex_lock(&connection->lock);
        subscription->state = MADE;
        pthread_cond_broadcast(&connection->changed);
    }
}

/* True when the connection makes it when it can. */
static bool wait_for_connection(struct nats_subscription *subscription)
{
    struct nats_connection *connection = subscription->connection;

    pthread_mutex_lock(&connection->lock);
    bool waits = !connection->handle;
    subscription->state = waits ? WAITING : MADE;
    if (waits) {
        subscription->next = connection->waiting;
        connection->waiting = subscription;
    }
    pthread_mutex_unlock(&connection->lock);
    return waits;
}

bool nats_connection_subscribe(struct nats_connection *connection, const char *subject,
                               natsMsgHandler handler, void *context,
                               struct nats_subscription **out, struct error *err)
{
    struct nats_subscription *subscription = memory_alloc(sizeof(*subscription));

    subscription->connection = connection;
    subscription->subject = memory_text(subject);
    subscription->handler = handler;
    subscription->context = context;
    pthread_mutex_init(&subscription->lock, NULL);
    nats_condition_init(&subscription->over);
    natsStatus status =
        wait_for_connection(subscription) ? NATS_OK : make(subscription, connection->handle);
    if (status != NATS_OK) {
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

/* It waits no longer, and is not being made; false when that takes too long. */
static bool stop_waiting(struct nats_subscription *subscription, int64_t until_ms)
{
    struct nats_connection *connection = subscription->connection;

    pthread_mutex_lock(&connection->lock);
    if (subscription->state == WAITING) {
        struct nats_subscription **place = &connection->waiting;
        while (*place != subscription)
            place = &(*place)->next;
        *place = subscription->next;
        subscription->state = MADE;
        subscription->ended = true;
    }
    while (subscription->state == BEING_MADE && nats_now_ms() < until_ms)
        nats_condition_wait(&connection->changed, &connection->lock, until_ms);
    bool stopped = subscription->state == MADE;
    pthread_mutex_unlock(&connection->lock);
    return stopped;
}

/* When the end does not come in time the subscription is leaked rather than written to when it is
 * gone. */
void nats_connection_unsubscribe(struct nats_subscription *subscription)
{
    int64_t until_ms = nats_now_ms() + CLOSE_MS;

    if (!subscription)
        return;
    if (!stop_waiting(subscription, until_ms))
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
    free(subscription->subject);
    free(subscription);
}
