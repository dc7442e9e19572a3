#include "base/ndjson.h"

#include <string.h>

void ndjson_start(struct ndjson *reader, size_t max_line, ndjson_take *take, void *context)
{
    *reader = (struct ndjson){.take = take, .context = context, .max_line = max_line};
}

static bool hand_too_long(struct ndjson *reader)
{
    struct ndjson_line line = {.number = reader->number + 1, .too_long = true};

    return reader->take(reader->context, &line);
}

/* A whole line without its LF. */
static bool hand_line(struct ndjson *reader, const char *bytes, size_t size)
{
    if (size > 0 && bytes[size - 1] == '\r')
        size--;

    bool more = true;
    if (size > reader->max_line) {
        more = hand_too_long(reader);
    } else if (size > 0) {
        struct ndjson_line line = {.number = reader->number + 1, .bytes = bytes, .size = size};
        more = reader->take(reader->context, &line);
    }
    reader->number++;
    buffer_clear(&reader->partial);
    return more;
}

/* The piece ends a line that began in an earlier one, or a line of its own. */
static bool end_line(struct ndjson *reader, const char *bytes, size_t size)
{
    if (reader->skipping) {
        reader->skipping = false;
        reader->number++;
        return true;
    }
    if (reader->partial.size == 0)
        return hand_line(reader, bytes, size);
    if (size > reader->max_line + 1 - reader->partial.size)
        size = reader->max_line + 2 - reader->partial.size; /* too long in any case: enough of it */
    buffer_append(&reader->partial, bytes, size);
    return hand_line(reader, reader->partial.data, reader->partial.size);
}

/* A line begins, or goes on, and its end is not here yet. One byte over the limit may be a CR. */
static void keep_partial(struct ndjson *reader, const char *bytes, size_t size)
{
    if (reader->skipping)
        return;

    size_t whole = reader->partial.size + size;
    bool may_fit =
        whole <= reader->max_line || (whole == reader->max_line + 1 && bytes[size - 1] == '\r');
    if (may_fit) {
        buffer_append(&reader->partial, bytes, size);
        return;
    }
    reader->skipping = true;
    buffer_clear(&reader->partial);
    (void)hand_too_long(reader); /* nothing of this piece is left to hold back */
}

size_t ndjson_feed(struct ndjson *reader, const char *bytes, size_t size)
{
    size_t used = 0;

    while (used < size) {
        const char *start = bytes + used;
        const char *end = memchr(start, '\n', size - used);
        if (!end) {
            keep_partial(reader, start, size - used);
            return size;
        }
        used = (size_t)(end + 1 - bytes);
        if (!end_line(reader, start, (size_t)(end - start)))
            break;
    }
    return used;
}

void ndjson_finish(struct ndjson *reader)
{
    if (!reader->skipping && reader->partial.size > 0)
        (void)hand_line(reader, reader->partial.data, reader->partial.size); /* the last one */
}

void ndjson_free(struct ndjson *reader)
{
    buffer_free(&reader->partial);
}
