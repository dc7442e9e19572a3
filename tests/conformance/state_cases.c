/* State: one value per key, under a revision that rises with every change in the bucket. */
#include "conformance/eye.h"

#include "base/memory.h"
#include "broker/broker_memory.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- short words ---- */

static void put_fails(struct broker *broker, const char *bucket, const char *key, uint64_t expected,
                      enum error_code code)
{
    struct broker_value value = {.key = key, .data = "wrong", .size = 5};
    uint64_t revision;
    struct error err = {0};

    if (broker_state_put(broker, bucket, &value, expected, CALL_MS, &revision, &err))
        fail_msg("put '%s' where %llu was expected", key, (unsigned long long)expected);
    assert_int_equal(err.code, code);
}

struct got {
    char *data; /* size bytes and a NUL; NULL until it is seen */
    size_t size;
    uint64_t revision;
    int calls;
};

static void note_got(void *context, enum broker_seen what, const struct broker_value *value)
{
    struct got *got = context;

    got->calls++;
    if (what != BROKER_SEEN_VALUE || !value->data)
        return;
    free(got->data);
    got->data = memory_alloc(value->size + 1);
    memcpy(got->data, value->data, value->size);
    got->size = value->size;
    got->revision = value->revision;
}

/* The caller frees its data. */
static struct got get(struct broker *broker, const char *bucket, const char *key)
{
    struct got got = {0};
    struct error err;

    assert_ok(broker_state_get(broker, bucket, key, note_got, &got, CALL_MS, &err));
    assert_int_equal(got.calls, 1);
    assert_non_null(got.data);
    return got;
}

static void expect_kept(struct broker *broker, const char *bucket, const char *key,
                        const char *text, uint64_t revision)
{
    struct got got = get(broker, bucket, key);

    assert_string_equal(got.data, text);
    assert_int_equal(got.size, strlen(text));
    if (revision)
        assert_int_equal(got.revision, revision);
    free(got.data);
}

static void expect_nothing(struct broker *broker, const char *bucket, const char *key)
{
    struct got got = {0};
    struct error err = {0};

    assert_fails(broker_state_get(broker, bucket, key, note_got, &got, CALL_MS, &err),
                 ERROR_NOT_FOUND);
    assert_int_equal(got.calls, 0);
}

/* ---- values ---- */

static void create_wants_nothing_there(struct stage *stage)
{
    uint64_t first = put(stage->broker, stage->name, "a", "one", 0);

    put_fails(stage->broker, stage->name, "a", 0, ERROR_CONFLICT);
    expect_kept(stage->broker, stage->name, "a", "one", first);
    delete_it(stage->broker, stage->name, "a", BROKER_ANY);
    expect_nothing(stage->broker, stage->name, "a");
    uint64_t again = put(stage->broker, stage->name, "a", "two", 0);
    assert_true(again > first);
    expect_kept(stage->broker, stage->name, "a", "two", again);
}

static void update_wants_revision(struct stage *stage)
{
    uint64_t first = put(stage->broker, stage->name, "a", "one", BROKER_ANY);
    uint64_t other = put(stage->broker, stage->name, "b", "other", BROKER_ANY);
    uint64_t second = put(stage->broker, stage->name, "a", "two", first);

    put_fails(stage->broker, stage->name, "a", first, ERROR_CONFLICT);
    put_fails(stage->broker, stage->name, "a", other, ERROR_CONFLICT);
    put_fails(stage->broker, stage->name, "a", second + 1, ERROR_CONFLICT);
    put_fails(stage->broker, stage->name, "never", second, ERROR_CONFLICT);
    expect_nothing(stage->broker, stage->name, "never");
    expect_kept(stage->broker, stage->name, "a", "two", second);
    delete_it(stage->broker, stage->name, "a", BROKER_ANY);
    put_fails(stage->broker, stage->name, "a", second, ERROR_CONFLICT);
    expect_nothing(stage->broker, stage->name, "a");
}

