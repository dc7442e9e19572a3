/* What is left when things are killed, paused, deleted and changed behind the driver's back. */
#include "conformance/child.h"
#include "conformance/false_clock.h"
#include "conformance/harm.h"
#include "conformance/load.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESTART_MS 10000 /* for a client to notice that the server is back */
#define HALF_OPEN_MS 15000
#define RECREATE_MS 25000 /* for a driver to notice that what it waits for is gone */

static void start_again(struct stage *stage)
{
    struct error err;

    assert_ok(server_start_again(stage->server, &err));
}

/* ---- under load ---- */

#define MESSAGES 400
#define DRAINS 20 /* at whatever moment each comes */

static void killed_broker_loses_nothing(struct stage *stage)
{
    static struct load load = {
        .count = MESSAGES, .publish_ms = 2000, .patience_ms = 3 * RESTART_MS};

    stage_declare(stage);
    load_start(&load, stage);
    load_await(&load, MESSAGES / 4, WAIT_MS);
    server_kill(stage->server);
    pause_ms(300);
    start_again(stage);
    load_finish(&load);
    assert_int_equal(count_stored(stage, stage->name, stage->name), MESSAGES);
    broker_close_consumer(load.consumer);
}

static void drain_and_go_on(struct load *load)
{
    struct error err;

    load_stop_fetching(load);
    assert_ok(broker_drain_consumer(load->consumer, CALL_MS, &err));
    broker_close_consumer(load->consumer);
    load_start_fetching(load);
}

/*
 * What a drain leaves behind would be seen too late, or never: nobody waits as long as a lease. The
 * count of what is in flight would say less, a NATS server's has in it what was given back, too,
 * until somebody asks for that.
 */
static void drains_under_load(struct stage *stage)
{
    static struct load load = {.count = MESSAGES, .publish_ms = CALL_MS};
    struct error err;

    stage->group.ack_wait_ms = 2LL * LOAD_SEEN_MS;
    stage_declare(stage);
    load_start(&load, stage);
    for (int round = 1; round <= DRAINS; round++) {
        load_await(&load, round * MESSAGES / (DRAINS + 1), WAIT_MS);
        drain_and_go_on(&load);
    }
    load_finish(&load);
    for (int i = 1; i <= MESSAGES; i++)
        assert_int_equal(load.seen[i], 1);
    assert_ok(broker_drain_consumer(load.consumer, CALL_MS, &err));
    expect_all_settled(stage);
    broker_close_consumer(load.consumer);
}

/* ---- the server goes and comes ---- */

static void ghost_is_stored_once(struct stage *stage)
{
    char subject[80];
    struct broker_receipt receipt;

    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = "ghost", .data = "x", .size = 1};
    server_pause(stage->server);
    struct stopwatch started = stopwatch_start(stage);
    assert_false(try_publish(stage, &message, 500, &receipt));
    expect_took("the publish", stage, &started, 400, 600);
    assert_int_equal(receipt.error.code, ERROR_UNKNOWN);
    server_resume(stage->server);
    assert_true(try_publish(stage, &message, RESTART_MS, &receipt));
    publish(stage, "a", "after", "x", NULL);
    assert_int_equal(count_stored(stage, stage->name, stage->name), 2);
}

static void dedup_outlives_server(struct stage *stage)
{
    struct broker_receipt first, again;

    stage_declare(stage);
    publish(stage, "a", "same", "x", &first);
    server_kill(stage->server);
    start_again(stage);
    publish(stage, "a", "same", "x", &again);
    assert_true(again.duplicate);
    assert_string_equal(again.sequence, first.sequence);
}

#define DELAY_MS 4000
#define FIRST_LOOK_MS 1500 /* a NATS server's, at what is due after its start */

static void delay_outlives_server(struct stage *stage)
{
    struct error err;

    stage->group.ack_wait_ms = DELAY_MS - 1000; /* shorter than the delay, longer than any pause */
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    struct stopwatch settled = stopwatch_start(stage);
    settle_all(consumer, 1, (struct broker_verdict){.action = BROKER_RETRY, .delay_ms = DELAY_MS});
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    broker_close_consumer(consumer);
    server_stop(stage->server);
    start_again(stage);
    int64_t back_ms = now_ms() - settled.started_ms + FIRST_LOOK_MS;

    struct broker *again = stage_broker(stage);
    consumer = consume_as(again, &stage->group);
    struct broker_batch batch = fetch_through(consumer, now_ms() + DELAY_MS + WAIT_MS);
    assert_int_equal(batch.count, 1);
    /* A server may keep its times on disk in whole seconds. */
    expect_took("came again", stage, &settled, DELAY_MS - 1000,
                (back_ms > DELAY_MS ? back_ms : DELAY_MS) + LATE_MS);
    assert_int_equal(batch.deliveries[0].attempt, 2);
    done(consumer, 1);
    broker_close_consumer(consumer);
    broker_close(again);
}

