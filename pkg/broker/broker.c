#include "broker/broker_driver.h"

#include "base/memory.h"
#include "broker/checks.h"
#include "broker/dead_letter.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_PENDING 16384
#define LATE_MS 100 /* what a driver may be late with an answer */
#define DEAD_MAX_BYTES (256LL * 1024 * 1024)
#define DEAD_DEDUP_WINDOW_MS (24LL * 60 * 60 * 1000)

static const struct broker_driver *const drivers[] = {&broker_nats, &broker_redis, &broker_memory};

static bool has_scheme(const char *url, const char *scheme)
{
    size_t length = scheme ? strlen(scheme) : 0;

    return length > 0 && strncmp(url, scheme, length) == 0 && strncmp(url + length, "://", 3) == 0;
}

static const struct broker_driver *find_driver(const char *url)
{
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++)
        if (has_scheme(url, drivers[i]->scheme) || has_scheme(url, drivers[i]->secure_scheme))
            return drivers[i];
    return NULL;
}

/* A URL may carry a password: only what follows the "@" is ever shown. */
static const char *without_secrets(const char *url)
{
    const char *at = strrchr(url, '@');

    return at ? at + 1 : url;
}

bool broker_open(struct broker **out, const char *url, const struct broker_options *options,
                 struct error *err)
{
    const struct broker_driver *driver = url ? find_driver(url) : NULL;
    struct broker_options filled = options ? *options : (struct broker_options){0};

    if (!driver)
        return error_set(err, ERROR_INVALID,
                         "no broker driver for '%.*s': want nats://host:port, redis://host:port or "
                         "memory://name",
                         url ? (int)strcspn(url, ":") : 0, url ? url : "");
    if (!filled.name)
        filled.name = "millrace";
    if (!filled.max_pending)
        filled.max_pending = MAX_PENDING;
    if (!driver->open(out, url, &filled, err))
        return error_wrap(err, "open broker '%s'", without_secrets(url));
    (*out)->driver = driver;
    return true;
}

void broker_close(struct broker *broker)
{
    if (broker)
        broker->driver->close(broker);
}

void broker_observe(struct broker *broker, enum broker_incident incident, const char *detail)
{
    if (broker->options.observe)
        broker->options.observe(broker->options.context, incident, detail);
}

static bool unsupported(const struct broker *broker, const char *what, struct error *err)
{
    return error_input(err, "unsupported", "", "%s:// cannot %s", broker->driver->scheme, what);
}

bool broker_ping(struct broker *broker, int timeout_ms, struct error *err)
{
    if (!broker->driver->ping)
        return unsupported(broker, "ping", err);
    return broker->driver->ping(broker, timeout_ms, err) || error_wrap(err, "ping broker");
}

bool broker_drain(struct broker *broker, int timeout_ms, struct error *err)
{
    if (!broker->driver->drain)
        return unsupported(broker, "drain", err);
    return broker->driver->drain(broker, timeout_ms, err) || error_wrap(err, "drain broker");
}

/* ---- topology ---- */

static void report_nothing(void *context, const char *name, enum broker_found found,
                           const char *detail)
{
    (void)context, (void)name, (void)found, (void)detail;
}

static bool check_topology(const struct broker_declaration *declaration, struct error *err)
{
    for (size_t i = 0; i < declaration->stream_count; i++)
        if (!check_stream(&declaration->streams[i], err))
            return false;
    for (size_t i = 0; i < declaration->group_count; i++)
        if (!check_group(&declaration->groups[i], err))
            return false;
    return true;
}

/* The streams that were asked for and, unless it is among them, DEAD; as replicated as they are. */
static struct broker_stream *with_dead(const struct broker_stream *streams, size_t *count)
{
    struct broker_stream *all = memory_alloc((*count + 1) * sizeof(*all));
    struct broker_stream dead = {.name = DEAD_STREAM,
                                 .subjects = DEAD_SUBJECTS,
                                 .max_bytes = DEAD_MAX_BYTES,
                                 .dedup_window_ms = DEAD_DEDUP_WINDOW_MS,
                                 .replicas = 1};
    bool present = false;

