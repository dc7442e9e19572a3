#include "nearest.h"

#include <stdint.h>
#include <string.h>

#define WORD_MAX ((size_t)48)

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Damerau's distance, a swap of neighbours counting as one change. */
static size_t distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];

    for (size_t j = 0; j <= b_size; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t changed = last[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = least(changed, least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[b_size];
}

const char *nearest(const char *typed, size_t size, const char *const *words, size_t count)
{
    const char *found = NULL;
    size_t found_at = SIZE_MAX;

    for (size_t i = 0; i < count && size > 0 && size <= WORD_MAX; i++) {
        size_t length = strlen(words[i]);
        if (length > WORD_MAX)
            continue;
        size_t changes = distance(typed, size, words[i], length);
        if (changes <= least(length, size) / 3 + 1 && changes < least(length, size) &&
            changes < found_at) {
            found = words[i];
            found_at = changes;
        }
    }
    return found;
}
