/* A stream with three replicas, and what happens to its members. */
#include "conformance/load.h"

#include "base/document.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ELECTION_MS 30000 /* for members to agree on something; a vote can be split */
#define AGAIN_MS 10000    /* publishing goes on after a leader is lost */
#define AFTER_MS 2000     /* ... or so long after there is a leader, when the vote took longer */
#define PUBLISH_MS 30000  /* of one publish: nobody has to publish twice */

static struct server *member(struct stage *stage, size_t i)
{
    return cluster_member(stage->cluster, i);
}

static void start_again(struct stage *stage, size_t i)
{
    struct error err;

    assert_ok(server_start_again(member(stage, i), &err));
}

/* The member that leads the stream, or a consumer of it. */
static size_t await_leader(struct stage *stage, const char *consumer)
{
    int64_t until_ms = now_ms() + ELECTION_MS;
    size_t leader = 0;
    struct error err;

    while (!cluster_leader(stage->cluster, stage->name, consumer, &leader, &err)) {
        if (now_ms() > until_ms)
            fail_msg("no leader in %d ms: %s", ELECTION_MS, err.message);
        pause_ms(20);
    }
    return leader;
}

static void await_whole(struct stage *stage)
{
    int64_t until_ms = now_ms() + ELECTION_MS;

    while (!cluster_is_whole(stage->cluster, stage->name)) {
        if (now_ms() > until_ms)
            fail_msg("the members do not agree after %d ms", ELECTION_MS);
        pause_ms(50);
    }
}

static size_t kill_leader(struct stage *stage, const char *consumer)
{
    await_whole(stage);
    size_t leader = await_leader(stage, consumer);
    server_kill(member(stage, leader));
    return leader;
}

static void close_load(struct stage *stage, struct load *load)
{
    await_whole(stage);
    assert_int_equal(count_stored(stage, stage->name, stage->name), load->published);
    broker_close_consumer(load->consumer);
}

/* ---- under load ---- */

static void killed_leader_loses_nothing(struct stage *stage)
{
    static struct load load = {.count = LOAD_MAX, .publish_ms = PUBLISH_MS};

    stage_declare(stage);
    load_start(&load, stage);
    load_await(&load, 200, WAIT_MS);
    struct stopwatch killed = stopwatch_start(stage);
    size_t leader = kill_leader(stage, NULL);
    killed.started_ms = now_ms();
    int before = load.published; /* the answer to the next one may be on its way */
    await_leader(stage, NULL);
    int64_t led_ms = now_ms() - killed.started_ms;
    load_await(&load, before + 2, PUBLISH_MS);
    expect_took("publishing went on", stage, &killed, 0,
                led_ms + AFTER_MS > AGAIN_MS ? led_ms + AFTER_MS : AGAIN_MS);
    load_await(&load, load.published + 200, WAIT_MS);
    start_again(stage, leader);
    load_finish(&load);
    close_load(stage, &load);
}

static void members_killed_in_turn_lose_nothing(struct stage *stage)
{
    static struct load load = {.count = LOAD_MAX, .publish_ms = PUBLISH_MS};

    stage_declare(stage);
    load_start(&load, stage);
    for (size_t i = 0; i < CLUSTER_SIZE; i++) {
        await_whole(stage);
        load_await(&load, load.published + 100, ELECTION_MS);
        server_kill(member(stage, i));
        load_await(&load, load.published + 100, ELECTION_MS);
        start_again(stage, i);
    }
    await_whole(stage);
    load_await(&load, load.published + 100, ELECTION_MS);
    load_finish(&load);
    close_load(stage, &load);
}

static void step_down(struct stage *stage)
{
    struct error err;

    assert_ok(cluster_step_down(stage->cluster, stage->name, &err));
}

static void step_down_is_not_noticed(struct stage *stage)
{
    static struct load load = {.count = LOAD_MAX, .publish_ms = PUBLISH_MS};

    stage_declare(stage);
    load_start(&load, stage);
    for (int i = 0; i < 3; i++) {
        await_whole(stage);
        load_await(&load, load.published + 100, ELECTION_MS);
        step_down(stage);
    }
    load_await(&load, load.published + 100, ELECTION_MS);
    load_finish(&load);
    close_load(stage, &load);
}

/* ---- two of three are away ---- */

#define TIMEOUT_MS 2000

static void expect_in_doubt(struct stage *stage, enum error_code code, const char *what,
                            const struct stopwatch *started)
{
    expect_took(what, stage, started, 0, TIMEOUT_MS + 100);
    if (code != ERROR_UNAVAILABLE && code != ERROR_UNKNOWN)
        fail_msg("%s: %s", what, error_code_name(code));
}

