#include "support/test.h"

#include "gate.h"

static void opens_for_absence_and_closes_by_a_probe(void **state)
{
    struct clock_fake clock;
    struct gate gate;
    struct error err;
    int passed = 0;

    (void)state;
    clock_fake_start(&clock, 1000);
    gate_start(&gate, &clock.clock);
    while (passed < 1000 && gate_passes(&gate, &err)) {
        passed++;
        gate_report(&gate, passed % 2 ? ERROR_UNAVAILABLE : ERROR_UNKNOWN);
    }
    assert_in_range(passed, 2, 50);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_string_equal(err.reason, "circuit_open");
    assert_int_equal(gate_state(&gate), BREAKER_OPEN);

    clock_fake_advance(&clock, 60000);
    assert_ok(gate_passes(&gate, &err));
    assert_fails(gate_passes(&gate, &err), ERROR_UNAVAILABLE); /* one probe at a time */
    gate_report(&gate, ERROR_NONE);
    assert_ok(gate_passes(&gate, &err));
    gate_stop(&gate);
}

/* A publish that could not even be sent, because too many wait, is no sign of life. */
static void a_cancelled_publish_says_nothing(void **state)
{
    struct clock_fake clock;
    struct gate gate;
    struct error err;

    (void)state;
    clock_fake_start(&clock, 1000);
    gate_start(&gate, &clock.clock);
    for (int i = 0; i < 100 && gate_passes(&gate, &err); i++) {
        gate_report(&gate, ERROR_TIMEOUT);
        if (gate_passes(&gate, &err))
            gate_cancel(&gate);
    }
    assert_int_equal(gate_state(&gate), BREAKER_OPEN);

    clock_fake_advance(&clock, 60000);
    assert_ok(gate_passes(&gate, &err));
    gate_cancel(&gate);
    assert_int_equal(gate_state(&gate), BREAKER_HALF_OPEN);
    assert_ok(gate_passes(&gate, &err)); /* the probe is still to be made */
    gate_stop(&gate);
}

/* What the broker says of one message does not make the broker absent. */
static const struct row {
    const char *name;
    enum error_code code;
    enum breaker_state want;
} rows[] = {
    {"stored", ERROR_NONE, BREAKER_CLOSED},
    {"a full stream is an answer", ERROR_FULL, BREAKER_CLOSED},
    {"a refusal is an answer", ERROR_DENIED, BREAKER_CLOSED},
    {"too large is an answer", ERROR_TOO_LARGE, BREAKER_CLOSED},
    {"unavailable counts", ERROR_UNAVAILABLE, BREAKER_OPEN},
    {"unknown counts", ERROR_UNKNOWN, BREAKER_OPEN},
    {"a time-out counts", ERROR_TIMEOUT, BREAKER_OPEN},
};

static void report(void **state)
{
    const struct row *row = *state;
    struct clock_fake clock;
    struct gate gate;
    struct error err;

    clock_fake_start(&clock, 1000);
    gate_start(&gate, &clock.clock);
    for (int i = 0; i < 100 && gate_passes(&gate, &err); i++)
        gate_report(&gate, row->code);
    assert_int_equal(gate_state(&gate), row->want);
    gate_stop(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_for_absence_and_closes_by_a_probe),
        cmocka_unit_test(a_cancelled_publish_says_nothing),
    };

    return cmocka_run_group_tests_name("gate", tests, NULL, NULL) + RUN_ROWS(rows, report);
}
