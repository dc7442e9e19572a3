#include "base/metrics.h"

#include "base/memory.h"
#include "base/metrics_window.h"
#include "base/utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_MAX 10000
#define WINDOWS_MAX 100 /* cells of a summary with quantiles */
#define SLOTS 256       /* of the table that finds a cell: short chains at 10,000 cells */

struct metrics_cell {
    struct metrics_cell *next_in_slot, *next;
    const struct metrics_family *family;
    char *labels;                  /* as rendered, without braces: also the key */
    struct metrics_window *window; /* of a summary with quantiles */
    _Atomic uint64_t bits;         /* a double: the value; of a histogram or summary the sum */
    /* Of a histogram: each bucket alone, then what is above all. Of a summary: one, of all. */
    _Atomic uint64_t counts[];
};

struct metrics_family {
    struct metrics_family *next;
    struct metrics *metrics;
    struct metrics_description description;
    /* guarded by metrics->lock */
    struct metrics_cell *slots[SLOTS];
    struct metrics_cell *first, **last; /* in the order of their making */
    size_t count;
};

struct collector {
    struct collector *next;
    metrics_collect *collect;
    void *context;
};

struct metrics {
    const struct clock *clock; /* borrowed */
    pthread_mutex_t lock;
    /* guarded by lock; a collector never changes once it is in the list */
    struct metrics_family *first, **last;
    struct collector *collectors;
};

const double METRICS_SECONDS[METRICS_SECONDS_COUNT] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
};
const double METRICS_QUANTILES[METRICS_QUANTILES_COUNT] = {0.5, 0.9, 0.99};

struct metrics *metrics_new(void)
{
    struct metrics *metrics = memory_alloc(sizeof(*metrics));

    pthread_mutex_init(&metrics->lock, NULL);
    metrics->clock = clock_system();
    metrics->last = &metrics->first;
    return metrics;
}

void metrics_use_clock(struct metrics *metrics, const struct clock *clock)
{
    metrics->clock = clock;
}

static void family_free(struct metrics_family *family)
{
    while (family->first) {
        struct metrics_cell *cell = family->first;
        family->first = cell->next;
        metrics_window_free(cell->window);
        free(cell->labels);
        free(cell);
    }
    free(family);
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics)
        return;
    while (metrics->first) {
        struct metrics_family *family = metrics->first;
        metrics->first = family->next;
        family_free(family);
    }
    while (metrics->collectors) {
        struct collector *collector = metrics->collectors;
        metrics->collectors = collector->next;
        free(collector);
    }
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

static bool has_window(const struct metrics_description *description)
{
    return description->kind == METRICS_SUMMARY && description->bucket_count > 0;
}

/* How many counts a cell has besides its value. */
static size_t counts_of(const struct metrics_description *description)
{
    switch (description->kind) {
    case METRICS_HISTOGRAM:
        return description->bucket_count + 1;
    case METRICS_SUMMARY:
        return 1;
    default:
        return 0;
    }
}

/* Called with the lock held. */
static struct metrics_family *find_family(const struct metrics *metrics, const char *name)
{
    for (struct metrics_family *family = metrics->first; family; family = family->next)
        if (strcmp(family->description.name, name) == 0)
            return family;
    return NULL;
}

struct metrics_family *metrics_family(struct metrics *metrics,
                                      const struct metrics_description *description)
{
    assert(!has_window(description) || description->bucket_count <= METRICS_QUANTILES_MAX);
    pthread_mutex_lock(&metrics->lock);
    struct metrics_family *family = find_family(metrics, description->name);
    if (!family) {
        family = memory_alloc(sizeof(*family));
        family->metrics = metrics;
        family->description = *description;
        family->last = &family->first;
        *metrics->last = family;
        metrics->last = &family->next;
    }
    pthread_mutex_unlock(&metrics->lock);
    return family;
}

/* What is not UTF-8 would make the whole page unreadable. */
static void append_escaped(struct buffer *out, const char *text, const char *escaped)
{
    size_t size = strlen(text);

    while (size > 0) {
        size_t length = utf8_length(text, size);
        if (*text == '\n')
            buffer_text(out, "\\n");
        else if (length == 0)
            buffer_text(out, UTF8_REPLACEMENT);
        else if (strchr(escaped, *text))
            buffer_print(out, "\\%c", *text);
        else
            buffer_append(out, text, length);
        text += length ? length : 1;
        size -= length ? length : 1;
    }
}

