/*
 * broker: durable streams of messages between services, over JetStream, Redis Streams or memory.
 *
 * A message is published to a stream under a subject, "readings.site-1.meter-7", with an id. Every
 * consumer (a durable, named group) gets every message of its stream; the instances of a consumer
 * share them. A message stays the consumer's work until it is settled: at least once, never
 * silently dropped, and dead-lettered with its reason when it cannot succeed.
 *
 * Ownership  open functions hand out handles that the caller closes; close consumers before their
 *            broker. Everything in parameters is borrowed for the call. Deliveries belong to the
 *            consumer until they are settled or it is closed.
 * Errors     The code says what the caller may do: FULL, UNAVAILABLE, TIMEOUT: it did not happen,
 *            retry later. UNKNOWN: it may have happened, retry with the same id (duplicates are
 *            dropped inside the window). INVALID, TOO_LARGE, DENIED, NOT_FOUND, CONFLICT: do not
 *            retry as it is. CLOSED: drained or closed.
 * Threads    A broker is for all threads. A consumer belongs to one thread, but for broker_wake and
 *            broker_extend.
 *            Callbacks come from the driver's threads: they hand over and never block.
 * Units      milliseconds; every call returns within 100 ms of its timeout, even over a dead
 * socket. Leases, delays and windows are judged by the broker's clock. So is the age of what is
 *            stored (lag, trim), where the broker tells the time: NATS does from 2.10 on, for an
 *            older one it is the client's.
 * Memory     A broker keeps at most max_pending publishes, and 32 MiB of them. A consumer keeps a
 *            batch and reads ahead at most two more, of at most 8 MiB each.
 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "base/clock.h"
#include "base/error.h"

#include <stdint.h>

#define BROKER_SEQUENCE_SIZE 44 /* a position in a stream as text, with the NUL */
#define BROKER_ID_MAX 128       /* bytes of a message id */

/* Bytes of data and headers of a message; what is left of the brokers' 1 MiB is for what a dead
 * letter adds, so that whatever can be published can be dead-lettered. */
#define BROKER_MESSAGE_MAX (1024 * 1024 - 16 * 1024)

#define BROKER_DELAY_MAX_MS (24LL * 60 * 60 * 1000) /* of a retry */

struct broker;
struct broker_consumer;

/* What happens to a connection or a consumer; the caller logs and counts it. */
enum broker_incident {
    BROKER_DISCONNECTED,
    BROKER_RECONNECTED,
    BROKER_RECREATED, /* a consumer was gone and made again at its recorded position */
    BROKER_REFUSED,   /* the broker denied something; told once per cause */
    BROKER_BURIED,    /* a dead letter was stored */
    BROKER_LOST,      /* a message's bytes are gone from the stream */
};

struct broker_options {
    const char *name;   /* of this client, shown by the broker's tools */
    size_t max_pending; /* publishes without an answer; beyond: UNAVAILABLE. 0: 16384 */
    void (*observe)(void *context, enum broker_incident incident, const char *detail);
    void *context;
    const struct clock *clock; /* memory:// only; NULL: the system's */
};

/* The scheme picks the driver. Returns true even when the server is away: it connects by itself. */
bool broker_open(struct broker **out, const char *url, const struct broker_options *options,
                 struct error *err) MUST_CHECK;
void broker_close(struct broker *broker);
AUTO_DEFINE(struct broker *, broker_close)

/* Does the server answer, and can it store? */
bool broker_ping(struct broker *broker, int timeout_ms, struct error *err) MUST_CHECK;

/* No new publishes; waits until every publish has its answer. Consumers drain by themselves. */
bool broker_drain(struct broker *broker, int timeout_ms, struct error *err) MUST_CHECK;

/* ---- topology ---- */

struct broker_stream {
    const char *name;     /* "READINGS" */
    const char *subjects; /* one pattern, "readings.>" */
    int64_t max_bytes;    /* beyond: publishers get FULL */
    int64_t dedup_window_ms;
    int replicas;
    bool telemetry; /* when full, drop the oldest instead of refusing; counted */
};

