#include "support/test.h"

#include "base/macros.h"
#include "resilience/token_bucket.h"

#include <stdlib.h>

#define NEVER TOKEN_BUCKET_NEVER
#define STEPS 6

/* Each step takes count tokens at a time and must get wait (0: taken), and leave so many tokens. */
static const struct row {
    const char *name;
    int64_t rate, burst;
    struct step {
        int64_t at_ms, count, wait_ms, left;
    } steps[STEPS]; /* a count of -1 ends */
} rows[] = {
    {"a new bucket is full", 10, 5, {{0, 5, 0, 0}, {0, -1, 0, 0}}},
    {"an empty one says when the next comes", 10, 5, {{0, 5, 0, 0}, {0, 1, 100, 0}, {0, -1, 0, 0}}},
    {"a millisecond too early is too early",
     10,
     5,
     {{0, 5, 0, 0}, {99, 1, 1, 0}, {100, 1, 0, 0}, {0, -1, 0, 0}}},
    {"a refusal takes nothing", 10, 5, {{0, 3, 0, 2}, {0, 3, 100, 2}, {0, 2, 0, 0}, {0, -1, 0, 0}}},
    {"several at once wait for all of them",
     10,
     5,
     {{0, 5, 0, 0}, {0, 4, 400, 0}, {200, 4, 200, 2}, {400, 4, 0, 0}, {0, -1, 0, 0}}},
    {"it holds no more than the burst", 10, 5, {{0, 5, 0, 0}, {3600000, 5, 0, 0}, {0, -1, 0, 0}}},
    {"more than the burst never passes",
     10,
     5,
     {{0, 6, NEVER, 5}, {9999, 6, NEVER, 5}, {0, -1, 0, 0}}},
    {"taking none is always allowed", 10, 1, {{0, 1, 0, 0}, {0, 0, 0, 0}, {0, -1, 0, 0}}},
    {"a bucket of none lets none through", 10, 0, {{0, 1, NEVER, 0}, {0, 0, 0, 0}, {0, -1, 0, 0}}},
    {"without a rate nothing comes back",
     0,
     2,
     {{0, 2, 0, 0}, {INT64_MAX, 1, NEVER, 0}, {0, -1, 0, 0}}},
    {"a third of a second is waited for in whole milliseconds",
     3,
     1,
     {{0, 1, 0, 0}, {0, 1, 334, 0}, {333, 1, 1, 0}, {334, 1, 0, 0}, {0, -1, 0, 0}}},
    {"what is left of a millisecond is not lost: three in a second, not four",
     3,
     2,
     {{0, 2, 0, 0},
      {334, 1, 0, 0},
      {667, 1, 0, 0},
      {1000, 1, 0, 0},
      {1333, 1, 1, 0},
      {0, -1, 0, 0}}},
    {"more than one in a millisecond",
     5000,
     10,
     {{0, 10, 0, 0}, {1, 5, 0, 0}, {1, 1, 1, 0}, {0, -1, 0, 0}}},
    {"time that goes back brings nothing",
     10,
     5,
     {{5000, 5, 0, 0}, {4000, 1, 1100, 0}, {5000, 1, 100, 0}, {0, -1, 0, 0}}},
    {"time that goes back takes nothing",
     10,
     5,
     {{5000, 4, 0, 1}, {4000, 1, 0, 0}, {5100, 1, 0, 0}, {0, -1, 0, 0}}},
    {"time before zero",
     10,
     5,
     {{-5000, 5, 0, 0}, {-4950, 1, 50, 0}, {-4900, 1, 0, 0}, {0, -1, 0, 0}}},
    {"from the first time to the last",
     1,
     5,
     {{INT64_MIN, 5, 0, 0}, {INT64_MAX, 5, 0, 0}, {INT64_MAX, 1, 1000, 0}, {0, -1, 0, 0}}},
    {"from the last time to the first: longer than can be said",
     1,
     5,
     {{INT64_MAX, 5, 0, 0}, {INT64_MIN, 1, NEVER, 0}, {0, -1, 0, 0}}},
    {"the greatest bucket at the greatest rate",
     INT64_MAX,
     TOKEN_BUCKET_BURST_MAX,
     {{0, TOKEN_BUCKET_BURST_MAX, 0, 0},
      {0, 1, 1, 0},
      {1, TOKEN_BUCKET_BURST_MAX, 0, 0},
      {INT64_MAX, TOKEN_BUCKET_BURST_MAX, 0, 0},
      {0, -1, 0, 0}}},
    {"what came is more than a number holds",
     (int64_t)1 << 62,
     TOKEN_BUCKET_BURST_MAX,
     {{0, TOKEN_BUCKET_BURST_MAX, 0, 0}, {4, TOKEN_BUCKET_BURST_MAX, 0, 0}, {0, -1, 0, 0}}},
    {"the greatest bucket at the least rate",
     1,
     TOKEN_BUCKET_BURST_MAX,
     {{0, TOKEN_BUCKET_BURST_MAX, 0, 0},
      {0, TOKEN_BUCKET_BURST_MAX, TOKEN_BUCKET_BURST_MAX * 1000, 0},
      {0, -1, 0, 0}}},
};

