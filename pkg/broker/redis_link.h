/*
 * redis_link: one connection to a Redis server, whose every wait has an end.
 *
 * It connects when it is first used, and again when it is used after it broke. Commands are
 * collected, sent together, and their replies come in their order. A wait ends with its reply, at
 * until_ms, or when redis_link_wake is called. A link whose wait ended without its reply is thrown
 * away, not read on: what comes late must not answer the next command. When it is thrown away, the
 * replies that are still expected fail like the first one did.
 *
 * Ownership  A reply is the caller's: redis_reply_free.
 * Errors     UNAVAILABLE: not sent, it did not happen. UNKNOWN: sent, and no reply came. DENIED,
 *            INVALID: the server does not let us in as the URL has it. CLOSED, "woken". What the
 *            server refuses is a reply of type REDIS_REPLY_ERROR: redis_refusal makes an error of
 *            it.
 * Threads    one at a time, but for redis_link_wake.
 * Units      until_ms is clock_steady_ms.
 */
#ifndef BROKER_REDIS_LINK_H
#define BROKER_REDIS_LINK_H

#include "base/error.h"
#include "broker/redis_reply.h"

#include <stdint.h>

#define REDIS_WOKEN "woken" /* the reason of the error when redis_link_wake ended a wait */

struct redis_address; /* host, port, user, password, database, TLS: what the URL says */

/* redis://[[user]:password@]host[:port][/database], or rediss:// where hiredis has TLS. User and
 * password may have %xx. No message of ours shows them. */
bool redis_address_parse(struct redis_address **out, const char *url, struct error *err) MUST_CHECK;
void redis_address_free(struct redis_address *address);

struct redis_link;

/* Told from the thread that uses the link: connected; or not any more, or the first attempt failed.
 * Not of redis_link_drop. */
typedef void redis_link_changed(void *context, bool connected, const char *detail);

struct redis_link *redis_link_new(const struct redis_address *address, /* borrowed */
                                  const char *name,                    /* CLIENT SETNAME */
                                  redis_link_changed *changed,         /* NULL: nobody asks */
                                  void *context);
void redis_link_free(struct redis_link *link);

/* Connects where it is not: one attempt, after the growing, jittered pause since the last one that
 * failed. At until_ms it is UNAVAILABLE; an attempt that is under way goes on at the next call. */
bool redis_link_ready(struct redis_link *link, int64_t until_ms, struct error *err) MUST_CHECK;
bool redis_link_is_connected(const struct redis_link *link);
unsigned redis_link_connections(const struct redis_link *link); /* how many so far: one more and
                                                                   subscriptions are gone */
void redis_link_drop(struct redis_link *link); /* closes the socket; the next use connects anew */

/* The same, as a loss that is told and followed by a pause: it has not answered for too long. */
void redis_link_give_up(struct redis_link *link, const char *why);

/* Ends the wait that is going on, or the next one: ERROR_CLOSED with the reason REDIS_WOKEN. Only
 * redis_link_wait and redis_link_ready leave the link good then. Any thread. */
void redis_link_wake(struct redis_link *link);

/* Collects a command. sizes NULL: the arguments are texts. */
void redis_link_append(struct redis_link *link, int count, const char **arguments,
                       const size_t *sizes);

/* Sends what is collected and waits for the next reply. */
bool redis_link_reply(struct redis_link *link, int64_t until_ms, redisReply **out,
                      struct error *err) MUST_CHECK;

/* As redis_link_reply, but a wait that ends without a reply (TIMEOUT, or CLOSED "woken") leaves the
 * command in flight: call it again, or drop the link. For the doorbell's blocking read. When no
 * reply is expected it waits for what the server pushes, and never connects. */
bool redis_link_wait(struct redis_link *link, int64_t until_ms, redisReply **out,
                     struct error *err) MUST_CHECK;

/* One command and its reply. An error reply is false, as redis_refusal has it. */
bool redis_link_call(struct redis_link *link, int count, const char **arguments,
                     const size_t *sizes, int64_t until_ms, redisReply **out,
                     struct error *err) MUST_CHECK;

/* ---- requests ---- */

struct redis_script {
    const char *name; /* for messages */
    const char *text;
};

/*
 * A command or a script. Of a script's arguments [0] and [1] are left free (the command and the
 * hash are put there on the wire, and the number of keys behind them): [2] is the first key. count
 * and sizes include the two; keys is how many of the rest are keys.
 */
struct redis_request {
    const struct redis_script *script; /* NULL: a plain command */
    int keys, count;
    const char **arguments;
    const size_t *sizes; /* NULL: texts */
};

/* Asks, and waits for the reply: a script by EVALSHA, and SCRIPT LOAD first where the server does
 * not know it (a restart forgets scripts). An error reply is false, as redis_refusal has it. */
bool redis_link_ask(struct redis_link *link, const struct redis_request *request, int64_t until_ms,
                    redisReply **out, struct error *err) MUST_CHECK;

/* ---- scripts in a pipeline ---- */

/* A reply that says that the server has forgotten it: nothing was done. */
bool redis_script_is_missing(const redisReply *reply);

/* Loads it, while no call of it is in flight; the reply is to be given to redis_link_loaded. */
void redis_link_append_load(struct redis_link *link, const struct redis_script *script);
bool redis_link_loaded(struct redis_link *link, const struct redis_script *script,
                       const redisReply *reply, struct error *err) MUST_CHECK;

/* A script call whose arguments (keys first, `count` of them in all) the caller puts behind it
 * himself: texts, or bytes as they are on the wire. */
void redis_link_begin_script(struct redis_link *link, const struct redis_script *script,
                             size_t keys, size_t count);
void redis_link_argument(struct redis_link *link, const char *text);
void redis_link_put(struct redis_link *link, const char *bytes, size_t size);

/* ---- refusals ---- */

/*
 * What an error reply means: LOADING, BUSY, MASTERDOWN, READONLY, CLUSTERDOWN, TRYAGAIN, UNBLOCKED:
 * UNAVAILABLE; OOM, MISCONF: FULL; NOAUTH, WRONGPASS, NOPERM: DENIED; NOGROUP, our own "NOSTREAM":
 * NOT_FOUND; our own "FULL": FULL; our own "CONFLICT": CONFLICT; the rest: INVALID. The reason is
 * stable: REDIS_NO_STREAM and so on. `retry` says whether trying again may help; NULL: not asked.
 */
#define REDIS_NO_STREAM "stream_not_found"
#define REDIS_NO_GROUP "consumer_not_found"
#define REDIS_STREAM_FULL "stream_full"

void redis_refusal(const redisReply *reply, struct error *err, bool *out_retry);

/* READONLY, MASTERDOWN: another server is to be asked, who may have the same name. */
bool redis_refusal_is_elsewhere(const struct error *refusal);

#endif
