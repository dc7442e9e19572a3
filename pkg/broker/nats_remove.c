/*
 * Single messages are removed by one request each; many are under way at a time, and what has no
 * answer is asked again: removing twice is harmless.
 */
#include "broker/nats_driver.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 256 /* requests without an answer */
#define STEP_MS 1000
#define SUBJECT_SIZE 200

struct removal {
    struct nats_broker *broker; /* borrowed */
    char inbox[NATS_INBOX_SIZE], subject[SUBJECT_SIZE];
    const uint64_t *sequences; /* borrowed */
    size_t count;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool *gone;       /* guarded by lock, with everything below it; one for each sequence */
    size_t waiting;   /* requests without an answer */
    unsigned attempt; /* answers to earlier ones still count, but nobody waits for them */
    bool refused;
    struct error refusal;
};

/* ---- answers, from the library's thread; the lock is held ---- */

static void judge(struct removal *removal, size_t i, const struct document *answer)
{
    const struct nats_refusal *refusal = nats_refusal(
        (int)document_int(answer, "error.err_code", 0), (int)document_int(answer, "error.code", 0));

    if (!document_has(answer, "error") || strcmp(refusal->reason, NATS_NO_MESSAGE) == 0) {
        removal->gone[i] = true;
        return;
    }
    if (refusal->passing || removal->refused)
        return;
    const char *description = document_text(answer, "error.description");
    removal->refused = true;
    error_set(&removal->refusal, refusal->code, "%s", description ? description : "refused");
    removal->refusal.reason = refusal->reason;
}

static void note_answer(struct removal *removal, const char *token, natsMsg *message)
{
    AUTO(document_free) struct document *answer = NULL;
    struct error ignored;
    unsigned attempt = 0;
    size_t i = 0;

    if (sscanf(token, "%u-%zu", &attempt, &i) != 2 || i >= removal->count) // NOLINT: two numbers
        return;
    if (attempt == removal->attempt && removal->waiting)
        removal->waiting--;
    if (document_parse(&answer, natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message),
                       &ignored))
        judge(removal, i, answer);
}

static void on_answer(natsConnection *handle, natsSubscription *subscription, natsMsg *message,
                      void *context)
{
    struct removal *removal = context;

    (void)handle, (void)subscription;
    pthread_mutex_lock(&removal->lock);
    note_answer(removal, natsMsg_GetSubject(message) + strlen(removal->inbox) + 1, message);
    pthread_cond_signal(&removal->answered);
    pthread_mutex_unlock(&removal->lock);
    natsMsg_Destroy(message);
}

/* ---- requests ---- */

static bool send_one(struct removal *removal, size_t i)
{
    struct nats_connection *connection = &removal->broker->pull;
    char reply[NATS_INBOX_SIZE + 40], body[64];

    int size = snprintf(body, sizeof(body), "{\"seq\":%" PRIu64 ",\"no_erase\":true}",
                        removal->sequences[i]);
    snprintf(reply, sizeof(reply), "%s.%u-%zu", removal->inbox, removal->attempt, i);
    return nats_connection_ready(connection) &&
           natsConnection_PublishRequest(connection->handle, removal->subject, reply, body, size) ==
               NATS_OK;
}

/* Waits until so few are without an answer; false when that takes too long, or one is refused. */
static bool wait_answers(struct removal *removal, size_t few, int64_t until_ms)
{
    int64_t step_ms = nats_now_ms() + STEP_MS;

    if (step_ms < until_ms)
        until_ms = step_ms;
    pthread_mutex_lock(&removal->lock);
    while (removal->waiting > few && !removal->refused && nats_now_ms() < until_ms)
        nats_condition_wait(&removal->answered, &removal->lock, until_ms);
    bool fine = removal->waiting <= few && !removal->refused;
    pthread_mutex_unlock(&removal->lock);
    return fine;
}

/* True: it is to be sent, and is waited for. */
static bool take(struct removal *removal, size_t i)
{
    pthread_mutex_lock(&removal->lock);
    bool open = !removal->gone[i];
    removal->waiting += open;
    pthread_mutex_unlock(&removal->lock);
    return open;
}

