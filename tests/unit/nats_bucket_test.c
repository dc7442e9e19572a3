/* The names of a key-value bucket, and what a watch remembers of one. */
#include "support/test.h"

#include "broker/nats_bucket.h"
#include "broker/nats_known.h"

#include <stdio.h>
#include <string.h>

static const struct key_row {
    const char *name, *bucket, *subject, *key; /* NULL: none */
} keys[] = {
    {"a key", "b", "$KV.b.a", "a"},
    {"of several tokens", "b", "$KV.b.a.b.c", "a.b.c"},
    {"another bucket", "b", "$KV.c.a", NULL},
    {"a bucket whose name goes on", "b", "$KV.bb.a", NULL},
    {"the bucket alone", "b", "$KV.b", NULL},
    {"an empty key", "b", "$KV.b.", NULL},
    {"an empty token", "b", "$KV.b.a..c", NULL},
    {"a wildcard is no key", "b", "$KV.b.>", NULL},
    {"another subject", "b", "readings.b.a", NULL},
    {"another prefix", "b", "$KVX.b.a", NULL},
    {"nothing", "b", "", NULL},
    {"no subject", "b", NULL, NULL},
};

static void check_key(void **state)
{
    const struct key_row *row = *state;
    const char *key = nats_bucket_key(row->bucket, row->subject);

    if (row->key)
        assert_string_equal(key, row->key);
    else
        assert_null(key);
}

static const struct deletion_row {
    const char *name, *operation, *marker;
    bool deleted;
} deletions[] = {
    {"no header is a value", NULL, NULL, false},
    {"deleted", "DEL", NULL, true},
    {"purged by the stock tools", "PURGE", NULL, true},
    {"another operation is a value", "PUT", NULL, false},
    {"in lower case it is another one", "del", NULL, false},
    {"the server's own marker", NULL, "MaxAge", true},
};

static void check_deletion(void **state)
{
    const struct deletion_row *row = *state;

    assert_int_equal(nats_bucket_is_deletion(row->operation, row->marker), row->deleted);
}

struct gone {
    char keys[64];
};

static void note_gone(void *context, const char *key)
{
    struct gone *gone = context;

    size_t used = strlen(gone->keys);

    snprintf(gone->keys + used, sizeof(gone->keys) - used, "%s ", key);
}

static void tells_each_revision_once(void **state)
{
    struct nats_known known = {0};

    (void)state;
    nats_known_begin(&known, false);
    assert_int_equal(nats_known_see(&known, "a", 3, false), NATS_NEW);
    assert_int_equal(nats_known_see(&known, "a", 3, false), NATS_OLD);
    assert_int_equal(nats_known_see(&known, "a", 2, true), NATS_OLD);
    assert_int_equal(nats_known_see(&known, "a", 5, false), NATS_NEW);
    assert_int_equal(nats_known_see(&known, "a", 6, true), NATS_DELETED);
    assert_int_equal(nats_known_see(&known, "a", 6, true), NATS_NEVER_THERE);
    assert_int_equal(nats_known_see(&known, "a", 7, false), NATS_NEW);
    nats_known_free(&known);
}

static void finds_what_is_gone(void **state)
{
    struct nats_known known = {0};
    struct gone gone = {""};

    (void)state;
    nats_known_begin(&known, false);
    for (const char *key = "abcdef"; *key; key++)
        (void)nats_known_see(&known, (const char[]){*key, '\0'}, 1, false);
    nats_known_end(&known, note_gone, &gone);
    assert_string_equal(gone.keys, "");

    nats_known_begin(&known, false);
    assert_int_equal(nats_known_see(&known, "b", 1, false), NATS_OLD);
    assert_int_equal(nats_known_see(&known, "e", 9, false), NATS_NEW);
    assert_int_equal(nats_known_see(&known, "f", 10, true), NATS_DELETED);
    nats_known_end(&known, note_gone, &gone);
    assert_string_equal(gone.keys, "a c d ");
    nats_known_end(&known, note_gone, &gone);
    assert_string_equal(gone.keys, "a c d ");
    nats_known_free(&known);
}

static void strangers_are_all_told(void **state)
{
    struct nats_known known = {0};
    struct gone gone = {""};

    (void)state;
    nats_known_begin(&known, false);
    (void)nats_known_see(&known, "a", 50, false);
    (void)nats_known_see(&known, "b", 51, false);
    nats_known_begin(&known, true);
    assert_int_equal(nats_known_see(&known, "a", 1, false), NATS_NEW);
    nats_known_end(&known, note_gone, &gone);
    assert_string_equal(gone.keys, "b ");
    nats_known_free(&known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_each_revision_once),
        cmocka_unit_test(finds_what_is_gone),
        cmocka_unit_test(strangers_are_all_told),
    };

    return RUN_ROWS(keys, check_key) + RUN_ROWS(deletions, check_deletion) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
