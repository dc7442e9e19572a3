#include "batch.h"

#include "base/memory.h"
#include "base/ndjson.h"
#include "event/header.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES ((size_t)256 * 1024)

/* What batch_decode is looking at. */
struct reader {
    struct batch *batch;
    const struct batch_source *source; /* of the delivery */
    const struct broker_delivery *delivery;
    struct dead_origin origin; /* of the delivery: what a replay repeats keeps its name */
    size_t index;              /* of the delivery */
    bool packed;
    const char *traceparent; /* NULL: none */
};

void batch_start(struct batch *batch, const struct batch_source *sources, size_t count)
{
    *batch = (struct batch){.arena = arena_new(ARENA_BYTES), .source_count = count};
    memcpy(batch->sources, sources, count * sizeof(*sources));
}

void batch_stop(struct batch *batch)
{
    arena_free(batch->arena);
    free(batch->rows);
    free(batch->origins);
    free(batch->parts);
}

void batch_reset(struct batch *batch)
{
    arena_reset(batch->arena);
    batch->row_count = batch->refused = batch->part_count = 0;
}

static size_t grown(size_t capacity)
{
    return capacity ? capacity * 2 : 256;
}

static void add_row(struct batch *batch, struct store_row row, struct batch_origin origin)
{
    if (batch->row_count == batch->row_capacity) {
        batch->row_capacity = grown(batch->row_capacity);
        batch->rows = memory_resize(batch->rows, batch->row_capacity * sizeof(*batch->rows));
        batch->origins =
            memory_resize(batch->origins, batch->row_capacity * sizeof(*batch->origins));
    }
    batch->rows[batch->row_count] = row;
    batch->origins[batch->row_count++] = origin;
}

static void add_part(struct batch *batch, const struct batch_origin *origin,
                     const struct error *why)
{
    if (batch->part_count == batch->part_capacity) {
        batch->part_capacity = grown(batch->part_capacity);
        batch->parts = memory_resize(batch->parts, batch->part_capacity * sizeof(*batch->parts));
    }
    batch->parts[batch->part_count++] = (struct dead_part){
        .delivery = origin->delivery,
        .number = origin->number,
        .data = origin->data,
        .size = origin->size,
        .reason = why->reason,
        .error = arena_copy(batch->arena, why->message, strlen(why->message)),
    };
}

void batch_refuse(struct batch *batch, size_t row, const struct error *why)
{
    batch->origins[row].refused = true;
    batch->refused++;
    add_part(batch, &batch->origins[row], why);
}

/* "17" for a message of its own, "17.3" for the third line of a packed one. */
static const char *stream_id(const struct reader *reader, unsigned number)
{
    const char *sequence = reader->origin.sequence;
    size_t length = strlen(sequence);
    char digits[12], *first = digits + sizeof(digits);

    if (!reader->packed)
        return arena_copy(reader->batch->arena, sequence, length);
    do {
        *--first = (char)('0' + number % 10);
    } while (number /= 10);
    *--first = '.';

    size_t digit_count = (size_t)(digits + sizeof(digits) - first);
    char *text = arena_alloc(reader->batch->arena, length + digit_count + 1);
    /* It is the start of a text. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
    memcpy(text, sequence, length);
    memcpy(text + length, first, digit_count);
    return text;
}

/* Stands for the id of an event that brings none: no event may have it (RFC 9562, 5.10). */
static const struct id unnamed = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                   0xff, 0xff, 0xff, 0xff, 0xff}};

/* A derived id costs as much as all the rest of an event, so it is made only when it is needed. */
static void name_event(const struct reader *reader, void *event, const char *place)
{
    const struct topic *topic = reader->source->topic;
    const char *message_id = reader->origin.id;
    struct id id;

    if (memcmp(topic_id(topic, event), &unnamed, sizeof(unnamed)) != 0)
        return;
    if (reader->packed || !id_parse(message_id, strlen(message_id), &id))
        id = id_derive(topic->stream, place, strlen(place));
    topic_set_id(topic, event, id);
}

