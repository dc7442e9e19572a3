#include "support/test.h"

#include "event_form.h"
#include "simulator.h"
#include "simulator/delivery.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/ndjson.h"
#include "base/rfc3339.h"
#include "http/http.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 20000
#define HELD_MAX 4096
#define DEADLINE_MS 400

/* ---- ingestion, as bad as wanted ---- */

struct stored {
    struct id id;
    int64_t time_ms;
    char plate[GARAGE_PLATE_SIZE]; /* "" where there is none */
    int attempts;
    bool kept; /* it was stored, whether that was said or not */
    bool told; /* and that was said, or a refusal */
};

enum fault {
    FAULT_NONE,
    FAULT_BUSY,    /* 503, and it was not stored */
    FAULT_LATE,    /* stored, but the answer comes when nobody waits any more */
    FAULT_DROPPED, /* neither stored nor answered */
    FAULT_LIMIT,   /* 429 */
};

struct ingestion_double {
    struct http_server *server;
    char url[64];
    bool faulty;        /* each event's first attempts fail as its id says */
    int refuses_logs;   /* with this status */
    const int *weather; /* statuses in turn */
    int weather_count;
    int slow_ms;             /* every answer */
    const char *retry_after; /* of every 503; NULL: the second that http.h adds */
    int interrupt_at;        /* SIGINT once so many events came */

    pthread_mutex_t lock;
    struct stored *events; /* guarded by lock, with what follows */
    size_t count;
    int weather_turn;
    bool out_of_order, from_the_future;
    struct http_exchange *held[HELD_MAX];
    size_t held_count;
};

/* What is read of any event. */
struct any {
    struct id id;
    const char *plate;
    int64_t entry_ms, exit_ms, timestamp_ms, request_ms;
};

static const struct json_field any_fields[] = {
    {.name = "id", .kind = JSON_ID, .required = true, .offset = offsetof(struct any, id)},
    {.name = "vehicle_plate", .kind = JSON_TEXT, .offset = offsetof(struct any, plate)},
    {.name = "entry_date_time", .kind = JSON_TIME, .offset = offsetof(struct any, entry_ms)},
    {.name = "exit_date_time", .kind = JSON_TIME, .offset = offsetof(struct any, exit_ms)},
    {.name = "timestamp", .kind = JSON_TIME, .offset = offsetof(struct any, timestamp_ms)},
    {.name = "requestTime", .kind = JSON_TIME, .offset = offsetof(struct any, request_ms)},
    {0},
};

/* Every kind has one of them; the smallest number says that it is absent. */
static int64_t time_of_any(const struct any *any)
{
    const int64_t times[] = {any->entry_ms, any->exit_ms, any->timestamp_ms, any->request_ms};
    int64_t time_ms = JSON_TIME_ABSENT;

    for (size_t i = 0; i < ARRAY_LEN(times); i++)
        time_ms = times[i] > time_ms ? times[i] : time_ms;
    return time_ms;
}

