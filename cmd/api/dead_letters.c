#include "dead_letters.h"

#include "cursor.h"
#include "letter.h"
#include "parameters.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"
#include "broker/dead_letter.h"

#include <stdio.h>
#include <string.h>

#define SLICE_MS 1500     /* of one call: what is asked to stop does so within it */
#define SLICE_MIN_MS 100  /* with less there is no use in beginning */
#define MARGIN_MIN_MS 200 /* of the deadline, for the answer */
#define NAME_MAX_BYTES 128
#define SHOWN_MAX_BYTES 64 /* of a name that is not known */

/* One request. */
struct asked {
    struct dead_letters *letters;
    struct dead_filter filter;
    size_t max;
    bool dry_run;
    int per_second;
    char from[BROKER_SEQUENCE_SIZE], end[BROKER_SEQUENCE_SIZE];
};

/* ---- reading ---- */

enum slot {
    SLOT_STREAM,
    SLOT_CONSUMER,
    SLOT_REASON,
    SLOT_ID,
    SLOT_FROM,
    SLOT_TO,
    SLOT_MAX,
    SLOT_DRY_RUN,
    SLOT_CURSOR,
    SLOTS,
};

static const char *const truths[] = {"true", "false", NULL};

/* clang-format off */
#define FILTER                                                                                     \
    {.name = "stream", .kind = PARAMETER_TEXT, .slot = SLOT_STREAM, .min = 1,                      \
     .max = NAME_MAX_BYTES},                                                                       \
    {.name = "consumer", .kind = PARAMETER_TEXT, .slot = SLOT_CONSUMER, .min = 1,                  \
     .max = NAME_MAX_BYTES},                                                                       \
    {.name = "reason", .kind = PARAMETER_TEXT, .slot = SLOT_REASON, .min = 1,                      \
     .max = NAME_MAX_BYTES},                                                                       \
    {.name = "from", .kind = PARAMETER_TIME, .slot = SLOT_FROM},                                   \
    {.name = "to", .kind = PARAMETER_TIME, .slot = SLOT_TO},                                       \
    {.name = "cursor", .kind = PARAMETER_TEXT, .slot = SLOT_CURSOR, .min = 1,                      \
     .max = CURSOR_SIZE_MAX}

static const struct parameter list_parameters[] = {
    FILTER,
    {.name = "limit", .kind = PARAMETER_INT, .slot = SLOT_MAX, .min = 1, .max = 500,
     .fallback = "100"},
    {0},
};

static const struct parameter purge_parameters[] = {
    FILTER,
    {.name = "id", .kind = PARAMETER_TEXT, .slot = SLOT_ID, .min = 1,
     .max = BROKER_SEQUENCE_SIZE - 1},
    {.name = "max", .kind = PARAMETER_INT, .slot = SLOT_MAX, .min = 1, .max = INT32_MAX},
    {.name = "dry_run", .kind = PARAMETER_WORD, .slot = SLOT_DRY_RUN, .words = truths},
    {0},
};
/* clang-format on */

/* The body of a replay. */
struct order {
    const char *stream, *consumer, *reason, *id, *cursor;
    int64_t from_ms, to_ms;
    bool dry_run;
    int32_t per_second, max; /* 0: any */
};

#define ORDER_TEXT(member, most)                                                                   \
    {                                                                                              \
        .name = #member, .kind = JSON_TEXT, .offset = offsetof(struct order, member), .min = 1,    \
        .max = (most)                                                                              \
    }
#define ORDER(text, of_kind, member, ...)                                                          \
    {                                                                                              \
        .name = (text), .kind = (of_kind), .offset = offsetof(struct order, member), __VA_ARGS__   \
    }

static const struct json_field order_fields[] = {
    ORDER_TEXT(stream, NAME_MAX_BYTES),
    ORDER_TEXT(consumer, NAME_MAX_BYTES),
    ORDER_TEXT(reason, NAME_MAX_BYTES),
    ORDER_TEXT(id, BROKER_SEQUENCE_SIZE - 1),
    ORDER_TEXT(cursor, CURSOR_SIZE_MAX),
    ORDER("from", JSON_TIME, from_ms, .required = false),
    ORDER("to", JSON_TIME, to_ms, .required = false),
    ORDER("dry_run", JSON_BOOL, dry_run, .required = false),
    ORDER("per_second", JSON_INT, per_second, .min = 1, .max = 1000000),
    ORDER("max", JSON_INT, max, .min = 1, .max = INT32_MAX),
    {0},
};

/* A place in DEAD and, for what changes it, where that began to end. */
static const struct cursor_kind list_cursor = {"dead_letters", 1, {STORE_TEXT}};
static const struct cursor_kind work_cursor = {"dead_letters_work", 1, {STORE_TEXT}};

