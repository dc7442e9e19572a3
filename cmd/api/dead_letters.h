/*
 * dead_letters: what could not be done, over HTTP: looked at, replayed, removed.
 *
 * GET /dead-letters          {"dead_letters":[…],"next":cursor or null}: a page, oldest first
 * GET /dead-letters/{id}     one of them with its headers and data (letter.h)
 * POST /dead-letters/replay  {"matched","replayed","cut","next"}; its body says which and how
 * DELETE /dead-letters       {"matched","removed","next"}; its query says which
 *
 * Which: stream, consumer, reason, id, and given up from ≤ time < to; all of what is said has to
 * hold. Replaying and removing go on for max letters, or as far as the request's time goes; `next`
 * says that there may be more, and is sent back as `cursor`. With dry_run they only count. Where a
 * letter stops them, the answer has what was done until then, and
 * "error":{"code","detail"}, the detail naming the letter; letters behind it are untouched.
 * Letters that are not all of their original are left alone and counted in `cut`. Removing needs a
 * filter: without one it is 400, "empty_filter".
 *
 * A query parameter that is not known is refused, since a filter that was misspelt would mean more
 * than was meant; so is, where letters are removed, one without a value.
 *
 * Threads  read on the server's threads (it does not wait), answered on those of a query pool;
 *          what changes letters has a pool of its own, so that replays that take their time are
 *          not in the way of queries.
 */
#ifndef API_DEAD_LETTERS_H
#define API_DEAD_LETTERS_H

#include "broker/broker.h"
#include "query_pool.h"

#include <stdatomic.h>

struct dead_letters {
    struct broker *broker; /* borrowed */
    atomic_bool stopping;  /* what works on many letters ends soon */
};

#define DEAD_LETTERS_EMPTY_FILTER "empty_filter"

/* What a route does with dead letters: its row. */
struct dead_letters_action {
    /* Makes the context of answer, in the exchange's arena. */
    bool (*read)(struct dead_letters *letters, struct http_exchange *exchange, void **out,
                 struct error *err);
    query_work *answer;
    bool changes; /* and may take all of the request's time */
};

extern const struct dead_letters_action dead_letters_list, dead_letters_one, dead_letters_replay,
    dead_letters_purge;

#endif
