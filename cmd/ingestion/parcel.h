/*
 * parcel: the message of one event, ready to be published.
 *
 * It borrows nothing of the exchange that the event came by, which may be over as soon as somebody
 * waits for the reply.
 */
#ifndef INGESTION_PARCEL_H
#define INGESTION_PARCEL_H

#include "origin.h"

struct parcel {
    struct buffer subject, body;
    struct envelope envelope;
    struct arena *arena; /* of the envelope's values */
};

void parcel_fill(struct parcel *parcel, const struct topic *topic, const struct origin *origin,
                 const void *event);

/* Who works on it is to announce the result on the topic, within left_ms. */
void parcel_reply_to(struct parcel *parcel, const char *topic, int left_ms);

struct broker_message parcel_message(const struct parcel *parcel, const struct topic *topic);

void parcel_free(struct parcel *parcel);
static inline void auto_parcel_free(struct parcel *parcel)
{
    parcel_free(parcel);
}

#endif
