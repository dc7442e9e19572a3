/*
 * What the Redis driver makes of a real server that others have a hand in: entries, groups and logs
 * that were changed behind its back, and settings that lose messages.
 */
#include "support/test.h"

#include "base/memory.h"
#include "broker/announce.h"
#include "support/redis_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MS 5000
#define WAIT_MS 15000
#define KEY "{millrace:S}"

struct world {
    struct server *server;
    struct broker *broker;
    struct broker_stream stream;
    struct broker_group group;
    struct broker_consumer *consumer;
    int published;
};

static int start_world(void **state)
{
    struct world *world = memory_alloc(sizeof(*world));

    world->stream = redis_fixture_stream("s.>", 10000000);
    world->group = redis_fixture_group();
    redis_fixture_open(&world->server, &world->broker, NULL);
    *state = world;
    return 0;
}

static int end_world(void **state)
{
    struct world *world = *state;

    redis_fixture_close(world->consumer, world->broker, world->server);
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

    assert_ok(broker_declare(world->broker, &world->stream, 1, &world->group, 1, NULL, NULL,
                             CALL_MS, &err));
}

static void publish(struct world *world, int count, size_t size)
{
    struct broker_message *messages = memory_alloc((size_t)count * sizeof(*messages));
    struct broker_receipt *receipts = memory_alloc((size_t)count * sizeof(*receipts));
    char(*ids)[16] = memory_alloc((size_t)count * sizeof(*ids));
    char *data = memory_alloc(size + 1);
    struct error err;

    for (int i = 0; i < count; i++) {
        snprintf(ids[i], sizeof(ids[i]), "%d", ++world->published);
        messages[i] = (struct broker_message){
            .stream = "S", .subject = "s.a", .id = ids[i], .data = data, .size = size};
    }
    assert_ok(broker_publish(world->broker, messages, (size_t)count, CALL_MS, receipts, &err));
    free(data);
    free(ids);
    free(receipts);
    free(messages);
}

static void take_one(struct world *world, bool settled)
{
    struct broker_verdict done = {.action = BROKER_DONE};
    struct broker_batch batch;
    struct error err;

    assert_ok(broker_fetch(world->consumer, 1, SIZE_MAX, CALL_MS, &batch, &err));
    assert_int_equal(batch.count, 1);
    if (settled)
        assert_ok(broker_settle(world->consumer, &done, 1, CALL_MS, &err));
}

static void take(struct world *world, int count, bool settled)
{
    struct error err;

    if (!world->consumer)
        assert_ok(broker_open_consumer(&world->consumer, world->broker, &world->group, &err));
    for (int i = 0; i < count; i++)
        take_one(world, settled);
}

static void drain(struct world *world)
{
    struct error err;

    assert_ok(broker_drain_consumer(world->consumer, CALL_MS, &err));
    broker_close_consumer(world->consumer);
    world->consumer = NULL;
}

static struct broker_lag lag(struct world *world)
{
    struct broker_lag found;
    struct error err;

    assert_ok(broker_lag(world->broker, "S", "g", CALL_MS, &found, &err));
    return found;
}

static void trim(struct world *world)
{
    struct error err;

    assert_ok(broker_trim(world->broker, "S", 0, CALL_MS, &err));
}

/* ---- what is stored ---- */

struct stored {
    size_t count, headers;
    char subject[16], data[16];
};

static void note_stored(void *context, const struct broker_delivery *delivery)
{
    struct stored *stored = context;

    stored->count++;
    stored->headers = delivery->header_count;
    snprintf(stored->subject, sizeof(stored->subject), "%s", delivery->subject);
    snprintf(stored->data, sizeof(stored->data), "%.*s", (int)delivery->size, delivery->data);
}

static struct stored peek(struct world *world)
{
    struct stored stored = {.count = 0};
    struct error err;

    assert_ok(broker_peek(world->broker, "S", "", SIZE_MAX, note_stored, &stored, CALL_MS, &err));
    return stored;
}

