#include "circuit.h"

#include "base/clock.h"

#define FAILURES_TO_OPEN 5
#define OPEN_MS 5000

void circuit_start(struct circuit *circuit, struct metrics *metrics)
{
    *circuit = (struct circuit){.breaker = {.limit = FAILURES_TO_OPEN, .open_ms = OPEN_MS}};
    pthread_mutex_init(&circuit->lock, NULL);
    breaker_metrics_register(&circuit->shown, metrics, "provider");
}

void circuit_stop(struct circuit *circuit)
{
    pthread_mutex_destroy(&circuit->lock);
}

bool circuit_passes(struct circuit *circuit, struct error *err)
{
    int64_t now_ms = clock_steady_ms(clock_system());

    pthread_mutex_lock(&circuit->lock);
    bool passes = breaker_allows(&circuit->breaker, now_ms);
    breaker_metrics_show(&circuit->shown, &circuit->breaker);
    pthread_mutex_unlock(&circuit->lock);
    if (passes)
        return true;
    error_set(err, ERROR_UNAVAILABLE, "the provider failed several times: it is asked again later");
    err->reason = CIRCUIT_OPEN;
    return false;
}

void circuit_report(struct circuit *circuit, enum circuit_report report)
{
    int64_t now_ms = clock_steady_ms(clock_system());

    pthread_mutex_lock(&circuit->lock);
    if (report == CIRCUIT_WELL)
        breaker_success(&circuit->breaker);
    else if (report == CIRCUIT_FAILED)
        breaker_failure(&circuit->breaker, now_ms);
    else
        breaker_cancel(&circuit->breaker);
    breaker_metrics_show(&circuit->shown, &circuit->breaker);
    pthread_mutex_unlock(&circuit->lock);
}
