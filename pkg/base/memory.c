#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *pointer)
{
    if (!pointer) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return pointer;
}

void *memory_alloc(size_t bytes)
{
    return checked(calloc(1, bytes ? bytes : 1));
}

void *memory_resize(void *pointer, size_t bytes)
{
    return checked(realloc(pointer, bytes ? bytes : 1));
}

void *memory_copy(const void *bytes, size_t size)
{
    void *copy = memory_resize(NULL, size);

    return size ? memcpy(copy, bytes, size) : copy;
}

char *memory_text(const char *text)
{
    return memory_copy(text, strlen(text) + 1);
}

size_t memory_sum(size_t a, size_t b)
{
    size_t sum;

    if (__builtin_add_overflow(a, b, &sum))
        checked(NULL);
    return sum;
}