static void note_bytes(void *context, const struct broker_stream_info *stream,
                       const struct broker_group_info *group)
{
    if (!group && strcmp(stream->settings.name, "S") == 0)
        *(int64_t *)context = stream->bytes;
}

static int64_t bytes(struct world *world)
{
    int64_t found = -1;
    struct error err;

    assert_ok(broker_list(world->broker, note_bytes, &found, CALL_MS, &err));
    return found;
}

static void somebody_elses_entry_is_shown(void **state)
{
    struct world *world = *state;

    declare(world);
    command(world, "XADD " KEY " * colour red size 7");
    struct stored stored = peek(world);
    assert_int_equal(stored.count, 1);
    assert_string_equal(stored.subject, "");
    assert_int_equal(stored.headers, 2);
    publish(world, 1, 3);
    assert_string_equal(peek(world).subject, "s.a");
}

static void large_streams_are_shown_and_trimmed_in_steps(void **state)
{
    struct world *world = *state;
    struct error err;

    world->group.stream = "DEAD"; /* S has no group */
    declare(world);
    publish(world, 2500, 10);
    publish(world, 5, 900000);
    assert_int_equal(peek(world).count, 2505);
    assert_true(bytes(world) > 4500000);
    trim(world);
    assert_int_equal(peek(world).count, 0);
    assert_int_equal(bytes(world), 0);
    publish(world, 1, 10);
    assert_int_equal(bytes(world), 10 + 3 + 4); /* the subject, the id */
    assert_fails(broker_trim(world->broker, "NONE", 0, CALL_MS, &err), ERROR_NOT_FOUND);
}

static void entries_of_others_do_not_spoil_the_count(void **state)
{
    struct world *world = *state;

    declare(world);
    command(world, "XADD " KEY " * subject s.a Nats-Msg-Id x data more-than-what-is-counted");
    publish(world, 1, 10);
    take(world, 1, true);
    drain(world);
    trim(world);
    assert_int_equal(peek(world).count, 1);
    assert_true(bytes(world) >= 0);
    take(world, 1, true);
    drain(world);
    command(world, "XADD " KEY " * colour red");
    trim(world);
    assert_int_equal(peek(world).count, 1);
}

static void nothing_is_trimmed_while_a_group_is_missing(void **state)
{
    struct world *world = *state;

    declare(world);
    publish(world, 4, 10);
    take(world, 2, true);
    drain(world);
    command(world, "XGROUP DESTROY " KEY " g");
    trim(world);
    assert_int_equal(peek(world).count, 4);
    declare(world); /* makes it again, where it was */
    assert_int_equal(lag(world).unread, 2);
    trim(world);
    assert_int_equal(peek(world).count, 2);
}

static void a_group_made_again_has_what_was_in_flight(void **state)
{
    struct world *world = *state;

    declare(world);
    publish(world, 5, 10);
    take(world, 1, true);
    take(world, 1, false);
    broker_close_consumer(world->consumer); /* its lease stays */
    world->consumer = NULL;
    command(world, "XGROUP DESTROY " KEY " g");
    declare(world);
    assert_int_equal(lag(world).in_flight, 1);
    assert_int_equal(lag(world).unread, 3);
    trim(world);
    assert_int_equal(peek(world).count, 4);
}

static void a_deleted_stream_is_counted_anew(void **state)
{
    struct world *world = *state;

    declare(world);
    publish(world, 100, 1000);
    command(world, "DEL " KEY);
    publish(world, 1, 10);
    assert_int_equal(bytes(world), 10 + 3 + 3); /* the subject, the id */
}

static void note_weight(void *context, const struct broker_delivery *delivery)
{
    *(size_t *)context += delivery->size + strlen(delivery->subject) + strlen(delivery->id);
}

