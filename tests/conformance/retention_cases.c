/* What stays, what goes, and what is outstanding. */
#include "conformance/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void trim(struct stage *stage, int64_t keep_ms)
{
    struct error err;

    assert_ok(broker_trim(stage->broker, stage->name, keep_ms, CALL_MS, &err));
}

static size_t stored(struct stage *stage)
{
    return count_stored(stage, stage->name, stage->name);
}

static void trims_settled_only(struct stage *stage)
{
    struct broker_group slow = stage->group;
    struct error err;

    slow.name = "slow";
    slow.ack_wait_ms = 20000;
    stage_declare(stage);
    stage_declare_group(stage, &slow);
    publish_numbers(stage, 1, 4);
    trim(stage, 0);
    assert_int_equal(stored(stage), 4); /* unread by both */

    struct broker_consumer *fast = consume(stage), *held = consume_as(stage->broker, &slow);
    for (size_t got = 0; got < 4;) {
        struct broker_batch batch = take(fast, 4, CALL_MS);
        got += batch.count;
        done(fast, batch.count);
    }
    assert_ok(broker_drain_consumer(fast, CALL_MS, &err));
    trim(stage, 0);
    assert_int_equal(stored(stage), 4); /* unread by the other */

    expect_done(held, "1", 1, CALL_MS);
    take_this(held, "2", 1, CALL_MS);
    trim(stage, 3600000);
    assert_int_equal(stored(stage), 4); /* too young */
    for (int64_t until_ms = now_ms() + CALL_MS; stored(stage) > 3 && now_ms() < until_ms;)
        trim(stage, 0); /* the ack of 1 may be on its way */
    trim(stage, 0);
    assert_int_equal(stored(stage), 3); /* 2 is pending, 3 and 4 are unread */
    done(held, 1);
    expect_done(held, "3", 1, CALL_MS);
    expect_done(held, "4", 1, CALL_MS);
    assert_ok(broker_drain_consumer(held, CALL_MS, &err));
    trim(stage, 0);
    assert_int_equal(stored(stage), 0);
    broker_close_consumer(held);
    broker_close_consumer(fast);
}

/* At once; only the members of a cluster hear of a message a little after its publisher. */
static void expect_unread(struct stage *stage, int64_t count)
{
    int64_t until_ms = now_ms() + (stage->stream.replicas > 1 ? CALL_MS : 0);
    int64_t unread = lag(stage).unread;

    while (unread != count && now_ms() < until_ms) {
        pause_ms(10);
        unread = lag(stage).unread;
    }
    expect_between("unread", unread, count, count);
}

static void lag_is_exact(struct stage *stage)
{
    struct error err;
    struct broker_lag found;

    stage_declare(stage);
    found = lag(stage);
    assert_int_equal(found.unread + found.in_flight + found.delayed, 0);
    assert_int_equal(found.oldest_age_ms, 0);
    publish_numbers(stage, 1, 5);
    expect_unread(stage, 5);
    expect_in_flight(stage, 0);

    struct broker_consumer *consumer = consume(stage);
    expect_done(consumer, "1", 1, CALL_MS);
    take_this(consumer, "2", 1, CALL_MS);
    for (int64_t until_ms = now_ms() + CALL_MS; now_ms() < until_ms; pause_ms(10)) {
        found = lag(stage); /* the ack of 1 may be on its way */
        if (found.unread + found.in_flight == 4)
            break;
    }
    assert_int_equal(found.unread + found.in_flight, 4);
    assert_true(found.in_flight >= 1);
    done(consumer, 1);
    for (size_t got = 0; got < 3;) {
        struct broker_batch batch = take(consumer, 3, CALL_MS);
        assert_true(batch.count > 0);
        got += batch.count;
        done(consumer, batch.count);
    }
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    found = lag(stage);
    assert_int_equal(found.unread, 0);
    assert_int_equal(found.in_flight, 0);
    assert_int_equal(found.delayed, 0);
    assert_int_equal(found.oldest_age_ms, 0);
    trim(stage, 0);
    found = lag(stage);
    assert_int_equal(found.unread + found.in_flight, 0);
    broker_close_consumer(consumer);
}

static void lag_counts_delayed(struct stage *stage)
{
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    settle_all(consumer, 1, (struct broker_verdict){.action = BROKER_RETRY, .delay_ms = 1500});
    pause_ms(200);
    assert_int_equal(lag(stage).unread, 0);
    expect_in_flight(stage, 1);
    /* A broker need not tell which are delayed; the model can. */
    expect_between("of these delayed", lag(stage).delayed, stage->real ? 0 : 1, 1);
    expect_done(consumer, "1", 2, 1500 + LATE_MS);
    broker_close_consumer(consumer);
}

static void lag_tells_age(struct stage *stage)
{
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    pause_ms(600);
    publish_numbers(stage, 2, 2);
    expect_between("age of the oldest unread", lag(stage).oldest_age_ms, 590, 1600);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    expect_between("age of the oldest in flight", lag(stage).oldest_age_ms, 590, 1600);
    done(consumer, 1);
    broker_close_consumer(consumer);
}

