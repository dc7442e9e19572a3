#include "delivery.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/ndjson.h"
#include "event/header.h"
#include "http/http_client.h"
#include "resilience/breaker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PIECE 500 /* lines of one POST */
#define ARENA_BYTES ((size_t)16 * 1024)
#define ANSWER_LINE_MAX ((size_t)16 * 1024)
#define FAILURES_MAX 3
#define OPEN_MS 2000

struct delivery {
    const struct delivery_kind *kind; /* borrowed */
    struct buffer url;
    int timeout_ms;
    struct http_client *client;
    struct breaker breaker;
    struct arena *arena; /* of the answer being read */
    struct buffer body, ids;
    size_t *rows; /* of the batch that are to be told */
    size_t count, capacity;
    struct metrics_cell *latency, *circuit, *refused;
    bool told[PIECE]; /* the lines of a POST that its answer has a verdict on */
};

/* ---- where to ---- */

/* The URL with the host and the port of the settings where they say some. */
static bool make_url(const struct delivery_settings *settings, struct buffer *out,
                     struct error *err)
{
    const char *url = settings->url;
    const char *authority = strstr(url, "://");

    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
        return error_set(err, ERROR_INVALID, "WRITER_URL: want http://… or https://…, not '%s'",
                         url);
    authority += 3;

    const char *path = authority + strcspn(authority, "/?#");
    const char *host_end = *authority == '[' ? strchr(authority, ']') : authority;
    const char *port = host_end ? memchr(host_end, ':', (size_t)(path - host_end)) : NULL;
    if (!port)
        port = path;

    buffer_append(out, url, (size_t)(authority - url));
    if (*settings->host)
        buffer_print(out, strchr(settings->host, ':') ? "[%s]" : "%s", settings->host);
    else
        buffer_append(out, authority, (size_t)(port - authority));
    if (settings->port)
        buffer_print(out, ":%d", settings->port);
    else
        buffer_append(out, port, (size_t)(path - port));
    buffer_text(out, path);
    return true;
}

/* ---- life ---- */

static void add_metrics(struct delivery *delivery, struct metrics *metrics)
{
    static const double quantiles[] = {0.5, 0.9, 0.99};
    static const struct metrics_description latency = {METRICS_SUMMARY,
                                                       "post_request_latency_seconds",
                                                       "How long a POST took",
                                                       {NULL},
                                                       quantiles,
                                                       ARRAY_LEN(quantiles)};
    static const struct metrics_description circuit = {METRICS_GAUGE,
                                                       "delivery_circuit_state",
                                                       "1 while POSTs are made, 0 while they pause",
                                                       {"server"},
                                                       NULL,
                                                       0};
    static const struct metrics_description refused = {METRICS_COUNTER,
                                                       "delivery_refused_events_total",
                                                       "Events that the server refused",
                                                       {"server"},
                                                       NULL,
                                                       0};
    const char *server[] = {delivery->kind->name};

    delivery->latency = metrics_cell(metrics_family(metrics, &latency), NULL);
    delivery->circuit = metrics_cell(metrics_family(metrics, &circuit), server);
    delivery->refused = metrics_cell(metrics_family(metrics, &refused), server);
    metrics_set(delivery->circuit, 1);
}

bool delivery_open(struct delivery **out, const struct delivery_kind *kind,
                   const struct delivery_settings *settings, struct metrics *metrics,
                   struct error *err)
{
    AUTO(delivery_close) struct delivery *delivery = NULL;

    *out = NULL;
    if (!*settings->url || strcasecmp(settings->url, DELIVERY_NONE) == 0)
        return true;
    delivery = memory_alloc(sizeof(*delivery));
    delivery->kind = kind;
    delivery->timeout_ms = settings->timeout_ms;
    delivery->breaker = (struct breaker){.limit = FAILURES_MAX, .open_ms = OPEN_MS};
    if (!make_url(settings, &delivery->url, err))
        return false;
    delivery->arena = arena_new(ARENA_BYTES);
    delivery->client = http_client_new("millrace-processor");
    add_metrics(delivery, metrics);
    *out = delivery;
    delivery = NULL;
    return true;
}

void delivery_close(struct delivery *delivery)
{
    if (!delivery)
        return;
    http_client_free(delivery->client);
    arena_free(delivery->arena);
    buffer_free(&delivery->url);
    buffer_free(&delivery->body);
    buffer_free(&delivery->ids);
    free(delivery->rows);
    free(delivery);
}

void delivery_interrupt(struct delivery *delivery)
{
    http_client_interrupt(delivery->client);
}

/* ---- the answer ---- */

