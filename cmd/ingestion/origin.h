/*
 * origin: what a request says of its events beside the body: key, trace, CloudEvent.
 *
 * Ownership  Text belongs to the exchange.
 */
#ifndef INGESTION_ORIGIN_H
#define INGESTION_ORIGIN_H

#include "envelope.h"

#include "event/cloudevents.h"
#include "event/topic.h"
#include "http/http.h"

struct origin {
    const char *key;         /* Idempotency-Key, NULL when there is none */
    const char *traceparent; /* NULL when there is none that is valid */
    bool is_cloudevent;
    struct cloudevent cloudevent;
};

/* Of a request whose body is there. */
bool origin_read(struct http_exchange *exchange, struct origin *out, struct error *err) MUST_CHECK;

/* The same for a request whose body is still to come, which cannot be a CloudEvent. */
bool origin_read_headers(struct http_exchange *exchange, struct origin *out,
                         struct error *err) MUST_CHECK;

/* The id of the event in a line (from 1; 0: the only event): zero when the request names none. */
struct id origin_id(const struct origin *origin, const struct topic *topic, int64_t line);

/* The headers of the broker message of its event. */
void origin_envelope(const struct origin *origin, const struct topic *topic, const struct id *id,
                     int64_t time_ms, const char *content_type, struct envelope *out);

#endif
