#include "tail.h"

#include "catalogue.h"
#include "letter.h"
#include "option.h"
#include "patience.h"
#include "sheet.h"

#include "base/memory.h"
#include "base/rfc3339.h"
#include "base/utf8.h"
#include "broker/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANNOUNCED "bc."
#define STEP_MESSAGES ((size_t)200)
#define FIRST_WAIT_MS 10
#define MOST_WAIT_MS 200

/* A stream that is followed. */
struct trail {
    struct tail *tail;
    const char *stream;
    char last[BROKER_SEQUENCE_SIZE]; /* looked at; "": none */
    bool inclusive;                  /* `last` itself is to be shown, too */
    size_t seen;                     /* by the last peek */
};

struct tail {
    const struct command_context *context;
    struct trail *trails;
    size_t trail_count;
    int64_t shown;
    bool closed; /* nobody reads any more */
    bool away;   /* the last peek failed */
};

/* ---- showing ---- */

/* Of a name that came twice the first, as broker_header finds it. */
static void write_headers(struct json_writer *writer, const struct broker_delivery *message)
{
    json_open(writer, "headers", '{');
    for (size_t i = 0; i < message->header_count; i++) {
        AUTO(buffer_free) struct buffer value = {0};
        const struct broker_header *header = &message->headers[i];
        if (broker_header(message, header->name) != header->value)
            continue;
        buffer_text(&value, "");
        text_clean(&value, header->value, strlen(header->value));
        json_text(writer, header->name, value.data);
    }
    json_close(writer, '}');
}

static void write_message(struct json_writer *writer, const char *stream,
                          const struct broker_delivery *message)
{
    json_open(writer, NULL, '{');
    json_text(writer, "stream", stream);
    json_text(writer, "sequence", message->sequence);
    json_text(writer, "subject", message->subject);
    json_time(writer, "time", message->stored_ms);
    json_text(writer, "id", *message->id ? message->id : NULL);
    write_headers(writer, message);
    letter_write_data(writer, message);
    json_close(writer, '}');
}

static void print_message(struct buffer *line, const struct broker_delivery *message)
{
    char time[RFC3339_SIZE];

    rfc3339_format(message->stored_ms, time);
    buffer_print(line, "%s  ", time);
    text_clean(line, message->subject, strlen(message->subject));
    buffer_text(line, "  ");
    if (*message->id)
        text_clean(line, message->id, strlen(message->id));
    else
        buffer_text(line, "-");
    buffer_text(line, "  ");
    text_clean(line, message->data, message->size);
}

bool tail_show(const struct command_context *context, const char *stream,
               const struct broker_delivery *message)
{
    AUTO(buffer_free) struct buffer line = {0};
    struct json_writer writer = {.out = &line};

    if (context->options->json)
        write_message(&writer, stream, message);
    else
        print_message(&line, message);
    print_line(&line);
    return !ferror(stdout);
}

/* ---- following ---- */

static bool has_enough(const struct tail *tail)
{
    int64_t max = tail->context->options->max;

    return tail->closed || (max > 0 && tail->shown >= max) || command_is_interrupted();
}

static void on_message(void *context, const struct broker_delivery *message)
{
    struct trail *trail = context;
    struct tail *tail = trail->tail;
    bool again = !trail->inclusive && strcmp(message->sequence, trail->last) == 0;

    if (has_enough(tail))
        return;
    snprintf(trail->last, sizeof(trail->last), "%s", message->sequence);
    trail->inclusive = false;
    trail->seen += !again;
    if (again || !subjects_overlap(tail->context->arguments[0], message->subject))
        return;
    tail->shown++;
    tail->closed = !tail_show(tail->context, trail->stream, message);
}

/* The message that was looked at last is looked at again: what is behind a sequence is the driver's
 * secret. */
static bool step(struct trail *trail, struct error *err)
{
    const struct command_context *context = trail->tail->context;

    trail->seen = 0;
    return broker_peek(context->broker, trail->stream, trail->last, STEP_MESSAGES, on_message,
                       trail, context->options->timeout_ms, err);
}

