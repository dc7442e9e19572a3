/*
 * redis_driver: what the files of the Redis Streams driver know of each other, and what they keep
 * in the server. See broker_redis.c.
 *
 * Everything of a stream S is in one hash slot:
 *
 *     {millrace:S}             the stream. An entry is: subject, Nats-Msg-Id, data, then the
 *                              headers under their own names; the first three are told by their
 *                              place
 *     {millrace:S}:meta        hash: subjects, max_bytes, dedup_window_ms, replicas, telemetry;
 *                              bytes (of subject, id, data and headers of what is stored);
 *                              largest = the most of them that a message ever had;
 *                              group:<g> = its settings, position:<g> = the last entry that was
 *                              ever handed out, dropped = entries a telemetry stream gave up.
 *                              Without it there is no stream: every script refuses with "NOSTREAM"
 *     {millrace:S}:id:<id>     the entry of a message id, for the dedup window
 *     {millrace:S}:lease:<g>   sorted set of entries in flight, by the time their lease ends
 *     {millrace:S}:delay:<g>   sorted set of entries that wait for a retry, by their time
 *     {millrace:state:B}       hash of a bucket: key = "<revision> <bytes>"
 *     {millrace:state:B}:log   stream of its changes, cut at its oldest end; its ids are
 *                              "<revision>-0"
 *     millrace:streams         set of the streams' names
 *
 * Times are milliseconds of the server's clock (TIME, asked in the scripts). A group has one Redis
 * consumer, "millrace": who holds what is said by the leases, so there are no consumers to clean
 * up, and XPENDING's delivery counter is the attempt. Entries in the group's pending list without a
 * lease (an older client, a manual read) get one within a minute.
 */
#ifndef BROKER_REDIS_DRIVER_H
#define BROKER_REDIS_DRIVER_H

#include "broker/broker_driver.h"
#include "broker/redis_link.h"

#define REDIS_CONSUMER "millrace"
#define REDIS_STREAMS "millrace:streams"
#define REDIS_KEY_SIZE 640 /* of any key, with the NUL */

#define REDIS_FIELD_SUBJECT "subject"
#define REDIS_FIELD_ID "Nats-Msg-Id"
#define REDIS_FIELD_DATA "data"

struct redis_publisher;
struct redis_announcer;

struct redis_broker {
    struct broker base;
    struct redis_address *address;
    struct redis_publisher *publisher;
    struct redis_announcer *announcer;

    pthread_mutex_t control_lock;
    pthread_cond_t control_free;
    bool control_busy;          /* guarded by control_lock */
    struct redis_link *control; /* of who has set control_busy */

    bool was_connected, told_away; /* the publisher's thread's: its link's life so far */

    pthread_mutex_t told_lock;
    unsigned told_count; /* guarded by told_lock, with everything below it */
    char told[16][280];  /* the latest refusals that were told, a ring */
};

static inline struct redis_broker *redis_broker_of(struct broker *broker)
{
    return CONTAINER_OF(broker, struct redis_broker, base);
}

/* Prints "{millrace:<stream>}<suffix><name>", with suffix "" or ":lease:" and so on. */
const char *redis_key(char key[REDIS_KEY_SIZE], const char *stream, const char *suffix,
                      const char *name);

/*
 * A request on the control link. It is tried again while the server is away or says "later", until
 * until_ms: only for what may be repeated.
 */
bool redis_control(struct redis_broker *broker, const struct redis_request *request,
                   int64_t until_ms, redisReply **out, struct error *err) MUST_CHECK;

/* Observes BROKER_REFUSED, once for each cause, when the error is DENIED. redis_control does so by
 * itself. Any thread. */
void redis_refused(struct redis_broker *broker, const struct error *refusal);

/* The publisher's link's `changed`: counts and observes; context is the struct redis_broker. */
void redis_link_observed(void *context, bool connected, const char *detail);

/*
 * The entry (an array of id and fields) as a delivery: text and bytes stay the reply's, headers is
 * room for its headers, as many as redis_header_count says. False: not an entry of ours; then what
 * can be told of it is told, with all fields as headers and no data.
 */
size_t redis_header_count(const redisReply *entry);
bool redis_entry_read(const redisReply *entry, struct broker_header *headers,
                      struct broker_delivery *out);

