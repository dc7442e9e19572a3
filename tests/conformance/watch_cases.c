/* Watches: what is there, its end, then every last value; and none older after a newer. */
#include "conformance/eye.h"

#include "broker/broker_memory.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* ---- watching ---- */

static void snapshot_then_changes(struct stage *stage)
{
    uint64_t first = put(stage->broker, stage->name, "a", "one", 0);
    put(stage->broker, stage->name, "b", "old", 0);
    put(stage->broker, stage->name, "b", "one", BROKER_ANY);
    put(stage->broker, stage->name, "gone", "one", 0);
    delete_it(stage->broker, stage->name, "gone", BROKER_ANY);

    struct eye *eye = watch(stage->broker, stage->name, ">");
    wait_until_seen(eye, NULL, NULL);
    assert_int_equal(count_seen(eye), 3); /* a, b, and the end behind them */
    assert_true(eye->seen[2].all);
    wait_until_seen(eye, "a", "one");
    wait_until_seen(eye, "b", "one");
    assert_int_equal(last_seen(eye, "a")->revision, first);

    uint64_t second = put(stage->broker, stage->name, "a", "two", first);
    wait_until_seen(eye, "a", "two");
    assert_int_equal(last_seen(eye, "a")->revision, second);
    delete_it(stage->broker, stage->name, "b", BROKER_ANY);
    wait_until_seen(eye, "b", DELETED);
    assert_true(last_seen(eye, "b")->revision > second);
    put(stage->broker, stage->name, "b", "again", 0);
    wait_until_seen(eye, "b", "again");
    put(stage->broker, stage->name, "gone", "", 0); /* no bytes are not a deletion */
    wait_until_seen(eye, "gone", "");
    assert_int_equal(count_seen(eye), 7);
    expect_in_order(eye);
    eye_free(eye);
}

static void empty_bucket_ends_at_once(struct stage *stage)
{
    struct eye *eye = watch(stage->broker, stage->name, ">");

    wait_until_seen(eye, NULL, NULL);
    assert_int_equal(count_seen(eye), 1);
    put(stage->broker, stage->name, "a", "one", 0);
    wait_until_seen(eye, "a", "one");
    delete_it(stage->broker, stage->name, "a", BROKER_ANY);
    wait_until_seen(eye, "a", DELETED);
    struct eye *second = watch(stage->broker, stage->name, ">"); /* empty again */
    wait_until_seen(second, NULL, NULL);
    pause_ms(QUIET_MS);
    assert_int_equal(count_seen(second), 1);
    eye_free(second);
    eye_free(eye);
}

static const char *const keys[] = {"a", "a.b", "a.b.c", "a.x", "b.a"};
static const struct {
    const char *pattern;
    bool sees[ARRAY_LEN(keys)];
} patterns[] = {
    {"a", {true, false, false, false, false}}, {"*", {true, false, false, false, false}},
    {">", {true, true, true, true, true}},     {"a.*", {false, true, false, true, false}},
    {"a.>", {false, true, true, true, false}}, {"*.a", {false, false, false, false, true}},
    {"*.*", {false, true, false, true, true}}, {"c", {false, false, false, false, false}},
};

static void expect_chosen(struct eye *eye, size_t pattern)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (count_of(eye, keys[i]) != (patterns[pattern].sees[i] ? 2 : 0))
            fail_msg("'%s' saw '%s' %zu times", patterns[pattern].pattern, keys[i],
                     count_of(eye, keys[i]));
    expect_in_order(eye);
}

static void wait_until_chosen(struct eye *eye, size_t pattern, const char *text)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (patterns[pattern].sees[i])
            wait_until_seen(eye, keys[i], text);
}

static void patterns_choose(struct stage *stage)
{
    struct eye *eyes[ARRAY_LEN(patterns)];

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        put(stage->broker, stage->name, keys[i], "one", 0);
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        eyes[i] = watch(stage->broker, stage->name, patterns[i].pattern);
        wait_until_seen(eyes[i], NULL, NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        put(stage->broker, stage->name, keys[i], "two", BROKER_ANY);
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
        wait_until_chosen(eyes[i], i, "two");
    pause_ms(QUIET_MS);
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        expect_chosen(eyes[i], i);
        eye_free(eyes[i]);
    }
}

