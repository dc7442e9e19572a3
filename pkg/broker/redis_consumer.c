#include "broker/redis_consumer.h"

#include "base/clock.h"
#include "base/memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 100        /* of waiting for a reply, then the time is noted */
#define SILENT_MS 10000    /* a connection without the reply that it owes is given up */
#define REDELIVERY_MS 1000 /* what a redelivery may be late by */
#define ADOPT_MS 60000
#define OPEN_MS 2000 /* for finding the group when it is opened */
#define OPEN_AWAY_MS 100
#define CLOSE_MS 100
#define ROOM 16 /* commands that may follow before room is made again */

int64_t redis_now_ms(void)
{
    return clock_steady_ms(clock_system());
}

bool redis_is_woken(const struct error *err)
{
    return err->code == ERROR_CLOSED && strcmp(err->reason, REDIS_WOKEN) == 0;
}

/* ---- asking ---- */

void redis_consumer_ask(struct redis_consumer *consumer, enum redis_expected kind, int count,
                        const char **arguments)
{
    int64_t now_ms = redis_now_ms();

    assert(consumer->expected_count < REDIS_EXPECTED_MAX);
    if (consumer->expected_count == 0)
        consumer->owed_ms = now_ms;
    redis_link_append(consumer->link, count, arguments, NULL);
    consumer->expected[consumer->expected_count++] = (struct redis_question){kind, now_ms};
    consumer->fetches_expected += kind == REDIS_FETCHED;
}

/* With its text each time: 2 us of the server's for each of them, and nothing that a server which
 * was restarted could have forgotten when nobody waits for its answer. */
void redis_consumer_run(struct redis_consumer *consumer, enum redis_expected kind,
                        const struct redis_script *script, size_t count, const char **arguments)
{
    const char *fixed[] = {"EVAL",
                           script->text,
                           "4",
                           consumer->stream_key,
                           consumer->meta_key,
                           consumer->lease_key,
                           consumer->delay_key,
                           consumer->base.group->name};
    const char **all = memory_alloc((ARRAY_LEN(fixed) + count) * sizeof(*all));

    memcpy(all, fixed, sizeof(fixed));
    memcpy(all + ARRAY_LEN(fixed), arguments, count * sizeof(*arguments));
    redis_consumer_ask(consumer, kind, (int)(ARRAY_LEN(fixed) + count), all);
    free(all);
}

/* ---- hearing ---- */

static void doubt(struct redis_consumer *consumer)
{
    consumer->doubt_until_ms = redis_now_ms() + consumer->ack_wait_ms + REDELIVERY_MS;
}

static void give_up(struct redis_consumer *consumer)
{
    for (size_t i = 0; i < consumer->expected_count; i++)
        if (consumer->expected[i].kind == REDIS_SETTLED)
            doubt(consumer);
    consumer->expected_count = consumer->fetches_expected = 0;
    consumer->adopt_ms = redis_now_ms();
}

static void judge_settled(struct redis_consumer *consumer, enum redis_expected kind,
                          const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return;
    redis_refusal(reply, &consumer->trouble, NULL);
    redis_refused(consumer->broker, &consumer->trouble);
    /* A group that is gone is made again with its leases: the next look does it. */
    consumer->in_trouble = strcmp(consumer->trouble.reason, REDIS_NO_GROUP) != 0;
    if (kind == REDIS_SETTLED)
        doubt(consumer);
}

static void judge_adopted(struct redis_consumer *consumer, const redisReply *reply)
{
    bool more = reply->type == REDIS_REPLY_STRING && reply->len > 0;

    consumer->adopt_ms = redis_now_ms() + (more ? 0 : ADOPT_MS);
    snprintf(consumer->adopt_from, sizeof(consumer->adopt_from), "%s", more ? reply->str : "-");
}

static void judge(struct redis_consumer *consumer, enum redis_expected kind,
                  const redisReply *reply)
{
    if (kind == REDIS_ADOPTED)
        judge_adopted(consumer, reply);
    else if (kind == REDIS_QUEUED && reply->type == REDIS_REPLY_ERROR)
        redis_note_refusal(consumer, reply);
    else if (kind != REDIS_QUEUED)
        judge_settled(consumer, kind, reply);
}

