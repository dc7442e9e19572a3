#include "base/arena.h"

#include "base/memory.h"

#include <sanitizer/asan_interface.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

/*
 * Under the address sanitizer, what is not handed out is poisoned: reading past an allocation, or
 * after a reset, is reported as it would be with malloc and free. Otherwise the macros are empty.
 */
struct chunk {
    struct chunk *previous;
    size_t size, used;
    alignas(max_align_t) char bytes[];
};

struct arena {
    size_t chunk_bytes;
    struct chunk *current;
};

static struct chunk *chunk_new(struct chunk *previous, size_t size)
{
    struct chunk *chunk = memory_resize(NULL, memory_sum(sizeof(*chunk), size));

    chunk->previous = previous;
    chunk->size = size;
    chunk->used = 0;
    ASAN_POISON_MEMORY_REGION(chunk->bytes, size);
    return chunk;
}

struct arena *arena_new(size_t chunk_bytes)
{
    struct arena *arena = memory_alloc(sizeof(*arena));

    arena->chunk_bytes = chunk_bytes;
    arena->current = chunk_new(NULL, chunk_bytes);
    return arena;
}

/* What is larger than a chunk gets one of its own, behind the current one, which stays in use. */
static struct chunk *chunk_with_room(struct arena *arena, size_t bytes)
{
    struct chunk *current = arena->current;

    if (current->size - current->used >= bytes)
        return current;
    if (bytes > arena->chunk_bytes)
        return current->previous = chunk_new(current->previous, bytes);
    return arena->current = chunk_new(current, arena->chunk_bytes);
}

static void *take(struct arena *arena, size_t bytes)
{
    size_t mask = alignof(max_align_t) - 1;
    size_t rounded = memory_sum(bytes, mask) & ~mask;
    struct chunk *chunk = chunk_with_room(arena, rounded);
    void *start = chunk->bytes + chunk->used;

    chunk->used += rounded;
    ASAN_UNPOISON_MEMORY_REGION(start, bytes);
    return start;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    return memset(take(arena, bytes), 0, bytes);
}

char *arena_copy(struct arena *arena, const char *text, size_t length)
{
    char *copy = take(arena, memory_sum(length, 1));

    if (length)
        memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

void arena_reset(struct arena *arena)
{
    struct chunk *kept = arena->current;

    while (kept->previous) {
        struct chunk *chunk = kept->previous;
        kept->previous = chunk->previous;
        free(chunk);
    }
    kept->used = 0;
    ASAN_POISON_MEMORY_REGION(kept->bytes, kept->size);
}

void arena_free(struct arena *arena)
{
    if (!arena)
        return;
    arena_reset(arena);
    free(arena->current);
    free(arena);
}