static void send_open(struct removal *removal, int64_t until_ms)
{
    pthread_mutex_lock(&removal->lock);
    removal->attempt++;
    removal->waiting = 0;
    pthread_mutex_unlock(&removal->lock);
    for (size_t i = 0; i < removal->count; i++)
        if (take(removal, i) &&
            (!send_one(removal, i) || !wait_answers(removal, WINDOW - 1, until_ms)))
            return;
    (void)wait_answers(removal, 0, until_ms); /* what is missing shows in `gone` */
}

static bool all_gone(struct removal *removal, bool *out_refused, struct error *err)
{
    bool all = true;

    pthread_mutex_lock(&removal->lock);
    for (size_t i = 0; i < removal->count; i++)
        all = all && removal->gone[i];
    *out_refused = removal->refused;
    if (removal->refused)
        *err = removal->refusal;
    pthread_mutex_unlock(&removal->lock);
    return all;
}

static bool work(struct removal *removal, int64_t until_ms, struct error *err)
{
    struct nats_connection *connection = &removal->broker->pull;
    bool refused;

    for (unsigned attempt = 1; nats_now_ms() < until_ms; attempt++) {
        if (!nats_connection_wait(connection, until_ms))
            break;
        send_open(removal, until_ms);
        if (all_gone(removal, &refused, err))
            return true;
        if (refused)
            return false;
        if (nats_denials_has(&removal->broker->denials, removal->subject))
            return error_set(err, ERROR_DENIED, "not permitted to publish to '%s'",
                             removal->subject);
        nats_pause(connection, attempt, until_ms);
    }
    return error_set(err, ERROR_UNKNOWN, "not every removal was answered");
}

static bool run(struct removal *removal, int64_t until_ms, struct error *err)
{
    struct nats_subscription *answers = NULL;
    char subject[NATS_INBOX_SIZE + 2];

    nats_inbox(removal->inbox);
    snprintf(subject, sizeof(subject), "%s.*", removal->inbox);
    bool done = nats_connection_subscribe(&removal->broker->pull, subject, on_answer, removal,
                                          &answers, err) &&
                work(removal, until_ms, err);
    nats_connection_unsubscribe(answers);
    return done;
}

/* ---- remove ---- */

/* What is outside the stream is gone; a 2.9 cluster would not answer for it. */
static void note_outside(struct removal *removal, const struct document *info)
{
    uint64_t first = (uint64_t)document_int(info, "state.first_seq", 0);
    uint64_t last = (uint64_t)document_int(info, "state.last_seq", 0);

    for (size_t i = 0; i < removal->count; i++)
        removal->gone[i] = removal->sequences[i] < first || removal->sequences[i] > last;
}

static bool may_remove(struct removal *removal, const char *stream, int64_t until_ms,
                       struct error *err)
{
    AUTO(document_free) struct document *info = NULL;
    char subject[SUBJECT_SIZE];

    snprintf(subject, sizeof(subject), "STREAM.INFO.%s", stream);
    if (!nats_api(removal->broker, subject, "", until_ms, &info, err))
        return false;
    if (document_int(info, "state.consumer_count", 0) > 0)
        return error_input(err, "has_consumers", "", "the stream has consumers");
    if (document_bool(info, "config.deny_delete", false))
        return error_set(err, ERROR_DENIED, "the stream is set to keep its messages");
    note_outside(removal, info);
    return true;
}

static bool parse_all(const char *const *texts, uint64_t *out, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!*texts[i])
            return error_set(err, ERROR_INVALID, "'' is no sequence");
        if (!nats_sequence_parse(texts[i], &out[i], err))
            return false;
    }
    return true;
}

bool nats_remove(struct broker *base, const char *stream, const char *const *texts, size_t count,
                 int timeout_ms, struct error *err)
{
    struct removal removal = {.broker = nats_broker_of(base), .count = count};
    int64_t until_ms = nats_now_ms() + timeout_ms;
    uint64_t *sequences = memory_alloc(count * sizeof(*sequences));

    removal.sequences = sequences;
    removal.gone = memory_alloc(count * sizeof(*removal.gone));
    pthread_mutex_init(&removal.lock, NULL);
    nats_condition_init(&removal.answered);
    snprintf(removal.subject, sizeof(removal.subject), "$JS.API.STREAM.MSG.DELETE.%s", stream);
    bool done = parse_all(texts, sequences, count, err) &&
                may_remove(&removal, stream, until_ms, err) && run(&removal, until_ms, err);
    pthread_cond_destroy(&removal.answered);
    pthread_mutex_destroy(&removal.lock);
    free(removal.gone);
    free(sequences);
    return done;
}