static void take_in(struct redis_consumer *consumer, redisReply *reply)
{
    struct redis_question question = consumer->expected[0];
    int64_t unheard_ms = consumer->unheard_ms;

    memmove(consumer->expected, consumer->expected + 1,
            --consumer->expected_count * sizeof(consumer->expected[0]));
    if (question.kind == REDIS_FETCHED) {
        consumer->fetches_expected--;
        redis_take_in(consumer, reply,
                      question.asked_ms > unheard_ms ? question.asked_ms : unheard_ms);
    } else {
        judge(consumer, question.kind, reply);
        redis_reply_free(reply);
    }
    consumer->owed_ms = redis_now_ms();
}

/* One look at the link. True also when nothing came that lasts: *out_heard. */
static bool look(struct redis_consumer *consumer, int64_t until_ms, bool *out_heard,
                 struct error *err)
{
    redisReply *reply;

    *out_heard = redis_link_wait(consumer->link, until_ms, &reply, err);
    if (*out_heard) {
        consumer->connections = redis_link_connections(consumer->link);
        take_in(consumer, reply);
        return true;
    }
    if (err->code == ERROR_TIMEOUT) {
        consumer->unheard_ms = redis_now_ms();
        return true;
    }
    if (!redis_is_woken(err))
        give_up(consumer);
    return false;
}

bool redis_consumer_hear(struct redis_consumer *consumer, int64_t until_ms, struct error *err)
{
    int64_t now_ms;
    bool heard;

    do {
        now_ms = redis_now_ms();
        if (!look(consumer, now_ms + LOOK_MS < until_ms ? now_ms + LOOK_MS : until_ms, &heard, err))
            return false;
        if (heard)
            return true;
        now_ms = redis_now_ms();
    } while (now_ms < until_ms && now_ms - consumer->owed_ms < SILENT_MS);
    if (now_ms - consumer->owed_ms < SILENT_MS)
        return error_set(err, ERROR_TIMEOUT, "the server has not answered in time");
    redis_link_drop(consumer->link);
    give_up(consumer);
    return error_set(err, ERROR_UNKNOWN, "the server has not answered for %d ms", SILENT_MS);
}

static bool hear_down_to(struct redis_consumer *consumer, size_t count, int64_t until_ms,
                         struct error *err)
{
    while (consumer->expected_count > count)
        if (!redis_consumer_hear(consumer, until_ms, err) && !redis_is_woken(err))
            return false;
    return true;
}

bool redis_consumer_hear_all(struct redis_consumer *consumer, int64_t until_ms, struct error *err)
{
    return hear_down_to(consumer, 0, until_ms, err);
}

bool redis_consumer_make_room(struct redis_consumer *consumer, int64_t until_ms, struct error *err)
{
    return hear_down_to(consumer, REDIS_EXPECTED_MAX - ROOM, until_ms, err);
}

bool redis_consumer_has_room(const struct redis_consumer *consumer)
{
    return consumer->expected_count < REDIS_EXPECTED_MAX - ROOM;
}

bool redis_consumer_send(struct redis_consumer *consumer, struct error *err)
{
    while (consumer->expected_count)
        if (!redis_consumer_hear(consumer, 0, err))
            return err->code == ERROR_TIMEOUT || redis_is_woken(err);
    return true;
}

bool redis_consumer_ready(struct redis_consumer *consumer, int64_t until_ms, struct error *err)
{
    bool ready = redis_link_ready(consumer->link, until_ms, err);

    if (redis_link_connections(consumer->link) != consumer->connections)
        give_up(consumer);
    consumer->connections = redis_link_connections(consumer->link);
    return ready;
}

/* ---- life ---- */

void redis_wake(struct broker_consumer *base)
{
    struct redis_consumer *consumer = redis_consumer_of(base);

    pthread_mutex_lock(&consumer->lock);
    consumer->woken = true;
    pthread_cond_signal(&consumer->wakened);
    pthread_mutex_unlock(&consumer->lock);
    redis_link_wake(consumer->link);
    redis_link_wake(consumer->doorbell);
}

