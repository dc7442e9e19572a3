/*
 * breaker: stops calling a dependency that is down, and finds out when it is back.
 *
 * Closed: calls pass; `limit` failures in a row open it. Open: nothing passes for open_ms. Then
 * half-open: one call at a time passes as a probe; success closes, failure opens again. Pure: time
 * is passed in. Not thread-safe: its owner guards it.
 *
 * A result does not say which call it is of. Half-open, the late end of a call from before is taken
 * for the probe's: it may close, open, or let one more probe pass while the first is under way.
 *
 * Units   milliseconds of one steady clock.
 * Source  Nygard, "Release It!", 2nd edition, chapter 5 (Circuit Breaker).
 */
#ifndef RESILIENCE_BREAKER_H
#define RESILIENCE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

#define BREAKER_STATES 3

/* Since the start. What is reported while open counts here too, though it changes nothing else. */
struct breaker_counts {
    uint64_t opened, refused, succeeded, failed;
};

struct breaker {
    int limit;       /* failures in a row that open it */
    int64_t open_ms; /* how long it stays open before a probe */

    enum breaker_state state; /* a zeroed rest is a closed breaker */
    int failures;             /* in a row */
    int64_t opened_ms;
    bool probing;
    struct breaker_counts counts; /* to be read */
};

/* May a call be made now? One that may must be followed by success, by failure, or by cancel: it
 * was not made after all, and says nothing. */
bool breaker_allows(struct breaker *breaker, int64_t now_ms);
void breaker_success(struct breaker *breaker);
void breaker_failure(struct breaker *breaker, int64_t now_ms);
void breaker_cancel(struct breaker *breaker);

/* 0 when a call may be made, else how long until the next probe: Retry-After. */
int64_t breaker_wait_ms(const struct breaker *breaker, int64_t now_ms);

const char *breaker_state_name(enum breaker_state state); /* "closed", "open", "half_open" */

#endif
