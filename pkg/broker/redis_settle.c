#include "broker/redis_consumer.h"

#include "base/memory.h"
#include "broker/redis_lua.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACKS_AT_ONCE 1000   /* ids of one command */
#define RETRIES_AT_ONCE 250 /* ids of one script: a millisecond of the server's */

/*
 * ARGV: group, holder, then id, attempt and delay_ms of each; below 0: nobody has seen it, it was
 * no attempt, and it comes again at once, the lowest first. The attempt says whether the lease is
 * still the one that was given: a retry that comes too late must not disturb a newer one.
 */
static const struct redis_script retry_script = {
    "retry", REDIS_LUA_WHEN_FULL REDIS_LUA_NOW
    "local stream, lease, delay, group = KEYS[1], KEYS[3], KEYS[4], ARGV[1] "
    "for i = 3, #ARGV, 3 do"
    "  local id, attempt, wait = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])"
    "  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]"
    "  if pending and pending[4] == attempt then"
    "    if wait < 0 then"
    "      wait = wait / 1000"
    "      redis.call('XCLAIM', stream, group, ARGV[2], 0, id, 'RETRYCOUNT', attempt - 1, 'JUSTID')"
    "    end"
    "    redis.call('ZREM', lease, id)"
    "    redis.call('ZADD', delay, now + wait, id)"
    "  end "
    "end "
    "return 1"};

/* ARGV: group, ack_wait_ms, ids. What has no lease any more is settled, or delayed. */
static const struct redis_script extend_script = {
    "extend",
    REDIS_LUA_WHEN_FULL REDIS_LUA_NOW "local leases, ends = {}, now + ARGV[2] for i = 3, #ARGV do"
                                      "  leases[#leases + 1] = ends"
                                      "  leases[#leases + 1] = ARGV[i] "
                                      "end "
                                      "redis.call('ZADD', KEYS[3], 'XX', unpack(leases)) "
                                      "return 1"};

/* ---- asking ---- */

/*
 * Three plain commands, not a script: a tenth of its price. Between them an entry is leased and not
 * pending, which fetch knows. The first three of the arguments are free, the ids follow.
 */
static void ask_done(struct redis_consumer *consumer, const char **arguments, size_t count)
{
    const char *const keys[] = {consumer->lease_key, consumer->delay_key};

    arguments[0] = "XACK";
    arguments[1] = consumer->stream_key;
    arguments[2] = consumer->base.group->name;
    redis_consumer_ask(consumer, REDIS_SETTLED, (int)count, arguments);
    arguments[1] = "ZREM";
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        arguments[2] = keys[i];
        redis_consumer_ask(consumer, REDIS_SETTLED, (int)count - 1, arguments + 1);
    }
}

static bool send_done(struct redis_consumer *consumer, const struct broker_verdict *verdicts,
                      int64_t until_ms, struct error *err)
{
    const char *arguments[3 + ACKS_AT_ONCE];
    size_t count = 3;

    for (size_t i = 0; i < consumer->base.batch_count; i++) {
        if (verdicts[i].action == BROKER_DONE)
            arguments[count++] = consumer->base.batch[i].sequence;
        bool last = i + 1 == consumer->base.batch_count;
        if (count == 3 || (count < ARRAY_LEN(arguments) && !last))
            continue;
        if (!redis_consumer_make_room(consumer, until_ms, err))
            return false;
        ask_done(consumer, arguments, count);
        count = 3;
    }
    return true;
}

/* What retry_script is to do, until there is enough of it for one script. */
struct retries {
    const char *arguments[1 + 3 * RETRIES_AT_ONCE];
    char numbers[2 * RETRIES_AT_ONCE][REDIS_ID_SIZE];
    size_t count;
};

static void add_retry(struct retries *retries, const struct broker_delivery *delivery,
                      int64_t delay_ms)
{
    char(*numbers)[REDIS_ID_SIZE] = &retries->numbers[2 * retries->count];
    const char **arguments = &retries->arguments[1 + 3 * retries->count++];

    snprintf(numbers[0], REDIS_ID_SIZE, "%u", delivery->attempt);
    snprintf(numbers[1], REDIS_ID_SIZE, "%" PRId64, delay_ms);
    arguments[0] = delivery->sequence;
    arguments[1] = numbers[0];
    arguments[2] = numbers[1];
}

static bool ask_retries(struct redis_consumer *consumer, struct retries *retries, int64_t until_ms,
                        struct error *err)
{
    if (retries->count == 0)
        return true;
    if (!redis_consumer_make_room(consumer, until_ms, err))
        return false;
    retries->arguments[0] = REDIS_CONSUMER;
    redis_consumer_run(consumer, REDIS_SETTLED, &retry_script, 1 + 3 * retries->count,
                       retries->arguments);
    retries->count = 0;
    return true;
}