static void read_event(const struct reader *reader, unsigned number, const char *data, size_t size)
{
    const struct topic *topic = reader->source->topic;
    struct batch *batch = reader->batch;
    const char *place = stream_id(reader, number);
    struct topic_defaults defaults = {
        .id = unnamed,
        .time_ms = reader->origin.stored_ms,
        .now_ms = reader->origin.stored_ms,
        .arena = batch->arena,
    };
    struct batch_origin origin = {
        .delivery = reader->index, .number = number, .topic = topic, .data = data, .size = size};
    void *event = arena_alloc(batch->arena, topic->size);
    struct error err;

    if (!topic_accept(topic, &defaults, data, size, event, &err)) {
        add_part(batch, &origin, &err);
        return;
    }
    name_event(reader, event, place);
    add_row(batch,
            (struct store_row){.table = batch->source_count > 1 ? reader->source->table : NULL,
                               .event = event,
                               .stream_id = place,
                               .traceparent = reader->traceparent},
            origin);
}

/* A last line without an end is the splitter's copy; every other lies in the delivery. */
static bool on_line(void *context, const struct ndjson_line *line)
{
    const struct reader *reader = context;
    const struct broker_delivery *delivery = reader->delivery;
    unsigned first = reader->origin.part ? reader->origin.part : 1;
    const char *bytes = line->bytes;

    if (bytes < delivery->data || bytes >= delivery->data + delivery->size)
        bytes = arena_copy(reader->batch->arena, bytes, line->size);
    read_event(reader, (unsigned)line->number - 1 + first, bytes, line->size);
    return true;
}

static bool has_too_many_lines(const struct broker_delivery *delivery)
{
    const char *at = delivery->data, *end = at + delivery->size;
    size_t lines = 0;

    while (lines <= BATCH_LINES_MAX && at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
        lines++;
        at++;
    }
    return lines > BATCH_LINES_MAX;
}

static void refuse_message(const struct reader *reader, const struct error *why)
{
    struct batch_origin origin = {
        .delivery = reader->index, .data = reader->delivery->data, .size = reader->delivery->size};

    add_part(reader->batch, &origin, why);
}

static void read_lines(struct reader *reader)
{
    const struct broker_delivery *delivery = reader->delivery;
    AUTO(ndjson_free) struct ndjson lines;
    struct error why;

    ndjson_start(&lines, delivery->size, on_line, reader); /* so no line is too long */
    if (has_too_many_lines(delivery)) {
        error_input(&why, "too_many_lines", "", "a message may have %d lines", BATCH_LINES_MAX);
        refuse_message(reader, &why);
        return;
    }
    ndjson_feed(&lines, delivery->data, delivery->size);
    ndjson_finish(&lines);
}

static const struct batch_source *source_of(const struct batch *batch, const char *subject)
{
    const struct topic *topic = topic_of_subject(batch->sources[0].topic->stream, subject);

    for (size_t i = 0; i < batch->source_count; i++)
        if (batch->sources[i].topic == topic)
            return &batch->sources[i];
    return NULL;
}

static void read_delivery(struct reader *reader)
{
    const struct broker_delivery *delivery = reader->delivery;
    struct error why;

    reader->source = source_of(reader->batch, delivery->subject);
    if (!reader->source) {
        error_input(&why, "unknown_subject", "", "no topic of '%s' has the subject '%s'",
                    reader->batch->sources[0].topic->stream, delivery->subject);
        refuse_message(reader, &why);
    } else if (reader->packed) {
        read_lines(reader);
    } else {
        read_event(reader, 0, delivery->data, delivery->size);
    }
}

void batch_decode(struct batch *batch, const struct broker_batch *deliveries)
{
    for (size_t i = 0; i < deliveries->count; i++) {
        const struct broker_delivery *delivery = &deliveries->deliveries[i];
        const char *type = broker_header(delivery, HEADER_CE_DATACONTENTTYPE);
        struct reader reader = {
            .batch = batch,
            .delivery = delivery,
            .origin = dead_letter_origin(delivery),
            .index = i,
            .packed = type && strcmp(type, CONTENT_NDJSON) == 0,
            .traceparent = broker_header(delivery, HEADER_TRACEPARENT),
        };
        read_delivery(&reader);
    }
}