/* What a look that came too late for its fetch hands out goes back with the rest; and the rest goes
 * also when the connection with that look is lost. */
bool redis_drain_consumer(struct broker_consumer *base, int timeout_ms, struct error *err)
{
    struct redis_consumer *consumer = redis_consumer_of(base);
    int64_t until_ms = redis_now_ms() + timeout_ms;
    struct error lost;

    base->drained = true;
    redis_release(consumer);
    bool heard = redis_consumer_hear_all(consumer, until_ms, &lost);
    if (!redis_give_back(consumer, until_ms, err))
        return false;
    if (!heard)
        *err = lost;
    return heard && redis_confirm_settled(consumer, err);
}

void redis_close_consumer(struct broker_consumer *base)
{
    struct redis_consumer *consumer = redis_consumer_of(base);
    int64_t until_ms = redis_now_ms() + CLOSE_MS;
    struct error ignored; /* what is not settled comes again */

    /* A socket that is closed before its answers are read may take back what it has sent. */
    (void)(redis_consumer_hear_all(consumer, until_ms, &ignored) &&
           redis_give_back(consumer, until_ms, &ignored));
    for (size_t i = 0; i < consumer->haul_count; i++) {
        redis_reply_free(consumer->hauls[i].reply);
        free(consumer->hauls[i].headers);
    }
    redis_link_free(consumer->doorbell);
    redis_link_free(consumer->link);
    free(consumer->hauls);
    free(consumer->held);
    free(base->batch);
    pthread_cond_destroy(&consumer->wakened);
    pthread_mutex_destroy(&consumer->lock);
    free(consumer);
}

/* True also when the server is away: the group is looked for again when it is fetched from. */
static bool is_declared(struct redis_consumer *consumer, struct error *err)
{
    bool away = !atomic_load(&consumer->base.broker->counters.connected);
    int64_t until_ms = redis_now_ms() + (away ? OPEN_AWAY_MS : OPEN_MS);
    char member[REDIS_KEY_SIZE];
    const char *arguments[] = {"HEXISTS", consumer->meta_key, member};
    struct error ignored;
    redisReply *reply;

    snprintf(member, sizeof(member), "group:%s", consumer->base.group->name);
    if (!redis_consumer_ready(consumer, until_ms, &ignored) ||
        !redis_link_call(consumer->link, ARRAY_LEN(arguments), arguments, NULL, until_ms, &reply,
                         &ignored))
        return true;
    bool found = reply->type != REDIS_REPLY_INTEGER || reply->integer == 1;
    redis_reply_free(reply);
    return found || error_set(err, ERROR_NOT_FOUND, "there is no such consumer");
}

bool redis_open_consumer(struct broker_consumer **out, struct broker *base,
                         const struct broker_group *group, struct error *err)
{
    struct redis_consumer *consumer = memory_alloc(sizeof(*consumer));
    const char *name = base->options.name ? base->options.name : REDIS_CONSUMER;

    consumer->base.broker = base;
    consumer->base.group = group;
    consumer->broker = redis_broker_of(base);
    consumer->link = redis_link_new(consumer->broker->address, name, NULL, NULL);
    consumer->doorbell = redis_link_new(consumer->broker->address, name, NULL, NULL);
    consumer->ack_wait_ms = group->ack_wait_ms;
    snprintf(consumer->adopt_from, sizeof(consumer->adopt_from), "-");
    redis_key(consumer->stream_key, group->stream, "", "");
    redis_key(consumer->meta_key, group->stream, ":meta", "");
    redis_key(consumer->lease_key, group->stream, ":lease:", group->name);
    redis_key(consumer->delay_key, group->stream, ":delay:", group->name);
    pthread_mutex_init(&consumer->lock, NULL);
    pthread_cond_init(&consumer->wakened, NULL);
    if (is_declared(consumer, err)) {
        *out = &consumer->base;
        return true;
    }
    redis_close_consumer(&consumer->base);
    return false;
}
