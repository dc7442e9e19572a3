#include "bulk.h"

#include "ingestion.h"
#include "origin.h"
#include "single.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/ndjson.h"
#include "event/header.h"
#include "event/subject.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACK_LINES 256
#define PACK_BYTES ((size_t)192 * 1024)
#define PACKS_PENDING 8         /* of one request */
#define FAILURES_DESCRIBED 1000 /* of one request; further ones have a status and a code only */
#define REPLY_PIECE ((size_t)32 * 1024)
#define ARENA_BYTES ((size_t)64 * 1024)
#define STATUS_ACCEPTED 201
#define STATUS_MIXED 207
#define STATUS_TOO_LARGE 413

/* What a line or a pack failed with. */
struct failure {
    int status;
    const char *code;
    const char *pointer, *detail; /* the bulk's, or static */
};

/* Lines of one broker message. It is filled by the server's thread; its receipt comes once. */
struct pack {
    struct bulk *bulk;
    size_t index;
    size_t lines;
    bool duplicate;         /* guarded by the bulk's lock, with what follows */
    struct failure failure; /* status 0: stored */
    char sequence[BROKER_SEQUENCE_SIZE];
};

struct line {
    struct id id;
    int64_t number;
    int32_t index; /* of its pack or its failure */
    int16_t place; /* in its pack, from 1; 0: it failed */
};

struct bulk {
    struct ingestion *ingestion;    /* borrowed */
    struct http_exchange *exchange; /* borrowed; not after it is over */
    const struct topic *topic;
    struct origin origin;
    struct ndjson lines_in;
    struct arena *event_arena; /* of the line being read */
    void *event;
    int64_t bytes; /* of the body so far */
    bool cut;      /* the body went over a limit */
    struct error cut_error;

    struct line *lines;
    size_t line_count, line_capacity;
    struct failure *failures;
    size_t failure_count, failure_capacity;
    struct arena *failure_arena;

    /* the pack that is being filled */
    struct buffer subject, body, scratch;
    struct buffer given; /* what the client gave of it, which is what a repeat has in common */
    size_t body_lines;
    struct id first_id;
    int64_t first_time_ms;
    bool repeatable; /* a line brought its id: the same pack may come again */

    size_t reply_next; /* line to be written next */

    pthread_mutex_t lock;
    struct pack **packs; /* guarded by lock, with what follows */
    size_t pack_count, pack_capacity;
    size_t pending; /* packs without a receipt */
    bool paused;    /* the client waits to be read again */
    bool finished;  /* the body is complete: the last receipt answers */
    int references; /* the exchange's, and one per pending pack */
};

/* ---- life ---- */

static void bulk_free(struct bulk *bulk)
{
    for (size_t i = 0; i < bulk->pack_count; i++)
        free(bulk->packs[i]);
    free(bulk->packs);
    free(bulk->lines);
    free(bulk->failures);
    arena_free(bulk->failure_arena);
    arena_free(bulk->event_arena);
    ndjson_free(&bulk->lines_in);
    buffer_free(&bulk->subject);
    buffer_free(&bulk->body);
    buffer_free(&bulk->scratch);
    buffer_free(&bulk->given);
    pthread_mutex_destroy(&bulk->lock);
    free(bulk);
}

static void let_go(struct bulk *bulk)
{
    pthread_mutex_lock(&bulk->lock);
    bool last = --bulk->references == 0;
    pthread_mutex_unlock(&bulk->lock);
    if (last)
        bulk_free(bulk);
}

/* The exchange is over. */
static void release(void *state)
{
    struct bulk *bulk = state;

    atomic_fetch_sub(&bulk->ingestion->bulk_requests, 1);
    let_go(bulk);
}

/* Doubles a list when it is full. */
static void *room(void *list, size_t count, size_t *capacity, size_t element)
{
    if (count < *capacity)
        return list;
    *capacity = *capacity ? *capacity * 2 : 64;
    return memory_resize(list, *capacity * element);
}

/* ---- lines that fail ---- */

static struct failure describe(struct bulk *bulk, const struct error *err)
{
    struct failure failure = {
        .status = http_status_of(err), .code = err->reason, .pointer = "", .detail = ""};

    if (bulk->failure_count < FAILURES_DESCRIBED) {
        failure.pointer = arena_copy(bulk->failure_arena, err->pointer, strlen(err->pointer));
        failure.detail = arena_copy(bulk->failure_arena, err->message, strlen(err->message));
    }
    return failure;
}

static void add_line(struct bulk *bulk, struct line line)
{
    bulk->lines = room(bulk->lines, bulk->line_count, &bulk->line_capacity, sizeof(*bulk->lines));
    bulk->lines[bulk->line_count++] = line;
}