static bool same_id(const struct id *a, const struct id *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static struct stored *find(struct ingestion_double *ingestion, const struct id *id)
{
    for (size_t i = ingestion->count; i > 0; i--)
        if (same_id(&ingestion->events[i - 1].id, id))
            return &ingestion->events[i - 1];
    return NULL;
}

/* The event before it on the same plate has been answered, and is older. */
static void check_order(struct ingestion_double *ingestion, const struct stored *event)
{
    for (size_t i = 0; *event->plate && i < ingestion->count; i++) {
        const struct stored *other = &ingestion->events[i];
        if (strcmp(other->plate, event->plate) == 0 &&
            (!other->told || other->time_ms >= event->time_ms))
            ingestion->out_of_order = true;
    }
}

static struct stored *note(struct ingestion_double *ingestion, const struct any *any)
{
    struct stored *known = find(ingestion, &any->id);

    if (known)
        return known;
    assert(ingestion->count < EVENTS_MAX);
    struct stored event = {.id = any->id, .time_ms = time_of_any(any)};
    if (any->plate)
        snprintf(event.plate, sizeof(event.plate), "%s", any->plate);
    check_order(ingestion, &event);
    if (event.time_ms > clock_wall_ms(clock_system()))
        ingestion->from_the_future = true;
    ingestion->events[ingestion->count] = event;
    return &ingestion->events[ingestion->count++];
}

static enum fault fault_of(const struct ingestion_double *ingestion, const struct stored *event)
{
    static const enum fault faults[] = {FAULT_BUSY, FAULT_LIMIT, FAULT_BUSY, FAULT_NONE};
    unsigned chance = event->id.bytes[15];

    if (!ingestion->faulty || event->attempts > 2)
        return FAULT_NONE;
    if (event->attempts == 1 && chance < 6)
        return FAULT_LATE;
    if (event->attempts == 1 && chance < 12)
        return FAULT_DROPPED;
    return chance < 80 ? faults[(chance + (unsigned)event->attempts) % 4] : FAULT_NONE;
}

struct verdict {
    int status;
    bool duplicate, silent;
    struct id id;
};

static struct verdict judge(struct ingestion_double *ingestion, const struct any *any)
{
    struct stored *event = note(ingestion, any);

    event->attempts++;
    enum fault fault = fault_of(ingestion, event);
    struct verdict verdict = {.status = 201, .duplicate = event->kept, .id = any->id};
    verdict.silent = fault == FAULT_LATE || fault == FAULT_DROPPED;
    verdict.status = fault == FAULT_BUSY ? 503 : fault == FAULT_LIMIT ? 429 : 201;
    if (fault == FAULT_NONE || fault == FAULT_LATE)
        event->kept = true;
    if (fault == FAULT_NONE)
        event->told = true;
    return verdict;
}

static void write_verdict(const struct verdict *verdict, int line, struct buffer *out)
{
    struct json_writer writer = {.out = out};
    char id[ID_TEXT_SIZE];

    id_format(&verdict->id, id);
    json_open(&writer, NULL, '{');
    if (line)
        json_int(&writer, "line", line);
    if (line || verdict->status != 201)
        json_int(&writer, "status", verdict->status);
    else
        json_text(&writer, "status", "accepted");
    json_text(&writer, verdict->status == 201 ? "id" : "code",
              verdict->status == 201 ? id : "busy");
    if (verdict->duplicate)
        json_bool(&writer, "duplicate", true);
    json_close(&writer, '}');
    buffer_text(out, line ? "\n" : "");
}

struct body {
    struct ingestion_double *ingestion;
    struct arena *arena;
    struct buffer answer;
    struct verdict verdict; /* of the last event */
    bool lines, silent;
};

static bool take(void *context, const struct ndjson_line *line)
{
    struct body *body = context;
    struct any any = {0};
    struct error err;

    bool readable = json_decode(any_fields, line->bytes, line->size, &any, body->arena, &err);
    assert(readable); /* and not cmocka's: this is another thread */
    (void)readable;
    pthread_mutex_lock(&body->ingestion->lock);
    body->verdict = judge(body->ingestion, &any);
    if (body->ingestion->interrupt_at &&
        body->ingestion->count == (size_t)body->ingestion->interrupt_at)
        kill(getpid(), SIGINT);
    pthread_mutex_unlock(&body->ingestion->lock);
    /* A line that is not answered in an answer to others is one of nobody knows what. */
    if (!body->verdict.silent)
        write_verdict(&body->verdict, body->lines ? (int)line->number : 0, &body->answer);
    else if (!body->lines)
        body->silent = true;
    return true;
}

/* Never answered: the client goes first. The server answers for it at its deadline. */
static void hold(struct ingestion_double *ingestion, struct http_exchange *exchange)
{
    http_defer(exchange);
    pthread_mutex_lock(&ingestion->lock);
    assert(ingestion->held_count < HELD_MAX);
    ingestion->held[ingestion->held_count++] = exchange;
    pthread_mutex_unlock(&ingestion->lock);
}

static void pass(int for_ms)
{
    const struct timespec time = {.tv_sec = for_ms / 1000, .tv_nsec = for_ms % 1000 * 1000000L};

    nanosleep(&time, NULL); /* a slow server is what is tested */
}

/* Every 503 says when to come again. */
static void ask_for_pause(const struct ingestion_double *ingestion, struct http_exchange *exchange)
{
    if (ingestion->retry_after)
        http_reply_header(exchange, "Retry-After", ingestion->retry_after);
}

static void accept_event(void *context, struct http_exchange *exchange)
{
    struct body body = {.ingestion = context,
                        .arena = http_arena(exchange),
                        .lines = http_is(exchange, HTTP_NDJSON)};
    struct ndjson reader;
    size_t size;
    const char *bytes = http_body(exchange, &size);

    ask_for_pause(body.ingestion, exchange);
    pass(body.ingestion->slow_ms);
    ndjson_start(&reader, 65536, take, &body);
    (void)ndjson_feed(&reader, bytes, size);
    ndjson_finish(&reader);
    ndjson_free(&reader);
    if (body.silent) {
        buffer_free(&body.answer);
        hold(body.ingestion, exchange);
    } else {
        http_reply_buffer(exchange, body.lines ? 207 : body.verdict.status,
                          body.lines ? HTTP_NDJSON : HTTP_JSON, &body.answer);
    }
}

static void accept_log(void *context, struct http_exchange *exchange)
{
    struct ingestion_double *ingestion = context;
    struct error err;

    if (!ingestion->refuses_logs) {
        accept_event(context, exchange);
        return;
    }
    error_input(&err, "missing_field", "/message", "no message");
    http_problem_status(exchange, ingestion->refuses_logs, &err);
}

static void tell_weather(void *context, struct http_exchange *exchange)
{
    struct ingestion_double *ingestion = context;

    if (!ingestion->weather) {
        accept_event(context, exchange);
        return;
    }
    pthread_mutex_lock(&ingestion->lock);
    int status = ingestion->weather[ingestion->weather_turn++ % ingestion->weather_count];
    pthread_mutex_unlock(&ingestion->lock);
    ask_for_pause(ingestion, exchange);
    http_reply(exchange, status, HTTP_JSON, "{}", 2);
}

static const struct http_route routes[] = {
    {"POST", "/parking/entries", .handle = accept_event},
    {"POST", "/parking/exits", .handle = accept_event},
    {"POST", "/readings", .handle = accept_event},
    {"POST", "/logs", .handle = accept_log},
    {"POST", "/WeatherForecast/city", .handle = tell_weather},
    {0},
};

static struct ingestion_double *ingestion_open(void)
{
    struct ingestion_double *ingestion = memory_alloc(sizeof(*ingestion));
    const struct http_options options = {
        .service = "double", .deadline_ms = DEADLINE_MS, .body_max = 1048576};
    struct error err;

    ingestion->retry_after = "0"; /* the client's own pauses are short */
    ingestion->events = memory_alloc(EVENTS_MAX * sizeof(*ingestion->events));
    pthread_mutex_init(&ingestion->lock, NULL);
    assert_ok(http_start(&ingestion->server, &options, routes, ingestion, &err));
    snprintf(ingestion->url, sizeof(ingestion->url), "http://127.0.0.1:%d/",
             http_port(ingestion->server));
    return ingestion;
}

static void ingestion_close(struct ingestion_double *ingestion)
{
    for (size_t i = 0; i < ingestion->held_count; i++)
        http_reply(ingestion->held[i], 201, HTTP_JSON, "{}", 2);
    http_stop(ingestion->server);
    pthread_mutex_destroy(&ingestion->lock);
    free(ingestion->events);
    free(ingestion);
}
AUTO_DEFINE(struct ingestion_double *, ingestion_close)

/* ---- a run of the simulator ---- */

struct result {
    int code;
    char text[16384];
};

static struct simulator_settings settings_of(const struct ingestion_double *ingestion)
{
    return (struct simulator_settings){.url = ingestion->url,
                                       .rate = 300,
                                       .speed = 1,
                                       .seed = 1,
                                       .duration_s = 1,
                                       .start_ms = -1,
                                       .systems = TRAFFIC_EVERYTHING,
                                       .garages = 3,
                                       .capacity = 10,
                                       .entry_wait_s = 3,
                                       .exit_wait_s = 5,
                                       .sites = 2,
                                       .meters = 2,
                                       .services = 2,
                                       .workers = 8,
                                       .bulk = 1,
                                       .retries = 30,
                                       .timeout_ms = 5000,
                                       .json = true,
                                       .quiet = true};
}

static struct result run(const struct simulator_settings *settings)
{
    struct result result = {0};
    FILE *out = tmpfile();

    assert_non_null(out);
    result.code = simulator_run(settings, out);
    rewind(out);
    result.text[fread(result.text, 1, sizeof(result.text) - 1, out)] = '\0';
    fclose(out);
    return result;
}

/* The sum of a number over all kinds. */
static int64_t sum(const struct result *result, const char *name)
{
    int64_t total = 0;
    char key[32];

    snprintf(key, sizeof(key), "\"%s\":", name);
    for (const char *at = strstr(result->text, key); at; at = strstr(at + 1, key))
        total += strtoll(at + strlen(key), NULL, 10);
    return total;
}

static size_t count_kept(struct ingestion_double *ingestion)
{
    size_t kept = 0;

    for (size_t i = 0; i < ingestion->count; i++)
        kept += ingestion->events[i].kept;
    return kept;
}

static void check_promises(const struct ingestion_double *ingestion)
{
    assert_false(ingestion->out_of_order);
    assert_false(ingestion->from_the_future);
}

/* ---- the journal ---- */

struct line {
    struct id id;
    int64_t time_ms;
    const char *kind, *outcome, *plate, *garage, *event;
    int32_t status, attempts;
};

static const struct json_field line_fields[] = {
    {.name = "id", .kind = JSON_ID, .required = true, .offset = offsetof(struct line, id)},
    {.name = "time", .kind = JSON_TIME, .required = true, .offset = offsetof(struct line, time_ms)},
    {.name = "kind", .kind = JSON_TEXT, .required = true, .offset = offsetof(struct line, kind)},
    {.name = "outcome",
     .kind = JSON_TEXT,
     .required = true,
     .offset = offsetof(struct line, outcome)},
    {.name = "event",
     .kind = JSON_OBJECT,
     .required = true,
     .offset = offsetof(struct line, event)},
    {.name = "status", .kind = JSON_INT, .required = true, .offset = offsetof(struct line, status)},
    {.name = "attempts",
     .kind = JSON_INT,
     .required = true,
     .offset = offsetof(struct line, attempts)},
    {.name = "plate", .kind = JSON_TEXT, .offset = offsetof(struct line, plate)},
    {.name = "garage", .kind = JSON_TEXT, .offset = offsetof(struct line, garage)},
    {0},
};

static void check_line(struct ingestion_double *ingestion, const char *text, struct arena *arena)
{
    struct line line = {0};
    struct error err;

    assert_ok(json_decode(line_fields, text, strlen(text), &line, arena, &err));
    struct stored *event = find(ingestion, &line.id);
    assert_non_null(event);
    assert_true(event->kept && event->told);
    assert_int_equal(event->time_ms, line.time_ms);
    assert_string_equal(event->plate, line.plate ? line.plate : "");
    assert_true(!line.plate == !line.garage);
    assert_int_equal(line.status, 201);
    assert_true(line.attempts >= event->attempts);
    assert_true(strcmp(line.outcome, "accepted") == 0 || strcmp(line.outcome, "duplicate") == 0);
    event->told = false; /* one line for each */
}

static size_t check_journal(struct ingestion_double *ingestion, const char *path)
{
    AUTO(arena_free) struct arena *arena = arena_new(4096);
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t capacity = 0, lines = 0;

    assert_non_null(file);
    for (; getline(&text, &capacity, file) > 0; lines++)
        check_line(ingestion, text, arena);
    free(text);
    fclose(file);
    return lines;
}

/* ---- what is promised ---- */

static const struct trouble_row {
    const char *name;
    int bulk;
    double rate, speed;
    bool duplicates;
} trouble_rows[] = {
    {"one by one, every event is stored once and in its order", 1, 300, 1, true},
    {"in bulk, every event is stored once and in its order", 50, 800, 1, true},
    {"at a speed, too", 1, 0, 100, true},
};

static void all_arrive_through_trouble(void **state)
{
    const struct trouble_row *row = *state;
    AUTO(ingestion_close) struct ingestion_double *ingestion = ingestion_open();
    struct simulator_settings settings = settings_of(ingestion);
    char path[] = "/tmp/simulator-XXXXXX";
    int file = mkstemp(path);

    assert_true(file >= 0);
    close(file);
    ingestion->faulty = true;
    settings.bulk = row->bulk;
    settings.rate = row->rate;
    settings.speed = row->speed;
    settings.duration_s = 0.6;
    settings.timeout_ms = 150;
    settings.journal = path;
    struct result result = run(&settings);

    check_promises(ingestion);
    assert_int_equal(result.code, SIMULATOR_DONE);
    assert_true(sum(&result, "sent") > 50);
    assert_int_equal(sum(&result, "sent"), count_kept(ingestion));
    assert_int_equal(sum(&result, "sent"), ingestion->count);
    assert_int_equal(sum(&result, "accepted") + sum(&result, "duplicates"), sum(&result, "sent"));
    assert_true(sum(&result, "retries") > 10);
    assert_true((sum(&result, "duplicates") > 0) == row->duplicates);
    assert_true(sum(&result, "503") > 0 && sum(&result, "429") > 0 && sum(&result, "none") > 0);
    assert_int_equal(check_journal(ingestion, path), sum(&result, "sent"));
    unlink(path);
}

static void a_rate_is_kept(void **state)
{
    AUTO(ingestion_close) struct ingestion_double *ingestion = ingestion_open();
    struct simulator_settings settings = settings_of(ingestion);

    (void)state;
    settings.rate = 400;
    struct result result = run(&settings);
    check_promises(ingestion);
    assert_int_equal(result.code, SIMULATOR_DONE);
    assert_in_range(sum(&result, "sent"), 200, 401);
}

static void a_refusal_is_final(void **state)
{
    AUTO(ingestion_close) struct ingestion_double *ingestion = ingestion_open();
    struct simulator_settings settings = settings_of(ingestion);

    (void)state;
    ingestion->refuses_logs = 422;
    settings.systems = TRAFFIC_LOGS;
    settings.duration_s = 0.3;
    struct result result = run(&settings);
    assert_int_equal(result.code, SIMULATOR_SHORT);
    assert_true(sum(&result, "sent") > 0);
    assert_int_equal(sum(&result, "refused"), sum(&result, "sent"));
    assert_int_equal(sum(&result, "422"), sum(&result, "sent"));
    assert_int_equal(sum(&result, "retries"), 0);
}

static void nobody_listens(void **state)
{
    AUTO(ingestion_close) struct ingestion_double *ingestion = ingestion_open();
    struct simulator_settings settings = settings_of(ingestion);
    int64_t began_ns = clock_nanoseconds();

    (void)state;
    http_stop(ingestion->server);
    ingestion->server = NULL;
    settings.retries = 2;
    settings.rate = 100;
    settings.duration_s = 0.1;
    struct result result = run(&settings);
    assert_int_equal(result.code, SIMULATOR_SHORT);
    assert_true(sum(&result, "sent") > 0);
    assert_int_equal(sum(&result, "failed"), sum(&result, "sent"));
    assert_int_equal(sum(&result, "retries"), 2 * sum(&result, "sent"));
    assert_true(clock_nanoseconds() - began_ns < INT64_C(20000000000));
}

/* 502 and 504 are answers: no weather. 503 and 429 are no answers yet. */
static void weather_is_counted_by_its_answers(void **state)
{
    static const int statuses[] = {200, 502, 503, 504, 429};
    AUTO(ingestion_close) struct ingestion_double *ingestion = ingestion_open();
    struct simulator_settings settings = settings_of(ingestion);

    (void)state;
    ingestion->weather = statuses;
    ingestion->weather_count = ARRAY_LEN(statuses);
    settings.systems = TRAFFIC_WEATHER_CALLS;
    settings.rate = 50;
    settings.duration_s = 0.5;
    struct result result = run(&settings);
    assert_int_equal(result.code, SIMULATOR_SHORT);
    assert_true(sum(&result, "sent") >= 5);
    assert_int_equal(sum(&result, "accepted"), sum(&result, "200"));
    assert_int_equal(sum(&result, "failed"), sum(&result, "502") + sum(&result, "504"));
    assert_int_equal(sum(&result, "retries"), sum(&result, "503") + sum(&result, "429"));
    assert_true(sum(&result, "502") > 0 && sum(&result, "504") > 0);
    assert_true(sum(&result, "503") > 0 && sum(&result, "429") > 0);
}

/* ---- pauses ---- */

struct pauses {
    int count, most; /* most: gives up after so many */
    int64_t least_ms, longest_ms;
};

static bool note_pause(void *context, int64_t for_ms)
{
    struct pauses *pauses = context;

    pauses->least_ms = !pauses->count || for_ms < pauses->least_ms ? for_ms : pauses->least_ms;
    pauses->longest_ms = for_ms > pauses->longest_ms ? for_ms : pauses->longest_ms;
    return ++pauses->count < pauses->most;
}

/* One call for the weather that is answered with 503 until it gives up. */
static struct pauses pauses_of(struct ingestion_double *ingestion, uint64_t totals[TALLY_OUTCOMES])
{
    static const int busy[] = {503};
    AUTO(tally_free) struct tally *tally = tally_new();
    struct pauses pauses = {.most = 3};
    struct traffic_event event = {.kind = TRAFFIC_WEATHER,
                                  .id = id_derive("test", "pause", 5),
                                  .weather = {"Oslo", "Norway"}};
    const struct delivery_options options = {.url = ingestion->url,
                                             .bulk = 1,
                                             .retries = 10,
                                             .timeout_ms = 5000,
                                             .tally = tally,
                                             .pause = note_pause,
                                             .context = &pauses};
    AUTO(delivery_free) struct delivery *delivery = delivery_new(&options);

    ingestion->weather = busy;
    ingestion->weather_count = 1;
    delivery_run(delivery, &event, 1);
    tally_totals(tally, totals);
    return pauses;
}

static const struct pause_row {
    const char *name, *retry_after;
    int64_t least_ms, longest_ms;
} pause_rows[] = {
    {"a server that asks for nothing gets the client's own pauses", "0", 50, 400},
    {"a second is what a server asks for that does not say", NULL, 1000, 1000},
    {"a pause is as long as the server asks for", "3", 3000, 3000},
    {"but not without end", "3600", 5000, 5000},
    {"a date is not understood", "Fri, 31 Dec 1999 23:59:59 GMT", 50, 400},
};

static void a_pause_is_as_the_server_asks(void **state)
{
    const struct pause_row *row = *state;
    AUTO(ingestion_close) struct ingestion_double *ingestion = ingestion_open();
    uint64_t totals[TALLY_OUTCOMES];

    ingestion->retry_after = row->retry_after;
    struct pauses pauses = pauses_of(ingestion, totals);
    assert_int_equal(pauses.count, 3);
    assert_in_range(pauses.least_ms, row->least_ms, row->longest_ms);
    assert_in_range(pauses.longest_ms, row->least_ms, row->longest_ms);
    assert_int_equal(totals[TALLY_FAILED], 1);
    assert_int_equal(ingestion->weather_turn, 3); /* it gave up in the third pause */
}

static int64_t time_of(const struct result *result, const char *name)
{
    char key[32];
    int64_t time_ms = 0;

    snprintf(key, sizeof(key), "\"%s\":\"", name);
    const char *at = strstr(result->text, key);
    assert_non_null(at);
    assert_true(rfc3339_parse(at + strlen(key), RFC3339_SIZE - 1, &time_ms));
    return time_ms;
}

static void a_slow_server_slows_simulated_time(void **state)
{
    AUTO(ingestion_close) struct ingestion_double *ingestion = ingestion_open();
    struct simulator_settings settings = settings_of(ingestion);

    (void)state;
    ingestion->slow_ms = 20;
    settings.workers = 1;
    settings.rate = 0;
    settings.speed = 1000;
    settings.duration_s = 1;
    struct result result = run(&settings);
    check_promises(ingestion);
    assert_int_equal(result.code, SIMULATOR_DONE);
    assert_in_range(sum(&result, "sent"), 5, 80); /* what was answered, and a short queue */
    assert_in_range(time_of(&result, "end") - time_of(&result, "start"), 0, 200000);
}

static void an_interrupt_ends_it_in_good_order(void **state)
{
    AUTO(ingestion_close) struct ingestion_double *ingestion = ingestion_open();
    struct simulator_settings settings = settings_of(ingestion);

    (void)state;
    ingestion->interrupt_at = 40;
    settings.duration_s = 0;
    struct result result = run(&settings);
    check_promises(ingestion);
    assert_int_equal(result.code, SIMULATOR_DONE);
    assert_non_null(strstr(result.text, "\"interrupted\":true"));
    assert_in_range(sum(&result, "sent"), 40, 200);
    assert_int_equal(sum(&result, "sent"), ingestion->count);
}

/* Both have sent the beginning of the same stream; one of them more of it. */
static void the_same_seed_and_start_send_the_same(void **state)
{
    AUTO(ingestion_close) struct ingestion_double *one = ingestion_open();
    AUTO(ingestion_close) struct ingestion_double *two = ingestion_open();
    struct simulator_settings settings = settings_of(one);

    (void)state;
    settings.start_ms = clock_wall_ms(clock_system()) - 86400000;
    settings.duration_s = 0.4;
    assert_int_equal(run(&settings).code, SIMULATOR_DONE);
    settings.url = two->url;
    settings.workers = 3;
    settings.duration_s = 0.6;
    assert_int_equal(run(&settings).code, SIMULATOR_DONE);
    assert_true(one->count > 20 && two->count > 20);
    struct ingestion_double *fewer = one->count < two->count ? one : two;
    for (size_t i = 0; i < fewer->count; i++) {
        const struct stored *event = &fewer->events[i];
        const struct stored *other = find(fewer == one ? two : one, &event->id);
        assert_non_null(other);
        assert_int_equal(event->time_ms, other->time_ms);
        assert_string_equal(event->plate, other->plate);
    }
}

static void a_start_in_the_future_is_wrong_use(void **state)
{
    AUTO(ingestion_close) struct ingestion_double *ingestion = ingestion_open();
    struct simulator_settings settings = settings_of(ingestion);

    (void)state;
    settings.start_ms = clock_wall_ms(clock_system()) + 60000;
    assert_int_equal(run(&settings).code, SIMULATOR_MISUSED);
    assert_int_equal(ingestion->count, 0);
}

static void the_table_is_for_people(void **state)
{
    AUTO(ingestion_close) struct ingestion_double *ingestion = ingestion_open();
    struct simulator_settings settings = settings_of(ingestion);

    (void)state;
    settings.json = false;
    settings.duration_s = 0.5;
    struct result result = run(&settings);
    assert_int_equal(result.code, SIMULATOR_DONE);
    assert_ptr_equal(strstr(result.text, "KIND"), result.text);
    assert_non_null(strstr(result.text, "\nlog "));
    assert_non_null(strstr(result.text, "\nseed 1, simulated time from "));
}

static const struct answers_row {
    const char *name, *line;
    int statuses[4], count; /* 0: not answered */
} answers_rows[] = {
    {"one status", "\nweather: answered with 200 (2)\n", {200, 200}, 2},
    {"several, the smallest first",
     "\nweather: answered with 200 (1), 504 (2)\n",
     {504, 200, 504},
     3},
    {"some are not answered",
     "\nweather: answered with 200 (1), 503 (1), not answered (2)\n",
     {0, 200, 503, 0},
     4},
    {"none is answered", "\nweather: nobody answered (3)\n", {0}, 3},
};

static void answers_read_well(void **state)
{
    const struct answers_row *row = *state;
    AUTO(tally_free) struct tally *tally = tally_new();
    AUTO(buffer_free) struct buffer text = {0};

    for (int i = 0; i < row->count; i++)
        tally_answer(tally, TRAFFIC_WEATHER, row->statuses[i]);
    tally_outcome(tally, TRAFFIC_WEATHER, TALLY_FAILED, 1000);
    tally_print(tally, &text);
    if (!strstr(text.data, row->line))
        fail_msg("no %s in %s", row->line, text.data);
}

int main(void)
{
    sigset_t interrupt;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_kept),
        cmocka_unit_test(a_refusal_is_final),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(weather_is_counted_by_its_answers),
        cmocka_unit_test(a_slow_server_slows_simulated_time),
        cmocka_unit_test(an_interrupt_ends_it_in_good_order),
        cmocka_unit_test(the_same_seed_and_start_send_the_same),
        cmocka_unit_test(a_start_in_the_future_is_wrong_use),
        cmocka_unit_test(the_table_is_for_people),
    };

    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt, NULL); /* before the servers' threads start */
    int failed = RUN_ROWS(trouble_rows, all_arrive_through_trouble) +
                 RUN_ROWS(pause_rows, a_pause_is_as_the_server_asks) +
                 RUN_ROWS(answers_rows, answers_read_well);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
