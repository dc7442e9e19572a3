#include "terminal.h"

#include "envelope.h"
#include "loop.h"
#include "request.h"

#include "base/log.h"
#include "base/memory.h"
#include "broker/announce.h"
#include "event/header.h"

#include <stdlib.h>
#include <string.h>

#define FETCH_BYTES ((size_t)64 * 1024)
#define PUBLISH_MS 1000
#define ANNOUNCE_ATTEMPTS 5 /* where there is no deadline that says how long somebody waits */
#define ARENA_BYTES ((size_t)8 * 1024)

enum outcome { OUTCOME_OK, OUTCOME_FAILED, OUTCOME_EXPIRED, OUTCOME_REFUSED, OUTCOMES };

struct terminal {
    struct terminal_options options;
    struct provider *provider;
    struct arena *arena; /* of the request at hand */
    struct metrics_cell *active, *duration, *outcomes[OUTCOMES];
    struct loop *loop;
};

/* ---- the result ---- */

static void expire(struct weather_result *result)
{
    result->outcome = WEATHER_RESULT_EXPIRED;
    result->reason = "deadline_passed";
    result->detail = "nobody waited for it any more";
}

static void explain(struct terminal *terminal, const struct error *why,
                    struct weather_result *result)
{
    result->outcome = WEATHER_RESULT_FAILED;
    result->reason = why->reason;
    result->detail = arena_copy(terminal->arena, why->message, strlen(why->message));
}

/* False: it was interrupted. */
static bool resolve(struct terminal *terminal, const struct request *request,
                    struct weather_result *out)
{
    const struct weather_request *weather = &request->weather;
    int64_t left_ms = request->deadline_ms - clock_wall_ms(clock_system());
    int most_ms = terminal->options.providers->settings->timeout_ms;
    struct error err;

    *out = (struct weather_result){
        .id = weather->id,
        .request_time_ms = weather->request_time_ms,
        .outcome = WEATHER_RESULT_OK,
        .city = weather->city,
        .location = weather->location,
        .forecast_time_ms = JSON_TIME_ABSENT,
    };
    if (left_ms <= 0) {
        expire(out);
        return true;
    }
    int64_t until_ms = clock_steady_ms(clock_system()) + (left_ms < most_ms ? left_ms : most_ms);
    if (provider_ask(terminal->provider, weather, until_ms, out, terminal->arena, &err))
        return true;
    if (err.code == ERROR_CLOSED)
        return false;
    explain(terminal, &err, out);
    return true;
}

/* ---- publishing ---- */

/* Waiting helps; also when a stream is gone, which somebody makes again. */
static bool may_pass(enum error_code code)
{
    return code == ERROR_UNAVAILABLE || code == ERROR_TIMEOUT || code == ERROR_UNKNOWN ||
           code == ERROR_FULL || code == ERROR_NOT_FOUND;
}

/* Tries until the broker has the result; false: it never takes it (err), or (CLOSED) it was asked
 * to stop before. */
static bool store(struct terminal *terminal, const struct broker_message *message,
                  struct error *err)
{
    struct broker_receipt receipt;

    for (unsigned attempt = 1;
         !broker_publish(terminal->options.broker, message, 1, PUBLISH_MS, &receipt, err);
         attempt++) {
        if (!may_pass(err->code))
            return false;
        loop_tell(terminal->loop, err, "a result cannot be published: it is held");
        if (!loop_wait(terminal->loop, attempt))
            return error_set(err, ERROR_CLOSED, "asked to stop");
    }
    return true;
}

static bool publish(struct terminal *terminal, const struct request *request,
                    const struct weather_result *result, const struct buffer *json,
                    struct error *err)
{
    const struct topic *topic = terminal->options.results;
    AUTO(buffer_free) struct buffer subject = {0};
    struct envelope_facts facts = {
        .id = &result->id,
        .time_ms = result->request_time_ms,
        .content_type = CONTENT_JSON,
        .traceparent = request->traceparent,
    };
    struct envelope envelope;

    topic_subject(topic, result, &subject);
    envelope_fill(&envelope, topic, &facts);
    struct broker_message message = {
        .stream = topic->stream,
        .subject = subject.data,
        .id = envelope.id,
        .headers = envelope.headers,
        .header_count = envelope.count,
        .data = json->data,
        .size = json->size,
    };
    return store(terminal, &message, err);
}

static bool is_awaited(const struct request *request, unsigned attempt)
{
    if (request->deadline_ms == REQUEST_NO_DEADLINE)
        return attempt < ANNOUNCE_ATTEMPTS;
    return clock_wall_ms(clock_system()) < request->deadline_ms;
}

/* False: it was asked to stop before. A topic that is none is nobody's. */
static bool reply(struct terminal *terminal, const struct request *request,
                  const struct buffer *json)
{
    struct error err;

    if (!request->reply_to)
        return true;
    for (unsigned attempt = 1; !broker_announce(terminal->options.broker, request->reply_to,
                                                json->data, json->size, &err);
         attempt++) {
        if (!may_pass(err.code) || !is_awaited(request, attempt)) {
            log_debug("a reply was not announced", log_text("error", err.message));
            return true;
        }
        loop_tell(terminal->loop, &err, "a reply cannot be announced: it is held");
        if (!loop_wait(terminal->loop, attempt))
            return false;
    }
    return true;
}

/* ---- one request ---- */

static struct broker_verdict refuse(struct terminal *terminal, const struct error *why)
{
    metrics_add(terminal->outcomes[OUTCOME_REFUSED], 1);
    log_warning("a request became a dead letter", log_text("reason", why->reason),
                log_text("error", why->message));
    return (struct broker_verdict){
        .action = BROKER_REJECT,
        .reason = why->reason,
        .error = arena_copy(terminal->arena, why->message, strlen(why->message)),
    };
}

