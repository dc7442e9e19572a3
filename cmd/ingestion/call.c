#include "call.h"

#include "body.h"
#include "desk.h"
#include "ingestion.h"
#include "parcel.h"
#include "prefer.h"

#include "base/clock.h"
#include "base/memory.h"
#include "broker/announce.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES 1024
#define TOPIC_SIZE 128
#define STATUS_OK 200
#define STATUS_ACCEPTED 202
#define STATUS_TOO_MANY 429

/* What became of a request, by the status of its answer; the rest is the client's mistake. */
static const struct outcome {
    int status;
    const char *name;
} outcomes[] = {
    {STATUS_OK, "ok"}, {STATUS_ACCEPTED, "accepted"}, {STATUS_TOO_MANY, "overloaded"},
    {502, "failed"},   {503, "unavailable"},          {504, "timeout"},
    {422, "refused"},
};

enum dropped { DROPPED_NO_WAITER, DROPPED_UNREADABLE, DROPPED_COUNT };

struct call {
    const struct call_route *route;
    const struct topic *request, *result;
    struct ingestion *ingestion;
    char reply_topic[TOPIC_SIZE];
    struct broker_listener *listener; /* of whoever listens and unlistens */
    atomic_bool listening;
    struct metrics_cell *outcomes[ARRAY_LEN(outcomes)];
    struct metrics_cell *seconds, *circuit, *gaps, *dropped[DROPPED_COUNT];
    struct desk desk;
};

/* One who waits, until it is answered and its receipt has come. */
struct asked {
    struct waiter waiter;
    struct call *call;
    struct http_exchange *exchange; /* of whoever took it from the desk */
    int64_t started_ns;
    int left_ms;
    atomic_int references; /* the answer's, and the receipt's */
};

static struct asked *asked_of(struct waiter *waiter)
{
    return CONTAINER_OF(waiter, struct asked, waiter);
}

static void let_go_of(struct asked *asked, int references)
{
    if (atomic_fetch_sub(&asked->references, references) == references)
        free(asked);
}

/* ---- answers ---- */

static void count(struct call *call, int status)
{
    size_t i = 0;

    while (i < ARRAY_LEN(outcomes) - 1 && outcomes[i].status != status)
        i++;
    metrics_add(call->outcomes[i], 1);
}

/* Before the answer, so that who has it finds it counted. */
static void count_asked(const struct asked *asked, int status)
{
    count(asked->call, status);
    metrics_observe(asked->call->seconds, (double)(clock_nanoseconds() - asked->started_ns) / 1e9);
}

static void answer_asked_problem(const struct asked *asked, int status, const struct error *err)
{
    count_asked(asked, status);
    http_problem_status(asked->exchange, status, err);
}

static void answer_result(const struct asked *asked, const void *result)
{
    struct buffer body = {0};
    struct json_writer writer = {.out = &body};
    struct error err;

    json_open(&writer, NULL, '{');
    int status = asked->call->route->answer(result, &writer, &err);
    json_close(&writer, '}');
    if (status == STATUS_OK) {
        count_asked(asked, status);
        http_reply_buffer(asked->exchange, status, HTTP_JSON, &body);
        return;
    }
    buffer_free(&body);
    answer_asked_problem(asked, status, &err);
}

static void answer_late(struct waiter *waiter)
{
    struct asked *asked = asked_of(waiter);
    struct error err;

    if (atomic_load(&waiter->sent)) {
        error_set(&err, ERROR_TIMEOUT, "no reply within %d ms", asked->left_ms);
        err.reason = "reply_timeout";
    } else {
        error_set(&err, ERROR_UNKNOWN, "the broker did not confirm the request within %d ms",
                  asked->left_ms);
    }
    answer_asked_problem(asked, http_status_of(&err), &err);
    let_go_of(asked, 1);
}

static void write_location(const struct call *call, const char *id, struct buffer *out)
{
    const char *url = call->ingestion->settings->api_url;
    size_t size = strlen(url);

    while (size && url[size - 1] == '/')
        size--;
    buffer_append(out, url, size);
    buffer_text(out, call->route->location);
    buffer_text(out, id);
}

