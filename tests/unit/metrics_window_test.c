#include "support/test.h"

#include "base/metrics_window.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#define AGE ((int64_t)METRICS_WINDOW_AGE_MS)
#define THREADS 4
#define MEETINGS 500
#define READS 20
#define EACH 5 /* observations of a thread at a meeting */

static double quantile_at(struct metrics_window *window, double quantile, int64_t now_ms)
{
    double value;

    metrics_window_quantiles(window, now_ms, &quantile, 1, &value);
    return value;
}

static bool is_near(double value, double want)
{
    return fabs(value - want) <= want * (METRICS_WINDOW_ERROR + 1e-9);
}

/* The powers of 1.1 from 1 to count are observed; which of them comes back. */
static const struct rank_row {
    const char *name;
    int count;
    double quantile, want;
} rank_rows[] = {
    {"one value is every quantile: the least", 1, 0, 1},
    {"one value is every quantile: the middle", 1, 0.5, 1},
    {"one value is every quantile: the most", 1, 1, 1},
    {"of two the middle is the lower", 2, 0.5, 1},
    {"of two what is over the middle is the upper", 2, 0.51, 2},
    {"the nearest rank, not the one after it", 100, 0.07, 7},
    {"nine of ten", 10, 0.9, 9},
    {"99 of a hundred", 100, 0.99, 99},
    {"all of a hundred", 100, 1, 100},
    {"the first of a hundred", 100, 0, 1},
};

/* Ranks are exact while neighbours are further apart than the error: hence the powers. */
static void finds_ranks(void **state)
{
    const struct rank_row *row = *state;
    AUTO(metrics_window_free) struct metrics_window *window = metrics_window_new();

    for (int i = 1; i <= row->count; i++)
        metrics_window_observe(window, pow(1.1, i), 0);
    assert_true(is_near(quantile_at(window, row->quantile, 0), pow(1.1, row->want)));
}

static const struct value_row {
    const char *name;
    double value, want;
} value_rows[] = {
    {"nothing", 0, 0},
    {"less than nothing", -1, 0},
    {"less than any", -INFINITY, 0},
    {"below the least", 0.99e-9, 0},
    {"the least", 1e-9, 1e-9},
    {"a microsecond", 1e-6, 1e-6},
    {"one", 1, 1},
    {"the most", 1e9, 1e9},
    {"over the most", 1.01e9, INFINITY},
    {"more than any", INFINITY, INFINITY},
    {"no number", NAN, INFINITY},
};

static void counts_values(void **state)
{
    const struct value_row *row = *state;
    AUTO(metrics_window_free) struct metrics_window *window = metrics_window_new();

    metrics_window_observe(window, row->value, 0);
    double value = quantile_at(window, 0.5, 0);
    assert_true(isinf(row->want) ? isinf(value) : is_near(value, row->want));
}

/* 1 is observed at first_ms, then 100 at second_ms; the least and the most seen at read_ms. */
static const struct time_row {
    const char *name;
    int64_t first_ms, second_ms, read_ms;
    double least, most;
} time_rows[] = {
    {"both in one age", 5, 6, 7, 1, 100},
    {"ages are merged", 5, AGE, AGE, 1, 100},
    {"an age stays while four come after it", 5, 5, 5 * AGE - 1, 1, 100},
    {"the fifth after it drops it", 5, AGE, 5 * AGE, 100, 100},
    {"what takes the place of an age starts empty", 5, 5 * AGE, 5 * AGE, 100, 100},
    {"after a long silence only what is new", 5, 1000 * AGE, 1000 * AGE + 1, 100, 100},
    {"after a silence without end, nothing", 5, 5, INT64_MAX, NAN, NAN},
    {"time that went back counts", 7 * AGE, 6 * AGE, 7 * AGE, 1, 100},
    {"time that went far back counts as well", 7 * AGE, 2 * AGE, 7 * AGE, 1, 100},
    {"read at an earlier time", 7 * AGE, 7 * AGE, AGE, 1, 100},
    {"before the clock's zero", INT64_MIN, -1, 0, 1, 100},
    {"the end of time", INT64_MAX, INT64_MAX, INT64_MAX, 1, 100},
};

