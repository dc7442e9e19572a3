/* Announcements: to whoever listens now, in order, and never lost without a word. */
#include "conformance/stage.h"

#include "base/memory.h"
#include "broker/announce.h"
#include "broker/broker_memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEARD_MAX 4096
#define LAST_PROBE 1000000
#define ANNOUNCE_MS 1000 /* an announcement has no timeout of its own; it is an answer or none */

/* ---- an ear: what a listener heard ---- */

struct heard {
    enum broker_heard what;
    char topic[80];
    long number; /* what its data starts with; -1: it is empty */
    size_t size;
    bool intact; /* the rest of the data is the filling; a GAP has none, and no topic */
};

struct ear {
    struct broker_listener *listener;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool blocked; /* guarded by lock, with everything below it: the callback waits */
    size_t count;
    struct heard heard[HEARD_MAX]; /* what is more is only counted */
};

static char filling(size_t i)
{
    return (char)('a' + i % 23);
}

static void fill(char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = filling(i);
}

static bool is_intact(const char *data, size_t size)
{
    size_t i = 0;

    while (i < size && data[i] >= '0' && data[i] <= '9')
        i++;
    while (i < size && data[i] == filling(i))
        i++;
    return i == size;
}

static void hear(void *context, enum broker_heard what, const char *topic, const void *data,
                 size_t size)
{
    struct ear *ear = context;
    struct heard heard = {.what = what, .number = -1, .size = size};
    char text[24];

    snprintf(heard.topic, sizeof(heard.topic), "%s", topic);
    snprintf(text, sizeof(text), "%.*s", size < 20 ? (int)size : 20,
             size ? (const char *)data : "");
    if (size)
        heard.number = strtol(text, NULL, 10);
    heard.intact = is_intact(data, size) && (what == BROKER_HEARD || (!*topic && !size));

    pthread_mutex_lock(&ear->lock);
    if (ear->count < HEARD_MAX)
        ear->heard[ear->count] = heard;
    ear->count++;
    pthread_cond_broadcast(&ear->changed);
    for (int64_t until_ms = now_ms() + 3LL * WAIT_MS;
         ear->blocked && clock_wait(&ear->changed, &ear->lock, until_ms);)
        continue;
    pthread_mutex_unlock(&ear->lock);
}

static struct ear *listen_to(struct broker *broker, const char *pattern)
{
    struct ear *ear = memory_alloc(sizeof(*ear));
    struct error err;

    pthread_mutex_init(&ear->lock, NULL);
    pthread_cond_init(&ear->changed, NULL);
    assert_ok(broker_listen(&ear->listener, broker, pattern, hear, ear, &err));
    return ear;
}

static void ear_free(struct ear *ear)
{
    broker_unlisten(ear->listener);
    pthread_cond_destroy(&ear->changed);
    pthread_mutex_destroy(&ear->lock);
    free(ear);
}

static void set_blocked(struct ear *ear, bool blocked)
{
    pthread_mutex_lock(&ear->lock);
    ear->blocked = blocked;
    pthread_cond_broadcast(&ear->changed);
    pthread_mutex_unlock(&ear->lock);
}

static size_t count_heard(struct ear *ear)
{
    pthread_mutex_lock(&ear->lock);
    size_t count = ear->count;
    pthread_mutex_unlock(&ear->lock);
    return count;
}

/* Whether the ear has heard so much, gaps included, before its time was over. */
static bool wait_until_heard(struct ear *ear, size_t count, int timeout_ms)
{
    int64_t until_ms = now_ms() + timeout_ms;

    pthread_mutex_lock(&ear->lock);
    while (ear->count < count && clock_wait(&ear->changed, &ear->lock, until_ms))
        continue;
    bool enough = ear->count >= count;
    pthread_mutex_unlock(&ear->lock);
    return enough;
}

static void expect_count(struct ear *ear, size_t count)
{
    if (!wait_until_heard(ear, count, WAIT_MS) || count_heard(ear) > count)
        fail_msg("heard %zu instead of %zu", count_heard(ear), count);
}

static size_t count_gaps(struct ear *ear)
{
    size_t gaps = 0;

    pthread_mutex_lock(&ear->lock);
    for (size_t i = 0; i < ear->count && i < HEARD_MAX; i++)
        if (ear->heard[i].what == BROKER_GAP) {
            assert_true(ear->heard[i].intact);
            gaps++;
        }
    pthread_mutex_unlock(&ear->lock);
    return gaps;
}

