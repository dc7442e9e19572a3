#include "origin.h"

#include "event/header.h"
#include "event/traceparent.h"

#include <stdio.h>
#include <string.h>

#define KEY_MAX ((size_t)255)

static const char *find_header(void *exchange, const char *name)
{
    return http_header(exchange, name);
}

static bool is_visible_ascii(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

static bool read_key(const struct http_exchange *exchange, struct origin *out, struct error *err)
{
    const char *key = http_header(exchange, "Idempotency-Key");

    if (key && (!*key || strlen(key) > KEY_MAX || !is_visible_ascii(key)))
        return error_input(err, "invalid_idempotency_key", "",
                           "Idempotency-Key: want 1 to %zu visible ASCII characters", KEY_MAX);
    out->key = key;
    return true;
}

bool origin_read_headers(struct http_exchange *exchange, struct origin *out, struct error *err)
{
    const char *traceparent = http_header(exchange, HEADER_TRACEPARENT);

    *out = (struct origin){0};
    if (traceparent && traceparent_is_valid(traceparent, strlen(traceparent)))
        out->traceparent = traceparent;
    return read_key(exchange, out, err);
}

bool origin_read(struct http_exchange *exchange, struct origin *out, struct error *err)
{
    struct cloudevent_request request = {.header = find_header, .context = exchange};

    if (!origin_read_headers(exchange, out, err))
        return false;
    request.body = http_body(exchange, &request.size);
    out->is_cloudevent = cloudevent_is(&request);
    return !out->is_cloudevent ||
           cloudevent_read(&request, http_arena(exchange), &out->cloudevent, err);
}

struct id origin_id(const struct origin *origin, const struct topic *topic, int64_t line)
{
    char key[KEY_MAX + 64];

    if (origin->key) {
        int length =
            snprintf(key, sizeof(key), "%s %lld %s", topic->name, (long long)line, origin->key);
        return id_derive("idempotency", key, (size_t)length);
    }
    return origin->is_cloudevent ? origin->cloudevent.id : (struct id){0};
}

void origin_envelope(const struct origin *origin, const struct topic *topic, const struct id *id,
                     int64_t time_ms, const char *content_type, struct envelope *out)
{
    struct envelope_facts facts = {
        .id = id,
        .time_ms = time_ms,
        .content_type = content_type,
        .traceparent = origin->traceparent,
    };

    if (origin->is_cloudevent) {
        facts.source = origin->cloudevent.source;
        facts.type = origin->cloudevent.type;
        facts.subject = origin->cloudevent.subject;
    }
    envelope_fill(out, topic, &facts);
}
