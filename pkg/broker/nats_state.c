/*
 * State in a key-value bucket, where several writers change the same key.
 *
 * A cluster compares the revision that a change expects before it replicates the change: up to
 * 2.9.20 always, later around a change of its leader (nats-server issues 4320 and 8469). Two that
 * expect the same one could both be stored. So the message id of a change is the revision that it
 * follows: of two such messages a server stores one, and that it decides when it stores them. For
 * this a change with BROKER_ANY follows something, too: what is there now. Only what follows
 * nothing has an id of its own: that there is nothing is compared when it is stored.
 *
 * A change whose answer is lost is repeated until an answer comes. Which one is there then says a
 * header with a mark that no other change has.
 */
#include "broker/nats_bucket.h"

#include "base/id.h"
#include "broker/nats_puback.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_MS 1000 /* no answer in this time: sent again */
#define DELETION "DEL"
#define ID_HEADER "Nats-Msg-Id"
#define EXPECTED_HEADER "Nats-Expected-Last-Subject-Sequence"
#define CHANGE_HEADER "millrace-change"

static bool is_deletion(const struct broker_delivery *delivery)
{
    return nats_bucket_is_deletion(broker_header(delivery, NATS_OPERATION_HEADER),
                                   broker_header(delivery, NATS_MARKER_HEADER));
}

static uint64_t revision_of(const struct broker_delivery *delivery)
{
    return strtoull(delivery->sequence, NULL, 10);
}

/* ---- reading ---- */

struct place {
    struct nats_broker *broker;
    const char *bucket, *key;
    int64_t until_ms;
};

static bool no_value(struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "no value");
}

/* Asks the leader: a replica that answers directly may be behind. */
static bool read_last(const struct place *place, broker_peeked *each, void *context,
                      struct error *err)
{
    AUTO(document_free) struct document *request = document_new();
    AUTO(document_free) struct document *stored = NULL;
    AUTO(buffer_free) struct buffer body = {0};
    char api[200], subject[NATS_BUCKET_SIZE];

    snprintf(api, sizeof(api), "STREAM.MSG.GET." NATS_BUCKET_STREAM "%s", place->bucket);
    nats_bucket_subject(subject, place->bucket, place->key);
    document_set_text(request, "last_by_subj", subject);
    document_print(request, "", &body);
    if (!nats_api(place->broker, api, body.data, place->until_ms, &stored, err))
        return err->code == ERROR_NOT_FOUND ? no_value(err) : false;
    return nats_show(stored, each, context, err);
}

struct sight {
    const char *key;
    broker_see *see;
    void *context;
    bool seen;
};

static void show_value(void *context, const struct broker_delivery *delivery)
{
    struct sight *sight = context;
    const struct broker_value value = {.key = sight->key,
                                       .data = delivery->data,
                                       .size = delivery->size,
                                       .revision = revision_of(delivery)};

    if (is_deletion(delivery))
        return;
    sight->seen = true;
    sight->see(sight->context, BROKER_SEEN_VALUE, &value);
}

// NOLINTNEXTLINE(readability-function-size): the driver interface's parameters
bool nats_state_get(struct broker *base, const char *bucket, const char *key, broker_see *see,
                    void *context, int timeout_ms, struct error *err)
{
    const struct place place = {nats_broker_of(base), bucket, key, nats_now_ms() + timeout_ms};
    struct sight sight = {.key = key, .see = see, .context = context};

    return read_last(&place, show_value, &sight, err) && (sight.seen || no_value(err));
}

/* What is at a key now, without its value. */
struct mark {
    bool deleted;
    uint64_t revision; /* 0: there is nothing, not even a deletion */
    char change[ID_TEXT_SIZE];
};

static void note_mark(void *context, const struct broker_delivery *delivery)
{
    struct mark *mark = context;
    const char *change = broker_header(delivery, CHANGE_HEADER);

    mark->deleted = is_deletion(delivery);
    mark->revision = revision_of(delivery);
    snprintf(mark->change, sizeof(mark->change), "%s", change ? change : "");
}

static bool read_mark(const struct place *place, struct mark *out, struct error *err)
{
    *out = (struct mark){.revision = 0};
    return read_last(place, note_mark, out, err) || err->code == ERROR_NOT_FOUND;
}

/* ---- changing ---- */

struct change {
    const void *data;
    size_t size;
    const char *operation;   /* NULL: a value is put */
    uint64_t expected;       /* the revision it follows; 0: nothing */
    char mark[ID_TEXT_SIZE]; /* nobody else's, and of this attempt alone */
    bool perhaps;            /* it was sent, and no answer came */
};

