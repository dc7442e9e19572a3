#include "http/http_ready.h"

#include "base/clock.h"
#include "base/memory.h"
#include "http/http_connection.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define READY_PERIOD_MS 500
#define READY_FRESH_MS 100 /* asked again within this time, the answer is not looked up again */
#define READY_STALE_MS 3000

struct result {
    bool known, well;
    int64_t checked_ms;
    struct error err;
};

struct http_ready {
    const struct http_check *checks; /* borrowed */
    void *context;                   /* borrowed */
    size_t count;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    bool stopping, wanted;
    int64_t started_ms;
    struct result results[];
};

static void run_check(struct http_ready *ready, size_t index)
{
    struct result result = {.known = true};

    result.well = ready->checks[index].check(ready->context, &result.err);
    result.checked_ms = http_now_ms();
    pthread_mutex_lock(&ready->lock);
    ready->results[index] = result;
    pthread_mutex_unlock(&ready->lock);
}

static bool wait_for_work(struct http_ready *ready)
{
    int64_t until_ms = http_now_ms() + READY_PERIOD_MS;

    pthread_mutex_lock(&ready->lock);
    while (!ready->stopping && !ready->wanted &&
           clock_wait(&ready->changed, &ready->lock, until_ms))
        continue;
    ready->wanted = false;
    bool go_on = !ready->stopping;
    pthread_mutex_unlock(&ready->lock);
    return go_on;
}

static void *run(void *argument)
{
    struct http_ready *ready = argument;

    do {
        for (size_t i = 0; i < ready->count; i++)
            run_check(ready, i);
    } while (wait_for_work(ready));
    return NULL;
}

struct http_ready *http_ready_start(const struct http_check *checks, void *context)
{
    size_t count = 0;

    while (checks && checks[count].name)
        count++;

    struct http_ready *ready = memory_alloc(sizeof(*ready) + count * sizeof(ready->results[0]));
    ready->checks = checks;
    ready->context = context;
    ready->count = count;
    ready->started_ms = http_now_ms();
    pthread_mutex_init(&ready->lock, NULL);

    pthread_cond_init(&ready->changed, NULL);
    if (count && pthread_create(&ready->thread, NULL, run, ready) != 0)
        abort(); /* no thread is to be had: like memory */
    return ready;
}

void http_ready_stop(struct http_ready *ready)
{
    if (!ready)
        return;
    pthread_mutex_lock(&ready->lock);
    ready->stopping = true;
    pthread_cond_signal(&ready->changed);
    pthread_mutex_unlock(&ready->lock);
    if (ready->count)
        pthread_join(ready->thread, NULL);
    pthread_cond_destroy(&ready->changed);
    pthread_mutex_destroy(&ready->lock);
    free(ready);
}

/* Called with the lock held. */
static bool print_check(const struct http_ready *ready, size_t index, struct buffer *out)
{
    const struct result *result = &ready->results[index];
    const char *name = ready->checks[index].name;
    int64_t age_ms = http_now_ms() - (result->known ? result->checked_ms : ready->started_ms);

    if (result->known && age_ms <= READY_STALE_MS) {
        if (result->well)
            buffer_print(out, "[+]%s ok\n", name);
        else
            buffer_print(out, "[-]%s failed: %s\n", name, result->err.message);
        return result->well;
    }
    buffer_print(out, "[-]%s failed: no answer for %lld ms\n", name, (long long)age_ms);
    return false;
}

bool http_ready_print(struct http_ready *ready, struct buffer *out)
{
    bool well = true;

    pthread_mutex_lock(&ready->lock);
    for (size_t i = 0; i < ready->count; i++) {
        well = print_check(ready, i, out) && well;
        if (http_now_ms() - ready->results[i].checked_ms > READY_FRESH_MS)
            ready->wanted = true;
    }
    if (ready->wanted)
        pthread_cond_signal(&ready->changed);
    pthread_mutex_unlock(&ready->lock);
    return well;
}
