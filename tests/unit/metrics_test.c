#include "support/test.h"

#include "base/metrics.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS 20000

static const double bounds[] = {0.1, 1};

static const struct metrics_description requests = {
    .kind = METRICS_COUNTER,
    .name = "http_requests_total",
    .help = "Requests answered.",
    .labels = {"route", "code"},
};
static const struct metrics_description depth = {
    .kind = METRICS_GAUGE,
    .name = "queue_depth",
    .help = "What waits,\nin \\events\".",
};
static const struct metrics_description latency = {
    .kind = METRICS_HISTOGRAM,
    .name = "latency_seconds",
    .help = "Time taken.",
    .labels = {"route"},
    .buckets = bounds,
    .bucket_count = ARRAY_LEN(bounds),
};
static const struct metrics_description plain_latency = {
    .kind = METRICS_HISTOGRAM,
    .name = "plain_seconds",
    .help = "Time taken.",
    .buckets = bounds,
    .bucket_count = ARRAY_LEN(bounds),
};
static const struct metrics_description size = {
    .kind = METRICS_SUMMARY,
    .name = "size_bytes",
    .help = "Size of a request.",
    .labels = {"route"},
    .buckets = METRICS_QUANTILES,
    .bucket_count = METRICS_QUANTILES_COUNT,
};
static const struct metrics_description plain_size = {
    .kind = METRICS_SUMMARY,
    .name = "plain_bytes",
    .help = "Size.",
};

#define VALUES(...) ((const char *const[]){__VA_ARGS__})

static void assert_renders(struct metrics *metrics, const char *want)
{
    AUTO(buffer_free) struct buffer page = {0};

    metrics_render(metrics, &page);
    assert_string_equal(page.data ? page.data : "", want);
}

static void cells_render_in_the_order_of_their_making(void **state)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    struct metrics_family *family = metrics_family(metrics, &requests);

    (void)state;
    metrics_add(metrics_cell(family, VALUES("/logs", "201")), 2);
    metrics_add(metrics_cell(family, VALUES("/", "200")), 1);
    metrics_add(metrics_cell(family, VALUES("/logs", "201")), 1);
    metrics_set(metrics_cell(metrics_family(metrics, &depth), NULL), 7.25);
    assert_renders(metrics, "# HELP http_requests_total Requests answered.\n"
                            "# TYPE http_requests_total counter\n"
                            "http_requests_total{route=\"/logs\",code=\"201\"} 3\n"
                            "http_requests_total{route=\"/\",code=\"200\"} 1\n"
                            "# HELP queue_depth What waits,\\nin \\\\events\".\n"
                            "# TYPE queue_depth gauge\n"
                            "queue_depth 7.25\n");
}

static void a_histogram_renders_cumulative_buckets(void **state)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    struct metrics_cell *cell = metrics_cell(metrics_family(metrics, &latency), VALUES("/"));
    struct metrics_cell *plain = metrics_cell(metrics_family(metrics, &plain_latency), NULL);

    (void)state;
    metrics_observe(cell, 0.1); /* a bound belongs to its bucket */
    metrics_observe(cell, 0.5);
    metrics_observe(cell, 2);
    metrics_observe(plain, 0);
    assert_true(metrics_value(cell) == 3);
    assert_renders(metrics, "# HELP latency_seconds Time taken.\n"
                            "# TYPE latency_seconds histogram\n"
                            "latency_seconds_bucket{route=\"/\",le=\"0.1\"} 1\n"
                            "latency_seconds_bucket{route=\"/\",le=\"1\"} 2\n"
                            "latency_seconds_bucket{route=\"/\",le=\"+Inf\"} 3\n"
                            "latency_seconds_sum{route=\"/\"} 2.6\n"
                            "latency_seconds_count{route=\"/\"} 3\n"
                            "# HELP plain_seconds Time taken.\n"
                            "# TYPE plain_seconds histogram\n"
                            "plain_seconds_bucket{le=\"0.1\"} 1\n"
                            "plain_seconds_bucket{le=\"1\"} 1\n"
                            "plain_seconds_bucket{le=\"+Inf\"} 1\n"
                            "plain_seconds_sum 0\n"
                            "plain_seconds_count 1\n");
}

