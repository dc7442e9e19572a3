/* body: the one event of a request, out of its body, as CloudEvent or as it is. */
#ifndef INGESTION_BODY_H
#define INGESTION_BODY_H

#include "origin.h"

/* Both outputs live as long as the exchange; event is of topic->size. */
bool body_accept(struct http_exchange *exchange, const struct topic *topic, struct origin *out,
                 void *event, struct error *err) MUST_CHECK;

/* What an event is accepted with that says nothing of itself. */
struct topic_defaults body_defaults(struct http_exchange *exchange, const struct topic *topic,
                                    const struct origin *origin);

#endif
