/*
 * memory_stream: one stream of the model: its messages, the ids it has seen, its groups and what
 * these have leased.
 *
 * Ownership  a stream owns all of it; a message is held by the stream and by every batch it is in.
 * Threads    none of its own: the world's lock is held around every call.
 */
#ifndef BROKER_MEMORY_STREAM_H
#define BROKER_MEMORY_STREAM_H

#include "broker/broker.h"

struct memory_item {
    uint64_t sequence;
    int64_t stored_ms;
    struct broker_delivery delivery; /* owns its texts; attempt is not used */
    size_t bytes;
    unsigned holders; /* the stream, and every batch it is in */
};

struct memory_lease {
    struct memory_item *item; /* the stream's, or dropped from it */
    unsigned attempt;
    int64_t due_ms; /* when it may be delivered again */
    bool delayed;
    const void *holder; /* the consumer */
};

struct memory_group {
    struct memory_group *next;
    char *name, *filter;
    int64_t ack_wait_ms;
    int max_in_flight;
    unsigned max_attempts;
    uint64_t next_sequence;      /* nothing before it is unread */
    struct memory_lease *leases; /* by sequence */
    size_t lease_count, lease_capacity;
};

struct memory_seen;

struct memory_stream {
    struct memory_stream *next;
    char *name, *subjects;
    int64_t max_bytes, dedup_window_ms;
    int replicas; /* only remembered */
    bool telemetry;
    struct memory_item **items; /* by sequence, with gaps where one was removed */
    size_t item_count, item_capacity;
    uint64_t end_sequence; /* of the next message */
    size_t bytes;
    struct memory_seen *seen_first, **seen_end; /* by time */
    struct memory_seen **seen_buckets;
    struct memory_group *groups;
};

struct memory_stream *memory_stream_new(const struct broker_stream *wanted);
void memory_stream_free(struct memory_stream *stream);
struct memory_group *memory_stream_add_group(struct memory_stream *stream,
                                             const struct broker_group *wanted);
struct memory_group *memory_stream_group(const struct memory_stream *stream, const char *name);

/* ---- messages ---- */

size_t memory_message_bytes(const struct broker_message *message);
void memory_stream_append(struct memory_stream *stream, const struct broker_message *message,
                          int64_t stored_ms);

/* The place of the first message at or behind the sequence; item_count when there is none. */
size_t memory_stream_find(const struct memory_stream *stream, uint64_t sequence);

/* Also from the work of every group: only telemetry loses what is not settled. */
void memory_stream_drop(struct memory_stream *stream, size_t place);

void memory_item_release(struct memory_item *item);

/* Whether it was stored inside the window, and as what. */
bool memory_stream_has_seen(struct memory_stream *stream, const char *id, int64_t at_ms,
                            uint64_t *out_sequence);

/* ---- a group's work ---- */

bool memory_group_wants(const struct memory_group *group, const struct memory_item *item);

/* The place of its first unread message, past what is not for it; item_count: all is read. */
size_t memory_group_unread(const struct memory_stream *stream, struct memory_group *group);

struct memory_lease *memory_group_lease(struct memory_group *group, struct memory_item *item);
size_t memory_group_find(const struct memory_group *group, uint64_t sequence); /* or lease_count */
void memory_group_settle(struct memory_group *group, size_t lease);

#endif
