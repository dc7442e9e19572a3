#include "base/buffer.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_FIRST 256

char *buffer_reserve(struct buffer *buffer, size_t size)
{
    size_t needed = memory_sum(memory_sum(buffer->size, size), 1);

    if (needed > buffer->capacity) {
        size_t doubled =
            buffer->capacity ? memory_sum(buffer->capacity, buffer->capacity) : BUFFER_FIRST;
        buffer->capacity = needed > doubled ? needed : doubled;
        buffer->data = memory_resize(buffer->data, buffer->capacity);
    }
    buffer->data[buffer->size] = '\0';
    buffer->data[buffer->size + size] = '\0';
    return buffer->data + buffer->size;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
    char *end = buffer_reserve(buffer, size);

    if (size)
        memcpy(end, bytes, size);
    buffer->size += size;
}

void buffer_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_print(struct buffer *buffer, const char *format, ...)
{
    va_list args;

    buffer_reserve(buffer, 0);
    va_start(args, format);
    int size =
        vsnprintf(buffer->data + buffer->size, buffer->capacity - buffer->size, format, args);
    va_end(args);
    if (size < 0)
        size = 0; /* a text longer than INT_MAX; nothing was promised of that */
    if ((size_t)size >= buffer->capacity - buffer->size) {
        char *end = buffer_reserve(buffer, (size_t)size);
        va_start(args, format);
        vsnprintf(end, (size_t)size + 1, format, args);
        va_end(args);
    }
    buffer->size += (size_t)size;
    buffer->data[buffer->size] = '\0';
}

void buffer_clear(struct buffer *buffer)
{
    buffer->size = 0;
    if (buffer->data)
        buffer->data[0] = '\0';
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}