static bool is_under(const struct heard *heard, const char *topic)
{
    return heard->what == BROKER_HEARD && strcmp(heard->topic, topic) == 0;
}

/* The last number that was heard under this topic; 0 before the first. */
static long last_number(struct ear *ear, const char *topic)
{
    long last = 0;

    pthread_mutex_lock(&ear->lock);
    for (size_t i = 0; i < ear->count && i < HEARD_MAX; i++)
        if (is_under(&ear->heard[i], topic))
            last = ear->heard[i].number;
    pthread_mutex_unlock(&ear->lock);
    return last;
}

static void expect_number(const struct heard *heard, long expected, bool after_gap)
{
    if (heard->number < expected || (heard->number > expected && !after_gap))
        fail_msg("%ld came instead of %ld, and %s gap was told", heard->number, expected,
                 after_gap ? "a" : "no");
}

/* The numbers from `from` on rise, and where one is missing there was a GAP before the next. */
static void expect_told(struct ear *ear, const char *topic, long from)
{
    bool gap = false;

    pthread_mutex_lock(&ear->lock);
    for (size_t i = 0; i < ear->count && i < HEARD_MAX; i++) {
        const struct heard *heard = &ear->heard[i];
        gap = gap || heard->what == BROKER_GAP;
        if (!is_under(heard, topic))
            continue;
        expect_number(heard, from, gap);
        from = heard->number + 1;
        gap = false;
    }
    pthread_mutex_unlock(&ear->lock);
}

/* ---- announcing ---- */

static char *topic_of(const struct stage *stage, char topic[80], const char *rest)
{
    snprintf(topic, 80, "bc.%s%s", stage->name, rest);
    return topic;
}

static bool try_announce(struct broker *broker, const char *topic, long number, struct error *err)
{
    char text[24];

    snprintf(text, sizeof(text), "%ld", number);
    return broker_announce(broker, topic, text, strlen(text), err);
}

static void announce(struct broker *broker, const char *topic, long number)
{
    struct error err;

    assert_ok(try_announce(broker, topic, number, &err));
}

static void announce_numbers(struct broker *broker, const char *topic, long from, long to)
{
    for (long number = from; number <= to; number++)
        announce(broker, topic, number);
}

/* Numbers from `from` on, whatever becomes of each, until one is heard. */
static void announce_until_heard(struct broker *broker, struct ear *ear, const char *topic,
                                 long from)
{
    int64_t until_ms = now_ms() + WAIT_MS;
    struct error err;

    for (long number = from; last_number(ear, topic) < from; number++) {
        if (now_ms() > until_ms)
            fail_msg("nothing is heard any more");
        (void)try_announce(broker, topic, number, &err); /* the broker may not be back yet */
        wait_until_heard(ear, count_heard(ear) + 1, 50);
    }
}

static void wait_for_number(struct ear *ear, const char *topic, long number)
{
    int64_t until_ms = now_ms() + WAIT_MS;

    while (last_number(ear, topic) != number && now_ms() < until_ms)
        wait_until_heard(ear, count_heard(ear) + 1, 50);
    assert_int_equal(last_number(ear, topic), number);
}

static void forget(struct ear *ear)
{
    pthread_mutex_lock(&ear->lock);
    ear->count = 0;
    pthread_mutex_unlock(&ear->lock);
}

/*
 * In a cluster the members tell each other who listens, and listen cannot know when all have been
 * told: there each ear has to have heard something first, which it then forgets.
 */
static void wait_for_members(struct stage *stage, struct broker *broker, struct ear *const *ears,
                             size_t count, const char *topic)
{
    if (stage->watched_count < 2)
        return;
    for (size_t i = 0; i < count; i++)
        announce_until_heard(broker, ears[i], topic, 1);
    announce(broker, topic, LAST_PROBE);
    for (size_t i = 0; i < count; i++) {
        wait_for_number(ears[i], topic, LAST_PROBE);
        forget(ears[i]);
    }
}

/* ---- cases ---- */