/* Without values, every label is "other". */
static void append_labels(struct buffer *out, const struct metrics_description *description,
                          const char *const *values)
{
    buffer_text(out, "");
    for (size_t i = 0; i < METRICS_LABELS_MAX && description->labels[i]; i++) {
        buffer_print(out, "%s%s=\"", i ? "," : "", description->labels[i]);
        append_escaped(out, values ? values[i] : "other", "\\\"");
        buffer_text(out, "\"");
    }
}

static size_t slot_of(const char *labels)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *labels; labels++)
        hash = (hash ^ (uint8_t)*labels) * 16777619u;
    return (hash ^ hash >> 16) % SLOTS;
}

/* Called with the lock held. */
static struct metrics_cell *find_cell(const struct metrics_family *family, const char *labels)
{
    struct metrics_cell *cell = family->slots[slot_of(labels)];

    while (cell && strcmp(cell->labels, labels) != 0)
        cell = cell->next_in_slot;
    return cell;
}

/* Called with the lock held. */
static struct metrics_cell *make_cell(struct metrics_family *family, const char *labels)
{
    size_t counts = counts_of(&family->description);
    struct metrics_cell *cell = memory_alloc(sizeof(*cell) + counts * sizeof(cell->counts[0]));
    struct metrics_cell **slot = &family->slots[slot_of(labels)];
    cell->family = family;
    cell->labels = memory_text(labels);
    if (has_window(&family->description))
        cell->window = metrics_window_new();
    cell->next_in_slot = *slot;
    *slot = cell;
    *family->last = cell;
    family->last = &cell->next;
    family->count++;
    return cell;
}

struct metrics_cell *metrics_cell(struct metrics_family *family, const char *const *values)
{
    AUTO(buffer_free) struct buffer labels = {0};

    append_labels(&labels, &family->description, values);
    pthread_mutex_lock(&family->metrics->lock);
    struct metrics_cell *cell = find_cell(family, labels.data);
    if (!cell && family->count >= (has_window(&family->description) ? WINDOWS_MAX : CELLS_MAX)) {
        buffer_clear(&labels);
        append_labels(&labels, &family->description, NULL);
        cell = find_cell(family, labels.data);
    }
    if (!cell)
        cell = make_cell(family, labels.data);
    pthread_mutex_unlock(&family->metrics->lock);
    return cell;
}

