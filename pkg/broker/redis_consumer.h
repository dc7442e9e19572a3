/*
 * redis_consumer: one instance of a group. redis_fetch.c brings its messages, redis_settle.c
 * answers for them, redis_consumer.c keeps the order of what was asked and what was heard.
 *
 * Everything goes over one link, in order, and most of it without waiting: the replies to what is
 * still expected are heard at the next call. A second link, the doorbell, only listens for new
 * entries, so that no reply that hands out messages can be lost with a wait.
 *
 * Ownership  A delivery's text and bytes are those of the reply it came with. A reply is kept until
 *            the last of its messages is settled.
 * Threads    the consumer's one thread, and extend, which broker.c keeps apart from it; `woken` is
 *            for any.
 */
#ifndef BROKER_REDIS_CONSUMER_H
#define BROKER_REDIS_CONSUMER_H

#include "broker/redis_driver.h"

/* Where a script begins that has to run when the server's memory is full: what it hands out and
 * settles can be trimmed. */
#define REDIS_LUA_WHEN_FULL "#!lua flags=allow-oom\n"

#define REDIS_EXPECTED_MAX 64 /* replies that are still to come */
#define REDIS_ID_SIZE 24      /* a number as text */

/* What the next reply is about. */
enum redis_expected {
    REDIS_SETTLED,
    REDIS_EXTENDED,
    REDIS_FETCHED,
    REDIS_ADOPTED, /* pending entries got the leases that they were without */
    REDIS_QUEUED,  /* for a transaction, whose end is a REDIS_FETCHED */
};

struct redis_question {
    enum redis_expected kind;
    int64_t asked_ms; /* steady */
};

/* A reply with messages. */
struct redis_haul {
    redisReply *reply;
    struct broker_header *headers;
    size_t left;       /* messages of it that no batch had yet */
    int64_t leased_ms; /* steady; when their leases began, or a little before */
};

struct redis_consumer {
    struct broker_consumer base;
    struct redis_broker *broker; /* borrowed */
    struct redis_link *link, *doorbell;
    char stream_key[REDIS_KEY_SIZE], meta_key[REDIS_KEY_SIZE];
    char lease_key[REDIS_KEY_SIZE], delay_key[REDIS_KEY_SIZE];

    struct redis_question expected[REDIS_EXPECTED_MAX]; /* the next one first */
    size_t expected_count, fetches_expected;
    unsigned connections; /* of the link, when something was last sent */
    int64_t owed_ms;      /* since then the server owes the next reply */
    int64_t unheard_ms;   /* until then no reply had come of what is expected */

    struct broker_delivery *held; /* those that no batch had yet begin at held_first */
    size_t held_first, held_count, held_room, batch_room;
    struct redis_haul *hauls; /* the oldest first */
    size_t haul_count, haul_room;

    /* What the latest look said. */
    bool more, is_refused; /* there is more than was asked for; the server did not do it */
    bool refusal_passes;   /* and may do it soon */
    struct error refusal;  /* why it did not */
    int64_t next_ms;       /* steady; when the next lease or delay ends; INT64_MAX: none */
    int64_t ack_wait_ms;   /* the group's in the server */
    int64_t room;          /* how many more the group may hold */
    size_t largest;        /* message of the stream; 0: it is not to be read in bulk */
    char position[BROKER_SEQUENCE_SIZE]; /* everything up to here was handed out; "": there is no
                                            room */
    size_t got_bytes, bulk; /* by the looks of this fetch; messages of one transaction */

    char adopt_from[BROKER_SEQUENCE_SIZE];
    int64_t adopt_ms; /* when to look for pending entries without a lease, from there */

    bool listening;         /* a blocking read is under way on the doorbell, */
    bool in_trouble;        /* a settlement was refused, and that is not told yet */
    int64_t listening_ms;   /* since then */
    struct error trouble;   /* why it was refused */
    int64_t doubt_until_ms; /* settlements that may be lost show by then */

    pthread_mutex_t lock;
    pthread_cond_t wakened;
    bool woken; /* guarded by lock */
};

static inline struct redis_consumer *redis_consumer_of(struct broker_consumer *consumer)
{
    return CONTAINER_OF(consumer, struct redis_consumer, base);
}

int64_t redis_now_ms(void);

/* Connected, and whatever was expected of an older connection is given up. UNAVAILABLE, or CLOSED
 * with REDIS_WOKEN. */
bool redis_consumer_ready(struct redis_consumer *consumer, int64_t until_ms,
                          struct error *err) MUST_CHECK;

/* Collects a command; it goes out with the next redis_consumer_hear. */
void redis_consumer_ask(struct redis_consumer *consumer, enum redis_expected kind, int count,
                        const char **arguments);

/* The same for a script. count arguments follow the group's four keys and its name. */
void redis_consumer_run(struct redis_consumer *consumer, enum redis_expected kind,
                        const struct redis_script *script, size_t count, const char **arguments);

/*
 * Sends what is collected and takes in the next reply. False: TIMEOUT or CLOSED, REDIS_WOKEN, and
 * it is still expected; or the connection is lost, and everything that was expected with it.
 */
bool redis_consumer_hear(struct redis_consumer *consumer, int64_t until_ms,
                         struct error *err) MUST_CHECK;

/* Sends what is collected and takes in the replies that are there. */
bool redis_consumer_send(struct redis_consumer *consumer, struct error *err) MUST_CHECK;

/* Takes in every reply that is expected; or as many as it needs to ask for some more. */
bool redis_consumer_hear_all(struct redis_consumer *consumer, int64_t until_ms,
                             struct error *err) MUST_CHECK;
bool redis_consumer_make_room(struct redis_consumer *consumer, int64_t until_ms,
                              struct error *err) MUST_CHECK;
bool redis_consumer_has_room(const struct redis_consumer *consumer); /* for one command more */

bool redis_is_woken(const struct error *err);

/* ---- redis_fetch.c ---- */

/* A REDIS_FETCHED; what it hands out was not leased before leased_ms. */
void redis_take_in(struct redis_consumer *consumer, redisReply *reply, int64_t leased_ms);
void redis_note_refusal(struct redis_consumer *consumer, const redisReply *reply);
void redis_release(struct redis_consumer *consumer); /* the batch */

/* What is read ahead and whose lease has ended is dropped: it may be somebody else's by now. */
void redis_pass_over_ended(struct redis_consumer *consumer);

/* ---- redis_settle.c ---- */

/* What is read ahead goes back to the group, as if it had never been handed out. */
bool redis_give_back(struct redis_consumer *consumer, int64_t until_ms,
                     struct error *err) MUST_CHECK;
/* True: every settlement is in effect. UNKNOWN: a connection was lost with some perhaps in it. */
bool redis_confirm_settled(struct redis_consumer *consumer, struct error *err) MUST_CHECK;

#endif
