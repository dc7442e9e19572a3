/* What a Redis broker says of its server, and what becomes of publishes when that one is difficult.
 */
#include "support/test.h"

#include "base/memory.h"
#include "broker/broker.h"
#include "support/redis_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MS 5000
#define SHORT_MS 300

struct world {
    struct server *server;
    struct broker *broker;
    struct broker_stream stream;
    atomic_int disconnected, reconnected, refused;
    int published;
};

static void observe(void *context, enum broker_incident incident, const char *detail)
{
    struct world *world = context;

    assert_true(*detail);
    world->disconnected += incident == BROKER_DISCONNECTED;
    world->reconnected += incident == BROKER_RECONNECTED;
    world->refused += incident == BROKER_REFUSED;
}

static struct broker *open_as(struct world *world, const char *login)
{
    struct broker_options options = {.observe = observe, .context = world};
    struct broker *broker;
    char url[96];
    struct error err;

    snprintf(url, sizeof(url), "redis://%s127.0.0.1:%d", login, server_port(world->server));
    assert_ok(broker_open(&broker, url, &options, &err));
    return broker;
}

static int start_world(void **state)
{
    struct world *world = memory_alloc(sizeof(*world));
    struct error err;

    world->stream = redis_fixture_stream("s.*.x.>", 1000000);
    assert_ok(server_start_redis(&world->server, &err));
    world->broker = open_as(world, "");
    *state = world;
    return 0;
}

static int end_world(void **state)
{
    struct world *world = *state;

    redis_fixture_close(NULL, world->broker, world->server);
    free(world);
    return 0;
}

static void command(struct world *world, const char *text)
{
    redis_fixture_expect(world->server, text, "");
}

static void declare(struct world *world)
{
    struct error err;

    assert_ok(broker_declare(world->broker, &world->stream, 1, NULL, 0, NULL, NULL, CALL_MS, &err));
}

static enum error_code publish(struct world *world, struct broker *broker, const char *subject,
                               int timeout_ms)
{
    struct broker_receipt receipt;
    struct error err;
    char id[16];

    snprintf(id, sizeof(id), "%d", ++world->published);
    struct broker_message message = {
        .stream = "S", .subject = subject, .id = id, .data = "data", .size = 4};
    if (broker_publish(broker, &message, 1, timeout_ms, &receipt, &err))
        return ERROR_NONE;
    assert_null(strstr(err.message, "hushhush"));
    return err.code;
}

/* ---- ping ---- */

struct sick {
    const char *name, *commands[3];
    enum error_code code;
    const char *word; /* in the message */
};

static const struct sick sicknesses[] = {
    {"a server that may throw streams away",
     {"CONFIG SET maxmemory-policy allkeys-lru"},
     ERROR_INVALID,
     "allkeys-lru"},
    {"one without room", {"CONFIG SET maxmemory 1"}, ERROR_FULL, "OOM"},
    {"one with too few replicas",
     {"CONFIG SET min-replicas-to-write 1"},
     ERROR_UNAVAILABLE,
     "NOREPLICAS"},
    {"a replica", {"REPLICAOF 127.0.0.1 1"}, ERROR_UNAVAILABLE, "READONLY"},
    {"one that lets us read only", {"ACL SETUSER default -set"}, ERROR_DENIED, "NOPERM"},
};

static void expect_ping(struct world *world, const struct sick *row)
{
    struct error err;

    assert_fails(broker_ping(world->broker, SHORT_MS, &err), row->code);
    if (!strstr(err.message, row->word))
        fail_msg("'%s' does not say %s", err.message, row->word);
}

static void check_sick(void **state)
{
    const struct sick *row = *state;
    struct world *world;
    struct error err;

    start_world((void **)&world);
    assert_ok(broker_ping(world->broker, CALL_MS, &err));
    for (size_t i = 0; i < ARRAY_LEN(row->commands) && row->commands[i]; i++)
        command(world, row->commands[i]);
    expect_ping(world, row);
    expect_ping(world, row);
    assert_int_equal(world->refused, row->code == ERROR_DENIED); /* told once */
    end_world((void **)&world);
}

/* ---- publish ---- */

struct subject {
    const char *name, *text;
    enum error_code code;
};

static const struct subject subjects[] = {
    {"for the stream", "s.1.x.y", ERROR_NONE},
    {"and deeper", "s.1.x.y.z", ERROR_NONE},
    {"with the pattern's magic bytes", "s.(%a+).x.[^.]-$", ERROR_NONE},
    {"a token too few", "s.1.x", ERROR_INVALID},
    {"two tokens for one", "s.1.2.x.y", ERROR_INVALID},
    {"another token", "s.1.y.y", ERROR_INVALID},
    {"a byte too many in front", "ss.1.x.y", ERROR_INVALID},
    {"a dot is a dot", "sa1.x.y", ERROR_INVALID},
};

static void only_its_subjects_are_for_a_stream(void **state)
{
    struct world *world = *state;

    declare(world);
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++)
        if (publish(world, world->broker, subjects[i].text, CALL_MS) != subjects[i].code)
            fail_msg("%s: '%s'", subjects[i].name, subjects[i].text);
}

static void a_stream_that_is_not_there_is_not_found(void **state)
{
    struct world *world = *state;

    assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_NOT_FOUND);
    declare(world);
    assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_NONE);
}