static double to_double(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint64_t to_bits(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Relaxed everywhere: a number stands for itself and orders nothing else. */
void metrics_add(struct metrics_cell *cell, double amount)
{
    uint64_t seen = atomic_load_explicit(&cell->bits, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(&cell->bits, &seen,
                                                  to_bits(to_double(seen) + amount),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void metrics_set(struct metrics_cell *cell, double value)
{
    atomic_store_explicit(&cell->bits, to_bits(value), memory_order_relaxed);
}

static size_t find_bucket(const struct metrics_description *description, double value)
{
    size_t bucket = 0;

    if (description->kind == METRICS_SUMMARY)
        return 0;
    while (bucket < description->bucket_count && !(value <= description->buckets[bucket]))
        bucket++;
    return bucket;
}

void metrics_observe(struct metrics_cell *cell, double value)
{
    size_t bucket = find_bucket(&cell->family->description, value);

    if (cell->window)
        metrics_window_observe(cell->window, value, clock_steady_ms(cell->family->metrics->clock));
    atomic_fetch_add_explicit(&cell->counts[bucket], 1, memory_order_relaxed);
    metrics_add(cell, value);
}

double metrics_value(const struct metrics_cell *cell)
{
    size_t counts = counts_of(&cell->family->description);
    uint64_t count = 0;

    if (counts == 0)
        return to_double(atomic_load_explicit(&cell->bits, memory_order_relaxed));
    for (size_t i = 0; i < counts; i++)
        count += atomic_load_explicit(&cell->counts[i], memory_order_relaxed);
    return (double)count;
}

void metrics_on_render(struct metrics *metrics, metrics_collect *collect, void *context)
{
    struct collector *collector = memory_alloc(sizeof(*collector));

    collector->collect = collect;
    collector->context = context;
    pthread_mutex_lock(&metrics->lock);
    collector->next = metrics->collectors;
    metrics->collectors = collector;
    pthread_mutex_unlock(&metrics->lock);
}

/* The shortest of two forms that reads back as the same number. */
static void append_number(struct buffer *out, double value)
{
    char text[32];

    if (isnan(value)) {
        buffer_text(out, "NaN");
    } else if (isinf(value)) {
        buffer_text(out, value > 0 ? "+Inf" : "-Inf");
    } else {
        snprintf(text, sizeof(text), "%.15g", value);
        if (strtod(text, NULL) != value)
            snprintf(text, sizeof(text), "%.17g", value);
        buffer_text(out, text);
    }
}

static void append_name(struct buffer *out, const struct metrics_cell *cell, const char *suffix)
{
    buffer_print(out, "%s%s", cell->family->description.name, suffix);
    if (*cell->labels)
        buffer_print(out, "{%s}", cell->labels);
    buffer_text(out, " ");
}

static void append_bucket(struct buffer *out, const struct metrics_cell *cell, double bound,
                          uint64_t count)
{
    buffer_print(out, "%s_bucket{%s%sle=\"", cell->family->description.name, cell->labels,
                 *cell->labels ? "," : "");
    append_number(out, bound);
    buffer_print(out, "\"} %" PRIu64 "\n", count);
}

static void append_sum_and_count(struct buffer *out, const struct metrics_cell *cell,
                                 uint64_t count)
{
    append_name(out, cell, "_sum");
    append_number(out, to_double(atomic_load_explicit(&cell->bits, memory_order_relaxed)));
    buffer_text(out, "\n");
    append_name(out, cell, "_count");
    buffer_print(out, "%" PRIu64 "\n", count);
}

static void render_histogram(struct buffer *out, const struct metrics_cell *cell)
{
    const struct metrics_description *description = &cell->family->description;
    uint64_t count = 0;

    for (size_t i = 0; i <= description->bucket_count; i++) {
        double bound = i < description->bucket_count ? description->buckets[i] : INFINITY;
        count += atomic_load_explicit(&cell->counts[i], memory_order_relaxed);
        append_bucket(out, cell, bound, count);
    }
    append_sum_and_count(out, cell, count);
}

static void append_quantile(struct buffer *out, const struct metrics_cell *cell, double quantile,
                            double value)
{
    buffer_print(out, "%s{%s%squantile=\"", cell->family->description.name, cell->labels,
                 *cell->labels ? "," : "");
    append_number(out, quantile);
    buffer_text(out, "\"} ");
    append_number(out, value);
    buffer_text(out, "\n");
}

static void render_summary(struct buffer *out, const struct metrics_cell *cell)
{
    const struct metrics_description *description = &cell->family->description;
    double values[METRICS_QUANTILES_MAX];

    if (cell->window) {
        int64_t now_ms = clock_steady_ms(cell->family->metrics->clock);
        metrics_window_quantiles(cell->window, now_ms, description->buckets,
                                 description->bucket_count, values);
        for (size_t i = 0; i < description->bucket_count; i++)
            append_quantile(out, cell, description->buckets[i], values[i]);
    }
    append_sum_and_count(out, cell, atomic_load_explicit(&cell->counts[0], memory_order_relaxed));
}

static void render_value(struct buffer *out, const struct metrics_cell *cell)
{
    append_name(out, cell, "");
    append_number(out, metrics_value(cell));
    buffer_text(out, "\n");
}

static void render_family(struct buffer *out, const struct metrics_family *family)
{
    static const struct {
        const char *type;
        void (*render)(struct buffer *out, const struct metrics_cell *cell);
    } kinds[] = {
        [METRICS_COUNTER] = {"counter", render_value},
        [METRICS_GAUGE] = {"gauge", render_value},
        [METRICS_HISTOGRAM] = {"histogram", render_histogram},
        [METRICS_SUMMARY] = {"summary", render_summary},
    };
    const struct metrics_description *description = &family->description;

    buffer_print(out, "# HELP %s ", description->name);
    append_escaped(out, description->help, "\\");
    buffer_print(out, "\n# TYPE %s %s\n", description->name, kinds[description->kind].type);
    for (const struct metrics_cell *cell = family->first; cell; cell = cell->next)
        kinds[description->kind].render(out, cell);
}

void metrics_render(struct metrics *metrics, struct buffer *out)
{
    pthread_mutex_lock(&metrics->lock);
    const struct collector *collector = metrics->collectors;
    pthread_mutex_unlock(&metrics->lock);
    for (; collector; collector = collector->next)
        collector->collect(collector->context);

    pthread_mutex_lock(&metrics->lock);
    for (const struct metrics_family *family = metrics->first; family; family = family->next)
        if (family->first)
            render_family(out, family);
    pthread_mutex_unlock(&metrics->lock);
}