static void fail_line(struct bulk *bulk, int64_t number, const struct error *err)
{
    struct failure failure = describe(bulk, err);

    ingestion_count(bulk->ingestion, bulk->topic, ingestion_outcome_of(err, false), 1);
    bulk->failures =
        room(bulk->failures, bulk->failure_count, &bulk->failure_capacity, sizeof(*bulk->failures));
    add_line(bulk, (struct line){.number = number, .index = (int32_t)bulk->failure_count});
    bulk->failures[bulk->failure_count++] = failure;
}

/* ---- packs ---- */

static void answer(struct bulk *bulk);

/* receipt->error is what the client is to be told. */
static void finish_pack(struct pack *pack, const struct broker_receipt *receipt)
{
    const struct error *err = &receipt->error;
    struct bulk *bulk = pack->bulk;

    ingestion_count(bulk->ingestion, bulk->topic, ingestion_outcome_of(err, receipt->duplicate),
                    pack->lines);
    pthread_mutex_lock(&bulk->lock);
    pack->duplicate = receipt->duplicate;
    memcpy(pack->sequence, receipt->sequence, sizeof(pack->sequence));
    if (err->code != ERROR_NONE)
        pack->failure = (struct failure){
            .status = http_status_of(err),
            .code = err->reason,
            .pointer = "",
            .detail = "the broker did not store this line",
        };
    bulk->pending--;
    bool resume = bulk->paused;
    bulk->paused = false;
    bool done = bulk->finished && bulk->pending == 0;
    pthread_mutex_unlock(&bulk->lock);

    if (done)
        answer(bulk);
    else if (resume)
        http_continue(bulk->exchange);
    let_go(bulk);
}

static void on_receipt(void *context, const struct broker_receipt *receipt)
{
    struct pack *pack = context;
    struct broker_receipt told = *receipt;

    told.error = ingestion_answered(pack->bulk->ingestion, receipt);
    finish_pack(pack, &told);
}

static struct pack *add_pack(struct bulk *bulk)
{
    struct pack *pack = memory_alloc(sizeof(*pack));

    pack->bulk = bulk;
    pack->lines = bulk->body_lines;
    pthread_mutex_lock(&bulk->lock);
    /* It lists pointers. NOLINTNEXTLINE(bugprone-sizeof-expression) */
    bulk->packs = room(bulk->packs, bulk->pack_count, &bulk->pack_capacity, sizeof(*bulk->packs));
    pack->index = bulk->pack_count;
    bulk->packs[bulk->pack_count++] = pack;
    bulk->pending++;
    bulk->references++;
    pthread_mutex_unlock(&bulk->lock);
    return pack;
}

/*
 * A pack of new ids is new. One whose lines bring their ids is named by its lines as they came:
 * sent again as it was it is a duplicate, and with any line changed it is another message, so that
 * no line is lost behind a duplicate; what it repeats, the store knows.
 */
static struct id pack_id(const struct bulk *bulk)
{
    return bulk->repeatable ? id_derive("pack", bulk->given.data, bulk->given.size)
                            : bulk->first_id;
}

static void send_pack(struct bulk *bulk)
{
    struct envelope envelope;
    struct error err;

    if (!bulk->body_lines)
        return;

    struct pack *pack = add_pack(bulk);
    struct id id = pack_id(bulk);
    origin_envelope(&bulk->origin, bulk->topic, &id, bulk->first_time_ms, CONTENT_NDJSON,
                    &envelope);
    struct broker_message message = {
        .stream = bulk->topic->stream,
        .subject = bulk->subject.data,
        .id = envelope.id,
        .headers = envelope.headers,
        .header_count = envelope.count,
        .data = bulk->body.data,
        .size = bulk->body.size,
    };
    int within_ms = ingestion_publish_ms(bulk->ingestion, bulk->exchange);
    if (!ingestion_publish(bulk->ingestion, &message, within_ms, on_receipt, pack, &err)) {
        struct broker_receipt refused = {.error = err};
        finish_pack(pack, &refused);
    }
    buffer_clear(&bulk->subject);
    buffer_clear(&bulk->body);
    buffer_clear(&bulk->given);
    bulk->body_lines = 0;
    bulk->repeatable = false;
}

/* ---- lines ---- */

