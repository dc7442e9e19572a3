#include "cursor.h"

#include "base/id.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_SIZE 8

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static bool refuse(struct error *err, const char *why)
{
    return error_input(err, "invalid_cursor", "/query/cursor", "cursor: %s", why);
}

/* RFC 4648, section 5, without padding. */
static void encode(const uint8_t *bytes, size_t size, struct buffer *out)
{
    uint32_t bits = 0;
    unsigned held = 0;

    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | bytes[i];
        for (held += 8; held >= 6; held -= 6)
            buffer_append(out, &alphabet[bits >> (held - 6) & 63], 1);
    }
    if (held > 0)
        buffer_append(out, &alphabet[bits << (6 - held) & 63], 1);
}

/* One text for each sequence of bytes: bits that are left over must be zero. */
static bool decode(const char *text, uint8_t *bytes, size_t *out_size)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t size = 0;

    for (; *text != '\0'; text++) {
        const char *digit = strchr(alphabet, *text);
        if (digit == NULL)
            return false;
        bits = bits << 6 | (uint32_t)(digit - alphabet);
        held += 6;
        if (held >= 8) {
            held -= 8;
            bytes[size++] = (uint8_t)(bits >> held);
        }
    }
    *out_size = size;
    return held < 6 && (bits & ((1U << held) - 1)) == 0;
}

void cursor_write(const struct cursor_kind *kind, const char *keys, size_t size, struct buffer *out)
{
    AUTO(buffer_free) struct buffer bytes = {0};
    struct id check = id_derive(kind->list, keys, size);

    buffer_append(&bytes, check.bytes, CHECK_SIZE);
    buffer_append(&bytes, keys, size);
    encode((const uint8_t *)bytes.data, bytes.size, out);
}

static bool whole_number(const char *text, int64_t *out)
{
    char *end;

    if (*text != '-' && (*text < '0' || *text > '9'))
        return false;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

static bool read_key(const char *text, struct store_value *value)
{
    switch (value->type) {
    case STORE_INT:
    case STORE_TIME:
        return whole_number(text, &value->integer);
    case STORE_ID:
        return id_parse(text, strlen(text), &value->id);
    case STORE_TEXT:
        value->text = text;
        return true;
    case STORE_DOUBLE: /* does not survive as text: no list is sorted by one */
        break;
    }
    return false;
}

static bool read_keys(const struct cursor_kind *kind, char *keys, struct store_value *out_values)
{
    for (size_t i = 0; i < kind->key_count; i++) {
        bool last = i + 1 == kind->key_count;
        char *end = last ? NULL : strchr(keys, '|');

        if (!last && end == NULL)
            return false;
        if (end != NULL)
            *end = '\0';
        out_values[i] = (struct store_value){.present = true, .type = kind->keys[i]};
        if (!read_key(keys, &out_values[i]))
            return false;
        keys = end + !last;
    }
    return true;
}

bool cursor_read(const struct cursor_kind *kind, const char *cursor, struct arena *arena,
                 struct store_value *out_values, struct error *err)
{
    uint8_t bytes[CURSOR_SIZE_MAX];
    size_t size;

    if (strlen(cursor) > CURSOR_SIZE_MAX || !decode(cursor, bytes, &size) || size < CHECK_SIZE)
        return refuse(err, "this is no cursor");

    const uint8_t *keys = bytes + CHECK_SIZE;
    size_t keys_size = size - CHECK_SIZE;
    struct id check = id_derive(kind->list, keys, keys_size);
    if (memcmp(check.bytes, bytes, CHECK_SIZE) != 0 || memchr(keys, '\0', keys_size) != NULL)
        return refuse(err, "it belongs to another list, or was changed");

    if (!read_keys(kind, arena_copy(arena, (const char *)keys, keys_size), out_values))
        return refuse(err, "it was made by another version");
    return true;
}
