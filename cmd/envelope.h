/*
 * envelope: the headers of a broker message: CloudEvents attributes in binary mode, and the trace.
 *
 * Ownership  An envelope keeps the id and the time as text; every other value is borrowed while it
 *            is used.
 */
#ifndef CMD_ENVELOPE_H
#define CMD_ENVELOPE_H

#include "base/id.h"
#include "base/rfc3339.h"
#include "broker/broker.h"
#include "event/topic.h"

#define ENVELOPE_HEADERS_MAX 10

struct envelope {
    char id[ID_TEXT_SIZE];
    char time[RFC3339_SIZE];
    struct broker_header headers[ENVELOPE_HEADERS_MAX];
    size_t count;
};

struct envelope_facts {
    const struct id *id;
    int64_t time_ms;
    const char *content_type;
    const char *source, *type;         /* NULL: the topic's */
    const char *subject, *traceparent; /* NULL: none */
};

void envelope_fill(struct envelope *envelope, const struct topic *topic,
                   const struct envelope_facts *facts);

/* Two more fit beside what envelope_fill writes. */
void envelope_add(struct envelope *envelope, const char *name, const char *value);

#endif
