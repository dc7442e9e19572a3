#include "tally.h"

#include "event_form.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>

#define STATUSES 600
#define EXACT 64 /* microseconds below have a bucket each; above, 32 buckets for each doubling */
#define HALF (EXACT / 2)
#define DOUBLINGS 35
#define BUCKETS (EXACT + DOUBLINGS * HALF)
#define LATENCY_MAX_US ((INT64_C(1) << 41) - 1)

struct latencies {
    uint64_t count, buckets[BUCKETS];
    int64_t most_us;
};

struct kind {
    uint64_t outcomes[TALLY_OUTCOMES], retries;
    uint64_t answers[STATUSES];
    struct latencies latencies;
};

struct tally {
    pthread_mutex_t lock;
    struct kind kinds[TRAFFIC_KINDS]; /* guarded by lock */
};

const char *const tally_outcome_words[TALLY_OUTCOMES] = {
    [TALLY_ACCEPTED] = "accepted",
    [TALLY_DUPLICATE] = "duplicate",
    [TALLY_REFUSED] = "refused",
    [TALLY_FAILED] = "failed",
};

struct tally *tally_new(void)
{
    struct tally *tally = memory_alloc(sizeof(*tally));

    pthread_mutex_init(&tally->lock, NULL);
    return tally;
}

void tally_free(struct tally *tally)
{
    if (!tally)
        return;
    pthread_mutex_destroy(&tally->lock);
    free(tally);
}

/* ---- latencies ---- */

static int bucket_of(int64_t value_us)
{
    int doublings = 0;

    while (value_us >> doublings >= EXACT)
        doublings++;
    return doublings * HALF + (int)(value_us >> doublings);
}

/* The largest value of a bucket. */
static int64_t value_of(int bucket)
{
    int doublings = bucket < EXACT ? 0 : bucket / HALF - 1;

    return ((int64_t)(bucket - doublings * HALF + 1) << doublings) - 1;
}

static void add_latency(struct latencies *latencies, int64_t value_us)
{
    value_us = value_us < 0 ? 0 : value_us > LATENCY_MAX_US ? LATENCY_MAX_US : value_us;
    latencies->count++;
    latencies->buckets[bucket_of(value_us)]++;
    latencies->most_us = value_us > latencies->most_us ? value_us : latencies->most_us;
}

static double percentile_ms(const struct latencies *latencies, int percent)
{
    uint64_t wanted = (latencies->count * (uint64_t)percent + 99) / 100, seen = 0;
    int bucket = 0;

    while (bucket < BUCKETS - 1 && (seen += latencies->buckets[bucket]) < wanted)
        bucket++;
    int64_t value_us = value_of(bucket);
    return (double)(value_us < latencies->most_us ? value_us : latencies->most_us) / 1000;
}

/* ---- counting ---- */

void tally_answer(struct tally *tally, enum traffic_kind kind, int status)
{
    pthread_mutex_lock(&tally->lock);
    tally->kinds[kind].answers[status >= 0 && status < STATUSES ? status : 0]++;
    pthread_mutex_unlock(&tally->lock);
}

void tally_retry(struct tally *tally, enum traffic_kind kind)
{
    pthread_mutex_lock(&tally->lock);
    tally->kinds[kind].retries++;
    pthread_mutex_unlock(&tally->lock);
}

void tally_outcome(struct tally *tally, enum traffic_kind kind, enum tally_outcome outcome,
                   int64_t latency_us)
{
    pthread_mutex_lock(&tally->lock);
    tally->kinds[kind].outcomes[outcome]++;
    add_latency(&tally->kinds[kind].latencies, latency_us);
    pthread_mutex_unlock(&tally->lock);
}

void tally_totals(struct tally *tally, uint64_t out[TALLY_OUTCOMES])
{
    pthread_mutex_lock(&tally->lock);
    for (int outcome = 0; outcome < TALLY_OUTCOMES; outcome++) {
        out[outcome] = 0;
        for (int kind = 0; kind < TRAFFIC_KINDS; kind++)
            out[outcome] += tally->kinds[kind].outcomes[outcome];
    }
    pthread_mutex_unlock(&tally->lock);
}

/* ---- the result ---- */

static uint64_t sent_of(const struct kind *kind)
{
    uint64_t sent = 0;

    for (int outcome = 0; outcome < TALLY_OUTCOMES; outcome++)
        sent += kind->outcomes[outcome];
    return sent;
}

