#include "event/cloudevents.h"

#include "base/buffer.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/rfc3339.h"
#include "base/utf8.h"
#include "event/header.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TEXT_MAX 1024 /* bytes of an attribute; the specification asks for nothing longer */

/* The attributes as both modes give them. */
struct envelope {
    const char *specversion, *id, *source, *type, *subject, *content_type;
    const char *data, *data_base64;
    size_t size; /* of data */
    int64_t time_ms;
};

#define TEXT(text, member, ...)                                                                    \
    {                                                                                              \
        .name = text, .kind = JSON_TEXT, .offset = offsetof(struct envelope, member),              \
        .max = TEXT_MAX, __VA_ARGS__                                                               \
    }

static const struct json_field envelope_fields[] = {
    TEXT("specversion", specversion, .required = true),
    TEXT("id", id, .required = true, .min = 1),
    TEXT("source", source, .required = true, .min = 1),
    TEXT("type", type, .required = true, .min = 1),
    TEXT("subject", subject, .min = 1),
    TEXT("datacontenttype", content_type, .min = 1),
    {.name = "time", .kind = JSON_TIME, .offset = offsetof(struct envelope, time_ms)},
    {.name = "data", .kind = JSON_OBJECT, .offset = offsetof(struct envelope, data)},
    {.name = "data_base64", .kind = JSON_TEXT, .offset = offsetof(struct envelope, data_base64)},
    {0},
};

/* Is it this media type, whatever its parameters? */
static bool is_media_type(const char *value, const char *type)
{
    size_t size = strlen(type);

    return value && strncasecmp(value, type, size) == 0 && strchr("; \t", value[size]);
}

/* application/json, text/json or anything+json. */
static bool is_json(const char *value)
{
    size_t size = strcspn(value, "; \t");

    return size >= 5 && (strncasecmp(value + size - 5, "/json", 5) == 0 ||
                         strncasecmp(value + size - 5, "+json", 5) == 0);
}

static const char *header(const struct cloudevent_request *request, const char *name)
{
    return request->header(request->context, name);
}

/* Structured mode and batches share the start of their media types. */
static bool is_structured(const struct cloudevent_request *request)
{
    static const char prefix[] = "application/cloudevents";
    const char *type = header(request, HEADER_CONTENT_TYPE);

    return type && strncasecmp(type, prefix, sizeof(prefix) - 1) == 0;
}

bool cloudevent_is(const struct cloudevent_request *request)
{
    return is_structured(request) || header(request, HEADER_CE_SPECVERSION) != NULL;
}

/* Undoes quotes and percent signs (HTTP binding, 3.1.3.2). What is not an escape stays. */
static void unescape(const char *value, struct buffer *out)
{
    bool quoted = *value == '"';

    for (value += quoted; *value && !(quoted && *value == '"'); value++) {
        if (quoted && *value == '\\' && value[1])
            value++;
        int high = *value == '%' ? hex_value(value[1]) : -1;
        int low = high < 0 ? -1 : hex_value(value[2]);
        char byte = (char)(low < 0 ? *value : high << 4 | low);
        buffer_append(out, &byte, 1);
        value += low < 0 ? 0 : 2;
    }
}

struct attribute {
    const char *name;
    bool required;
};

/* NULL in *out when it is absent and may be. */
static bool read_header(const struct cloudevent_request *request, struct attribute attribute,
                        struct arena *arena, const char **out, struct error *err)
{
    const char *value = header(request, attribute.name);
    AUTO(buffer_free) struct buffer text = {0};

    *out = NULL;
    if (!value && !attribute.required)
        return true;
    if (!value)
        return error_input(err, JSON_MISSING, "", "header %s is required", attribute.name);
    unescape(value, &text);
    if (text.size == 0 || text.size > TEXT_MAX)
        return error_input(err, JSON_RANGE, "", "header %s: want 1 to %d bytes", attribute.name,
                           TEXT_MAX);
    if (!utf8_is_valid(text.data, text.size) || memchr(text.data, '\0', text.size))
        return error_input(err, JSON_ENCODING, "", "header %s is not text", attribute.name);
    *out = arena_copy(arena, text.data, text.size);
    return true;
}

