/*
 * nats_bucket: a state bucket as NATS keeps it, a JetStream key-value bucket that the stock tools
 * read: the stream "KV_<bucket>" holds the last message of each subject "$KV.<bucket>.<key>". Its
 * sequence is the value's revision; a header marks a deletion.
 *
 * Source  ADR-8, "JetStream based Key-Value Stores", of the NATS architecture repository.
 */
#ifndef BROKER_NATS_BUCKET_H
#define BROKER_NATS_BUCKET_H

#include "broker/nats_driver.h"

#define NATS_BUCKET_STREAM "KV_"
#define NATS_BUCKET_SUBJECT "$KV."
#define NATS_BUCKET_SIZE 680 /* of a subject: a bucket's name and a key, of the longest */

#define NATS_OPERATION_HEADER "KV-Operation"    /* "DEL" or "PURGE": the value is gone */
#define NATS_MARKER_HEADER "Nats-Marker-Reason" /* the server says so itself, from 2.11 on */

/* The subject of a key, or of a pattern of keys. */
void nats_bucket_subject(char out[NATS_BUCKET_SIZE], const char *bucket, const char *key);

/* The part of the subject that is the key; NULL when it is no subject of this bucket. */
const char *nats_bucket_key(const char *bucket, const char *subject);

/* Whether a message with these headers (NULL: absent) says that there is no value. */
bool nats_bucket_is_deletion(const char *operation, const char *marker);

/* Finds the bucket, or makes it. *out is what the server says of its stream. */
bool nats_bucket_open(struct nats_broker *broker, const char *bucket, int64_t until_ms,
                      struct document **out, struct error *err) MUST_CHECK;

#endif
