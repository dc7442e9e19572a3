/* What a publisher is told, and what is true then. */
#include "conformance/stage.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static void ok_means_stored(struct stage *stage)
{
    struct broker_receipt receipts[3];

    stage_declare(stage);
    for (size_t i = 0; i < ARRAY_LEN(receipts); i++) {
        publish(stage, "a", NULL, "x", &receipts[i]);
        assert_false(receipts[i].duplicate);
        assert_true(receipts[i].sequence[0]);
        assert_int_equal(count_stored(stage, stage->name, stage->name), i + 1);
    }
    assert_string_not_equal(receipts[0].sequence, receipts[1].sequence);
}

static void duplicate_keeps_sequence(struct stage *stage)
{
    struct broker_receipt first, again;

    stage_declare(stage);
    publish(stage, "a", "same", "first", &first);
    publish(stage, "a", "other", "x", NULL);
    publish(stage, "a", "same", "second", &again);
    assert_true(again.duplicate);
    assert_string_equal(again.sequence, first.sequence);
    publish(stage, "quite.other", "same", "third", &again);
    assert_true(again.duplicate);
    assert_string_equal(again.sequence, first.sequence);
    assert_int_equal(count_stored(stage, stage->name, stage->name), 2);
}

static void streams_have_their_own_ids(struct stage *stage)
{
    struct stage other = *stage;
    struct broker_receipt receipt;

    stage_declare(stage);
    snprintf(other.name, sizeof(other.name), "%.40s-b", stage->name);
    snprintf(other.subjects, sizeof(other.subjects), "%s.>", other.name);
    other.stream.name = other.group.stream = other.name;
    other.stream.subjects = other.subjects;
    stage_declare(&other);
    publish(stage, "a", "same", "x", NULL);
    publish(&other, "a", "same", "x", &receipt);
    assert_false(receipt.duplicate);
}

static void new_after_window(struct stage *stage)
{
    struct broker_receipt first, again;

    stage->stream.dedup_window_ms = 1000;
    stage_declare(stage);
    publish(stage, "a", "same", "x", &first);
    publish(stage, "a", "same", "x", &again);
    assert_true(again.duplicate);
    /* A broker may forget a little late, never early; it does so only when time has passed. */
    for (int64_t until_ms = now_ms() + 4000; again.duplicate && now_ms() < until_ms;) {
        pause_ms(200);
        publish(stage, "a", "same", "x", &again);
    }
    assert_false(again.duplicate);
    assert_string_not_equal(again.sequence, first.sequence);
}

static void each_is_reported(struct stage *stage)
{
    char good[80], bad[80];
    struct broker_receipt receipts[4];
    struct error err;

    snprintf(good, sizeof(good), "%s.a", stage->name);
    snprintf(bad, sizeof(bad), "%s.*", stage->name);
    stage_declare(stage);
    publish(stage, "a", "seen", "x", NULL);
    struct broker_message messages[] = {
        {.stream = stage->name, .subject = good, .id = "1", .data = "x", .size = 1},
        {.stream = stage->name, .subject = bad, .id = "2", .data = "x", .size = 1},
        {.stream = stage->name, .subject = good, .id = "seen", .data = "x", .size = 1},
        {.stream = stage->name, .subject = good, .id = "4", .data = "x", .size = 1},
    };
    assert_fails(broker_publish(stage->broker, messages, 4, CALL_MS, receipts, &err),
                 ERROR_INVALID);
    assert_int_equal(receipts[0].error.code, ERROR_NONE);
    assert_int_equal(receipts[1].error.code, ERROR_INVALID);
    assert_int_equal(receipts[2].error.code, ERROR_NONE);
    assert_true(receipts[2].duplicate);
    assert_int_equal(receipts[3].error.code, ERROR_NONE);
    assert_int_equal(count_stored(stage, stage->name, stage->name), 3);
}

static void full_then_recovers(struct stage *stage)
{
    static char data[20000];
    char subject[80], id[16];
    struct broker_receipt receipt = {0};
    int stored = 0;

    stage->stream.max_bytes = 200000;
    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    memset(data, 'x', sizeof(data));
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = id, .data = data, .size = sizeof(data)};
    for (; stored < 20; stored++) {
        snprintf(id, sizeof(id), "%d", stored);
        if (!try_publish(stage, &message, CALL_MS, &receipt))
            break;
    }
    expect_between("messages in a stream of 200 kB", stored, 5, 10);
    assert_int_equal(receipt.error.code, ERROR_FULL);
    assert_int_equal(count_stored(stage, stage->name, stage->name), stored);

    struct broker_consumer *consumer = consume(stage);
    for (int got = 0; got < stored;) {
        struct broker_batch batch = take(consumer, 16, CALL_MS);
        assert_true(batch.count > 0);
        got += (int)batch.count;
        done(consumer, batch.count);
    }
    struct error err;
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    assert_ok(broker_trim(stage->broker, stage->name, 3600000, CALL_MS, &err));
    assert_true(try_publish(stage, &message, CALL_MS, &receipt));
    broker_close_consumer(consumer);
}

struct answered {
    pthread_mutex_t lock;
    int calls[500]; /* guarded by lock */
    int total;
};

struct answer {
    struct answered *all;
    int number;
};

static void count_answer(void *context, const struct broker_receipt *receipt)
{
    const struct answer *answer = context;

    pthread_mutex_lock(&answer->all->lock);
    answer->all->calls[answer->number] += receipt->error.code == ERROR_NONE ? 1 : 1000;
    answer->all->total++;
    pthread_mutex_unlock(&answer->all->lock);
}