static void all_listeners_hear(struct stage *stage)
{
    char topic[80], pattern[80];
    struct broker *other = stage_broker(stage), *third = stage_broker(stage);

    struct ear *early = listen_to(third, topic_of(stage, topic, ".a"));
    wait_for_members(stage, stage->broker, &early, 1, topic);
    announce_numbers(stage->broker, topic, 1, 20);
    expect_count(early, 20); /* then it is over, and nobody else hears it, ever */
    topic_of(stage, pattern, ".>");
    struct ear *ears[] = {listen_to(stage->broker, pattern), listen_to(stage->broker, topic),
                          listen_to(other, pattern), listen_to(third, pattern)};
    wait_for_members(stage, other, ears, ARRAY_LEN(ears), topic);
    announce_numbers(other, topic, 21, 120);
    for (size_t i = 0; i < ARRAY_LEN(ears); i++) {
        expect_count(ears[i], 100);
        expect_told(ears[i], topic, 21);
    }
    struct ear *late = listen_to(third, pattern);
    wait_for_members(stage, other, &late, 1, topic);
    announce(other, topic, 121);
    expect_count(late, 1);
    assert_int_equal(last_number(late, topic), 121);
    ear_free(late);
    ear_free(early);
    for (size_t i = 0; i < ARRAY_LEN(ears); i++)
        ear_free(ears[i]);
    broker_close(third);
    broker_close(other);
}

/* Which of the topics each pattern means; both follow "bc.<stage>". */
static const char *const topics[] = {".a", ".a.b", ".a.b.c", ".a.x.c", ".a.b.d", ".a[b]", ".a?"};
static const struct {
    const char *pattern;
    bool hears[ARRAY_LEN(topics)];
} patterns[] = {
    {".a", {[0] = true}},
    {".*", {[0] = true, [5] = true, [6] = true}},
    {".>", {true, true, true, true, true, true, true}},
    {".a.*", {[1] = true}},
    {".a.>", {[1] = true, [2] = true, [3] = true, [4] = true}},
    {".*.*", {[1] = true}},
    {".a.*.c", {[2] = true, [3] = true}},
    {".*.b.>", {[2] = true, [4] = true}},
    {".a[b]", {[5] = true}},
    {".a?", {[6] = true}},
    {".b", {false}},
};

static size_t count_meant(size_t pattern)
{
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_LEN(topics); i++)
        count += patterns[pattern].hears[i];
    return count;
}

static void patterns_choose(struct stage *stage)
{
    struct ear *ears[ARRAY_LEN(patterns)];
    char text[80];

    for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
        ears[i] = listen_to(stage->broker, topic_of(stage, text, patterns[i].pattern));
    for (size_t i = 0; i < ARRAY_LEN(topics); i++)
        announce(stage->broker, topic_of(stage, text, topics[i]), 1);
    announce(stage->broker, topic_of(stage, text, ""), 1); /* no pattern means it */
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
        wait_until_heard(ears[i], count_meant(i), WAIT_MS);
    pause_ms(QUIET_MS);
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        for (size_t j = 0; j < ARRAY_LEN(topics); j++)
            if ((last_number(ears[i], topic_of(stage, text, topics[j])) == 1) !=
                patterns[i].hears[j])
                fail_msg("'%s' %s '%s'", patterns[i].pattern,
                         patterns[i].hears[j] ? "did not hear" : "heard", topics[j]);
        expect_count(ears[i], count_meant(i)); /* each once */
        ear_free(ears[i]);
    }
}

#define EACH 200

struct speaker {
    struct stage *stage;
    char topic[80];
    bool failed; /* the thread's until it is joined */
};

static void *speak(void *context)
{
    struct speaker *speaker = context;
    struct error err;
    struct broker *broker;

    speaker->failed = true;
    if (!broker_open(&broker, speaker->stage->url, NULL, &err))
        return NULL;
    bool announced = true;
    for (long number = 1; announced && number <= EACH; number++)
        announced = try_announce(broker, speaker->topic, number, &err);
    /* What is under way is none of close's business: the last is heard before it is closed. */
    speaker->failed = !announced || !broker_ping(broker, CALL_MS, &err);
    broker_close(broker);
    return NULL;
}

static void each_publisher_in_order(struct stage *stage)
{
    struct speaker speakers[2] = {{.stage = stage}, {.stage = stage}};
    pthread_t threads[2];
    char pattern[80];

    struct ear *ear = listen_to(stage->broker, topic_of(stage, pattern, ".*"));
    for (size_t i = 0; i < 2; i++) {
        topic_of(stage, speakers[i].topic, i ? ".second" : ".first");
        assert_int_equal(pthread_create(&threads[i], NULL, speak, &speakers[i]), 0);
    }
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 2; i++)
        assert_false(speakers[i].failed);
    expect_count(ear, 2L * EACH);
    for (size_t i = 0; i < 2; i++) {
        expect_told(ear, speakers[i].topic, 1);
        assert_int_equal(last_number(ear, speakers[i].topic), EACH);
    }
    ear_free(ear);
}

