/*
 * metrics: counters, gauges, histograms and summaries in the Prometheus text format.
 *
 * A family has a name, a help line and label names; a cell is one combination of label values.
 * Cells are found (or made) by metrics_cell, which takes a lock and is meant for set-up or for
 * paths that are not hot: keep the pointer. Changing a cell is one to three atomic operations.
 *
 * A summary shows quantiles of what was observed in the last ten minutes, within 2 % of the true
 * ones (base/metrics_window.h says how, and for which values), NaN when nothing was; its sum and
 * count are since the start. Quantiles of several processes cannot be added up: what is summed over
 * replicas is a histogram.
 *
 * Names and units follow Prometheus: seconds, bytes, `_total` for counters.
 * Ownership  Families and cells belong to the registry and live as long as it does.
 * Threads    any thread.
 * Source     Prometheus text exposition format 0.0.4.
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "base/buffer.h"
#include "base/clock.h"

#include <stdint.h>

struct metrics;
struct metrics_family;
struct metrics_cell;

enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM, METRICS_SUMMARY };

#define METRICS_LABELS_MAX 4
#define METRICS_QUANTILES_MAX 8

struct metrics_description {
    enum metrics_kind kind;
    const char *name, *help;
    const char *labels[METRICS_LABELS_MAX]; /* NULL ends */
    /* METRICS_HISTOGRAM: upper bounds, rising. METRICS_SUMMARY: the quantiles it shows, 0 to 1, at
     * most METRICS_QUANTILES_MAX; with none it is sum and count only. */
    const double *buckets;
    size_t bucket_count;
};

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);
AUTO_DEFINE(struct metrics *, metrics_free)

/* Whose steady time the windows of summaries follow, instead of the machine's; borrowed. Before
 * the registry is used. */
void metrics_use_clock(struct metrics *metrics, const struct clock *clock);

/* The description's texts and buckets are borrowed for the life of the registry. The same name
 * again gives the same family. */
struct metrics_family *metrics_family(struct metrics *metrics,
                                      const struct metrics_description *description);

/* Exactly as many values as the family has labels; copied. A family is bounded to 10,000 cells
 * (100 of a summary with quantiles: 21 kB each): what comes beyond shares one cell whose every
 * label is "other". */
struct metrics_cell *metrics_cell(struct metrics_family *family, const char *const *values);

void metrics_add(struct metrics_cell *cell, double amount);    /* counter, gauge */
void metrics_set(struct metrics_cell *cell, double value);     /* gauge; counter kept elsewhere */
void metrics_observe(struct metrics_cell *cell, double value); /* histogram, summary */
double metrics_value(const struct metrics_cell *cell);         /* those two: how many */

/* Called before each rendering: the place to set gauges that are read elsewhere. */
typedef void metrics_collect(void *context);
void metrics_on_render(struct metrics *metrics, metrics_collect *collect, void *context);

void metrics_render(struct metrics *metrics, struct buffer *out);

/* process_cpu_seconds_total, process_resident_memory_bytes, process_working_set_bytes (the legacy
 * name of the same), process_num_threads, process_open_fds, process_start_time_seconds. */
void metrics_process(struct metrics *metrics);

/* Upper bounds in seconds from 100 us to 10 s, for latencies. */
#define METRICS_SECONDS_COUNT 16
extern const double METRICS_SECONDS[METRICS_SECONDS_COUNT];

/* The quantiles of most summaries: 0.5, 0.9, 0.99. */
#define METRICS_QUANTILES_COUNT 3
extern const double METRICS_QUANTILES[METRICS_QUANTILES_COUNT];

#endif
