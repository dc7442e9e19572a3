#include "request.h"

#include "base/rfc3339.h"
#include "broker/dead_letter.h"
#include "event/header.h"
#include "event/traceparent.h"

#include <string.h>

#define REPLY_PREFIX "bc." /* of everything that is announced */

static struct id name_of(const struct topic *topic, const struct dead_origin *origin)
{
    struct id id;

    if (id_parse(origin->id, strlen(origin->id), &id))
        return id;
    return id_derive(topic->stream, origin->sequence, strlen(origin->sequence));
}

/* A deadline that is no time is none: the request can still be answered. */
static int64_t deadline_of(const struct broker_delivery *delivery)
{
    const char *text = broker_header(delivery, HEADER_DEADLINE);
    int64_t deadline_ms;

    return text && rfc3339_parse(text, strlen(text), &deadline_ms) ? deadline_ms
                                                                   : REQUEST_NO_DEADLINE;
}

/* Whether it is a topic at all the broker says; a header must not publish anywhere else. */
static const char *reply_of(const struct broker_delivery *delivery)
{
    const char *topic = broker_header(delivery, HEADER_REPLY_TO);

    return topic && strncmp(topic, REPLY_PREFIX, strlen(REPLY_PREFIX)) == 0 ? topic : NULL;
}

static const char *trace_of(const struct broker_delivery *delivery)
{
    const char *trace = broker_header(delivery, HEADER_TRACEPARENT);

    return trace && traceparent_is_valid(trace, strlen(trace)) ? trace : NULL;
}

bool request_read(const struct broker_delivery *delivery, const struct topic *topic,
                  struct arena *arena, struct request *out, struct error *err)
{
    struct dead_origin origin = dead_letter_origin(delivery);
    struct topic_defaults defaults = {
        .id = name_of(topic, &origin),
        .time_ms = origin.stored_ms,
        .now_ms = origin.stored_ms,
        .arena = arena,
    };

    out->deadline_ms = deadline_of(delivery);
    out->reply_to = reply_of(delivery);
    out->traceparent = trace_of(delivery);
    return topic_accept(topic, &defaults, delivery->data, delivery->size, &out->weather, err);
}