static void answer_accepted(const struct call *call, struct http_exchange *exchange,
                            const struct id *request, bool duplicate)
{
    AUTO(buffer_free) struct buffer location = {0};
    struct buffer body = {0};
    struct json_writer writer = {.out = &body};
    char id[ID_TEXT_SIZE];

    id_format(request, id);
    write_location(call, id, &location);
    json_open(&writer, NULL, '{');
    json_text(&writer, "requestId", id);
    json_text(&writer, "status", "accepted");
    if (duplicate)
        json_bool(&writer, "duplicate", true);
    json_close(&writer, '}');
    http_reply_header(exchange, "Location", location.data);
    http_reply_buffer(exchange, STATUS_ACCEPTED, HTTP_JSON, &body);
}

/* ---- publishing ---- */

/* A request as it came in. */
struct request {
    struct call *call;
    struct http_exchange *exchange;
    struct origin origin;
    void *event;
    struct prefer prefer;
    struct parcel parcel;
    int publish_ms; /* the broker's time, however soon the client gives up */
};

static bool publish(const struct request *request, broker_done *done, void *context,
                    struct error *err)
{
    struct call *call = request->call;
    struct broker_message message = parcel_message(&request->parcel, call->request);

    return ingestion_publish(call->ingestion, &message, request->publish_ms, done, context, err);
}

/* Takes note of a receipt; false: it was not stored. */
static bool count_receipt(struct call *call, const struct broker_receipt *receipt,
                          struct error *err)
{
    *err = ingestion_answered(call->ingestion, receipt);
    ingestion_count(call->ingestion, call->request, ingestion_outcome_of(err, receipt->duplicate),
                    1);
    return err->code == ERROR_NONE;
}

static void count_refusal(struct call *call, const struct error *err)
{
    ingestion_count(call->ingestion, call->request, ingestion_outcome_of(err, false), 1);
}

/* ---- waiting for the reply ---- */

/* Returns how many references it is done with. */
static int fail(struct asked *asked, const struct error *err)
{
    bool mine = desk_take(&asked->call->desk, &asked->waiter);

    if (mine)
        answer_asked_problem(asked, http_status_of(err), err);
    return mine;
}

/* The broker has had this request before. Its reply goes to who asked first: when he does not wait
 * here, to nobody of us. */
static void settle_repeat(struct asked *asked)
{
    struct waiter *taken = desk_take_repeats(&asked->call->desk, &asked->waiter);

    while (taken) {
        struct asked *one = asked_of(taken);
        taken = taken->next;
        count_asked(one, STATUS_ACCEPTED);
        answer_accepted(one->call, one->exchange, &one->waiter.id, true);
        let_go_of(one, 1);
    }
}

static void on_receipt(void *context, const struct broker_receipt *receipt)
{
    struct asked *asked = context;
    struct error err;
    int done = 1;

    bool stored = count_receipt(asked->call, receipt, &err);
    atomic_store(&asked->waiter.sent, stored);
    if (!stored)
        done += fail(asked, &err);
    else if (receipt->duplicate)
        settle_repeat(asked);
    let_go_of(asked, done);
}

static int patience_ms(const struct request *request, bool *out_impatient)
{
    int left_ms = ingestion_left_ms(request->exchange);
    int most_ms = request->call->ingestion->settings->call_timeout_ms;
    int64_t wish_ms = (int64_t)request->prefer.wait_s * 1000;

    if (most_ms < left_ms)
        left_ms = most_ms;
    *out_impatient = request->prefer.wait_s != PREFER_WAIT_ABSENT && wish_ms < left_ms;
    if (*out_impatient)
        left_ms = (int)wish_ms;
    return left_ms;
}

static struct asked *asked_new(const struct request *request)
{
    struct asked *asked = memory_alloc(sizeof(*asked));

    asked->call = request->call;
    asked->exchange = request->exchange;
    asked->references = 2;
    asked->started_ns = clock_nanoseconds();
    asked->left_ms = patience_ms(request, &asked->waiter.impatient);
    asked->waiter.id = *topic_id(request->call->request, request->event);
    asked->waiter.started_ms = asked->started_ns / 1000000;
    asked->waiter.deadline_ms = asked->waiter.started_ms + asked->left_ms;
    return asked;
}

