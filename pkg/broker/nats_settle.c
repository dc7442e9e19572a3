#include "broker/nats_consumer.h"

#include "base/memory.h"
#include "broker/nats_wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEW 8                /* settlements that are written one by one */
#define REDELIVERY_MS 1000   /* what the server may be late with a redelivery */
#define CONFIRM_STEP_MS 1000 /* not all confirmed in this time: sent again */
#define NS_PER_MS 1000000
#define BODY_SIZE 48
#define ACK "+ACK"
#define NAK "-NAK"
#define PROGRESS "+WPI"
#define NO_SEQUENCE INT64_MAX /* of no message: streams count from 1 */

/* Many messages and what is said of each. */
struct settlement {
    const char **subjects;
    const struct broker_verdict *verdicts; /* NULL: `body` is said of all */
    const char *body;
    size_t count;
};

static int write_body(char out[BODY_SIZE], const struct broker_verdict *verdict)
{
    if (verdict->action == BROKER_DONE)
        return snprintf(out, BODY_SIZE, ACK);
    if (verdict->delay_ms <= 0)
        return snprintf(out, BODY_SIZE, NAK);
    return snprintf(out, BODY_SIZE, NAK " {\"delay\": %" PRId64 "}", verdict->delay_ms * NS_PER_MS);
}

/* One by one on the connection that writes at once; more are collected by the other one. */
static struct nats_connection *connection_for(struct nats_consumer *consumer, size_t count)
{
    return count <= FEW ? &consumer->broker->pull : &consumer->broker->settle;
}

static bool send_all(struct nats_connection *connection, const struct settlement *settlement,
                     const char *reply, struct error *err)
{
    natsConnection *handle = connection->handle;
    char written[BODY_SIZE];

    for (size_t i = 0; i < settlement->count; i++) {
        const char *body = settlement->body ? settlement->body : ACK;
        int size = (int)strlen(body);
        if (settlement->verdicts && settlement->verdicts[i].action != BROKER_DONE) {
            size = write_body(written, &settlement->verdicts[i]);
            body = written;
        }
        const char *subject = settlement->subjects[i];
        natsStatus status = reply
                                ? natsConnection_PublishRequest(handle, subject, reply, body, size)
                                : natsConnection_Publish(handle, subject, body, size);
        if (status != NATS_OK)
            return nats_failed(status, "send a settlement", err);
    }
    return true;
}

static bool ready(struct nats_connection *connection, int64_t until_ms, struct error *err)
{
    return nats_connection_ready(connection) || nats_connection_wait(connection, until_ms) ||
           error_set(err, ERROR_UNAVAILABLE, "not connected");
}

/* True: every answer of this round came. */
static bool wait_confirmed(struct nats_consumer *consumer, size_t count, int64_t until_ms)
{
    pthread_mutex_lock(&consumer->lock);
    while (consumer->confirmed < count && nats_now_ms() < until_ms)
        nats_condition_wait(&consumer->arrived, &consumer->lock, until_ms);
    bool all = consumer->confirmed >= count;
    pthread_mutex_unlock(&consumer->lock);
    return all;
}

static unsigned next_round(struct nats_consumer *consumer)
{
    pthread_mutex_lock(&consumer->lock);
    unsigned round = ++consumer->confirm_round;
    consumer->confirmed = 0;
    pthread_mutex_unlock(&consumer->lock);
    return round;
}

/* Settling twice is harmless, so a round that is not complete is repeated as a whole. */
static bool send_confirmed(struct nats_consumer *consumer, struct nats_connection *connection,
                           const struct settlement *settlement, int64_t until_ms, struct error *err)
{
    char reply[NATS_INBOX_SIZE + 16];
    int64_t now_ms;

    while ((now_ms = nats_now_ms()) < until_ms) {
        int64_t step_ms = now_ms + CONFIRM_STEP_MS < until_ms ? now_ms + CONFIRM_STEP_MS : until_ms;
        snprintf(reply, sizeof(reply), "%s.%u", consumer->answer_inbox, next_round(consumer));
        if (!ready(connection, until_ms, err))
            return false;
        if (send_all(connection, settlement, reply, err) &&
            wait_confirmed(consumer, settlement->count, step_ms))
            return true;
    }
    return error_set(err, ERROR_UNKNOWN, "the settlements are not confirmed");
}

static const struct nats_lease *lease_of(const struct broker_delivery *delivery)
{
    return CONTAINER_OF(delivery->sequence, struct nats_lease, sequence[0]);
}

static const char *reply_of(const struct broker_delivery *delivery)
{
    return natsMsg_GetReply(lease_of(delivery)->message);
}

/*
 * As long as this instance has seen every delivery of the consumer and has done each at once, it
 * knows the floor without asking. Another instance's delivery leaves a gap, and ends that until
 * consumer info says again that nothing is under way.
 */
static void raise_floor(struct nats_consumer *consumer, const struct broker_verdict *verdicts)
{
    for (size_t i = 0; i < consumer->base.batch_count; i++) {
        const struct nats_lease *lease = lease_of(&consumer->base.batch[i]);
        bool follows =
            verdicts[i].action == BROKER_DONE && lease->delivery == consumer->next_delivery;
        consumer->next_delivery = follows ? lease->delivery + 1 : 0;
        if (follows && lease->number > consumer->floor)
            consumer->floor = lease->number;
        consumer->last_delivery = lease->delivery;
    }
}

static struct nats_trail *trail_of(struct nats_consumer *consumer,
                                   const struct nats_connection *connection)
{
    return connection == &consumer->broker->pull ? &consumer->pull_trail : &consumer->settle_trail;
}