static natsMsg *build(const struct place *place, const struct change *change)
{
    char subject[NATS_BUCKET_SIZE], expected[24];
    const char *id = change->expected ? expected : change->mark;
    natsMsg *message = NULL;

    nats_bucket_subject(subject, place->bucket, place->key);
    snprintf(expected, sizeof(expected), "%" PRIu64, change->expected);
    natsStatus status = natsMsg_Create(&message, subject, NULL, change->data, (int)change->size);
    if (status == NATS_OK)
        status = natsMsgHeader_Set(message, ID_HEADER, id);
    if (status == NATS_OK)
        status = natsMsgHeader_Set(message, CHANGE_HEADER, change->mark);
    if (status == NATS_OK && change->operation)
        status = natsMsgHeader_Set(message, NATS_OPERATION_HEADER, change->operation);
    if (status == NATS_OK)
        status = natsMsgHeader_Set(message, EXPECTED_HEADER, expected);
    if (status == NATS_OK)
        return message;
    natsMsg_Destroy(message);
    return NULL;
}

enum outcome { STORED, REFUSED, AGAIN };

static enum outcome judge(natsMsg *answer, uint64_t *out_revision, struct error *err)
{
    struct nats_puback ack;

    if (!nats_puback_parse(natsMsg_GetData(answer), (size_t)natsMsg_GetDataLength(answer), &ack)) {
        error_set(err, ERROR_UNAVAILABLE, "the server's answer cannot be read");
        return AGAIN;
    }
    if (ack.duplicate) {
        error_set(err, ERROR_CONFLICT, "something else follows that revision");
        return REFUSED;
    }
    if (!ack.status && !ack.number) {
        *out_revision = ack.sequence;
        return STORED;
    }
    const struct nats_refusal *refusal = nats_refusal(ack.number, ack.status);
    error_set(err, refusal->code, "%s (%d)", ack.description, ack.number);
    err->reason = refusal->reason;
    return refusal->passing ? AGAIN : REFUSED;
}

/* Nobody answers for the bucket's subjects: there is no bucket yet, or it has no leader now. */
static enum outcome open_bucket(const struct place *place, struct error *err)
{
    AUTO(document_free) struct document *info = NULL;

    if (nats_bucket_open(place->broker, place->bucket, place->until_ms, &info, err)) {
        error_set(err, ERROR_UNAVAILABLE, "the bucket does not answer");
        return AGAIN;
    }
    return err->code == ERROR_UNAVAILABLE ? AGAIN : REFUSED;
}

/* The library tells it beforehand; everything else may have reached the server. */
static bool surely_not_sent(natsStatus status)
{
    return status == NATS_MAX_PAYLOAD || status == NATS_INVALID_ARG ||
           status == NATS_INSUFFICIENT_BUFFER || status == NATS_NOT_YET_CONNECTED;
}

static enum outcome ask(const struct place *place, struct change *change, natsMsg *message,
                        uint64_t *out_revision, struct error *err)
{
    struct nats_connection *connection = &place->broker->quick;
    int64_t left_ms = place->until_ms - nats_now_ms();
    natsMsg *answer = NULL;

    if (left_ms <= 0)
        return AGAIN;
    natsStatus status = natsConnection_RequestMsg(&answer, connection->handle, message,
                                                  left_ms < STEP_MS ? left_ms : STEP_MS);
    if (status == NATS_OK) {
        enum outcome outcome = judge(answer, out_revision, err);
        natsMsg_Destroy(answer);
        return outcome;
    }
    if (nats_denials_has(&place->broker->denials, natsMsg_GetSubject(message))) {
        error_set(err, ERROR_DENIED, "not permitted to publish to '%s'",
                  natsMsg_GetSubject(message));
        return REFUSED;
    }
    if (status == NATS_NO_RESPONDERS)
        return open_bucket(place, err);
    (void)nats_failed(status, "send", err);
    change->perhaps = change->perhaps || !surely_not_sent(status);
    return err->code == ERROR_TOO_LARGE || err->code == ERROR_INVALID ? REFUSED : AGAIN;
}

