/*
 * A random list of operations, done to the model and to the driver: what came of it must be the
 * same.
 *
 * What is done with a delivery depends on its message and attempt alone, so that the list does not
 * depend on when a redelivery comes. Of the strict group everything is compared in order; of the
 * wide one the order of first deliveries, and what became of each message.
 */
#include "conformance/stage.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPERATIONS 10000 /* publishes and deliveries, at least */
#define IDS_MAX (OPERATIONS + 1)
#define PUBLISH_MAX 8
#define TAKE_MAX 24
#define ATTEMPTS 4
#define SLOW_MS 30000 /* of any call: the length of the list is what takes time */

/* One group at work. */
struct follower {
    struct broker_group group;
    struct broker_consumer *consumer;
    struct buffer history;
    bool strict;
    int left; /* messages that have not come to their end */
    unsigned attempts[IDS_MAX];
};

struct play {
    struct stage stage; /* with the broker that is played on */
    uint64_t random, seed;
    int operations, published; /* ids are 1 to published */
    char sequences[IDS_MAX][BROKER_SEQUENCE_SIZE];
    struct buffer history;
    struct follower followers[2];
};

static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
    return value ^ (value >> 31);
}

static int chance(struct play *play, int below)
{
    play->random += 0x9e3779b97f4a7c15U;
    return (int)(mix(play->random) % (uint64_t)below);
}

/* ---- publish ---- */

static void note_receipt(struct play *play, int id, const struct broker_receipt *receipt)
{
    char *first = play->sequences[id];
    bool is_first = !*first;

    if (is_first)
        snprintf(first, BROKER_SEQUENCE_SIZE, "%s", receipt->sequence);
    for (size_t i = 0; is_first && i < ARRAY_LEN(play->followers); i++)
        play->followers[i].left++;
    buffer_print(&play->history, "publish %d %s%s\n", id, receipt->duplicate ? "again" : "new",
                 strcmp(first, receipt->sequence) == 0 ? "" : ", another sequence");
}

static void publish_one(struct play *play, int number)
{
    char subject[80], id[16];
    struct broker_receipt receipt;
    struct error err;

    snprintf(id, sizeof(id), "%d", number);
    snprintf(subject, sizeof(subject), "%s.%c", play->stage.name, 'a' + chance(play, 3));
    struct broker_message message = {
        .stream = play->stage.name, .subject = subject, .id = id, .data = id, .size = strlen(id)};
    assert_ok(broker_publish(play->stage.broker, &message, 1, SLOW_MS, &receipt, &err));
    note_receipt(play, number, &receipt);
    play->operations++;
}

/* One in six has the id of an earlier one. */
static void publish_some(struct play *play)
{
    int count = 1 + chance(play, PUBLISH_MAX);

    for (int i = 0; i < count && play->published < IDS_MAX - 1; i++) {
        bool repeats = play->published > 0 && chance(play, 6) == 0;
        publish_one(play, repeats ? 1 + chance(play, play->published) : ++play->published);
    }
}

/* ---- deliveries ---- */

/* Most are done, some want to come again, a few are bad. */
static struct broker_verdict judge(const struct play *play, int id, unsigned attempt)
{
    uint64_t dice = mix(play->seed ^ mix((uint64_t)id * 16 + attempt)) % 100;

    if (dice < 75)
        return (struct broker_verdict){.action = BROKER_DONE};
    if (dice < 97)
        return (struct broker_verdict){.action = BROKER_RETRY, .delay_ms = (int64_t)dice % 4};
    return (struct broker_verdict){.action = BROKER_REJECT, .reason = "bad"};
}

static struct broker_verdict handle(struct play *play, struct follower *follower,
                                    const struct broker_delivery *delivery)
{
    int id = (int)strtol(delivery->id, NULL, 10);

    assert_in_range(id, 1, play->published);
    if (follower->strict || delivery->attempt == 1)
        buffer_print(&follower->history, "%s %d %u\n", follower->group.name, id, delivery->attempt);
    if (delivery->attempt != ++follower->attempts[id] || delivery->attempt > ATTEMPTS)
        fail_msg("%s got %d for the %uth time after %u", follower->group.name, id,
                 delivery->attempt, follower->attempts[id] - 1);
    struct broker_verdict verdict = judge(play, id, delivery->attempt);
    follower->left -= verdict.action != BROKER_RETRY || delivery->attempt == ATTEMPTS;
    return verdict;
}

/* How many came and are settled. */
static int take_some(struct play *play, struct follower *follower, int most)
{
    struct broker_verdict verdicts[TAKE_MAX];
    struct broker_batch batch =
        take(follower->consumer, most < TAKE_MAX ? (size_t)most : TAKE_MAX, SLOW_MS);
    struct error err;

    if (batch.count == 0)
        fail_msg("nothing comes to %s, and %d are left", follower->group.name, follower->left);
    for (size_t i = 0; i < batch.count; i++)
        verdicts[i] = handle(play, follower, &batch.deliveries[i]);
    assert_ok(broker_settle(follower->consumer, verdicts, batch.count, SLOW_MS, &err));
    return (int)batch.count;
}

