#include "body.h"

#include "base/clock.h"

struct topic_defaults body_defaults(struct http_exchange *exchange, const struct topic *topic,
                                    const struct origin *origin)
{
    int64_t now_ms = clock_wall_ms(clock_system());
    bool timed = origin->is_cloudevent && origin->cloudevent.time_ms != JSON_TIME_ABSENT;

    return (struct topic_defaults){
        .id = origin_id(origin, topic, 0),
        .time_ms = timed ? origin->cloudevent.time_ms : now_ms,
        .now_ms = now_ms,
        .arena = http_arena(exchange),
    };
}

bool body_accept(struct http_exchange *exchange, const struct topic *topic, struct origin *out,
                 void *event, struct error *err)
{
    size_t size;
    const char *json = http_body(exchange, &size);

    if (!origin_read(exchange, out, err))
        return false;
    if (out->is_cloudevent) {
        json = out->cloudevent.data;
        size = out->cloudevent.size;
    }

    struct topic_defaults defaults = body_defaults(exchange, topic, out);
    if (topic_accept(topic, &defaults, json, size, event, err))
        return true;
    return out->is_cloudevent && cloudevent_locate(&out->cloudevent, err);
}