static void refuse(struct call *call, struct http_exchange *exchange, const struct error *err)
{
    int status = err->code == ERROR_FULL ? STATUS_TOO_MANY : http_status_of(err);
    int64_t wait_ms = desk_retry_after_ms(&call->desk);
    char seconds[24];

    snprintf(seconds, sizeof(seconds), "%" PRId64, wait_ms > 1000 ? (wait_ms + 999) / 1000 : 1);
    count_refusal(call, err);
    count(call, status);
    http_reply_header(exchange, "Retry-After", seconds);
    http_problem_status(exchange, status, err);
}

static bool admit(struct call *call, struct asked *asked, struct error *err)
{
    if (!call_is_listening(call))
        return error_set(err, ERROR_UNAVAILABLE, "replies cannot be heard yet");
    return desk_admit(&call->desk, &asked->waiter, err);
}

static void send_and_wait(struct request *request)
{
    struct call *call = request->call;
    struct asked *asked = asked_new(request);
    struct error err;

    parcel_reply_to(&request->parcel, call->reply_topic, asked->left_ms);
    if (!admit(call, asked, &err)) {
        refuse(call, request->exchange, &err);
        free(asked);
        return;
    }
    /* From here on the exchange is answered by who takes it from the desk: it is only read. */
    if (publish(request, on_receipt, asked, &err))
        return;
    count_refusal(call, &err);
    let_go_of(asked, 1 + fail(asked, &err));
}

/* ---- not waiting ---- */

struct acceptance {
    struct call *call;
    struct http_exchange *exchange; /* in whose arena it lives */
    struct id id;
};

static void reject(const struct acceptance *acceptance, const struct error *err)
{
    count(acceptance->call, http_status_of(err));
    http_problem(acceptance->exchange, err);
}

static void on_acceptance(void *context, const struct broker_receipt *receipt)
{
    struct acceptance *acceptance = context;
    struct call *call = acceptance->call;
    struct error err;

    if (!count_receipt(call, receipt, &err)) {
        reject(acceptance, &err);
        return;
    }
    count(call, STATUS_ACCEPTED);
    http_reply_header(acceptance->exchange, "Preference-Applied", "respond-async");
    answer_accepted(call, acceptance->exchange, &acceptance->id, receipt->duplicate);
}

static void send_only(struct request *request)
{
    struct acceptance *acceptance = arena_alloc(http_arena(request->exchange), sizeof(*acceptance));
    struct error err;

    *acceptance = (struct acceptance){
        .call = request->call,
        .exchange = request->exchange,
        .id = *topic_id(request->call->request, request->event),
    };
    if (publish(request, on_acceptance, acceptance, &err))
        return;
    count_refusal(request->call, &err);
    reject(acceptance, &err);
}

/* ---- the route ---- */

void call_post(void *context, struct http_exchange *exchange)
{
    struct request request = {
        .call = ingestion_call(context, http_row(exchange)),
        .exchange = exchange,
        .prefer = prefer_read(http_header(exchange, "Prefer")),
    };
    struct call *call = request.call;
    struct error err;

    request.event = arena_alloc(http_arena(exchange), call->request->size);
    if (!body_accept(exchange, call->request, &request.origin, request.event, &err)) {
        count_refusal(call, &err);
        count(call, http_status_of(&err));
        http_problem(exchange, &err);
        return;
    }
    request.publish_ms = ingestion_publish_ms(call->ingestion, exchange);
    parcel_fill(&request.parcel, call->request, &request.origin, request.event);
    http_defer(exchange);
    if (request.prefer.respond_async || request.prefer.wait_s == 0)
        send_only(&request);
    else
        send_and_wait(&request);
    parcel_free(&request.parcel);
}

/* ---- replies ---- */

static void deliver(struct call *call, const void *result)
{
    struct waiter *taken = desk_take_replied(&call->desk, topic_id(call->result, result));

    if (!taken)
        metrics_add(call->dropped[DROPPED_NO_WAITER], 1);
    while (taken) {
        struct asked *asked = asked_of(taken);
        taken = taken->next;
        answer_result(asked, result);
        let_go_of(asked, 1);
    }
}

static void on_heard(void *context, enum broker_heard what, const char *topic, const void *data,
                     size_t size)
{
    struct call *call = context;
    AUTO(arena_free) struct arena *arena = NULL;
    struct error err;

    (void)topic;
    if (what == BROKER_GAP) {
        metrics_add(call->gaps, 1);
        return;
    }
    arena = arena_new(ARENA_BYTES);
    void *result = arena_alloc(arena, call->result->size);
    struct topic_defaults defaults = {.time_ms = JSON_TIME_ABSENT, .arena = arena};
    if (topic_accept(call->result, &defaults, data, size, result, &err))
        deliver(call, result);
    else
        metrics_add(call->dropped[DROPPED_UNREADABLE], 1);
}

