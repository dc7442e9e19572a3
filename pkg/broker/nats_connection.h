/*
 * nats_connection: one connection to NATS that stays for ever, and what its events mean.
 *
 * It connects, and reconnects, until it is closed. The first time it does so on a thread of its
 * own: the library would hold its caller for as long as a server is mute, and then give up. While
 * it is away nothing is written to it: what would wait in a buffer would be stored long after its
 * publisher was told that it failed. A peer that does not answer pings is given up within 15 s.
 *
 * Ownership  Close it after every subscription on it has ended.
 * Threads    Any thread. The handle is NULL until the first connection. While `connected` is false
 * the library may hold its lock for seconds (it is dialling): ask nats_connection_ready before
 * every call on the handle.
 */
#ifndef BROKER_NATS_CONNECTION_H
#define BROKER_NATS_CONNECTION_H

#include "broker/broker_driver.h"

#include <nats/nats.h>
#include <pthread.h>

#define NATS_INBOX_SIZE 48

/* What the server refused, so that each cause is told once and whoever waits can be told. */
struct nats_denials {
    pthread_mutex_t lock;
    unsigned count;         /* guarded by lock, with everything below it */
    char subjects[16][256]; /* the latest, a ring */
};

struct nats_subscription;

struct nats_connection {
    natsConnection *handle; /* set once, before `connected` */
    natsOptions *options;
    pthread_t dialler;
    bool dials;                   /* the owner's: there is a dialler */
    struct broker *broker;        /* borrowed */
    struct nats_denials *denials; /* borrowed */
    bool reports;                 /* its coming and going is the broker's */
    atomic_bool connected, closing;
    _Atomic unsigned epoch; /* counts what may have been lost: +1 with every reconnect */
    _Atomic int64_t max_payload;
    void (*denied)(void *context, const char *subject); /* may be NULL; a publish was refused */
    void (*restored)(void *context);                    /* may be NULL */
    void *context;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed;   /* guarded by lock, with everything below it: the library's last call is over */
    bool up;       /* by the library's events */
    bool awaited;  /* by nats_connection_await */
    bool answered; /* the first attempt is over; how says the next */
    natsStatus answer;
    struct nats_subscription *waiting; /* to be made with the first connection */
};

struct nats_settings {
    const char *url, *name;
    bool at_once; /* every write is flushed: for few messages that are waited for */
};

/* Begins to connect. broker, denials, reports, denied, restored and context are set by the caller
 * before. */
bool nats_connection_open(struct nats_connection *connection, const struct nats_settings *settings,
                          struct error *err) MUST_CHECK;

/*
 * Waits for the first attempt to connect, once. False: it is of no use to try again, the address is
 * none, say. True also when the server is away, or mute until until_ms: then it goes on by itself,
 * and what comes later is told like a reconnect.
 */
bool nats_connection_await(struct nats_connection *connection, int64_t until_ms,
                           struct error *err) MUST_CHECK;

/* It need not connect any more: for several that are closed after another. */
void nats_connection_forsake(struct nats_connection *connection);
void nats_connection_close(struct nats_connection *connection);

bool nats_connection_ready(struct nats_connection *connection);

/* Until it is connected, or until_ms (steady). */
bool nats_connection_wait(struct nats_connection *connection, int64_t until_ms);

/* ---- nats_subscription.c ---- */

/* A subscription with no limit on what waits in it. Before the first connection it is made with
 * that. */
bool nats_connection_subscribe(struct nats_connection *connection, const char *subject,
                               natsMsgHandler handler, void *context,
                               struct nats_subscription **out, struct error *err) MUST_CHECK;

/* The subscription's last call is over when this returns. */
void nats_connection_unsubscribe(struct nats_subscription *subscription);

/* The same for a subscription of the library's; NULL is none. */
void nats_connection_release(struct nats_connection *connection, natsSubscription *handle);

/* Takes what is on its way and ends the subscription; it is still to be unsubscribed. */
natsStatus nats_connection_finish(struct nats_subscription *subscription, int64_t timeout_ms);

/* The connection's, which has got its handle: makes what waits for that. The lock is held, but
 * while the library is called. */
void nats_subscriptions_make(struct nats_connection *connection, natsConnection *handle);

/* ---- nats_connection.c ---- */

/* "_INBOX.<unique>" */
void nats_inbox(char out[NATS_INBOX_SIZE]);

bool nats_denials_has(struct nats_denials *denials, const char *subject);

/* A condition that is waited on by steady time, and such a wait. */
void nats_condition_init(pthread_cond_t *condition);
void nats_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t until_ms);

/* The meaning of a status of the library, with its words. */
bool nats_failed(natsStatus status, const char *what, struct error *err);

/* Steady milliseconds, what every deadline inside the driver is counted in. */
static inline int64_t nats_now_ms(void)
{
    return clock_nanoseconds() / 1000000;
}

#endif
