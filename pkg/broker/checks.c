#include "broker/checks.h"

#include <string.h>
#include <strings.h>

#define NAME_MAX_BYTES 128
#define SUBJECT_MAX_BYTES 512
#define HEADERS_MAX 64
#define RESERVED_HEADERS "Nats-"

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("-_=", c);
}

bool check_name(const char *what, const char *name, struct error *err)
{
    size_t size = name ? strlen(name) : 0;

    if (size == 0 || size > NAME_MAX_BYTES)
        return error_set(err, ERROR_INVALID, "a %s needs a name of 1 to %d bytes", what,
                         NAME_MAX_BYTES);
    for (size_t i = 0; i < size; i++)
        if (!is_name_byte(name[i]))
            return error_set(err, ERROR_INVALID, "'%s' is not the name of a %s", name, what);
    return true;
}

static bool is_control(char c)
{
    return (unsigned char)c < ' ' || c == 0x7f;
}

/* "*" and ">" are wildcards only as whole tokens; as a part of one they confuse readers: never. */
static bool is_token(const char *token, size_t size, bool last, bool wildcards)
{
    if (size == 1 && wildcards && (*token == '*' || (*token == '>' && last)))
        return true;
    for (size_t i = 0; i < size; i++)
        if (is_control(token[i]) || strchr(" *>", token[i]))
            return false;
    return size > 0;
}

static bool check_tokens(const char *text, bool wildcards, struct error *err)
{
    const char *what = wildcards ? "a subject pattern" : "a subject";

    if (!text || strlen(text) > SUBJECT_MAX_BYTES)
        return error_set(err, ERROR_INVALID, "%s needs 1 to %d bytes", what, SUBJECT_MAX_BYTES);
    for (const char *token = text;; token++) {
        size_t size = strcspn(token, ".");
        bool last = token[size] == '\0';
        if (!is_token(token, size, last, wildcards))
            return error_set(err, ERROR_INVALID, "'%s' is not %s", text, what);
        token += size;
        if (last)
            return true;
    }
}

bool check_subject(const char *subject, struct error *err)
{
    return check_tokens(subject, false, err);
}

bool check_pattern(const char *pattern, struct error *err)
{
    return check_tokens(pattern, true, err);
}

static bool check_id(const char *id, struct error *err)
{
    size_t size = id ? strlen(id) : 0;

    if (size == 0 || size > BROKER_ID_MAX)
        return error_set(err, ERROR_INVALID, "an id needs 1 to %d bytes", BROKER_ID_MAX);
    for (size_t i = 0; i < size; i++)
        if (is_control(id[i]) || id[i] == ' ')
            return error_set(err, ERROR_INVALID, "an id with a space or a control character");
    return true;
}

static bool check_header(const struct broker_header *header, struct error *err)
{
    if (!header->name || !*header->name || !header->value)
        return error_set(err, ERROR_INVALID, "a header needs a name and a value");
    for (const char *at = header->name; *at; at++)
        if (*at <= ' ' || *at >= 0x7f || *at == ':')
            return error_set(err, ERROR_INVALID, "'%s' is not the name of a header", header->name);
    if (strncasecmp(header->name, RESERVED_HEADERS, strlen(RESERVED_HEADERS)) == 0)
        return error_set(err, ERROR_INVALID, "header '%s' is the broker's own", header->name);
    for (const char *at = header->value; *at; at++)
        if (is_control(*at))
            return error_set(err, ERROR_INVALID, "header '%s' has a control character",
                             header->name);
    return true;
}

static bool check_headers(const struct broker_message *message, size_t *out_size, struct error *err)
{
    *out_size = 0;
    if (message->header_count > HEADERS_MAX)
        return error_set(err, ERROR_INVALID, "more than %d headers", HEADERS_MAX);
    for (size_t i = 0; i < message->header_count; i++) {
        const struct broker_header *header = &message->headers[i];
        if (!check_header(header, err))
            return false;
        *out_size += strlen(header->name) + strlen(header->value);
    }
    return true;
}

bool check_message(const struct broker_message *message, struct error *err)
{
    size_t header_size;

    if (!check_name("stream", message->stream, err) || !check_subject(message->subject, err) ||
        !check_id(message->id, err) || !check_headers(message, &header_size, err))
        return false;
    if (message->size > BROKER_MESSAGE_MAX || header_size > BROKER_MESSAGE_MAX - message->size)
        return error_set(err, ERROR_TOO_LARGE, "%zu bytes with headers, at most %d",
                         message->size + header_size, BROKER_MESSAGE_MAX);
    return true;
}

bool check_stream(const struct broker_stream *stream, struct error *err)
{
    if (!check_name("stream", stream->name, err) || !check_pattern(stream->subjects, err))
        return false;
    if (stream->max_bytes <= 0 || stream->dedup_window_ms <= 0 || stream->replicas < 1)
        return error_set(err, ERROR_INVALID,
                         "stream %s needs max_bytes, dedup_window_ms and replicas above 0",
                         stream->name);
    return true;
}

bool check_group(const struct broker_group *group, struct error *err)
{
    if (!check_name("stream", group->stream, err) || !check_name("consumer", group->name, err) ||
        (group->filter && !check_pattern(group->filter, err)))
        return false;
    if (group->ack_wait_ms <= 0 || group->max_in_flight < 1 || group->max_attempts < 1)
        return error_set(err, ERROR_INVALID,
                         "consumer %s needs ack_wait_ms, max_in_flight and max_attempts above 0",
                         group->name);
    return true;
}

static bool check_verdict(const struct broker_verdict *verdict, struct error *err)
{
    switch (verdict->action) {
    case BROKER_DONE:
        return true;
    case BROKER_RETRY:
        return (verdict->delay_ms >= 0 && verdict->delay_ms <= BROKER_DELAY_MAX_MS) ||
               error_set(err, ERROR_INVALID, "a retry after %lld ms, not 0 to 24 h",
                         (long long)verdict->delay_ms);
    case BROKER_REJECT:
        return (verdict->reason && *verdict->reason) ||
               error_set(err, ERROR_INVALID, "a rejection without a reason");
    }
    return error_set(err, ERROR_INVALID, "no such verdict: %d", (int)verdict->action);
}

bool check_verdicts(const struct broker_verdict *verdicts, size_t count, size_t expected,
                    struct error *err)
{
    if (count != expected)
        return error_set(err, ERROR_INVALID, "%zu verdicts for %zu deliveries", count, expected);
    for (size_t i = 0; i < count; i++)
        if (!check_verdict(&verdicts[i], err))
            return false;
    return true;
}

bool pattern_matches(const char *pattern, const char *subject)
{
    for (;;) {
        size_t want = strcspn(pattern, "."), have = strcspn(subject, ".");
        if (want == 1 && *pattern == '>')
            return true;
        if (!(want == 1 && *pattern == '*') &&
            (want != have || strncmp(pattern, subject, want) != 0))
            return false;
        if (!pattern[want] || !subject[have])
            return !pattern[want] && !subject[have];
        pattern += want + 1;
        subject += have + 1;
    }
}
