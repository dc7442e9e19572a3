/*
 * nats_consumer: a pull consumer; nats_pull.c brings its messages, nats_settle.c answers for
 * them, nats_presence.c sees to it that it is there.
 *
 * The library's threads call back into `arrivals` and `answers`; they only put aside what came.
 * Everything not guarded by the lock belongs to the consumer's one thread; nats_extend, which runs
 * on any thread, reads of it what stays as it is while a batch is being worked on.
 */
#ifndef BROKER_NATS_CONSUMER_H
#define BROKER_NATS_CONSUMER_H

#include "base/arena.h"
#include "broker/nats_driver.h"

#define NATS_SUBJECT_SIZE 600
#define NATS_INFO_TOKEN "info" /* where the answer about the consumer comes, in answer_inbox */

struct nats_arrival {
    natsMsg *message;
    int64_t leased_ms; /* steady; when it arrived, or its lease was extended */
};

/* A message that is being worked on. Its delivery's `sequence` is this one's. */
struct nats_lease {
    natsMsg *message;
    uint64_t number, delivery; /* in the stream; among the consumer's deliveries */
    char sequence[BROKER_SEQUENCE_SIZE];
};

/* The settlements of one connection that nobody has confirmed. */
struct nats_trail {
    char subject[NATS_SUBJECT_SIZE]; /* where the latest went, or "" */
    unsigned epoch;                  /* of the connection, at that one */
};

struct nats_consumer {
    struct broker_consumer base;
    struct nats_broker *broker; /* borrowed */
    struct nats_subscription *arrivals, *answers;
    char pull_inbox[NATS_INBOX_SIZE], answer_inbox[NATS_INBOX_SIZE];
    char next_subject[NATS_SUBJECT_SIZE], info_subject[NATS_SUBJECT_SIZE];

    struct nats_lease *leases;
    size_t lease_count, lease_room;
    struct arena *arena; /* the batch's headers */

    unsigned epoch;         /* of the connection, when requests were last sent */
    unsigned requests;      /* sent so far, the name of the next */
    int64_t probed_ms;      /* the latest question whether the consumer is still there */
    unsigned empty_fetches; /* in a row */
    uint64_t next_delivery; /* while all before it are done, and done by us; else 0 */
    uint64_t last_delivery; /* that was settled here */
    struct nats_trail pull_trail, settle_trail; /* by connection */
    int64_t doubt_until_ms; /* what a lost connection may have taken is leased so long */
    uint64_t floor;         /* everything up to here is settled, whoever did it */
    char created[40];       /* the stream's birth, "" while unknown: the floor is its */
    bool missing;           /* it was gone; when it is found again, that is told */

    pthread_mutex_t lock;
    pthread_cond_t arrived;
    struct nats_arrival *ring; /* guarded by lock, with everything below it */
    size_t ring_room, ring_first, ring_count, ring_bytes;
    int64_t expected; /* asked for, neither come nor refused */
    int64_t behind;   /* in the stream when the latest of the batch was delivered */
    int64_t lost_ms;  /* when what is expected will not come any more */
    bool inexact;     /* a request was given up unheard: what comes of it is taken for another's */
    int64_t hold_until_ms; /* after a refusal: no requests */
    bool waiting, woken, suspicious;
    natsMsg *info; /* the answer to the question above */
    unsigned confirm_round;
    size_t confirmed; /* settlements of this round */
};

static inline struct nats_consumer *nats_consumer_of(struct broker_consumer *consumer)
{
    return CONTAINER_OF(consumer, struct nats_consumer, base);
}

/* Asks without waiting; the answer is judged when it is there. False: the stream is gone, say. */
bool nats_look_after(struct nats_consumer *consumer, int64_t until_ms,
                     struct error *err) MUST_CHECK;

/* True also when the server is away: the consumer is looked for again later. */
bool nats_bind(struct nats_consumer *consumer, struct error *err) MUST_CHECK;

/* Gives back what is read ahead, with confirmation. */
bool nats_give_back(struct nats_consumer *consumer, int64_t until_ms, struct error *err) MUST_CHECK;

/* True: every settlement is in effect. UNKNOWN: a connection was lost with some perhaps in it. */
bool nats_confirm_settled(struct nats_consumer *consumer, int64_t until_ms,
                          struct error *err) MUST_CHECK;

#endif
