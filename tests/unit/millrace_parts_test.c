/* The command line's parts that need no broker: patterns, nearest words, clean text, the survey. */
#include "support/test.h"

#include "nearest.h"
#include "sheet.h"
#include "survey.h"

#include <stdio.h>
#include <string.h>

static const struct overlap {
    const char *name, *a, *b;
    bool want;
} overlaps[] = {
    {"the same subject", "a.b", "a.b", true},
    {"another subject", "a.b", "a.c", false},
    {"a subject and the beginning of it", "a.b", "a.bc", false},
    {"a longer subject", "a.b.c", "a.b", false},
    {"the rest", "logs.>", "logs.a.b", true},
    {"the rest is at least a token", "logs.>", "logs", false},
    {"everything", ">", "logs.a", true},
    {"a token", "logs.*", "logs.a", true},
    {"a token is not two", "logs.*", "logs.a.b", false},
    {"two patterns with something between them", "logs.*.error", "logs.shop.>", true},
    {"two patterns with nothing between them", "logs.*.error", "logs.shop.info", false},
    {"patterns that both end openly", "a.>", "*.b.>", true},
    {"patterns that part before their ends", "a.x.>", "a.y.>", false},
};

static void overlap(void **state)
{
    const struct overlap *row = *state;

    assert_int_equal(subjects_overlap(row->a, row->b), row->want);
    assert_int_equal(subjects_overlap(row->b, row->a), row->want);
}

static const struct near {
    const char *name, *typed, *want; /* NULL: none */
} nears[] = {
    {"a letter left out", "stream", "streams"},
    {"a letter too many", "taill", "tail"},
    {"letters swapped", "alg", "lag"},
    {"another letter", "dector", "doctor"},
    {"nothing alike", "xyz", NULL},
    {"too short to tell", "x", NULL},
    {"nothing typed", "", NULL},
    {"far too long", "laglaglaglaglaglaglaglaglaglaglaglaglaglaglaglaglag", NULL},
};

static void is_nearest(void **state)
{
    static const char *const words[] = {"lag", "streams", "tail", "doctor"};
    const struct near *row = *state;
    const char *found = nearest(row->typed, strlen(row->typed), words, ARRAY_LEN(words));

    if (row->want)
        assert_string_equal(found ? found : "none", row->want);
    else
        assert_null(found);
}

static const struct clean {
    const char *name, *text, *want;
} cleans[] = {
    {"text stays", "{\"a\":1} größer", "{\"a\":1} größer"},
    {"a line end", "a\nb\r", "a\\x0ab\\x0d"},
    {"an escape", "\033]0;x\a", "\\x1b]0;x\\x07"},
    {"an escape in one character", "\xc2\x9bx", "\\x9bx"},
    {"DEL", "\x7f", "\\x7f"},
    {"a change of direction", "a\u202eb\u2066c", "a\\u202eb\\u2066c"},
    {"a line end in one character", "a\u2028b", "a\\u2028b"},
    {"characters beside them stay", "\u00a0\u2027\u202f\u2065\u206a",
     "\u00a0\u2027\u202f\u2065\u206a"},
    {"what is not UTF-8", "a\xff\xc3", "a\\xff\\xc3"},
};

static void is_clean(void **state)
{
    const struct clean *row = *state;
    AUTO(buffer_free) struct buffer out = {0};

    text_clean(&out, row->text, strlen(row->text));
    assert_string_equal(out.data, row->want);
}

static const struct age {
    const char *name;
    int64_t age_ms;
    const char *want;
} ages[] = {
    {"milliseconds", 999, "999ms"}, {"seconds", 12345, "12.3s"},  {"minutes", 310000, "5m10s"},
    {"hours", 10920000, "3h02m"},   {"days", 356400000, "4d03h"}, {"nothing", 0, "0ms"},
};

static void is_age(void **state)
{
    const struct age *row = *state;
    AUTO(buffer_free) struct buffer out = {0};

    age_print(&out, row->age_ms);
    assert_string_equal(out.data, row->want);
}

