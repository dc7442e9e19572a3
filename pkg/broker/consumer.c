/*
 * Between a driver's deliveries and the caller: the gate that quarantines what was delivered too
 * often, and rejections. Whatever leaves the group's work this way is a stored dead letter first.
 */
#include "broker/broker_driver.h"

#include "base/memory.h"
#include "broker/checks.h"

#include <stdlib.h>

#define BURY_FLOOR_MS 50   /* what burying gets even when the caller's time is over */
#define BURY_AGAIN_MS 1000 /* a message whose dead letter could not be stored comes again */

/* What is hidden from the caller, and what becomes of it. One of each per delivery of the batch. */
struct broker_gate {
    struct broker_delivery *shown; /* as many as consumer->shown says */
    bool *hidden;
    bool buried; /* the hidden ones have their dead letters */
};

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

static int remaining_ms(int64_t until_ms, int floor_ms)
{
    int64_t left_ms = until_ms - now_ms();

    return left_ms > floor_ms ? (int)left_ms : floor_ms;
}

bool broker_open_consumer(struct broker_consumer **out, struct broker *broker,
                          const struct broker_group *group, struct error *err)
{
    if (!check_group(group, err))
        return error_wrap(err, "open consumer");
    if (!broker->driver->open_consumer)
        return error_input(err, "unsupported", "", "%s:// cannot consume", broker->driver->scheme);
    if (!broker->driver->open_consumer(out, broker, group, err))
        return error_wrap(err, "open consumer %s on '%s'", group->name, group->stream);
    (*out)->broker = broker;
    (*out)->group = group;
    pthread_mutex_init(&(*out)->lock, NULL);
    return true;
}

static void set_working(struct broker_consumer *consumer, bool working)
{
    pthread_mutex_lock(&consumer->lock);
    consumer->working = working;
    pthread_mutex_unlock(&consumer->lock);
}

static void forget_batch(struct broker_consumer *consumer)
{
    if (consumer->gate) {
        free(consumer->gate->shown);
        free(consumer->gate->hidden);
        free(consumer->gate);
    }
    consumer->gate = NULL;
    consumer->shown = (struct broker_batch){0};
}

void broker_close_consumer(struct broker_consumer *consumer)
{
    if (!consumer)
        return;
    forget_batch(consumer);
    pthread_mutex_destroy(&consumer->lock);
    consumer->broker->driver->close_consumer(consumer);
}

/* ---- fetch ---- */

static bool is_exhausted(const struct broker_consumer *consumer, size_t i)
{
    return consumer->batch[i].attempt > consumer->group->max_attempts;
}

static size_t count_exhausted(const struct broker_consumer *consumer)
{
    size_t count = 0;

    for (size_t i = 0; i < consumer->batch_count; i++)
        count += is_exhausted(consumer, i);
    return count;
}

static void hide_exhausted(struct broker_consumer *consumer)
{
    struct broker_gate *gate = memory_alloc(sizeof(*gate));
    size_t shown = 0;

    gate->shown = memory_alloc(consumer->batch_count * sizeof(*gate->shown));
    gate->hidden = memory_alloc(consumer->batch_count * sizeof(*gate->hidden));
    for (size_t i = 0; i < consumer->batch_count; i++) {
        gate->hidden[i] = is_exhausted(consumer, i);
        if (!gate->hidden[i])
            gate->shown[shown++] = consumer->batch[i];
    }
    consumer->gate = gate;
    consumer->shown = (struct broker_batch){.deliveries = gate->shown, .count = shown};
}

static bool bury_hidden(struct broker_consumer *consumer, size_t count, int timeout_ms,
                        struct error *err)
{
    struct dead_letter *letters = memory_alloc(count * sizeof(*letters));
    size_t used = 0;

    for (size_t i = 0; i < consumer->batch_count; i++) {
        const struct broker_delivery *delivery = &consumer->batch[i];
        if (consumer->gate->hidden[i])
            letters[used++] = (struct dead_letter){
                .delivery = delivery,
                .data = delivery->data,
                .size = delivery->size,
                .reason = "max_attempts",
                .error = "it was delivered too often without being settled",
            };
    }
    consumer->gate->buried = dead_letter_store(consumer, letters, count, timeout_ms, err);
    free(letters);
    return consumer->gate->buried;
}

static struct broker_verdict gate_verdict(const struct broker_gate *gate)
{
    return gate->buried
               ? (struct broker_verdict){.action = BROKER_DONE}
               : (struct broker_verdict){.action = BROKER_RETRY, .delay_ms = BURY_AGAIN_MS};
}

