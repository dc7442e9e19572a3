/* What only a NATS server shows: the bucket as the stock tools see it, and as they change it. */
#include "support/test.h"

#include "base/document.h"
#include "base/memory.h"
#include "broker/announce.h"
#include "support/server.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MS 10000
#define WAIT_MS 20000

struct scene {
    struct server *server;
    struct broker *broker;
};

static void scene_start(struct scene *scene)
{
    struct error err;

    assert_ok(server_start_nats(&scene->server, &err));
    assert_ok(broker_open(&scene->broker, server_url(scene->server), NULL, &err));
}

static void scene_end(struct scene *scene)
{
    broker_close(scene->broker);
    server_close(scene->server);
}

static uint64_t put(const struct scene *scene, const char *key, const char *text, uint64_t expected)
{
    struct broker_value value = {.key = key, .data = text, .size = strlen(text)};
    uint64_t revision;
    struct error err;

    assert_ok(broker_state_put(scene->broker, "b", &value, expected, CALL_MS, &revision, &err));
    return revision;
}

/* Behind the driver's back, as a stock tool would. */
static struct document *request(const struct scene *scene, const char *subject, const char *body)
{
    AUTO(buffer_free) struct buffer reply = {0};
    struct document *answer = NULL;
    struct error err;

    assert_ok(server_request(server_url(scene->server), subject, body, &reply, &err));
    assert_ok(document_parse(&answer, reply.data, reply.size, &err));
    if (document_has(answer, "error"))
        fail_msg("%s: %s", subject, reply.data);
    return answer;
}

static void bucket_is_a_stock_one(void **state)
{
    struct scene scene;

    (void)state;
    scene_start(&scene);
    put(&scene, "x.y", "one", 0);
    AUTO(document_free) struct document *info = request(&scene, "$JS.API.STREAM.INFO.KV_b", "");
    assert_string_equal(document_text(info, "config.subjects.0"), "$KV.b.>");
    assert_string_equal(document_text(info, "config.storage"), "file");
    assert_string_equal(document_text(info, "config.discard"), "new");
    assert_int_equal(document_int(info, "config.max_msgs_per_subject", 0), 1);
    assert_int_equal(document_int(info, "config.num_replicas", 0), 1);
    assert_true(document_bool(info, "config.allow_rollup_hdrs", false));
    assert_true(document_bool(info, "config.deny_delete", false));
    AUTO(document_free)
    struct document *stored =
        request(&scene, "$JS.API.STREAM.MSG.GET.KV_b", "{\"last_by_subj\":\"$KV.b.x.y\"}");
    assert_string_equal(document_text(stored, "message.data"), "b25l"); /* "one" in base64 */
    scene_end(&scene);
}

/* ---- watching ---- */

struct eye {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char seen[1024]; /* "a=one . a=(gone) " */
};

static void see(void *context, enum broker_seen what, const struct broker_value *value)
{
    struct eye *eye = context;

    pthread_mutex_lock(&eye->lock);
    size_t used = strlen(eye->seen), room = sizeof(eye->seen) - used;
    if (what == BROKER_SEEN_ALL)
        snprintf(eye->seen + used, room, ". ");
    else
        snprintf(eye->seen + used, room, "%s=%.*s ", value->key, value->data ? (int)value->size : 6,
                 value->data ? (const char *)value->data : "(gone)");
    pthread_cond_broadcast(&eye->changed);
    pthread_mutex_unlock(&eye->lock);
}

static void expect_seen(struct eye *eye, const char *seen)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + WAIT_MS;

    pthread_mutex_lock(&eye->lock);
    while (strcmp(eye->seen, seen) != 0 && clock_wait(&eye->changed, &eye->lock, until_ms))
        continue;
    pthread_mutex_unlock(&eye->lock);
    assert_string_equal(eye->seen, seen);
}

static struct broker_watch *watch(const struct scene *scene, struct eye *eye)
{
    struct broker_watch *watch;
    struct error err;

    *eye = (struct eye){.seen = ""};
    pthread_mutex_init(&eye->lock, NULL);
    pthread_cond_init(&eye->changed, NULL);
    assert_ok(broker_watch(&watch, scene->broker, "b", ">", see, eye, &err));
    return watch;
}