/* One look at every stream. False: the error is for the caller to tell. */
static bool look(struct tail *tail, size_t *out_seen, struct error *err)
{
    *out_seen = 0;
    for (size_t i = 0; i < tail->trail_count && !has_enough(tail); i++) {
        if (!step(&tail->trails[i], err))
            return false;
        *out_seen += tail->trails[i].seen;
    }
    return true;
}

static bool is_passing(const struct error *err)
{
    return err->code == ERROR_UNAVAILABLE || err->code == ERROR_TIMEOUT ||
           err->code == ERROR_UNKNOWN;
}

static void tell_away(struct tail *tail, const struct error *err)
{
    if (!tail->away)
        command_tell(tail->context, "%s; waiting", err->message);
    tail->away = true;
}

static int follow(struct tail *tail)
{
    int wait_ms = FIRST_WAIT_MS;
    struct error err;
    size_t seen;
    bool begun = false;

    while (!has_enough(tail)) {
        if (look(tail, &seen, &err)) {
            begun = true;
            tail->away = false;
        } else if (begun && is_passing(&err)) {
            tell_away(tail, &err);
        } else {
            return command_fail(tail->context, &err);
        }
        tail->closed = tail->closed || stdout_is_closed();
        wait_ms = seen > 0                     ? FIRST_WAIT_MS
                  : wait_ms * 2 < MOST_WAIT_MS ? wait_ms * 2
                                               : MOST_WAIT_MS;
        if (seen < STEP_MESSAGES && !has_enough(tail))
            (void)patience_wait(-1, wait_ms);
    }
    return EXIT_DONE;
}

/* ---- beginning ---- */

static void add_trail(struct tail *tail, const struct broker_stream_info *stream)
{
    const char *since = tail->context->options->since;
    struct trail *trail = &tail->trails[tail->trail_count++];

    *trail = (struct trail){.tail = tail, .stream = stream->settings.name};
    if (strcmp(since, "new") == 0) {
        snprintf(trail->last, sizeof(trail->last), "%s", stream->last);
    } else if (strcmp(since, "first") != 0) {
        snprintf(trail->last, sizeof(trail->last), "%s", since);
        trail->inclusive = true;
    }
}

static bool find_streams(struct tail *tail, const struct catalogue *catalogue, struct error *err)
{
    const char *pattern = tail->context->arguments[0];

    tail->trails = memory_alloc((catalogue->stream_count + 1) * sizeof(*tail->trails));
    for (size_t i = 0; i < catalogue->stream_count; i++)
        if (subjects_overlap(catalogue->streams[i].settings.subjects, pattern))
            add_trail(tail, &catalogue->streams[i]);
    return tail->trail_count > 0 || catalogue_has_none(catalogue, pattern, err);
}

static bool check_since(const char *since, struct error *err)
{
    if (strcmp(since, "first") == 0 || strcmp(since, "new") == 0 ||
        (*since >= '0' && *since <= '9' && strlen(since) < BROKER_SEQUENCE_SIZE))
        return true;
    return error_set(err, ERROR_INVALID, "--since '%s': want first, new or a sequence", since);
}

static bool load(struct catalogue *catalogue, const struct command_context *context,
                 struct error *err)
{
    int timeout_ms = context->options->timeout_ms;

    /* Where "new" begins is in the list alone. */
    return strcmp(context->options->since, "new") == 0
               ? catalogue_load(catalogue, context->broker, timeout_ms, err)
               : catalogue_load_subjects(catalogue, context->broker, timeout_ms, err);
}

int run_tail(const struct command_context *context)
{
    AUTO(catalogue_free) struct catalogue catalogue = {0};
    struct tail tail = {.context = context};
    struct error err;

    if (!check_since(context->options->since, &err))
        return command_misused(context, "tail: %s", err.message);
    if (!check_pattern(context->arguments[0], &err))
        return command_fail(context, &err);
    if (strncmp(context->arguments[0], ANNOUNCED, strlen(ANNOUNCED)) == 0)
        return tail_listen(context);
    bool ok = load(&catalogue, context, &err) && find_streams(&tail, &catalogue, &err);
    int code = ok ? follow(&tail) : command_fail(context, &err);
    free(tail.trails);
    return code;
}
