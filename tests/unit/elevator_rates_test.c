#include "support/test.h"

#include "domain/elevator/rates.h"

#include <math.h>

#define FLOORS 10

static void boardings_are_forgotten(void **state)
{
    struct rates rates;
    double none, now, later;

    (void)state;
    rates_start(&rates, FLOORS);
    none = rates_of_button(&rates, 3, ELEVATOR_DOWN);
    for (int i = 0; i < 24; i++)
        rates_boarded(&rates, 3, 0, 1000);
    now = rates_of_button(&rates, 3, ELEVATOR_DOWN) - none;
    assert_true(fabs(now - 0.1) < 1e-9); /* 24 in 240 s */
    rates_age(&rates, 1000 + 240000);
    later = rates_of_button(&rates, 3, ELEVATOR_DOWN) - none;
    assert_true(fabs(later - now / exp(1)) < 1e-9);
    assert_true(rates_of_button(&rates, 3, ELEVATOR_UP) == none);
}

static void destinations_are_learned_and_unlearned(void **state)
{
    struct rates rates;

    (void)state;
    rates_start(&rates, FLOORS);
    for (int i = 0; i < 100; i++)
        rates_boarded(&rates, 0, 4, 1000);
    assert_true(rates.pull[0][4] > 50 && rates.pull[0][5] < 1 && rates.pull[1][4] < 1);
    for (int i = 0; i < 300; i++)
        rates_boarded(&rates, 0, 7, 1000);
    assert_true(rates.pull[0][7] > rates.pull[0][4]);
    assert_true(rates.pull[0][5] > 0); /* nothing is impossible */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(boardings_are_forgotten),
                                       cmocka_unit_test(destinations_are_learned_and_unlearned)};

    return cmocka_run_group_tests_name("rates", tests, NULL, NULL);
}
