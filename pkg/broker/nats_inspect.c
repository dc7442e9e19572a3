#include "broker/nats_driver.h"

#include "base/memory.h"
#include "base/rfc3339.h"
#include "broker/nats_wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUBJECT_SIZE 560
#define HEADERS_MAX 96 /* what a message may have, and what a dead letter adds */
#define ID_HEADER "Nats-Msg-Id"

bool nats_ping(struct broker *base, int timeout_ms, struct error *err)
{
    AUTO(document_free) struct document *answer = NULL;

    return nats_api(nats_broker_of(base), "INFO", "", nats_now_ms() + timeout_ms, &answer, err);
}

int64_t nats_time_at(const struct document *document, const char *path, int64_t fallback)
{
    const char *text = document_text(document, path);
    int64_t time_ms;

    return text && rfc3339_parse(text, strlen(text), &time_ms) ? time_ms : fallback;
}

/* By the broker's clock where the answer carries it (2.10 and later). */
static int64_t wall_ms(const struct document *answer)
{
    return nats_time_at(answer, "ts", clock_wall_ms(clock_system()));
}

/* The first message at or behind a sequence that matches; NOT_FOUND when there is none. */
static bool message_from(const struct nats_view *view, uint64_t sequence, const char *filter,
                         struct document **out, struct error *err)
{
    AUTO(document_free) struct document *request = document_new();
    AUTO(buffer_free) struct buffer body = {0};
    char subject[SUBJECT_SIZE];

    snprintf(subject, sizeof(subject), "STREAM.MSG.GET.%s", view->stream);
    document_set_int(request, "seq", (int64_t)sequence);
    document_set_text(request, "next_by_subj", filter && *filter ? filter : ">");
    document_print(request, "", &body);
    return nats_api(view->broker, subject, body.data, view->until_ms, out, err);
}

static bool is_end(const struct error *err)
{
    return err->code == ERROR_NOT_FOUND && strcmp(err->reason, NATS_NO_MESSAGE) == 0;
}

bool nats_measure(const struct nats_view *view, const struct document *info, struct broker_lag *out,
                  struct error *err)
{
    AUTO(document_free) struct document *oldest = NULL;

    *out = (struct broker_lag){.unread = document_int(info, "num_pending", 0),
                               .in_flight = document_int(info, "num_ack_pending", 0)};
    if (out->unread + out->in_flight == 0)
        return true;

    int64_t floor = document_int(info, "ack_floor.stream_seq", 0);
    const char *filter = document_text(info, "config.filter_subject");
    if (!message_from(view, (uint64_t)floor + 1, filter, &oldest, err))
        return is_end(err);
    int64_t now_ms = wall_ms(info);
    int64_t age_ms = now_ms - nats_time_at(oldest, "message.time", now_ms);
    out->oldest_age_ms = age_ms > 0 ? age_ms : 0;
    return true;
}

bool nats_lag(struct broker *base, const char *stream, const char *group, int timeout_ms,
              struct broker_lag *out, struct error *err)
{
    AUTO(document_free) struct document *info = NULL;
    const struct nats_view view = {nats_broker_of(base), stream, nats_now_ms() + timeout_ms};
    char subject[SUBJECT_SIZE];

    snprintf(subject, sizeof(subject), "CONSUMER.INFO.%s.%s", stream, group);
    return nats_api(view.broker, subject, "", view.until_ms, &info, err) &&
           nats_measure(&view, info, out, err);
}

/* ---- peek ---- */

/* Bytes that were base64 in the document; *size is -1 when they are not. The caller frees. */
static char *bytes_at(const struct document *document, const char *path, long *size)
{
    const char *text = document_text(document, path);
    char *bytes = memory_text(text ? text : "");

    *size = nats_base64_decode(bytes, strlen(bytes));
    return bytes;
}