static bool known(const struct parameter *table, const char *name)
{
    while (table->name != NULL && strcmp(table->name, name) != 0)
        table++;
    return table->name != NULL;
}

/* A name that is long, or no text, is not repeated: the answer stays text. */
static bool refuse_name(const char *name, struct error *err)
{
    char pointer[sizeof(err->pointer)];
    size_t size = strlen(name);

    if (size > SHOWN_MAX_BYTES || !utf8_is_valid(name, size))
        return error_input(err, "unknown_parameter", "/query", "there is no such parameter");
    (void)snprintf(pointer, sizeof(pointer), "/query/%s", name);
    return error_input(err, "unknown_parameter", pointer, "there is no parameter '%s'", name);
}

static bool refuse_unknown(const struct parameter *table, const struct http_exchange *exchange,
                           struct error *err)
{
    const char *name;

    for (size_t i = 0; (name = http_query_name(exchange, i)) != NULL; i++)
        if (!known(table, name))
            return refuse_name(name, err);
    return true;
}

/* Who removes has a value for what he names: a filter that came out empty would mean more. */
static bool refuse_empty(const struct parameter *table, const struct http_exchange *exchange,
                         struct error *err)
{
    char pointer[sizeof(err->pointer)];

    for (; table->name != NULL; table++) {
        const char *text = http_query(exchange, table->name);
        if (text == NULL || *text)
            continue;
        (void)snprintf(pointer, sizeof(pointer), "/query/%s", table->name);
        return error_input(err, JSON_RANGE, pointer, "%s is empty", table->name);
    }
    return true;
}

static const char *find(const void *exchange, const struct parameter *parameter)
{
    return http_query(exchange, parameter->name);
}

static bool read_query(const struct parameter *table, const struct http_exchange *exchange,
                       struct store_value *slots, struct error *err)
{
    static const struct parameter none[] = {{0}};

    return refuse_unknown(table != NULL ? table : none, exchange, err) &&
           (table == NULL || parameters_read(table, find, exchange, slots, err));
}

/* In a filter 0 is "any", so that the first moment of the epoch becomes the next. */
static void set_times(struct dead_filter *filter, const int64_t *from_ms, const int64_t *to_ms)
{
    if (from_ms != NULL)
        filter->since_ms = *from_ms;
    if (to_ms != NULL)
        filter->until_ms = *to_ms != 0 ? *to_ms : 1;
}

static bool check_times(const struct dead_filter *filter, const char *pointer, struct error *err)
{
    return !filter->since_ms || !filter->until_ms || filter->since_ms < filter->until_ms ||
           error_input(err, JSON_RANGE, pointer, "from must be before to");
}

static bool read_cursor(const struct cursor_kind *kind, const char *text, struct arena *arena,
                        struct asked *asked, struct error *err)
{
    struct store_value key = {0};

    if (text == NULL)
        return true;
    if (!cursor_read(kind, text, arena, &key, err))
        return false;
    size_t size = strcspn(key.text, " ");
    const char *end = key.text + size + (key.text[size] == ' ');
    (void)snprintf(asked->from, sizeof(asked->from), "%.*s", (int)size, key.text);
    (void)snprintf(asked->end, sizeof(asked->end), "%s", end);
    return true;
}

static struct asked *asked_new(struct dead_letters *letters, struct http_exchange *exchange)
{
    struct asked *asked = arena_alloc(http_arena(exchange), sizeof(*asked));

    asked->letters = letters;
    asked->max = SIZE_MAX;
    return asked;
}

static const int64_t *time_of(const struct store_value *value)
{
    return value->present ? &value->integer : NULL;
}

/* What list and purge have in common. */
static bool read_filter(const struct parameter *table, const struct cursor_kind *cursor,
                        struct http_exchange *exchange, struct asked *asked, struct error *err)
{
    struct store_value slots[SLOTS] = {0};

    if (!read_query(table, exchange, slots, err))
        return false;
    asked->filter = (struct dead_filter){
        .stream = slots[SLOT_STREAM].text,
        .consumer = slots[SLOT_CONSUMER].text,
        .reason = slots[SLOT_REASON].text,
        .sequence = slots[SLOT_ID].text,
    };
    if (slots[SLOT_MAX].present)
        asked->max = (size_t)slots[SLOT_MAX].integer;
    asked->dry_run = slots[SLOT_DRY_RUN].text == truths[0];
    set_times(&asked->filter, time_of(&slots[SLOT_FROM]), time_of(&slots[SLOT_TO]));
    return check_times(&asked->filter, "/query/from", err) &&
           read_cursor(cursor, slots[SLOT_CURSOR].text, http_arena(exchange), asked, err);
}

static bool read_list(struct dead_letters *letters, struct http_exchange *exchange, void **out,
                      struct error *err)
{
    struct asked *asked = asked_new(letters, exchange);

