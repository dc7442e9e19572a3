/* What streams and consumers there are, as the server has them. */
#include "broker/nats_driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000
#define SUBJECT_SIZE 300

struct listing {
    struct nats_view view; /* of the stream that is shown */
    broker_listed *each;
    void *context;
    const struct broker_stream_info *stream;
};

/* ---- consumers ---- */

static struct broker_group group_of(const struct document *info, const char *stream)
{
    int64_t attempts = document_int(info, "config.max_deliver", -1);
    const char *filter = document_text(info, "config.filter_subject");

    return (struct broker_group){
        .stream = stream,
        .name = document_text(info, "config.durable_name"),
        .filter = filter && *filter ? filter : NULL,
        .ack_wait_ms = document_int(info, "config.ack_wait", 0) / NS_PER_MS,
        .max_in_flight = (int)document_int(info, "config.max_ack_pending", 0),
        .max_attempts = attempts > 0 ? (unsigned)attempts : 0};
}

/* One without a durable name is nobody's group: it ends with whoever reads through it. */
static bool show_group(void *context, const struct document *answer, struct error *err)
{
    struct listing *listing = context;
    struct broker_group_info info = {.settings = group_of(answer, listing->view.stream)};

    if (!info.settings.name)
        return true;
    if (!nats_measure(&listing->view, answer, &info.lag, err))
        return err->code == ERROR_NOT_FOUND; /* it was deleted meanwhile */
    listing->each(listing->context, listing->stream, &info);
    return true;
}

static bool show_groups(struct listing *listing, struct error *err)
{
    char names[SUBJECT_SIZE], info[SUBJECT_SIZE];
    const struct nats_things consumers = {
        .names = names, .list = "consumers", .info = info, .each = show_group, .context = listing};

    snprintf(names, sizeof(names), "CONSUMER.NAMES.%s", listing->view.stream);
    snprintf(info, sizeof(info), "CONSUMER.INFO.%s.", listing->view.stream);
    return nats_api_each(listing->view.broker, &consumers, listing->view.until_ms, err) ||
           err->code == ERROR_NOT_FOUND;
}

/* ---- streams ---- */

/* Key-value buckets and object stores are streams, too, but nobody publishes to them. */
static bool is_ours(const char *name)
{
    static const char *const others[] = {"KV_", "OBJ_", "$"};

    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (strncmp(name, others[i], strlen(others[i])) == 0)
            return false;
    return true;
}

static struct broker_stream stream_of(const struct document *info)
{
    const char *name = document_text(info, "config.name");
    const char *subjects = document_text(info, "config.subjects.0");
    const char *discard = document_text(info, "config.discard");

    return (struct broker_stream){.name = name ? name : "",
                                  .subjects = subjects ? subjects : "",
                                  .max_bytes = document_int(info, "config.max_bytes", -1),
                                  .dedup_window_ms =
                                      document_int(info, "config.duplicate_window", 0) / NS_PER_MS,
                                  .replicas = (int)document_int(info, "config.num_replicas", 1),
                                  .telemetry = discard && strcmp(discard, "old") == 0};
}

static bool show_stream(void *context, const struct document *answer, struct error *err)
{
    struct listing *listing = context;
    struct broker_stream_info info = {.settings = stream_of(answer),
                                      .messages =
                                          (uint64_t)document_int(answer, "state.messages", 0),
                                      .bytes = document_int(answer, "state.bytes", 0)};
    int64_t last = document_int(answer, "state.last_seq", 0);

    if (!is_ours(info.settings.name))
        return true;
    if (last > 0) {
        snprintf(info.first, sizeof(info.first), "%" PRId64,
                 document_int(answer, "state.first_seq", 0));
        snprintf(info.last, sizeof(info.last), "%" PRId64, last);
    }
    listing->view.stream = info.settings.name;
    listing->stream = &info;
    listing->each(listing->context, &info, NULL);
    return show_groups(listing, err);
}

/* The server's lists are in the order of their names. */
bool nats_list(struct broker *base, broker_listed *each, void *context, int timeout_ms,
               struct error *err)
{
    struct nats_broker *broker = nats_broker_of(base);
    struct listing listing = {.view = {.broker = broker, .until_ms = nats_now_ms() + timeout_ms},
                              .each = each,
                              .context = context};
    const struct nats_things streams = {.names = "STREAM.NAMES",
                                        .list = "streams",
                                        .info = "STREAM.INFO.",
                                        .each = show_stream,
                                        .context = &listing};

    return nats_api_each(broker, &streams, listing.view.until_ms, err);
}