/* Nothing of the batch is for the caller: it is settled here. */
static bool settle_hidden(struct broker_consumer *consumer, int timeout_ms, struct error *err)
{
    size_t count = consumer->batch_count;
    struct broker_verdict *verdicts = memory_alloc(count * sizeof(*verdicts));

    for (size_t i = 0; i < count; i++)
        verdicts[i] = gate_verdict(consumer->gate);
    bool settled = consumer->broker->driver->settle(consumer, verdicts, true, timeout_ms, err);
    free(verdicts);
    forget_batch(consumer);
    consumer->batch_count = 0;
    return settled;
}

/* Hides what is past the limit. When that is everything, the batch is over. */
static bool pass_gate(struct broker_consumer *consumer, int64_t until_ms, struct error *err)
{
    size_t exhausted = count_exhausted(consumer);
    struct error trouble;

    consumer->shown = (struct broker_batch){consumer->batch, consumer->batch_count};
    if (exhausted == 0)
        return true;

    hide_exhausted(consumer);
    bool buried = bury_hidden(consumer, exhausted, remaining_ms(until_ms, BURY_FLOOR_MS), err);
    if (consumer->shown.count > 0)
        return true; /* what was not buried is retried when the batch is settled, and buried then */
    if (!settle_hidden(consumer, remaining_ms(until_ms, BURY_FLOOR_MS), &trouble) && buried) {
        *err = trouble;
        return false;
    }
    return buried;
}

static void count_deliveries(struct broker_consumer *consumer)
{
    struct broker_counters *counters = &consumer->broker->counters;
    size_t again = 0;

    for (size_t i = 0; i < consumer->shown.count; i++)
        again += consumer->shown.deliveries[i].attempt > 1;
    atomic_fetch_add(&counters->delivered, consumer->shown.count);
    atomic_fetch_add(&counters->redelivered, again);
}

static bool check_fetch(const struct broker_consumer *consumer, size_t max, struct error *err)
{
    if (consumer->drained)
        return error_set(err, ERROR_CLOSED, "the consumer is drained");
    if (max == 0)
        return error_set(err, ERROR_INVALID, "at least one message has to be asked for");
    if (consumer->shown.count > 0)
        return error_set(err, ERROR_INVALID, "the last batch is not settled");
    return true;
}

static bool fetch(struct broker_consumer *consumer, size_t max, size_t max_bytes, int timeout_ms,
                  struct error *err)
{
    int64_t until_ms = now_ms() + timeout_ms;
    bool all_hidden;

    do {
        int left_ms = remaining_ms(until_ms, 0);
        if (!consumer->broker->driver->fetch(consumer, max, max_bytes, left_ms, err))
            return false;
        bool empty = consumer->batch_count == 0;
        if (!pass_gate(consumer, until_ms, err))
            return false;
        all_hidden = !empty && consumer->shown.count == 0;
    } while (all_hidden && now_ms() < until_ms);
    return true;
}

bool broker_fetch(struct broker_consumer *consumer, size_t max, size_t max_bytes, int timeout_ms,
                  struct broker_batch *out, struct error *err)
{
    if (!check_fetch(consumer, max, err) || !fetch(consumer, max, max_bytes, timeout_ms, err))
        return error_wrap(err, "fetch for %s from '%s'", consumer->group->name,
                          consumer->group->stream);
    count_deliveries(consumer);
    *out = consumer->shown;
    if (out->count > 0)
        set_working(consumer, true);
    return true;
}

void broker_wake(struct broker_consumer *consumer)
{
    consumer->broker->driver->wake(consumer);
}

/* ---- settle ---- */

static size_t count_action(const struct broker_verdict *verdicts, size_t count,
                           enum broker_action action)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++)
        found += verdicts[i].action == action;
    return found;
}

static bool bury_rejected(struct broker_consumer *consumer, const struct broker_verdict *verdicts,
                          size_t rejected, int timeout_ms, struct error *err)
{
    struct dead_letter *letters = memory_alloc(rejected * sizeof(*letters));
    size_t used = 0;

    for (size_t i = 0; i < consumer->shown.count; i++) {
        const struct broker_delivery *delivery = &consumer->shown.deliveries[i];
        if (verdicts[i].action == BROKER_REJECT)
            letters[used++] = (struct dead_letter){
                .delivery = delivery,
                .data = delivery->data,
                .size = delivery->size,
                .reason = verdicts[i].reason,
                .error = verdicts[i].error ? verdicts[i].error : "",
            };
    }
    bool stored = dead_letter_store(consumer, letters, used, timeout_ms, err);
    free(letters);
    return stored;
}

