#include "support/test.h"

#include "event/subject.h"

#include <string.h>

#define TEN "abcdefghij"
#define SIXTY TEN TEN TEN TEN TEN TEN

static const struct row {
    const char *name, *key, *want;
} rows[] = {
    {"letters, digits, _ and - stay", "aZ09_-", ".aZ09_-"},
    {"a dot is escaped", "a.b", ".a=2Eb"},
    {"so are wildcards", "*>", ".=2A=3E"},
    {"and the escape itself", "=2E", ".=3D2E"},
    {"and every byte of a character", "\xc3\xbc", ".=C3=BC"},
    {"and white space", "a b\n", ".a=20b=0A"},
    {"64 bytes are a token", SIXTY "abcd", "." SIXTY "abcd"},
    {"an escape that ends at 64 too", SIXTY "a.", "." SIXTY "a=2E"},
    {"65 become a UUID", SIXTY "abcde", ".44bad5fb-8786-8f50-9e2f-2b70e38e8895"},
    {"a key like SUBJECT_MANY is escaped", SUBJECT_MANY, ".=3Dmany"},
    {"an empty key", "", ".="},
};

static void key(void **state)
{
    const struct row *row = *state;
    AUTO(buffer_free) struct buffer subject = {0};

    subject_key(&subject, row->key);
    assert_string_equal(subject.data, row->want);
}

static void long_keys_stay_apart(void **state)
{
    AUTO(buffer_free) struct buffer one = {0};
    AUTO(buffer_free) struct buffer other = {0};

    (void)state;
    subject_key(&one, SIXTY "...");
    subject_key(&other, SIXTY "..,");
    assert_int_equal(one.size, 37);
    assert_string_not_equal(one.data, other.data);
}

static const struct pack {
    const char *name, *subjects[4], *want;
} packs[] = {
    {"one", {"readings.a.b"}, "readings.a.b"},
    {"equal ones", {"readings.a.b", "readings.a.b"}, "readings.a.b"},
    {"another device", {"readings.a.b", "readings.a.c"}, "readings.a.=many"},
    {"another site", {"readings.a.b", "readings.c.b"}, "readings.=many.b"},
    {"both, one after the other",
     {"readings.a.b", "readings.a.c", "readings.d.b"},
     "readings.=many.=many"},
    {"many stays many", {"readings.a.b", "readings.a.c", "readings.a.c"}, "readings.a.=many"},
    {"a token that another starts with", {"logs.a", "logs.ab"}, "logs.=many"},
};

static void merge(void **state)
{
    const struct pack *row = *state;
    AUTO(buffer_free) struct buffer pack = {0};

    for (size_t i = 0; i < ARRAY_LEN(row->subjects) && row->subjects[i]; i++)
        subject_merge(&pack, row->subjects[i], strlen(row->subjects[i]));
    assert_string_equal(pack.data, row->want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(long_keys_stay_apart)};

    return RUN_ROWS(rows, key) + RUN_ROWS(packs, merge) + cmocka_run_group_tests(tests, NULL, NULL);
}