    *out = asked;
    return read_filter(list_parameters, &list_cursor, exchange, asked, err);
}

static bool read_one(struct dead_letters *letters, struct http_exchange *exchange, void **out,
                     struct error *err)
{
    struct asked *asked = asked_new(letters, exchange);

    *out = asked;
    asked->filter.sequence = http_parameter(exchange, "id");
    return read_query(NULL, exchange, NULL, err);
}

static bool read_purge(struct dead_letters *letters, struct http_exchange *exchange, void **out,
                       struct error *err)
{
    struct asked *asked = asked_new(letters, exchange);

    *out = asked;
    if (!read_filter(purge_parameters, &work_cursor, exchange, asked, err))
        return false;
    if (dead_filter_is_empty(&asked->filter))
        return error_input(
            err, DEAD_LETTERS_EMPTY_FILTER, "",
            "say which dead letters are meant: stream, consumer, reason, id, from, to");
    return refuse_empty(purge_parameters, exchange, err);
}

static bool read_order(struct http_exchange *exchange, struct order *out, struct error *err)
{
    size_t size;
    const char *body = http_body(exchange, &size);

    *out = (struct order){0};
    return json_decode(order_fields, size ? body : "{}", size ? size : 2, out, http_arena(exchange),
                       err);
}

static bool read_replay(struct dead_letters *letters, struct http_exchange *exchange, void **out,
                        struct error *err)
{
    struct asked *asked = asked_new(letters, exchange);
    struct order order;

    *out = asked;
    if (!read_query(NULL, exchange, NULL, err) || !read_order(exchange, &order, err))
        return false;
    asked->filter = (struct dead_filter){.stream = order.stream,
                                         .consumer = order.consumer,
                                         .reason = order.reason,
                                         .sequence = order.id};
    set_times(&asked->filter, order.from_ms != JSON_TIME_ABSENT ? &order.from_ms : NULL,
              order.to_ms != JSON_TIME_ABSENT ? &order.to_ms : NULL);
    asked->dry_run = order.dry_run;
    asked->per_second = order.per_second;
    if (order.max)
        asked->max = (size_t)order.max;
    if (!read_cursor(&work_cursor, order.cursor, http_arena(exchange), asked, err)) {
        (void)snprintf(err->pointer, sizeof(err->pointer), "/cursor");
        return false;
    }
    return check_times(&asked->filter, "/from", err);
}

/* ---- answering ---- */

/* A broker that does not answer is one that is away. */
static bool fail(struct error *err)
{
    if (err->code == ERROR_TIMEOUT || err->code == ERROR_UNKNOWN)
        err->code = ERROR_UNAVAILABLE;
    return false;
}

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* When the answer has to be made, so that it is there before the client is told that it is late. */
static int64_t until_ms(const struct http_exchange *exchange)
{
    int left_ms = http_remaining_ms(exchange);
    int margin_ms = left_ms / 10 > MARGIN_MIN_MS ? left_ms / 10 : MARGIN_MIN_MS;

    return now_ms() + left_ms - margin_ms;
}

static int slice_ms(int64_t until)
{
    int64_t left_ms = until - now_ms();

    if (left_ms < SLICE_MIN_MS)
        return SLICE_MIN_MS;
    return left_ms < SLICE_MS ? (int)left_ms : SLICE_MS;
}

static void write_next(struct json_writer *writer, const struct cursor_kind *kind, const char *next,
                       const char *end)
{
    AUTO(buffer_free) struct buffer keys = {0};
    AUTO(buffer_free) struct buffer cursor = {0};

    if (!*next) {
        json_null(writer, "next");
        return;
    }
    buffer_print(&keys, "%s%s%s", next, *end ? " " : "", end);
    cursor_write(kind, keys.data, keys.size, &cursor);
    json_text(writer, "next", cursor.data);
}

static void write_summary(void *context, const struct broker_delivery *letter)
{
    letter_write(context, NULL, letter, LETTER_SUMMARY);
}

static void write_whole(void *context, const struct broker_delivery *letter)
{
    letter_write(context, NULL, letter, LETTER_WHOLE);
}

static bool answer_list(void *context, struct http_exchange *exchange, struct store *store,
                        struct buffer *out, struct error *err)
{
    const struct asked *asked = context;
    struct dead_page page = {.from = asked->from, .max = asked->max};
    struct json_writer writer = {.out = out};

    (void)store;
    json_open(&writer, NULL, '{');
    json_open(&writer, "dead_letters", '[');
    if (!dead_letter_list(asked->letters->broker, &asked->filter, &page, write_summary, &writer,
                          slice_ms(until_ms(exchange)), err))
        return fail(err);
    json_close(&writer, ']');
    write_next(&writer, &list_cursor, page.next, "");
    json_close(&writer, '}');
    return true;
}