    for (size_t i = 0; i < *count; i++) {
        all[i] = streams[i];
        present = present || strcmp(streams[i].name, DEAD_STREAM) == 0;
        if (streams[i].replicas > dead.replicas)
            dead.replicas = streams[i].replicas;
    }
    if (!present)
        all[(*count)++] = dead;
    return all;
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
bool broker_declare(struct broker *broker, const struct broker_stream *streams, size_t stream_count,
                    const struct broker_group *groups, size_t group_count, broker_found_one *report,
                    void *context, int timeout_ms, struct error *err)
{
    struct broker_declaration declaration = {.streams = streams,
                                             .stream_count = stream_count,
                                             .groups = groups,
                                             .group_count = group_count,
                                             .report = report ? report : report_nothing,
                                             .context = context};

    if (!broker->driver->declare)
        return unsupported(broker, "declare", err);
    if (!check_topology(&declaration, err))
        return error_wrap(err, "declare");

    struct broker_stream *all = with_dead(streams, &declaration.stream_count);
    declaration.streams = all;
    bool done = broker->driver->declare(broker, &declaration, timeout_ms, err);
    free(all);
    return done || error_wrap(err, "declare");
}

bool broker_trim(struct broker *broker, const char *stream, int64_t keep_ms, int timeout_ms,
                 struct error *err)
{
    if (!broker->driver->trim)
        return unsupported(broker, "trim", err);
    if (!check_name("stream", stream, err))
        return error_wrap(err, "trim");
    if (keep_ms < 0)
        return error_set(err, ERROR_INVALID, "trim '%s': a negative age", stream);
    return broker->driver->trim(broker, stream, keep_ms, timeout_ms, err) ||
           error_wrap(err, "trim '%s'", stream);
}

/* ---- publish ---- */

bool broker_publish_async(struct broker *broker, const struct broker_message *message,
                          int timeout_ms, broker_done *done, void *context, struct error *err)
{
    if (!broker->driver->publish_async)
        return unsupported(broker, "publish", err);
    if (check_message(message, err) &&
        broker->driver->publish_async(broker, message, timeout_ms, done, context, err))
        return true;
    return error_wrap(err, "publish '%s'", message->subject ? message->subject : "");
}

/*
 * The answers that a blocking publish waits for. Each expected answer and the waiting caller hold
 * it; the last one frees it, so that an answer may come after the caller has given up.
 */
struct answers {
    pthread_mutex_t lock;
    pthread_cond_t complete;
    size_t expected; /* guarded by lock, with everything below it */
    size_t holders;
    struct answer {
        struct answers *all;
        struct broker_receipt receipt;
    } answers[];
};

static struct answers *answers_new(size_t count, int timeout_ms)
{
    struct answers *answers = memory_alloc(sizeof(*answers) + count * sizeof(struct answer));
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&answers->complete, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&answers->lock, NULL);
    answers->expected = count;
    answers->holders = count + 1;
    for (size_t i = 0; i < count; i++) {
        answers->answers[i].all = answers;
        error_set(&answers->answers[i].receipt.error, ERROR_UNKNOWN, "no answer in %d ms",
                  timeout_ms);
    }
    return answers;
}

/* Ends with the lock released. */
static void answers_release(struct answers *answers)
{
    bool last = --answers->holders == 0;

    pthread_mutex_unlock(&answers->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&answers->lock);
    pthread_cond_destroy(&answers->complete);
    free(answers);
}

static void answered(void *context, const struct broker_receipt *receipt)
{
    struct answer *answer = context;
    struct answers *answers = answer->all;

    pthread_mutex_lock(&answers->lock);
    answer->receipt = *receipt;
    if (--answers->expected == 0)
        pthread_cond_signal(&answers->complete);
    answers_release(answers);
}

static void answers_wait(struct answers *answers, int timeout_ms)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + timeout_ms + LATE_MS;
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    int waited = 0;

    while (answers->expected && waited == 0)
        waited = pthread_cond_timedwait(&answers->complete, &answers->lock, &until);
}

/* own: made by pkg/broker, and not checked. */
static void start_publish(struct broker *broker, const struct broker_message *message, bool own,
                          int timeout_ms, struct answer *answer)
{
    struct error err;

    if ((!own && !check_message(message, &err)) ||
        !broker->driver->publish_async(broker, message, timeout_ms, answered, answer, &err))
        answered(answer, &(struct broker_receipt){.error = err});
}

/* The error of the first that is not stored; NULL when all are. */
static const struct error *collect(const struct answers *answers,
                                   const struct broker_message *messages, size_t count,
                                   struct broker_receipt *out_receipts)
{
    const struct error *first = NULL;

    for (size_t i = 0; i < count; i++) {
        out_receipts[i] = answers->answers[i].receipt;
        if (out_receipts[i].error.code == ERROR_NONE)
            continue;
        error_wrap(&out_receipts[i].error, "publish '%s'",
                   messages[i].subject ? messages[i].subject : "");
        if (!first)
            first = &out_receipts[i].error;
    }
    return first;
}

