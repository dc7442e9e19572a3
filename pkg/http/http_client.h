/*
 * http_client: calls to other HTTP servers, one at a time, each with one deadline.
 *
 * A client keeps its connections open between calls. It follows no redirect, takes http and https
 * alone, and reads no answer beyond answer_max.
 *
 * Ownership  Everything in a call is borrowed for it. The result's body is the client's memory,
 *            valid until its next call.
 * Errors     Any status is a success. UNAVAILABLE: no connection, it did not happen. UNKNOWN: sent,
 *            and no whole answer came: it may have happened. TIMEOUT: the same at the deadline.
 *            TOO_LARGE: the answer. INVALID: the URL or a header. CLOSED: http_client_interrupt.
 * Threads    One client, one thread, but for http_client_interrupt.
 * Units      milliseconds, bytes.
 */
#ifndef HTTP_HTTP_CLIENT_H
#define HTTP_HTTP_CLIENT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct http_client;

struct http_client *http_client_new(const char *user_agent);
void http_client_free(struct http_client *client);
AUTO_DEFINE(struct http_client *, http_client_free)

/* The call that runs, and every later one, ends at once with CLOSED. Any thread. */
void http_client_interrupt(struct http_client *client);

struct http_call {
    const char *method; /* "GET" */
    const char *url;
    const char *type;           /* Content-Type; NULL: there is no body */
    const char *const *headers; /* "Name: value" each, NULL ends; NULL: none */
    const void *body;
    size_t size;
    size_t answer_max; /* 0: 1 MiB */
    int timeout_ms;    /* of all of it; 0: 10000 */
};

struct http_result {
    int status;
    const char *type; /* "" when it does not say */
    const char *body; /* size bytes, and a NUL that size does not count */
    size_t size;
    int64_t retry_after_ms; /* of a Retry-After in seconds; -1: none */
};

bool http_client_call(struct http_client *client, const struct http_call *call,
                      struct http_result *out, struct error *err) MUST_CHECK;

#endif
