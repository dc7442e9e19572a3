#include "resilience/breaker_metrics.h"

static const struct metrics_description state = {
    .kind = METRICS_GAUGE,
    .name = "breaker_state",
    .help = "1 for the state the breaker is in, 0 for the others.",
    .labels = {"name", "state"},
};
static const struct metrics_description opened = {
    .kind = METRICS_COUNTER,
    .name = "breaker_opened_total",
    .help = "Times the breaker opened.",
    .labels = {"name"},
};
static const struct metrics_description refused = {
    .kind = METRICS_COUNTER,
    .name = "breaker_refused_total",
    .help = "Calls the breaker did not let through.",
    .labels = {"name"},
};
static const struct metrics_description results = {
    .kind = METRICS_COUNTER,
    .name = "breaker_results_total",
    .help = "Calls that were reported to the breaker, by result.",
    .labels = {"name", "result"},
};

void breaker_metrics_register(struct breaker_metrics *out, struct metrics *metrics,
                              const char *name)
{
    struct metrics_family *by_state = metrics_family(metrics, &state);
    struct metrics_family *by_result = metrics_family(metrics, &results);

    for (int i = 0; i < BREAKER_STATES; i++)
        out->states[i] = metrics_cell(
            by_state, (const char *[]){name, breaker_state_name((enum breaker_state)i)});
    out->opened = metrics_cell(metrics_family(metrics, &opened), (const char *[]){name});
    out->refused = metrics_cell(metrics_family(metrics, &refused), (const char *[]){name});
    out->succeeded = metrics_cell(by_result, (const char *[]){name, "success"});
    out->failed = metrics_cell(by_result, (const char *[]){name, "failure"});
    breaker_metrics_show(out, &(struct breaker){0});
}

void breaker_metrics_show(const struct breaker_metrics *shown, const struct breaker *breaker)
{
    for (int i = 0; i < BREAKER_STATES; i++)
        metrics_set(shown->states[i], (int)breaker->state == i);
    metrics_set(shown->opened, (double)breaker->counts.opened);
    metrics_set(shown->refused, (double)breaker->counts.refused);
    metrics_set(shown->succeeded, (double)breaker->counts.succeeded);
    metrics_set(shown->failed, (double)breaker->counts.failed);
}