bool nats_show(const struct document *stored, broker_peeked *each, void *context, struct error *err)
{
    struct broker_header headers[HEADERS_MAX];
    char sequence[BROKER_SEQUENCE_SIZE];
    long size, block_size;
    char *data = bytes_at(stored, "message.data", &size);
    char *block = bytes_at(stored, "message.hdrs", &block_size);
    int count = block_size > 0 ? nats_headers_parse(block, (size_t)block_size, headers, HEADERS_MAX)
                               : (int)block_size;
    struct broker_delivery delivery = {.subject = document_text(stored, "message.subject"),
                                       .data = data,
                                       .size = (size_t)size,
                                       .headers = headers,
                                       .sequence = sequence,
                                       .id = "",
                                       .stored_ms = nats_time_at(stored, "message.time", 0)};

    bool readable = size >= 0 && count >= 0 && delivery.subject;
    if (readable) {
        delivery.header_count = count < HEADERS_MAX ? (size_t)count : HEADERS_MAX;
        for (size_t i = 0; i < delivery.header_count; i++)
            if (strcmp(headers[i].name, ID_HEADER) == 0)
                delivery.id = headers[i].value;
        snprintf(sequence, sizeof(sequence), "%" PRId64, document_int(stored, "message.seq", 0));
        each(context, &delivery);
    }
    free(data);
    free(block);
    return readable || error_set(err, ERROR_UNAVAILABLE, "the server's answer cannot be read");
}

bool nats_sequence_parse(const char *text, uint64_t *out, struct error *err)
{
    char *end;

    *out = 1;
    if (!*text)
        return true;
    *out = strtoull(text, &end, 10);
    return (*text >= '0' && *text <= '9' && !*end) ||
           error_set(err, ERROR_INVALID, "'%s' is no sequence", text);
}

// NOLINTNEXTLINE(readability-function-size): the driver interface's parameters
bool nats_peek(struct broker *base, const char *stream, const char *from, size_t max,
               broker_peeked *each, void *context, int timeout_ms, struct error *err)
{
    const struct nats_view view = {nats_broker_of(base), stream, nats_now_ms() + timeout_ms};
    uint64_t sequence;

    if (!nats_sequence_parse(from, &sequence, err))
        return false;
    for (size_t i = 0; i < max; i++) {
        AUTO(document_free) struct document *stored = NULL;
        if (!message_from(&view, sequence, NULL, &stored, err))
            return is_end(err);
        if (!nats_show(stored, each, context, err))
            return false;
        sequence = (uint64_t)document_int(stored, "message.seq", 0) + 1;
    }
    return true;
}

/* ---- trim ---- */

struct settled {
    uint64_t last;   /* everything up to here is settled by every consumer */
    uint64_t lowest; /* of the positions that the server itself keeps for the consumers */
    uint64_t all;    /* the last of the stream */
    bool any;        /* is there a consumer at all? */
};

/* A consumer with nothing left to do has settled all that was in the stream: what its filter leaves
 * out never moves its own position. */
static bool add_consumer(void *context, const struct document *info, struct error *err)
{
    struct settled *settled = context;
    uint64_t position = (uint64_t)document_int(info, "ack_floor.stream_seq", 0);
    bool idle =
        document_int(info, "num_pending", 0) + document_int(info, "num_ack_pending", 0) == 0;
    uint64_t last = idle ? settled->all : position;

    settled->any = true;
    settled->lowest = position < settled->lowest ? position : settled->lowest;
    settled->last = last < settled->last ? last : settled->last;
    (void)err;
    return true;
}

/* Every one of them: what one that is left out has not settled would be lost. */
static bool settled_by_all(const struct nats_view *view, struct settled *settled, struct error *err)
{
    char names[SUBJECT_SIZE], info[SUBJECT_SIZE];
    const struct nats_things consumers = {.names = names,
                                          .list = "consumers",
                                          .info = info,
                                          .each = add_consumer,
                                          .context = settled};

    snprintf(names, sizeof(names), "CONSUMER.NAMES.%s", view->stream);
    snprintf(info, sizeof(info), "CONSUMER.INFO.%s.", view->stream);
    return nats_api_each(view->broker, &consumers, view->until_ms, err);
}