static void a_summary_without_quantiles_is_sum_and_count(void **state)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    struct metrics_cell *cell = metrics_cell(metrics_family(metrics, &plain_size), NULL);

    (void)state;
    metrics_observe(cell, 2);
    metrics_observe(cell, 0.5);
    assert_true(metrics_value(cell) == 2);
    assert_renders(metrics, "# HELP plain_bytes Size.\n"
                            "# TYPE plain_bytes summary\n"
                            "plain_bytes_sum 2.5\n"
                            "plain_bytes_count 2\n");
}

/* Quantiles forget, sum and count do not. Zero is a value whose quantile is exact. */
static void a_summary_shows_quantiles_of_its_window(void **state)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    struct clock_fake fake;
    clock_fake_start(&fake, 5000);
    metrics_use_clock(metrics, &fake.clock);
    struct metrics_cell *cell = metrics_cell(metrics_family(metrics, &size), VALUES("/"));

    (void)state;
    for (int i = 0; i < 9; i++)
        metrics_observe(cell, 0);
    metrics_observe(cell, 2e9);
    assert_renders(metrics, "# HELP size_bytes Size of a request.\n"
                            "# TYPE size_bytes summary\n"
                            "size_bytes{route=\"/\",quantile=\"0.5\"} 0\n"
                            "size_bytes{route=\"/\",quantile=\"0.9\"} 0\n"
                            "size_bytes{route=\"/\",quantile=\"0.99\"} +Inf\n"
                            "size_bytes_sum{route=\"/\"} 2000000000\n"
                            "size_bytes_count{route=\"/\"} 10\n");
    clock_fake_advance(&fake, 600000);
    assert_renders(metrics, "# HELP size_bytes Size of a request.\n"
                            "# TYPE size_bytes summary\n"
                            "size_bytes{route=\"/\",quantile=\"0.5\"} NaN\n"
                            "size_bytes{route=\"/\",quantile=\"0.9\"} NaN\n"
                            "size_bytes{route=\"/\",quantile=\"0.99\"} NaN\n"
                            "size_bytes_sum{route=\"/\"} 2000000000\n"
                            "size_bytes_count{route=\"/\"} 10\n");
}

static void summaries_with_quantiles_are_bounded(void **state)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    struct metrics_family *family = metrics_family(metrics, &size);
    char route[16];

    (void)state;
    for (int i = 0; i < 110; i++) {
        snprintf(route, sizeof(route), "/%d", i);
        metrics_observe(metrics_cell(family, VALUES(route)), 1);
    }
    assert_true(metrics_value(metrics_cell(family, VALUES("/99"))) == 1);
    assert_true(metrics_value(metrics_cell(family, VALUES("other"))) == 10);
}

static void a_family_without_cells_is_left_out(void **state)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();

    (void)state;
    metrics_family(metrics, &requests);
    assert_renders(metrics, "");
}

static void the_same_name_gives_the_same_family_and_cell(void **state)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    struct metrics_family *family = metrics_family(metrics, &requests);

    (void)state;
    assert_ptr_equal(metrics_family(metrics, &requests), family);
    assert_ptr_not_equal(metrics_family(metrics, &depth), family);
    assert_ptr_equal(metrics_cell(family, VALUES("a", "b")),
                     metrics_cell(family, VALUES("a", "b")));
    assert_ptr_not_equal(metrics_cell(family, VALUES("a", "b")),
                         metrics_cell(family, VALUES("b", "a")));
}

