#include "emission.h"

#include "envelope.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "event/header.h"
#include "event/topic.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES ((size_t)64 * 1024)
#define PIECE 256 /* messages on their way at a time */

struct emission {
    const struct emission_kind *kind;          /* borrowed */
    const struct processor_settings *settings; /* borrowed */
    const struct topic *topic;
    struct metrics_family *counter; /* NULL: none */
    struct arena *arena;            /* what the messages point into */
    struct broker_message *messages;
    struct metrics_cell **cells; /* of the messages, at the same index; NULL: not counted */
    size_t count, capacity;
    size_t stored; /* messages before this one are stored */
    struct buffer subject, body;
    struct broker_receipt receipts[PIECE];
};

struct emission *emission_new(const struct emission_kind *kind,
                              const struct processor_settings *settings, struct metrics *metrics)
{
    struct emission *emission = memory_alloc(sizeof(*emission));

    emission->kind = kind;
    emission->settings = settings;
    emission->topic = topic_find(kind->topic);
    emission->arena = arena_new(ARENA_BYTES);
    if (kind->counter)
        emission->counter = metrics_family(metrics, kind->counter);
    return emission;
}

void emission_free(struct emission *emission)
{
    if (!emission)
        return;
    arena_free(emission->arena);
    free(emission->messages);
    free(emission->cells);
    buffer_free(&emission->subject);
    buffer_free(&emission->body);
    free(emission);
}

void emission_reset(struct emission *emission)
{
    arena_reset(emission->arena);
    emission->count = emission->stored = 0;
}

/* ---- making the messages ---- */

static void grow(struct emission *emission)
{
    if (emission->count < emission->capacity)
        return;
    emission->capacity = emission->capacity ? emission->capacity * 2 : 64;
    emission->messages =
        memory_resize(emission->messages, emission->capacity * sizeof(*emission->messages));
    /* It lists pointers. NOLINTNEXTLINE(bugprone-sizeof-expression) */
    emission->cells = memory_resize(emission->cells, emission->capacity * sizeof(*emission->cells));
}

static struct metrics_cell *cell_of(const struct emission *emission, const void *event)
{
    const char *label = emission->counter ? emission->kind->label(event) : NULL;

    return label ? metrics_cell(emission->counter, &label) : NULL;
}

static const char *kept(const struct emission *emission, const struct buffer *text)
{
    return arena_copy(emission->arena, text->data, text->size);
}

static void add(struct emission *emission, const void *event)
{
    const struct topic *topic = emission->topic;
    struct envelope *envelope = arena_alloc(emission->arena, sizeof(*envelope));
    struct envelope_facts facts = {
        .id = topic_id(topic, event),
        .time_ms = topic_time_ms(topic, event),
        .content_type = CONTENT_JSON,
    };

    buffer_clear(&emission->subject);
    buffer_clear(&emission->body);
    topic_subject(topic, event, &emission->subject);
    json_encode(topic->fields, event, &emission->body);
    envelope_fill(envelope, topic, &facts);
    grow(emission);
    emission->cells[emission->count] = cell_of(emission, event);
    emission->messages[emission->count++] = (struct broker_message){
        .stream = topic->stream,
        .subject = kept(emission, &emission->subject),
        .id = envelope->id,
        .headers = envelope->headers,
        .header_count = envelope->count,
        .data = kept(emission, &emission->body),
        .size = emission->body.size,
    };
}

void emission_take(void *context, const char *key, const char *json, size_t size)
{
    struct emission *emission = context;
    const struct topic *topic = emission->topic;
    struct topic_defaults defaults = {
        .id = id_derive(topic->stream, key, strlen(key)),
        .time_ms = JSON_TIME_ABSENT,
        .now_ms = clock_wall_ms(clock_system()),
        .arena = emission->arena,
    };
    void *event = arena_alloc(emission->arena, topic->size);
    struct error err;

    /* The store made it: that it is none is a bug there, and it stays in the store. */
    if (!topic_accept(topic, &defaults, json, size, event, &err)) {
        log_error("what follows from an event is none", log_text("topic", topic->name),
                  log_text("key", key), log_text("error", err.message));
        return;
    }
    topic_set_id(topic, event, defaults.id);
    emission->kind->finish(emission->settings, event);
    add(emission, event);
}

/* ---- publishing ---- */

/* Moves what is stored before what is not, and counts it. */
static void take_receipts(struct emission *emission, size_t count)
{
    size_t first = emission->stored;

    for (size_t i = 0; i < count; i++) {
        if (emission->receipts[i].error.code != ERROR_NONE)
            continue;
        struct broker_message message = emission->messages[first + i];
        struct metrics_cell *cell = emission->cells[first + i];

        emission->messages[first + i] = emission->messages[emission->stored];
        emission->cells[first + i] = emission->cells[emission->stored];
        emission->messages[emission->stored] = message;
        emission->cells[emission->stored++] = cell;
        if (cell && !emission->receipts[i].duplicate)
            metrics_add(cell, 1);
    }
}

static bool publish_piece(struct emission *emission, struct broker *broker, int timeout_ms,
                          struct error *err)
{
    size_t left = emission->count - emission->stored;
    size_t count = left < PIECE ? left : PIECE;
    bool all = broker_publish(broker, emission->messages + emission->stored, count, timeout_ms,
                              emission->receipts, err);

    take_receipts(emission, count);
    return all;
}

bool emission_publish(struct emission *emission, struct broker *broker, struct loop *loop)
{
    int timeout_ms = (int)loop_patience_ms(loop);
    bool waited = false;
    struct error err;

    for (unsigned attempt = 1; emission->stored < emission->count;) {
        if (publish_piece(emission, broker, timeout_ms, &err)) {
            attempt = 1;
            continue;
        }
        loop_tell(loop, &err, "the broker takes no events that follow: fetching pauses");
        waited = true;
        if (!loop_wait(loop, attempt++))
            return false;
    }
    if (waited)
        loop_tell(loop, NULL, "");
    return true;
}
