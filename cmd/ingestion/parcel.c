#include "parcel.h"

#include "base/clock.h"
#include "event/header.h"

#include <string.h>

#define ARENA_BYTES 1024

void parcel_fill(struct parcel *parcel, const struct topic *topic, const struct origin *origin,
                 const void *event)
{
    parcel->arena = arena_new(ARENA_BYTES);
    topic_subject(topic, event, &parcel->subject);
    json_encode(topic->fields, event, &parcel->body);
    origin_envelope(origin, topic, topic_id(topic, event), topic_time_ms(topic, event),
                    CONTENT_JSON, &parcel->envelope);
    for (size_t i = 0; i < parcel->envelope.count; i++) {
        struct broker_header *header = &parcel->envelope.headers[i];
        header->value = arena_copy(parcel->arena, header->value, strlen(header->value));
    }
}

void parcel_reply_to(struct parcel *parcel, const char *topic, int left_ms)
{
    char *deadline = arena_alloc(parcel->arena, RFC3339_SIZE);

    rfc3339_format(clock_wall_ms(clock_system()) + left_ms, deadline);
    envelope_add(&parcel->envelope, HEADER_DEADLINE, deadline);
    envelope_add(&parcel->envelope, HEADER_REPLY_TO,
                 arena_copy(parcel->arena, topic, strlen(topic)));
}

struct broker_message parcel_message(const struct parcel *parcel, const struct topic *topic)
{
    return (struct broker_message){
        .stream = topic->stream,
        .subject = parcel->subject.data,
        .id = parcel->envelope.id,
        .headers = parcel->envelope.headers,
        .header_count = parcel->envelope.count,
        .data = parcel->body.data,
        .size = parcel->body.size,
    };
}

void parcel_free(struct parcel *parcel)
{
    arena_free(parcel->arena);
    buffer_free(&parcel->subject);
    buffer_free(&parcel->body);
}
