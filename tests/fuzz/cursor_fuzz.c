/* Any text as a cursor, and any bytes as the keys of one. */
#include "cursor.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct cursor_kind kind = {"fuzz", 3, {STORE_TIME, STORE_ID, STORE_TEXT}};

static bool read_back(const char *cursor)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    struct store_value values[CURSOR_KEYS_MAX];
    struct error err;

    return cursor_read(&kind, cursor, arena, values, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buffer_free) struct buffer text = {0};
    AUTO(buffer_free) struct buffer cursor = {0};

    /* libFuzzer passes NULL for no bytes. */
    buffer_append(&text, size > 0 ? data : (const uint8_t *)"", size);
    (void)read_back(text.data == NULL ? "" : text.data);

    cursor_write(&kind, text.data == NULL ? "" : text.data, size, &cursor);
    bool valid = read_back(cursor.data);
    char *place = &cursor.data[size > 0 ? data[0] % cursor.size : 0];
    *place = *place == 'A' ? 'B' : 'A';
    if (valid && read_back(cursor.data))
        abort();
    return 0;
}