static void sizes_are_kept(struct stage *stage)
{
    static const size_t sizes[] = {0, 1, BROKER_MESSAGE_MAX, 2};
    static char data[BROKER_MESSAGE_MAX + 1];
    struct error err;
    char topic[80];

    struct ear *ear = listen_to(stage->broker, topic_of(stage, topic, ".size"));
    fill(data, sizeof(data));
    assert_fails(broker_announce(stage->broker, topic, data, sizeof(data), &err), ERROR_TOO_LARGE);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        assert_ok(broker_announce(stage->broker, topic, data, sizes[i], &err));
    expect_count(ear, ARRAY_LEN(sizes));
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_true(is_under(&ear->heard[i], topic) && ear->heard[i].intact);
        assert_int_equal(ear->heard[i].size, sizes[i]);
    }
    ear_free(ear);
}

/* More megabytes than a broker and a client keep for a listener. */
#define TOO_MUCH 120

static void announce_large(struct broker *broker, const char *topic, long number)
{
    static char data[BROKER_MESSAGE_MAX];
    char text[24];
    struct error err;

    int size = snprintf(text, sizeof(text), "%06ld", number);
    fill(data, sizeof(data));
    memcpy(data, text, (size_t)size);
    assert_ok(broker_announce(broker, topic, data, sizeof(data), &err));
}

static void slow_listener_is_told(struct stage *stage)
{
    struct broker *other = stage_broker(stage);
    char topic[80];

    struct ear *ear = listen_to(other, topic_of(stage, topic, ".slow"));
    struct ear *quick = listen_to(stage->broker, topic_of(stage, topic, ".quick"));
    topic_of(stage, topic, ".slow");
    announce(stage->broker, topic, 1);
    expect_count(ear, 1);
    set_blocked(ear, true);
    announce(stage->broker, topic, 2);
    for (long number = 3; number < 3 + TOO_MUCH; number++)
        announce_large(stage->broker, topic, number);
    announce_until_heard(stage->broker, quick, topic_of(stage, topic, ".quick"), 1);
    set_blocked(ear, false);
    topic_of(stage, topic, ".slow");
    announce_until_heard(stage->broker, ear, topic, 3 + TOO_MUCH);
    assert_true(count_gaps(ear) > 0);
    expect_told(ear, topic, 1);
    ear_free(quick);
    ear_free(ear);
    broker_close(other);
}

static void unlisten_ends_it(struct stage *stage)
{
    char topic[80];

    struct ear *ear = listen_to(stage->broker, topic_of(stage, topic, ".a"));
    struct ear *other = listen_to(stage->broker, topic);
    announce(stage->broker, topic, 1);
    expect_count(ear, 1);
    expect_count(other, 1);
    broker_unlisten(ear->listener);
    ear->listener = NULL;
    announce(stage->broker, topic, 2);
    expect_count(other, 2);
    pause_ms(QUIET_MS);
    assert_int_equal(count_heard(ear), 1);
    ear_free(other);
    ear_free(ear);
}

struct chatter {
    struct broker *broker;
    char topic[80];
    atomic_bool stop, failed;
};

#define CHATTER_BYTES 100000

static void *chatter(void *context)
{
    static char data[CHATTER_BYTES]; /* large: a client is busy with it for a while */
    struct chatter *chatter = context;
    struct error err;

    fill(data, sizeof(data));
    while (!chatter->stop && !chatter->failed) {
        chatter->failed =
            !broker_announce(chatter->broker, chatter->topic, data, sizeof(data), &err);
        pause_ms(1);
    }
    return NULL;
}

/* Listeners that come and go while it is never quiet. */
static void unlistens_amid_announcements(struct stage *stage)
{
    struct chatter talk = {.broker = stage_broker(stage)};
    pthread_t thread;

    topic_of(stage, talk.topic, ".a");
    assert_int_equal(pthread_create(&thread, NULL, chatter, &talk), 0);
    for (int i = 0; i < 40; i++) {
        struct ear *ear = listen_to(stage->broker, talk.topic);
        assert_true(wait_until_heard(ear, 1 + (size_t)i % 5, WAIT_MS));
        ear_free(ear);
    }
    talk.stop = true;
    pthread_join(thread, NULL);
    assert_false(talk.failed);
    broker_close(talk.broker);
}