struct sending {
    const struct broker_message *messages;
    size_t count;
    bool own;
};

static bool send_all(struct broker *broker, const struct sending *sending, int timeout_ms,
                     struct broker_receipt *out_receipts, struct error *err)
{
    if (!broker->driver->publish_async)
        return unsupported(broker, "publish", err);

    struct answers *answers = answers_new(sending->count, timeout_ms);
    for (size_t i = 0; i < sending->count; i++)
        start_publish(broker, &sending->messages[i], sending->own, timeout_ms,
                      &answers->answers[i]);

    pthread_mutex_lock(&answers->lock);
    answers_wait(answers, timeout_ms);
    const struct error *first = collect(answers, sending->messages, sending->count, out_receipts);
    answers_release(answers);
    if (first)
        *err = *first;
    return !first;
}

bool broker_publish(struct broker *broker, const struct broker_message *messages, size_t count,
                    int timeout_ms, struct broker_receipt *out_receipts, struct error *err)
{
    struct sending sending = {.messages = messages, .count = count};

    return send_all(broker, &sending, timeout_ms, out_receipts, err);
}

bool broker_send(struct broker *broker, const struct broker_message *messages, size_t count,
                 int timeout_ms, struct broker_receipt *out_receipts, struct error *err)
{
    struct sending sending = {.messages = messages, .count = count, .own = true};

    return send_all(broker, &sending, timeout_ms, out_receipts, err);
}

/* ---- inspect ---- */

const char *broker_header(const struct broker_delivery *delivery, const char *name)
{
    for (size_t i = 0; i < delivery->header_count; i++)
        if (strcasecmp(delivery->headers[i].name, name) == 0)
            return delivery->headers[i].value;
    return NULL;
}

bool broker_lag(struct broker *broker, const char *stream, const char *group, int timeout_ms,
                struct broker_lag *out, struct error *err)
{
    if (!broker->driver->lag)
        return unsupported(broker, "tell the lag", err);
    if (!check_name("stream", stream, err) || !check_name("consumer", group, err))
        return error_wrap(err, "lag");
    return broker->driver->lag(broker, stream, group, timeout_ms, out, err) ||
           error_wrap(err, "lag of %s on '%s'", group, stream);
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
bool broker_peek(struct broker *broker, const char *stream, const char *from, size_t max,
                 broker_peeked *each, void *context, int timeout_ms, struct error *err)
{
    if (!broker->driver->peek)
        return unsupported(broker, "peek", err);
    if (!check_name("stream", stream, err))
        return error_wrap(err, "peek");
    return broker->driver->peek(broker, stream, from ? from : "", max, each, context, timeout_ms,
                                err) ||
           error_wrap(err, "peek into '%s'", stream);
}

bool broker_remove(struct broker *broker, const char *stream, const char *const *sequences,
                   size_t count, int timeout_ms, struct error *err)
{
    if (!broker->driver->remove)
        return unsupported(broker, "remove messages", err);
    return (check_name("stream", stream, err) &&
            (count == 0 ||
             broker->driver->remove(broker, stream, sequences, count, timeout_ms, err))) ||
           error_wrap(err, "remove from '%s'", stream);
}

bool broker_list(struct broker *broker, broker_listed *each, void *context, int timeout_ms,
                 struct error *err)
{
    if (!broker->driver->list)
        return unsupported(broker, "list its streams", err);
    return broker->driver->list(broker, each, context, timeout_ms, err) ||
           error_wrap(err, "list streams");
}

bool broker_examine(struct broker *broker, broker_found_that *each, void *context, int timeout_ms,
                    struct error *err)
{
    if (!broker->driver->examine)
        return unsupported(broker, "be examined", err);
    return broker->driver->examine(broker, each, context, timeout_ms, err) ||
           error_wrap(err, "examine broker");
}

void broker_stats(const struct broker *broker, struct broker_stats *out)
{
    const struct broker_counters *counters = &broker->counters;

    *out = (struct broker_stats){
        .published = atomic_load(&counters->published),
        .duplicates = atomic_load(&counters->duplicates),
        .publish_failures = atomic_load(&counters->publish_failures),
        .publish_retries = atomic_load(&counters->publish_retries),
        .delivered = atomic_load(&counters->delivered),
        .redelivered = atomic_load(&counters->redelivered),
        .settled = atomic_load(&counters->settled),
        .retried = atomic_load(&counters->retried),
        .buried = atomic_load(&counters->buried),
        .reconnects = atomic_load(&counters->reconnects),
        .pending = atomic_load(&counters->pending),
        .connected = atomic_load(&counters->connected),
    };
}
