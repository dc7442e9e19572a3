/*
 * dead_letter: what could not be done, with everything needed to understand and replay it.
 *
 * A dead letter is a message in the stream DEAD under "dead.<stream>.<consumer>" with the original
 * bytes, the original headers (the broker's own `Nats-…` ones left out) and the headers below. Its
 * id is "dead:<stream>:<consumer>:<sequence>[:<part>]", so that writing it again is a duplicate.
 *
 * A message that carries several events (one line each) is buried in parts: the line that failed is
 * a dead letter of its own, and the message itself is settled as done.
 */
#ifndef BROKER_DEAD_LETTER_H
#define BROKER_DEAD_LETTER_H

#include "broker/broker.h"

#define DEAD_STREAM "DEAD"
#define DEAD_SUBJECTS "dead.>"

#define DEAD_REASON "dead-reason"     /* stable, snake_case: "json_syntax", "max_attempts", … */
#define DEAD_ERROR "dead-error"       /* a sentence for people */
#define DEAD_ATTEMPTS "dead-attempts" /* deliveries so far */
#define DEAD_ORIGIN "dead-stream"
#define DEAD_SUBJECT "dead-subject"
#define DEAD_SEQUENCE "dead-sequence"
#define DEAD_CONSUMER "dead-consumer"
#define DEAD_PART "dead-part"        /* the line, from 1; absent for a whole message */
#define DEAD_SIZE "dead-size"        /* bytes of the original; only when it had to be cut to fit */
#define DEAD_ID "dead-id"            /* the original message id */
#define DEAD_FIRST "dead-first-time" /* RFC 3339: stored in its stream */
#define DEAD_LAST "dead-last-time"   /* RFC 3339: given up */

struct dead_part {
    size_t delivery; /* index in the batch that is being worked on */
    unsigned number; /* of the part in its message, from 1 */
    const void *data;
    size_t size;
    const char *reason, *error;
};

/* Stores the parts' dead letters; the deliveries stay the consumer's to settle. */
bool dead_letter_bury(struct broker_consumer *consumer, const struct dead_part *parts, size_t count,
                      int timeout_ms, struct error *err) MUST_CHECK;

/* ---- afterwards ---- */

/* What a letter must say to be meant; NULL: anything. */
struct dead_filter {
    const char *stream, *consumer, *reason;
};

/*
 * Shows those of up to max letters, from sequence `from` on ("": the first), that the filter means.
 * next is where to go on, "" when there are no more. Without side effects.
 */
struct dead_page {
    const char *from;
    size_t max;
    char next[BROKER_SEQUENCE_SIZE]; /* out */
};

bool dead_letter_list(struct broker *broker, const struct dead_filter *filter,
                      struct dead_page *page, broker_peeked *each, void *context, int timeout_ms,
                      struct error *err) MUST_CHECK;

/* The letter at this sequence of DEAD: each runs once. NOT_FOUND when there is none. */
bool dead_letter_get(struct broker *broker, const char *sequence, broker_peeked *each,
                     void *context, int timeout_ms, struct error *err) MUST_CHECK;

/*
 * Publishes the original bytes again to where they came from, under the id "<id>~r<n>", so that
 * they are delivered even inside the dedup window; n counts the replays. With dry_run it only
 * counts. Purge removes letters; a filter that means everything is refused. A driver that cannot
 * remove a single message says so: ERROR_INVALID, "unsupported".
 */
bool dead_letter_replay(struct broker *broker, const struct dead_filter *filter, bool dry_run,
                        int per_second, int timeout_ms, size_t *out_count,
                        struct error *err) MUST_CHECK;
bool dead_letter_purge(struct broker *broker, const struct dead_filter *filter, int timeout_ms,
                       size_t *out_count, struct error *err) MUST_CHECK;

#endif
