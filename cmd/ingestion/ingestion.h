/*
 * ingestion: every write: checks an event, names it, publishes it, answers after the broker's ack.
 *
 * A route is a row: a topic, where its events come from, how the answer reads. 2xx means that the
 * broker has stored the event; 503 with Retry-After that it has not, or cannot say so: the same
 * event may be sent again with the same id (its own `id`, or an Idempotency-Key).
 *
 * Ids: an event's own id; else one derived from the Idempotency-Key, the topic and the line; else
 * the CloudEvent's; else a new one. A repeated Idempotency-Key is a duplicate at the broker inside
 * its window and in the store for ever if the event carries its own time (facts are keyed by id and
 * time). The key names the event, so a different event under a used key counts as the first one.
 *
 * Threads  Handlers run on the HTTP server's threads and never wait; receipts come on the broker's.
 */
#ifndef INGESTION_INGESTION_H
#define INGESTION_INGESTION_H

#include "gate.h"
#include "topology.h"

#include "base/metrics.h"
#include "broker/broker.h"
#include "event/topic.h"
#include "http/http.h"

#include <stdatomic.h>

struct ingestion_settings {
    const char *host;
    int port, http_threads;
    const char *broker_url, *origins, *default_message;
    int max_pending;     /* publishes without an answer */
    int request_ms;      /* deadline of a request */
    int publish_ms;      /* of it, for the broker's ack */
    int event_max_bytes; /* of one event's JSON */
    int64_t bulk_max_bytes;
    int bulk_max_lines, bulk_max_requests;
    struct topology_settings topology;
};

extern const struct config_field ingestion_settings_table[];

enum ingestion_outcome {
    INGESTION_ACCEPTED,
    INGESTION_DUPLICATE,
    INGESTION_REFUSED, /* the client's mistake */
    INGESTION_FAILED,  /* ours, or the broker's */
    INGESTION_OUTCOMES,
};

#define INGESTION_TOPICS_MAX 16

struct ingestion {
    const struct ingestion_settings *settings; /* borrowed */
    struct broker *broker;                     /* borrowed */
    struct gate gate;
    atomic_int bulk_requests; /* running now */
    atomic_bool declared;
    struct metrics_cell *outcomes[INGESTION_TOPICS_MAX][INGESTION_OUTCOMES];
    struct metrics_cell *circuit[2];
};

/* All are borrowed. Free it after the server is stopped and the broker closed: the last receipts.
 */
struct ingestion *ingestion_new(const struct ingestion_settings *settings, struct broker *broker,
                                struct metrics *metrics);
void ingestion_free(struct ingestion *ingestion);
AUTO_DEFINE(struct ingestion *, ingestion_free)

/* Declares the streams; tries again until it is done or the process is asked to stop. */
void ingestion_prepare(struct ingestion *ingestion);

/* broker_publish_async behind the gate, with the time that the exchange has left. done hands the
 * receipt to ingestion_answered first. */
bool ingestion_publish(struct ingestion *ingestion, const struct http_exchange *exchange,
                       const struct broker_message *message, broker_done *done, void *context,
                       struct error *err) MUST_CHECK;

/* Takes note of a receipt. Returns what the client is to be told; ERROR_NONE: it is stored. */
struct error ingestion_answered(struct ingestion *ingestion, const struct broker_receipt *receipt);

void ingestion_count(struct ingestion *ingestion, const struct topic *topic,
                     enum ingestion_outcome outcome, size_t events);

/* The outcome that an error stands for. */
enum ingestion_outcome ingestion_outcome_of(const struct error *err);

extern const struct http_route ingestion_routes[]; /* their context is the ingestion */
extern const struct http_check ingestion_checks[];

#endif