static void work(struct play *play, struct follower *follower, int count)
{
    while (count > 0 && follower->left > 0) {
        int taken = take_some(play, follower, count);
        count -= taken;
        play->operations += taken;
    }
}

/* ---- the end ---- */

struct burials {
    const char *subject;
    int bad, exhausted;
};

static void count_burial(void *context, const struct broker_delivery *dead)
{
    struct burials *burials = context;
    const char *reason = broker_header(dead, "dead-reason");

    if (strcmp(dead->subject, burials->subject) != 0 || !reason)
        return;
    burials->bad += strcmp(reason, "bad") == 0;
    burials->exhausted += strcmp(reason, "max_attempts") == 0;
}

/* What is past its attempts is buried by a fetch that shows nothing. */
static void finish(struct play *play, struct follower *follower)
{
    char subject[80];
    struct burials burials = {.subject = subject};
    struct stage stage = play->stage;
    struct broker_lag found = {.unread = 1};
    struct error err;

    work(play, follower, INT32_MAX);
    stage.group = follower->group;
    for (int64_t until_ms = now_ms() + SLOW_MS;
         found.unread + found.in_flight > 0 && now_ms() < until_ms;) {
        expect_quiet(follower->consumer, 50);
        found = lag(&stage);
    }
    assert_ok(broker_drain_consumer(follower->consumer, SLOW_MS, &err));
    broker_close_consumer(follower->consumer);
    snprintf(subject, sizeof(subject), "dead.%s.%s", play->stage.name, follower->group.name);
    assert_ok(
        broker_peek(play->stage.broker, "DEAD", "", 100000, count_burial, &burials, SLOW_MS, &err));
    buffer_print(&follower->history, "unread %lld in flight %lld bad %d exhausted %d\n",
                 (long long)found.unread, (long long)found.in_flight, burials.bad,
                 burials.exhausted);
}

static void follow(struct play *play, struct follower *follower, const char *name,
                   int max_in_flight)
{
    follower->group = play->stage.group;
    follower->group.name = name;
    follower->group.max_in_flight = max_in_flight;
    follower->strict = max_in_flight == 1;
    stage_declare_group(&play->stage, &follower->group);
    follower->consumer = consume_as(play->stage.broker, &follower->group);
}

static struct play *play_on(const struct stage *stage, struct broker *broker, uint64_t seed)
{
    struct play *play = memory_alloc(sizeof(*play));

    play->stage = *stage;
    play->stage.broker = broker;
    play->stage.stream.dedup_window_ms = 3600000;
    play->stage.group.ack_wait_ms = 600000; /* nothing comes again by itself */
    play->stage.group.max_attempts = ATTEMPTS;
    play->random = play->seed = seed;
    follow(play, &play->followers[0], "strict", 1);
    follow(play, &play->followers[1], "wide", 64);
    while (play->operations < OPERATIONS) {
        int choice = chance(play, 10);
        if (choice < 4)
            publish_some(play);
        else
            work(play, &play->followers[choice % 2], 1 + chance(play, TAKE_MAX));
    }
    for (size_t i = 0; i < ARRAY_LEN(play->followers); i++)
        finish(play, &play->followers[i]);
    buffer_print(&play->history, "stored %zu\n",
                 count_stored(&play->stage, stage->name, stage->name));
    return play;
}

static void play_free(struct play *play)
{
    for (size_t i = 0; i < ARRAY_LEN(play->followers); i++)
        buffer_free(&play->followers[i].history);
    buffer_free(&play->history);
    free(play);
}

/* Fails with the first line that differs. */
static void expect_same(const char *what, const struct buffer *model, const struct buffer *driver,
                        uint64_t seed)
{
    size_t same = 0, line = 0;

    while (model->data[same] && model->data[same] == driver->data[same])
        if (model->data[same++] == '\n')
            line = same;
    if (model->data[same] != driver->data[same])
        fail_msg("%s with seed %llu: '%.60s' where the model has '%.60s'", what,
                 (unsigned long long)seed, driver->data + line, model->data + line);
}

static void same_history(struct stage *stage)
{
    const char *given = getenv("CONFORMANCE_SEED");
    uint64_t seed =
        given ? strtoull(given, NULL, 10) : (uint64_t)clock_wall_ms(clock_system()) % 1000000;
    char url[80];
    struct broker *model;
    struct error err;

    printf("CONFORMANCE_SEED=%llu\n", (unsigned long long)seed);
    snprintf(url, sizeof(url), "memory://%s-model", stage->name);
    assert_ok(broker_open(&model, url, NULL, &err));
    struct stage on_model = *stage;
    on_model.stream.replicas = 1;
    struct play *expected = play_on(&on_model, model, seed);
    struct play *found = play_on(stage, stage->broker, seed);
    expect_same("publishing", &expected->history, &found->history, seed);
    for (size_t i = 0; i < ARRAY_LEN(found->followers); i++)
        expect_same(found->followers[i].group.name, &expected->followers[i].history,
                    &found->followers[i].history, seed);
    play_free(found);
    play_free(expected);
    broker_close(model);
}

static const struct conformance_case cases[] = {
    {"a random list of 10,000 operations has the same history as on the model", same_history, LONG},
};

const struct conformance_list random_cases = {cases, ARRAY_LEN(cases)};