static void a_large_message_takes_the_place_of_many(void **state)
{
    struct world *world = *state;
    size_t weight = 0;
    struct error err;

    world->stream.telemetry = true;
    world->stream.max_bytes = 1000000;
    declare(world);
    publish(world, 9000, 100);
    publish(world, 1, 900000);
    publish(world, 300, 1000);
    assert_ok(broker_peek(world->broker, "S", "", SIZE_MAX, note_weight, &weight, CALL_MS, &err));
    assert_int_equal(bytes(world), weight);
    assert_in_range(weight, 290000, 1000000);
}

static unsigned long count_calls(struct world *world, const char *name)
{
    AUTO(buffer_free) struct buffer reply = {0};
    struct error err;

    assert_ok(server_command(world->server, "INFO commandstats", &reply, &err));
    const char *found = strstr(reply.data, name);
    assert_non_null(found);
    return strtoul(found + strlen(name), NULL, 10);
}

/* Twenty of them in one script would keep everybody waiting. */
static void large_messages_are_read_one_by_one(void **state)
{
    struct world *world = *state;

    world->stream.max_bytes = 100000000;
    world->group.filter = "s.b";
    declare(world);
    publish(world, 20, 900000);
    command(world, "CONFIG RESETSTAT");
    assert_int_equal(peek(world).count, 20);
    assert_in_range(count_calls(world, "cmdstat_xrange:calls="), 20, 60);
    command(world, "CONFIG RESETSTAT");
    assert_int_equal(lag(world).unread, 0);
    assert_in_range(count_calls(world, "cmdstat_xrange:calls="), 20, 60);
}

/* ---- lag ---- */

static void leases_of_what_is_settled_are_not_counted(void **state)
{
    struct world *world = *state;
    struct broker_lag found;

    declare(world);
    publish(world, 1, 10);
    take(world, 1, true);
    drain(world);
    command(world, "ZADD " KEY ":lease:g 9000000000000 1-1"); /* killed between its two removals */
    command(world, "ZADD " KEY ":delay:g 9000000000000 2-2");
    found = lag(world);
    assert_int_equal(found.unread + found.in_flight + found.delayed, 0);
}

static void lag_is_exact_where_the_server_has_none(void **state)
{
    struct world *world = *state;
    char id[64];

    declare(world);
    publish(world, 30, 10);
    command(world, "XADD " KEY " 9000000000000-1 subject s.a Nats-Msg-Id x data y");
    snprintf(id, sizeof(id), "XDEL " KEY " 9000000000000-1"); /* the server's lag is gone with it */
    command(world, "XADD " KEY " 9000000000000-2 subject s.a Nats-Msg-Id x data y");
    command(world, id);
    take(world, 10, true);
    drain(world);
    assert_int_equal(lag(world).unread, 21);
}

static void lag_is_exact_after_telemetry_was_dropped(void **state)
{
    struct world *world = *state;

    world->stream.telemetry = true;
    world->stream.max_bytes = 10000;
    declare(world);
    publish(world, 5, 900);
    take(world, 2, true);
    drain(world);
    for (int i = 0; i < 10; i++)
        publish(world, 1, 900);
    size_t kept = peek(world).count;
    assert_in_range(kept, 11, 12); /* unread ones are gone, too, but fewer than are left */
    assert_int_equal(lag(world).unread, kept);
    take(world, 3, true);
    drain(world);
    assert_int_equal(lag(world).unread, kept - 3);
}

static void lag_goes_through_a_filter(void **state)
{
    struct world *world = *state;
    struct broker_lag found;

    world->group.filter = "*.b";
    declare(world);
    publish(world, 3, 10);
    assert_int_equal(lag(world).unread, 0);
    assert_int_equal(lag(world).oldest_age_ms, 0);
    command(world, "XADD " KEY " * subject s.b Nats-Msg-Id x data y");
    found = lag(world);
    assert_int_equal(found.unread, 1);
    assert_true(found.oldest_age_ms < WAIT_MS);
}

/* ---- watches ---- */

