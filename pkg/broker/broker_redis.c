/*
 * The Redis Streams driver: the vtable, and a broker's life. Its files:
 *
 * redis_link.c      a connection with deadlines, scripts    redis_publish.c   publishes
 * redis_address.c   what a URL says                         redis_control.c   single requests
 * redis_dial.c      sockets to it                           redis_entry.c     entries of a stream
 * redis_refusal.c   what error replies mean                 redis_inspect.c   lag, peek
 * redis_topology.c  declare, trim, remove, recreate         redis_list.c      streams and groups
 * redis_fetch.c     leases and deliveries, the doorbell     redis_examine.c   facts for people
 * redis_settle.c    what becomes of deliveries              redis_announce.c  announce and listen
 * redis_state.c     values in buckets                       redis_watch.c     watches
 * redis_feed.c      the thread of a listener or a watch     redis_settings.c  settings as texts
 * redis_consumer.c  what a consumer asked and heard         redis_pending.c   publishes that wait
 * redis_tls.c       TLS, where hiredis has it
 *
 * A broker has two connections, a third once it announces; each consumer, listener and watch has
 * its own. The publisher's is the one whose coming and going is the broker's.
 */
#include "broker/redis_driver.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_KEY "millrace:probe"
#define PROBE_MS "60000"

static void redis_close(struct broker *base)
{
    struct redis_broker *broker = redis_broker_of(base);

    redis_publisher_stop(broker->publisher);
    redis_announcer_free(broker->announcer);
    redis_link_free(broker->control);
    redis_address_free(broker->address);
    pthread_cond_destroy(&broker->control_free);
    pthread_mutex_destroy(&broker->control_lock);
    pthread_mutex_destroy(&broker->told_lock);
    free(broker);
}

static void init_locks(struct redis_broker *broker)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&broker->control_free, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&broker->control_lock, NULL);
    pthread_mutex_init(&broker->told_lock, NULL);
}

static bool redis_open(struct broker **out, const char *url, const struct broker_options *options,
                       struct error *err)
{
    struct redis_broker *broker = memory_alloc(sizeof(*broker));

    broker->base.options = *options;
    init_locks(broker);
    if (!redis_address_parse(&broker->address, url, err)) {
        redis_close(&broker->base);
        return false;
    }
    broker->control = redis_link_new(broker->address, options->name, NULL, NULL);
    broker->announcer = redis_announcer_new(broker);
    if (!redis_publisher_start(&broker->publisher, broker, err)) {
        redis_close(&broker->base);
        return false;
    }
    *out = &broker->base;
    return true;
}

/* ---- incidents ---- */

void redis_link_observed(void *context, bool connected, const char *detail)
{
    struct redis_broker *broker = context;
    struct broker_counters *counters = &broker->base.counters;

    atomic_store(&counters->connected, connected);
    if (!connected) {
        broker->told_away = true;
        broker_observe(&broker->base, BROKER_DISCONNECTED, detail);
        return;
    }
    if (broker->was_connected)
        atomic_fetch_add(&counters->reconnects, 1);
    if (broker->told_away)
        broker_observe(&broker->base, BROKER_RECONNECTED, detail);
    broker->was_connected = true;
    broker->told_away = false;
    pthread_mutex_lock(&broker->told_lock); /* what is permitted may be something else now */
    memset(broker->told, 0, sizeof(broker->told));
    pthread_mutex_unlock(&broker->told_lock);
}

void redis_refused(struct redis_broker *broker, const struct error *refusal)
{
    bool told = false;

    if (refusal->code != ERROR_DENIED)
        return;
    pthread_mutex_lock(&broker->told_lock);
    for (size_t i = 0; i < ARRAY_LEN(broker->told); i++)
        told = told || strcmp(broker->told[i], refusal->message) == 0;
    if (!told)
        snprintf(broker->told[broker->told_count++ % ARRAY_LEN(broker->told)],
                 sizeof(broker->told[0]), "%s", refusal->message);
    pthread_mutex_unlock(&broker->told_lock);
    if (!told)
        broker_observe(&broker->base, BROKER_REFUSED, refusal->message);
}

/* ---- ping ---- */

static bool ask(struct redis_broker *broker, int count, const char **arguments, int64_t until_ms,
                redisReply **out, struct error *err)
{
    struct redis_request request = {.count = count, .arguments = arguments};

    return redis_control(broker, &request, until_ms, out, err);
}

static bool can_store(struct redis_broker *broker, int64_t until_ms, struct error *err)
{
    const char *arguments[] = {"SET", PROBE_KEY, "", "PX", PROBE_MS};
    redisReply *reply;

    if (!ask(broker, ARRAY_LEN(arguments), arguments, until_ms, &reply, err))
        return error_wrap(err, "a probe cannot be stored");
    redis_reply_free(reply);
    return true;
}

/* Such a server throws whole streams away when its memory is full. Who may not ask is not told. */
static bool keeps_keys(struct redis_broker *broker, int64_t until_ms, struct error *err)
{
    const char *arguments[] = {"INFO", "memory"};
    redisReply *reply;

    if (!ask(broker, ARRAY_LEN(arguments), arguments, until_ms, &reply, err))
        return err->code == ERROR_DENIED || err->code == ERROR_INVALID;
    const char *policy = reply->str ? strstr(reply->str, "maxmemory_policy:allkeys-") : NULL;
    if (policy)
        error_set(err, ERROR_INVALID,
                  "maxmemory-policy is %.*s: it evicts whole streams, set it to noeviction",
                  (int)strcspn(policy + strlen("maxmemory_policy:"), "\r\n"),
                  policy + strlen("maxmemory_policy:"));
    redis_reply_free(reply);
    return !policy;
}

static bool redis_ping(struct broker *base, int timeout_ms, struct error *err)
{
    struct redis_broker *broker = redis_broker_of(base);
    int64_t until_ms = clock_steady_ms(clock_system()) + timeout_ms;

    return can_store(broker, until_ms, err) && keeps_keys(broker, until_ms, err);
}

const struct broker_driver broker_redis = {
    .scheme = "redis",
    .secure_scheme = "rediss",
    .open = redis_open,
    .close = redis_close,
    .ping = redis_ping,
    .drain = redis_drain,
    .declare = redis_declare,
    .trim = redis_trim,
    .publish_async = redis_publish_async,
    .open_consumer = redis_open_consumer,
    .close_consumer = redis_close_consumer,
    .fetch = redis_fetch,
    .wake = redis_wake,
    .settle = redis_settle,
    .extend = redis_extend,
    .drain_consumer = redis_drain_consumer,
    .lag = redis_lag,
    .peek = redis_peek,
    .remove = redis_remove,
    .list = redis_list,
    .examine = redis_examine,
    .announce = redis_announce,
    .listen = redis_listen,
    .unlisten = redis_unlisten,
    .state_get = redis_state_get,
    .state_put = redis_state_put,
    .state_delete = redis_state_delete,
    .watch = redis_watch,
    .unwatch = redis_unwatch,
};
