#include "gate.h"

#define FAILURES_TO_OPEN 5
#define OPEN_MS 1000

void gate_start(struct gate *gate, const struct clock *clock)
{
    *gate = (struct gate){
        .clock = clock,
        .breaker = {.limit = FAILURES_TO_OPEN, .open_ms = OPEN_MS},
    };
    pthread_mutex_init(&gate->lock, NULL);
}

void gate_stop(struct gate *gate)
{
    pthread_mutex_destroy(&gate->lock);
}

bool gate_passes(struct gate *gate, struct error *err)
{
    int64_t now_ms = clock_steady_ms(gate->clock);

    pthread_mutex_lock(&gate->lock);
    bool passes = breaker_allows(&gate->breaker, now_ms);
    pthread_mutex_unlock(&gate->lock);

    if (passes)
        return true;
    error_set(err, ERROR_UNAVAILABLE, "the broker does not answer: try again in a moment");
    err->reason = "circuit_open";
    return false;
}

static bool is_absence(enum error_code code)
{
    return code == ERROR_UNAVAILABLE || code == ERROR_UNKNOWN || code == ERROR_TIMEOUT;
}

void gate_report(struct gate *gate, enum error_code code)
{
    int64_t now_ms = clock_steady_ms(gate->clock);

    pthread_mutex_lock(&gate->lock);
    if (is_absence(code))
        breaker_failure(&gate->breaker, now_ms);
    else
        breaker_success(&gate->breaker);
    pthread_mutex_unlock(&gate->lock);
}

void gate_cancel(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    breaker_cancel(&gate->breaker);
    pthread_mutex_unlock(&gate->lock);
}

enum breaker_state gate_state(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    enum breaker_state state = gate->breaker.state;
    pthread_mutex_unlock(&gate->lock);
    return state;
}