struct broker_group {
    const char *stream, *name;
    const char *filter;    /* a subject pattern; NULL: all of the stream */
    int64_t ack_wait_ms;   /* a delivery not settled in this time is delivered again */
    int max_in_flight;     /* over all instances, delayed ones included */
    unsigned max_attempts; /* deliveries; one more and it is a dead letter */
};

enum broker_found { BROKER_CREATED, BROKER_SAME, BROKER_DRIFTED };

/* What declare found for one stream or consumer; detail names the settings that differ, or "". */
typedef void broker_found_one(void *context, const char *name, enum broker_found found,
                              const char *detail);

/* Creates what is missing, and the stream DEAD; reports drift and leaves it as it is. */
bool broker_declare(struct broker *broker, const struct broker_stream *streams, size_t stream_count,
                    const struct broker_group *groups, size_t group_count, broker_found_one *report,
                    void *context, int timeout_ms, struct error *err) MUST_CHECK;

/*
 * Removes from the front of the stream what every group has settled and what is older than keep_ms,
 * and, when the stream is more than half full, all that every group has settled. Never anything
 * unread or unsettled. Call it now and then.
 */
bool broker_trim(struct broker *broker, const char *stream, int64_t keep_ms, int timeout_ms,
                 struct error *err) MUST_CHECK;

/* ---- publish ---- */

struct broker_header {
    const char *name, *value;
};

struct broker_message {
    const char *stream, *subject;
    const char *id; /* at most 128 bytes; the same id inside the window is a duplicate */
    const struct broker_header *headers;
    size_t header_count;
    const void *data;
    size_t size;
};

struct broker_receipt {
    struct error error; /* code ERROR_NONE: stored; else the meaning of the codes above */
    bool duplicate;     /* stored before; sequence is the original's */
    char sequence[BROKER_SEQUENCE_SIZE];
};

typedef void broker_done(void *context, const struct broker_receipt *receipt);

/*
 * True: taken; done is called exactly once within timeout_ms, from a driver's thread, perhaps
 * before this returns. False: refused at once (INVALID, TOO_LARGE, UNAVAILABLE: too many pending,
 * CLOSED); done is not called. Two publishes that are pending together may be stored in either
 * order.
 */
bool broker_publish_async(struct broker *broker, const struct broker_message *message,
                          int timeout_ms, broker_done *done, void *context,
                          struct error *err) MUST_CHECK;

/* Waits for the answers. True: all are stored. False: err is that of the first that is not; every
 * receipt says what happened to its message. Stored in the order given when count is 1 each time.
 */
bool broker_publish(struct broker *broker, const struct broker_message *messages, size_t count,
                    int timeout_ms, struct broker_receipt *out_receipts,
                    struct error *err) MUST_CHECK;

/* ---- consume ---- */

struct broker_delivery {
    const char *subject, *id; /* id "" when it has none */
    const struct broker_header *headers;
    size_t header_count;
    const char *data; /* size bytes, not NUL-terminated */
    size_t size;
    unsigned attempt;     /* 1 the first time, crashes included */
    int64_t stored_ms;    /* when the broker stored it, by its clock */
    const char *sequence; /* in its stream */
};

struct broker_batch {
    const struct broker_delivery *deliveries;
    size_t count;
};

/* NULL when absent; any case. */
const char *broker_header(const struct broker_delivery *delivery, const char *name);

/* Binds to a declared group. The group's texts are borrowed until the consumer is closed. */
bool broker_open_consumer(struct broker_consumer **out, struct broker *broker,
                          const struct broker_group *group, struct error *err) MUST_CHECK;
void broker_close_consumer(struct broker_consumer *consumer);
AUTO_DEFINE(struct broker_consumer *, broker_close_consumer)

/*
 * Waits for the first message and returns at once with what is there: up to max messages and, after
 * the first, up to max_bytes. Nothing in timeout_ms: true with count 0. The batch must be settled
 * before the next fetch. Messages past max_attempts are dead-lettered on the way and not returned.
 */
bool broker_fetch(struct broker_consumer *consumer, size_t max, size_t max_bytes, int timeout_ms,
                  struct broker_batch *out, struct error *err) MUST_CHECK;

void broker_wake(struct broker_consumer *consumer); /* a waiting fetch returns; any thread */

enum broker_action { BROKER_DONE, BROKER_RETRY, BROKER_REJECT };