static void telemetry_drops_oldest(struct stage *stage)
{
    static char data[20000];
    char subject[80], id[16];
    struct broker_receipt receipt;

    stage->stream.max_bytes = 200000;
    stage->stream.telemetry = true;
    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    memset(data, 'x', sizeof(data));
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = id, .data = data, .size = sizeof(data)};
    for (int i = 0; i < 30; i++) {
        snprintf(id, sizeof(id), "%d", i);
        assert_true(try_publish(stage, &message, CALL_MS, &receipt));
    }
    expect_between("messages kept in 200 kB", (int64_t)stored(stage), 5, 10);
    expect_unread(stage, (int64_t)stored(stage));
    struct broker_consumer *consumer = consume(stage);
    struct broker_batch batch = take(consumer, 1, CALL_MS);
    assert_int_equal(batch.count, 1);
    assert_string_not_equal(batch.deliveries[0].id, "0");
    done(consumer, 1);
    broker_close_consumer(consumer);
}

struct peeked {
    char ids[8][8];
    size_t count;
};

static void note_peeked(void *context, const struct broker_delivery *delivery)
{
    struct peeked *peeked = context;

    if (peeked->count < ARRAY_LEN(peeked->ids))
        snprintf(peeked->ids[peeked->count], sizeof(peeked->ids[0]), "%s", delivery->id);
    peeked->count++;
}

static void peeks_from(struct stage *stage)
{
    struct broker_receipt third;
    struct peeked peeked = {.count = 0};
    struct error err;

    stage_declare(stage);
    publish_numbers(stage, 1, 2);
    publish(stage, "n", "3", "3", &third);
    publish_numbers(stage, 4, 6);
    assert_ok(broker_peek(stage->broker, stage->name, "", 2, note_peeked, &peeked, CALL_MS, &err));
    assert_int_equal(peeked.count, 2);
    assert_string_equal(peeked.ids[0], "1");
    assert_string_equal(peeked.ids[1], "2");
    peeked.count = 0;
    assert_ok(broker_peek(stage->broker, stage->name, third.sequence, 100, note_peeked, &peeked,
                          CALL_MS, &err));
    assert_int_equal(peeked.count, 4);
    assert_string_equal(peeked.ids[0], "3");
    assert_string_equal(peeked.ids[3], "6");
    assert_fails(
        broker_peek(stage->broker, "NO-SUCH-STREAM", "", 1, note_peeked, &peeked, CALL_MS, &err),
        ERROR_NOT_FOUND);
    assert_fails(broker_lag(stage->broker, stage->name, "no-such-group", CALL_MS,
                            &(struct broker_lag){0}, &err),
                 ERROR_NOT_FOUND);
}

static void keeps_dead_without_groups(struct stage *stage)
{
    char text[201];

    stage->stream.max_bytes = 4000;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    stage->group.name = "group";
    struct error err;
    assert_ok(broker_declare(stage->broker, &stage->stream, 1, NULL, 0, NULL, NULL, CALL_MS, &err));
    for (int i = 0; i < 10; i++)
        publish(stage, "a", NULL, text, NULL);
    size_t before = stored(stage);
    trim(stage, 3600000);
    assert_int_equal(stored(stage), before);
    trim(stage, 0);
    assert_int_equal(stored(stage), 0);
}

/* ---- declare and drain ---- */

struct report {
    enum broker_found stream, group;
    bool dead;
    char detail[256];
    const struct stage *stage;
};

static void note_report(void *context, const char *name, enum broker_found found,
                        const char *detail)
{
    struct report *report = context;

    if (strcmp(name, report->stage->name) == 0)
        report->stream = found;
    else if (strstr(name, report->stage->group.name))
        report->group = found;
    report->dead = report->dead || strcmp(name, "DEAD") == 0;
    if (found == BROKER_DRIFTED)
        snprintf(report->detail, sizeof(report->detail), "%s", detail);
}

static struct report declare_again(struct stage *stage)
{
    struct report report = {.stage = stage};
    struct error err;

    assert_ok(broker_declare(stage->broker, &stage->stream, 1, &stage->group, 1, note_report,
                             &report, CALL_MS, &err));
    return report;
}

static void declares(struct stage *stage)
{
    struct report report = declare_again(stage);

    assert_int_equal(report.stream, BROKER_CREATED);
    assert_int_equal(report.group, BROKER_CREATED);
    assert_true(report.dead);
    report = declare_again(stage);
    assert_int_equal(report.stream, BROKER_SAME);
    assert_int_equal(report.group, BROKER_SAME);
    assert_string_equal(report.detail, "");

    stage->stream.max_bytes *= 2;
    report = declare_again(stage);
    assert_int_equal(report.stream, BROKER_DRIFTED);
    assert_int_equal(report.group, BROKER_SAME);
    assert_non_null(strstr(report.detail, "max_bytes"));
    report = declare_again(stage);
    assert_int_equal(report.stream, BROKER_DRIFTED); /* it was left as it is */

    stage->group.ack_wait_ms *= 3;
    report = declare_again(stage);
    assert_int_equal(report.group, BROKER_DRIFTED);
    report = declare_again(stage);
    assert_int_equal(report.group, BROKER_DRIFTED);
}

