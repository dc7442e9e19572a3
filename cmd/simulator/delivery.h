/*
 * delivery: brings events of one kind to ingestion, and keeps at it until their fate is known.
 *
 * What is not answered, and what is answered with 429 or 503 (and, but for calls for the weather,
 * 408, 502 or 504), is sent again with the same id after a pause that grows, so that it counts once
 * whatever happened to it before. Another 4xx refuses it; anything else fails.
 *
 * Ownership  What the options name is borrowed.
 * Threads    One delivery, one thread, but for delivery_interrupt.
 */
#ifndef SIMULATOR_DELIVERY_H
#define SIMULATOR_DELIVERY_H

#include "journal.h"

struct delivery_options {
    const char *url;
    int bulk; /* above 1: NDJSON bodies of so many events */
    int retries, timeout_ms;
    struct tally *tally;
    struct journal *journal;                      /* NULL: none */
    bool (*pause)(void *context, int64_t for_ms); /* false: give up */
    void *context;
};

struct delivery;

struct delivery *delivery_new(const struct delivery_options *options);
void delivery_free(struct delivery *delivery);
AUTO_DEFINE(struct delivery *, delivery_free)

/* How many events of a kind may go in one call of delivery_run. */
size_t delivery_room(const struct delivery *delivery, enum traffic_kind kind);

void delivery_run(struct delivery *delivery, const struct traffic_event *events, size_t count);

/* The call that runs, and every later one, ends at once. Any thread. */
void delivery_interrupt(struct delivery *delivery);

#endif