static void lost_acks_are_not_confirmed(struct stage *stage)
{
    struct broker_verdict ack = {.action = BROKER_DONE};
    struct broker_batch batch;
    struct error err;

    stage->group.ack_wait_ms = 30000;
    stage_declare(stage);
    publish_numbers(stage, 1, 2);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    server_pause(stage->server); /* what is written now is lost with the socket */
    bool settled = broker_settle(consumer, &ack, 1, 500, &err);
    server_kill(stage->server);
    start_again(stage);
    batch = fetch_through(consumer, now_ms() + RESTART_MS);
    assert_int_equal(batch.count, 1);
    assert_string_equal(batch.deliveries[0].id, "2");
    done(consumer, 1);
    /* A settle that waits for its answer has told already; one that does not has yet to. */
    if (settled)
        assert_fails(broker_drain_consumer(consumer, CALL_MS, &err), ERROR_UNKNOWN);
    assert_true(lag(stage).in_flight > 0);
    broker_close_consumer(consumer);
}

static void resumes_after_restart(struct stage *stage)
{
    struct broker_batch batch = {0};
    struct broker_stats stats;
    struct error err;

    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    expect_quiet(consumer, 100);
    server_stop(stage->server);
    bool fetched = broker_fetch(consumer, 1, SIZE_MAX, 300, &batch, &err);
    assert_true(!fetched || batch.count == 0);
    start_again(stage);
    publish_numbers(stage, 1, 1);
    batch = fetch_through(consumer, now_ms() + RESTART_MS);
    assert_int_equal(batch.count, 1);
    done(consumer, 1);
    broker_stats(stage->broker, &stats);
    assert_int_equal(stats.reconnects, 1);
    assert_true(stats.connected);
    broker_close_consumer(consumer);
}

#define OPEN_MS 1200 /* of broker_open, whether the server answers or not */

/* The kernel takes the connection, and nobody greets. */
static void opens_over_mute_server(struct stage *stage)
{
    struct broker *broker = stage->broker;

    stage_declare(stage);
    server_pause(stage->server);
    struct stopwatch started = stopwatch_start(stage);
    stage->broker = stage_broker(stage);
    expect_took("broker_open", stage, &started, 0, OPEN_MS);
    struct broker_consumer *consumer = consume(stage);
    started = stopwatch_start(stage);
    assert_int_equal(fetch_through(consumer, now_ms() + QUIET_MS).count, 0);
    expect_took("a fetch", stage, &started, 0, QUIET_MS + 200 + 100);
    server_resume(stage->server);
    started = stopwatch_start(stage);
    publish_numbers(stage, 1, 1);
    assert_int_equal(fetch_through(consumer, now_ms() + RESTART_MS).count, 1);
    expect_took("going on", stage, &started, 0, RESTART_MS);
    done(consumer, 1);
    broker_close_consumer(consumer);

    server_pause(stage->server);
    struct broker *third = stage_broker(stage);
    started = stopwatch_start(stage);
    broker_close(third); /* while it still tries */
    expect_took("broker_close", stage, &started, 0, CALL_MS);
    server_resume(stage->server);
    broker_close(stage->broker);
    stage->broker = broker;
}

#define TIMEOUT_MS 400

static void expect_bounded(const char *call, const struct stage *stage,
                           const struct stopwatch *started, bool succeeded)
{
    expect_took(call, stage, started, 0, TIMEOUT_MS + 100);
    if (succeeded)
        fail_msg("%s: succeeded without a server", call);
}