struct eye {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool blocked; /* guarded by lock, with everything below it */
    char last[16], deleted[16];
    bool all;
};

static void see(void *context, enum broker_seen what, const struct broker_value *value)
{
    struct eye *eye = context;

    pthread_mutex_lock(&eye->lock);
    if (what == BROKER_SEEN_ALL)
        eye->all = true;
    else if (value->data)
        snprintf(eye->last, sizeof(eye->last), "%.*s", (int)value->size, (const char *)value->data);
    else
        snprintf(eye->deleted, sizeof(eye->deleted), "%s", value->key);
    pthread_cond_broadcast(&eye->changed);
    for (int64_t until_ms = clock_steady_ms(clock_system()) + WAIT_MS;
         eye->blocked && clock_wait(&eye->changed, &eye->lock, until_ms);)
        continue;
    pthread_mutex_unlock(&eye->lock);
}

static void set_blocked(struct eye *eye, bool blocked)
{
    pthread_mutex_lock(&eye->lock);
    eye->blocked = blocked;
    pthread_cond_broadcast(&eye->changed);
    pthread_mutex_unlock(&eye->lock);
}

static void wait_for(struct eye *eye, const char *place, const char *text)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + WAIT_MS;

    pthread_mutex_lock(&eye->lock);
    while (strcmp(place, text) != 0 && clock_wait(&eye->changed, &eye->lock, until_ms))
        continue;
    bool came = strcmp(place, text) == 0;
    pthread_mutex_unlock(&eye->lock);
    if (!came)
        fail_msg("'%s' is not '%s'", place, text);
}

static void put(struct world *world, const char *key, const char *text)
{
    struct broker_value value = {.key = key, .data = text, .size = strlen(text)};
    uint64_t revision;
    struct error err;

    assert_ok(broker_state_put(world->broker, "b", &value, BROKER_ANY, CALL_MS, &revision, &err));
}

static void watch(struct world *world, struct broker_watch **out, struct eye *eye)
{
    struct error err;

    pthread_mutex_init(&eye->lock, NULL);
    pthread_cond_init(&eye->changed, NULL);
    assert_ok(broker_watch(out, world->broker, "b", ">", see, eye, &err));
}

static void a_watch_begins_anew_when_its_log_was_cut(void **state)
{
    struct world *world = *state;
    struct eye eye = {.all = false};
    AUTO(broker_unwatch) struct broker_watch *held = NULL;
    struct error err;

    put(world, "gone", "first");
    watch(world, &held, &eye);
    wait_for(&eye, eye.last, "first");
    put(world, "a", "one");
    wait_for(&eye, eye.last, "one");
    set_blocked(&eye, true);
    put(world, "a", "two");
    assert_ok(broker_state_delete(world->broker, "b", "gone", BROKER_ANY, CALL_MS, &err));
    put(world, "c", "three");
    put(world, "a", "four");
    command(world, "XTRIM {millrace:state:b}:log MAXLEN 1");
    set_blocked(&eye, false);
    wait_for(&eye, eye.deleted, "gone");
    put(world, "a", "five");
    wait_for(&eye, eye.last, "five");
}

static void a_watch_notices_that_its_bucket_is_gone(void **state)
{
    struct world *world = *state;
    struct eye eye = {.all = false};
    AUTO(broker_unwatch) struct broker_watch *held = NULL;

    put(world, "a", "one");
    put(world, "a", "two");
    watch(world, &held, &eye);
    wait_for(&eye, eye.last, "two");
    command(world, "FLUSHALL");
    wait_for(&eye, eye.deleted, "a");
    put(world, "a", "new"); /* with a revision that was another's */
    wait_for(&eye, eye.last, "new");
}

/* ---- examine ---- */

struct examined {
    const char *subject;
    int grade;
    char fact[400];
};

static void note_finding(void *context, const struct broker_finding *finding)
{
    struct examined *examined = context;

    if (strcmp(finding->subject, examined->subject) != 0)
        return;
    examined->grade = finding->grade;
    snprintf(examined->fact, sizeof(examined->fact), "%s", finding->fact);
}

