#include "loop.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "resilience/backoff.h"

#include <pthread.h>
#include <stdlib.h>

#define FETCH_MS 500
#define SETTLE_MS 2000
#define DRAIN_MS 1000
#define PATIENCE_MS 2500

static const struct backoff work_backoff = {.first_ms = 50, .most_ms = 1000};
static const struct backoff broker_backoff = {.first_ms = 100, .most_ms = 2000};

struct loop {
    struct loop_options options;
    struct broker_consumer *consumer;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;        /* guarded by lock */
    int64_t leased_ms;    /* guarded by lock: steady; when the leases of the batch began */
    struct error trouble; /* guarded by lock: ERROR_NONE while all is well */
};

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* ---- state that others see ---- */

struct broker_consumer *loop_consumer(struct loop *loop)
{
    return loop->consumer;
}

bool loop_stopping(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    bool stopping = loop->stopping;
    pthread_mutex_unlock(&loop->lock);
    return stopping;
}

/* Waits; false when it was asked to stop meanwhile. */
static bool wait_unless_stopping(struct loop *loop, int64_t wait_ms)
{
    int64_t until_ms = now_ms() + wait_ms;

    pthread_mutex_lock(&loop->lock);
    while (!loop->stopping && clock_wait(&loop->wake, &loop->lock, until_ms))
        continue;
    bool stopping = loop->stopping;
    pthread_mutex_unlock(&loop->lock);
    return !stopping;
}

void loop_tell(struct loop *loop, const struct error *trouble, const char *message)
{
    enum error_code code = trouble ? trouble->code : ERROR_NONE;

    pthread_mutex_lock(&loop->lock);
    bool changed = loop->trouble.code != code;
    if (trouble)
        loop->trouble = *trouble;
    else
        loop->trouble.code = ERROR_NONE;
    pthread_mutex_unlock(&loop->lock);

    if (loop->options.circuit)
        metrics_set(loop->options.circuit, code == ERROR_NONE);
    if (!changed)
        return;
    if (code == ERROR_NONE)
        log_info("the worker goes on", log_text("topic", loop->options.name));
    else
        log_warning(message, log_text("topic", loop->options.name),
                    log_text("error", trouble->message));
}

bool loop_ready(struct loop *loop, struct error *err)
{
    pthread_mutex_lock(&loop->lock);
    bool ready = loop->trouble.code == ERROR_NONE;
    if (!ready)
        *err = loop->trouble;
    pthread_mutex_unlock(&loop->lock);
    return ready;
}

/* ---- leases ---- */

int64_t loop_patience_ms(const struct loop *loop)
{
    return loop_patience_of(loop->options.group);
}

int64_t loop_patience_of(const struct broker_group *group)
{
    int64_t fifth_ms = group->ack_wait_ms / 5;

    return fifth_ms < PATIENCE_MS ? fifth_ms : PATIENCE_MS;
}

static void set_leased(struct loop *loop, int64_t leased_ms)
{
    pthread_mutex_lock(&loop->lock);
    loop->leased_ms = leased_ms;
    pthread_mutex_unlock(&loop->lock);
}

void loop_keep(struct loop *loop)
{
    int64_t started_ms = now_ms();
    struct error ignored; /* what is not extended is delivered twice, and acted on once */

    pthread_mutex_lock(&loop->lock);
    bool due = !loop->stopping && started_ms - loop->leased_ms >= loop_patience_ms(loop);
    pthread_mutex_unlock(&loop->lock);
    if (due && broker_extend(loop->consumer, &ignored))
        set_leased(loop, started_ms);
}

bool loop_wait(struct loop *loop, unsigned attempt)
{
    int64_t wait_ms = backoff_ms(&work_backoff, attempt, id_random());
    int64_t most_ms = loop_patience_ms(loop);

    return wait_unless_stopping(loop, wait_ms < most_ms ? wait_ms : most_ms);
}

bool loop_settle(struct loop *loop, const struct broker_verdict *verdicts, size_t count,
                 struct error *err)
{
    return broker_settle(loop->consumer, verdicts, count, SETTLE_MS, err);
}

/* ---- the thread ---- */

static bool is_connected(const struct loop *loop)
{
    struct broker_stats stats;

    broker_stats(loop->options.broker, &stats);
    return stats.connected;
}

static bool fetch_and_work(struct loop *loop, struct error *err)
{
    const struct loop_options *options = &loop->options;
    struct broker_batch deliveries;

    if (!broker_fetch(loop->consumer, options->batch_messages, options->batch_bytes, FETCH_MS,
                      &deliveries, err))
        return false;
    if (!deliveries.count)
        return true;
    set_leased(loop, now_ms());
    return options->work(options->context, loop, &deliveries, err);
}

/* Here and not in loop_stop: a mute broker makes each of its calls a wait, and several loops wait
 * at the same time. */
static void wind_down(struct loop *loop)
{
    struct error err;

    if (!broker_drain_consumer(loop->consumer, DRAIN_MS, &err))
        log_warning("not everything could be given back: it is delivered again",
                    log_text("topic", loop->options.name), log_text("error", err.message));
    broker_close_consumer(loop->consumer);
    loop->consumer = NULL;
}

static void *run(void *context)
{
    struct loop *loop = context;
    struct error err;

    for (unsigned failures = 0; !loop_stopping(loop);) {
        if (!fetch_and_work(loop, &err)) {
            loop_tell(loop, &err, "the broker is away");
            failures++;
            wait_unless_stopping(loop, backoff_ms(&broker_backoff, failures, id_random()));
        } else if (failures && is_connected(loop)) { /* an absent one has empty batches too */
            loop_tell(loop, NULL, "");
            failures = 0;
        }
    }
    wind_down(loop);
    return NULL;
}

static void loop_free(struct loop *loop)
{
    broker_close_consumer(loop->consumer);
    pthread_cond_destroy(&loop->wake);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

bool loop_start(struct loop **out, const struct loop_options *options, struct error *err)
{
    struct loop *loop = memory_alloc(sizeof(*loop));

    loop->options = *options;
    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->wake, NULL);
    if (options->circuit)
        metrics_set(options->circuit, 1);
    if (!broker_open_consumer(&loop->consumer, options->broker, options->group, err)) {
        loop_free(loop);
        return false;
    }
    *out = loop;
    if (pthread_create(&loop->thread, NULL, run, loop) != 0) {
        loop_free(loop);
        *out = NULL;
        return error_set(err, ERROR_INTERNAL, "start a consuming thread");
    }
    return true;
}

void loop_halt(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    if (!loop->stopping) {
        broker_wake(loop->consumer); /* under the lock: who sees the flag may close the consumer */
        pthread_cond_signal(&loop->wake);
    }
    loop->stopping = true;
    pthread_mutex_unlock(&loop->lock);
}

void loop_stop(struct loop *loop)
{
    if (!loop)
        return;
    loop_halt(loop);
    pthread_join(loop->thread, NULL);
    loop_free(loop);
}
