/*
 * dead_letter: what could not be done, with everything needed to understand and replay it.
 *
 * A dead letter is a message in the stream DEAD under "dead.<stream>.<consumer>" with the original
 * bytes, the original headers (the broker's own `Nats-…` ones left out) and the headers below. Its
 * id is "dead:<stream>:<consumer>:<sequence>[:<part>]", so that writing it again is a duplicate.
 *
 * A message that carries several events (one line each) is buried in parts: the line that failed is
 * a dead letter of its own, and the message itself is settled as done.
 *
 * A replay carries along which message it repeats: DEAD_REPLAYS, DEAD_SEQUENCE, DEAD_FIRST and,
 * where there is one, DEAD_ID and DEAD_PART. They go into its next dead letter, so that these
 * always name the original, however often it was replayed; only the letter's own id is of the
 * replay.
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
#define DEAD_PART "dead-part" /* the line, from 1; absent for a whole message */
#define DEAD_SIZE                                                                                  \
    "dead-size"                      /* bytes of the original; only when it had to be cut to fit,  \
                                      * or when not all of its headers fitted */
#define DEAD_ID "dead-id"            /* the original message id */
#define DEAD_FIRST "dead-first-time" /* RFC 3339: stored in its stream */
#define DEAD_REPLAYS "dead-replays"  /* how often it was replayed before; absent: never */
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

/*
 * What a delivery is a delivery of: itself, or the message that it is a replay of, or was on the
 * broker that it was moved from (transfer.h). Who names what he stores by the id, place or time of
 * a message takes them from here, so that what is stored already is not stored again. Texts are the
 * delivery's.
 */
struct dead_origin {
    const char *id, *sequence; /* id "" when it has none */
    int64_t stored_ms;
    unsigned part;    /* the line that it was, from 1; 0: a whole message */
    unsigned replays; /* 0: it was never replayed */
};

struct dead_origin dead_letter_origin(const struct broker_delivery *delivery);

/* Is it one that the original came with, not a dead letter's or the broker's own? */
bool dead_header_is_original(const struct broker_header *header);

/* ---- afterwards ---- */

/* What a letter must say to be meant; NULL or 0: anything. */
struct dead_filter {
    const char *stream, *consumer, *reason;
    const char *sequence;       /* the one letter at this place of DEAD */
    int64_t since_ms, until_ms; /* given up at since_ms or later, and before until_ms */
};

bool dead_filter_is_empty(const struct dead_filter *filter);

/*
 * Shows up to max letters that the filter means, from sequence `from` on ("": the first). next is
 * where to go on, "" when all of DEAD was looked at; a page ends early when its time is over.
 * Without side effects.
 */
struct dead_page {
    const char *from;
    size_t max;
    size_t count;                    /* out: letters shown */
    char next[BROKER_SEQUENCE_SIZE]; /* out */
};

bool dead_letter_list(struct broker *broker, const struct dead_filter *filter,
                      struct dead_page *page, broker_peeked *each, void *context, int timeout_ms,
                      struct error *err) MUST_CHECK;

/* The letter at this sequence of DEAD: each runs once. NOT_FOUND when there is none. */
bool dead_letter_get(struct broker *broker, const char *sequence, broker_peeked *each,
                     void *context, int timeout_ms, struct error *err) MUST_CHECK;

/* How far one call of replay or purge goes. */
struct dead_work {
    const char *from; /* a sequence of DEAD; "": the first */
    size_t max;       /* letters, at most */
    bool dry_run;     /* only count */
    int per_second;   /* replay: at most so many; 0: as fast as it goes */

    /* out */
    size_t matched; /* letters that the filter means */
    size_t done;    /* replayed or removed; 0 on a dry run */
    size_t cut;     /* replay: left alone, what is stored is not all of the original */
    char next[BROKER_SEQUENCE_SIZE]; /* where to go on; "": all of DEAD was looked at */

    /* in and out, of replay; begin with zeros and keep them while going on from next: */
    char end[BROKER_SEQUENCE_SIZE]; /* it goes no further, so that what fails again is not replayed
                                     * again; "": up to where DEAD ends now */
    int64_t due_ms;                 /* whose turn it is not before, by the steady clock */
};

/*
 * Publishes the original bytes again to where they came from, under the id "<id>~r<n>", so that
 * they are delivered even inside the dedup window; n, which the header DEAD_REPLAYS carries on,
 * counts the replays of this message. <id> is "<stream>:<sequence>" for one that had none, gets
 * "~p<part>" for a part, and gives way to a hash when it is too long. The original headers go
 * along, and what dead_letter_origin needs, so that the event stays the same event: who stored it
 * already stores nothing. A letter is removed once its message is stored; when that fails in
 * between, replaying it again is a duplicate. All groups of the stream get the message, not only
 * the one that gave it up.
 *
 * Goes on until max, the end of DEAD or the end of its time; what was done until then counts, also
 * when it fails: then err names the letter, and next is the first that is still there.
 */
bool dead_letter_replay(struct broker *broker, const struct dead_filter *filter,
                        struct dead_work *work, int timeout_ms, struct error *err) MUST_CHECK;

/* Removes letters for good. A filter that means everything is INVALID, "empty_filter". */
bool dead_letter_purge(struct broker *broker, const struct dead_filter *filter,
                       struct dead_work *work, int timeout_ms, struct error *err) MUST_CHECK;

#endif