bool call_listen(struct call *call, struct error *err)
{
    if (call->listener)
        return true;
    if (!broker_listen(&call->listener, call->ingestion->broker, call->reply_topic, on_heard, call,
                       err))
        return false;
    atomic_store(&call->listening, true);
    return true;
}

bool call_is_listening(const struct call *call)
{
    return atomic_load(&call->listening);
}

void call_unlisten(struct call *call)
{
    atomic_store(&call->listening, false);
    broker_unlisten(call->listener);
    call->listener = NULL;
}

/* ---- life ---- */

static void show_circuit(void *context)
{
    struct call *call = context;

    metrics_set(call->circuit, !desk_is_open(&call->desk));
}

static void add_metrics(struct call *call, struct metrics *metrics)
{
    static const struct metrics_description circuit = {
        .kind = METRICS_GAUGE,
        .name = "call_circuit_state",
        .help = "1 while calls that wait are taken, 0 while nobody answers them",
        .labels = {"call"}};
    static const struct metrics_description gaps = {
        .kind = METRICS_COUNTER,
        .name = "call_gaps_total",
        .help = "Times that replies may have been missed, the broker being away or we too slow",
        .labels = {"call"}};
    static const struct metrics_description dropped = {
        .kind = METRICS_COUNTER,
        .name = "call_replies_dropped_total",
        .help = "Replies that nobody waited for any more, or that could not be read",
        .labels = {"call", "reason"}};
    static const char *const reasons[] = {
        [DROPPED_NO_WAITER] = "no_waiter", [DROPPED_UNREADABLE] = "unreadable"};
    const struct call_route *route = call->route;

    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
        call->outcomes[i] = metrics_cell(metrics_family(metrics, &route->requests),
                                         (const char *[]){outcomes[i].name});
    for (size_t i = 0; i < DROPPED_COUNT; i++)
        call->dropped[i] = metrics_cell(metrics_family(metrics, &dropped),
                                        (const char *[]){route->name, reasons[i]});
    call->seconds = metrics_cell(metrics_family(metrics, &route->seconds), NULL);
    call->circuit = metrics_cell(metrics_family(metrics, &circuit), (const char *[]){route->name});
    call->gaps = metrics_cell(metrics_family(metrics, &gaps), (const char *[]){route->name});
    metrics_on_render(metrics, show_circuit, call);
}

struct call *call_start(const struct call_route *route, struct ingestion *ingestion,
                        struct metrics *metrics)
{
    const struct ingestion_settings *settings = ingestion->settings;
    struct call *call = memory_alloc(sizeof(*call));
    struct desk_options desk = {.max = (size_t)settings->call_max_waiting,
                                .open_ms = settings->call_open_ms,
                                .late = answer_late};
    struct id instance = id_new(clock_wall_ms(clock_system()));
    char name[ID_TEXT_SIZE];

    call->route = route;
    call->request = topic_find(route->request);
    call->result = topic_find(route->result);
    call->ingestion = ingestion;
    id_format(&instance, name);
    snprintf(call->reply_topic, sizeof(call->reply_topic), "bc.%s.reply.%s", route->name, name);
    desk_start(&call->desk, &desk);
    add_metrics(call, metrics);
    return call;
}

/* The server has stopped: it has answered who is still there, and they are only let go. */
static void abandon(struct call *call)
{
    struct waiter *waiter;
    struct error err;

    error_set(&err, ERROR_CLOSED, "the service is stopping");
    while ((waiter = desk_take_any(&call->desk))) {
        answer_asked_problem(asked_of(waiter), http_status_of(&err), &err);
        let_go_of(asked_of(waiter), 1);
    }
}

void call_free(struct call *call)
{
    if (!call)
        return;
    desk_close(&call->desk);
    abandon(call);
    desk_stop(&call->desk);
    free(call);
}

const struct call_route *call_route_of(const struct call *call)
{
    return call->route;
}

size_t call_waiting(struct call *call)
{
    return desk_count(&call->desk);
}