/* False: it was asked to stop before the request was done; it is delivered again. */
static bool answer(struct terminal *terminal, const struct broker_delivery *delivery,
                   struct broker_verdict *out)
{
    static const enum outcome outcomes[] = {[WEATHER_RESULT_OK] = OUTCOME_OK,
                                            [WEATHER_RESULT_FAILED] = OUTCOME_FAILED,
                                            [WEATHER_RESULT_EXPIRED] = OUTCOME_EXPIRED};
    AUTO(buffer_free) struct buffer json = {0};
    struct weather_result result;
    struct request request;
    struct error err;

    arena_reset(terminal->arena);
    *out = (struct broker_verdict){.action = BROKER_DONE};
    if (!request_read(delivery, terminal->options.requests, terminal->arena, &request, &err)) {
        *out = refuse(terminal, &err);
        return true;
    }
    if (!resolve(terminal, &request, &result))
        return false;
    json_encode(terminal->options.results->fields, &result, &json);
    if (!publish(terminal, &request, &result, &json, &err)) {
        if (err.code != ERROR_CLOSED)
            *out = refuse(terminal, &err);
        return err.code != ERROR_CLOSED;
    }
    if (!reply(terminal, &request, &json))
        return false;
    metrics_add(terminal->outcomes[outcomes[result.outcome]], 1);
    return true;
}

/* A batch is one request. */
static bool work(void *context, struct loop *loop, const struct broker_batch *deliveries,
                 struct error *err)
{
    struct terminal *terminal = context;
    struct broker_verdict verdict;
    int64_t started_ns = clock_nanoseconds();

    metrics_add(terminal->active, 1);
    bool done = answer(terminal, deliveries->deliveries, &verdict);
    metrics_add(terminal->active, -1);
    if (!done)
        return true;
    metrics_observe(terminal->duration, (double)(clock_nanoseconds() - started_ns) / 1e9);
    if (!loop_settle(loop, &verdict, deliveries->count, err))
        return false;
    loop_tell(loop, NULL, "");
    return true;
}

/* ---- life ---- */

struct metrics_cell *terminal_active(struct metrics *metrics)
{
    static const struct metrics_description active = {
        .kind = METRICS_GAUGE,
        .name = "proxy_active_terminals",
        .help = "Weather requests that are being worked on"};

    return metrics_cell(metrics_family(metrics, &active), NULL);
}

static void add_metrics(struct terminal *terminal)
{
    static const struct metrics_description requests = {
        .kind = METRICS_COUNTER,
        .name = "weather_requests_total",
        .help = "Weather requests, by what became of them",
        .labels = {"outcome"}};
    static const struct metrics_description duration = {
        .kind = METRICS_HISTOGRAM,
        .name = "weather_request_duration_seconds",
        .help = "From taking a weather request to its stored result",
        .buckets = METRICS_SECONDS,
        .bucket_count = METRICS_SECONDS_COUNT};
    static const char *const outcomes[OUTCOMES] = {[OUTCOME_OK] = "ok",
                                                   [OUTCOME_FAILED] = "failed",
                                                   [OUTCOME_EXPIRED] = "expired",
                                                   [OUTCOME_REFUSED] = "refused"};
    struct metrics *metrics = terminal->options.metrics;

    terminal->active = terminal_active(metrics);
    terminal->duration = metrics_cell(metrics_family(metrics, &duration), NULL);
    for (size_t i = 0; i < OUTCOMES; i++)
        terminal->outcomes[i] =
            metrics_cell(metrics_family(metrics, &requests), (const char *[]){outcomes[i]});
}

static struct metrics_cell *circuit_of(struct metrics *metrics)
{
    static const struct metrics_description circuit = {
        .kind = METRICS_GAUGE,
        .name = "broker_circuit_state",
        .help = "1 while requests are worked on, 0 while a terminal waits for the broker"};

    return metrics_cell(metrics_family(metrics, &circuit), NULL);
}

static void terminal_free(struct terminal *terminal)
{
    provider_close(terminal->provider);
    arena_free(terminal->arena);
    free(terminal);
}

bool terminal_start(struct terminal **out, const struct terminal_options *options,
                    struct error *err)
{
    struct terminal *terminal = memory_alloc(sizeof(*terminal));
    struct loop_options loop = {
        .name = options->requests->name,
        .broker = options->broker,
        .group = options->group,
        .batch_messages = 1,
        .batch_bytes = FETCH_BYTES,
        .work = work,
        .context = terminal,
        .circuit = circuit_of(options->metrics),
    };

    terminal->options = *options;
    terminal->arena = arena_new(ARENA_BYTES);
    terminal->provider = provider_open(options->providers);
    add_metrics(terminal);
    if (!loop_start(&terminal->loop, &loop, err)) {
        terminal_free(terminal);
        return false;
    }
    *out = terminal;
    return true;
}

void terminal_keep(struct terminal *terminal)
{
    loop_keep(terminal->loop);
}

void terminal_halt(struct terminal *terminal)
{
    loop_halt(terminal->loop);
}

void terminal_interrupt(struct terminal *terminal)
{
    provider_interrupt(terminal->provider);
}

void terminal_stop(struct terminal *terminal)
{
    if (!terminal)
        return;
    loop_stop(terminal->loop);
    terminal_free(terminal);
}

bool terminal_ready(struct terminal *terminal, struct error *err)
{
    return loop_ready(terminal->loop, err);
}