static void takes(void **state)
{
    const struct row *row = *state;
    struct token_bucket bucket = {.rate = row->rate, .burst = row->burst};

    for (const struct step *step = row->steps; step->count >= 0; step++) {
        assert_true(token_bucket_take(&bucket, step->count, step->at_ms) == step->wait_ms);
        assert_true(token_bucket_left(&bucket, step->at_ms) == step->left);
    }
}

static void says_when_it_is_full(void **state)
{
    struct token_bucket bucket = {.rate = 3, .burst = 10};

    (void)state;
    assert_int_equal(token_bucket_full_ms(&bucket, 0), 0);
    assert_int_equal(token_bucket_take(&bucket, 2, 0), 0);
    assert_int_equal(token_bucket_full_ms(&bucket, 0), 667);
    assert_int_equal(token_bucket_full_ms(&bucket, 666), 1);
    assert_int_equal(token_bucket_full_ms(&bucket, 667), 0);
}

/* 100,000 seconds of 3 a second, asked whenever the bucket says so; then idle for 300 years, and no
 * fuller for it. */
static void does_not_drift(void **state)
{
    struct token_bucket bucket = {.rate = 3, .burst = 2};
    int64_t now_ms = 0, taken = 0;

    (void)state;
    while (now_ms <= 100000000) {
        int64_t wait_ms = token_bucket_take(&bucket, 1, now_ms);
        taken += wait_ms == 0;
        now_ms += wait_ms;
    }
    assert_int_equal(taken, 2 + 3 * 100000);
    now_ms += (int64_t)300 * 365 * 86400 * 1000;
    assert_int_equal(token_bucket_take(&bucket, 2, now_ms), 0);
    assert_int_equal(token_bucket_take(&bucket, 1, now_ms), 334);
}

/* ---- the promise: in any window at most burst + rate * t ---- */

#define TAKES 300

struct history {
    int count, refused;
    int64_t at_ms[TAKES], taken[TAKES];
};

static void check_windows(const struct token_bucket *bucket, const struct history *history)
{
    for (int first = 0; first < history->count; first++) {
        int64_t taken = 0;
        for (int last = first; last < history->count; last++) {
            int64_t time_ms = history->at_ms[last] - history->at_ms[first];
            taken += history->taken[last];
            assert_true(taken * 1000 <= bucket->burst * 1000 + bucket->rate * time_ms);
        }
    }
}

/* The wait it says is the shortest there is. */
static void check_wait(const struct token_bucket *bucket, int64_t count, int64_t now_ms,
                       int64_t wait_ms)
{
    struct token_bucket early = *bucket, exact = *bucket;

    assert_true(token_bucket_take(&early, count, now_ms + wait_ms - 1) == 1);
    assert_true(token_bucket_take(&exact, count, now_ms + wait_ms) == 0);
}

/* Mostly forward, by little, much or nothing; now and then back. */
static int64_t step_time(unsigned short seed[3], int64_t rate)
{
    int64_t most_ms = 4000 / rate + 2;

    switch (nrand48(seed) % 8) {
    case 0:
        return -(nrand48(seed) % most_ms);
    case 1:
        return nrand48(seed) % 100000;
    case 2:
        return 0;
    default:
        return nrand48(seed) % most_ms;
    }
}

/* A call at an earlier time counts at the latest there was. */
static void take_at_random(struct token_bucket *bucket, unsigned short seed[3],
                           struct history *history)
{
    int64_t now_ms = jrand48(seed), latest_ms = now_ms;

    for (history->count = 0; history->count < TAKES; history->count++) {
        int64_t count = nrand48(seed) % (bucket->burst + 1);
        int64_t wait_ms = token_bucket_take(bucket, count, now_ms);
        if (now_ms > latest_ms)
            latest_ms = now_ms;
        history->at_ms[history->count] = latest_ms;
        history->taken[history->count] = wait_ms == 0 ? count : 0;
        history->refused += wait_ms > 0;
        if (wait_ms > 0)
            check_wait(bucket, count, now_ms, wait_ms);
        now_ms += step_time(seed, bucket->rate);
    }
}

static void never_gives_more_than_it_promises(void **state)
{
    static const int64_t rates[] = {5, 100, 5000};
    unsigned short seed[3] = {7, 8, 9};
    struct history history = {0};

    (void)state;
    for (size_t round = 0; round < 100; round++) {
        struct token_bucket bucket = {.rate = 1 + nrand48(seed) % rates[round % ARRAY_LEN(rates)],
                                      .burst = 1 + nrand48(seed) % 50};
        take_at_random(&bucket, seed, &history);
        check_windows(&bucket, &history);
    }
    assert_in_range(history.refused, TAKES * 100 / 10, TAKES * 100 * 9 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_when_it_is_full),
        cmocka_unit_test(does_not_drift),
        cmocka_unit_test(never_gives_more_than_it_promises),
    };

    return RUN_ROWS(rows, takes) + cmocka_run_group_tests(tests, NULL, NULL);
}