#define BOUNDED(call)                                                                              \
    ({                                                                                             \
        struct stopwatch at_ = stopwatch_start(stage);                                             \
        expect_bounded(#call, stage, &at_, call);                                                  \
    })

static void ignore_delivery(void *context, const struct broker_delivery *delivery)
{
    (void)context, (void)delivery;
}

static void returns_in_time(struct stage *stage)
{
    char subject[80];
    struct broker_batch batch = {0};
    struct broker_receipt receipt;
    struct broker_lag found;
    struct error err;

    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume(stage), *other = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = "x", .data = "x", .size = 1};
    struct broker_verdict reject = {.action = BROKER_REJECT, .reason = "bad"};

    server_pause(stage->server);
    BOUNDED(broker_ping(stage->broker, TIMEOUT_MS, &err));
    BOUNDED(try_publish(stage, &message, TIMEOUT_MS, &receipt));
    BOUNDED(broker_lag(stage->broker, stage->name, "group", TIMEOUT_MS, &found, &err));
    BOUNDED(
        broker_peek(stage->broker, stage->name, "", 1, ignore_delivery, NULL, TIMEOUT_MS, &err));
    BOUNDED(broker_trim(stage->broker, stage->name, 0, TIMEOUT_MS, &err));
    BOUNDED(
        broker_declare(stage->broker, &stage->stream, 1, NULL, 0, NULL, NULL, TIMEOUT_MS, &err));
    BOUNDED(broker_fetch(other, 1, SIZE_MAX, TIMEOUT_MS, &batch, &err) && batch.count > 0);
    BOUNDED(broker_settle(consumer, &reject, 1, TIMEOUT_MS, &err));
    BOUNDED(broker_drain_consumer(consumer, TIMEOUT_MS, &err));
    server_resume(stage->server);
    broker_close_consumer(other);
    broker_close_consumer(consumer);
}

static void finds_half_open(struct stage *stage)
{
    struct broker_stats stats;

    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    struct stopwatch paused = stopwatch_start(stage);
    server_pause(stage->server);
    do {
        fetch_through(consumer, now_ms() + 100); /* it waits, as a worker does */
        broker_stats(stage->broker, &stats);
    } while (stats.connected && now_ms() - paused.started_ms < HALF_OPEN_MS + WAIT_MS);
    expect_took("found", stage, &paused, 0, HALF_OPEN_MS);
    server_resume(stage->server);
    publish_numbers(stage, 1, 1);
    assert_int_equal(fetch_through(consumer, now_ms() + RESTART_MS).count, 1);
    done(consumer, 1);
    broker_close_consumer(consumer);
}

/* ---- consumers that die, or are deleted ---- */

static void killed_consumer_loses_nothing(struct stage *stage)
{
    size_t held, got = 0;
    bool seen[6] = {false};

    stage_declare(stage);
    publish_numbers(stage, 1, 5);
    struct stopwatch started = stopwatch_start(stage);
    pid_t child = child_start(stage, &held);
    int64_t killed_ms = now_ms() - started.started_ms; /* its leases are older */
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    struct broker_consumer *consumer = consume(stage);
    for (int64_t until_ms = now_ms() + WAIT_MS; got < 5 && now_ms() < until_ms;) {
        struct broker_batch batch = take(consumer, 16, 100);
        for (size_t i = 0; i < batch.count; i++) {
            size_t number = strtoul(batch.deliveries[i].id, NULL, 10);
            assert_in_range(number, 1, 5);
            assert_true(number > held || batch.deliveries[i].attempt > 1);
            got += !seen[number];
            seen[number] = true;
        }
        done(consumer, batch.count);
    }
    assert_int_equal(got, 5);
    expect_took("all of it came", stage, &started, ACK_WAIT_MS, killed_ms + ACK_WAIT_MS + LATE_MS);
    broker_close_consumer(consumer);
}

/* How often each kind of incident was told. */
struct incidents {
    atomic_int told[BROKER_LOST + 1];
};

static void note_incident(void *context, enum broker_incident incident, const char *detail)
{
    struct incidents *incidents = context;

    (void)detail;
    atomic_fetch_add(&incidents->told[incident], 1);
}

static struct broker *open_observed(const char *url, struct incidents *incidents)
{
    struct broker_options options = {.observe = note_incident, .context = incidents};
    struct broker *broker;
    struct error err;

    assert_ok(broker_open(&broker, url, &options, &err));
    return broker;
}

