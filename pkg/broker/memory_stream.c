#include "broker/memory_stream.h"

#include "base/memory.h"
#include "broker/checks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEN_BUCKETS 4096
#define ITEM_POINTER sizeof(void *) /* lists of items are lists of pointers to them */

/* An id inside its window. */
struct memory_seen {
    struct memory_seen *next_in_bucket, *next;
    uint64_t sequence;
    int64_t until_ms;
    char id[];
};

/* ---- messages ---- */

void memory_item_release(struct memory_item *item)
{
    if (--item->holders > 0)
        return;
    for (size_t i = 0; i < item->delivery.header_count; i++) {
        free((char *)item->delivery.headers[i].name);
        free((char *)item->delivery.headers[i].value);
    }
    free((struct broker_header *)item->delivery.headers);
    free((char *)item->delivery.subject);
    free((char *)item->delivery.id);
    free((char *)item->delivery.data);
    free((char *)item->delivery.sequence);
    free(item);
}

static const struct broker_header *copy_headers(const struct broker_message *message)
{
    struct broker_header *headers =
        memory_alloc((message->header_count + 1) * sizeof(struct broker_header));

    for (size_t i = 0; i < message->header_count; i++)
        headers[i] = (struct broker_header){.name = memory_text(message->headers[i].name),
                                            .value = memory_text(message->headers[i].value)};
    return headers;
}

size_t memory_message_bytes(const struct broker_message *message)
{
    size_t bytes = message->size + strlen(message->subject) + strlen(message->id);

    for (size_t i = 0; i < message->header_count; i++)
        bytes += strlen(message->headers[i].name) + strlen(message->headers[i].value);
    return bytes;
}

static struct memory_item *item_new(const struct broker_message *message, uint64_t sequence,
                                    int64_t stored_ms)
{
    struct memory_item *item = memory_alloc(sizeof(*item));
    char text[BROKER_SEQUENCE_SIZE];

    snprintf(text, sizeof(text), "%" PRIu64, sequence);
    item->sequence = sequence;
    item->stored_ms = stored_ms;
    item->bytes = memory_message_bytes(message);
    item->holders = 1;
    item->delivery = (struct broker_delivery){
        .subject = memory_text(message->subject),
        .id = memory_text(message->id),
        .headers = copy_headers(message),
        .header_count = message->header_count,
        .data = memory_copy(message->data, message->size),
        .size = message->size,
        .stored_ms = stored_ms,
        .sequence = memory_text(text),
    };
    return item;
}