static void any_puts(struct stage *stage)
{
    put(stage->broker, stage->name, "a", "one", BROKER_ANY);
    put(stage->broker, stage->name, "a", "two", BROKER_ANY);
    delete_it(stage->broker, stage->name, "a", BROKER_ANY);
    uint64_t last = put(stage->broker, stage->name, "a", "three", BROKER_ANY);
    expect_kept(stage->broker, stage->name, "a", "three", last);
}

static void revision_rises(struct stage *stage)
{
    static const char *const keys[] = {"a", "b", "a", "c.d", "b", "a"};
    uint64_t last = 0;

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        uint64_t revision = put(stage->broker, stage->name, keys[i], "x", BROKER_ANY);
        assert_true(revision > last);
        last = revision;
    }
    delete_it(stage->broker, stage->name, "a", last);
    assert_true(put(stage->broker, stage->name, "e", "x", 0) > last + 1); /* it was a change */
}

static void delete_wants_revision(struct stage *stage)
{
    uint64_t first = put(stage->broker, stage->name, "a", "one", 0);
    uint64_t second = put(stage->broker, stage->name, "a", "two", first);
    struct error err = {0};

    assert_fails(broker_state_delete(stage->broker, stage->name, "a", first, CALL_MS, &err),
                 ERROR_CONFLICT);
    expect_kept(stage->broker, stage->name, "a", "two", second);
    delete_it(stage->broker, stage->name, "a", second);
    expect_nothing(stage->broker, stage->name, "a");
    assert_fails(broker_state_delete(stage->broker, stage->name, "a", second, CALL_MS, &err),
                 ERROR_CONFLICT);
    delete_it(stage->broker, stage->name, "a", BROKER_ANY); /* as often as one likes */
    expect_nothing(stage->broker, stage->name, "a");
}

static void absent_is_not_found(struct stage *stage)
{
    expect_nothing(stage->broker, stage->name, "a"); /* not even a bucket */
    put(stage->broker, stage->name, "a", "x", 0);
    expect_nothing(stage->broker, stage->name, "b");
    expect_nothing(stage->broker, stage->name, "a.b");
}

static void put_size(struct stage *stage, const char *data, size_t size)
{
    struct broker_value value = {.key = "size", .data = data, .size = size};
    uint64_t revision;
    struct error err;

    assert_ok(
        broker_state_put(stage->broker, stage->name, &value, BROKER_ANY, CALL_MS, &revision, &err));
    struct got got = get(stage->broker, stage->name, "size");
    assert_int_equal(got.size, size);
    assert_memory_equal(got.data, data, size);
    assert_int_equal(got.revision, revision);
    free(got.data);
}

static void sizes_are_kept(struct stage *stage)
{
    static char data[BROKER_MESSAGE_MAX + 1];
    struct broker_value value = {.key = "size", .data = data, .size = sizeof(data)};
    uint64_t revision;
    struct error err;

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i % 251);
    put_size(stage, data, 0);
    put_size(stage, data, 1);
    put_size(stage, data, 70000);
    put_size(stage, data, BROKER_MESSAGE_MAX);
    assert_fails(
        broker_state_put(stage->broker, stage->name, &value, BROKER_ANY, CALL_MS, &revision, &err),
        ERROR_TOO_LARGE);
    put_size(stage, data, 0);
}

static void keys_are_subjects(struct stage *stage)
{
    static const char *const keys[] = {
        "a",
        "a.b",
        "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.0.1.2.3.4.5.6.7.8.9",
        "site-1.meter_7.phase=2",
        "A",
    };
    char text[8];

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        snprintf(text, sizeof(text), "%zu", i);
        put(stage->broker, stage->name, keys[i], text, 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        snprintf(text, sizeof(text), "%zu", i);
        expect_kept(stage->broker, stage->name, keys[i], text, 0);
    }
}

static void buckets_are_separate(struct stage *stage)
{
    char second[64];

    snprintf(second, sizeof(second), "%s-second", stage->name);
    put(stage->broker, stage->name, "a", "first", 0);
    expect_nothing(stage->broker, second, "a");
    put(stage->broker, second, "a", "second", 0);
    expect_kept(stage->broker, stage->name, "a", "first", 0);
    delete_it(stage->broker, second, "a", BROKER_ANY);
    expect_kept(stage->broker, stage->name, "a", "first", 0);
}