static void deleted_consumer_is_recreated(struct stage *stage)
{
    static struct incidents incidents;
    int seen[8] = {0};

    stage_declare(stage);
    publish_numbers(stage, 1, 6);
    struct broker *broker = open_observed(stage->url, &incidents);
    struct broker_consumer *consumer = consume_as(broker, &stage->group);
    expect_done(consumer, "1", 1, CALL_MS);
    expect_done(consumer, "2", 1, CALL_MS);
    expect_done(consumer, "3", 1, CALL_MS);
    pause_ms(200);
    harm_delete_group(stage);
    /* A member of a cluster may serve it a little longer than the others say. */
    for (int64_t until_ms = now_ms() + RECREATE_MS;
         !(seen[4] && seen[5] && seen[6] && incidents.told[BROKER_RECREATED]) &&
         now_ms() < until_ms;) {
        struct broker_batch batch = fetch_through(consumer, now_ms() + 500);
        if (batch.count)
            seen[batch.deliveries[0].id[0] - '0']++;
        done(consumer, batch.count);
    }
    assert_true(incidents.told[BROKER_RECREATED] > 0);
    assert_true(seen[4] && seen[5] && seen[6]);
    assert_int_equal(seen[1] + seen[2] + seen[3], 0); /* not from the start either */
    publish_numbers(stage, 7, 7);
    expect_done(consumer, "7", 1, CALL_MS);
    broker_close_consumer(consumer);
    broker_close(broker);
}

/* ---- what is gone, and what is forbidden ---- */

static enum error_code fetch_until_refused(struct broker_consumer *consumer, int64_t until_ms)
{
    struct broker_verdict ack = {.action = BROKER_DONE};
    struct broker_batch batch;
    struct error err, ignored;

    while (now_ms() < until_ms) {
        bool fetched = broker_fetch(consumer, 1, SIZE_MAX, 200, &batch, &err);
        if (!fetched && err.code != ERROR_UNAVAILABLE)
            return err.code;
        /* What was read ahead still comes. */
        if (fetched && !broker_settle(consumer, &ack, batch.count, 200, &ignored))
            pause_ms(10);
    }
    return ERROR_NONE;
}

static void deleted_stream_is_reported(struct stage *stage)
{
    struct broker_receipt receipt;
    char subject[80];

    stage_declare(stage);
    publish_numbers(stage, 1, 3);
    struct broker_consumer *consumer = consume(stage);
    expect_done(consumer, "1", 1, CALL_MS);
    harm_delete_stream(stage);
    snprintf(subject, sizeof(subject), "%s.n", stage->name);
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = "4", .data = "4", .size = 1};
    assert_false(try_publish(stage, &message, CALL_MS, &receipt));
    assert_int_equal(receipt.error.code, ERROR_NOT_FOUND);
    assert_int_equal(fetch_until_refused(consumer, now_ms() + RECREATE_MS), ERROR_NOT_FOUND);

    stage_declare(stage);
    publish_numbers(stage, 4, 5);
    struct broker_batch batch = fetch_through(consumer, now_ms() + RECREATE_MS);
    assert_int_equal(batch.count, 1);
    assert_string_equal(batch.deliveries[0].id, "4");
    assert_int_equal(batch.deliveries[0].attempt, 1);
    done(consumer, 1);
    expect_done(consumer, "5", 1, CALL_MS);
    broker_close_consumer(consumer);
}

static void lost_bytes_are_told(struct stage *stage)
{
    static struct incidents incidents;
    struct broker_receipt receipt;

    stage_declare(stage);
    publish(stage, "n", "1", "1", &receipt);
    struct broker *broker = open_observed(stage->url, &incidents);
    struct broker_consumer *consumer = consume_as(broker, &stage->group);
    take_this(consumer, "1", 1, CALL_MS);
    harm_delete_message(stage, receipt.sequence);
    broker_close_consumer(consumer); /* without a word: the message would come again */
    publish_numbers(stage, 2, 2);
    consumer = consume_as(broker, &stage->group);
    expect_done(consumer, "2", 1, CALL_MS);
    for (int64_t until_ms = now_ms() + WAIT_MS;
         !incidents.told[BROKER_LOST] && now_ms() < until_ms;)
        expect_quiet(consumer, 100);
    assert_int_equal(incidents.told[BROKER_LOST], 1);
    expect_quiet(consumer, ACK_WAIT_MS + QUIET_MS);
    assert_int_equal(incidents.told[BROKER_LOST], 1);
    expect_all_settled(stage);
    broker_close_consumer(consumer);
    broker_close(broker);
}