size_t memory_stream_find(const struct memory_stream *stream, uint64_t sequence)
{
    size_t from = 0, to = stream->item_count;

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (stream->items[middle]->sequence < sequence)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

void memory_stream_drop(struct memory_stream *stream, size_t place)
{
    struct memory_item *item = stream->items[place];

    for (struct memory_group *group = stream->groups; group; group = group->next) {
        size_t i = memory_group_find(group, item->sequence);
        if (i < group->lease_count)
            memory_group_settle(group, i);
    }
    stream->item_count--;
    memmove(&stream->items[place], &stream->items[place + 1],
            (stream->item_count - place) * ITEM_POINTER);
    stream->bytes -= item->bytes;
    memory_item_release(item);
}

/* ---- ids that were seen ---- */

static struct memory_seen **bucket_of(struct memory_stream *stream, const char *id)
{
    uint64_t hash = 14695981039346656037U;

    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * 1099511628211U;
    return &stream->seen_buckets[hash % SEEN_BUCKETS];
}

static void forget_first_seen(struct memory_stream *stream)
{
    struct memory_seen *seen = stream->seen_first;
    struct memory_seen **at = bucket_of(stream, seen->id);

    while (*at != seen)
        at = &(*at)->next_in_bucket;
    *at = seen->next_in_bucket;
    stream->seen_first = seen->next;
    if (!stream->seen_first)
        stream->seen_end = &stream->seen_first;
    free(seen);
}

bool memory_stream_has_seen(struct memory_stream *stream, const char *id, int64_t at_ms,
                            uint64_t *out_sequence)
{
    const struct memory_seen *seen;

    while (stream->seen_first && stream->seen_first->until_ms <= at_ms)
        forget_first_seen(stream);
    for (seen = *bucket_of(stream, id); seen; seen = seen->next_in_bucket)
        if (strcmp(seen->id, id) == 0) {
            *out_sequence = seen->sequence;
            return true;
        }
    return false;
}

static void remember(struct memory_stream *stream, const char *id, uint64_t sequence, int64_t at_ms)
{
    size_t size = strlen(id) + 1;
    struct memory_seen *seen = memory_alloc(sizeof(*seen) + size);
    struct memory_seen **bucket = bucket_of(stream, id);

    memcpy(seen->id, id, size);
    seen->sequence = sequence;
    seen->until_ms = at_ms + stream->dedup_window_ms;
    seen->next_in_bucket = *bucket;
    *bucket = seen;
    *stream->seen_end = seen;
    stream->seen_end = &seen->next;
}

void memory_stream_append(struct memory_stream *stream, const struct broker_message *message,
                          int64_t stored_ms)
{
    struct memory_item *item = item_new(message, stream->end_sequence++, stored_ms);

    if (stream->item_count == stream->item_capacity) {
        stream->item_capacity = stream->item_capacity ? stream->item_capacity * 2 : 64;
        stream->items = memory_resize(stream->items, stream->item_capacity * ITEM_POINTER);
    }
    stream->items[stream->item_count++] = item;
    stream->bytes += item->bytes;
    remember(stream, message->id, item->sequence, stored_ms);
}

/* ---- a group's work ---- */

bool memory_group_wants(const struct memory_group *group, const struct memory_item *item)
{
    return !group->filter || pattern_matches(group->filter, item->delivery.subject);
}

size_t memory_group_unread(const struct memory_stream *stream, struct memory_group *group)
{
    size_t place = memory_stream_find(stream, group->next_sequence);

    while (place < stream->item_count && !memory_group_wants(group, stream->items[place]))
        place++;
    group->next_sequence =
        place < stream->item_count ? stream->items[place]->sequence : stream->end_sequence;
    return place;
}

struct memory_lease *memory_group_lease(struct memory_group *group, struct memory_item *item)
{
    if (group->lease_count == group->lease_capacity) {
        group->lease_capacity = group->lease_capacity ? group->lease_capacity * 2 : 16;
        group->leases =
            memory_resize(group->leases, group->lease_capacity * sizeof(*group->leases));
    }
    struct memory_lease *lease = &group->leases[group->lease_count++];
    *lease = (struct memory_lease){.item = item};
    return lease;
}

size_t memory_group_find(const struct memory_group *group, uint64_t sequence)
{
    size_t i = 0;

    while (i < group->lease_count && group->leases[i].item->sequence != sequence)
        i++;
    return i;
}

void memory_group_settle(struct memory_group *group, size_t lease)
{
    group->lease_count--;
    memmove(&group->leases[lease], &group->leases[lease + 1],
            (group->lease_count - lease) * sizeof(*group->leases));
}

/* ---- life ---- */

struct memory_stream *memory_stream_new(const struct broker_stream *wanted)
{
    struct memory_stream *stream = memory_alloc(sizeof(*stream));

    stream->name = memory_text(wanted->name);
    stream->subjects = memory_text(wanted->subjects);
    stream->max_bytes = wanted->max_bytes;
    stream->dedup_window_ms = wanted->dedup_window_ms;
    stream->replicas = wanted->replicas;
    stream->telemetry = wanted->telemetry;
    stream->end_sequence = 1;
    stream->seen_end = &stream->seen_first;
    stream->seen_buckets = memory_alloc(SEEN_BUCKETS * sizeof(struct memory_seen *));
    return stream;
}

struct memory_group *memory_stream_add_group(struct memory_stream *stream,
                                             const struct broker_group *wanted)
{
    struct memory_group *group = memory_alloc(sizeof(*group));

    group->name = memory_text(wanted->name);
    group->filter = wanted->filter ? memory_text(wanted->filter) : NULL;
    group->ack_wait_ms = wanted->ack_wait_ms;
    group->max_in_flight = wanted->max_in_flight;
    group->max_attempts = wanted->max_attempts;
    group->next = stream->groups;
    stream->groups = group;
    return group;
}

struct memory_group *memory_stream_group(const struct memory_stream *stream, const char *name)
{
    struct memory_group *group = stream->groups;

    while (group && strcmp(group->name, name) != 0)
        group = group->next;
    return group;
}

static void group_free(struct memory_group *group)
{
    free(group->name);
    free(group->filter);
    free(group->leases);
    free(group);
}

void memory_stream_free(struct memory_stream *stream)
{
    while (stream->item_count)
        memory_item_release(stream->items[--stream->item_count]);
    while (stream->seen_first)
        forget_first_seen(stream);
    while (stream->groups) {
        struct memory_group *group = stream->groups;
        stream->groups = group->next;
        group_free(group);
    }
    free(stream->seen_buckets);
    free(stream->items);
    free(stream->name);
    free(stream->subjects);
    free(stream);
}
