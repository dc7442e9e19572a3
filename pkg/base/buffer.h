/*
 * buffer: bytes that grow at the end.
 *
 * A zeroed struct is an empty buffer. Data is followed by a NUL that size does not count, so text
 * can be read as a string. Appending may move the data. Not thread-safe.
 */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include "base/macros.h"

struct buffer {
    char *data; /* NULL while nothing was ever appended */
    size_t size, capacity;
};

void buffer_append(struct buffer *buffer, const void *bytes, size_t size);
void buffer_text(struct buffer *buffer, const char *text);
void buffer_print(struct buffer *buffer, const char *format, ...) PRINTF_LIKE(2, 3);

/* Room for size more bytes at the end; the caller writes there and then adds to buffer->size. The
 * byte after the room is NUL; who writes less sets the NUL, or appends more. */
char *buffer_reserve(struct buffer *buffer, size_t size);

void buffer_clear(struct buffer *buffer); /* keeps the memory */
void buffer_free(struct buffer *buffer);  /* back to an empty buffer */

/* AUTO(buffer_free) struct buffer text = {0}; */
static inline void auto_buffer_free(struct buffer *buffer)
{
    buffer_free(buffer);
}

#endif