/* Whoever may not publish is told each time he tries; whoever watches, once. */
static void denied_is_told_once(struct stage *stage)
{
    static struct incidents incidents;
    char limited_url[64], subject[80], id[16];
    struct broker_receipt receipt;
    struct error err;

    struct server *server = harm_start_guarded(stage, limited_url, sizeof(limited_url));
    struct broker *owner;
    assert_ok(broker_open(&owner, server_url(server), NULL, &err));
    assert_ok(broker_declare(owner, &stage->stream, 1, NULL, 0, NULL, NULL, WAIT_MS, &err));
    struct broker *limited = open_observed(limited_url, &incidents);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    struct broker_message message = {
        .stream = stage->name, .subject = subject, .id = id, .data = "x", .size = 1};
    for (int i = 0; i < 3; i++) {
        snprintf(id, sizeof(id), "%d", i);
        if (broker_publish(limited, &message, 1, CALL_MS, &receipt, &err) ||
            err.code != ERROR_DENIED)
            fail_msg("publish %d: %s", i, receipt.error.message);
    }
    assert_int_equal(incidents.told[BROKER_REFUSED], 1);
    assert_ok(broker_publish(owner, &message, 1, CALL_MS, &receipt, &err));
    assert_false(receipt.duplicate); /* none of them was stored */
    broker_close(limited);
    broker_close(owner);
    server_close(server);
}

/* ---- a hundred clients ---- */

#define CLIENTS 100
#define PICK_TENTH (CLIENTS / 10)
#define APART_MS 250 /* without jitter it is less than 150, and with 0.5 s of it more than 400 */

struct client {
    struct stage *stage;
    struct broker *broker;
    pthread_t thread;
    atomic_bool lost;
    _Atomic int64_t back_ms; /* 0: not yet */
};

static void note_connection(void *context, enum broker_incident incident, const char *detail)
{
    struct client *client = context;

    (void)detail;
    if (incident == BROKER_DISCONNECTED)
        client->lost = true;
    else if (incident == BROKER_RECONNECTED && client->lost && client->back_ms == 0)
        client->back_ms = now_ms();
}

/* A worker without work: it only waits. */
static void *wait_for_work(void *context)
{
    struct client *client = context;
    struct broker_consumer *consumer;
    struct error err;
    int64_t until_ms = now_ms() + 6LL * RESTART_MS;

    if (!broker_open_consumer(&consumer, client->broker, &client->stage->group, &err))
        return NULL;
    while (client->back_ms == 0 && now_ms() < until_ms)
        fetch_through(consumer, now_ms() + 500);
    broker_close_consumer(consumer);
    return NULL;
}

static void start_client(struct client *client, struct stage *stage)
{
    struct broker_options options = {.observe = note_connection, .context = client};
    struct error err;

    client->stage = stage;
    assert_ok(broker_open(&client->broker, stage->url, &options, &err));
    pthread_create(&client->thread, NULL, wait_for_work, client);
}

static void start_clients(struct client *clients, struct stage *stage)
{
    for (size_t i = 0; i < CLIENTS; i++)
        start_client(&clients[i], stage);
    pause_ms(1000); /* they all wait */
}