static void watches_one_bucket(struct stage *stage)
{
    char second[64];

    snprintf(second, sizeof(second), "%s-second", stage->name);
    struct eye *eye = watch(stage->broker, stage->name, ">");
    struct eye *other = watch(stage->broker, second, ">");
    put(stage->broker, second, "a", "second", 0);
    wait_until_seen(other, "a", "second");
    put(stage->broker, stage->name, "b", "first", 0);
    wait_until_seen(eye, "b", "first");
    pause_ms(QUIET_MS);
    assert_int_equal(count_of(eye, "a"), 0);
    assert_int_equal(count_of(other, "b"), 0);
    eye_free(other);
    eye_free(eye);
}

struct writing {
    struct stage *stage;
    struct broker *broker;
    bool failed;
};

#define WRITES 300
#define KEYS 5

static bool write_number(const struct writing *writing, int number)
{
    struct broker_value value = {.size = 0};
    char key[16], text[16];
    uint64_t revision;
    struct error err;

    snprintf(key, sizeof(key), "k%d", number % KEYS);
    value.size = (size_t)snprintf(text, sizeof(text), "%d", number);
    value.key = key;
    value.data = text;
    return broker_state_put(writing->broker, writing->stage->name, &value, BROKER_ANY, CALL_MS,
                            &revision, &err);
}

static void *write_numbers(void *context)
{
    struct writing *writing = context;

    for (int number = 1; number <= WRITES && !writing->failed; number++)
        writing->failed = !write_number(writing, number);
    return NULL;
}

static void expect_last_numbers(struct eye *eye)
{
    char key[16], text[16];

    for (int number = WRITES - KEYS + 1; number <= WRITES; number++) {
        snprintf(key, sizeof(key), "k%d", number % KEYS);
        snprintf(text, sizeof(text), "%d", number);
        wait_until_seen(eye, key, text);
    }
    wait_until_seen(eye, NULL, NULL);
    expect_in_order(eye);
}

/* Watches that begin while others write: no gap between the snapshot and what follows. */
static void begins_amid_changes(struct stage *stage)
{
    struct writing writing = {.stage = stage, .broker = stage_broker(stage)};
    struct eye *eyes[8];
    pthread_t thread;

    put(stage->broker, stage->name, "k0", "0", 0);
    assert_int_equal(pthread_create(&thread, NULL, write_numbers, &writing), 0);
    for (size_t i = 0; i < ARRAY_LEN(eyes); i++) {
        eyes[i] = watch(stage->broker, stage->name, ">");
        wait_until_seen(eyes[i], NULL, NULL);
    }
    pthread_join(thread, NULL);
    assert_false(writing.failed);
    for (size_t i = 0; i < ARRAY_LEN(eyes); i++) {
        expect_last_numbers(eyes[i]);
        eye_free(eyes[i]);
    }
    broker_close(writing.broker);
}

/* Megabytes that it does not look at, then what became of each key. */
static void slow_watcher_sees_the_last(struct stage *stage)
{
    static char data[200000];
    struct broker_value value = {.key = "big", .data = data, .size = sizeof(data)};
    struct writing writing = {.stage = stage, .broker = stage->broker};
    struct broker *other = stage_broker(stage);
    uint64_t revision;
    struct error err;

    put(stage->broker, stage->name, "gone", "x", 0);
    struct eye *eye = watch(other, stage->name, ">");
    struct eye *quick = watch(stage->broker, stage->name, ">");
    wait_until_seen(eye, NULL, NULL);
    set_blocked(eye, true);
    memset(data, 'x', sizeof(data));
    for (int i = 0; i < 100; i++)
        assert_ok(broker_state_put(stage->broker, stage->name, &value, BROKER_ANY, CALL_MS,
                                   &revision, &err));
    delete_it(stage->broker, stage->name, "gone", BROKER_ANY);
    delete_it(stage->broker, stage->name, "big", BROKER_ANY);
    write_numbers(&writing);
    assert_false(writing.failed);
    expect_last_numbers(quick);
    set_blocked(eye, false);
    expect_last_numbers(eye);
    wait_until_seen(eye, "big", DELETED);
    wait_until_seen(eye, "gone", DELETED);
    put(stage->broker, stage->name, "big", "after", 0);
    wait_until_seen(eye, "big", "after");
    expect_in_order(eye);
    eye_free(quick);
    eye_free(eye);
    broker_close(other);
}

static void unwatch_ends_it(struct stage *stage)
{
    struct eye *eye = watch(stage->broker, stage->name, ">");
    struct eye *other = watch(stage->broker, stage->name, ">");

    put(stage->broker, stage->name, "a", "one", 0);
    wait_until_seen(eye, "a", "one");
    broker_unwatch(eye->watch);
    eye->watch = NULL;
    size_t count = count_seen(eye);
    put(stage->broker, stage->name, "a", "two", BROKER_ANY);
    wait_until_seen(other, "a", "two");
    pause_ms(QUIET_MS);
    assert_int_equal(count_seen(eye), count);
    eye_free(other);
    eye_free(eye);
}