static bool read_time(const struct cloudevent_request *request, int64_t *out_ms, struct error *err)
{
    const char *value = header(request, HEADER_CE_TIME);

    *out_ms = JSON_TIME_ABSENT;
    if (value && !rfc3339_parse(value, strlen(value), out_ms))
        return error_input(err, JSON_FORMAT, "", "header %s: want a time with a zone (RFC 3339)",
                           HEADER_CE_TIME);
    return true;
}

static bool read_binary(const struct cloudevent_request *request, struct arena *arena,
                        struct envelope *out, struct error *err)
{
    const struct {
        struct attribute attribute;
        const char **target;
    } attributes[] = {
        {{HEADER_CE_SPECVERSION, true}, &out->specversion}, {{HEADER_CE_ID, true}, &out->id},
        {{HEADER_CE_SOURCE, true}, &out->source},           {{HEADER_CE_TYPE, true}, &out->type},
        {{HEADER_CE_SUBJECT, false}, &out->subject},
    };

    for (size_t i = 0; i < ARRAY_LEN(attributes); i++)
        if (!read_header(request, attributes[i].attribute, arena, attributes[i].target, err))
            return false;
    out->content_type = header(request, HEADER_CONTENT_TYPE);
    out->data = request->body;
    out->size = request->size;
    return read_time(request, &out->time_ms, err);
}

static bool read_structured(const struct cloudevent_request *request, struct arena *arena,
                            struct envelope *out, struct error *err)
{
    if (!json_decode(envelope_fields, request->body, request->size, out, arena, err))
        return false;
    if (out->data_base64)
        return error_input(err, JSON_FORMAT, "/data_base64", "the event must be JSON in 'data'");
    if (!out->data)
        return error_input(err, JSON_MISSING, "/data", "field 'data': is required");
    out->size = strlen(out->data);
    return true;
}

static bool check(const struct envelope *envelope, bool structured, struct error *err)
{
    if (!envelope->specversion || strcmp(envelope->specversion, "1.0") != 0)
        return error_input(err, JSON_RANGE, structured ? "/specversion" : "",
                           "CloudEvents specversion: want 1.0");
    if (envelope->content_type && !is_json(envelope->content_type))
        return error_input(err, JSON_FORMAT, structured ? "/datacontenttype" : "",
                           "the event must be JSON");
    return true;
}

/* Unique is the pair of source and id; the NUL between them keeps pairs apart. */
static struct id identify(const struct envelope *envelope)
{
    AUTO(buffer_free) struct buffer key = {0};
    struct id id;

    if (id_parse(envelope->id, strlen(envelope->id), &id) && !id_is_zero(&id))
        return id;
    buffer_append(&key, envelope->source, strlen(envelope->source) + 1);
    buffer_text(&key, envelope->id);
    return id_derive("cloudevent", key.data, key.size);
}

bool cloudevent_read(const struct cloudevent_request *request, struct arena *arena,
                     struct cloudevent *out, struct error *err)
{
    bool structured = is_structured(request);
    struct envelope envelope = {0};

    if (structured && !is_media_type(header(request, HEADER_CONTENT_TYPE), CONTENT_CLOUDEVENT))
        return error_input(err, JSON_FORMAT, "",
                           "of the CloudEvents media types only " CONTENT_CLOUDEVENT " is taken");
    if (structured ? !read_structured(request, arena, &envelope, err)
                   : !read_binary(request, arena, &envelope, err))
        return false;
    if (!check(&envelope, structured, err))
        return false;
    *out = (struct cloudevent){
        .id = identify(&envelope),
        .source = envelope.source,
        .type = envelope.type,
        .subject = envelope.subject,
        .time_ms = envelope.time_ms,
        .data = envelope.data,
        .size = envelope.size,
        .place = structured ? "/data" : "",
    };
    return true;
}

bool cloudevent_locate(const struct cloudevent *event, struct error *err)
{
    char pointer[sizeof(err->pointer)];
    int size = snprintf(pointer, sizeof(pointer), "%s%s", event->place, err->pointer);

    if (size >= 0 && (size_t)size < sizeof(pointer))
        memcpy(err->pointer, pointer, (size_t)size + 1);
    else
        snprintf(err->pointer, sizeof(err->pointer), "%s", event->place);
    return false;
}
