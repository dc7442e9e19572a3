#include "support/test.h"

#include "resilience/breaker.h"

#include <stdlib.h>
#include <string.h>

/*
 * A script of what happens, one word a step, at the time that "@ms" set last:
 * "ok" success, "fail" failure, "not" a call that was not made, "yes" and "no" what breaker_allows
 * must answer, "wait=ms" what breaker_wait_ms must answer, "closed", "open", "half_open" the state.
 * The breaker opens after 3 failures, for 1000 ms.
 */
static const struct row {
    const char *name, *script;
} rows[] = {
    {"a new breaker is closed and lets all pass", "closed yes yes wait=0"},
    {"fewer failures than the limit change nothing", "fail fail closed yes"},
    {"failures in a row open it", "fail fail fail open no"},
    {"a success in between starts the count anew", "fail fail ok fail fail closed yes"},
    {"open, nothing passes until the time is over", "@5 fail fail fail @1004 no open @1005 yes"},
    {"open, the wait is what is left", "@5 fail fail fail wait=1000 @905 wait=100 @1005 wait=0"},
    {"half open, one probe passes", "fail fail fail @1000 yes half_open no no"},
    {"half open, the wait is a whole one", "fail fail fail @1000 yes wait=1000"},
    {"a probe that succeeds closes", "fail fail fail @1000 yes ok closed yes yes wait=0"},
    {"a probe that fails opens again", "fail fail fail @1000 yes fail open @1999 no @2000 yes"},
    {"closed again, the count starts anew", "fail fail fail @1000 yes ok fail fail closed"},
    {"open, a late failure does not prolong", "fail fail fail @900 fail @1000 yes"},
    {"open, a late success does not close", "fail fail fail @900 ok open no"},
    {"a call that was not made leaves the count", "fail fail not fail open"},
    {"a probe that was not made leaves room for another",
     "fail fail fail @1000 yes no not half_open yes no ok closed"},
    {"open, a call that was not made does not close", "yes fail fail fail not open no"},
    {"after a failed probe, one probe again",
     "fail fail fail @1000 yes fail @2000 yes no ok closed"},
};

static void check_step(struct breaker *breaker, const char *step, int64_t *now_ms)
{
    if (*step == '@')
        *now_ms = strtoll(step + 1, NULL, 10);
    else if (strcmp(step, "ok") == 0)
        breaker_success(breaker);
    else if (strcmp(step, "fail") == 0)
        breaker_failure(breaker, *now_ms);
    else if (strcmp(step, "not") == 0)
        breaker_cancel(breaker);
    else if (strcmp(step, "yes") == 0 || strcmp(step, "no") == 0)
        assert_int_equal(breaker_allows(breaker, *now_ms), *step == 'y');
    else if (strncmp(step, "wait=", 5) == 0)
        assert_int_equal(breaker_wait_ms(breaker, *now_ms), strtoll(step + 5, NULL, 10));
    else
        assert_string_equal(breaker_state_name(breaker->state), step);
}

static void follows(void **state)
{
    const struct row *row = *state;
    struct breaker breaker = {.limit = 3, .open_ms = 1000};
    int64_t now_ms = 0;
    char script[128], *rest = script, *step;

    assert_true(strlen(row->script) < sizeof(script));
    memcpy(script, row->script, strlen(row->script) + 1);
    while ((step = strsep(&rest, " ")))
        check_step(&breaker, step, &now_ms);
}

int main(void)
{
    return RUN_ROWS(rows, follows);
}
