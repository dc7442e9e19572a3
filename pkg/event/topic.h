/*
 * topic: the kinds of events, one row each.
 *
 * Ingestion's routes, the processor's consumers and the API's queries walk this table. A new kind
 * of event is a message in proto/ and a row here.
 *
 * Ownership  Everything in a topic is static.
 * Errors     ERROR_INVALID with a reason of json.h and the pointer of the field.
 */
#ifndef EVENT_TOPIC_H
#define EVENT_TOPIC_H

#include "base/json.h"

#define TOPIC_KEYS_MAX 2

struct topic {
    const char *name;     /* "parking-entries" */
    const char *stream;   /* "PARKING", which several topics may share */
    const char *subjects; /* of the stream, "parking.>" */
    const char *prefix;   /* of the topic's own subjects, "parking.entry" */
    const char *consumer; /* durable, "processor-parking" */
    const char *type;     /* CloudEvents type, "millrace.v1.Reading" */
    const char *source;   /* CloudEvents source of events that came without one, "/readings" */
    const struct json_field *fields;
    const char *schema; /* JSON Schema 2020-12 */
    size_t size;        /* of the struct that fields describe */
    size_t id_offset, time_offset;
    size_t key_offsets[TOPIC_KEYS_MAX]; /* the texts that make the subject */
    size_t key_count;
    bool (*check)(const void *event, struct error *err); /* rules across fields; NULL: none */
};

extern const struct topic topics[];
extern const size_t topic_count;

/* NULL when there is no such topic. */
const struct topic *topic_find(const char *name);

/* The topic of a CloudEvents type, or NULL. */
const struct topic *topic_of_type(const char *type);

/* The topic of a message of a stream; NULL: none of the stream's topics has such subjects. */
const struct topic *topic_of_subject(const char *stream, const char *subject);

/* For lists of every stream, or every consumer, once: no topic before this one has the same. */
bool topic_brings_stream(const struct topic *topic);
bool topic_brings_consumer(const struct topic *topic);

/* What an event is accepted with: for what it does not bring itself. */
struct topic_defaults {
    struct id id;        /* all zero: a new one */
    int64_t time_ms;     /* JSON_TIME_ABSENT: now */
    int64_t now_ms;      /* the moment of acceptance */
    struct arena *arena; /* borrowed; the event's text goes there */
};

/*
 * Decodes one event into *out (of topic->size), fills in its id and time, and checks it. Times
 * before 1970 or after 2199 are JSON_RANGE.
 */
bool topic_accept(const struct topic *topic, const struct topic_defaults *defaults,
                  const char *json, size_t size, void *out, struct error *err) MUST_CHECK;

const struct id *topic_id(const struct topic *topic, const void *event);
void topic_set_id(const struct topic *topic, void *event, struct id id);
int64_t topic_time_ms(const struct topic *topic, const void *event);

/* Appends the subject of an event, "readings.<site>.<device>": the prefix, then the keys. A pack's:
 * subject_merge. */
void topic_subject(const struct topic *topic, const void *event, struct buffer *out);

#endif
