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

#include "call.h"
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
    const char *broker_url, *api_url, *origins, *default_message;
    int max_pending;     /* publishes without an answer */
    int request_ms;      /* deadline of a request */
    int publish_ms;      /* of it, for the broker's ack */
    int event_max_bytes; /* of one event's JSON */
    int64_t bulk_max_bytes;
    int bulk_max_lines, bulk_max_requests;
    int call_timeout_ms;  /* for a reply */
    int call_max_waiting; /* for one, of a kind of call */
    int call_open_ms;     /* for how long nothing waits when nobody answers */
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
#define INGESTION_CALLS_MAX 4

#define INGESTION_PING_NONE (-1) /* not asked yet */
#define INGESTION_PING_FAILED (-2)

struct ingestion {
    const struct ingestion_settings *settings; /* borrowed */
    struct broker *broker;                     /* borrowed */
    struct gate gate;
    atomic_int bulk_requests; /* running now */
    atomic_bool declared;
    struct metrics_cell *outcomes[INGESTION_TOPICS_MAX][INGESTION_OUTCOMES];
    struct metrics_cell *circuit[2];
    struct call *calls[INGESTION_CALLS_MAX]; /* one per row; NULL ends */
    struct metrics_cell *waiting;
    _Atomic int64_t ping_ms; /* how long the broker took to answer last, or INGESTION_PING_… */
};

/* All are borrowed. Free it after the server is stopped and the broker closed: the last receipts.
 */
struct ingestion *ingestion_new(const struct ingestion_settings *settings, struct broker *broker,
                                struct metrics *metrics);
void ingestion_free(struct ingestion *ingestion);
AUTO_DEFINE(struct ingestion *, ingestion_free)

/* Declares the streams and listens for replies; tries again until it is done or the process is
 * asked to stop. */
void ingestion_prepare(struct ingestion *ingestion);

/* The end of what ingestion_prepare began: after the server is stopped, before the broker is
 * closed. */
void ingestion_unprepare(struct ingestion *ingestion);
AUTO_DEFINE(struct ingestion *, ingestion_unprepare)

/* What an exchange has left before its answer has to be on its way; at least 1. */
int ingestion_left_ms(const struct http_exchange *exchange);

/* The part of it that the broker may take for its ack. */
int ingestion_publish_ms(const struct ingestion *ingestion, const struct http_exchange *exchange);

/* broker_publish_async behind the gate. done hands the receipt to ingestion_answered first. */
bool ingestion_publish(struct ingestion *ingestion, const struct broker_message *message,
                       int timeout_ms, broker_done *done, void *context,
                       struct error *err) MUST_CHECK;

/* Takes note of a receipt. Returns what the client is to be told; ERROR_NONE: it is stored. */
struct error ingestion_answered(struct ingestion *ingestion, const struct broker_receipt *receipt);

void ingestion_count(struct ingestion *ingestion, const struct topic *topic,
                     enum ingestion_outcome outcome, size_t events);

/* What an error stands for; with ERROR_NONE, a stored event. */
enum ingestion_outcome ingestion_outcome_of(const struct error *err, bool duplicate);

/* The call of a row. */
struct call *ingestion_call(const struct ingestion *ingestion, const struct call_route *route);
size_t ingestion_waiting(const struct ingestion *ingestion); /* for a reply, now */

extern const struct http_route ingestion_routes[]; /* their context is the ingestion */
extern const struct http_check ingestion_checks[];

#endif