/* ---- the broker goes and comes ---- */

static void go_away(struct stage *stage)
{
    if (stage->server)
        server_kill(stage->server);
    else
        broker_memory_away(stage->broker, true);
}

static void come_back(struct stage *stage)
{
    struct error err;

    if (stage->server)
        assert_ok(server_start_again(stage->server, &err));
    else
        broker_memory_away(stage->broker, false);
}

static void hears_again(struct stage *stage)
{
    struct broker *other = stage_broker(stage);
    char topic[80];

    struct ear *ear = listen_to(other, topic_of(stage, topic, ".a"));
    announce(stage->broker, topic, 1);
    expect_count(ear, 1);
    for (long from = 2; from <= 1002; from += 1000) {
        size_t gaps = count_gaps(ear);
        go_away(stage);
        come_back(stage);
        announce_until_heard(stage->broker, ear, topic, from);
        assert_true(count_gaps(ear) > gaps);
    }
    expect_told(ear, topic, 1);
    ear_free(ear);
    broker_close(other);
}

/* What is announced before the client notices is lost, and may be. */
static void away_is_unavailable(struct stage *stage)
{
    int64_t until_ms = now_ms() + WAIT_MS;
    struct error err = {0};
    bool announced = true;
    char topic[80];

    announce(stage->broker, topic_of(stage, topic, ".a"), 1);
    go_away(stage);
    while (announced && now_ms() < until_ms) {
        struct stopwatch started = stopwatch_start(stage);
        announced = try_announce(stage->broker, topic, 2, &err);
        expect_took("announce", stage, &started, 0, ANNOUNCE_MS);
        pause_ms(10);
    }
    assert_false(announced);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_fails(try_announce(stage->broker, topic, 3, &err), ERROR_UNAVAILABLE);
    come_back(stage);
    for (until_ms = now_ms() + WAIT_MS; now_ms() < until_ms; pause_ms(10))
        if (try_announce(stage->broker, topic, 4, &err))
            break;
    struct ear *ear = listen_to(stage->broker, topic);
    announce_until_heard(stage->broker, ear, topic, 5);
    ear_free(ear);
}

static void mute_is_bounded(struct stage *stage)
{
    struct error err = {0};
    char topic[80];

    announce(stage->broker, topic_of(stage, topic, ".a"), 1);
    server_pause(stage->server);
    for (int i = 0; i < 3; i++) {
        struct stopwatch started = stopwatch_start(stage);
        (void)try_announce(stage->broker, topic, 2, &err); /* it may be in a socket's buffer */
        expect_took("announce", stage, &started, 0, ANNOUNCE_MS);
    }
    server_resume(stage->server);
}

static const struct conformance_case cases[] = {
    {"G16 all listeners hear what is announced, in order; there is no history", all_listeners_hear,
     ANY_DRIVER},
    {"G16 a pattern's * is one token and its > the rest; nothing else is special", patterns_choose,
     ONE_SERVER},
    {"G16 the order is that of each publisher", each_publisher_in_order, ONE_SERVER},
    {"G16 a slow listener is told of the gap and goes on, a quick one does not notice",
     slow_listener_is_told, ONE_SERVER},
    {"announcements of no bytes and of the most; one more is too large", sizes_are_kept,
     ONE_SERVER},
    {"unlisten ends it, and only that one", unlisten_ends_it, ONE_SERVER},
    {"unlisten while announcements come", unlistens_amid_announcements, ANY_DRIVER},
    {"G16 G18 listeners are told of a restart and hear again", hears_again, OWN_SERVER},
    {"G16 listeners of the model are told that it was away", hears_again, ONLY_MEMORY},
    {"announcing to a broker that is away is UNAVAILABLE, and soon", away_is_unavailable,
     OWN_SERVER},
    {"announcing to a model that is away is UNAVAILABLE", away_is_unavailable, ONLY_MEMORY},
    {"announcing to a mute broker returns soon", mute_is_bounded, OWN_SERVER},
};

const struct conformance_list announce_cases = {cases, ARRAY_LEN(cases)};
