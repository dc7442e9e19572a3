#include "resilience/token_bucket.h"

#include <assert.h>

#define PARTS 1000 /* of a token; as many as a second has milliseconds */

/* The parts still missing at now_ms. */
static int64_t missing_at(const struct token_bucket *bucket, int64_t now_ms)
{
    if (now_ms <= bucket->last_ms)
        return bucket->taken;

    uint64_t passed_ms = (uint64_t)now_ms - (uint64_t)bucket->last_ms;
    unsigned __int128 come = (unsigned __int128)passed_ms * (uint64_t)bucket->rate;
    return come < (uint64_t)bucket->taken ? bucket->taken - (int64_t)come : 0;
}

/* How long from now_ms until so many parts have come, from now_ms or last_ms on, the later. */
static int64_t wait_for(const struct token_bucket *bucket, int64_t parts, int64_t now_ms)
{
    if (parts <= 0)
        return 0;
    if (bucket->rate == 0)
        return TOKEN_BUCKET_NEVER;

    unsigned __int128 wait_ms = (uint64_t)((parts - 1) / bucket->rate + 1);
    if (now_ms < bucket->last_ms)
        wait_ms += (uint64_t)bucket->last_ms - (uint64_t)now_ms;
    return wait_ms < TOKEN_BUCKET_NEVER ? (int64_t)wait_ms : TOKEN_BUCKET_NEVER;
}

int64_t token_bucket_take(struct token_bucket *bucket, int64_t count, int64_t now_ms)
{
    assert(bucket->rate >= 0 && bucket->burst >= 0 && bucket->burst <= TOKEN_BUCKET_BURST_MAX);
    assert(count >= 0);
    if (count > bucket->burst)
        return TOKEN_BUCKET_NEVER;

    int64_t missing = missing_at(bucket, now_ms);
    int64_t over = missing - (bucket->burst - count) * PARTS;
    if (over > 0)
        return wait_for(bucket, over, now_ms);
    bucket->taken = missing + count * PARTS;
    if (!bucket->has_time || now_ms > bucket->last_ms)
        bucket->last_ms = now_ms;
    bucket->has_time = true;
    return 0;
}

int64_t token_bucket_left(const struct token_bucket *bucket, int64_t now_ms)
{
    return (bucket->burst * PARTS - missing_at(bucket, now_ms)) / PARTS;
}

int64_t token_bucket_full_ms(const struct token_bucket *bucket, int64_t now_ms)
{
    return wait_for(bucket, missing_at(bucket, now_ms), now_ms);
}