static void a_forgotten_script_is_no_failure(void **state)
{
    struct world *world = *state;

    declare(world);
    for (int i = 0; i < 3; i++) {
        command(world, "SCRIPT FLUSH");
        assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_NONE);
    }
    assert_int_equal(world->disconnected, 0);
}

static void no_memory_is_full_and_stores_nothing(void **state)
{
    struct world *world = *state;

    declare(world);
    assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_NONE);
    command(world, "CONFIG SET maxmemory 1");
    assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_FULL);
    command(world, "CONFIG SET maxmemory 0");
    assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_NONE);
    command(world, "EVAL \"assert(redis.call('XLEN', KEYS[1]) == 2)\" 1 {millrace:S}");
}

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t come;
    enum error_code code; /* guarded by lock, with everything below it */
    int count;
};

static void note_answer(void *context, const struct broker_receipt *receipt)
{
    struct answer *answer = context;

    pthread_mutex_lock(&answer->lock);
    answer->code = receipt->error.code;
    answer->count++;
    pthread_cond_signal(&answer->come);
    pthread_mutex_unlock(&answer->lock);
}

/* The second publish is told that it was sent, and so was the first. */
static void what_was_sent_to_a_server_that_dies_is_unknown(void **state)
{
    static struct answer answer = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                   .come = PTHREAD_COND_INITIALIZER};
    struct broker_message message = {
        .stream = "S", .subject = "s.1.x.y", .id = "first", .data = "data", .size = 4};
    struct world *world = *state;
    struct error err;

    declare(world);
    assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_NONE);
    server_pause(world->server);
    assert_ok(broker_publish_async(world->broker, &message, 1500, note_answer, &answer, &err));
    assert_int_equal(publish(world, world->broker, "s.1.x.y", SHORT_MS), ERROR_UNKNOWN);
    server_kill(world->server);
    pthread_mutex_lock(&answer.lock);
    while (answer.count == 0)
        pthread_cond_wait(&answer.come, &answer.lock);
    assert_int_equal(answer.code, ERROR_UNKNOWN);
    pthread_mutex_unlock(&answer.lock);
}

/* A replica's refusal passes when it becomes a master, or when another takes its place. */
static void a_failover_is_waited_for(void **state)
{
    struct world *world = *state;

    declare(world);
    assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_NONE);
    command(world, "REPLICAOF 127.0.0.1 1");
    assert_int_equal(publish(world, world->broker, "s.1.x.y", SHORT_MS), ERROR_UNAVAILABLE);
    command(world, "REPLICAOF NO ONE");
    assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_NONE);
}

static void a_server_that_is_away_is_waited_for(void **state)
{
    struct world *world = *state;
    struct broker_stats stats;
    struct error err;

    declare(world);
    server_stop(world->server);
    struct broker *late = open_as(world, "");
    assert_int_equal(publish(world, late, "s.1.x.y", SHORT_MS), ERROR_UNAVAILABLE);
    assert_fails(broker_ping(late, SHORT_MS, &err), ERROR_UNAVAILABLE);
    broker_stats(late, &stats);
    assert_false(stats.connected);
    assert_true(world->disconnected >= 1);
    assert_ok(server_start_again(world->server, &err));
    assert_int_equal(publish(world, late, "s.1.x.y", CALL_MS), ERROR_NONE);
    assert_ok(broker_ping(late, CALL_MS, &err));
    broker_stats(late, &stats);
    assert_true(stats.connected);
    assert_true(world->reconnected >= 1);
    broker_close(late);
}

static void who_is_denied_is_told_once(void **state)
{
    struct world *world = *state;

    declare(world);
    struct broker *stranger = open_as(world, ":hushhush@"); /* the server wants no password */
    struct broker *wrong = open_as(world, "guest:hushhush@");
    assert_int_equal(publish(world, wrong, "s.1.x.y", SHORT_MS), ERROR_DENIED);
    assert_int_equal(publish(world, wrong, "s.1.x.y", SHORT_MS), ERROR_DENIED);
    assert_int_equal(world->refused, 1);
    assert_true(publish(world, stranger, "s.1.x.y", SHORT_MS) != ERROR_NONE);
    broker_close(stranger);
    broker_close(wrong);

    command(world, "ACL SETUSER default -evalsha -eval");
    assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_DENIED);
    assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_DENIED);
    assert_int_equal(world->refused, 2);
    command(world, "ACL SETUSER default +evalsha +eval");
    assert_int_equal(publish(world, world->broker, "s.1.x.y", CALL_MS), ERROR_NONE);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, start_world, end_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(only_its_subjects_are_for_a_stream),
        CASE(a_stream_that_is_not_there_is_not_found),
        CASE(a_forgotten_script_is_no_failure),
        CASE(no_memory_is_full_and_stores_nothing),
        CASE(what_was_sent_to_a_server_that_dies_is_unknown),
        CASE(a_failover_is_waited_for),
        CASE(a_server_that_is_away_is_waited_for),
        CASE(who_is_denied_is_told_once),
    };

    return RUN_ROWS(sicknesses, check_sick) + cmocka_run_group_tests(tests, NULL, NULL);
}