enum outcome {
    DELIVERED,
    REFUSED, /* the POST as a whole */
    AWAY,
};

/* One line of it. */
struct verdict {
    int32_t line, status;
    const char *code, *detail;
};

static const struct json_field verdict_fields[] = {
    {.name = "line",
     .kind = JSON_INT,
     .required = true,
     .offset = offsetof(struct verdict, line),
     .min = 1,
     .max = PIECE},
    {.name = "status",
     .kind = JSON_INT,
     .required = true,
     .offset = offsetof(struct verdict, status)},
    {.name = "code",
     .kind = JSON_TEXT,
     .offset = offsetof(struct verdict, code),
     .fallback_text = "refused"},
    {.name = "detail",
     .kind = JSON_TEXT,
     .offset = offsetof(struct verdict, detail),
     .fallback_text = ""},
    {0},
};

/* What a POST carries: rows of the batch. */
struct post {
    struct delivery *delivery;
    struct batch *batch;
    size_t first, count; /* of delivery->rows */
    size_t told;         /* lines that the answer has a verdict on */
    enum outcome outcome;
    struct error *err; /* why it is AWAY */
};

/* Once, however often the server says so. */
static void refuse(const struct post *post, size_t line, const char *code, const char *detail)
{
    size_t row = post->delivery->rows[post->first + line];
    struct error why;

    if (post->batch->origins[row].refused)
        return;
    error_input(&why, "delivery_refused", "", "the %s refused it: %s%s%s",
                post->delivery->kind->name, code, *detail ? ": " : "", detail);
    batch_refuse(post->batch, row, &why);
    metrics_add(post->delivery->refused, 1);
}

static enum outcome not_understood(const struct post *post, const char *what)
{
    error_set(post->err, ERROR_UNKNOWN, "%s: %s", post->delivery->url.data, what);
    return AWAY;
}

static enum outcome away(const struct post *post, int status)
{
    error_set(post->err, ERROR_UNAVAILABLE, "%s answered %d", post->delivery->url.data, status);
    return AWAY;
}

/* It is the line's own fault; sent again it is refused again. */
static bool is_refusal(int status)
{
    return status == 400 || status == 413 || status == 422;
}

static bool is_there(int status)
{
    return (status >= 200 && status < 300) || status == 409;
}

/* Each line of ours has one verdict. */
static bool is_of_a_line(struct post *post, const struct verdict *verdict)
{
    bool *told = &post->delivery->told[verdict->line - 1];

    if ((size_t)verdict->line > post->count || *told)
        return false;
    post->told++;
    return *told = true;
}

/* Reads one verdict; false: it is none of ours. */
static bool read_verdict(const struct post *post, const struct ndjson_line *line,
                         struct verdict *out)
{
    struct error err;

    arena_reset(post->delivery->arena);
    return !line->too_long &&
           json_decode(verdict_fields, line->bytes, line->size, out, post->delivery->arena, &err);
}

static bool check_verdict(void *context, const struct ndjson_line *line)
{
    struct post *post = context;
    struct verdict verdict;

    if (!read_verdict(post, line, &verdict) || !is_of_a_line(post, &verdict))
        post->outcome = not_understood(post, "its answer cannot be read");
    else if (!is_refusal(verdict.status) && !is_there(verdict.status))
        post->outcome = away(post, verdict.status);
    return post->outcome == DELIVERED;
}

static bool obey_verdict(void *context, const struct ndjson_line *line)
{
    const struct post *post = context;
    struct verdict verdict;

    if (read_verdict(post, line, &verdict) && is_refusal(verdict.status))
        refuse(post, (size_t)verdict.line - 1, verdict.code, verdict.detail);
    return true;
}

static void each_verdict(struct post *post, const struct http_result *result, ndjson_take *on_line)
{
    AUTO(ndjson_free) struct ndjson lines;

    ndjson_start(&lines, ANSWER_LINE_MAX, on_line, post);
    ndjson_feed(&lines, result->body, result->size);
    ndjson_finish(&lines);
}

/* An answer that is not whole refuses nothing: what it is about is sent again. */
static enum outcome read_verdicts(struct post *post, const struct http_result *result)
{
    post->outcome = DELIVERED;
    post->told = 0;
    memset(post->delivery->told, 0, sizeof(post->delivery->told));
    each_verdict(post, result, check_verdict);
    if (post->outcome == DELIVERED && post->told < post->count)
        return not_understood(post, "its answer is not about every line");
    if (post->outcome == DELIVERED)
        each_verdict(post, result, obey_verdict);
    return post->outcome;
}

/* Without a body everything is there: so answered the writer of old. */
static enum outcome judge(struct post *post, const struct http_result *result)
{
    bool lines = strncasecmp(result->type, CONTENT_NDJSON, strlen(CONTENT_NDJSON)) == 0;