/* A leader takes seconds to notice that nobody follows; then it must not pass for ready. */
static void await_unready(struct stage *stage)
{
    int64_t until_ms = now_ms() + ELECTION_MS;
    struct error err;
    bool ready = true;

    while (ready && now_ms() < until_ms) {
        struct stopwatch started = stopwatch_start(stage);
        ready = broker_ping(stage->broker, TIMEOUT_MS, &err);
        expect_took("a ping", stage, &started, 0, TIMEOUT_MS + 100);
        pause_ms(ready ? 100 : 0);
    }
    assert_false(ready);
}

static void minority_is_unavailable(struct stage *stage)
{
    char subject[80];
    struct broker_receipt receipt;
    struct broker_batch batch = {0};
    struct error err;

    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume(stage);
    expect_done(consumer, "1", 1, CALL_MS);
    await_whole(stage);
    for (size_t i = 0; i < CLUSTER_SIZE - 1; i++)
        server_kill(member(stage, i));

    snprintf(subject, sizeof(subject), "%s.n", stage->name);
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = "2", .data = "2", .size = 1};
    for (int i = 0; i < 3; i++) {
        struct stopwatch started = stopwatch_start(stage);
        assert_false(try_publish(stage, &message, TIMEOUT_MS, &receipt));
        expect_in_doubt(stage, receipt.error.code, "a publish", &started);
        started = stopwatch_start(stage);
        bool fetched = broker_fetch(consumer, 1, SIZE_MAX, TIMEOUT_MS, &batch, &err);
        expect_took("a fetch", stage, &started, 0, TIMEOUT_MS + 100);
        assert_true(!fetched || batch.count == 0);
    }
    await_unready(stage);
    for (size_t i = 0; i < CLUSTER_SIZE - 1; i++)
        start_again(stage, i);
    await_whole(stage);
    assert_true(try_publish(stage, &message, PUBLISH_MS, &receipt));
    /* The ack of the first may have gone with its member. */
    for (const char *id = "1"; strcmp(id, "2") != 0;) {
        batch = fetch_through(consumer, now_ms() + ELECTION_MS);
        assert_int_equal(batch.count, 1);
        id = batch.deliveries[0].id[0] == '1' ? "1" : "2";
        assert_string_equal(batch.deliveries[0].id, id);
        done(consumer, 1);
    }
    assert_int_equal(count_stored(stage, stage->name, stage->name), 2);
    broker_close_consumer(consumer);
}

/* ---- what a new leader has to know ---- */

static void dedup_outlives_leader(struct stage *stage)
{
    char subject[80];
    struct broker_receipt first, again;

    stage_declare(stage);
    publish(stage, "a", "same", "x", &first);
    publish(stage, "a", "other", "x", NULL);
    kill_leader(stage, NULL);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = "same", .data = "x", .size = 1};
    assert_true(try_publish(stage, &message, PUBLISH_MS, &again));
    assert_true(again.duplicate);
    assert_string_equal(again.sequence, first.sequence);
}

#define DELAY_MS 12000     /* longer than most elections */
#define FIRST_LOOK_MS 1500 /* a new leader's, at what is due */

static void delay_outlives_leader(struct stage *stage)
{
    struct error err;

    stage->group.ack_wait_ms = DELAY_MS - 1000; /* shorter than the delay, longer than any pause */
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    await_whole(stage);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    struct stopwatch settled = stopwatch_start(stage);
    settle_all(consumer, 1, (struct broker_verdict){.action = BROKER_RETRY, .delay_ms = DELAY_MS});
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    broker_close_consumer(consumer);
    kill_leader(stage, stage->group.name);
    await_leader(stage, stage->group.name);
    int64_t led_ms = now_ms() - settled.started_ms + FIRST_LOOK_MS;

    consumer = consume(stage);
    struct broker_batch batch = fetch_through(consumer, now_ms() + DELAY_MS + ELECTION_MS);
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.deliveries[0].attempt, 2);
    /* A server may keep its times on disk in whole seconds. */
    expect_took("came again", stage, &settled, DELAY_MS - 1000,
                (led_ms > DELAY_MS ? led_ms : DELAY_MS) + LATE_MS);
    done(consumer, 1);
    broker_close_consumer(consumer);
}

/* ---- what is on its way ---- */

#define HANDOVERS 6
#define MUTE_MS 200 /* for a drain to begin while its server is mute */

/* A number in what the consumer's leader says of it; -1: it says nothing. */
static int64_t number_of(const struct server *leader, const struct stage *stage, const char *path)
{
    AUTO(buffer_free) struct buffer reply = {0};
    AUTO(document_free) struct document *info = NULL;
    char subject[120];
    struct error err;

    snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.INFO.%s.%s", stage->name,
             stage->group.name);
    if (!server_request_within(server_url(leader), subject, "", CALL_MS, &reply, &err) ||
        !document_parse(&info, reply.data, reply.size, &err))
        return -1;
    return document_int(info, path, -1);
}