static void slides(void **state)
{
    const struct time_row *row = *state;
    AUTO(metrics_window_free) struct metrics_window *window = metrics_window_new();

    metrics_window_observe(window, 1, row->first_ms);
    metrics_window_observe(window, 100, row->second_ms);
    double least = quantile_at(window, 0, row->read_ms);
    double most = quantile_at(window, 1, row->read_ms);
    assert_true(isnan(row->least) ? isnan(least) : is_near(least, row->least));
    assert_true(isnan(row->most) ? isnan(most) : is_near(most, row->most));
}

static void an_empty_window_has_no_quantiles(void **state)
{
    AUTO(metrics_window_free) struct metrics_window *window = metrics_window_new();

    (void)state;
    assert_true(isnan(quantile_at(window, 0.5, 0)));
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

/* Latencies spread over nine powers of ten, against the sorted truth. */
static void every_quantile_is_within_the_error(void **state)
{
    enum { COUNT = 5000 };
    AUTO(metrics_window_free) struct metrics_window *window = metrics_window_new();
    unsigned short seed[3] = {1, 2, 3};
    double values[COUNT];

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        values[i] = pow(10, erand48(seed) * 9 - 6);
        metrics_window_observe(window, values[i], 5 * AGE * i / COUNT);
    }
    qsort(values, COUNT, sizeof(values[0]), compare);
    for (int rank = 1; rank <= COUNT; rank++)
        assert_true(
            is_near(quantile_at(window, (double)rank / COUNT, 5 * AGE - 1), values[rank - 1]));
}

struct meeting {
    struct metrics_window *window;
    pthread_barrier_t barrier;
};

struct observer {
    pthread_t thread;
    struct meeting *meeting;
    double value;
};

/* Each meeting is an age later, from 1 on: all find that theirs has not begun. */
static int64_t meeting_ms(int meeting)
{
    return AGE * meeting;
}

static void *observe(void *context)
{
    const struct observer *observer = context;

    for (int i = 1; i <= MEETINGS; i++) {
        pthread_barrier_wait(&observer->meeting->barrier);
        for (int j = 0; j < EACH; j++)
            metrics_window_observe(observer->meeting->window, observer->value, meeting_ms(i));
        pthread_barrier_wait(&observer->meeting->barrier);
    }
    return NULL;
}

/* Every thread observes a value of its own, and must have its equal share of the ranks. */
static bool has_equal_shares(struct metrics_window *window, int meeting)
{
    int each = EACH * (meeting < METRICS_WINDOW_AGES ? meeting : METRICS_WINDOW_AGES);
    bool is_equal = true;

    for (int i = 0; i < THREADS; i++) {
        double first = (i * each + 1) / (double)(THREADS * each);
        double last = (i + 1) / (double)THREADS;
        is_equal = is_equal && is_near(quantile_at(window, first, meeting_ms(meeting)), i + 1) &&
                   is_near(quantile_at(window, last, meeting_ms(meeting)), i + 1);
    }
    return is_equal;
}

static void threads_lose_nothing_when_an_age_begins(void **state)
{
    AUTO(metrics_window_free) struct metrics_window *window = metrics_window_new();
    struct meeting meeting = {.window = window};
    struct observer observers[THREADS];
    int unequal = 0;

    (void)state;
    assert_int_equal(pthread_barrier_init(&meeting.barrier, NULL, THREADS + 1), 0);
    for (int i = 0; i < THREADS; i++) {
        observers[i] = (struct observer){.meeting = &meeting, .value = i + 1};
        assert_int_equal(pthread_create(&observers[i].thread, NULL, observe, &observers[i]), 0);
    }
    for (int i = 1; i <= MEETINGS; i++) {
        pthread_barrier_wait(&meeting.barrier);
        for (int j = 0; j < READS; j++) /* meanwhile, so that they queue for the lock */
            (void)quantile_at(window, 0.5, meeting_ms(i));
        pthread_barrier_wait(&meeting.barrier);
        unequal += !has_equal_shares(window, i); /* the others wait to meet again */
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(observers[i].thread, NULL);
    pthread_barrier_destroy(&meeting.barrier);
    assert_int_equal(unequal, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_window_has_no_quantiles),
        cmocka_unit_test(every_quantile_is_within_the_error),
        cmocka_unit_test(threads_lose_nothing_when_an_age_begins),
    };

    return RUN_ROWS(rank_rows, finds_ranks) + RUN_ROWS(value_rows, counts_values) +
           RUN_ROWS(time_rows, slides) + cmocka_run_group_tests(tests, NULL, NULL);
}
