#include "support/test.h"

#include "broker/nats_puback.h"
#include "broker/nats_refusal.h"

#include <string.h>

/* In the order of reading: NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct row {
    const char *name, *text;
    bool good;
    uint64_t sequence;
    bool duplicate;
    int number;
    const char *description;
};

static const struct row rows[] = {
    {"stored", "{\"stream\":\"LOGS\", \"seq\":42}", true, 42, false, 0, ""},
    {"a duplicate has the original's sequence", "{\"stream\":\"S\",\"seq\":7,\"duplicate\": true}",
     true, 7, true, 0, ""},
    {"not a duplicate may be said", "{\"seq\":7,\"duplicate\":false}", true, 7, false, 0, ""},
    {"a refusal",
     "{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"maximum bytes exceeded\"},"
     "\"stream\":\"S\",\"seq\":0}",
     true, 0, false, 10077, "maximum bytes exceeded"},
    {"what is not known is skipped",
     " {\"domain\":\"a\\\"}\",\"x\":[1,{\"y\":[]}, \"]\"],\"z\":null,\"seq\":9,\"v\":-1.5e3 } ",
     true, 9, false, 0, ""},
    {"the greatest sequence", "{\"seq\":18446744073709551615}", true, UINT64_MAX, false, 0, ""},
    {.name = "a sequence that no number holds", .text = "{\"seq\":18446744073709551616}"},
    {.name = "neither sequence nor error", .text = "{\"stream\":\"S\"}"},
    {.name = "sequence zero without an error is no success", .text = "{\"seq\":0}"},
    {.name = "an empty object", .text = "{}"},
    {.name = "nothing", .text = ""},
    {.name = "cut in a name", .text = "{\"se"},
    {.name = "cut in a number", .text = "{\"seq\":42"},
    {.name = "cut in an escape", .text = "{\"a\":\"\\"},
    {.name = "something behind it", .text = "{\"seq\":42}x"},
    {.name = "another reply", .text = "+OK"},
    {.name = "a sequence that is text", .text = "{\"seq\":\"42\"}"},
    {.name = "brackets without end",
     .text = "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["},
};

static void check(void **state)
{
    const struct row *row = *state;
    struct nats_puback answer;

    assert_int_equal(nats_puback_parse(row->text, strlen(row->text), &answer), row->good);
    if (!row->good)
        return;
    assert_true(answer.sequence == row->sequence);
    assert_int_equal(answer.duplicate, row->duplicate);
    assert_int_equal(answer.number, row->number);
    assert_string_equal(answer.description, row->description);
}

static void a_long_description_is_cut(void **state)
{
    char text[600] = "{\"error\":{\"code\":400,\"description\":\"";
    struct nats_puback answer;

    (void)state;
    memset(text + strlen(text), 'd', 400);
    memcpy(text + strlen(text), "\"}}", sizeof("\"}}"));
    assert_true(nats_puback_parse(text, strlen(text), &answer));
    assert_int_equal(strlen(answer.description), sizeof(answer.description) - 1);
    assert_int_equal(answer.status, 400);
}

struct meaning {
    const char *name;
    int number, status;
    enum error_code code;
    bool passing;
};

static const struct meaning meanings[] = {
    {"a full stream", 10077, 503, ERROR_FULL, false},
    {"no resources", 10023, 503, ERROR_FULL, false},
    {"a wrong last sequence", 10071, 400, ERROR_CONFLICT, false},
    {"no leader passes", 10009, 503, ERROR_UNAVAILABLE, true},
    {"no cluster passes", 10008, 503, ERROR_UNAVAILABLE, true},
    {"JetStream is not up yet", 10076, 503, ERROR_UNAVAILABLE, true},
    {"a stream that is not there", 10059, 404, ERROR_NOT_FOUND, false},
    {"over the stream's message size", 10054, 400, ERROR_TOO_LARGE, false},
    {"an unknown number is judged by its status: 404", 1, 404, ERROR_NOT_FOUND, false},
    {"an unknown number is judged by its status: 500", 1, 500, ERROR_UNAVAILABLE, true},
    {"an unknown number is judged by its status: 400", 1, 400, ERROR_INVALID, false},
};

static void check_meaning(void **state)
{
    const struct meaning *row = *state;
    const struct nats_refusal *refusal = nats_refusal(row->number, row->status);

    assert_int_equal(refusal->code, row->code);
    assert_int_equal(refusal->passing, row->passing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_long_description_is_cut)};

    return RUN_ROWS(rows, check) + RUN_ROWS(meanings, check_meaning) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