static void all_see_the_same(struct stage *stage)
{
    struct broker *other = stage_broker(stage);

    uint64_t first = put(stage->broker, stage->name, "a", "one", 0);
    expect_kept(other, stage->name, "a", "one", first);
    uint64_t second = put(other, stage->name, "a", "two", first);
    expect_kept(stage->broker, stage->name, "a", "two", second);
    put_fails(stage->broker, stage->name, "a", first, ERROR_CONFLICT);
    broker_close(other);
}

/* ---- two writers ---- */

#define ROUNDS 30

struct writer {
    struct broker *broker;
    const char *bucket, *text;
    uint64_t expected, revision;
    bool won;
    struct error err;
    pthread_barrier_t *start; /* borrowed */
};

static void *race(void *context)
{
    struct writer *writer = context;
    struct broker_value value = {
        .key = "raced", .data = writer->text, .size = strlen(writer->text)};

    pthread_barrier_wait(writer->start);
    writer->won = broker_state_put(writer->broker, writer->bucket, &value, writer->expected,
                                   CALL_MS, &writer->revision, &writer->err);
    return NULL;
}

static void race_both(struct writer writers[2])
{
    pthread_barrier_t start;
    pthread_t threads[2];

    pthread_barrier_init(&start, NULL, 2);
    for (int i = 0; i < 2; i++) {
        writers[i].start = &start;
        assert_int_equal(pthread_create(&threads[i], NULL, race, &writers[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
}

/* Both expect the same revision; the new one is the winner's. */
static uint64_t race_once(struct stage *stage, struct writer writers[2], uint64_t expected)
{
    writers[0].expected = writers[1].expected = expected;
    race_both(writers);
    if (writers[0].won == writers[1].won)
        fail_msg("%s won", writers[0].won ? "both" : "none");
    const struct writer *winner = &writers[writers[0].won ? 0 : 1];
    assert_int_equal(writers[writers[0].won ? 1 : 0].err.code, ERROR_CONFLICT);
    expect_kept(stage->broker, stage->name, "raced", winner->text, winner->revision);
    return winner->revision;
}

static void one_writer_wins(struct stage *stage)
{
    struct broker *other = stage_broker(stage);

    stage_declare(stage); /* a bucket is as replicated as what is declared */
    struct writer writers[2] = {
        {.broker = stage->broker, .bucket = stage->name, .text = "first"},
        {.broker = other, .bucket = stage->name, .text = "second"},
    };
    uint64_t revision = 0; /* the first round creates */

    for (int round = 0; round < ROUNDS; round++)
        revision = race_once(stage, writers, revision);
    broker_close(other);
}

/* Both may win, but then the update was first: it saw all that was there before it. */
static void update_loses_nothing(struct stage *stage)
{
    struct broker *other = stage_broker(stage);

    stage_declare(stage);
    struct writer writers[2] = {
        {.broker = stage->broker, .bucket = stage->name, .text = "update"},
        {.broker = other, .bucket = stage->name, .text = "any", .expected = BROKER_ANY},
    };
    const struct writer *update = &writers[0], *any = &writers[1];
    for (int round = 0; round < ROUNDS; round++) {
        race_both(writers);
        assert_true(any->won);
        if (update->won && update->revision > any->revision)
            fail_msg("the update did not see what was put before it");
        if (!update->won)
            assert_int_equal(update->err.code, ERROR_CONFLICT);
        expect_kept(stage->broker, stage->name, "raced", "any", any->revision);
        writers[0].expected = any->revision;
    }
    broker_close(other);
}

/* ---- the broker goes and comes ---- */

static void kill_and_start(struct stage *stage)
{
    struct error err;

    server_kill(stage->server);
    assert_ok(server_start_again(stage->server, &err));
}

static void outlives_server(struct stage *stage)
{
    uint64_t first = put(stage->broker, stage->name, "a", "one", 0);

    put(stage->broker, stage->name, "gone", "x", 0);
    delete_it(stage->broker, stage->name, "gone", BROKER_ANY);
    kill_and_start(stage);
    struct broker *other = stage_broker(stage);
    expect_kept(other, stage->name, "a", "one", first);
    expect_nothing(other, stage->name, "gone");
    expect_kept(stage->broker, stage->name, "a", "one", first);
    put_fails(other, stage->name, "a", 0, ERROR_CONFLICT);
    uint64_t second = put(stage->broker, stage->name, "a", "two", first);
    assert_true(second > first);
    broker_close(other);
}

#define TIMEOUT_MS 400

static void returns_in_time(struct stage *stage)
{
    struct broker_value value = {.key = "a", .data = "two", .size = 3};
    struct got got = {0};
    struct stopwatch started;
    uint64_t revision;
    struct error err;

    put(stage->broker, stage->name, "a", "one", 0);
    server_pause(stage->server);
    started = stopwatch_start(stage);
    assert_false(
        broker_state_get(stage->broker, stage->name, "a", note_got, &got, TIMEOUT_MS, &err));
    expect_took("get", stage, &started, 0, TIMEOUT_MS + 100);
    started = stopwatch_start(stage);
    assert_false(broker_state_put(stage->broker, stage->name, &value, BROKER_ANY, TIMEOUT_MS,
                                  &revision, &err));
    expect_took("put", stage, &started, 0, TIMEOUT_MS + 100);
    started = stopwatch_start(stage);
    assert_false(
        broker_state_delete(stage->broker, stage->name, "b", BROKER_ANY, TIMEOUT_MS, &err));
    expect_took("delete", stage, &started, 0, TIMEOUT_MS + 100);
    server_resume(stage->server);
    assert_int_equal(got.calls, 0);
}

static void model_is_unavailable(struct stage *stage)
{
    struct broker_value value = {.key = "a", .data = "two", .size = 3};
    struct got got = {0};
    uint64_t revision;
    struct error err;

    put(stage->broker, stage->name, "a", "one", 0);
    broker_memory_away(stage->broker, true);
    assert_fails(broker_state_get(stage->broker, stage->name, "a", note_got, &got, 100, &err),
                 ERROR_UNAVAILABLE);
    assert_fails(
        broker_state_put(stage->broker, stage->name, &value, BROKER_ANY, 100, &revision, &err),
        ERROR_UNAVAILABLE);
    assert_fails(broker_state_delete(stage->broker, stage->name, "a", BROKER_ANY, 100, &err),
                 ERROR_UNAVAILABLE);
    assert_int_equal(got.calls, 0);
    broker_memory_away(stage->broker, false);
    expect_kept(stage->broker, stage->name, "a", "one", 0);
}

static const struct conformance_case cases[] = {
    {"G17 create wants nothing there, and does after a deletion", create_wants_nothing_there,
     ANY_DRIVER},
    {"G17 update wants the revision of the value, and no other", update_wants_revision, ANY_DRIVER},
    {"BROKER_ANY puts, whatever is there", any_puts, ANY_DRIVER},
    {"G17 every change in a bucket has a higher revision", revision_rises, ANY_DRIVER},
    {"G17 delete wants the revision that it is told; BROKER_ANY deletes what is not there",
     delete_wants_revision, ANY_DRIVER},
    {"a value that is not there is NOT_FOUND", absent_is_not_found, ANY_DRIVER},
    {"values of no bytes and of the most; one more is too large", sizes_are_kept, ANY_DRIVER},
    {"keys of many tokens, in either case", keys_are_subjects, ANY_DRIVER},
    {"buckets are separate", buckets_are_separate, ANY_DRIVER},
    {"G17 every client sees the same value and revision", all_see_the_same, ANY_DRIVER},
    {"G17 of two writers that race one wins each round, the other has a CONFLICT", one_writer_wins,
     ANY_DRIVER},
    {"G17 an update that races with a put of BROKER_ANY overwrites nothing unseen",
     update_loses_nothing, ANY_DRIVER},
    {"G17 state outlives the server, its revisions too", outlives_server, OWN_SERVER},
    {"state of a model that is away is UNAVAILABLE", model_is_unavailable, ONLY_MEMORY},
    {"calls for state return in time over a mute broker", returns_in_time, OWN_SERVER},
};

const struct conformance_list state_cases = {cases, ARRAY_LEN(cases)};
