/* What is left when things are killed, paused, deleted and changed behind the driver's back. */
#include "conformance/child.h"
#include "conformance/false_clock.h"
#include "conformance/stage.h"

#include "base/document.h"

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

static void start_again(struct stage *stage)
{
    struct error err;

    assert_ok(server_start_again(stage->server, &err));
}

/* ---- a stream of work ---- */

#define MESSAGES 400

struct work {
    struct stage *stage;
    struct broker_consumer *consumer; /* used by the fetching thread alone */
    atomic_int published;
    atomic_bool stop, failed;
    int seen[MESSAGES + 1]; /* the fetching thread's until it is joined */
    atomic_int unique;
};

static void *publish_all(void *context)
{
    struct work *work = context;
    struct broker_receipt receipt;
    char subject[80], text[16];
    int64_t until_ms = now_ms() + 3LL * RESTART_MS;

    snprintf(subject, sizeof(subject), "%s.n", work->stage->name);
    struct broker_message message = {
        .stream = work->stage->name, .subject = subject, .id = text, .data = text};
    for (int i = 1; i <= MESSAGES && !work->failed; i++) {
        message.size = (size_t)snprintf(text, sizeof(text), "%d", i);
        while (!try_publish(work->stage, &message, 2000, &receipt))
            if (now_ms() > until_ms) {
                work->failed = true;
                return NULL;
            }
        work->published = i;
        pause_ms(1);
    }
    return NULL;
}

/* Errors are what it expects: it goes on until everything was seen. */
static void *fetch_all(void *context)
{
    struct work *work = context;
    struct broker_verdict verdicts[16] = {{.action = BROKER_DONE}};
    int64_t until_ms = now_ms() + 3LL * RESTART_MS;
    struct broker_batch batch;
    struct error err;

    while (!work->stop && work->unique < MESSAGES && now_ms() < until_ms) {
        if (!broker_fetch(work->consumer, ARRAY_LEN(verdicts), SIZE_MAX, 200, &batch, &err)) {
            pause_ms(10);
            continue;
        }
        for (size_t i = 0; i < batch.count; i++) {
            long number = strtol(batch.deliveries[i].id, NULL, 10);
            work->unique += work->seen[number]++ == 0;
        }
        if (!broker_settle(work->consumer, verdicts, batch.count, 1000, &err))
            pause_ms(10); /* they come again */
    }
    return NULL;
}

static void wait_until_published(const struct work *work, int number)
{
    int64_t until_ms = now_ms() + CALL_MS;

    while (work->published < number && !work->failed && now_ms() < until_ms)
        pause_ms(5);
    assert_true(work->published >= number);
}

static void killed_broker_loses_nothing(struct stage *stage)
{
    static struct work work;
    pthread_t publisher, fetcher;

    stage_declare(stage);
    work.stage = stage;
    work.consumer = consume(stage);
    pthread_create(&publisher, NULL, publish_all, &work);
    pthread_create(&fetcher, NULL, fetch_all, &work);
    wait_until_published(&work, MESSAGES / 4);
    server_kill(stage->server);
    pause_ms(300);
    start_again(stage);
    pthread_join(publisher, NULL);
    pthread_join(fetcher, NULL);
    assert_false(work.failed);
    for (int i = 1; i <= MESSAGES; i++)
        assert_true(work.seen[i] > 0);
    assert_int_equal(count_stored(stage, stage->name, stage->name), MESSAGES);
    broker_close_consumer(work.consumer);
}

