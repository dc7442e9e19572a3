#include "conformance/stage.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT_MS 30000 /* members of a cluster may vote meanwhile */

int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

void pause_ms(int64_t ms)
{
    int64_t until_ms = now_ms() + ms;

    for (int64_t left_ms = ms; left_ms > 0; left_ms = until_ms - now_ms())
        poll(NULL, 0, (int)left_ms);
}

struct broker *stage_broker(struct stage *stage)
{
    struct broker *broker;
    struct error err;

    assert_ok(broker_open(&broker, stage->url, NULL, &err));
    return broker;
}

void stage_declare_group(struct stage *stage, const struct broker_group *group)
{
    struct error err;

    assert_ok(
        broker_declare(stage->broker, &stage->stream, 1, group, 1, NULL, NULL, WAIT_MS, &err));
}

void stage_declare(struct stage *stage)
{
    stage_declare_group(stage, &stage->group);
}

bool try_publish(struct stage *stage, const struct broker_message *message, int timeout_ms,
                 struct broker_receipt *out)
{
    struct error err;

    return broker_publish(stage->broker, message, 1, timeout_ms, out, &err);
}

void publish(struct stage *stage, const char *key, const char *id, const char *text,
             struct broker_receipt *out)
{
    static int serial;
    struct broker_receipt receipt;
    char subject[128], new_id[64];
    struct error err;

    snprintf(subject, sizeof(subject), "%s.%s", stage->name, key);
    snprintf(new_id, sizeof(new_id), "%s-%d", stage->name, ++serial);
    struct broker_message message = {.stream = stage->name,
                                     .subject = subject,
                                     .id = id ? id : new_id,
                                     .data = text,
                                     .size = strlen(text)};
    assert_ok(broker_publish(stage->broker, &message, 1, CALL_MS, &receipt, &err));
    if (out)
        *out = receipt;
}

void publish_numbers(struct stage *stage, int from, int to)
{
    char text[16];

    for (int i = from; i <= to; i++) {
        snprintf(text, sizeof(text), "%d", i);
        publish(stage, "n", text, text, NULL);
    }
}

struct broker_consumer *consume_as(struct broker *broker, const struct broker_group *group)
{
    struct broker_consumer *consumer;
    struct error err;

    assert_ok(broker_open_consumer(&consumer, broker, group, &err));
    return consumer;
}

struct broker_consumer *consume(struct stage *stage)
{
    return consume_as(stage->broker, &stage->group);
}

struct broker_batch take(struct broker_consumer *consumer, size_t max, int timeout_ms)
{
    struct broker_batch batch;
    struct error err;

    assert_ok(broker_fetch(consumer, max, SIZE_MAX, timeout_ms, &batch, &err));
    return batch;
}

struct broker_batch fetch_through(struct broker_consumer *consumer, int64_t until_ms)
{
    struct broker_batch batch = {0};
    struct error err;

    while (batch.count == 0 && now_ms() < until_ms)
        if (!broker_fetch(consumer, 1, SIZE_MAX, 200, &batch, &err))
            pause_ms(20);
    return batch;
}

void settle_all(struct broker_consumer *consumer, size_t count, struct broker_verdict verdict)
{
    struct broker_verdict verdicts[1024];
    struct error err;

    assert_in_range(count, 0, ARRAY_LEN(verdicts));
    for (size_t i = 0; i < count; i++)
        verdicts[i] = verdict;
    assert_ok(broker_settle(consumer, verdicts, count, CALL_MS, &err));
}

void done(struct broker_consumer *consumer, size_t count)
{
    settle_all(consumer, count, (struct broker_verdict){.action = BROKER_DONE});
}

struct broker_delivery take_this(struct broker_consumer *consumer, const char *text,
                                 unsigned attempt, int timeout_ms)
{
    struct broker_batch batch = take(consumer, 1, timeout_ms);

    if (batch.count != 1)
        fail_msg("'%s' did not come in %d ms", text, timeout_ms);
    if (batch.deliveries[0].size != strlen(text) ||
        memcmp(batch.deliveries[0].data, text, strlen(text)) != 0)
        fail_msg("'%.*s' came instead of '%s'", (int)batch.deliveries[0].size,
                 batch.deliveries[0].data, text);
    assert_int_equal(batch.deliveries[0].attempt, attempt);
    return batch.deliveries[0];
}

void expect_done(struct broker_consumer *consumer, const char *text, unsigned attempt,
                 int timeout_ms)
{
    take_this(consumer, text, attempt, timeout_ms);
    done(consumer, 1);
}

void expect_quiet(struct broker_consumer *consumer, int ms)
{
    struct broker_batch batch = take(consumer, 16, ms);

    if (batch.count > 0)
        fail_msg("%zu came, the first '%.*s' for the %uth time", batch.count,
                 (int)batch.deliveries[0].size, batch.deliveries[0].data,
                 batch.deliveries[0].attempt);
}