static bool ids_equal(const struct id *a, const struct id *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static void pack_line(struct bulk *bulk, const struct ndjson_line *line, bool named)
{
    const struct topic *topic = bulk->topic;
    const struct id *id = topic_id(topic, bulk->event);

    buffer_clear(&bulk->scratch);
    topic_subject(topic, bulk->event, &bulk->scratch);
    if (!bulk->body_lines) {
        bulk->first_id = *id;
        bulk->first_time_ms = topic_time_ms(topic, bulk->event);
    }
    subject_merge(&bulk->subject, bulk->scratch.data, bulk->scratch.size);
    json_encode(topic->fields, bulk->event, &bulk->body);
    buffer_append(&bulk->body, "\n", 1);
    bulk->repeatable |= named;
    buffer_append(&bulk->given, id, sizeof(*id));
    buffer_append(&bulk->given, line->bytes, line->size);
    add_line(bulk, (struct line){.id = *id,
                                 .number = line->number,
                                 .index = (int32_t)bulk->pack_count,
                                 .place = (int16_t)++bulk->body_lines});
    if (bulk->body_lines == PACK_LINES || bulk->body.size >= PACK_BYTES)
        send_pack(bulk);
}

static void cut(struct bulk *bulk, const char *what, int64_t limit)
{
    bulk->cut = true;
    error_set(&bulk->cut_error, ERROR_TOO_LARGE,
              "the body has more than %lld %s: from this line on nothing was taken",
              (long long)limit, what);
}

static bool is_over(struct bulk *bulk)
{
    const struct ingestion_settings *settings = bulk->ingestion->settings;

    if (!bulk->cut && bulk->line_count >= (size_t)settings->bulk_max_lines)
        cut(bulk, "lines", settings->bulk_max_lines);
    return bulk->cut;
}

static bool accept_line(struct bulk *bulk, const struct ndjson_line *line, struct error *err)
{
    int64_t now_ms = clock_wall_ms(clock_system());
    struct id given = origin_id(&bulk->origin, bulk->topic, line->number);
    bool keyed = !id_is_zero(&given);
    struct topic_defaults defaults = {
        .id = keyed ? given : id_new(now_ms),
        .time_ms = now_ms,
        .now_ms = now_ms,
        .arena = bulk->event_arena,
    };

    if (line->too_long)
        return error_set(err, ERROR_TOO_LARGE, "the line has more than %d bytes",
                         bulk->ingestion->settings->event_max_bytes);
    if (!topic_accept(bulk->topic, &defaults, line->bytes, line->size, bulk->event, err))
        return false;
    pack_line(bulk, line, keyed || !ids_equal(topic_id(bulk->topic, bulk->event), &defaults.id));
    return true;
}

/* False: enough packs are on their way, wait for one. */
static bool on_line(void *context, const struct ndjson_line *line)
{
    struct bulk *bulk = context;
    struct error err;

    if (is_over(bulk)) {
        if (bulk->cut_error.code != ERROR_NONE)
            fail_line(bulk, line->number, &bulk->cut_error);
        bulk->cut_error.code = ERROR_NONE; /* one line says it for all that follow */
        return true;
    }
    if (!accept_line(bulk, line, &err))
        fail_line(bulk, line->number, &err);
    arena_reset(bulk->event_arena);

    pthread_mutex_lock(&bulk->lock);
    bool more = bulk->pending < PACKS_PENDING;
    pthread_mutex_unlock(&bulk->lock);
    return more;
}

static bool must_wait(struct bulk *bulk)
{
    pthread_mutex_lock(&bulk->lock);
    bulk->paused = bulk->pending >= PACKS_PENDING;
    bool paused = bulk->paused;
    pthread_mutex_unlock(&bulk->lock);
    return paused;
}

static size_t on_piece(void *context, struct http_exchange *exchange, const char *bytes,
                       size_t size)
{
    struct bulk *bulk = http_kept(exchange);
    size_t used = 0;

    (void)context;
    while (used < size) {
        size_t step = ndjson_feed(&bulk->lines_in, bytes + used, size - used);
        used += step;
        bulk->bytes += (int64_t)step;
        if (bulk->bytes > bulk->ingestion->settings->bulk_max_bytes && !bulk->cut)
            cut(bulk, "bytes", bulk->ingestion->settings->bulk_max_bytes);
        if (used < size && must_wait(bulk))
            break;
    }
    return used;
}

/* ---- the reply ---- */

static void write_failure(struct json_writer *writer, const struct failure *failure)
{
    json_int(writer, "status", failure->status);
    json_text(writer, "code", failure->code);
    if (*failure->pointer)
        json_text(writer, "pointer", failure->pointer);
    if (*failure->detail)
        json_text(writer, "detail", failure->detail);
}

static void write_stored(struct json_writer *writer, const struct line *line,
                         const struct pack *pack)
{
    char id[ID_TEXT_SIZE], stream_id[BROKER_SEQUENCE_SIZE + 8];

    id_format(&line->id, id);
    snprintf(stream_id, sizeof(stream_id), "%s.%d", pack->sequence, line->place);
    json_int(writer, "status", STATUS_ACCEPTED);
    json_text(writer, "id", id);
    json_text(writer, "stream_id", stream_id);
    if (pack->duplicate)
        json_bool(writer, "duplicate", true);
}

static const struct failure *failure_of(const struct bulk *bulk, const struct line *line)
{
    if (line->place == 0)
        return &bulk->failures[line->index];
    return bulk->packs[line->index]->failure.status ? &bulk->packs[line->index]->failure : NULL;
}

/* Every receipt is there: nothing changes any more, so no lock. */
static void produce(void *state, struct buffer *out)
{
    struct bulk *bulk = state;
    struct json_writer writer = {.out = out};

    while (bulk->reply_next < bulk->line_count && out->size < REPLY_PIECE) {
        const struct line *line = &bulk->lines[bulk->reply_next++];
        const struct failure *failure = failure_of(bulk, line);

        writer.comma = false;
        json_open(&writer, NULL, '{');
        json_int(&writer, "line", line->number);
        if (failure)
            write_failure(&writer, failure);
        else
            write_stored(&writer, line, bulk->packs[line->index]);
        json_close(&writer, '}');
        buffer_append(out, "\n", 1);
    }
}

static int shared_status(const struct bulk *bulk)
{
    int shared = 0;

    for (size_t i = 0; i < bulk->line_count; i++) {
        const struct failure *failure = failure_of(bulk, &bulk->lines[i]);
        int status = failure ? failure->status : STATUS_ACCEPTED;
        if (shared && status != shared)
            return STATUS_MIXED;
        shared = status;
    }
    return shared;
}

static void answer(struct bulk *bulk)
{
    int status = shared_status(bulk);
    struct error err;

    if (!status) {
        error_input(&err, JSON_EMPTY, "", "the body has no line");
        http_problem(bulk->exchange, &err);
        return;
    }
    if (status == 503)
        http_reply_header(bulk->exchange, "Retry-After", "1");
    http_reply_stream(bulk->exchange, status, HTTP_NDJSON, produce);
}

bool bulk_finish(void *context, struct http_exchange *exchange)
{
    struct bulk *bulk = http_kept(exchange);

    (void)context;
    if (!bulk)
        return false;
    ndjson_finish(&bulk->lines_in);
    http_defer(exchange);
    send_pack(bulk);

    pthread_mutex_lock(&bulk->lock);
    bulk->finished = true;
    bool done = bulk->pending == 0;
    pthread_mutex_unlock(&bulk->lock);
    if (done)
        answer(bulk);
    return true;
}

/* ---- the beginning ---- */

static struct bulk *bulk_new(struct ingestion *ingestion, struct http_exchange *exchange,
                             const struct origin *origin)
{
    const struct single_route *route = http_row(exchange);
    struct bulk *bulk = memory_alloc(sizeof(*bulk));

    bulk->ingestion = ingestion;
    bulk->exchange = exchange;
    bulk->topic = topic_find(route->topic);
    bulk->origin = *origin;
    bulk->event_arena = arena_new(ARENA_BYTES);
    bulk->failure_arena = arena_new(ARENA_BYTES);
    bulk->event = arena_alloc(http_arena(exchange), bulk->topic->size);
    bulk->references = 1;
    pthread_mutex_init(&bulk->lock, NULL);
    ndjson_start(&bulk->lines_in, (size_t)ingestion->settings->event_max_bytes, on_line, bulk);
    return bulk;
}

void bulk_begin(void *context, struct http_exchange *exchange)
{
    struct ingestion *ingestion = context;
    struct origin origin;
    struct error err;

    if (!http_is(exchange, HTTP_NDJSON))
        return;
    if (!origin_read_headers(exchange, &origin, &err)) {
        http_problem(exchange, &err);
        return;
    }
    if (atomic_fetch_add(&ingestion->bulk_requests, 1) >= ingestion->settings->bulk_max_requests) {
        atomic_fetch_sub(&ingestion->bulk_requests, 1);
        error_set(&err, ERROR_UNAVAILABLE, "%d bulk requests are running: try again in a moment",
                  ingestion->settings->bulk_max_requests);
        err.reason = "too_many_requests";
        http_problem(exchange, &err);
        return;
    }
    http_keep(exchange, bulk_new(ingestion, exchange, &origin), release);
    http_stream(exchange, on_piece);
}