/* ---- redis_publish.c: one link, a thread that sends and reads ---- */

bool redis_publisher_start(struct redis_publisher **out, struct redis_broker *broker,
                           struct error *err) MUST_CHECK;
/* What had no answer gets UNKNOWN or CLOSED; no call of `done` comes after it. */
void redis_publisher_stop(struct redis_publisher *publisher);
bool redis_publish_async(struct broker *broker, const struct broker_message *message,
                         int timeout_ms, broker_done *done, void *context, struct error *err);
bool redis_drain(struct broker *broker, int timeout_ms, struct error *err);

/* ---- redis_topology.c ---- */

bool redis_declare(struct broker *broker, const struct broker_declaration *declaration,
                   int timeout_ms, struct error *err);
bool redis_trim(struct broker *broker, const char *stream, int64_t keep_ms, int timeout_ms,
                struct error *err);
bool redis_remove(struct broker *broker, const char *stream, const char *const *sequences,
                  size_t count, int timeout_ms, struct error *err);

/* Makes a group that is gone again at its recorded position, with what was leased or delayed still
 * pending; at the beginning when nothing is recorded. False with NOT_FOUND: the stream is gone, or
 * the group was never declared. */
bool redis_group_recreate(struct redis_broker *broker, const char *stream, const char *group,
                          int64_t until_ms, struct error *err) MUST_CHECK;

/* ---- redis_inspect.c ---- */

/* INVALID where the text is not an entry's id, "<ms>-<number>" or "<ms>". */
bool redis_check_sequence(const char *text, struct error *err) MUST_CHECK;

bool redis_lag(struct broker *broker, const char *stream, const char *group, int timeout_ms,
               struct broker_lag *out, struct error *err);
bool redis_peek(struct broker *broker, const char *stream, const char *from, size_t max,
                broker_peeked *each, void *context, int timeout_ms, struct error *err);

/* ---- redis_list.c, redis_examine.c ---- */

bool redis_list(struct broker *broker, broker_listed *each, void *context, int timeout_ms,
                struct error *err);
bool redis_examine(struct broker *broker, broker_found_that *each, void *context, int timeout_ms,
                   struct error *err);

/* ---- redis_fetch.c, redis_settle.c ---- */

bool redis_open_consumer(struct broker_consumer **out, struct broker *broker,
                         const struct broker_group *group, struct error *err);
void redis_close_consumer(struct broker_consumer *consumer);
bool redis_fetch(struct broker_consumer *consumer, size_t max, size_t max_bytes, int timeout_ms,
                 struct error *err);
void redis_wake(struct broker_consumer *consumer);
bool redis_settle(struct broker_consumer *consumer, const struct broker_verdict *verdicts,
                  bool confirm, int timeout_ms, struct error *err);
bool redis_extend(struct broker_consumer *consumer, struct error *err);
bool redis_drain_consumer(struct broker_consumer *consumer, int timeout_ms, struct error *err);

/* ---- redis_announce.c, redis_state.c, redis_watch.c ---- */

struct redis_announcer *redis_announcer_new(const struct redis_broker *broker);
void redis_announcer_free(struct redis_announcer *announcer);

bool redis_announce(struct broker *broker, const char *topic, const void *data, size_t size,
                    struct error *err);
bool redis_listen(struct broker_listener **out, struct broker *broker, const char *pattern,
                  broker_hear *hear, void *context, struct error *err);
void redis_unlisten(struct broker_listener *listener);
bool redis_state_get(struct broker *broker, const char *bucket, const char *key, broker_see *see,
                     void *context, int timeout_ms, struct error *err);
bool redis_state_put(struct broker *broker, const char *bucket, const struct broker_value *value,
                     uint64_t expected, int timeout_ms, uint64_t *out_revision, struct error *err);
bool redis_state_delete(struct broker *broker, const char *bucket, const char *key,
                        uint64_t expected, int timeout_ms, struct error *err);
bool redis_watch(struct broker_watch **out, struct broker *broker, const char *bucket,
                 const char *pattern, broker_see *see, void *context, struct error *err);
void redis_unwatch(struct broker_watch *watch);

#endif
