/*
 * What a broker driver provides. Only pkg/broker includes this file.
 *
 * To add a driver: write broker_<name>.c whose only external symbol is `broker_<name>`, add it to
 * the table in broker.c, and run tests/conformance against it. broker.c has checked the arguments
 * already and does once for all drivers: blocking publish over publish_async, the attempt limit,
 * dead letters, statistics of deliveries, error context. A driver embeds struct broker and struct
 * broker_consumer as the first members of its own and calls broker_observe for incidents.
 *
 * open      gets options that are never NULL and have their defaults, and copies them into its
 *           struct broker before any thread of its own can call broker_observe.
 * counters  broker.c counts what is delivered, settled, retried and buried; the driver the rest.
 * fetch     fills consumer->batch; a delivery's index in it is how settle names it.
 * settle    one verdict for each of the batch; only DONE and RETRY reach a driver. The batch is
 *           over when it returns, whatever it returns. `confirm` asks that the settlements are
 * known to have arrived before it returns (used for dead letters and draining). extend    is called
 * only while a batch is being worked on, from any thread, and never together with another operation
 * of the same consumer but wake. NULL      An operation that is NULL is unsupported; broker.c says
 * so to the caller.
 */
#ifndef BROKER_BROKER_DRIVER_H
#define BROKER_BROKER_DRIVER_H

#include "broker/announce.h"
#include "broker/broker.h"

#include <pthread.h>
#include <stdatomic.h>

struct broker_counters {
    _Atomic uint64_t published, duplicates, publish_failures, publish_retries;
    _Atomic uint64_t delivered, redelivered, settled, retried, buried, reconnects, pending;
    atomic_bool connected;
};

struct broker {
    const struct broker_driver *driver;
    struct broker_options options;
    struct broker_counters counters;
};

struct broker_consumer {
    struct broker *broker;            /* borrowed */
    const struct broker_group *group; /* borrowed */
    struct broker_delivery *batch;    /* the driver's; batch_count of them are being worked on */
    size_t batch_count;
    bool drained;

    pthread_mutex_t lock; /* broker.c's: what is worked on is extended or settled, not both */
    bool working;         /* guarded by lock: between a fetch that brought something and settle */

    /* broker.c's own: what the caller sees of the batch. */
    struct broker_batch shown;
    struct broker_gate *gate; /* NULL while nothing of the batch is hidden */
};

/* A driver's listener and watch start with these; broker.c fills them in. */
struct broker_listener {
    struct broker *broker; /* borrowed */
};

struct broker_watch {
    struct broker *broker; /* borrowed */
};

struct broker_declaration {
    const struct broker_stream *streams;
    size_t stream_count;
    const struct broker_group *groups;
    size_t group_count;
    broker_found_one *report; /* never NULL */
    void *context;
};

struct broker_driver {
    const char *scheme;
    const char *secure_scheme; /* the same over TLS; NULL: the URL does not say so */
    bool (*open)(struct broker **out, const char *url, const struct broker_options *options,
                 struct error *err);
    void (*close)(struct broker *broker);
    bool (*ping)(struct broker *broker, int timeout_ms, struct error *err);
    bool (*drain)(struct broker *broker, int timeout_ms, struct error *err);
    bool (*declare)(struct broker *broker, const struct broker_declaration *declaration,
                    int timeout_ms, struct error *err);
    bool (*trim)(struct broker *broker, const char *stream, int64_t keep_ms, int timeout_ms,
                 struct error *err);
    bool (*publish_async)(struct broker *broker, const struct broker_message *message,
                          int timeout_ms, broker_done *done, void *context, struct error *err);
    bool (*open_consumer)(struct broker_consumer **out, struct broker *broker,
                          const struct broker_group *group, struct error *err);
    void (*close_consumer)(struct broker_consumer *consumer);
    bool (*fetch)(struct broker_consumer *consumer, size_t max, size_t max_bytes, int timeout_ms,
                  struct error *err);
    void (*wake)(struct broker_consumer *consumer);
    bool (*settle)(struct broker_consumer *consumer, const struct broker_verdict *verdicts,
                   bool confirm, int timeout_ms, struct error *err);
    bool (*extend)(struct broker_consumer *consumer, struct error *err);
    bool (*drain_consumer)(struct broker_consumer *consumer, int timeout_ms, struct error *err);
    bool (*lag)(struct broker *broker, const char *stream, const char *group, int timeout_ms,
                struct broker_lag *out, struct error *err);
    bool (*peek)(struct broker *broker, const char *stream, const char *from, size_t max,
                 broker_peeked *each, void *context, int timeout_ms, struct error *err);
    bool (*remove)(struct broker *broker, const char *stream, const char *const *sequences,
                   size_t count, int timeout_ms, struct error *err);
    bool (*list)(struct broker *broker, broker_listed *each, void *context, int timeout_ms,
                 struct error *err);
    bool (*examine)(struct broker *broker, broker_found_that *each, void *context, int timeout_ms,
                    struct error *err);

    bool (*announce)(struct broker *broker, const char *topic, const void *data, size_t size,
                     struct error *err);
    bool (*listen)(struct broker_listener **out, struct broker *broker, const char *pattern,
                   broker_hear *hear, void *context, struct error *err);
    void (*unlisten)(struct broker_listener *listener);
    bool (*state_get)(struct broker *broker, const char *bucket, const char *key, broker_see *see,
                      void *context, int timeout_ms, struct error *err);
    bool (*state_put)(struct broker *broker, const char *bucket, const struct broker_value *value,
                      uint64_t expected, int timeout_ms, uint64_t *out_revision, struct error *err);
    bool (*state_delete)(struct broker *broker, const char *bucket, const char *key,
                         uint64_t expected, int timeout_ms, struct error *err);
    bool (*watch)(struct broker_watch **out, struct broker *broker, const char *bucket,
                  const char *pattern, broker_see *see, void *context, struct error *err);
    void (*unwatch)(struct broker_watch *watch);
};

void broker_observe(struct broker *broker, enum broker_incident incident, const char *detail);

/* broker_publish for what pkg/broker writes itself: without the checks of its arguments. */
bool broker_send(struct broker *broker, const struct broker_message *messages, size_t count,
                 int timeout_ms, struct broker_receipt *out_receipts, struct error *err) MUST_CHECK;

/* What dead_letter.c stores; part 0 is the whole message. */
struct dead_letter {
    const struct broker_delivery *delivery;
    unsigned part;
    const void *data;
    size_t size;
    const char *reason, *error;
};

bool dead_letter_store(struct broker_consumer *consumer, const struct dead_letter *letters,
                       size_t count, int timeout_ms, struct error *err) MUST_CHECK;

extern const struct broker_driver broker_memory;
extern const struct broker_driver broker_nats;
extern const struct broker_driver broker_redis;

#endif