static enum outcome repeat(const struct place *place, struct change *change, natsMsg *message,
                           uint64_t *out_revision, struct error *err)
{
    struct nats_connection *connection = &place->broker->quick;
    enum outcome outcome = AGAIN;

    error_set(err, ERROR_UNAVAILABLE, "not connected");
    for (unsigned attempt = 1; outcome == AGAIN; attempt++) {
        if (attempt > 1)
            nats_pause(connection, attempt - 1, place->until_ms);
        if (nats_now_ms() >= place->until_ms || !nats_connection_wait(connection, place->until_ms))
            return AGAIN;
        outcome = ask(place, change, message, out_revision, err);
    }
    return outcome;
}

/* A conflict after a lost answer: what is there now may be this very change. */
static bool resolve(const struct place *place, const struct change *change, uint64_t *out_revision,
                    struct error *err)
{
    struct mark mark;
    struct error failed;

    if (read_mark(place, &mark, &failed) && strcmp(mark.change, change->mark) == 0) {
        *out_revision = mark.revision;
        return true;
    }
    return error_set(err, ERROR_UNKNOWN, "the answer was lost, and it changed since");
}

/* CONFLICT: something else follows what this was to follow. */
static bool apply(const struct place *place, struct change *change, uint64_t *out_revision,
                  struct error *err)
{
    const struct id id = id_new(clock_wall_ms(clock_system()));

    id_format(&id, change->mark);
    change->perhaps = false;
    natsMsg *message = build(place, change);
    if (!message)
        return error_set(err, ERROR_INVALID, "NATS cannot carry this");
    enum outcome outcome = repeat(place, change, message, out_revision, err);
    natsMsg_Destroy(message);
    if (outcome == REFUSED && err->code == ERROR_CONFLICT && change->perhaps)
        return resolve(place, change, out_revision, err);
    if (outcome == AGAIN)
        return change->perhaps ? error_set(err, ERROR_UNKNOWN, "no answer in time")
                               : error_set(err, ERROR_UNAVAILABLE, "%s", err->message);
    return outcome == STORED;
}

/* What was deleted is there as a marker: in its place it can be created. */
static bool create(const struct place *place, struct change *change, uint64_t *out_revision,
                   struct error *err)
{
    struct mark mark;
    struct error failed;

    change->expected = 0;
    while (!apply(place, change, out_revision, err)) {
        if (err->code != ERROR_CONFLICT)
            return false;
        if (!read_mark(place, &mark, &failed) || !mark.deleted)
            return error_set(err, ERROR_CONFLICT, "there is a value");
        change->expected = mark.revision;
    }
    return true;
}

/* Whatever is there. Who loses a race follows the winner; one of them always wins. */
static bool follow_latest(const struct place *place, struct change *change, uint64_t *out_revision,
                          struct error *err)
{
    struct mark mark;

    for (unsigned attempt = 0;; attempt++) {
        if (attempt > 1)
            nats_pause(&place->broker->quick, attempt - 1, place->until_ms);
        if (!read_mark(place, &mark, err))
            return false;
        if (change->operation && (mark.deleted || !mark.revision))
            return true;
        change->expected = mark.revision;
        if (apply(place, change, out_revision, err))
            return true;
        if (err->code != ERROR_CONFLICT)
            return false;
    }
}

// NOLINTNEXTLINE(readability-function-size): the driver interface's parameters
bool nats_state_put(struct broker *base, const char *bucket, const struct broker_value *value,
                    uint64_t expected, int timeout_ms, uint64_t *out_revision, struct error *err)
{
    const struct place place = {nats_broker_of(base), bucket, value->key,
                                nats_now_ms() + timeout_ms};
    struct change change = {.data = value->data, .size = value->size, .expected = expected};

    if (expected == BROKER_ANY)
        return follow_latest(&place, &change, out_revision, err);
    return expected == 0 ? create(&place, &change, out_revision, err)
                         : apply(&place, &change, out_revision, err);
}

bool nats_state_delete(struct broker *base, const char *bucket, const char *key, uint64_t expected,
                       int timeout_ms, struct error *err)
{
    const struct place place = {nats_broker_of(base), bucket, key, nats_now_ms() + timeout_ms};
    struct change change = {.operation = DELETION, .expected = expected};
    struct mark mark;
    uint64_t unused;

    if (expected == BROKER_ANY)
        return follow_latest(&place, &change, &unused, err);
    if (!read_mark(&place, &mark, err))
        return false;
    if (mark.revision && !mark.deleted && expected)
        return apply(&place, &change, &unused, err);
    return (expected == 0 && (mark.deleted || !mark.revision)) ||
           error_set(err, ERROR_CONFLICT, "there is no value");
}
