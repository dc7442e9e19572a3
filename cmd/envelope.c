#include "envelope.h"

#include "event/header.h"

#include <assert.h>

void envelope_add(struct envelope *envelope, const char *name, const char *value)
{
    assert(envelope->count < ENVELOPE_HEADERS_MAX);
    envelope->headers[envelope->count++] = (struct broker_header){.name = name, .value = value};
}

void envelope_fill(struct envelope *envelope, const struct topic *topic,
                   const struct envelope_facts *facts)
{
    envelope->count = 0;
    id_format(facts->id, envelope->id);
    rfc3339_format(facts->time_ms, envelope->time);
    envelope_add(envelope, HEADER_CE_SPECVERSION, "1.0");
    envelope_add(envelope, HEADER_CE_ID, envelope->id);
    envelope_add(envelope, HEADER_CE_SOURCE, facts->source ? facts->source : topic->source);
    envelope_add(envelope, HEADER_CE_TYPE, facts->type ? facts->type : topic->type);
    envelope_add(envelope, HEADER_CE_TIME, envelope->time);
    envelope_add(envelope, HEADER_CE_DATACONTENTTYPE, facts->content_type);
    if (facts->subject)
        envelope_add(envelope, HEADER_CE_SUBJECT, facts->subject);
    if (facts->traceparent)
        envelope_add(envelope, HEADER_TRACEPARENT, facts->traceparent);
}