/* Watches that come and go while others write. */
static void unwatches_amid_changes(struct stage *stage)
{
    struct writing writing = {.stage = stage, .broker = stage_broker(stage)};
    pthread_t thread;

    put(stage->broker, stage->name, "k0", "0", 0);
    assert_int_equal(pthread_create(&thread, NULL, write_numbers, &writing), 0);
    for (int i = 0; i < 20; i++) {
        struct eye *eye = watch(stage->broker, stage->name, ">");
        if (i % 2)
            wait_until_seen(eye, NULL, NULL);
        eye_free(eye);
    }
    pthread_join(thread, NULL);
    assert_false(writing.failed);
    broker_close(writing.broker);
}

/* ---- the broker goes and comes ---- */

static void kill_and_start(struct stage *stage)
{
    struct error err;

    server_kill(stage->server);
    assert_ok(server_start_again(stage->server, &err));
}

static void watcher_gets_what_changed(struct stage *stage)
{
    struct broker *other = stage_broker(stage);

    put(stage->broker, stage->name, "same", "one", 0);
    put(stage->broker, stage->name, "changed", "one", 0);
    put(stage->broker, stage->name, "gone", "one", 0);
    struct eye *eye = watch(other, stage->name, ">");
    struct eye *part = watch(other, stage->name, "part.*");
    wait_until_seen(eye, NULL, NULL);
    wait_until_seen(part, NULL, NULL);
    for (int round = 0; round < 2; round++) {
        char text[16];
        snprintf(text, sizeof(text), "round %d", round);
        kill_and_start(stage);
        struct broker *writer = stage_broker(stage); /* most likely there before the watcher */
        delete_it(writer, stage->name, "gone", BROKER_ANY);
        put(writer, stage->name, "changed", "between", BROKER_ANY);
        put(writer, stage->name, "changed", text, BROKER_ANY);
        put(writer, stage->name, "part.new", text, BROKER_ANY);
        wait_until_seen(eye, "gone", DELETED);
        wait_until_seen(eye, "changed", text);
        wait_until_seen(eye, "part.new", text);
        wait_until_seen(part, "part.new", text);
        put(writer, stage->name, "gone", text, 0);
        wait_until_seen(eye, "gone", text);
        broker_close(writer);
    }
    assert_int_equal(count_of(eye, "same"), 1);
    assert_int_equal(count_of(part, "changed"), 0);
    expect_in_order(eye);
    expect_in_order(part);
    eye_free(part);
    eye_free(eye);
    broker_close(other);
}

static void model_goes_on(struct stage *stage)
{
    struct broker_watch *refused;
    struct error err;

    put(stage->broker, stage->name, "a", "one", 0);
    struct eye *eye = watch(stage->broker, stage->name, ">");
    wait_until_seen(eye, NULL, NULL);
    broker_memory_away(stage->broker, true);
    assert_fails(broker_watch(&refused, stage->broker, stage->name, ">", NULL, NULL, &err),
                 ERROR_UNAVAILABLE);
    broker_memory_away(stage->broker, false);
    put(stage->broker, stage->name, "a", "two", BROKER_ANY);
    wait_until_seen(eye, "a", "two");
    expect_in_order(eye);
    eye_free(eye);
}

static const struct conformance_case cases[] = {
    {"a watcher sees what is there, its end, then every change", snapshot_then_changes, ANY_DRIVER},
    {"watching an empty bucket tells the end of the snapshot", empty_bucket_ends_at_once,
     ANY_DRIVER},
    {"a watch's * is one token of the key and its > the rest", patterns_choose, ANY_DRIVER},
    {"a watch is for its bucket alone", watches_one_bucket, ANY_DRIVER},
    {"G17 a watch that begins amid changes misses no last value, none older after a newer",
     begins_amid_changes, ANY_DRIVER},
    {"G17 a slow watcher sees the last of each key, none older after a newer",
     slow_watcher_sees_the_last, ANY_DRIVER},
    {"unwatch ends it, and only that one", unwatch_ends_it, ANY_DRIVER},
    {"unwatch while others write", unwatches_amid_changes, ANY_DRIVER},
    {"G17 G18 after a restart a watcher gets what changed meanwhile, deletions too",
     watcher_gets_what_changed, OWN_SERVER},
    {"watchers of a model that was away go on", model_goes_on, ONLY_MEMORY},
};

const struct conformance_list watch_cases = {cases, ARRAY_LEN(cases)};
