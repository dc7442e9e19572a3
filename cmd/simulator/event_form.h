/*
 * event_form: what an event of the traffic looks like to ingestion.
 */
#ifndef SIMULATOR_EVENT_FORM_H
#define SIMULATOR_EVENT_FORM_H

#include "base/buffer.h"
#include "domain/traffic.h"

struct event_route {
    const char *kind; /* "entry" */
    const char *path; /* "/parking/entries" */
    bool takes_bulk;
};

extern const struct event_route event_routes[TRAFFIC_KINDS];

/* Appends the event as JSON on one line, without its end. */
void event_form(const struct traffic_event *event, struct buffer *out);

#define EVENT_PLACE_SIZE 24

/* "garage-1", "site-1", "service-1"; "" for the weather. */
void event_place(const struct traffic_event *event, char out[EVENT_PLACE_SIZE]);

#endif
