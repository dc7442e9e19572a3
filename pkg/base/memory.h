/*
 * memory: heap that never returns NULL. Release with free(). Out of memory ends the process, and
 * the platform restarts it: no caller has an out-of-memory path.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

void *memory_alloc(size_t bytes); /* zeroed */
void *memory_copy(const void *bytes, size_t size);
char *memory_text(const char *text);

/* Moves what pointer (or NULL) holds into room for so many bytes; what is new is not zeroed. */
void *memory_resize(void *pointer, size_t bytes);

/* a + b; a size that cannot be counted ends the process as one that cannot be had does. */
size_t memory_sum(size_t a, size_t b);

#endif
