/*
 * Is the consumer still there? To a pull a deleted one looks like an empty one, for ever; so it is
 * asked for now and then, and made again where it was.
 */
#include "broker/nats_consumer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PROBE_MS 10000
#define PROBE_EMPTY 3
#define PROBE_EMPTY_MS 1000
#define OPEN_MS 2000 /* for finding the consumer when it is opened */
#define API_PREFIX "$JS.API."

/* False: the stream is another one than the floor was learned from. */
static bool same_stream(struct nats_consumer *consumer, int64_t until_ms, bool *out_same,
                        struct error *err)
{
    AUTO(document_free) struct document *stream = NULL;
    char subject[NATS_SUBJECT_SIZE];

    snprintf(subject, sizeof(subject), "STREAM.INFO.%s", consumer->base.group->stream);
    if (!nats_api(consumer->broker, subject, "", until_ms, &stream, err))
        return false;
    const char *created = document_text(stream, "created");
    int64_t last = document_int(stream, "state.last_seq", 0);

    *out_same =
        created && strcmp(created, consumer->created) == 0 && (uint64_t)last >= consumer->floor;
    snprintf(consumer->created, sizeof(consumer->created), "%s", created ? created : "");
    return true;
}

/* Another instance may have been faster. */
static bool create(struct nats_consumer *consumer, uint64_t from, int64_t until_ms,
                   struct error *err)
{
    AUTO(document_free) struct document *info = NULL;
    struct error failed;

    return nats_create_consumer(consumer->broker, consumer->base.group, from, until_ms, err) ||
           nats_api(consumer->broker, consumer->info_subject + strlen(API_PREFIX), "", until_ms,
                    &info, &failed);
}

static void set_suspicious(struct nats_consumer *consumer)
{
    pthread_mutex_lock(&consumer->lock);
    consumer->suspicious = true;
    pthread_mutex_unlock(&consumer->lock);
}

/* Where its instances go on: at the first when nothing was recorded, or of another stream. */
static uint64_t position(const struct nats_consumer *consumer)
{
    return consumer->floor + 1;
}

static void tell_recreated(struct nats_consumer *consumer)
{
    const struct broker_group *group = consumer->base.group;
    char detail[300];

    consumer->missing = false;
    consumer->next_delivery = 1;
    snprintf(detail, sizeof(detail), "%s on %s, from %" PRIu64, group->name, group->stream,
             position(consumer));
    broker_observe(consumer->base.broker, BROKER_RECREATED, detail);
    pthread_mutex_lock(&consumer->lock);
    consumer->expected = 0;
    consumer->behind = INT64_MAX;
    consumer->hold_until_ms = 0;
    consumer->suspicious = false;
    pthread_mutex_unlock(&consumer->lock);
}

/* The request may outlive this call: then the next look finds the consumer, and tells. */
static bool recreate(struct nats_consumer *consumer, int64_t until_ms, struct error *err)
{
    bool same = false;

    consumer->missing = true;
    set_suspicious(consumer);
    if (!same_stream(consumer, until_ms, &same, err))
        return false;
    if (!same)
        consumer->floor = 0;
    if (!create(consumer, consumer->floor ? position(consumer) : 0, until_ms, err))
        return false;
    tell_recreated(consumer);
    return true;
}

static bool learn(struct nats_consumer *consumer, const struct document *info, int64_t until_ms,
                  struct error *err)
{
    int64_t floor = document_int(info, "ack_floor.stream_seq", 0);
    int64_t delivered = document_int(info, "delivered.consumer_seq", 0);
    bool same, opening = consumer->requests == 0;

    if (consumer->missing)
        tell_recreated(consumer);
    if (!consumer->created[0] && !same_stream(consumer, until_ms, &same, err))
        return false;
    if (floor > 0 && (uint64_t)floor > consumer->floor)
        consumer->floor = (uint64_t)floor;
    if (document_int(info, "num_ack_pending", 1) == 0 && !consumer->base.batch_count &&
        (opening || delivered == (int64_t)consumer->last_delivery))
        consumer->next_delivery = (uint64_t)delivered + 1;
    return true;
}

static bool judge(struct nats_consumer *consumer, natsMsg *message, int64_t until_ms,
                  struct error *err)
{
    AUTO(document_free) struct document *info = NULL;
    struct error ignored;

    if (!document_parse(&info, natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message),
                        &ignored))
        return true; /* no answer for now */
    if (!document_has(info, "error"))
        return learn(consumer, info, until_ms, err);

    const struct nats_refusal *refusal = nats_refusal((int)document_int(info, "error.err_code", 0),
                                                      (int)document_int(info, "error.code", 0));
    if (refusal->code != ERROR_NOT_FOUND)
        return true;
    return recreate(consumer, until_ms, err);
}

static bool due(const struct nats_consumer *consumer, bool suspicious)
{
    int64_t since_ms = nats_now_ms() - consumer->probed_ms;

    return since_ms >= PROBE_MS ||
           (since_ms >= PROBE_EMPTY_MS && (suspicious || consumer->empty_fetches >= PROBE_EMPTY));
}

bool nats_look_after(struct nats_consumer *consumer, int64_t until_ms, struct error *err)
{
    struct nats_connection *connection = &consumer->broker->pull;
    char reply[NATS_INBOX_SIZE + sizeof(NATS_INFO_TOKEN) + 1];

    pthread_mutex_lock(&consumer->lock);
    natsMsg *info = consumer->info;
    bool suspicious = consumer->suspicious;
    consumer->info = NULL;
    consumer->suspicious = false;
    pthread_mutex_unlock(&consumer->lock);
    if (info) {
        bool fine = judge(consumer, info, until_ms, err);
        natsMsg_Destroy(info);
        return fine || err->code == ERROR_UNAVAILABLE;
    }
    if (!due(consumer, suspicious) || !nats_connection_ready(connection))
        return true;
    snprintf(reply, sizeof(reply), "%s." NATS_INFO_TOKEN, consumer->answer_inbox);
    if (natsConnection_PublishRequest(connection->handle, consumer->info_subject, reply, "", 0) ==
        NATS_OK) {
        consumer->probed_ms = nats_now_ms();
        consumer->empty_fetches = 0;
    }
    return true;
}

bool nats_bind(struct nats_consumer *consumer, struct error *err)
{
    AUTO(document_free) struct document *info = NULL;
    int64_t until_ms = nats_now_ms() + OPEN_MS;
    struct error failed;

    if (!nats_connection_ready(&consumer->broker->pull))
        return true;
    if (nats_api(consumer->broker, consumer->info_subject + strlen(API_PREFIX), "", until_ms, &info,
                 &failed) &&
        learn(consumer, info, until_ms, &failed)) {
        consumer->probed_ms = nats_now_ms();
        return true;
    }
    if (failed.code == ERROR_UNAVAILABLE)
        return true;
    *err = failed;
    return false;
}
