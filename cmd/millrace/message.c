#include "message.h"

#include "catalogue.h"

#include "broker/checks.h"
#include "event/header.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define OWN_HEADERS 6
#define SOURCE "/millrace"
#define TYPE "millrace.message" /* of what is of no topic */

/* "name: value", as curl takes it. */
static bool read_header(struct target *target, const char *text, struct error *err)
{
    const char *colon = strchr(text, ':');

    if (!colon || colon == text)
        return error_set(err, ERROR_INVALID, "--header '%s': want 'NAME: VALUE'", text);
    if (target->given_count == TARGET_HEADERS_MAX - OWN_HEADERS)
        return error_set(err, ERROR_INVALID, "--header: at most %d of them",
                         TARGET_HEADERS_MAX - OWN_HEADERS);
    target->headers[target->given_count++] = (struct broker_header){
        .name = arena_copy(target->arena, text, (size_t)(colon - text)),
        .value = colon + 1 + strspn(colon + 1, " "),
    };
    return true;
}

static bool read_headers(struct target *target, const struct options *options, struct error *err)
{
    for (size_t i = 0; i < options->header_count; i++)
        if (!read_header(target, options->headers[i], err))
            return false;
    return true;
}

static bool find_stream(struct target *target, const struct command_context *context,
                        struct error *err)
{
    AUTO(catalogue_free) struct catalogue catalogue = {0};

    if (!check_subject(target->subject, err) ||
        !catalogue_load_subjects(&catalogue, context->broker, context->options->timeout_ms, err))
        return false;
    for (size_t i = 0; i < catalogue.stream_count; i++) {
        const struct broker_stream *stream = &catalogue.streams[i].settings;
        if (!subjects_overlap(stream->subjects, target->subject))
            continue;
        target->stream = arena_copy(target->arena, stream->name, strlen(stream->name));
        target->topic = topic_of_subject(target->stream, target->subject);
        return true;
    }
    return catalogue_has_none(&catalogue, target->subject, err);
}

bool target_find(struct target *out, const struct command_context *context, int *out_code,
                 struct error *err)
{
    *out = (struct target){.subject = context->arguments[0], .arena = arena_new(4096)};
    *out_code = EXIT_USAGE;
    if (!read_headers(out, context->options, err))
        return false;
    if (find_stream(out, context, err))
        return true;
    *out_code = command_exit_code(err);
    return false;
}

void target_free(struct target *target)
{
    arena_free(target->arena);
}

static void write_id(const char *id, int64_t line, struct envelope_text *text, int64_t now_ms)
{
    if (!id) {
        struct id made = id_new(now_ms);
        id_format(&made, text->id);
    } else if (line > 0) {
        snprintf(text->id, sizeof(text->id), "%s:%lld", id, (long long)line);
    } else {
        snprintf(text->id, sizeof(text->id), "%s", id);
    }
}

static void add(const struct target *target, struct broker_message *message,
                struct broker_header *headers, const struct broker_header *own)
{
    for (size_t i = 0; i < target->given_count; i++)
        if (strcasecmp(target->headers[i].name, own->name) == 0)
            return;
    headers[message->header_count++] = *own;
}

struct broker_message target_message(const struct target *target, const char *id, int64_t line,
                                     const char *data, size_t size, struct envelope_text *text)
{
    int64_t now_ms = clock_wall_ms(clock_system());
    struct broker_message message = {.stream = target->stream,
                                     .subject = target->subject,
                                     .id = text->id,
                                     .headers = text->headers,
                                     .header_count = target->given_count,
                                     .data = data,
                                     .size = size};

    write_id(id, line, text, now_ms);
    rfc3339_format(now_ms, text->time);
    const struct broker_header own[OWN_HEADERS] = {
        {HEADER_CE_SPECVERSION, "1.0"},
        {HEADER_CE_ID, text->id},
        {HEADER_CE_SOURCE, SOURCE},
        {HEADER_CE_TYPE, target->topic ? target->topic->type : TYPE},
        {HEADER_CE_TIME, text->time},
        {HEADER_CE_DATACONTENTTYPE, CONTENT_JSON},
    };
    memcpy(text->headers, target->headers, target->given_count * sizeof(*target->headers));
    for (size_t i = 0; i < OWN_HEADERS; i++)
        add(target, &message, text->headers, &own[i]);
    return message;
}