/* A settlement that was lost with its connection shows only in the message's coming again. */
static void doubt_lost(struct nats_consumer *consumer, struct nats_trail *trail, unsigned epoch)
{
    if (*trail->subject && epoch != trail->epoch)
        consumer->doubt_until_ms =
            nats_now_ms() + consumer->base.group->ack_wait_ms + REDELIVERY_MS;
    trail->epoch = epoch;
}

static void note_unconfirmed(struct nats_consumer *consumer, struct nats_connection *connection,
                             const char *subject)
{
    struct nats_trail *trail = trail_of(consumer, connection);

    doubt_lost(consumer, trail, atomic_load(&connection->epoch));
    snprintf(trail->subject, sizeof(trail->subject), "%s", subject);
}

bool nats_settle(struct broker_consumer *base, const struct broker_verdict *verdicts, bool confirm,
                 int timeout_ms, struct error *err)
{
    struct nats_consumer *consumer = nats_consumer_of(base);
    struct settlement settlement = {.verdicts = verdicts, .count = base->batch_count};
    int64_t until_ms = nats_now_ms() + timeout_ms;

    if (base->batch_count == 0)
        return true;
    settlement.subjects = memory_alloc(settlement.count * sizeof(*settlement.subjects));
    for (size_t i = 0; i < settlement.count; i++)
        settlement.subjects[i] = reply_of(&base->batch[i]);

    struct nats_connection *connection = connection_for(consumer, settlement.count);
    bool settled =
        confirm ? send_confirmed(consumer, connection, &settlement, until_ms, err)
                : ready(connection, until_ms, err) && send_all(connection, &settlement, NULL, err);
    if (settled && !confirm)
        note_unconfirmed(consumer, connection, settlement.subjects[settlement.count - 1]);
    free(settlement.subjects);
    if (settled)
        raise_floor(consumer, verdicts);
    return settled;
}

/* Appends the reply subjects of what is read ahead, and restarts its leases here. */
static size_t read_ahead(struct nats_consumer *consumer, const char ***out, size_t room)
{
    int64_t now_ms = nats_now_ms();

    pthread_mutex_lock(&consumer->lock);
    const char **subjects = memory_alloc((room + consumer->ring_count) * sizeof(*subjects));
    for (size_t i = 0; i < consumer->ring_count; i++) {
        struct nats_arrival *arrival =
            &consumer->ring[(consumer->ring_first + i) % consumer->ring_room];
        arrival->leased_ms = now_ms;
        subjects[i] = natsMsg_GetReply(arrival->message);
    }
    size_t count = consumer->ring_count;
    pthread_mutex_unlock(&consumer->lock);
    *out = subjects;
    return count;
}

bool nats_extend(struct broker_consumer *base, struct error *err)
{
    struct nats_consumer *consumer = nats_consumer_of(base);
    struct settlement settlement = {.body = PROGRESS};

    settlement.count = read_ahead(consumer, &settlement.subjects, base->batch_count);
    for (size_t i = 0; i < base->batch_count; i++)
        settlement.subjects[settlement.count++] = reply_of(&base->batch[i]);

    struct nats_connection *connection = connection_for(consumer, settlement.count);
    bool sent = nats_connection_ready(connection)
                    ? send_all(connection, &settlement, NULL, err)
                    : error_set(err, ERROR_UNAVAILABLE, "not connected");
    free(settlement.subjects);
    return sent;
}

bool nats_give_back(struct nats_consumer *consumer, int64_t until_ms, struct error *err)
{
    struct settlement settlement = {.body = NAK};

    settlement.count = read_ahead(consumer, &settlement.subjects, 0);
    struct nats_connection *connection = connection_for(consumer, settlement.count);
    bool given =
        settlement.count == 0 || send_confirmed(consumer, connection, &settlement, until_ms, err);
    free(settlement.subjects);
    return given;
}

/*
 * The server puts settlements in a queue of the consumer's own, and answers a flush before it has
 * come to them; in a cluster it is another one's. So one more goes behind them, on their
 * connection, and asks for an answer: progress on a message that does not exist, which changes
 * nothing.
 */
static bool confirm_trail(struct nats_consumer *consumer, struct nats_connection *connection,
                          int64_t until_ms, struct error *err)
{
    struct nats_trail *trail = trail_of(consumer, connection);
    char subject[NATS_SUBJECT_SIZE];
    const char *subjects[] = {subject};
    struct settlement settlement = {.subjects = subjects, .body = PROGRESS, .count = 1};

    if (!*trail->subject)
        return true;
    if (!nats_ack_for(trail->subject, NO_SEQUENCE, subject, sizeof(subject)))
        return error_set(err, ERROR_INTERNAL, "'%s' is no subject of a settlement", trail->subject);
    if (!send_confirmed(consumer, connection, &settlement, until_ms, err))
        return false;
    doubt_lost(consumer, trail, atomic_load(&connection->epoch));
    *trail->subject = '\0';
    return true;
}

/* A connection without settlements need not be there. */
bool nats_confirm_settled(struct nats_consumer *consumer, int64_t until_ms, struct error *err)
{
    if (!confirm_trail(consumer, &consumer->broker->pull, until_ms, err) ||
        !confirm_trail(consumer, &consumer->broker->settle, until_ms, err))
        return false;
    return nats_now_ms() >= consumer->doubt_until_ms ||
           error_set(err, ERROR_UNKNOWN, "a connection was lost, perhaps with settlements");
}
