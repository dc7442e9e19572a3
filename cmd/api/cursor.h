/*
 * cursor: where a page ended, as text that a client hands back and need not understand.
 *
 * It carries the sort keys of the last row, and a check over them and over the name of the list it
 * belongs to: a cursor of another list, or one that was changed or cut, is refused. The check is no
 * secret and protects nothing: it tells mistakes apart from positions.
 *
 * Errors  ERROR_INVALID, "invalid_cursor", pointer "/query/cursor".
 */
#ifndef API_CURSOR_H
#define API_CURSOR_H

#include "base/arena.h"
#include "base/buffer.h"
#include "store/store.h"

#define CURSOR_KEYS_MAX 4
#define CURSOR_SIZE_MAX 512 /* bytes of a cursor that is looked at */

struct cursor_kind {
    const char *list; /* whose rows it points into */
    size_t key_count;
    enum store_type keys[CURSOR_KEYS_MAX]; /* STORE_TEXT only as the last: it may hold a '|' */
};

/* keys: joined by '|', as store_select leaves them. Appends the cursor to out. */
void cursor_write(const struct cursor_kind *kind, const char *keys, size_t size,
                  struct buffer *out);

/* Fills key_count values; texts are the arena's. */
bool cursor_read(const struct cursor_kind *kind, const char *cursor, struct arena *arena,
                 struct store_value *out_values, struct error *err) MUST_CHECK;

#endif
