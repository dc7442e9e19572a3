#include "question.h"

static bool read_range(struct question *question, int64_t now_ms, struct error *err)
{
    const struct resource *resource = question->resource;
    struct store_value *from = &question->slots[SLOT_FROM], *to = &question->slots[SLOT_TO];

    if (resource->range_ms == 0)
        return true;
    if (!to->present)
        *to = (struct store_value){.present = true, .type = STORE_TIME, .integer = now_ms};
    if (!from->present)
        *from = (struct store_value){
            .present = true, .type = STORE_TIME, .integer = to->integer - resource->range_ms};
    if (from->integer >= to->integer)
        return error_input(err, JSON_RANGE, "/query/from", "from must be before to");
    if (to->integer - from->integer > resource->range_max_ms)
        return error_input(err, JSON_RANGE, "/query/from", "from and to must be within %lld days",
                           (long long)(resource->range_max_ms / 86400000));
    return true;
}

bool question_read(struct question *question, parameter_find *find, const void *request,
                   int64_t now_ms, struct arena *arena, struct error *err)
{
    const struct resource *resource = question->resource;
    struct store_value *slots = question->slots;

    slots[SLOT_UNCUT] =
        (struct store_value){.present = true, .type = STORE_INT, .integer = RESOURCE_ROWS_MAX};
    if (!parameters_read(resource->parameters, find, request, slots, err) ||
        !read_range(question, now_ms, err))
        return false;
    return !slots[SLOT_CURSOR].present ||
           cursor_read(resource->cursor, slots[SLOT_CURSOR].text, arena, &slots[SLOT_KEYS], err);
}

static void write_echoes(const struct question *question, struct json_writer *writer)
{
    for (const struct resource_echo *echo = question->resource->echoes; echo->name != NULL;
         echo++) {
        const struct store_value *value = &question->slots[echo->slot];

        if (value->type == STORE_TIME)
            json_time(writer, echo->name, value->integer);
        else
            json_text(writer, echo->name, value->text);
    }
}

static bool write_part(const struct question *question, const struct resource_part *part,
                       struct store *store, struct json_writer *writer, size_t *out_rows,
                       struct error *err)
{
    AUTO(buffer_free) struct buffer next = {0};
    struct store_value arguments[STORE_PARAMETERS_MAX];
    struct store_page page = {.single = part->list == NULL};

    for (size_t i = 0; i < part->query->parameter_count; i++)
        arguments[i] = question->slots[part->arguments[i]];
    if (part->list != NULL)
        json_open(writer, part->list, '[');
    bool selected = store_select(store, part->query, arguments, writer, &page, err);
    if (part->list != NULL)
        json_close(writer, ']');

    const struct cursor_kind *cursor = question->resource->cursor;
    *out_rows = page.rows;
    if (selected && cursor != NULL) {
        bool full = (int64_t)page.rows == question->slots[SLOT_LIMIT].integer;
        if (full)
            cursor_write(cursor, page.last_keys.data, page.last_keys.size, &next);
        json_text(writer, "next", full ? next.data : NULL);
    }
    buffer_free(&page.last_keys);
    return selected;
}

static bool refuse_missing(const struct resource *resource, struct error *err)
{
    (void)error_set(err, ERROR_NOT_FOUND, "there is no such thing, or not yet");
    err->reason = resource->missing;
    return false;
}

bool question_answer(void *context, struct http_exchange *exchange, struct store *store,
                     struct buffer *out, struct error *err)
{
    const struct question *question = context;
    const struct resource_part *parts = question->resource->parts;
    struct json_writer writer = {.out = out};
    size_t rows;

    json_open(&writer, NULL, '{');
    write_echoes(question, &writer);
    for (const struct resource_part *part = parts; part->query != NULL; part++) {
        if (http_remaining_ms(exchange) == 0)
            return error_set(err, ERROR_TIMEOUT, "the query took too long");
        if (!write_part(question, part, store, &writer, &rows, err))
            return false;
        if (rows == 0 && part == parts && question->resource->missing != NULL)
            return refuse_missing(question->resource, err);
    }
    json_close(&writer, '}');
    return true;
}
