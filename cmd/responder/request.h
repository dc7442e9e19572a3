/*
 * request: a weather request as it came, with what travelled beside it.
 *
 * One that was sent by hand with a broker's own tool may lack everything but the city: its id is
 * then its message's, or derived from its place in the stream, its time that of its arrival, the
 * same at every delivery.
 *
 * Ownership  Texts belong to the arena or to the delivery.
 */
#ifndef RESPONDER_REQUEST_H
#define RESPONDER_REQUEST_H

#include "base/arena.h"
#include "broker/broker.h"
#include "event/topic.h"
#include "messages/weather.h"

#define REQUEST_NO_DEADLINE INT64_MAX

struct request {
    struct weather_request weather;
    int64_t deadline_ms;     /* wall; or REQUEST_NO_DEADLINE */
    const char *reply_to;    /* NULL: nobody waits, or not on a topic that is one */
    const char *traceparent; /* NULL: none that is valid */
};

/* INVALID with a reason of json.h: it is no request. */
bool request_read(const struct broker_delivery *delivery, const struct topic *topic,
                  struct arena *arena, struct request *out, struct error *err) MUST_CHECK;

#endif
