#include "broker/nats_driver.h"

#include "base/memory.h"
#include "resilience/backoff.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUBJECT_SIZE 600
#define STEP_MS 1000 /* no answer in this time: asked again, or found denied */

static const struct backoff repeats = {.first_ms = 50, .most_ms = 500};

enum outcome { ANSWERED, REFUSED, AGAIN };

static bool refused(const struct document *answer, bool *passing, struct error *err)
{
    const char *description = document_text(answer, "error.description");
    const struct nats_refusal *refusal = nats_refusal(
        (int)document_int(answer, "error.err_code", 0), (int)document_int(answer, "error.code", 0));

    *passing = refusal->passing;
    error_set(err, refusal->code, "%s (%d)", description ? description : "refused",
              (int)document_int(answer, "error.err_code", 0));
    err->reason = refusal->reason;
    return false;
}

static enum outcome judge(natsMsg *message, struct document **out, struct error *err)
{
    struct document *answer = NULL;
    bool passing = false;

    if (!document_parse(&answer, natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message),
                        err))
        return REFUSED;
    if (!document_has(answer, "error")) {
        *out = answer;
        return ANSWERED;
    }
    (void)refused(answer, &passing, err);
    document_free(answer);
    return passing ? AGAIN : REFUSED;
}

static enum outcome ask(struct nats_broker *broker, const char *subject, const char *body,
                        int64_t left_ms, struct document **out, struct error *err)
{
    natsMsg *message = NULL;
    natsStatus status = natsConnection_RequestString(&message, broker->pull.handle, subject, body,
                                                     left_ms < STEP_MS ? left_ms : STEP_MS);

    if (status == NATS_OK) {
        enum outcome outcome = judge(message, out, err);
        natsMsg_Destroy(message);
        return outcome;
    }
    if (nats_denials_has(&broker->denials, subject)) {
        error_set(err, ERROR_DENIED, "not permitted to publish to '%s'", subject);
        return REFUSED;
    }
    if (status == NATS_NO_RESPONDERS)
        error_set(err, ERROR_UNAVAILABLE, "JetStream does not answer");
    else
        error_set(err, ERROR_UNAVAILABLE, "%s", natsStatus_GetText(status));
    return AGAIN;
}

void nats_pause(struct nats_connection *connection, unsigned attempt, int64_t until_ms)
{
    int64_t wake_ms = nats_now_ms() + backoff_ms(&repeats, attempt, (uint32_t)clock_nanoseconds());

    pthread_mutex_lock(&connection->lock);
    nats_condition_wait(&connection->changed, &connection->lock,
                        wake_ms < until_ms ? wake_ms : until_ms);
    pthread_mutex_unlock(&connection->lock);
}

bool nats_api(struct nats_broker *broker, const char *subject, const char *body, int64_t until_ms,
              struct document **out, struct error *err)
{
    char full[SUBJECT_SIZE];
    int64_t now_ms;

    if (snprintf(full, sizeof(full), "$JS.API.%s", subject) >= (int)sizeof(full))
        return error_set(err, ERROR_INVALID, "the name is too long");
    error_set(err, ERROR_UNAVAILABLE, "not connected");
    for (unsigned attempt = 1; (now_ms = nats_now_ms()) < until_ms; attempt++) {
        if (!nats_connection_wait(&broker->pull, until_ms))
            return false;
        enum outcome outcome = ask(broker, full, body, until_ms - now_ms, out, err);
        if (outcome != AGAIN)
            return outcome == ANSWERED;
        nats_pause(&broker->pull, attempt, until_ms);
    }
    return false;
}

bool nats_api_pages(struct nats_broker *broker, const struct nats_pages *pages, int64_t until_ms,
                    struct error *err)
{
    char body[64];
    int64_t offset = 0;

    for (;;) {
        AUTO(document_free) struct document *page = NULL;
        snprintf(body, sizeof(body), "{\"offset\":%" PRId64 "}", offset);
        if (!nats_api(broker, pages->subject, body, until_ms, &page, err))
            return false;
        int count = document_count(page, pages->list);
        for (int i = 0; i < count; i++)
            pages->each(pages->context, page, i);
        offset += count;
        if (count <= 0 || offset >= document_int(page, "total", 0))
            return true;
    }
}

/* Names are noted before they are asked for: a page is not held while requests are sent. */
struct roll {
    const char *list;
    char **names;
    size_t count;
};

static void note_name(void *context, const struct document *page, int i)
{
    struct roll *roll = context;
    char path[64];

    snprintf(path, sizeof(path), "%s.%d", roll->list, i);
    const char *name = document_text(page, path);
    if (!name)
        return;
    roll->names = memory_resize(roll->names, (roll->count + 1) * sizeof(*roll->names));
    roll->names[roll->count++] = memory_text(name);
}

static bool show_thing(struct nats_broker *broker, const struct nats_things *things,
                       const char *name, int64_t until_ms, struct error *err)
{
    AUTO(document_free) struct document *info = NULL;
    char subject[SUBJECT_SIZE];

    snprintf(subject, sizeof(subject), "%s%s", things->info, name);
    if (!nats_api(broker, subject, "", until_ms, &info, err))
        return err->code == ERROR_NOT_FOUND;
    return things->each(things->context, info, err);
}

bool nats_api_each(struct nats_broker *broker, const struct nats_things *things, int64_t until_ms,
                   struct error *err)
{
    struct roll roll = {.list = things->list};
    const struct nats_pages pages = {
        .subject = things->names, .list = things->list, .each = note_name, .context = &roll};

    bool shown = nats_api_pages(broker, &pages, until_ms, err);
    for (size_t i = 0; shown && i < roll.count; i++)
        shown = show_thing(broker, things, roll.names[i], until_ms, err);
    for (size_t i = 0; i < roll.count; i++)
        free(roll.names[i]);
    free(roll.names);
    return shown;
}