/* A scene with a watch that has told of two keys: "a=one b=one . ". */
static struct broker_watch *watch_two(struct scene *scene, struct eye *eye)
{
    scene_start(scene);
    put(scene, "a", "one", 0);
    put(scene, "b", "one", 0);
    struct broker_watch *watching = watch(scene, eye);
    expect_seen(eye, "a=one b=one . ");
    return watching;
}

/* The stream is gone, and another one in its place, whose revisions begin again at 1. */
static void another_bucket_is_told_as_a_change(void **state)
{
    struct scene scene;
    struct eye eye;

    (void)state;
    struct broker_watch *watching = watch_two(&scene, &eye);
    document_free(request(&scene, "$JS.API.STREAM.DELETE.KV_b", ""));
    expect_seen(&eye, "a=one b=one . a=(gone) b=(gone) ");
    put(&scene, "b", "two", 0);
    expect_seen(&eye, "a=one b=one . a=(gone) b=(gone) b=two ");
    broker_unwatch(watching);
    scene_end(&scene);
}

static char *only_consumer(const struct scene *scene)
{
    AUTO(document_free) struct document *names = request(scene, "$JS.API.CONSUMER.NAMES.KV_b", "");

    assert_int_equal(document_count(names, "consumers"), 1);
    return memory_text(document_text(names, "consumers.0"));
}

/* What is told already is not told again. */
static void lost_consumer_is_replaced(void **state)
{
    char subject[128];
    struct scene scene;
    struct eye eye;

    (void)state;
    scene_start(&scene);
    put(&scene, "a", "one", 0);
    struct broker_watch *watching = watch(&scene, &eye);
    expect_seen(&eye, "a=one . ");
    char *name = only_consumer(&scene);
    snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.DELETE.KV_b.%s", name);
    document_free(request(&scene, subject, ""));
    put(&scene, "b", "two", 0);
    expect_seen(&eye, "a=one . b=two ");
    free(name);
    broker_unwatch(watching);
    scene_end(&scene);
}

/* "nats kv purge --deletes" leaves no marker behind. */
static void purged_key_is_told_when_it_begins_anew(void **state)
{
    struct scene scene;
    struct error err;
    struct eye eye;

    (void)state;
    struct broker_watch *watching = watch_two(&scene, &eye);
    document_free(request(&scene, "$JS.API.STREAM.PURGE.KV_b", "{\"filter\":\"$KV.b.a\"}"));
    server_stop(scene.server);
    assert_ok(server_start_again(scene.server, &err));
    expect_seen(&eye, "a=one b=one . a=(gone) ");
    broker_unwatch(watching);
    scene_end(&scene);
}

/* ---- the lost answer ---- */

struct putting {
    const struct scene *scene;
    uint64_t expected, revision;
    bool done;
    struct error err;
};

static void *put_slowly(void *context)
{
    struct putting *putting = context;
    struct broker_value value = {.key = "a", .data = "two", .size = 3};

    putting->done = broker_state_put(putting->scene->broker, "b", &value, putting->expected,
                                     WAIT_MS, &putting->revision, &putting->err);
    return NULL;
}

/* It is sent several times while the server does not answer, and is one change all the same. */
static void repeated_update_is_one_change(void **state)
{
    struct putting putting = {0};
    struct scene scene;
    pthread_t thread;

    (void)state;
    scene_start(&scene);
    putting.scene = &scene;
    putting.expected = put(&scene, "a", "one", 0);
    server_pause(scene.server);
    assert_int_equal(pthread_create(&thread, NULL, put_slowly, &putting), 0);
    poll(NULL, 0, 2500); /* two requests without an answer */
    server_resume(scene.server);
    pthread_join(thread, NULL);
    if (!putting.done)
        fail_msg("%s", putting.err.message);
    assert_int_equal(putting.revision, putting.expected + 1);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bucket_is_a_stock_one),
        cmocka_unit_test(another_bucket_is_told_as_a_change),
        cmocka_unit_test(lost_consumer_is_replaced),
        cmocka_unit_test(purged_key_is_told_when_it_begins_anew),
        cmocka_unit_test(repeated_update_is_one_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
