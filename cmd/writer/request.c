#include "request.h"

#include "summary.h"
#include "writer.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/ndjson.h"

#include <stdlib.h>
#include <string.h>

#define NANOSECONDS 1e9

/* One line of the body. */
struct entry {
    int64_t number;
    const struct error *refusal; /* NULL: it is the next of the job's lines */
};

/* On its way it belongs to the exchange, whose arena holds what is not a buffer. */
struct request {
    struct writer *writer;
    struct http_exchange *exchange;
    struct buffer bytes;         /* as they will be in the file */
    struct appender_line *lines; /* to be written */
    size_t line_count, line_room;
    struct entry *entries;
    size_t entry_count, entry_room;
    struct arena *scratch; /* of the line being read */
    struct appender_job job;
    int64_t start_ns;
    bool single, over; /* over: more lines than allowed */
};

static void release(void *state)
{
    struct request *request = state;

    buffer_free(&request->bytes);
    free(request->lines);
    free(request->entries);
    arena_free(request->scratch);
    free(request);
}

/* Doubles a list when it is full. */
static void *room(void *list, size_t count, size_t *capacity, size_t element)
{
    if (count < *capacity)
        return list;
    *capacity = *capacity ? *capacity * 2 : 16;
    return memory_resize(list, *capacity * element);
}

/* ---- the answer ---- */

static void observe(const struct request *request)
{
    metrics_observe(request->writer->latency,
                    (double)(clock_nanoseconds() - request->start_ns) / NANOSECONDS);
}

static enum writer_outcome outcome_of(const struct error *err)
{
    return err->code == ERROR_INVALID || err->code == ERROR_TOO_LARGE ? WRITER_REFUSED
                                                                      : WRITER_FAILED;
}

/* The whole request failed; lines: how many of it have not been counted yet. */
static void answer_problem(struct request *request, const struct error *err, size_t lines)
{
    writer_count(request->writer, outcome_of(err), lines);
    observe(request);
    http_problem(request->exchange, err);
}

static void write_refusal(struct json_writer *writer, const struct error *refusal)
{
    json_int(writer, "status", http_status_of(refusal));
    json_text(writer, "code", refusal->reason);
    if (*refusal->pointer)
        json_text(writer, "pointer", refusal->pointer);
    json_text(writer, "detail", refusal->message);
}

static void write_id(struct json_writer *writer, const struct appender_line *line)
{
    char id[ID_TEXT_SIZE];

    id_format(&line->id, id);
    json_text(writer, "id", id);
    if (line->duplicate)
        json_bool(writer, "duplicate", true);
}

static void write_single(const struct request *request, struct buffer *out)
{
    struct json_writer writer = {.out = out};

    json_open(&writer, NULL, '{');
    json_text(&writer, "status", "written");
    write_id(&writer, &request->lines[0]);
    json_close(&writer, '}');
}

static void write_bulk(const struct request *request, struct buffer *out)
{
    const struct appender_line *line = request->lines;

    for (size_t i = 0; i < request->entry_count; i++) {
        const struct entry *entry = &request->entries[i];
        struct json_writer writer = {.out = out};

        json_open(&writer, NULL, '{');
        json_int(&writer, "line", entry->number);
        if (entry->refusal) {
            write_refusal(&writer, entry->refusal);
        } else {
            json_int(&writer, "status", 200);
            write_id(&writer, line++);
        }
        json_close(&writer, '}');
        buffer_append(out, "\n", 1);
    }
}

static void answer(struct request *request)
{
    struct buffer body = {0};
    const char *type = request->single ? HTTP_JSON : HTTP_NDJSON;

    if (request->single)
        write_single(request, &body);
    else
        write_bulk(request, &body);
    observe(request);
    http_reply_buffer(request->exchange, 200, type, &body);
}

static void on_done(void *context, const struct error *err)
{
    struct request *request = context;
    size_t duplicates = 0;

    if (err->code != ERROR_NONE) {
        answer_problem(request, err, request->line_count);
        return;
    }
    for (size_t i = 0; i < request->line_count; i++)
        duplicates += request->lines[i].duplicate;
    writer_count(request->writer, WRITER_DUPLICATE, duplicates);
    writer_count(request->writer, WRITER_WRITTEN, request->line_count - duplicates);
    answer(request);
}

/* ---- the body ---- */

static bool add_line(struct request *request, const char *json, size_t size, struct error *err)
{
    struct vehicle_summary summary;

    if (!summary_read(json, size, request->scratch, &summary, err))
        return false;
    request->lines =
        room(request->lines, request->line_count, &request->line_room, sizeof(*request->lines));
    size_t offset = request->bytes.size;
    summary_write(&summary, &request->bytes);
    request->lines[request->line_count++] = (struct appender_line){
        .id = summary.id, .offset = offset, .size = request->bytes.size - offset};
    return true;
}

static const struct error *keep_refusal(struct request *request, const struct error *err)
{
    struct error *kept = arena_alloc(http_arena(request->exchange), sizeof(*kept));

    writer_count(request->writer, outcome_of(err), 1);
    *kept = *err;
    return kept;
}

static bool on_line(void *context, const struct ndjson_line *line)
{
    struct request *request = context;
    struct entry entry = {.number = line->number};
    struct error err;

    request->over = request->entry_count >= (size_t)request->writer->settings->bulk_max_lines;
    if (request->over)
        return true;
    bool taken = line->too_long ? error_set(&err, ERROR_TOO_LARGE,
                                            "the line has more than %d bytes", SUMMARY_BYTES_MAX)
                                : add_line(request, line->bytes, line->size, &err);
    if (!taken)
        entry.refusal = keep_refusal(request, &err);
    arena_reset(request->scratch);
    request->entries = room(request->entries, request->entry_count, &request->entry_room,
                            sizeof(*request->entries));
    request->entries[request->entry_count++] = entry;
    return true;
}

static bool read_bulk(struct request *request, const char *body, size_t size, struct error *err)
{
    AUTO(ndjson_free) struct ndjson lines;

    ndjson_start(&lines, SUMMARY_BYTES_MAX, on_line, request);
    ndjson_feed(&lines, body, size);
    ndjson_finish(&lines);
    if (request->over)
        return error_set(err, ERROR_TOO_LARGE, "the body has more than %d lines",
                         request->writer->settings->bulk_max_lines);
    return request->entry_count || error_input(err, JSON_EMPTY, "", "the body has no line");
}

static bool read_body(struct request *request, struct error *err)
{
    size_t size;
    const char *body = http_body(request->exchange, &size);

    if (!request->single)
        return read_bulk(request, body, size, err);
    return add_line(request, body, size, err);
}

void request_take(void *context, struct http_exchange *exchange)
{
    struct request *request = memory_alloc(sizeof(*request));
    struct error err;

    request->writer = context;
    request->exchange = exchange;
    request->start_ns = clock_nanoseconds();
    request->single = !http_is(exchange, HTTP_NDJSON);
    request->scratch = arena_new(SUMMARY_BYTES_MAX);
    http_keep(exchange, request, release);

    if (!read_body(request, &err)) {
        answer_problem(request, &err, 1);
        return;
    }
    if (!request->line_count) {
        answer(request); /* every line is refused */
        return;
    }
    request->job = (struct appender_job){
        .bytes = request->bytes.data,
        .lines = request->lines,
        .count = request->line_count,
        .done = on_done,
        .context = request,
    };
    http_defer(exchange);
    if (!appender_add(request->writer->appender, &request->job, &err))
        answer_problem(request, &err, request->line_count);
}
