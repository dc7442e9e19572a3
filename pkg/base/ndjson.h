/*
 * ndjson: cuts bytes that come in pieces of any size into lines.
 *
 * Lines end with LF or CRLF; the last one may have no end. Empty lines count but are not handed
 * over. A line over the limit is handed over once, without its bytes, as soon as it is known to be
 * too long, and then skipped to its end.
 *
 * Back-pressure: a take that returns false has taken its line but wants no more now. ndjson_feed
 * then stops behind that line and says how many bytes it used; the caller feeds the rest later.
 *
 * Ownership  A line's bytes are borrowed for the call. A line that lies within one piece is not
 *            copied; one that does not is collected, so memory is bounded by the limit.
 * Threads    one reader, one thread.
 */
#ifndef BASE_NDJSON_H
#define BASE_NDJSON_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

struct ndjson_line {
    int64_t number;    /* from 1, empty lines counted */
    const char *bytes; /* not NUL-terminated; NULL when too long */
    size_t size;       /* without the line end */
    bool too_long;
};

/* Returns whether it can take more. */
typedef bool ndjson_take(void *context, const struct ndjson_line *line);

struct ndjson {
    ndjson_take *take;
    void *context;
    size_t max_line;
    /* the reader's own */
    int64_t number;
    struct buffer partial;
    bool skipping;
};

void ndjson_start(struct ndjson *reader, size_t max_line, ndjson_take *take, void *context);

/* Returns how many bytes it used: all, or fewer when take wants no more now. */
size_t ndjson_feed(struct ndjson *reader, const char *bytes, size_t size);

/* There are no more bytes: hands over a last line that has no end. Once, after all is fed. */
void ndjson_finish(struct ndjson *reader);

void ndjson_free(struct ndjson *reader);

/* AUTO(ndjson_free) struct ndjson reader; after ndjson_start */
static inline void auto_ndjson_free(struct ndjson *reader)
{
    ndjson_free(reader);
}

#endif
