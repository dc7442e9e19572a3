/* However the bytes are cut, and whenever the taker pauses, the lines are the same. */
#include "base/ndjson.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIMIT 8

static bool pausing(void *context, const struct ndjson_line *line)
{
    struct buffer *seen = context;

    if (line->too_long ? line->bytes != NULL : line->size == 0 || line->size > LIMIT)
        abort();
    buffer_print(seen, "%d%c", (int)line->number, line->too_long ? '!' : ':');
    buffer_append(seen, line->bytes, line->size);
    return line->number % 3 != 0;
}

static void feed(const char *text, size_t size, size_t piece, struct buffer *seen)
{
    AUTO(ndjson_free) struct ndjson reader;
    size_t used = 0;

    ndjson_start(&reader, LIMIT, pausing, seen);
    while (used < size) {
        size_t left = size - used < piece ? size - used : piece;
        size_t got = ndjson_feed(&reader, text + used, left);
        if (got == 0 || got > left || reader.partial.size > LIMIT + 1)
            abort();
        used += got;
    }
    ndjson_finish(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buffer_free) struct buffer whole = {0};
    AUTO(buffer_free) struct buffer pieces = {0};

    if (size == 0)
        return 0;
    feed((const char *)data + 1, size - 1, size, &whole);
    feed((const char *)data + 1, size - 1, 1 + data[0] % 16, &pieces);
    if (whole.size != pieces.size ||
        (whole.size && memcmp(whole.data, pieces.data, whole.size) != 0))
        abort();
    return 0;
}
