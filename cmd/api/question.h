/*
 * question: one request to a resource, from its parameters to its answer.
 *
 * Ownership  A question borrows from its request and the request's arena.
 * Threads    read on the server's threads (it does not wait), answered on the query pool's.
 */
#ifndef API_QUESTION_H
#define API_QUESTION_H

#include "base/arena.h"
#include "query_pool.h"
#include "resource.h"

struct question {
    const struct resource *resource;
    struct store_value slots[SLOTS];
};

/* Fills in `slots` of a question that has its resource. now_ms is where the time asked for ends by
 * default. */
bool question_read(struct question *question, parameter_find *find, const void *request,
                   int64_t now_ms, struct arena *arena, struct error *err) MUST_CHECK;

query_work question_answer; /* its context is the question */

#endif
