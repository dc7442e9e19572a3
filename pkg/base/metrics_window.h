/*
 * metrics_window: quantiles of what was observed in the last ten minutes; the sketch of a summary.
 *
 * A value is counted in a bucket of logarithmic width, so a quantile comes back within 2 % of the
 * value that has that rank, from 1e-9 to 1e9. What is less (nothing, or less than nothing) comes
 * back as 0, what is more (or no number) as +Inf.
 *
 * The window slides by ages of two minutes, each counted alone and dropped as a whole: it covers
 * the age under way and the four before it, 8 to 10 minutes. Observing is a logarithm, an atomic
 * read and an atomic addition; once in an age the first to observe clears, under a lock, what the
 * age replaces. An observer that the machine holds up for 8 minutes in the middle of this may count
 * in a later age.
 *
 * Units    milliseconds of one steady clock. Time that goes back harms nothing.
 * Memory   METRICS_WINDOW_AGES * 1039 counts of 4 bytes, 21 kB, whatever is observed. A count
 *          takes 4.2e9 observations of one bucket in an age.
 * Threads  any.
 * Source   Masson, Rim and Lee, "DDSketch: A fast and fully-mergeable quantile sketch with
 *          relative-error guarantees", PVLDB 12(12), 2019; window and ages as in the summaries of
 *          Prometheus' client_golang (DefMaxAge, DefAgeBuckets).
 */
#ifndef BASE_METRICS_WINDOW_H
#define BASE_METRICS_WINDOW_H

#include "base/macros.h"

#include <stdint.h>

#define METRICS_WINDOW_AGES 5
#define METRICS_WINDOW_AGE_MS 120000
#define METRICS_WINDOW_ERROR 0.02

struct metrics_window;

struct metrics_window *metrics_window_new(void);
void metrics_window_free(struct metrics_window *window);
AUTO_DEFINE(struct metrics_window *, metrics_window_free)

void metrics_window_observe(struct metrics_window *window, double value, int64_t now_ms);

/* For each of the quantiles (0 to 1), the least value that at least this share of the observed ones
 * does not exceed (the nearest rank); NaN when nothing was observed in the window. */
void metrics_window_quantiles(struct metrics_window *window, int64_t now_ms,
                              const double *quantiles, size_t count, double *out);

#endif