/* The caller's verdicts in the driver's terms, with those on what the gate hid in their places. */
static struct broker_verdict *driver_verdicts(const struct broker_consumer *consumer,
                                              const struct broker_verdict *verdicts, bool buried)
{
    struct broker_verdict *all = memory_alloc(consumer->batch_count * sizeof(*all));
    const struct broker_gate *gate = consumer->gate;
    struct broker_verdict rejected = gate_verdict(&(struct broker_gate){.buried = buried});
    size_t next = 0;

    for (size_t i = 0; i < consumer->batch_count; i++) {
        if (gate && gate->hidden[i])
            all[i] = gate_verdict(gate);
        else if (verdicts[next++].action == BROKER_REJECT)
            all[i] = rejected;
        else
            all[i] = verdicts[next - 1];
    }
    return all;
}

static bool settle_and_bury(struct broker_consumer *consumer, const struct broker_verdict *verdicts,
                            size_t rejected, int64_t until_ms, struct error *err)
{
    const struct broker_driver *driver = consumer->broker->driver;
    struct error trouble;
    bool buried = rejected == 0 || bury_rejected(consumer, verdicts, rejected,
                                                 remaining_ms(until_ms, BURY_FLOOR_MS), err);
    struct broker_verdict *all = driver_verdicts(consumer, verdicts, buried);
    bool settled =
        driver->settle(consumer, all, true, remaining_ms(until_ms, BURY_FLOOR_MS), &trouble);

    free(all);
    if (buried && !settled)
        *err = trouble;
    return buried && settled;
}

static bool settle(struct broker_consumer *consumer, const struct broker_verdict *verdicts,
                   size_t count, int timeout_ms, struct error *err)
{
    size_t rejected = count_action(verdicts, count, BROKER_REJECT);

    if (rejected == 0 && !consumer->gate)
        return consumer->broker->driver->settle(consumer, verdicts, false, timeout_ms, err);
    return settle_and_bury(consumer, verdicts, rejected, now_ms() + timeout_ms, err);
}

bool broker_settle(struct broker_consumer *consumer, const struct broker_verdict *verdicts,
                   size_t count, int timeout_ms, struct error *err)
{
    struct broker_counters *counters = &consumer->broker->counters;

    if (!check_verdicts(verdicts, count, consumer->shown.count, err))
        return error_wrap(err, "settle for %s", consumer->group->name);
    if (count == 0)
        return true;

    set_working(consumer, false);
    bool settled = settle(consumer, verdicts, count, timeout_ms, err);
    forget_batch(consumer);
    consumer->batch_count = 0;
    if (!settled)
        return error_wrap(err, "settle for %s on '%s'", consumer->group->name,
                          consumer->group->stream);
    size_t retried = count_action(verdicts, count, BROKER_RETRY);
    atomic_fetch_add(&counters->settled, count - retried);
    atomic_fetch_add(&counters->retried, retried);
    return true;
}

bool broker_extend(struct broker_consumer *consumer, struct error *err)
{
    pthread_mutex_lock(&consumer->lock);
    bool extended = !consumer->working || consumer->broker->driver->extend(consumer, err);
    pthread_mutex_unlock(&consumer->lock);
    return extended ||
           error_wrap(err, "extend for %s on '%s'", consumer->group->name, consumer->group->stream);
}

/* ---- drain ---- */

/* A batch that its owner will not settle any more goes back to the group at once. */
static bool give_back(struct broker_consumer *consumer, int timeout_ms, struct error *err)
{
    size_t count = consumer->shown.count;
    struct broker_verdict *verdicts;

    if (count == 0)
        return true;
    verdicts = memory_alloc(count * sizeof(*verdicts));
    for (size_t i = 0; i < count; i++)
        verdicts[i] = (struct broker_verdict){.action = BROKER_RETRY};
    bool settled = broker_settle(consumer, verdicts, count, timeout_ms, err);
    free(verdicts);
    return settled;
}

bool broker_drain_consumer(struct broker_consumer *consumer, int timeout_ms, struct error *err)
{
    int64_t until_ms = now_ms() + timeout_ms;

    if (consumer->drained)
        return true;
    bool drained =
        give_back(consumer, timeout_ms, err) &&
        consumer->broker->driver->drain_consumer(consumer, remaining_ms(until_ms, 0), err);
    consumer->drained = true;
    return drained || error_wrap(err, "drain consumer %s on '%s'", consumer->group->name,
                                 consumer->group->stream);
}
