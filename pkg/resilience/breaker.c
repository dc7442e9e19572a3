#include "resilience/breaker.h"

static bool open_is_over(const struct breaker *breaker, int64_t now_ms)
{
    return now_ms - breaker->opened_ms >= breaker->open_ms;
}

bool breaker_allows(struct breaker *breaker, int64_t now_ms)
{
    if (breaker->state == BREAKER_CLOSED)
        return true;
    if (breaker->state == BREAKER_OPEN && open_is_over(breaker, now_ms))
        breaker->state = BREAKER_HALF_OPEN;
    if (breaker->state == BREAKER_OPEN || breaker->probing) {
        breaker->counts.refused++;
        return false;
    }
    breaker->probing = true;
    return true;
}

void breaker_success(struct breaker *breaker)
{
    breaker->counts.succeeded++;
    /* While open, this is the late end of a call from before: it says nothing about now. */
    if (breaker->state == BREAKER_OPEN)
        return;
    breaker->state = BREAKER_CLOSED;
    breaker->failures = 0;
    breaker->probing = false;
}

void breaker_failure(struct breaker *breaker, int64_t now_ms)
{
    breaker->counts.failed++;
    if (breaker->state == BREAKER_OPEN)
        return;
    breaker->failures++;
    if (breaker->state == BREAKER_CLOSED && breaker->failures < breaker->limit)
        return;
    breaker->counts.opened++;
    breaker->state = BREAKER_OPEN;
    breaker->opened_ms = now_ms;
    breaker->probing = false;
}

void breaker_cancel(struct breaker *breaker)
{
    breaker->probing = false;
}

int64_t breaker_wait_ms(const struct breaker *breaker, int64_t now_ms)
{
    /* If the probe under way fails, the next one comes after a whole open_ms. */
    if (breaker->probing)
        return breaker->open_ms;
    if (breaker->state != BREAKER_OPEN || open_is_over(breaker, now_ms))
        return 0;
    return breaker->opened_ms + breaker->open_ms - now_ms;
}

const char *breaker_state_name(enum breaker_state state)
{
    static const char *const names[BREAKER_STATES] = {"closed", "open", "half_open"};

    return names[state];
}
