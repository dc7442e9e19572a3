/*
 * http_ready: the checks behind /readyz, run on a thread of their own so that no request waits.
 *
 * They run twice a second, and at once when somebody asks and the answer is not fresh. A check that
 * gives no answer for READY_STALE_MS counts as failed.
 *
 * Threads  any thread, but start and stop.
 */
#ifndef HTTP_HTTP_READY_H
#define HTTP_HTTP_READY_H

#include "http/http.h"

struct http_ready;

/* checks may be NULL; they and the context are borrowed. */
struct http_ready *http_ready_start(const struct http_check *checks, void *context);
void http_ready_stop(struct http_ready *ready);

/* Appends a line for each check and returns whether all are well. */
bool http_ready_print(struct http_ready *ready, struct buffer *out);

#endif
