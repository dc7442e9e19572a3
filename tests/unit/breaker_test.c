#include "support/test.h"

#include "resilience/breaker.h"

#include <stdlib.h>
#include <string.h>

/*
 * A script of what happens, one word a step, at the time that "@ms" set last:
 * "ok" success, "fail" failure, "not" a call that was not made, "yes" and "no" what breaker_allows
 * must answer, "wait=ms" what breaker_wait_ms must answer, "closed", "open", "half_open" the state;
 * "opened=", "refused=", "succeeded=", "failed=" what is counted.
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
    {"a new breaker has counted nothing", "opened=0 refused=0 succeeded=0 failed=0"},
    {"what passes is not counted as refused", "yes yes refused=0"},
    {"refused while open, and beside a probe",
     "fail fail fail no no refused=2 @1000 yes no refused=3"},
    {"a failed probe opens it once more", "fail fail fail opened=1 @1000 yes fail opened=2"},
    {"late results are counted as well", "fail fail fail fail ok opened=1 failed=4 succeeded=1"},
    {"a call that was not made is no result", "yes not succeeded=0 failed=0"},
};

static const struct count {
    const char *step; /* its start */
    size_t offset;
} counts[] = {
    {"opened=", offsetof(struct breaker_counts, opened)},
    {"refused=", offsetof(struct breaker_counts, refused)},
    {"succeeded=", offsetof(struct breaker_counts, succeeded)},
    {"failed=", offsetof(struct breaker_counts, failed)},
};

static bool check_count(const struct breaker *breaker, const char *step)
{
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        size_t length = strlen(counts[i].step);
        if (strncmp(step, counts[i].step, length) != 0)
            continue;
        const uint64_t *count = (const void *)((const char *)&breaker->counts + counts[i].offset);
        assert_int_equal(*count, strtoull(step + length, NULL, 10));
        return true;
    }
    return false;
}

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
    else if (!check_count(breaker, step))
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

/* What callers see of a breaker while they keep its rules: enough to say what it must never do. */
struct witness {
    struct breaker breaker;
    int64_t now_ms, opened_ms;
    bool probing;
    struct breaker_counts counts;
};

static void check_allows(struct witness *witness)
{
    bool was_closed = witness->breaker.state == BREAKER_CLOSED;
    bool may = breaker_wait_ms(&witness->breaker, witness->now_ms) == 0;
    bool allowed = breaker_allows(&witness->breaker, witness->now_ms);

    assert_int_equal(allowed, may);
    witness->counts.refused += !allowed;
    if (was_closed) {
        assert_true(allowed);
        return;
    }
    bool is_time = witness->now_ms - witness->opened_ms >= witness->breaker.open_ms;
    assert_int_equal(allowed, is_time && !witness->probing); /* never two probes */
    witness->probing = witness->probing || allowed;
}

static void report(struct witness *witness, int result)
{
    enum breaker_state before = witness->breaker.state;

    if (result == 0) {
        breaker_success(&witness->breaker);
        witness->counts.succeeded++;
    } else if (result == 1) {
        breaker_failure(&witness->breaker, witness->now_ms);
        witness->counts.failed++;
    } else {
        breaker_cancel(&witness->breaker);
    }
    if (before != BREAKER_OPEN)
        witness->probing = false;
    if (before != BREAKER_OPEN && witness->breaker.state == BREAKER_OPEN) {
        witness->opened_ms = witness->now_ms;
        witness->counts.opened++;
    }
}

static void never_lets_two_probes_through(void **state)
{
    unsigned short seed[3] = {4, 5, 6};
    struct witness witness = {.breaker = {.limit = 3, .open_ms = 50}};

    (void)state;
    for (int i = 0; i < 200000; i++) {
        witness.now_ms += nrand48(seed) % 20;
        int step = (int)(nrand48(seed) % 9);
        if (step < 4)
            check_allows(&witness);
        else
            report(&witness, step < 6 ? 0 : step < 8 ? 1 : 2);
    }
    assert_memory_equal(&witness.breaker.counts, &witness.counts, sizeof(witness.counts));
    assert_true(witness.counts.opened > 1000 && witness.counts.refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(never_lets_two_probes_through)};

    return RUN_ROWS(rows, follows) + cmocka_run_group_tests(tests, NULL, NULL);
}