static bool send_retries(struct redis_consumer *consumer, const struct broker_verdict *verdicts,
                         int64_t until_ms, struct error *err)
{
    struct retries retries = {.count = 0};

    for (size_t i = 0; i < consumer->base.batch_count; i++) {
        if (verdicts[i].action == BROKER_DONE)
            continue;
        add_retry(&retries, &consumer->base.batch[i], verdicts[i].delay_ms);
        if (retries.count == RETRIES_AT_ONCE && !ask_retries(consumer, &retries, until_ms, err))
            return false;
    }
    return ask_retries(consumer, &retries, until_ms, err);
}

/* ---- settle ---- */

static bool send(struct redis_consumer *consumer, const struct broker_verdict *verdicts,
                 int64_t until_ms, struct error *err)
{
    return redis_consumer_ready(consumer, until_ms, err) &&
           send_done(consumer, verdicts, until_ms, err) &&
           send_retries(consumer, verdicts, until_ms, err) && redis_consumer_send(consumer, err);
}

static bool told_trouble(struct redis_consumer *consumer, struct error *err)
{
    if (consumer->in_trouble)
        *err = consumer->trouble;
    return consumer->in_trouble;
}

/* Settling twice is harmless, so what was lost with a connection is sent again as a whole. Older
 * settlements that were lost with it stay in doubt. */
static bool send_confirmed(struct redis_consumer *consumer, const struct broker_verdict *verdicts,
                           int64_t until_ms, struct error *err)
{
    bool alone = consumer->expected_count == 0, settled;
    int64_t doubt_until_ms = consumer->doubt_until_ms;

    do {
        settled = send(consumer, verdicts, until_ms, err) &&
                  redis_consumer_hear_all(consumer, until_ms, err);
    } while (!settled && err->code != ERROR_DENIED && redis_now_ms() < until_ms);
    if (!settled)
        return error_set(err, ERROR_UNKNOWN, "the settlements are not confirmed");
    if (told_trouble(consumer, err)) {
        consumer->in_trouble = false;
        return false;
    }
    if (alone)
        consumer->doubt_until_ms = doubt_until_ms;
    return true;
}

bool redis_settle(struct broker_consumer *base, const struct broker_verdict *verdicts, bool confirm,
                  int timeout_ms, struct error *err)
{
    struct redis_consumer *consumer = redis_consumer_of(base);
    int64_t until_ms = redis_now_ms() + timeout_ms;

    return confirm ? send_confirmed(consumer, verdicts, until_ms, err)
                   : send(consumer, verdicts, until_ms, err);
}

bool redis_confirm_settled(struct redis_consumer *consumer, struct error *err)
{
    if (told_trouble(consumer, err))
        return false;
    return redis_now_ms() >= consumer->doubt_until_ms ||
           error_set(err, ERROR_UNKNOWN, "a connection was lost, perhaps with settlements");
}

bool redis_give_back(struct redis_consumer *consumer, int64_t until_ms, struct error *err)
{
    struct retries retries = {.count = 0};

    if (consumer->held_first == consumer->held_count)
        return true;
    if (!redis_consumer_ready(consumer, until_ms, err))
        return false;
    for (size_t i = consumer->held_first; i < consumer->held_count; i++) {
        add_retry(&retries, &consumer->held[i], -(int64_t)(consumer->held_count - i));
        if (retries.count == RETRIES_AT_ONCE && !ask_retries(consumer, &retries, until_ms, err))
            return false;
    }
    return ask_retries(consumer, &retries, until_ms, err) &&
           redis_consumer_hear_all(consumer, until_ms, err);
}

/* ---- extend ---- */

static bool ask_extend(struct redis_consumer *consumer, const struct broker_delivery *deliveries,
                       size_t count, struct error *err)
{
    const char *arguments[1 + ACKS_AT_ONCE];
    char ack_wait[REDIS_ID_SIZE];

    snprintf(ack_wait, sizeof(ack_wait), "%" PRId64, consumer->ack_wait_ms);
    arguments[0] = ack_wait;
    for (size_t from = 0; from < count; from += ACKS_AT_ONCE) {
        size_t some = count - from < ACKS_AT_ONCE ? count - from : ACKS_AT_ONCE;
        for (size_t i = 0; i < some; i++)
            arguments[1 + i] = deliveries[from + i].sequence;
        if (!redis_consumer_has_room(consumer)) /* not made: what is heard would move `held` */
            return error_set(err, ERROR_UNAVAILABLE, "the server does not answer");
        redis_consumer_run(consumer, REDIS_EXTENDED, &extend_script, 1 + some, arguments);
    }
    return true;
}

bool redis_extend(struct broker_consumer *base, struct error *err)
{
    struct redis_consumer *consumer = redis_consumer_of(base);
    int64_t now_ms = redis_now_ms();

    /* What was read ahead has leases too. */
    if (!redis_consumer_send(consumer, err) || !redis_consumer_ready(consumer, now_ms, err))
        return false;
    redis_pass_over_ended(consumer);
    size_t ahead = consumer->held_count - consumer->held_first;
    if (!ask_extend(consumer, base->batch, base->batch_count, err) ||
        !ask_extend(consumer, consumer->held + consumer->held_first, ahead, err))
        return false;
    for (size_t i = 0; i < consumer->haul_count; i++)
        consumer->hauls[i].leased_ms = now_ms;
    return redis_consumer_send(consumer, err);
}