struct broker_lag lag(struct stage *stage)
{
    struct broker_lag found;
    struct error err;

    assert_ok(broker_lag(stage->broker, stage->name, stage->group.name, CALL_MS, &found, &err));
    return found;
}

static int64_t vote_until_ms(const struct stage *stage)
{
    return now_ms() + (stage->stream.replicas > 1 ? CALL_MS : 0);
}

void expect_in_flight(struct stage *stage, int64_t count)
{
    int64_t until_ms = vote_until_ms(stage);

    while (lag(stage).in_flight != count && now_ms() < until_ms)
        pause_ms(10);
    assert_int_equal(lag(stage).in_flight, count);
}

void expect_all_settled(struct stage *stage)
{
    int64_t until_ms = vote_until_ms(stage);

    while (lag(stage).unread + lag(stage).in_flight && now_ms() < until_ms)
        pause_ms(10);
    assert_int_equal(lag(stage).unread + lag(stage).in_flight, 0);
}

struct tally {
    const char *prefix;
    size_t count;
};

static void tally(void *context, const struct broker_delivery *delivery)
{
    struct tally *tally = context;

    tally->count += strncmp(delivery->subject, tally->prefix, strlen(tally->prefix)) == 0;
}

size_t count_stored(struct stage *stage, const char *stream, const char *subject_prefix)
{
    struct tally found = {.prefix = subject_prefix};
    struct error err;

    assert_ok(broker_peek(stage->broker, stream, "", 100000, tally, &found, COUNT_MS, &err));
    return found.count;
}

void expect_between(const char *what, int64_t value, int64_t from, int64_t to)
{
    if (value < from || value > to)
        fail_msg("%s: %lld is not %lld to %lld", what, (long long)value, (long long)from,
                 (long long)to);
}

/* ---- time ---- */

/* Nanoseconds that a thread was ready to run and did not; 0 where the kernel does not count them.
 */
static int64_t thread_kept_ns(pid_t pid, const char *thread)
{
    char path[64], text[96] = "";
    int64_t kept_ns = 0;

    snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat", (int)pid, thread);
    FILE *file = fopen(path, "re"); /* NULL: it has just ended */
    if (!file)
        return 0;
    if (fgets(text, sizeof(text), file)) { /* running, waiting, turns */
        const char *waiting = strchr(text, ' ');
        kept_ns = waiting ? strtoll(waiting, NULL, 10) : 0;
    }
    fclose(file);
    return kept_ns;
}

static int64_t process_kept_ms(pid_t pid)
{
    char path[32];
    int64_t kept_ns = 0;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    if (!threads)
        return 0;
    for (const struct dirent *entry = readdir(threads); entry; entry = readdir(threads))
        if (entry->d_name[0] != '.')
            kept_ns += thread_kept_ns(pid, entry->d_name);
    closedir(threads);
    return kept_ns / 1000000;
}

struct stopwatch stopwatch_start(const struct stage *stage)
{
    struct stopwatch stopwatch = {.started_ms = now_ms(), .own_ms = process_kept_ms(getpid())};

    for (size_t i = 0; i < stage->watched_count; i++) {
        stopwatch.servers[i] = server_pid(stage->watched[i]);
        stopwatch.server_ms[i] = stopwatch.servers[i] ? process_kept_ms(stopwatch.servers[i]) : 0;
    }
    return stopwatch;
}

/* A server that was started meanwhile counts from its start. Threads end, too: then it is less. */
int64_t stopwatch_kept_ms(const struct stage *stage, const struct stopwatch *stopwatch)
{
    int64_t own_ms = process_kept_ms(getpid()) - stopwatch->own_ms;
    int64_t kept_ms = own_ms > 0 ? own_ms : 0;

    for (size_t i = 0; i < stage->watched_count; i++) {
        pid_t pid = server_pid(stage->watched[i]);
        int64_t server_ms = pid ? process_kept_ms(pid) : 0;
        if (pid == stopwatch->servers[i])
            server_ms -= stopwatch->server_ms[i];
        kept_ms += server_ms > 0 ? server_ms : 0;
    }
    return kept_ms;
}

void expect_took(const char *what, const struct stage *stage, const struct stopwatch *stopwatch,
                 int64_t from_ms, int64_t to_ms)
{
    int64_t took_ms = now_ms() - stopwatch->started_ms;
    int64_t kept = took_ms > to_ms ? stopwatch_kept_ms(stage, stopwatch) : 0;

    if (took_ms < from_ms || took_ms > to_ms + kept)
        fail_msg("%s: %lld ms are not %lld to %lld and %lld that the machine was busy", what,
                 (long long)took_ms, (long long)from_ms, (long long)to_ms, (long long)kept);
}