/* A fetch that is woken returns; what it asked the leader for stays open. */
static void leave_request_open(struct stage *stage, const struct server *leader,
                               struct broker_consumer *consumer)
{
    int64_t until_ms = now_ms() + WAIT_MS;

    while (number_of(leader, stage, "num_waiting") != 1 && now_ms() < until_ms) {
        broker_wake(consumer);
        assert_int_equal(take(consumer, 1, CALL_MS).count, 0);
    }
    assert_true(now_ms() < until_ms);
}

static void await_sent(struct stage *stage, const struct server *leader)
{
    int64_t until_ms = now_ms() + WAIT_MS;

    while (number_of(leader, stage, "num_ack_pending") != 1 && now_ms() < until_ms)
        pause_ms(1);
    assert_true(now_ms() < until_ms);
}

static void publish_from(struct stage *stage, struct broker *publisher, int number)
{
    char subject[80], text[16];
    struct broker_receipt receipt;
    struct error err;

    snprintf(subject, sizeof(subject), "%s.n", stage->name);
    struct broker_message message = {.stream = stage->name,
                                     .subject = subject,
                                     .id = text,
                                     .data = text,
                                     .size = (size_t)snprintf(text, sizeof(text), "%d", number)};
    assert_ok(broker_publish(publisher, &message, 1, CALL_MS, &receipt, &err));
}

static void *resume_soon(void *context)
{
    pause_ms(MUTE_MS);
    server_resume(context);
    return NULL;
}

/* The message is sent to the consumer's member, which is mute, and then the consumer drains. */
static void drain_what_is_on_its_way(struct stage *stage, struct broker *publisher,
                                     struct server *leader, struct server *own, int number)
{
    struct broker *broker;
    pthread_t resumer;
    struct error err;

    assert_ok(broker_open(&broker, server_url(own), NULL, &err));
    struct broker_consumer *consumer = consume_as(broker, &stage->group);
    leave_request_open(stage, leader, consumer);
    server_pause(own);
    publish_from(stage, publisher, number);
    await_sent(stage, leader);
    pthread_create(&resumer, NULL, resume_soon, own);
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    pthread_join(resumer, NULL);
    broker_close_consumer(consumer);
    broker_close(broker);
}

/* Another instance has it at once, and not when a lease ends. */
static void expect_given_back(struct stage *stage, struct broker *broker, int number)
{
    char text[16];
    struct error err;

    struct broker_consumer *next = consume_as(broker, &stage->group);
    snprintf(text, sizeof(text), "%d", number);
    expect_done(next, text, 2, CALL_MS);
    assert_ok(broker_drain_consumer(next, CALL_MS, &err));
    broker_close_consumer(next);
}

static void drains_what_is_on_its_way(struct stage *stage)
{
    struct broker *publisher;
    struct error err;

    stage->group.ack_wait_ms = 120000;
    stage_declare(stage);
    await_whole(stage);
    size_t leader = await_leader(stage, stage->group.name);
    size_t first = await_leader(stage, NULL), own = 0;
    while (own == leader || own == first)
        own++;
    assert_ok(broker_open(&publisher, server_url(member(stage, first)), NULL, &err));
    for (int i = 1; i <= HANDOVERS; i++) {
        drain_what_is_on_its_way(stage, publisher, member(stage, leader), member(stage, own), i);
        expect_given_back(stage, publisher, i);
    }
    broker_close(publisher);
}

static const struct conformance_case cases[] = {
    {"G1 G2 kill -9 of a stream's leader in the middle: nothing is lost or stored twice, "
     "publishing goes on within 10 s",
     killed_leader_loses_nothing, OWN_CLUSTER},
    {"G1 G2 members killed in turn and started again under load lose nothing",
     members_killed_in_turn_lose_nothing, OWN_CLUSTER},
    {"G1 G2 a leader that steps down under load fails no publish and loses nothing",
     step_down_is_not_noticed, OWN_CLUSTER},
    {"G2 with two of three members away calls end in time and in doubt; then all goes on",
     minority_is_unavailable, OWN_CLUSTER},
    {"G3 dedup outlives a kill -9 of the stream's leader", dedup_outlives_leader, OWN_CLUSTER},
    {"G7 a delay outlives a kill -9 of the consumer's leader", delay_outlives_leader, OWN_CLUSTER},
    {"G19 a drain gives back what another member had on its way", drains_what_is_on_its_way,
     OWN_CLUSTER},
};

const struct conformance_list cluster_cases = {cases, ARRAY_LEN(cases)};
