/*
 * token_bucket: at most `burst` at once and `rate` a second in the long run: in any time of t
 * seconds never more than burst + rate * t.
 *
 * It counts in whole thousandths of a token, of which exactly `rate` come every millisecond:
 * nothing is rounded, however often or seldom it is asked. What comes to a full bucket is lost,
 * even within the millisecond: a burst of 1 at a rate that does not divide 1000 passes a little
 * less. Pure: time is passed in. Not thread-safe: its owner guards it.
 *
 * Units   tokens; milliseconds of one steady clock, any int64_t. A time before the last counts as
 *         the last: time that goes back brings no tokens, and takes none.
 * Source  Shenker and Wroclawski, RFC 2215 (TOKEN_BUCKET_TSPEC): r * T + b.
 */
#ifndef RESILIENCE_TOKEN_BUCKET_H
#define RESILIENCE_TOKEN_BUCKET_H

#include "base/macros.h"

#include <stdbool.h>
#include <stdint.h>

#define TOKEN_BUCKET_BURST_MAX (INT64_MAX / 1000)
#define TOKEN_BUCKET_NEVER INT64_MAX

struct token_bucket {
    int64_t rate;  /* tokens a second; 0: what is taken never comes back */
    int64_t burst; /* tokens it holds, at most TOKEN_BUCKET_BURST_MAX */

    int64_t taken; /* thousandths that are missing at last_ms; a zeroed rest is a full bucket */
    int64_t last_ms;
    bool has_time; /* last_ms is one */
};

/* Takes count tokens (0 or more) and returns 0; or takes none and returns how long to wait until it
 * could, TOKEN_BUCKET_NEVER where it never can: Retry-After. Others may be faster: to wait is no
 * promise. */
int64_t token_bucket_take(struct token_bucket *bucket, int64_t count, int64_t now_ms) MUST_CHECK;

/* Whole tokens there are, and how long until it is full: RateLimit-Remaining, RateLimit-Reset. */
int64_t token_bucket_left(const struct token_bucket *bucket, int64_t now_ms);
int64_t token_bucket_full_ms(const struct token_bucket *bucket, int64_t now_ms);

#endif