    if (is_refusal(result->status))
        return REFUSED;
    if (!is_there(result->status))
        return away(post, result->status);
    if (lines)
        return read_verdicts(post, result);
    return result->size && result->status != 409 ? not_understood(post, "its answer cannot be read")
                                                 : DELIVERED;
}

/* ---- the call ---- */

static void write_lines(const struct post *post)
{
    struct delivery *delivery = post->delivery;
    struct json_writer writer = {.out = &delivery->body};

    buffer_clear(&delivery->body);
    buffer_clear(&delivery->ids);
    for (size_t i = 0; i < post->count; i++) {
        size_t row = delivery->rows[post->first + i];
        const void *event = post->batch->rows[row].event;

        writer.comma = false;
        json_open(&writer, NULL, '{');
        delivery->kind->write(event, &writer);
        json_close(&writer, '}');
        buffer_append(&delivery->body, "\n", 1);
        buffer_append(&delivery->ids, topic_id(post->batch->origins[row].topic, event),
                      sizeof(struct id));
    }
}

static enum outcome call(struct post *post)
{
    struct delivery *delivery = post->delivery;
    struct id key = id_derive("delivery", delivery->ids.data, delivery->ids.size);
    char text[ID_TEXT_SIZE], header[64];
    const char *headers[] = {header, NULL};
    struct http_call request = {
        .method = "POST",
        .url = delivery->url.data,
        .type = CONTENT_NDJSON,
        .headers = headers,
        .body = delivery->body.data,
        .size = delivery->body.size,
        .timeout_ms = delivery->timeout_ms,
    };
    struct http_result result;

    id_format(&key, text);
    snprintf(header, sizeof(header), "Idempotency-Key: %s", text);
    int64_t started_ns = clock_nanoseconds();
    bool answered = http_client_call(delivery->client, &request, &result, post->err);
    metrics_observe(delivery->latency, (double)(clock_nanoseconds() - started_ns) / 1e9);
    return answered ? judge(post, &result) : AWAY;
}

/* Asks the breaker first, and tells it. */
static enum outcome attempt(struct post *post)
{
    struct delivery *delivery = post->delivery;

    if (!breaker_allows(&delivery->breaker, clock_steady_ms(clock_system())))
        return AWAY;
    enum outcome outcome = call(post);
    if (outcome == AWAY)
        breaker_failure(&delivery->breaker, clock_steady_ms(clock_system()));
    else
        breaker_success(&delivery->breaker);
    metrics_set(delivery->circuit, delivery->breaker.state == BREAKER_CLOSED);
    return outcome;
}

/* A POST that is refused is halved, until it is the line that is refused. */
static bool deliver(const struct post *whole, struct loop *loop)
{
    struct post post = *whole, half = *whole;
    enum outcome outcome;

    write_lines(&post);
    for (unsigned failures = 1; (outcome = attempt(&post)) == AWAY; failures++) {
        loop_tell(loop, post.err, "what is stored cannot be delivered: fetching pauses");
        if (!loop_wait(loop, failures))
            return false;
    }
    if (outcome == DELIVERED)
        return true;
    if (post.count == 1) {
        refuse(&post, 0, "the whole request", "");
        return true;
    }
    half.count = post.count / 2;
    if (!deliver(&half, loop))
        return false;
    half.first += half.count;
    half.count = post.count - half.count;
    return deliver(&half, loop);
}

/* Those that the store did not refuse. */
static void choose_rows(struct delivery *delivery, const struct batch *batch)
{
    if (batch->row_count > delivery->capacity) {
        delivery->capacity = batch->row_count;
        delivery->rows = memory_resize(delivery->rows, batch->row_count * sizeof(*delivery->rows));
    }
    delivery->count = 0;
    for (size_t i = 0; i < batch->row_count; i++)
        if (!batch->origins[i].refused)
            delivery->rows[delivery->count++] = i;
}

bool delivery_send(struct delivery *delivery, struct batch *batch, struct loop *loop)
{
    struct error err;

    error_set(&err, ERROR_UNAVAILABLE, "%s was away a moment ago", delivery->url.data);
    choose_rows(delivery, batch);
    for (size_t first = 0; first < delivery->count; first += PIECE) {
        size_t left = delivery->count - first;
        struct post post = {.delivery = delivery,
                            .batch = batch,
                            .first = first,
                            .count = left < PIECE ? left : PIECE,
                            .err = &err};
        if (!deliver(&post, loop))
            return false;
    }
    loop_tell(loop, NULL, "");
    return true;
}
