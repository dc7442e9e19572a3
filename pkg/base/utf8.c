#include "base/utf8.h"

#include <stdint.h>

static bool is_tail(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

static size_t length_of_first(uint8_t byte)
{
    if (byte < 0x80)
        return 1;
    if (byte >= 0xc2 && byte <= 0xdf)
        return 2;
    if ((byte & 0xf0) == 0xe0)
        return 3;
    return byte >= 0xf0 && byte <= 0xf4 ? 4 : 0;
}

/* The second byte is where overlong forms, surrogates and numbers that are too large show. */
static bool second_fits(uint8_t first, uint8_t second)
{
    switch (first) {
    case 0xe0:
        return second >= 0xa0;
    case 0xed:
        return second < 0xa0;
    case 0xf0:
        return second >= 0x90;
    case 0xf4:
        return second < 0x90;
    default:
        return true;
    }
}

size_t utf8_length(const char *text, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)text;
    size_t length = size ? length_of_first(bytes[0]) : 0;

    if (length > size)
        return 0;
    for (size_t i = 1; i < length; i++)
        if (!is_tail(bytes[i]))
            return 0;
    return length < 2 || second_fits(bytes[0], bytes[1]) ? length : 0;
}

bool utf8_is_valid(const char *text, size_t size)
{
    size_t length = 1;

    for (size_t at = 0; at < size && length > 0; at += length)
        length = utf8_length(text + at, size - at);
    return length > 0;
}
