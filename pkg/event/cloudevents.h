/*
 * cloudevents: an event that came over HTTP as a CloudEvent 1.0.
 *
 * Binary mode has the attributes in ce-… headers and the event as the body; structured mode has all
 * of it in one JSON object. The event itself must be JSON. Batches are refused: NDJSON does that
 * here.
 *
 * Ownership  Text in a cloudevent belongs to the arena; binary mode's data is the request's body.
 * Errors     ERROR_INVALID with a reason of json.h. What is wrong with a header has no pointer; the
 *            message names the header.
 * Source     CloudEvents 1.0.2: specification, HTTP protocol binding, JSON event format.
 */
#ifndef EVENT_CLOUDEVENTS_H
#define EVENT_CLOUDEVENTS_H

#include "base/arena.h"
#include "base/error.h"
#include "base/id.h"

#include <stdint.h>

/* The value of a request's header, whatever the case of its name; NULL when there is none. It stays
 * as long as the request does. */
typedef const char *cloudevent_header(void *context, const char *name);

struct cloudevent_request {
    cloudevent_header *header;
    void *context;
    const char *body;
    size_t size;
};

struct cloudevent {
    struct id id; /* ce-id when that is a UUID, else derived from source and ce-id */
    const char *source, *type;
    const char *subject; /* NULL when absent */
    int64_t time_ms;     /* JSON_TIME_ABSENT when absent */
    const char *data;    /* JSON */
    size_t size;
    const char *place; /* of data in the body: "" or "/data" */
};

/* Does the request say that it is a CloudEvent, of either mode? */
bool cloudevent_is(const struct cloudevent_request *request);

bool cloudevent_read(const struct cloudevent_request *request, struct arena *arena,
                     struct cloudevent *out, struct error *err) MUST_CHECK;

/* Makes the pointer of an error about data one about the body. Returns false, to be returned. */
bool cloudevent_locate(const struct cloudevent *event, struct error *err);

#endif