/* ---- the survey ---- */

static const struct topology_settings wanted = {.stream_max_bytes = 1048576,
                                                .stream_replicas = 1,
                                                .dedup_window_s = 60,
                                                .ack_wait_ms = 1000,
                                                .max_in_flight = 10,
                                                .max_attempts = 3};

/* Every finding as "stream/consumer state detail" on a line. */
static void note(void *context, const struct survey_item *item)
{
    static const char *const words[] = {"same", "missing", "drifted"};

    buffer_print(context, "%s/%s %s %s\n", item->stream, item->consumer ? item->consumer : "",
                 words[item->state], item->detail);
}

static void nothing_there_is_all_missing(void **state)
{
    const struct catalogue none = {0};
    AUTO(buffer_free) struct buffer said = {0};

    (void)state;
    survey(&none, &wanted, note, &said);
    assert_null(strstr(said.data, "same"));
    assert_null(strstr(said.data, "drifted"));
    assert_non_null(strstr(said.data, "LOGS/ missing \n"));
    assert_non_null(strstr(said.data, "DEAD/ missing \n"));
    assert_non_null(strstr(said.data, "LOGS/processor-logs missing \n"));
}

static void what_differs_is_named_and_what_is_not_told_is_not(void **state)
{
    struct broker_stream_info stream = {.settings = {.name = "LOGS",
                                                     .subjects = "logs.>",
                                                     .max_bytes = 2097152,
                                                     .dedup_window_ms = 60000,
                                                     .replicas = 3}};
    struct catalogue_group group = {.stream = "LOGS",
                                    .info = {.settings = {.stream = "LOGS",
                                                          .name = "processor-logs",
                                                          .ack_wait_ms = 1000,
                                                          .max_in_flight = 10,
                                                          .max_attempts = 0}}};
    const struct catalogue catalogue = {
        .streams = &stream, .stream_count = 1, .groups = &group, .group_count = 1};
    AUTO(buffer_free) struct buffer said = {0};

    (void)state;
    survey(&catalogue, &wanted, note, &said);
    assert_non_null(strstr(said.data, "LOGS/ drifted max_bytes is 2097152, wanted 1048576; "
                                      "replicas is 3, wanted 1\n"));
    assert_non_null(strstr(said.data, "LOGS/processor-logs same \n"));
    assert_non_null(strstr(said.data, "READINGS/ missing \n"));
}

static void a_filter_and_a_full_stream_that_drops_are_drift(void **state)
{
    struct broker_stream_info stream = {
        .settings = {.name = "LOGS", .subjects = "logs.*", .telemetry = true}};
    struct catalogue_group group = {
        .stream = "LOGS",
        .info = {.settings = {.stream = "LOGS", .name = "processor-logs", .filter = "logs.a"}}};
    const struct catalogue catalogue = {
        .streams = &stream, .stream_count = 1, .groups = &group, .group_count = 1};
    AUTO(buffer_free) struct buffer said = {0};

    (void)state;
    survey(&catalogue, &wanted, note, &said);
    assert_non_null(strstr(said.data, "LOGS/ drifted subjects is 'logs.*', wanted 'logs.>'; when "
                                      "full it drops the oldest instead of refusing\n"));
    assert_non_null(
        strstr(said.data, "LOGS/processor-logs drifted filter is 'logs.a', wanted ''\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_there_is_all_missing),
        cmocka_unit_test(what_differs_is_named_and_what_is_not_told_is_not),
        cmocka_unit_test(a_filter_and_a_full_stream_that_drops_are_drift),
    };

    return cmocka_run_group_tests_name("survey", tests, NULL, NULL) + RUN_ROWS(overlaps, overlap) +
           RUN_ROWS(nears, is_nearest) + RUN_ROWS(cleans, is_clean) + RUN_ROWS(ages, is_age);
}