static void drain_leaves_nothing(struct stage *stage)
{
    struct broker_batch batch;
    struct error err;
    struct broker *other = stage_broker(stage);

    stage->group.ack_wait_ms = 20000;
    stage_declare(stage);
    publish_numbers(stage, 1, 50);
    struct broker_consumer *consumer = consume(stage);
    batch = take(consumer, 10, CALL_MS);
    size_t settled = batch.count;
    done(consumer, batch.count);
    take(consumer, 10, CALL_MS); /* started, and given back */
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    assert_fails(broker_fetch(consumer, 1, SIZE_MAX, 100, &batch, &err), ERROR_CLOSED);
    assert_int_equal(lag(stage).unread + lag(stage).in_flight, 50 - settled);

    /* ack_wait is long: what comes at once was given back. */
    struct broker_consumer *next = consume_as(other, &stage->group);
    int64_t started_ms = now_ms();
    for (size_t got = 0; got < 50 - settled && now_ms() - started_ms < CALL_MS;) {
        batch = take(next, 50, 500);
        got += batch.count;
        done(next, batch.count);
    }
    assert_ok(broker_drain_consumer(next, CALL_MS, &err));
    expect_between("the rest took", now_ms() - started_ms, 0, CALL_MS);
    expect_all_settled(stage);
    broker_close_consumer(next);
    broker_close_consumer(consumer);
    broker_close(other);
}

#define MANY 1000

static void publish_many(struct stage *stage)
{
    static struct broker_message messages[MANY];
    static struct broker_receipt receipts[MANY];
    static char ids[MANY][8];
    char subject[80];
    struct error err;

    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    for (int i = 0; i < MANY; i++) {
        snprintf(ids[i], sizeof(ids[i]), "%d", i);
        messages[i] = (struct broker_message){
            .stream = stage->name, .subject = subject, .id = ids[i], .data = "x", .size = 1};
    }
    assert_ok(broker_publish(stage->broker, messages, MANY, CALL_MS, receipts, &err));
}

/* Acks every other one and lets the rest wait for an hour; how many there were. */
static size_t settle_some(struct broker_consumer *consumer, size_t max)
{
    static struct broker_verdict verdicts[MANY];
    struct broker_batch batch = take(consumer, max, CALL_MS);
    struct error err;

    assert_in_range(batch.count, 1, MANY);
    for (size_t i = 0; i < batch.count; i++)
        verdicts[i] = strtol(batch.deliveries[i].id, NULL, 10) % 2
                          ? (struct broker_verdict){.action = BROKER_DONE}
                          : (struct broker_verdict){.action = BROKER_RETRY, .delay_ms = 3600000};
    assert_ok(broker_settle(consumer, verdicts, batch.count, CALL_MS, &err));
    return batch.count;
}

static void drain_outlasts_settlements(struct stage *stage)
{
    struct error err;

    stage->group.max_in_flight = 2 * MANY;
    stage->group.ack_wait_ms = 30000;
    stage_declare(stage);
    publish_many(stage);
    struct broker_consumer *consumer = consume(stage);
    for (size_t got = 0; got < MANY;)
        got += settle_some(consumer, MANY - got);
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    expect_in_flight(stage, MANY / 2);
    assert_int_equal(lag(stage).unread, 0);
    broker_close_consumer(consumer);
}

static const struct conformance_case cases[] = {
    {"G14 a trim takes what every group has settled, never what is unread or pending",
     trims_settled_only, ANY_DRIVER},
    {"G15 lag is exact, and zero after drain and after trim", lag_is_exact, ANY_DRIVER},
    {"G15 lag counts what is delayed", lag_counts_delayed, ANY_DRIVER},
    {"G15 lag tells the age of the oldest", lag_tells_age, ONE_SERVER},
    {"G14 a telemetry stream drops its oldest", telemetry_drops_oldest, ANY_DRIVER},
    {"G8 peek starts where it is told; what is not there is NOT_FOUND", peeks_from, ONE_SERVER},
    {"G14 a stream without groups is trimmed by age alone", keeps_dead_without_groups, ONE_SERVER},
    {"declare creates, then finds the same; drift is reported and not overwritten", declares,
     ANY_DRIVER},
    {"G19 after drain every one of a thousand settlements is in effect", drain_outlasts_settlements,
     ANY_DRIVER},
    {"G19 after drain nothing is in flight and every ack has arrived", drain_leaves_nothing,
     ANY_DRIVER},
};

const struct conformance_list retention_cases = {cases, ARRAY_LEN(cases)};
