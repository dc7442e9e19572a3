#include "event/subject.h"

#include "base/id.h"

#include <stdbool.h>
#include <string.h>

static bool stays(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '-';
}

/* Returns the size of the token, 0 when it does not fit. */
static size_t escape(const char *key, size_t size, char token[SUBJECT_TOKEN_MAX])
{
    static const char digits[] = "0123456789ABCDEF";
    size_t used = 0;

    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)key[i];
        size_t needed = stays(byte) ? 1 : 3;
        if (used + needed > SUBJECT_TOKEN_MAX)
            return 0;
        if (needed == 1) {
            token[used++] = (char)byte;
            continue;
        }
        token[used++] = '=';
        token[used++] = digits[byte >> 4];
        token[used++] = digits[byte & 0x0f];
    }
    return used;
}

void subject_key(struct buffer *subject, const char *key)
{
    char token[SUBJECT_TOKEN_MAX];
    size_t size = strlen(key);
    size_t used = escape(key, size, token);

    buffer_append(subject, ".", 1);
    if (size == 0) {
        buffer_text(subject, SUBJECT_EMPTY);
    } else if (used > 0) {
        buffer_append(subject, token, used);
    } else {
        struct id id = id_derive("subject", key, size);
        char text[ID_TEXT_SIZE];
        id_format(&id, text);
        buffer_append(subject, text, ID_TEXT_SIZE - 1);
    }
}

struct text {
    const char *start;
    size_t size;
};

/* Cuts the first token off, with the dot behind it. */
static struct text next_token(struct text *rest)
{
    const char *dot = memchr(rest->start, '.', rest->size);
    struct text token = {rest->start, dot ? (size_t)(dot - rest->start) : rest->size};
    size_t cut = token.size + (dot != NULL);

    rest->start += cut;
    rest->size -= cut;
    return token;
}

void subject_merge(struct buffer *pack, const char *subject, size_t size)
{
    if (pack->size == 0) {
        buffer_append(pack, subject, size);
        return;
    }
    if (pack->size == size && memcmp(pack->data, subject, size) == 0)
        return;

    AUTO(buffer_free) struct buffer merged = {0};
    struct text left = {pack->data, pack->size};
    struct text right = {subject, size};
    while (left.size > 0) {
        struct text one = next_token(&left);
        struct text other = next_token(&right);
        bool same = one.size == other.size && memcmp(one.start, other.start, one.size) == 0;
        if (merged.size > 0)
            buffer_append(&merged, ".", 1);
        if (same)
            buffer_append(&merged, one.start, one.size);
        else
            buffer_text(&merged, SUBJECT_MANY);
    }
    buffer_clear(pack);
    buffer_append(pack, merged.data, merged.size);
}