static void expect_finding(struct broker *broker, const char *subject, int grade, const char *word)
{
    struct examined examined = {.subject = subject, .grade = -1};
    struct error err;

    assert_ok(broker_examine(broker, note_finding, &examined, CALL_MS, &err));
    if (examined.grade != grade || !strstr(examined.fact, word))
        fail_msg("%s: %d, not %d, '%s'", subject, examined.grade, grade, examined.fact);
}

static void examine_knows_the_settings(void **state)
{
    static const struct {
        const char *command, *subject;
        int grade;
        const char *word;
    } rows[] = {
        {"PING", "durability", BROKER_FINE, "always"},
        {"CONFIG SET appendfsync everysec", "durability", BROKER_NOTICE, "1 s"},
        {"CONFIG SET appendfsync no", "durability", BROKER_NOTICE, "power loss"},
        {"CONFIG SET appendonly no", "durability", BROKER_WRONG, "survives nothing"},
        {"PING", "server", BROKER_FINE, "Redis 7."},
        {"PING", "clock", BROKER_FINE, "ours"},
        {"PING", "replicas", BROKER_NOTICE, "no replica"},
        {"PING", "eviction", BROKER_FINE, "noeviction"},
        {"CONFIG SET maxmemory-policy volatile-lru", "eviction", BROKER_NOTICE, "twice"},
        {"CONFIG SET maxmemory-policy allkeys-lru", "eviction", BROKER_WRONG, "whole streams"},
        {"PING", "memory", BROKER_NOTICE, "no maxmemory"},
        {"CONFIG SET maxmemory 1gb", "memory", BROKER_FINE, "1024 MiB"},
        {"CONFIG SET maxmemory 1mb", "memory", BROKER_WRONG, "of 1 MiB"},
    };
    struct world *world = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        command(world, rows[i].command);
        expect_finding(world->broker, rows[i].subject, rows[i].grade, rows[i].word);
    }
}

static void examine_bears_a_server_that_does_not_say(void **state)
{
    struct world *world = *state;
    AUTO(broker_close) struct broker *guest = NULL;
    char url[80];
    struct error err;

    command(world, "ACL SETUSER guest on >secret ~* &* +@all -config");
    snprintf(url, sizeof(url), "redis://guest:secret@127.0.0.1:%d", server_port(world->server));
    assert_ok(broker_open(&guest, url, NULL, &err));
    expect_finding(guest, "durability", BROKER_NOTICE, "CONFIG is not permitted");
    expect_finding(guest, "eviction", BROKER_FINE, "noeviction");
    command(world, "ACL SETUSER guest -info");
    expect_finding(guest, "server", BROKER_NOTICE, "INFO is not permitted");
    expect_finding(guest, "durability", BROKER_NOTICE, "does not say");
    expect_finding(guest, "clock", BROKER_FINE, "ours");
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, start_world, end_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(somebody_elses_entry_is_shown),
        CASE(large_streams_are_shown_and_trimmed_in_steps),
        CASE(entries_of_others_do_not_spoil_the_count),
        CASE(nothing_is_trimmed_while_a_group_is_missing),
        CASE(a_group_made_again_has_what_was_in_flight),
        CASE(a_deleted_stream_is_counted_anew),
        CASE(a_large_message_takes_the_place_of_many),
        CASE(large_messages_are_read_one_by_one),
        CASE(leases_of_what_is_settled_are_not_counted),
        CASE(lag_is_exact_where_the_server_has_none),
        CASE(lag_is_exact_after_telemetry_was_dropped),
        CASE(lag_goes_through_a_filter),
        CASE(a_watch_begins_anew_when_its_log_was_cut),
        CASE(a_watch_notices_that_its_bucket_is_gone),
        CASE(examine_knows_the_settings),
        CASE(examine_bears_a_server_that_does_not_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