static bool answer_one(void *context, struct http_exchange *exchange, struct store *store,
                       struct buffer *out, struct error *err)
{
    const struct asked *asked = context;
    struct json_writer writer = {.out = out};

    (void)store;
    return dead_letter_get(asked->letters->broker, asked->filter.sequence, write_whole, &writer,
                           slice_ms(until_ms(exchange)), err) ||
           fail(err);
}

typedef bool deed(struct broker *broker, const struct dead_filter *filter, struct dead_work *work,
                  int timeout_ms, struct error *err);

/* What all slices did. */
struct sum {
    size_t matched, done, cut;
    bool stopped; /* by a letter, or by an absent broker */
    char next[BROKER_SEQUENCE_SIZE], end[BROKER_SEQUENCE_SIZE];
    int64_t due_ms;
};

static bool work_a_slice(const struct asked *asked, deed *do_it, struct sum *sum, int ms,
                         struct error *err)
{
    char from[BROKER_SEQUENCE_SIZE];
    struct dead_work work = {
        .from = from,
        .max = asked->max - sum->matched,
        .dry_run = asked->dry_run,
        .per_second = asked->per_second,
        .due_ms = sum->due_ms,
    };

    memcpy(from, sum->next, sizeof(from));
    memcpy(work.end, sum->end, sizeof(work.end));
    bool worked = do_it(asked->letters->broker, &asked->filter, &work, ms, err);
    sum->matched += work.matched;
    sum->done += work.done;
    sum->cut += work.cut;
    sum->due_ms = work.due_ms;
    memcpy(sum->next, work.next, sizeof(sum->next));
    memcpy(sum->end, work.end, sizeof(sum->end));
    return worked;
}

/* In slices, so that a service that is to stop need not wait for all of it. */
static bool work_in_slices(const struct asked *asked, deed *do_it, int64_t until, struct sum *sum,
                           struct error *err)
{
    memcpy(sum->next, asked->from, sizeof(sum->next));
    memcpy(sum->end, asked->end, sizeof(sum->end));
    do {
        if (!work_a_slice(asked, do_it, sum, slice_ms(until), err))
            return false;
    } while (*sum->next && sum->matched < asked->max && until - now_ms() >= SLICE_MIN_MS &&
             !atomic_load(&asked->letters->stopping));
    return true;
}

static bool is_away(const struct error *err)
{
    return err->code == ERROR_UNAVAILABLE || err->code == ERROR_CLOSED;
}

static void write_error(struct json_writer *writer, const struct error *err)
{
    json_open(writer, "error", '{');
    json_text(writer, "code", err->reason != NULL ? err->reason : error_code_name(err->code));
    json_text(writer, "detail", err->message);
    json_close(writer, '}');
}

static void write_sum(struct json_writer *writer, const struct sum *sum, const char *done)
{
    json_int(writer, "matched", (int64_t)sum->matched);
    json_int(writer, done, (int64_t)sum->done);
    write_next(writer, &work_cursor, sum->next, sum->end);
}

/* True when there is something to tell: all of it, or how far it came. */
static bool work(const struct asked *asked, deed *do_it, struct http_exchange *exchange,
                 struct sum *sum, struct error *err)
{
    sum->stopped = !work_in_slices(asked, do_it, until_ms(exchange), sum, err) && !fail(err);
    return !sum->stopped || sum->done || (sum->matched && !is_away(err));
}

static bool answer_replay(void *context, struct http_exchange *exchange, struct store *store,
                          struct buffer *out, struct error *err)
{
    struct json_writer writer = {.out = out};
    struct sum sum = {0};

    (void)store;
    if (!work(context, dead_letter_replay, exchange, &sum, err))
        return false;
    json_open(&writer, NULL, '{');
    write_sum(&writer, &sum, "replayed");
    json_int(&writer, "cut", (int64_t)sum.cut);
    if (sum.stopped)
        write_error(&writer, err);
    json_close(&writer, '}');
    return true;
}

static bool answer_purge(void *context, struct http_exchange *exchange, struct store *store,
                         struct buffer *out, struct error *err)
{
    struct json_writer writer = {.out = out};
    struct sum sum = {0};

    (void)store;
    if (!work(context, dead_letter_purge, exchange, &sum, err))
        return false;
    json_open(&writer, NULL, '{');
    write_sum(&writer, &sum, "removed");
    if (sum.stopped)
        write_error(&writer, err);
    json_close(&writer, '}');
    return true;
}

const struct dead_letters_action dead_letters_list = {read_list, answer_list, .changes = false};
const struct dead_letters_action dead_letters_one = {read_one, answer_one, .changes = false};
const struct dead_letters_action dead_letters_replay = {read_replay, answer_replay,
                                                        .changes = true};
const struct dead_letters_action dead_letters_purge = {read_purge, answer_purge, .changes = true};