static const struct label_row {
    const char *name, *value, *rendered;
} label_rows[] = {
    {"plain", "plain", "plain"},
    {"empty", "", ""},
    {"a quote", "a\"b", "a\\\"b"},
    {"a backslash", "a\\b", "a\\\\b"},
    {"a line break", "a\nb", "a\\nb"},
    {"a value cannot add a label", "x\",code=\"200", "x\\\",code=\\\"200"},
    {"characters of many bytes", "é", "é"},
    {"a byte that is not text", "a\xff", "a\xef\xbf\xbd"},
};

static void escapes_label_values(void **state)
{
    const struct label_row *row = *state;
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    char want[256];

    metrics_add(metrics_cell(metrics_family(metrics, &requests), VALUES(row->value, "1")), 1);
    snprintf(want, sizeof(want),
             "# HELP http_requests_total Requests answered.\n"
             "# TYPE http_requests_total counter\n"
             "http_requests_total{route=\"%s\",code=\"1\"} 1\n",
             row->rendered);
    assert_renders(metrics, want);
}

static const struct number_row {
    const char *name;
    double value;
    const char *rendered;
} number_rows[] = {
    {"a whole number", 500, "500"},
    {"a large count is exact", 9007199254740991, "9007199254740991"},
    {"a short fraction is short", 0.1, "0.1"},
    {"a long fraction is exact", 0.1 + 0.2, "0.30000000000000004"},
    {"less than nothing", -3.5, "-3.5"},
    {"more than any", INFINITY, "+Inf"},
    {"less than any", -INFINITY, "-Inf"},
    {"no number", NAN, "NaN"},
};

static void writes_numbers(void **state)
{
    const struct number_row *row = *state;
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    AUTO(buffer_free) struct buffer page = {0};
    char want[64];

    metrics_set(metrics_cell(metrics_family(metrics, &depth), NULL), row->value);
    metrics_render(metrics, &page);
    snprintf(want, sizeof(want), "\nqueue_depth %s\n", row->rendered);
    assert_non_null(strstr(page.data, want));
}

static void cells_are_bounded(void **state)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    struct metrics_family *family = metrics_family(metrics, &requests);
    AUTO(buffer_free) struct buffer page = {0};
    char route[16];

    (void)state;
    for (int i = 0; i < 10100; i++) {
        snprintf(route, sizeof(route), "/%d", i);
        metrics_add(metrics_cell(family, VALUES(route, "200")), 1);
    }
    metrics_render(metrics, &page);
    assert_non_null(strstr(page.data, "{route=\"/9999\",code=\"200\"} 1\n"));
    assert_null(strstr(page.data, "/10000"));
    assert_non_null(strstr(page.data, "{route=\"other\",code=\"other\"} 100\n"));
    metrics_add(metrics_cell(family, VALUES("/77", "200")), 1);
    assert_true(metrics_value(metrics_cell(family, VALUES("/77", "200"))) == 2);
}

static void *count_in_thread(void *context)
{
    struct metrics *metrics = context;
    struct metrics_cell *histogram = metrics_cell(metrics_family(metrics, &latency), VALUES("/"));
    struct metrics_cell *summary = metrics_cell(metrics_family(metrics, &size), VALUES("/"));

    for (int i = 0; i < ROUNDS; i++) {
        struct metrics_family *family = metrics_family(metrics, &requests);
        metrics_add(metrics_cell(family, VALUES("/", i % 2 ? "200" : "503")), 1);
        metrics_observe(histogram, 0.5);
        metrics_observe(summary, 0.5);
    }
    return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    AUTO(buffer_free) struct buffer page = {0};
    pthread_t threads[THREADS];

    (void)state;
    metrics_process(metrics);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_in_thread, metrics), 0);
    metrics_render(metrics, &page); /* meanwhile */
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);

    buffer_clear(&page);
    metrics_render(metrics, &page);
    assert_non_null(strstr(page.data, "{route=\"/\",code=\"200\"} 40000\n"));
    assert_non_null(strstr(page.data, "{route=\"/\",code=\"503\"} 40000\n"));
    assert_non_null(strstr(page.data, "latency_seconds_sum{route=\"/\"} 40000\n"));
    assert_non_null(strstr(page.data, "latency_seconds_count{route=\"/\"} 80000\n"));
    assert_non_null(strstr(page.data, "size_bytes_sum{route=\"/\"} 40000\n"));
    assert_non_null(strstr(page.data, "size_bytes_count{route=\"/\"} 80000\n"));
}

