#include "delivery.h"

#include "event_form.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/ndjson.h"
#include "http/http.h"
#include "http/http_client.h"
#include "resilience/backoff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_FIRST_MS 100
#define RETRY_MOST_MS 5000
#define ANSWER_EVENT_BYTES 1024 /* of an answer, for each event */
#define ANSWER_BYTES ((size_t)64 * 1024)
#define ARENA_BYTES ((size_t)16 * 1024)
#define REASON_SIZE 40

/* One event on its way. */
struct parcel {
    const struct traffic_event *event;
    int status, attempts;
    bool settled, duplicate;
    char reason[REASON_SIZE];
};

struct delivery {
    struct delivery_options options;
    struct http_client *client;
    char *urls[TRAFFIC_KINDS];
    struct arena *arena; /* of the answer being read */
    struct buffer body;
    struct parcel *parcels;
    struct parcel **open; /* of the request at hand, in the order of its lines */
    size_t open_count;
    int64_t began_ns, pause_ms; /* pause_ms: the longest that the server asked for */
};

/* ---- life ---- */

static char *join(const char *url, const char *path)
{
    AUTO(buffer_free) struct buffer joined = {0};
    size_t size = strlen(url);

    while (size > 0 && url[size - 1] == '/')
        size--;
    buffer_append(&joined, url, size);
    buffer_text(&joined, path);
    return memory_text(joined.data);
}

struct delivery *delivery_new(const struct delivery_options *options)
{
    struct delivery *delivery = memory_alloc(sizeof(*delivery));

    delivery->options = *options;
    delivery->client = http_client_new("millrace-simulator/" MILLRACE_VERSION);
    for (int kind = 0; kind < TRAFFIC_KINDS; kind++)
        delivery->urls[kind] = join(options->url, event_routes[kind].path);
    delivery->arena = arena_new(ARENA_BYTES);
    delivery->parcels = memory_alloc((size_t)options->bulk * sizeof(*delivery->parcels));
    delivery->open = memory_alloc((size_t)options->bulk * sizeof(struct parcel *));
    return delivery;
}

void delivery_free(struct delivery *delivery)
{
    if (!delivery)
        return;
    http_client_free(delivery->client);
    for (int kind = 0; kind < TRAFFIC_KINDS; kind++)
        free(delivery->urls[kind]);
    arena_free(delivery->arena);
    buffer_free(&delivery->body);
    free(delivery->parcels);
    free(delivery->open);
    free(delivery);
}

void delivery_interrupt(struct delivery *delivery)
{
    http_client_interrupt(delivery->client);
}

size_t delivery_room(const struct delivery *delivery, enum traffic_kind kind)
{
    return event_routes[kind].takes_bulk ? (size_t)delivery->options.bulk : 1;
}

/* ---- the fate of an event ---- */

static void settle(struct delivery *delivery, struct parcel *parcel, enum tally_outcome outcome)
{
    int64_t latency_us = (clock_nanoseconds() - delivery->began_ns) / 1000;
    const struct journal_entry entry = {
        .event = parcel->event,
        .outcome = outcome,
        .status = parcel->status,
        .attempts = parcel->attempts,
        .reason = parcel->reason,
    };

    parcel->settled = true;
    tally_outcome(delivery->options.tally, parcel->event->kind, outcome, latency_us);
    journal_write(delivery->options.journal, &entry);
}

/* A weather call that got 502 or 504 has had its answer: there is no weather. */
static bool is_worth_repeating(enum traffic_kind kind, int status)
{
    if (status == 0 || status == 429 || status == 503)
        return true;
    return kind != TRAFFIC_WEATHER && (status == 408 || status == 502 || status == 504);
}

/* status 0: there was no answer. */
static void judge(struct delivery *delivery, struct parcel *parcel, int status)
{
    enum traffic_kind kind = parcel->event->kind;

    parcel->status = status;
    tally_answer(delivery->options.tally, kind, status);
    if (status >= 200 && status < 300)
        settle(delivery, parcel, parcel->duplicate ? TALLY_DUPLICATE : TALLY_ACCEPTED);
    else if (!is_worth_repeating(kind, status))
        settle(delivery, parcel, status >= 400 && status < 500 ? TALLY_REFUSED : TALLY_FAILED);
}

static void set_reason(struct parcel *parcel, const char *reason)
{
    snprintf(parcel->reason, sizeof(parcel->reason), "%s", reason ? reason : "");
}

/* ---- answers ---- */

/* What is read of an answer: of a line of many, or of the only one. */
struct answer {
    int32_t line, status;
    bool duplicate;
    const char *code;
};

static const struct json_field line_fields[] = {
    {.name = "line", .kind = JSON_INT, .required = true, .offset = offsetof(struct answer, line)},
    {.name = "status",
     .kind = JSON_INT,
     .required = true,
     .offset = offsetof(struct answer, status)},
    {.name = "duplicate", .kind = JSON_BOOL, .offset = offsetof(struct answer, duplicate)},
    {.name = "code", .kind = JSON_TEXT, .offset = offsetof(struct answer, code)},
    {0},
};

/* `status` is a word in an answer that accepts. */
static const struct json_field only_fields[] = {
    {.name = "duplicate", .kind = JSON_BOOL, .offset = offsetof(struct answer, duplicate)},
    {.name = "code", .kind = JSON_TEXT, .offset = offsetof(struct answer, code)},
    {0},
};

static void take_answer(struct parcel *parcel, const struct answer *answer)
{
    parcel->duplicate = answer->duplicate;
    set_reason(parcel, answer->code);
}