static int compare_times(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

/* They lost the connection at the same instant; they must not come back at one. */
static void clients_return_apart(struct stage *stage)
{
    static struct client clients[CLIENTS];
    int64_t times[CLIENTS];

    stage_declare(stage);
    start_clients(clients, stage);
    server_kill(stage->server);
    pause_ms(1000);
    start_again(stage);
    struct stopwatch started = stopwatch_start(stage);
    for (size_t i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        times[i] = clients[i].back_ms;
        assert_true(times[i] > 0);
    }
    expect_took("all are back", stage, &started, 0, RESTART_MS);
    qsort(times, CLIENTS, sizeof(times[0]), compare_times);
    expect_between("ms from the tenth that is back to the ninetieth",
                   times[CLIENTS - 1 - PICK_TENTH] - times[PICK_TENTH], APART_MS, RESTART_MS);
    for (size_t i = 0; i < CLIENTS; i++)
        broker_close(clients[i].broker);
}

/* ---- a client that has the wrong time ---- */

/* Everything that has to do with time, in one life of two messages. */
static void live_by_false_clock(struct stage *stage, int64_t seconds)
{
    struct broker_receipt first, again;

    false_clock_set(seconds);
    struct broker *broker = stage->broker, *wrong = stage_broker(stage);
    stage->broker = wrong;
    stage_declare(stage);
    publish(stage, "n", "1", "1", &first);
    publish(stage, "n", "1", "1", &again);
    assert_true(again.duplicate);
    assert_string_equal(again.sequence, first.sequence);

    struct broker_consumer *consumer = consume(stage);
    struct stopwatch leased = stopwatch_start(stage);
    struct broker_delivery delivery = take_this(consumer, "1", 1, CALL_MS);
    expect_between("behind the broker's clock",
                   delivery.stored_ms + seconds * 1000 - clock_wall_ms(clock_system()), -CALL_MS,
                   CALL_MS);
    broker_close_consumer(consumer);
    consumer = consume(stage);
    take_this(consumer, "1", 2, WAIT_MS);
    expect_took("redelivered", stage, &leased, ACK_WAIT_MS - 100, ACK_WAIT_MS + LATE_MS);
    struct stopwatch settled = stopwatch_start(stage);
    settle_all(consumer, 1, (struct broker_verdict){.action = BROKER_RETRY, .delay_ms = 500});
    take_this(consumer, "1", 3, WAIT_MS);
    expect_took("came again", stage, &settled, 500, 500 + LATE_MS);
    done(consumer, 1);
    struct stopwatch empty = stopwatch_start(stage);
    expect_quiet(consumer, QUIET_MS);
    expect_took("an empty fetch", stage, &empty, QUIET_MS - 5, QUIET_MS + 100);
    broker_close_consumer(consumer);
    broker_close(wrong);
    stage->broker = broker;
}

static void client_is_late(struct stage *stage)
{
    live_by_false_clock(stage, -3600);
}

static void client_is_early(struct stage *stage)
{
    live_by_false_clock(stage, 3600);
}

/* ---- topology that others changed ---- */

static void note_drift(void *context, const char *name, enum broker_found found, const char *detail)
{
    char *drift = context;

    (void)name;
    if (found == BROKER_DRIFTED)
        snprintf(drift, 128, "%s", detail);
}

static void keeps_what_others_set(struct stage *stage)
{
    char drift[128] = "";
    struct error err;

    stage_declare(stage);
    harm_change_stream(stage, stage->stream.max_bytes / 2);
    assert_ok(broker_declare(stage->broker, &stage->stream, 1, &stage->group, 1, note_drift, drift,
                             WAIT_MS, &err));
    assert_non_null(strstr(drift, "max_bytes"));
    assert_true(harm_is_kept(stage, stage->stream.max_bytes / 2));
}

static const struct conformance_case cases[] = {
    {"G1 G2 G18 kill -9 of the broker in the middle loses nothing and stores nothing twice",
     killed_broker_loses_nothing, OWN_SERVER},
    {"G2 a ghost publish is UNKNOWN, and its retry is stored once", ghost_is_stored_once,
     OWN_SERVER},
    {"G3 dedup outlives a kill -9 of the broker", dedup_outlives_server, OWN_SERVER},
    {"G7 G20 a delay outlives a restart of the broker", delay_outlives_server, OWN_SERVER},
    {"G19 a drain does not confirm acks that were lost with a connection",
     lost_acks_are_not_confirmed, OWN_SERVER},
    {"G18 after a restart of the broker fetch and publish go on by themselves",
     resumes_after_restart, OWN_SERVER},
    {"G18 a broker opened over a mute server is there at once, and connects by itself",
     opens_over_mute_server, OWN_SERVER},
    {"every call returns within its time-out + 100 ms over a dead socket", returns_in_time,
     OWN_SERVER | ALONE},
    {"G18 a half-open socket is found within 15 s", finds_half_open, OWN_SERVER | LONG},
    {"G5 G7 SIGKILL of a consumer: what it held comes again in time", killed_consumer_loses_nothing,
     ONLY_REAL},
    {"G18 a deleted consumer is recreated at its recorded position, and told",
     deleted_consumer_is_recreated, ONLY_REAL},
    {"G18 a stream that is deleted is reported, and served again once it is declared",
     deleted_stream_is_reported, ONLY_REAL},
    {"a message whose bytes are gone is told, once, and is no work any more", lost_bytes_are_told,
     ONLY_REAL | LOSS_TOLD},
    {"what is denied is refused each time and reported once", denied_is_told_once,
     ONLY_REAL | ONE_SERVER},
    {"G18 a hundred clients reconnect with jitter", clients_return_apart, OWN_SERVER | ALONE},
    {"G20 a client's clock that is an hour behind changes nothing", client_is_late,
     ONLY_REAL | ONE_SERVER},
    {"G20 a client's clock that is an hour ahead changes nothing", client_is_early,
     ONLY_REAL | ONE_SERVER},
    {"declare keeps what others set, and reports drift without touching it", keeps_what_others_set,
     ONLY_REAL},
    {"G19 a drain under load: nothing in flight, nothing lost, nothing twice", drains_under_load,
     ANY_DRIVER},
};

const struct conformance_list fault_cases = {cases, ARRAY_LEN(cases)};