static void drains_under_load(struct stage *stage)
{
    static struct work work;
    pthread_t publisher, fetcher;
    struct error err;

    stage->group.ack_wait_ms = 30000; /* nothing comes twice by itself */
    stage_declare(stage);
    work.stage = stage;
    work.consumer = consume(stage);
    pthread_create(&publisher, NULL, publish_all, &work);
    pthread_create(&fetcher, NULL, fetch_all, &work);
    wait_until_published(&work, MESSAGES / 4);
    work.stop = true;
    pthread_join(fetcher, NULL);
    assert_ok(broker_drain_consumer(work.consumer, CALL_MS, &err));
    assert_int_equal(lag(stage).in_flight, 0);
    broker_close_consumer(work.consumer);

    work.stop = false;
    work.consumer = consume(stage);
    fetch_all(&work);
    pthread_join(publisher, NULL);
    assert_false(work.failed);
    for (int i = 1; i <= MESSAGES; i++)
        assert_int_equal(work.seen[i], 1);
    assert_ok(broker_drain_consumer(work.consumer, CALL_MS, &err));
    assert_int_equal(lag(stage).unread + lag(stage).in_flight, 0);
    broker_close_consumer(work.consumer);
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

/* Fetches on whatever happens, until a message came or the time is over. */
static struct broker_batch fetch_through(struct broker_consumer *consumer, int64_t until_ms)
{
    struct broker_batch batch = {0};
    struct error err;

    while (batch.count == 0 && now_ms() < until_ms)
        if (!broker_fetch(consumer, 1, SIZE_MAX, 200, &batch, &err))
            pause_ms(20);
    return batch;
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
    struct error err;

    stage->group.ack_wait_ms = 30000;
    stage_declare(stage);
    publish_numbers(stage, 1, 2);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    server_pause(stage->server); /* what is written now is lost with the socket */
    done(consumer, 1);
    server_kill(stage->server);
    start_again(stage);
    expect_done(consumer, "2", 1, RESTART_MS);
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
    struct stopwatch paused = stopwatch_start(stage);
    server_pause(stage->server);
    do {
        pause_ms(50);
        broker_stats(stage->broker, &stats);
    } while (stats.connected && now_ms() - paused.started_ms < HALF_OPEN_MS + WAIT_MS);
    expect_took("found", stage, &paused, 0, HALF_OPEN_MS);
    server_resume(stage->server);
    publish_numbers(stage, 1, 1);
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

static void note_recreated(void *context, enum broker_incident incident, const char *detail)
{
    (void)detail;
    if (incident == BROKER_RECREATED)
        atomic_fetch_add((atomic_int *)context, 1);
}

static void deleted_consumer_is_recreated(struct stage *stage)
{
    static atomic_int recreated;
    struct broker_options options = {.observe = note_recreated, .context = &recreated};
    char subject[128];
    struct broker *broker;
    struct error err;
    AUTO(buffer_free) struct buffer reply = {0};

    stage_declare(stage);
    publish_numbers(stage, 1, 6);
    assert_ok(broker_open(&broker, stage->url, &options, &err));
    struct broker_consumer *consumer = consume_as(broker, &stage->group);
    expect_done(consumer, "1", 1, CALL_MS);
    expect_done(consumer, "2", 1, CALL_MS);
    expect_done(consumer, "3", 1, CALL_MS);
    pause_ms(200);
    snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.DELETE.%s.group", stage->name);
    assert_ok(server_request(stage->url, subject, "", &reply, &err));
    assert_non_null(strstr(reply.data, "\"success\":true"));

    int seen[7] = {0};
    for (int64_t until_ms = now_ms() + 25000;
         !(seen[4] && seen[5] && seen[6]) && now_ms() < until_ms;) {
        struct broker_batch batch = {0};
        if (!broker_fetch(consumer, 16, SIZE_MAX, 300, &batch, &err))
            pause_ms(20);
        for (size_t i = 0; i < batch.count; i++)
            seen[batch.deliveries[i].id[0] - '0']++;
        done(consumer, batch.count);
    }
    assert_true(seen[4] && seen[5] && seen[6]);
    assert_int_equal(seen[1] + seen[2] + seen[3], 0); /* not from the start either */
    publish_numbers(stage, 7, 7);
    expect_done(consumer, "7", 1, CALL_MS);
    broker_close_consumer(consumer);
    broker_close(broker);
    assert_true(recreated > 0);
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

static struct document *stream_info(struct stage *stage)
{
    AUTO(buffer_free) struct buffer reply = {0};
    struct document *info;
    char subject[96];
    struct error err;

    snprintf(subject, sizeof(subject), "$JS.API.STREAM.INFO.%s", stage->name);
    assert_ok(server_request(stage->url, subject, "", &reply, &err));
    assert_ok(document_parse(&info, reply.data, reply.size, &err));
    return info;
}

static void note_drift(void *context, const char *name, enum broker_found found, const char *detail)
{
    char *drift = context;

    (void)name;
    if (found == BROKER_DRIFTED)
        snprintf(drift, 128, "%s", detail);
}

static void keeps_what_others_set(struct stage *stage)
{
    AUTO(buffer_free) struct buffer config = {0}, reply = {0};
    char subject[96], drift[128] = "";
    struct error err;

    stage_declare(stage);
    AUTO(document_free) struct document *before = stream_info(stage);
    document_set_text(before, "config.description", "set by hand");
    document_set_int(before, "config.max_bytes", stage->stream.max_bytes / 2);
    document_print(before, "config", &config);
    snprintf(subject, sizeof(subject), "$JS.API.STREAM.UPDATE.%s", stage->name);
    assert_ok(server_request(stage->url, subject, config.data, &reply, &err));
    assert_null(strstr(reply.data, "\"error\""));

    assert_ok(broker_declare(stage->broker, &stage->stream, 1, &stage->group, 1, note_drift, drift,
                             CALL_MS, &err));
    assert_non_null(strstr(drift, "max_bytes"));
    AUTO(document_free) struct document *after = stream_info(stage);
    assert_string_equal(document_text(after, "config.description"), "set by hand");
    assert_int_equal(document_int(after, "config.max_bytes", 0), stage->stream.max_bytes / 2);
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
    {"every call returns within its time-out + 100 ms over a dead socket", returns_in_time,
     OWN_SERVER | ALONE},
    {"G18 a half-open socket is found within 15 s", finds_half_open, OWN_SERVER},
    {"G5 G7 SIGKILL of a consumer: what it held comes again in time", killed_consumer_loses_nothing,
     ONLY_REAL},
    {"G18 a deleted consumer is recreated at its recorded position, and told",
     deleted_consumer_is_recreated, ONLY_REAL},
    {"G20 a client's clock that is an hour behind changes nothing", client_is_late, ONLY_REAL},
    {"G20 a client's clock that is an hour ahead changes nothing", client_is_early, ONLY_REAL},
    {"declare keeps what others set, and reports drift without touching it", keeps_what_others_set,
     ONLY_REAL},
    {"G19 a drain under load: nothing in flight, nothing lost, nothing twice", drains_under_load,
     ANY_DRIVER},
};

const struct conformance_list fault_cases = {cases, ARRAY_LEN(cases)};
