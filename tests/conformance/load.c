#include "conformance/load.h"

#include <stdio.h>
#include <stdlib.h>

#define FETCH_MAX 16

static bool publish_one(struct load *load, int number)
{
    char subject[80], text[16];
    struct broker_receipt receipt;
    int64_t until_ms = now_ms() + load->patience_ms;

    snprintf(subject, sizeof(subject), "%s.n", load->stage->name);
    struct broker_message message = {.stream = load->stage->name,
                                     .subject = subject,
                                     .id = text,
                                     .data = text,
                                     .size = (size_t)snprintf(text, sizeof(text), "%d", number)};
    while (!try_publish(load->stage, &message, load->publish_ms, &receipt)) {
        if (now_ms() < until_ms)
            continue;
        fprintf(stderr, "publish %d: %s\n", number, receipt.error.message);
        return false;
    }
    return true;
}

static void *publish_all(void *context)
{
    struct load *load = context;

    for (int i = 1; i <= load->count && !load->enough; i++) {
        if (!publish_one(load, i)) {
            load->failed = true;
            break;
        }
        load->published = i;
        pause_ms(1);
    }
    load->published_all = true;
    return NULL;
}

static bool is_over(const struct load *load)
{
    return load->stop || (load->published_all && load->unique >= load->published);
}

static void fetch_some(struct load *load)
{
    struct broker_verdict verdicts[FETCH_MAX] = {{.action = BROKER_DONE}};
    struct broker_batch batch;
    struct error err;

    if (!broker_fetch(load->consumer, FETCH_MAX, SIZE_MAX, 200, &batch, &err)) {
        pause_ms(10);
        return;
    }
    for (size_t i = 0; i < batch.count; i++) {
        long number = strtol(batch.deliveries[i].id, NULL, 10);
        load->unique += number >= 1 && number <= LOAD_MAX && load->seen[number]++ == 0;
    }
    if (!broker_settle(load->consumer, verdicts, batch.count, 1000, &err))
        pause_ms(10); /* they come again */
}

static void *fetch_all(void *context)
{
    struct load *load = context;
    int64_t until_ms = now_ms() + LOAD_SEEN_MS;

    while (!is_over(load) && now_ms() < until_ms) {
        int before = load->unique;
        fetch_some(load);
        if (load->unique > before)
            until_ms = now_ms() + LOAD_SEEN_MS;
    }
    return NULL;
}

void load_start(struct load *load, struct stage *stage)
{
    load->stage = stage;
    pthread_create(&load->publisher, NULL, publish_all, load);
    load_start_fetching(load);
}

void load_start_fetching(struct load *load)
{
    load->stop = false;
    load->consumer = consume(load->stage);
    pthread_create(&load->fetcher, NULL, fetch_all, load);
}

void load_stop_fetching(struct load *load)
{
    load->stop = true;
    pthread_join(load->fetcher, NULL);
}

void load_await(const struct load *load, int number, int64_t timeout_ms)
{
    int64_t until_ms = now_ms() + timeout_ms;

    while (load->published < number && !load->failed && now_ms() < until_ms)
        pause_ms(5);
    if (load->published < number)
        fail_msg("%d were published in %lld ms, not %d", load->published, (long long)timeout_ms,
                 number);
}

void load_finish(struct load *load)
{
    load->enough = load->count == LOAD_MAX;
    pthread_join(load->publisher, NULL);
    pthread_join(load->fetcher, NULL);
    assert_false(load->failed);
    for (int i = 1; i <= load->published; i++)
        if (load->seen[i] == 0)
            fail_msg("%d of %d was never seen", i, load->published);
}
