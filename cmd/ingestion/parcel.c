#include "parcel.h"

#include "base/clock.h"
#include "event/header.h"

void parcel_fill(struct parcel *parcel, const struct topic *topic, const struct origin *origin,
                 const void *event)
{
    topic_subject(topic, event, &parcel->subject);
    json_encode(topic->fields, event, &parcel->body);
    origin_envelope(origin, topic, topic_id(topic, event), topic_time_ms(topic, event),
                    CONTENT_JSON, &parcel->envelope);
}

void parcel_reply_to(struct parcel *parcel, const char *topic, int left_ms)
{
    rfc3339_format(clock_wall_ms(clock_system()) + left_ms, parcel->deadline);
    envelope_add(&parcel->envelope, HEADER_DEADLINE, parcel->deadline);
    envelope_add(&parcel->envelope, HEADER_REPLY_TO, topic);
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
    buffer_free(&parcel->subject);
    buffer_free(&parcel->body);
}