/* Lowers *last to the last message that is older than the time. */
static bool older_than(const struct nats_view *view, uint64_t first, uint64_t *last,
                       int64_t before_ms, struct error *err)
{
    uint64_t low = first - 1, high = *last; /* low is old enough, what is behind high is not */

    while (low < high) {
        AUTO(document_free) struct document *stored = NULL;
        uint64_t middle = low + (high - low + 1) / 2;
        uint64_t found = UINT64_MAX;
        if (message_from(view, middle, NULL, &stored, err))
            found = (uint64_t)document_int(stored, "message.seq", 0);
        else if (!is_end(err))
            return false;
        if (found <= *last && nats_time_at(stored, "message.time", before_ms) < before_ms)
            low = found > high ? high : found;
        else
            high = middle - 1;
    }
    *last = low;
    return true;
}

static bool remove_by(const struct nats_view *view, const char *verb, const char *body,
                      struct error *err)
{
    AUTO(document_free) struct document *answer = NULL;
    char subject[SUBJECT_SIZE];

    snprintf(subject, sizeof(subject), "STREAM.%s.%s", verb, view->stream);
    return nats_api(view->broker, subject, body, view->until_ms, &answer, err);
}

/* Removes what is before a sequence. */
static bool purge(const struct nats_view *view, uint64_t before, struct error *err)
{
    char body[64];

    snprintf(body, sizeof(body), "{\"seq\":%" PRIu64 "}", before);
    return remove_by(view, "PURGE", body, err);
}

/* Removes one by one, from the first on; what there is no time for waits for the next trim. */
static bool erase(const struct nats_view *view, uint64_t last, struct error *err)
{
    char body[64];

    for (uint64_t at = 1; nats_now_ms() < view->until_ms;) {
        AUTO(document_free) struct document *stored = NULL;
        if (!message_from(view, at, NULL, &stored, err))
            return is_end(err);
        at = (uint64_t)document_int(stored, "message.seq", 0);
        if (at == 0 || at > last)
            return true;
        snprintf(body, sizeof(body), "{\"seq\":%" PRIu64 ",\"no_erase\":true}", at++);
        if (!remove_by(view, "MSG.DELETE", body, err) && !is_end(err))
            return false;
    }
    return true;
}

/*
 * A purge that moves the stream's first message past a consumer's position makes a 2.9 server
 * forget what the consumer holds: it would never come again. So the purge leaves the message at the
 * lowest position in the stream, and that one, and what only idle consumers have passed, goes
 * singly.
 */
static bool drop_front(const struct nats_view *view, uint64_t first, const struct settled *settled,
                       struct error *err)
{
    AUTO(document_free) struct document *kept = NULL;
    uint64_t safe = settled->lowest < settled->last ? settled->lowest : settled->last;

    if (!settled->any)
        return purge(view, settled->last + 1, err);
    if (safe > first && message_from(view, safe, NULL, &kept, err) &&
        (uint64_t)document_int(kept, "message.seq", 0) == safe && !purge(view, safe, err))
        return false;
    return erase(view, settled->last, err);
}

bool nats_trim(struct broker *base, const char *stream, int64_t keep_ms, int timeout_ms,
               struct error *err)
{
    struct nats_broker *broker = nats_broker_of(base);
    AUTO(document_free) struct document *info = NULL;
    const struct nats_view view = {broker, stream, nats_now_ms() + timeout_ms};
    char subject[SUBJECT_SIZE];

    snprintf(subject, sizeof(subject), "STREAM.INFO.%s", stream);
    if (!nats_api(broker, subject, "", view.until_ms, &info, err))
        return false;
    uint64_t first = (uint64_t)document_int(info, "state.first_seq", 0);
    uint64_t last = (uint64_t)document_int(info, "state.last_seq", 0);
    struct settled settled = {.last = last, .lowest = UINT64_MAX, .all = last};
    int64_t max_bytes = document_int(info, "config.max_bytes", -1);
    bool crowded = max_bytes > 0 && document_int(info, "state.bytes", 0) > max_bytes / 2;

    if (!settled_by_all(&view, &settled, err))
        return false;
    if (settled.last < first || first == 0)
        return true;
    if (!(crowded && settled.any) &&
        !older_than(&view, first, &settled.last, wall_ms(info) - keep_ms, err))
        return false;
    return settled.last < first || drop_front(&view, first, &settled, err);
}
