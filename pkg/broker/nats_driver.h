/*
 * nats_driver: what the files of the JetStream driver know of each other. See broker_nats.c.
 *
 * Four connections, because what is good for one use is bad for another:
 *     quick   publishes while few are under way; every write is flushed, a lone one takes 30 us
 *     bulk    publishes under load; the library collects writes for a millisecond
 *     pull    deliveries, requests, the settlements of small batches; every write is flushed
 *     settle  the settlements of large batches, collected
 * Every listener and every watch has one more of its own: what comes there comes unasked, and as
 * fast as others make it.
 */
#ifndef BROKER_NATS_DRIVER_H
#define BROKER_NATS_DRIVER_H

#include "base/document.h"
#include "broker/nats_connection.h"
#include "broker/nats_refusal.h"

#include <stdatomic.h>

struct nats_publisher;

struct nats_broker {
    struct broker base;
    char *url; /* what listeners and watches connect to */
    struct nats_denials denials;
    struct nats_connection quick, bulk, pull, settle;
    struct nats_publisher *publisher;
};

static inline struct nats_broker *nats_broker_of(struct broker *broker)
{
    return CONTAINER_OF(broker, struct nats_broker, base);
}

/* ---- nats_publish.c ---- */

/* New before the connections are opened, which it listens to; start when they are. */
struct nats_publisher *nats_publisher_new(struct nats_broker *broker);
bool nats_publisher_start(struct nats_publisher *publisher, struct error *err) MUST_CHECK;

/* Stop: what had no answer gets UNKNOWN or CLOSED. Free it when both connections are closed: no
 * call of `done` comes after that. */
void nats_publisher_stop(struct nats_publisher *publisher);
void nats_publisher_free(struct nats_publisher *publisher);

bool nats_publish_async(struct broker *broker, const struct broker_message *message, int timeout_ms,
                        broker_done *done, void *context, struct error *err);
bool nats_drain(struct broker *broker, int timeout_ms, struct error *err);

/* ---- nats_api.c ---- */

/*
 * A request to "$JS.API.<subject>", repeated while nobody answers, until until_ms (steady). True:
 * *out is the answer. False: what the server refused, with the reasons of nats_refusal.h; or
 * DENIED, or UNAVAILABLE when there was no answer. Only for requests that may be repeated.
 */
bool nats_api(struct nats_broker *broker, const char *subject, const char *body, int64_t until_ms,
              struct document **out, struct error *err) MUST_CHECK;

/* A request whose answer is a list in pages; each is called for each of its elements. */
struct nats_pages {
    const char *subject, *list; /* "STREAM.NAMES", "streams" */
    void (*each)(void *context, const struct document *page, int i);
    void *context;
};

bool nats_api_pages(struct nats_broker *broker, const struct nats_pages *pages, int64_t until_ms,
                    struct error *err) MUST_CHECK;

/*
 * Each of the things that have a name, with what the server says of it: its own answer to INFO. In
 * a cluster LIST waits 4 s for whoever has no leader at the moment, and then leaves that one out.
 * What is deleted meanwhile is passed over. each returns false to end it, with err set.
 */
struct nats_things {
    const char *names, *list; /* "CONSUMER.NAMES.S", "consumers" */
    const char *info;         /* "CONSUMER.INFO.S." */
    bool (*each)(void *context, const struct document *info, struct error *err);
    void *context;
};

bool nats_api_each(struct nats_broker *broker, const struct nats_things *things, int64_t until_ms,
                   struct error *err) MUST_CHECK;

/* The pause before a request is repeated; it ends early when the connection comes or goes. */
void nats_pause(struct nats_connection *connection, unsigned attempt, int64_t until_ms);

/* ---- nats_topology.c ---- */

bool nats_declare(struct broker *broker, const struct broker_declaration *declaration,
                  int timeout_ms, struct error *err);

/* Makes the group's consumer; it starts at `from`, or, when that is 0, at the first message. */
bool nats_create_consumer(struct nats_broker *broker, const struct broker_group *group,
                          uint64_t from, int64_t until_ms, struct error *err) MUST_CHECK;

/* ---- nats_pull.c ---- */

bool nats_open_consumer(struct broker_consumer **out, struct broker *broker,
                        const struct broker_group *group, struct error *err);
void nats_close_consumer(struct broker_consumer *consumer);
bool nats_fetch(struct broker_consumer *consumer, size_t max, size_t max_bytes, int timeout_ms,
                struct error *err);
void nats_wake(struct broker_consumer *consumer);
bool nats_settle(struct broker_consumer *consumer, const struct broker_verdict *verdicts,
                 bool confirm, int timeout_ms, struct error *err);
bool nats_extend(struct broker_consumer *consumer, struct error *err);
bool nats_drain_consumer(struct broker_consumer *consumer, int timeout_ms, struct error *err);

/* ---- nats_inspect.c ---- */

bool nats_ping(struct broker *broker, int timeout_ms, struct error *err);
bool nats_lag(struct broker *broker, const char *stream, const char *group, int timeout_ms,
              struct broker_lag *out, struct error *err);
bool nats_peek(struct broker *broker, const char *stream, const char *from, size_t max,
               broker_peeked *each, void *context, int timeout_ms, struct error *err);
bool nats_trim(struct broker *broker, const char *stream, int64_t keep_ms, int timeout_ms,
               struct error *err);

/* Where to look, and how long. */
struct nats_view {
    struct nats_broker *broker;
    const char *stream;
    int64_t until_ms;
};

/* The lag of the consumer that the server says this of. */
bool nats_measure(const struct nats_view *view, const struct document *info, struct broker_lag *out,
                  struct error *err) MUST_CHECK;

/* Calls each once, with the message in the answer of STREAM.MSG.GET. */
bool nats_show(const struct document *stored, broker_peeked *each, void *context,
               struct error *err) MUST_CHECK;

/* The time in ms at the path, RFC 3339; a server's answers carry its own as "ts" from 2.10 on. */
int64_t nats_time_at(const struct document *document, const char *path, int64_t fallback);

bool nats_sequence_parse(const char *text, uint64_t *out, struct error *err) MUST_CHECK;

/* ---- nats_remove.c, nats_list.c, nats_examine.c ---- */

bool nats_remove(struct broker *broker, const char *stream, const char *const *sequences,
                 size_t count, int timeout_ms, struct error *err);
bool nats_list(struct broker *broker, broker_listed *each, void *context, int timeout_ms,
               struct error *err);
bool nats_examine(struct broker *broker, broker_found_that *each, void *context, int timeout_ms,
                  struct error *err);

/* ---- nats_announce.c ---- */

bool nats_announce(struct broker *broker, const char *topic, const void *data, size_t size,
                   struct error *err);
bool nats_listen(struct broker_listener **out, struct broker *broker, const char *pattern,
                 broker_hear *hear, void *context, struct error *err);
void nats_unlisten(struct broker_listener *listener);

/* ---- nats_state.c ---- */

bool nats_state_get(struct broker *broker, const char *bucket, const char *key, broker_see *see,
                    void *context, int timeout_ms, struct error *err);
bool nats_state_put(struct broker *broker, const char *bucket, const struct broker_value *value,
                    uint64_t expected, int timeout_ms, uint64_t *out_revision, struct error *err);
bool nats_state_delete(struct broker *broker, const char *bucket, const char *key,
                       uint64_t expected, int timeout_ms, struct error *err);

/* ---- nats_watch.c ---- */

bool nats_watch(struct broker_watch **out, struct broker *broker, const char *bucket,
                const char *pattern, broker_see *see, void *context, struct error *err);
void nats_unwatch(struct broker_watch *watch);

#endif