static void print_kind(const struct kind *kind, const char *name, struct buffer *out)
{
    const struct latencies *latencies = &kind->latencies;

    buffer_print(out, "%-8s %9llu", name, (unsigned long long)sent_of(kind));
    for (int outcome = 0; outcome < TALLY_OUTCOMES; outcome++)
        buffer_print(out, " %10llu", (unsigned long long)kind->outcomes[outcome]);
    buffer_print(out, " %8llu %9.1f %9.1f %9.1f %9.1f\n", (unsigned long long)kind->retries,
                 percentile_ms(latencies, 50), percentile_ms(latencies, 95),
                 percentile_ms(latencies, 99), (double)latencies->most_us / 1000);
}

static void print_answers(const struct kind *kind, const char *name, struct buffer *out)
{
    const char *before = "answered with ";

    buffer_print(out, "%s: ", name);
    for (int status = 1; status < STATUSES; status++) {
        if (!kind->answers[status])
            continue;
        buffer_print(out, "%s%d (%llu)", before, status, (unsigned long long)kind->answers[status]);
        before = ", ";
    }
    if (kind->answers[0])
        buffer_print(out, "%s (%llu)", *before == ',' ? ", not answered" : "nobody answered",
                     (unsigned long long)kind->answers[0]);
    buffer_text(out, "\n");
}

void tally_print(struct tally *tally, struct buffer *out)
{
    buffer_print(out, "%-8s %9s %10s %10s %10s %10s %8s %9s %9s %9s %9s\n", "KIND", "SENT",
                 "ACCEPTED", "DUPLICATES", "REFUSED", "FAILED", "RETRIES", "P50 MS", "P95 MS",
                 "P99 MS", "MAX MS");
    pthread_mutex_lock(&tally->lock);
    for (int i = 0; i < TRAFFIC_KINDS; i++)
        if (sent_of(&tally->kinds[i]))
            print_kind(&tally->kinds[i], event_routes[i].kind, out);
    if (sent_of(&tally->kinds[TRAFFIC_WEATHER]))
        print_answers(&tally->kinds[TRAFFIC_WEATHER], event_routes[TRAFFIC_WEATHER].kind, out);
    pthread_mutex_unlock(&tally->lock);
}

static void write_answers(const struct kind *kind, struct json_writer *writer)
{
    json_open(writer, "answers", '{');
    for (int status = 0; status < STATUSES; status++) {
        AUTO(buffer_free) struct buffer name = {0};
        if (!kind->answers[status])
            continue;
        if (status)
            buffer_print(&name, "%d", status);
        else
            buffer_text(&name, "none");
        json_int(writer, name.data, (int64_t)kind->answers[status]);
    }
    json_close(writer, '}');
}

static void write_kind(const struct kind *kind, const char *name, struct json_writer *writer)
{
    static const struct {
        const char *name;
        int percent;
    } percentiles[] = {{"p50_ms", 50}, {"p95_ms", 95}, {"p99_ms", 99}};

    json_open(writer, NULL, '{');
    json_text(writer, "kind", name);
    json_int(writer, "sent", (int64_t)sent_of(kind));
    json_int(writer, "accepted", (int64_t)kind->outcomes[TALLY_ACCEPTED]);
    json_int(writer, "duplicates", (int64_t)kind->outcomes[TALLY_DUPLICATE]);
    json_int(writer, "refused", (int64_t)kind->outcomes[TALLY_REFUSED]);
    json_int(writer, "failed", (int64_t)kind->outcomes[TALLY_FAILED]);
    json_int(writer, "retries", (int64_t)kind->retries);
    for (size_t i = 0; i < ARRAY_LEN(percentiles); i++)
        json_double(writer, percentiles[i].name,
                    percentile_ms(&kind->latencies, percentiles[i].percent));
    json_double(writer, "max_ms", (double)kind->latencies.most_us / 1000);
    write_answers(kind, writer);
    json_close(writer, '}');
}

void tally_write(struct tally *tally, struct json_writer *writer)
{
    json_open(writer, "kinds", '[');
    pthread_mutex_lock(&tally->lock);
    for (int i = 0; i < TRAFFIC_KINDS; i++)
        if (sent_of(&tally->kinds[i]))
            write_kind(&tally->kinds[i], event_routes[i].kind, writer);
    pthread_mutex_unlock(&tally->lock);
    json_close(writer, ']');
}