static int total_of(struct answered *all)
{
    pthread_mutex_lock(&all->lock);
    int total = all->total;
    pthread_mutex_unlock(&all->lock);
    return total;
}

static void publish_later(struct stage *stage, const struct broker_message *message,
                          struct answer *answer)
{
    struct error err;

    assert_ok(broker_publish_async(stage->broker, message, CALL_MS, count_answer, answer, &err));
}

static void answers_once_each(struct stage *stage)
{
    static struct answered all = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static struct answer answers[ARRAY_LEN(all.calls)];
    char subject[80], id[16];
    struct error err;

    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = id, .data = "x", .size = 1};
    for (int i = 0; i < (int)ARRAY_LEN(answers); i++) {
        answers[i] = (struct answer){&all, i};
        snprintf(id, sizeof(id), "%d", i);
        publish_later(stage, &message, &answers[i]);
    }
    assert_ok(broker_drain(stage->broker, CALL_MS, &err));
    assert_int_equal(total_of(&all), ARRAY_LEN(answers));
    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        assert_int_equal(all.calls[i], 1);
    struct broker_stats stats;
    broker_stats(stage->broker, &stats);
    assert_int_equal(stats.published, ARRAY_LEN(answers));
    assert_int_equal(stats.pending, 0);
    message.id = "late";
    assert_fails(
        broker_publish_async(stage->broker, &message, CALL_MS, count_answer, &answers[0], &err),
        ERROR_CLOSED);
    assert_int_equal(total_of(&all), ARRAY_LEN(answers));
}

/* ---- the end of it ---- */

struct slow_answer {
    atomic_bool entered, left;
};

static void answer_slowly(void *context, const struct broker_receipt *receipt)
{
    struct slow_answer *answer = context;

    (void)receipt;
    answer->entered = true;
    pause_ms(200);
    answer->left = true;
}

struct slow_publish {
    struct stage *stage;
    struct slow_answer answer;
    bool taken;
};

static void *publish_slowly(void *context)
{
    struct slow_publish *publish = context;
    char subject[80];
    struct error err;

    snprintf(subject, sizeof(subject), "%s.a", publish->stage->name);
    struct broker_message message = {
        .stream = publish->stage->name, .subject = subject, .id = "slow", .data = "x", .size = 1};
    publish->taken = broker_publish_async(publish->stage->broker, &message, CALL_MS, answer_slowly,
                                          &publish->answer, &err);
    return NULL;
}

static void drain_waits_for_callbacks(struct stage *stage)
{
    static struct slow_publish publish;
    pthread_t thread; /* a driver may answer in the thread that publishes */
    struct error err;

    stage_declare(stage);
    publish.stage = stage;
    pthread_create(&thread, NULL, publish_slowly, &publish);
    for (int64_t until_ms = now_ms() + CALL_MS; !publish.answer.entered && now_ms() < until_ms;)
        pause_ms(1);
    assert_true(publish.answer.entered);
    assert_fails(broker_drain(stage->broker, 20, &err), ERROR_TIMEOUT);
    assert_ok(broker_drain(stage->broker, CALL_MS, &err));
    assert_true(publish.answer.left);
    pthread_join(thread, NULL);
    assert_true(publish.taken);
}

static void count_incident(void *context, enum broker_incident incident, const char *detail)
{
    (void)incident, (void)detail;
    atomic_fetch_add((atomic_int *)context, 1);
}

static void close_answers_everything(struct stage *stage)
{
    static struct answered all = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static struct answer answers[ARRAY_LEN(all.calls)];
    static atomic_int incidents;
    struct broker_options options = {.observe = count_incident, .context = &incidents};
    struct stage other = *stage;
    char subject[80], id[16];
    struct error err;

    stage_declare(stage);
    assert_ok(broker_open(&other.broker, stage->url, &options, &err));
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = id, .data = "x", .size = 1};
    for (int i = 0; i < (int)ARRAY_LEN(answers); i++) {
        answers[i] = (struct answer){&all, i};
        snprintf(id, sizeof(id), "%d", i);
        publish_later(&other, &message, &answers[i]);
    }
    broker_close(other.broker);
    assert_int_equal(total_of(&all), ARRAY_LEN(answers));
    pause_ms(QUIET_MS);
    assert_int_equal(total_of(&all), ARRAY_LEN(answers));
    assert_int_equal(incidents, 0);
}

static const struct conformance_case cases[] = {
    {"G2 ok means stored", ok_means_stored, ANY_DRIVER},
    {"G3 same id, same or other subject: duplicate with the original sequence",
     duplicate_keeps_sequence, ANY_DRIVER},
    {"G3 the same id in another stream is no duplicate", streams_have_their_own_ids, ONE_SERVER},
    {"G3 after the window the id is new", new_after_window, ANY_DRIVER},
    {"G2 a batch reports each: one refusal does not fail its neighbours", each_is_reported,
     ONE_SERVER},
    {"G14 G2 a full stream refuses, stores nothing, and recovers after a trim", full_then_recovers,
     ANY_DRIVER},
    {"G19 an async publish is answered exactly once; drain waits for it; then CLOSED",
     answers_once_each, ANY_DRIVER},
    {"G19 a drain ends after the last answer has been told, not before", drain_waits_for_callbacks,
     ONE_SERVER},
    {"close answers every publish, none after it returned, and is no incident",
     close_answers_everything, ONE_SERVER},
};

const struct conformance_list publish_cases = {cases, ARRAY_LEN(cases)};
