#include "support/test.h"

#include "base/document.h"
#include "base/json.h"

#include <string.h>

static struct document *parse(const char *text)
{
    struct document *document = NULL;
    struct error err = {0};

    assert_ok(document_parse(&document, text, strlen(text), &err));
    return document;
}

static void reads(void **state)
{
    AUTO(document_free)
    struct document *document = parse(
        "{\"config\":{\"name\":\"LOGS\",\"max_bytes\":9007199254740991,\"deny\":true,\"part\":1.5,"
        "\"huge\":1e17,\"subjects\":[\"a.>\",{\"x\":\"y\"}],\"none\":null}}");

    (void)state;
    assert_string_equal(document_text(document, "config.name"), "LOGS");
    assert_string_equal(document_text(document, "config.subjects.0"), "a.>");
    assert_string_equal(document_text(document, "config.subjects.1.x"), "y");
    assert_null(document_text(document, "config.max_bytes"));
    assert_null(document_text(document, "config.Name"));
    assert_null(document_text(document, "config..name"));
    assert_null(document_text(document, "config.name.more"));
    assert_null(document_text(document, "config.subjects.2"));
    assert_null(document_text(document, "config.subjects.x"));
    assert_true(document_int(document, "config.max_bytes", -1) == INT64_C(9007199254740991));
    assert_int_equal(document_int(document, "config.part", -1), -1);
    assert_int_equal(document_int(document, "config.huge", -1), -1);
    assert_int_equal(document_int(document, "config.name", -1), -1);
    assert_true(document_bool(document, "config.deny", false));
    assert_true(document_bool(document, "config.absent", true));
    assert_int_equal(document_count(document, "config.subjects"), 2);
    assert_int_equal(document_count(document, "config"), -1);
    assert_true(document_has(document, "config.none"));
    assert_true(document_has(document, ""));
    assert_false(document_has(document, "config.other"));
}

static const struct change {
    const char *name, *before, *path, *after;
} changes[] = {
    {"a value is replaced, its neighbours stay", "{\"a\":1,\"b\":2,\"c\":3}", "b",
     "{\"a\":1,\"b\":\"new\",\"c\":3}"},
    {"missing steps are made", "{}", "a.b.c", "{\"a\":{\"b\":{\"c\":\"new\"}}}"},
    {"what is in the way becomes an object", "{\"a\":1}", "a.b", "{\"a\":{\"b\":\"new\"}}"},
    {"an element is replaced", "{\"a\":[1,2]}", "a.1", "{\"a\":[1,\"new\"]}"},
    {"an element past the end is appended", "{\"a\":[1]}", "a.7", "{\"a\":[1,\"new\"]}"},
    {"inside an element", "{\"a\":[{\"b\":1}]}", "a.0.b", "{\"a\":[{\"b\":\"new\"}]}"},
    {"no path changes nothing", "{\"a\":1}", "", "{\"a\":1}"},
    {"a root without members stays", "3", "a", "3"},
};

static void change(void **state)
{
    const struct change *row = *state;
    AUTO(document_free) struct document *document = parse(row->before);
    AUTO(buffer_free) struct buffer out = {0};

    document_set_text(document, row->path, "new");
    document_print(document, "", &out);
    assert_string_equal(out.data, row->after);
}

static void builds(void **state)
{
    AUTO(document_free) struct document *document = document_new();
    AUTO(buffer_free) struct buffer out = {0};

    (void)state;
    document_set_int(document, "config.max_bytes", INT64_C(9007199254740991));
    document_set_int(document, "config.least", -1);
    document_set_bool(document, "config.on", true);
    document_set_list(document, "config.subjects", (const char *const[]){"a", "b\"c"}, 2);
    document_set_list(document, "config.subjects", (const char *const[]){"d"}, 1);
    document_print(document, "", &out);
    assert_string_equal(out.data,
                        "{\"config\":{\"max_bytes\":9007199254740991,\"least\":-1,\"on\":true,"
                        "\"subjects\":[\"d\"]}}");
    buffer_clear(&out);
    document_print(document, "config.subjects", &out);
    document_print(document, "config.absent", &out);
    assert_string_equal(out.data, "[\"d\"]null");
}

static void is_as_strict_as_decoding(void **state)
{
    struct document *document = NULL;
    struct error err = {0};

    (void)state;
    assert_fails(document_parse(&document, "{\"a\":{\"b\":1,\"b\":1}}", 19, &err), ERROR_INVALID);
    assert_string_equal(err.pointer, "/a/b");
    assert_fails(document_parse(&document, "", 0, &err), ERROR_INVALID);
    assert_string_equal(err.reason, JSON_EMPTY);
    assert_null(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(builds),
        cmocka_unit_test(is_as_strict_as_decoding),
    };

    return RUN_ROWS(changes, change) + cmocka_run_group_tests(tests, NULL, NULL);
}
