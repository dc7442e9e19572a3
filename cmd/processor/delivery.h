/*
 * delivery: tells an HTTP server of the rows of a batch, each at least once.
 *
 * The rows go as NDJSON, up to a few hundred in one POST whose Idempotency-Key is derived from
 * their ids. 200 without a body means that all are there. With NDJSON ({"line","status","code",
 * "detail"}) it has a verdict on every line: 409 is there already, 400, 413 and 422 are refused and
 * become a dead part of the batch, "delivery_refused". A POST that is refused as a whole (400,
 * 413, 422) is halved until the refused line is found. Anything else, no connection or no answer in
 * time: the server is away. Then the batch is held and the breaker says when to try again.
 *
 * Threads  one delivery, one thread, but for delivery_interrupt.
 */
#ifndef PROCESSOR_DELIVERY_H
#define PROCESSOR_DELIVERY_H

#include "batch.h"
#include "loop.h"

#include "base/metrics.h"

#define DELIVERY_NONE "none" /* a URL that means: nobody is told */

struct delivery_settings {
    const char *url;  /* "" or DELIVERY_NONE: nobody is told */
    const char *host; /* instead of the URL's; "": its own */
    int port;         /* instead of the URL's; 0: its own */
    int timeout_ms;   /* of a POST */
};

struct delivery_kind {
    const char *name;                                          /* of the server, "writer" */
    void (*write)(const void *event, struct json_writer *out); /* the members of a line */
};

struct delivery;

/* *out is NULL where nobody is to be told. INVALID: the URL. All borrowed until delivery_close. */
bool delivery_open(struct delivery **out, const struct delivery_kind *kind,
                   const struct delivery_settings *settings, struct metrics *metrics,
                   struct error *err) MUST_CHECK;
void delivery_close(struct delivery *delivery);
AUTO_DEFINE(struct delivery *, delivery_close)

/* Returns when every row that is not refused is there; false: it was asked to stop before. */
bool delivery_send(struct delivery *delivery, struct batch *batch, struct loop *loop) MUST_CHECK;

/* The POST that runs ends at once, and so does every later one. After loop_halt. Any thread. */
void delivery_interrupt(struct delivery *delivery);

#endif
