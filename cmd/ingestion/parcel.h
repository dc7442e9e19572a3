/*
 * parcel: the message of one event, ready to be published.
 *
 * Ownership  Headers are borrowed of the exchange that the event came by, and of the origin.
 */
#ifndef INGESTION_PARCEL_H
#define INGESTION_PARCEL_H

#include "origin.h"

struct parcel {
    struct buffer subject, body;
    struct envelope envelope;
    char deadline[RFC3339_SIZE];
};

void parcel_fill(struct parcel *parcel, const struct topic *topic, const struct origin *origin,
                 const void *event);

/* Who works on it is to announce the result on the topic (borrowed), within left_ms. */
void parcel_reply_to(struct parcel *parcel, const char *topic, int left_ms);

struct broker_message parcel_message(const struct parcel *parcel, const struct topic *topic);

void parcel_free(struct parcel *parcel);
static inline void auto_parcel_free(struct parcel *parcel)
{
    parcel_free(parcel);
}

#endif
