#include "support/test.h"

#include "base/id.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const struct id *id)
{
    static _Thread_local char text[ID_TEXT_SIZE];

    id_format(id, text);
    return text;
}

static const struct parsed {
    const char *name, *text;
    bool want;
} parsed[] = {
    {"lower case", "01932f0e-7c00-7abc-8def-0123456789ab", true},
    {"upper case", "01932F0E-7C00-7ABC-8DEF-0123456789AB", true},
    {"any version", "ffffffff-ffff-ffff-ffff-ffffffffffff", true},
    {"no dashes", "01932f0e7c007abc8def0123456789ab", false},
    {"dashes elsewhere", "01932f0e7-c00-7abc-8def-0123456789ab", false},
    {"a letter past f", "01932g0e-7c00-7abc-8def-0123456789ab", false},
    {"a dash for a digit", "01932f0e-7c00-7abc-8def-0123456789a-", false},
    {"braces", "{01932f0e-7c00-7abc-8def-0123456789ab}", false},
    {"too short", "01932f0e-7c00-7abc-8def-0123456789a", false},
    {"too long", "01932f0e-7c00-7abc-8def-0123456789abc", false},
    {"nothing", "", false},
};

static void parse(void **state)
{
    const struct parsed *row = *state;
    struct id id;

    assert_int_equal(id_parse(row->text, strlen(row->text), &id), row->want);
    if (row->want)
        assert_int_equal(strcasecmp(text_of(&id), row->text), 0);
}

static void new_has_the_form_of_version_7(void **state)
{
    struct id id = id_new(0x01932f0e7c00);

    (void)state;
    assert_int_equal(strncmp(text_of(&id), "01932f0e-7c00-7", 15), 0);
    assert_int_equal(id.bytes[8] & 0xc0, 0x80);
    assert_false(id_is_zero(&id));
}

/* More of them than a millisecond's counter holds. */
static void new_sort_by_their_making(void **state)
{
    struct id last = id_new(1000);

    (void)state;
    for (int i = 0; i < 10000; i++) {
        struct id next = id_new(1000);
        assert_true(memcmp(&last, &next, sizeof(last)) < 0);
        last = next;
    }
    struct id next = id_new(1001); /* the counter has run ahead of the clock */
    assert_true(memcmp(&last, &next, sizeof(last)) < 0);
    next = id_new(5000);
    assert_int_equal(strncmp(text_of(&next), "00000000-1388", 13), 0);
    next = id_new(2000); /* a clock that was set back */
    assert_int_equal(strncmp(text_of(&next), "00000000-07d0", 13), 0);
}

#define EACH 20000

static void *make(void *list)
{
    for (size_t i = 0; i < EACH; i++)
        ((struct id *)list)[i] = id_new(77);
    return NULL;
}

static int compare(const void *one, const void *other)
{
    return memcmp(one, other, sizeof(struct id));
}

static void threads_make_different_ones(void **state)
{
    static struct id ids[2 * EACH];
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, make, ids), 0);
    make(ids + EACH);
    pthread_join(thread, NULL);
    qsort(ids, ARRAY_LEN(ids), sizeof(*ids), compare);
    for (size_t i = 1; i < ARRAY_LEN(ids); i++)
        assert_int_not_equal(compare(&ids[i - 1], &ids[i]), 0);
}

static void derived_are_the_same_everywhere(void **state)
{
    struct id id = id_derive("idempotency", "abc", 3);

    (void)state;
    /* printf 'idempotency\0abc' | sha256sum, with version 8 and the variant put in */
    assert_string_equal(text_of(&id), "046432c9-89e1-8884-8561-0ae966939d59");
}

static void derived_differ(void **state)
{
    struct id one = id_derive("ab", "c", 1);
    struct id scope = id_derive("a", "bc", 2);
    struct id key = id_derive("ab", "d", 1);

    (void)state;
    assert_int_not_equal(compare(&one, &scope), 0);
    assert_int_not_equal(compare(&one, &key), 0);
    assert_int_equal(one.bytes[6] >> 4, 8);
}

/* Every bit is now 0, now 1. */
static void random_bits_vary(void **state)
{
    uint32_t ever = 0, always = UINT32_MAX;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint32_t bits = id_random();
        ever |= bits;
        always &= bits;
    }
    assert_int_equal(ever, UINT32_MAX);
    assert_int_equal(always, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_has_the_form_of_version_7),
        cmocka_unit_test(new_sort_by_their_making),
        cmocka_unit_test(threads_make_different_ones),
        cmocka_unit_test(derived_are_the_same_everywhere),
        cmocka_unit_test(derived_differ),
        cmocka_unit_test(random_bits_vary),
    };

    return RUN_ROWS(parsed, parse) + cmocka_run_group_tests(tests, NULL, NULL);
}