static void fill_gauge(void *context)
{
    metrics_add(metrics_cell(metrics_family(context, &depth), NULL), 1);
}

static void collectors_run_before_each_rendering(void **state)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    AUTO(buffer_free) struct buffer page = {0};

    (void)state;
    metrics_on_render(metrics, fill_gauge, metrics);
    metrics_on_render(metrics, fill_gauge, metrics);
    metrics_render(metrics, &page);
    assert_non_null(strstr(page.data, "\nqueue_depth 2\n"));
    metrics_render(metrics, &page);
    assert_non_null(strstr(page.data, "\nqueue_depth 4\n"));
}

static double sample(const struct buffer *page, const char *name)
{
    char line[128];

    snprintf(line, sizeof(line), "\n%s ", name);
    const char *at = strstr(page->data, line);
    if (!at) {
        fail_msg("no sample of %s", name);
        return NAN;
    }
    return strtod(at + strlen(line), NULL);
}

static int count_open_files(void)
{
    int count = 0;

    for (int file = 0; file < 1024; file++)
        count += fcntl(file, F_GETFD) != -1;
    return count;
}

static void the_process_shows_itself(void **state)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    AUTO(buffer_free) struct buffer before = {0}, after = {0};
    int ends[2];

    (void)state;
    metrics_process(metrics);
    metrics_render(metrics, &before);
    assert_int_equal(pipe(ends), 0);
    metrics_render(metrics, &after);
    close(ends[0]);
    close(ends[1]);

    double resident = sample(&before, "process_resident_memory_bytes");
    assert_true(resident > 100e3 && resident < 1e12);
    assert_true(sample(&before, "process_working_set_bytes") == resident);
    assert_in_range(sample(&before, "process_num_threads"), 1, 3); /* a sanitizer may have one */
    assert_int_equal(sample(&before, "process_open_fds"), count_open_files());
    assert_int_equal(sample(&after, "process_open_fds"), count_open_files() + 2);
    assert_true(fabs(sample(&before, "process_start_time_seconds") - (double)time(NULL)) < 600);
    double cpu = sample(&before, "process_cpu_seconds_total");
    assert_true(cpu > 0 && cpu <= (double)clock() / CLOCKS_PER_SEC);
}

static void latency_buckets_rise_from_100_us_to_10_s(void **state)
{
    (void)state;
    assert_true(METRICS_SECONDS[0] == 0.0001);
    assert_true(METRICS_SECONDS[METRICS_SECONDS_COUNT - 1] == 10);
    for (size_t i = 1; i < METRICS_SECONDS_COUNT; i++)
        assert_true(METRICS_SECONDS[i] > METRICS_SECONDS[i - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_render_in_the_order_of_their_making),
        cmocka_unit_test(a_histogram_renders_cumulative_buckets),
        cmocka_unit_test(a_summary_without_quantiles_is_sum_and_count),
        cmocka_unit_test(a_summary_shows_quantiles_of_its_window),
        cmocka_unit_test(summaries_with_quantiles_are_bounded),
        cmocka_unit_test(a_family_without_cells_is_left_out),
        cmocka_unit_test(the_same_name_gives_the_same_family_and_cell),
        cmocka_unit_test(cells_are_bounded),
        cmocka_unit_test(nothing_is_lost_between_threads),
        cmocka_unit_test(collectors_run_before_each_rendering),
        cmocka_unit_test(the_process_shows_itself),
        cmocka_unit_test(latency_buckets_rise_from_100_us_to_10_s),
    };

    return RUN_ROWS(label_rows, escapes_label_values) + RUN_ROWS(number_rows, writes_numbers) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