struct broker_verdict {
    enum broker_action action;
    int64_t delay_ms;   /* RETRY: 0 to 24 h from now */
    const char *reason; /* REJECT: stable, snake_case */
    const char *error;  /* REJECT: a sentence for people */
};

/*
 * verdicts[i] is for deliveries[i] of the last fetch; count must be the batch's. A rejected message
 * is settled only after its dead letter is stored. When it fails, what was not settled comes again.
 */
bool broker_settle(struct broker_consumer *consumer, const struct broker_verdict *verdicts,
                   size_t count, int timeout_ms, struct error *err) MUST_CHECK;

/*
 * Restarts the lease of what this consumer holds, while a batch is being worked on; otherwise there
 * is nothing to do. Any thread, a timer's for one; a settle that comes meanwhile waits for it.
 */
bool broker_extend(struct broker_consumer *consumer, struct error *err) MUST_CHECK;

/* Stops fetching, gives back what is read ahead, confirms every settlement. Then fetch: CLOSED. */
bool broker_drain_consumer(struct broker_consumer *consumer, int timeout_ms,
                           struct error *err) MUST_CHECK;

/* ---- inspect ---- */

struct broker_lag {
    int64_t unread;        /* never delivered to the group */
    int64_t in_flight;     /* delivered, not settled; */
    int64_t delayed;       /* of these, waiting for a retry, where the broker can tell; else 0 */
    int64_t oldest_age_ms; /* of the oldest that is not settled; 0 when there is none */
};

bool broker_lag(struct broker *broker, const char *stream, const char *group, int timeout_ms,
                struct broker_lag *out, struct error *err) MUST_CHECK;

typedef void broker_peeked(void *context, const struct broker_delivery *delivery);

/* Up to max messages from sequence `from` on ("": the first), without side effects. */
bool broker_peek(struct broker *broker, const char *stream, const char *from, size_t max,
                 broker_peeked *each, void *context, int timeout_ms, struct error *err) MUST_CHECK;

/*
 * Removes single messages, whatever groups think of them; those that are gone already are no error.
 * For streams without groups alone, DEAD for one: elsewhere it is INVALID, "has_consumers".
 */
bool broker_remove(struct broker *broker, const char *stream, const char *const *sequences,
                   size_t count, int timeout_ms, struct error *err) MUST_CHECK;

struct broker_stream_info {
    struct broker_stream settings; /* as the broker has them */
    uint64_t messages;
    int64_t bytes;
    char first[BROKER_SEQUENCE_SIZE], last[BROKER_SEQUENCE_SIZE]; /* "": it never had one */
};

struct broker_group_info {
    struct broker_group settings; /* as the broker has them; max_attempts 0: it does not say */
    struct broker_lag lag;
};

/* A stream (group is NULL), then each of its groups. The texts live for the call. */
typedef void broker_listed(void *context, const struct broker_stream_info *stream,
                           const struct broker_group_info *group);

/* All streams of the broker that a driver made, in the order of their names. */
bool broker_list(struct broker *broker, broker_listed *each, void *context, int timeout_ms,
                 struct error *err) MUST_CHECK;

enum broker_grade { BROKER_FINE, BROKER_NOTICE, BROKER_WRONG };

struct broker_finding {
    enum broker_grade grade;
    const char *subject; /* stable, snake_case: "server", "durability", "eviction", "clock", … */
    const char *fact;    /* a sentence: what is so, and what follows from it */
    const char *remedy;  /* what to do about it; "" when there is nothing to do */
};

typedef void broker_found_that(void *context, const struct broker_finding *finding);

/*
 * What a person has to know about this server: its version, which durability an acknowledgement
 * means there ("durability", always told), how full its store is, what of its configuration loses
 * messages, how far its clock is from ours where it tells the time. False: it could not be asked.
 */
bool broker_examine(struct broker *broker, broker_found_that *each, void *context, int timeout_ms,
                    struct error *err) MUST_CHECK;

struct broker_stats {
    uint64_t published, duplicates, publish_failures, publish_retries; /* messages */
    uint64_t delivered, redelivered, settled, retried, buried, reconnects;
    uint64_t pending; /* publishes without an answer, now */
    bool connected;
};

void broker_stats(const struct broker *broker, struct broker_stats *out);

#endif
