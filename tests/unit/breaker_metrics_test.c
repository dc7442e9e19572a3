#include "support/test.h"

#include "base/macros.h"
#include "resilience/breaker_metrics.h"

#include <string.h>

/* What is shown of a breaker in front of the store, after a script of its calls: f failure,
 * s success, a asked for another call, each a second after the last. */
static const struct row {
    const char *name, *script, *shown[8];
} rows[] = {
    {"a new breaker is closed and has counted nothing",
     "",
     {"breaker_state{name=\"store\",state=\"closed\"} 1\n",
      "breaker_state{name=\"store\",state=\"open\"} 0\n",
      "breaker_state{name=\"store\",state=\"half_open\"} 0\n",
      "breaker_opened_total{name=\"store\"} 0\n", "breaker_refused_total{name=\"store\"} 0\n",
      "breaker_results_total{name=\"store\",result=\"success\"} 0\n",
      "breaker_results_total{name=\"store\",result=\"failure\"} 0\n"}},
    {"one that opened",
     "sfffa",
     {"breaker_state{name=\"store\",state=\"closed\"} 0\n",
      "breaker_state{name=\"store\",state=\"open\"} 1\n",
      "breaker_state{name=\"store\",state=\"half_open\"} 0\n",
      "breaker_opened_total{name=\"store\"} 1\n", "breaker_refused_total{name=\"store\"} 1\n",
      "breaker_results_total{name=\"store\",result=\"success\"} 1\n",
      "breaker_results_total{name=\"store\",result=\"failure\"} 3\n"}},
    {"one that tries again",
     "fffaaa",
     {"breaker_state{name=\"store\",state=\"closed\"} 0\n",
      "breaker_state{name=\"store\",state=\"open\"} 0\n",
      "breaker_state{name=\"store\",state=\"half_open\"} 1\n",
      "breaker_opened_total{name=\"store\"} 1\n", "breaker_refused_total{name=\"store\"} 2\n"}},
    {"one that closed again",
     "fffaas",
     {"breaker_state{name=\"store\",state=\"closed\"} 1\n",
      "breaker_state{name=\"store\",state=\"half_open\"} 0\n",
      "breaker_results_total{name=\"store\",result=\"success\"} 1\n"}},
};

static void play(struct breaker *breaker, const char *script)
{
    for (int64_t now_ms = 0; *script; script++, now_ms += 1000) {
        if (*script == 'f')
            breaker_failure(breaker, now_ms);
        else if (*script == 's')
            breaker_success(breaker);
        else
            (void)breaker_allows(breaker, now_ms);
    }
}

static void shows(void **state)
{
    const struct row *row = *state;
    struct breaker breaker = {.limit = 3, .open_ms = 2000};
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    AUTO(buffer_free) struct buffer page = {0};
    struct breaker_metrics shown;

    breaker_metrics_register(&shown, metrics, "store");
    play(&breaker, row->script);
    if (*row->script) /* else what registering shows */
        breaker_metrics_show(&shown, &breaker);
    metrics_render(metrics, &page);
    for (size_t i = 0; i < ARRAY_LEN(row->shown) && row->shown[i]; i++)
        if (!strstr(page.data, row->shown[i]))
            fail_msg("not shown: %s in\n%s", row->shown[i], page.data);
}

static void breakers_of_two_names_are_shown_apart(void **state)
{
    struct breaker breaker = {.limit = 3, .open_ms = 2000};
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    AUTO(buffer_free) struct buffer page = {0};
    struct breaker_metrics store, broker;

    (void)state;
    breaker_metrics_register(&store, metrics, "store");
    breaker_metrics_register(&broker, metrics, "broker");
    play(&breaker, "fff");
    breaker_metrics_show(&broker, &breaker);
    metrics_render(metrics, &page);
    assert_non_null(strstr(page.data, "breaker_opened_total{name=\"store\"} 0\n"));
    assert_non_null(strstr(page.data, "breaker_opened_total{name=\"broker\"} 1\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(breakers_of_two_names_are_shown_apart)};

    return RUN_ROWS(rows, shows) + cmocka_run_group_tests(tests, NULL, NULL);
}
