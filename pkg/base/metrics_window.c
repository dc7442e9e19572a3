#include "base/metrics_window.h"

#include "base/memory.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define LEAST 1e-9
#define MOST 1e9
#define WIDTH ((1 + METRICS_WINDOW_ERROR) / (1 - METRICS_WINDOW_ERROR)) /* upper / lower bound */
#define BUCKETS 1039 /* below LEAST, log(MOST / LEAST) / log(WIDTH) rounded up, above MOST */

struct age {
    /* Which age since the clock's zero; written with the lock held, after the counts are clear. A
     * zeroed window holds age 0 everywhere, empty. */
    _Atomic int64_t number;
    _Atomic uint32_t counts[BUCKETS];
};

struct metrics_window {
    pthread_mutex_t lock; /* to begin an age, and to read all of them */
    struct age ages[METRICS_WINDOW_AGES];
};

struct metrics_window *metrics_window_new(void)
{
    struct metrics_window *window = memory_alloc(sizeof(*window));

    pthread_mutex_init(&window->lock, NULL);
    return window;
}

void metrics_window_free(struct metrics_window *window)
{
    if (!window)
        return;
    pthread_mutex_destroy(&window->lock);
    free(window);
}

static size_t bucket_of(double value)
{
    if (value < LEAST)
        return 0;
    if (!(value <= MOST))
        return BUCKETS - 1;
    return 1 + (size_t)(log(value / LEAST) / log(WIDTH));
}

/* Where the distance to both bounds of the bucket is the same share of them. */
static double value_of(size_t bucket)
{
    if (bucket == 0)
        return 0;
    if (bucket == BUCKETS - 1)
        return INFINITY;
    return LEAST * pow(WIDTH, (double)(bucket - 1)) * (1 + METRICS_WINDOW_ERROR);
}

static int64_t age_number(int64_t now_ms)
{
    return now_ms > 0 ? now_ms / METRICS_WINDOW_AGE_MS : 0;
}

static void begin_age(struct metrics_window *window, struct age *age, int64_t number)
{
    pthread_mutex_lock(&window->lock);
    if (atomic_load_explicit(&age->number, memory_order_relaxed) < number) {
        for (size_t i = 0; i < BUCKETS; i++)
            atomic_store_explicit(&age->counts[i], 0, memory_order_relaxed);
        atomic_store_explicit(&age->number, number, memory_order_release);
    }
    pthread_mutex_unlock(&window->lock);
}

void metrics_window_observe(struct metrics_window *window, double value, int64_t now_ms)
{
    int64_t number = age_number(now_ms);
    struct age *age = &window->ages[number % METRICS_WINDOW_AGES];

    /* Acquire: what is added here comes after the clearing. */
    if (atomic_load_explicit(&age->number, memory_order_acquire) < number)
        begin_age(window, age, number);
    atomic_fetch_add_explicit(&age->counts[bucket_of(value)], 1, memory_order_relaxed);
}

/* Returns how many there are in all. */
static uint64_t merge_ages(struct metrics_window *window, int64_t now_ms, uint64_t counts[BUCKETS])
{
    int64_t oldest = age_number(now_ms) - METRICS_WINDOW_AGES + 1;
    uint64_t total = 0;

    pthread_mutex_lock(&window->lock);
    for (size_t a = 0; a < METRICS_WINDOW_AGES; a++) {
        const struct age *age = &window->ages[a];
        if (atomic_load_explicit(&age->number, memory_order_relaxed) < oldest)
            continue;
        for (size_t i = 0; i < BUCKETS; i++) {
            uint32_t count = atomic_load_explicit(&age->counts[i], memory_order_relaxed);
            counts[i] += count;
            total += count;
        }
    }
    pthread_mutex_unlock(&window->lock);
    return total;
}

static double find_rank(const uint64_t counts[BUCKETS], double rank)
{
    uint64_t seen = counts[0];
    size_t bucket = 0;

    while (bucket < BUCKETS - 1 && (double)seen < rank)
        seen += counts[++bucket];
    return value_of(bucket);
}

/* A product like 0.07 * 100 is a little over the whole number it stands for. */
static double rank_of(double quantile, uint64_t total)
{
    return fmax(1, ceil(quantile * (double)total * (1 - 1e-15)));
}

void metrics_window_quantiles(struct metrics_window *window, int64_t now_ms,
                              const double *quantiles, size_t count, double *out)
{
    uint64_t counts[BUCKETS] = {0};
    uint64_t total = merge_ages(window, now_ms, counts);

    for (size_t i = 0; i < count; i++)
        out[i] = total > 0 ? find_rank(counts, rank_of(quantiles[i], total)) : NAN;
}
