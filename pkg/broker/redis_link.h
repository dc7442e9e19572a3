/*
 * redis_link: one connection to a Redis server, whose every wait has an end.
 *
 * It connects when it is first used, and again when it is used after it broke. Commands are
 * collected, sent together, and their replies come in their order. A wait ends with its reply, at
 * until_ms, or when redis_link_wake is called. A link whose wait ended without its reply is thrown
 * away, not read on: what comes late must not answer the next command.
 *
 * Ownership  A reply is the caller's: freeReplyObject.
 * Errors     UNAVAILABLE: not sent, it did not happen. UNKNOWN: sent, and no reply came. What the
 *            server refuses is a reply of type REDIS_REPLY_ERROR: redis_refusal makes an error of
 * it. Threads    one at a time, but for redis_link_wake. Units      until_ms is clock_steady_ms.
 */
#ifndef BROKER_REDIS_LINK_H
#define BROKER_REDIS_LINK_H

#include "base/error.h"

#include <hiredis/hiredis.h>
#include <stdint.h>

struct redis_address; /* host, port, user, password, database, TLS: what the URL says */

/* redis://[[user]:password@]host[:port][/database], or rediss:// where hiredis has TLS. */
bool redis_address_parse(struct redis_address **out, const char *url, struct error *err) MUST_CHECK;
void redis_address_free(struct redis_address *address);

struct redis_link;

/* Told from the thread that uses the link. */
typedef void redis_link_changed(void *context, bool connected, const char *detail);

struct redis_link *redis_link_new(const struct redis_address *address, /* borrowed */
                                  const char *name,                    /* CLIENT SETNAME */
                                  redis_link_changed *changed,         /* NULL: nobody asks */
                                  void *context);
void redis_link_free(struct redis_link *link);

/* Connects where it is not; again not before a growing, jittered pause is over (then UNAVAILABLE at
 * once or at until_ms). */
bool redis_link_ready(struct redis_link *link, int64_t until_ms, struct error *err) MUST_CHECK;
bool redis_link_is_connected(const struct redis_link *link);
void redis_link_drop(struct redis_link *link); /* closes the socket; the next use connects anew */

/* Ends the wait that is going on, or the next one: ERROR_CLOSED with the reason "woken", and the
 * link stays good for a link that waits with redis_link_wait alone. Any thread. */
void redis_link_wake(struct redis_link *link);

/* Collects a command. sizes NULL: the arguments are texts. */
void redis_link_append(struct redis_link *link, int count, const char **arguments,
                       const size_t *sizes);

/* Sends what is collected and waits for the next reply. */
bool redis_link_reply(struct redis_link *link, int64_t until_ms, redisReply **out,
                      struct error *err) MUST_CHECK;

/* As redis_link_reply, but a wait that ends without a reply (TIMEOUT, or CLOSED "woken") leaves the
 * command in flight: call it again, or drop the link. For the doorbell's blocking read. */
bool redis_link_wait(struct redis_link *link, int64_t until_ms, redisReply **out,
                     struct error *err) MUST_CHECK;

/* One command and its reply. An error reply is false, as redis_refusal has it. */
bool redis_link_call(struct redis_link *link, int count, const char **arguments,
                     const size_t *sizes, int64_t until_ms, redisReply **out,
                     struct error *err) MUST_CHECK;

/* ---- scripts ---- */

struct redis_script {
    const char *name; /* for messages */
    const char *text;
    char sha[41]; /* "" until it is first used; the same in every thread */
};

/*
 * EVALSHA, and SCRIPT LOAD first where the server does not know it (a restart forgets scripts).
 * arguments[0] and [1] are left free for the command and the hash; keys is how many of the rest are
 * keys. The text must be safe to run again: a reply may be lost.
 */
bool redis_link_script(struct redis_link *link, const struct redis_script *script, int keys,
                       int count, const char **arguments, const size_t *sizes, int64_t until_ms,
                       redisReply **out, struct error *err) MUST_CHECK;

/* ---- refusals ---- */

/*
 * What an error reply means: LOADING, BUSY, MASTERDOWN, READONLY, CLUSTERDOWN, TRYAGAIN, UNBLOCKED:
 * UNAVAILABLE; OOM, MISCONF: FULL; NOAUTH, WRONGPASS, NOPERM: DENIED; NOGROUP, our own "NOSTREAM":
 * NOT_FOUND; our own "FULL": FULL; the rest: INVALID. `retry` says whether trying again may help.
 */
void redis_refusal(const redisReply *reply, struct error *err, bool *out_retry);

#endif
