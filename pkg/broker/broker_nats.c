/*
 * NATS JetStream, 2.9 to 2.14, over nats.c, 3.4.1 to 3.10.
 *
 * nats_publish.c    publishes with answers that it matches itself   nats_pull.c     deliveries
 * nats_slots.c      the publishes that are under way                nats_settle.c   settlements
 * nats_topology.c   makes streams and consumers                     nats_presence.c is it there?
 * nats_api.c        requests to the JetStream API, as JSON          nats_inspect.c  lag, peek, trim
 * nats_announce.c   announcements, listeners                        nats_list.c     what there is
 * nats_bucket.c     state as a key-value bucket                     nats_remove.c   single messages
 * nats_state.c      get, put, delete                                nats_examine.c  the server
 * nats_watch.c      watches                                         nats_known.c    what they told
 * nats_connection.c connects, for ever                              nats_subscription.c
 *
 * The library's own JetStream calls are not used: its fetch waits out partial batches and, before
 * 3.9, can write past its buffer; its publish costs three times the CPU; its topology calls reset
 * the settings that they do not know.
 */
#include "broker/nats_driver.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define OPEN_MS 1000 /* for connecting; then it goes on in the background */

static void nats_close(struct broker *base)
{
    struct nats_broker *broker = nats_broker_of(base);
    struct nats_connection *const connections[] = {&broker->quick, &broker->bulk, &broker->pull,
                                                   &broker->settle};

    nats_publisher_stop(broker->publisher);
    for (size_t i = 0; i < ARRAY_LEN(connections); i++)
        nats_connection_forsake(connections[i]);
    for (size_t i = 0; i < ARRAY_LEN(connections); i++)
        nats_connection_close(connections[i]);
    nats_publisher_free(broker->publisher);
    pthread_mutex_destroy(&broker->denials.lock);
    free(broker->url);
    free(broker);
}

static bool connect_one(struct nats_broker *broker, struct nats_connection *connection,
                        const char *url, bool at_once, struct error *err)
{
    struct nats_settings settings = {
        .url = url, .name = broker->base.options.name, .at_once = at_once};

    connection->broker = &broker->base;
    connection->denials = &broker->denials;
    connection->reports = connection == &broker->pull;
    return nats_connection_open(connection, &settings, err);
}

/* They connect at the same time. */
static bool connect_all(struct nats_broker *broker, const char *url, struct error *err)
{
    int64_t until_ms = nats_now_ms() + OPEN_MS;
    bool pull = connect_one(broker, &broker->pull, url, true, err);
    bool settle = pull && connect_one(broker, &broker->settle, url, false, err);
    bool quick = settle && connect_one(broker, &broker->quick, url, true, err);
    bool bulk = quick && connect_one(broker, &broker->bulk, url, false, err);

    return bulk && nats_connection_await(&broker->pull, until_ms, err) &&
           nats_connection_await(&broker->settle, until_ms, err) &&
           nats_connection_await(&broker->quick, until_ms, err) &&
           nats_connection_await(&broker->bulk, until_ms, err);
}

static bool nats_open(struct broker **out, const char *url, const struct broker_options *options,
                      struct error *err)
{
    struct nats_broker *broker = memory_alloc(sizeof(*broker));

    broker->base.options = *options;
    broker->url = memory_text(url);
    pthread_mutex_init(&broker->denials.lock, NULL);
    broker->publisher = nats_publisher_new(broker);
    if (!connect_all(broker, url, err) || !nats_publisher_start(broker->publisher, err)) {
        nats_close(&broker->base);
        return false;
    }
    *out = &broker->base;
    return true;
}

const struct broker_driver broker_nats = {
    .scheme = "nats",
    .open = nats_open,
    .close = nats_close,
    .ping = nats_ping,
    .drain = nats_drain,
    .declare = nats_declare,
    .trim = nats_trim,
    .publish_async = nats_publish_async,
    .open_consumer = nats_open_consumer,
    .close_consumer = nats_close_consumer,
    .fetch = nats_fetch,
    .wake = nats_wake,
    .settle = nats_settle,
    .extend = nats_extend,
    .drain_consumer = nats_drain_consumer,
    .lag = nats_lag,
    .peek = nats_peek,
    .remove = nats_remove,
    .list = nats_list,
    .examine = nats_examine,
    .announce = nats_announce,
    .listen = nats_listen,
    .unlisten = nats_unlisten,
    .state_get = nats_state_get,
    .state_put = nats_state_put,
    .state_delete = nats_state_delete,
    .watch = nats_watch,
    .unwatch = nats_unwatch,
};