/* All in one: what a line of it cannot say stays without an answer. */
static bool on_line(void *context, const struct ndjson_line *line)
{
    struct delivery *delivery = context;
    struct answer answer = {0};
    struct error err;

    if (!line->too_long &&
        json_decode(line_fields, line->bytes, line->size, &answer, delivery->arena, &err) &&
        answer.line >= 1 && (size_t)answer.line <= delivery->open_count) {
        struct parcel *parcel = delivery->open[answer.line - 1];
        take_answer(parcel, &answer);
        parcel->status = answer.status;
    }
    arena_reset(delivery->arena);
    return true;
}

static void read_lines(struct delivery *delivery, const struct http_result *result)
{
    struct ndjson reader;

    ndjson_start(&reader, ANSWER_BYTES, on_line, delivery);
    (void)ndjson_feed(&reader, result->body, result->size);
    ndjson_finish(&reader);
    ndjson_free(&reader);
    for (size_t i = 0; i < delivery->open_count; i++)
        judge(delivery, delivery->open[i], delivery->open[i]->status);
}

static void read_one(struct delivery *delivery, const struct http_result *result)
{
    struct answer answer = {0};
    struct error err;
    bool readable =
        json_decode(only_fields, result->body, result->size, &answer, delivery->arena, &err);

    for (size_t i = 0; i < delivery->open_count; i++) {
        take_answer(delivery->open[i], readable ? &answer : &(struct answer){0});
        judge(delivery, delivery->open[i], result->status);
    }
    arena_reset(delivery->arena);
}

static void read_answer(struct delivery *delivery, const struct http_result *result)
{
    if (result->retry_after_ms > delivery->pause_ms)
        delivery->pause_ms =
            result->retry_after_ms < RETRY_MOST_MS ? result->retry_after_ms : RETRY_MOST_MS;
    if (strncmp(result->type, HTTP_NDJSON, strlen(HTTP_NDJSON)) == 0)
        read_lines(delivery, result);
    else
        read_one(delivery, result);
}

/* ---- requests ---- */

static void form_body(struct delivery *delivery, bool lines)
{
    buffer_clear(&delivery->body);
    for (size_t i = 0; i < delivery->open_count; i++) {
        event_form(delivery->open[i]->event, &delivery->body);
        if (lines)
            buffer_append(&delivery->body, "\n", 1);
    }
}

/* False: there was no answer, and err says what became of the request. */
static bool post(struct delivery *delivery, struct error *err)
{
    enum traffic_kind kind = delivery->open[0]->event->kind;
    bool lines = delivery->options.bulk > 1 && event_routes[kind].takes_bulk;
    struct http_result result;

    form_body(delivery, lines);
    const struct http_call call = {
        .method = "POST",
        .url = delivery->urls[kind],
        .type = lines ? HTTP_NDJSON : HTTP_JSON,
        .body = delivery->body.data,
        .size = delivery->body.size,
        .answer_max = ANSWER_BYTES + delivery->open_count * ANSWER_EVENT_BYTES,
        .timeout_ms = delivery->options.timeout_ms,
    };
    if (!http_client_call(delivery->client, &call, &result, err))
        return false;
    read_answer(delivery, &result);
    return true;
}

static void collect_open(struct delivery *delivery, size_t count)
{
    delivery->open_count = 0;
    for (size_t i = 0; i < count; i++)
        if (!delivery->parcels[i].settled)
            delivery->open[delivery->open_count++] = &delivery->parcels[i];
}

/* Sends what is open once. False: another attempt makes no sense. */
static bool attempt(struct delivery *delivery)
{
    struct error err;

    for (size_t i = 0; i < delivery->open_count; i++) {
        struct parcel *parcel = delivery->open[i];
        if (parcel->attempts++)
            tally_retry(delivery->options.tally, parcel->event->kind);
        parcel->status = 0;
        set_reason(parcel, "no_answer");
    }
    delivery->pause_ms = 0;
    if (post(delivery, &err))
        return true;
    for (size_t i = 0; i < delivery->open_count; i++) {
        set_reason(delivery->open[i], err.reason);
        judge(delivery, delivery->open[i], 0);
    }
    return err.code == ERROR_UNAVAILABLE || err.code == ERROR_UNKNOWN || err.code == ERROR_TIMEOUT;
}

static bool pause_before(struct delivery *delivery, unsigned attempts)
{
    static const struct backoff backoff = {.first_ms = RETRY_FIRST_MS, .most_ms = RETRY_MOST_MS};
    int64_t pause_ms = backoff_ms(&backoff, attempts, id_random());

    if (pause_ms < delivery->pause_ms)
        pause_ms = delivery->pause_ms;
    return delivery->options.pause(delivery->options.context, pause_ms);
}

void delivery_run(struct delivery *delivery, const struct traffic_event *events, size_t count)
{
    for (size_t i = 0; i < count; i++)
        delivery->parcels[i] = (struct parcel){.event = &events[i]};
    delivery->began_ns = clock_nanoseconds();

    collect_open(delivery, count);
    for (int attempts = 1; delivery->open_count > 0; attempts++) {
        bool again = attempt(delivery);
        collect_open(delivery, count);
        if (delivery->open_count == 0 || !again || attempts > delivery->options.retries ||
            !pause_before(delivery, (unsigned)attempts))
            break;
    }
    for (size_t i = 0; i < delivery->open_count; i++)
        settle(delivery, delivery->open[i], TALLY_FAILED);
}
