/* What streams and consumers there are, as the server has them. */
#include "broker/nats_driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000
#define SUBJECT_SIZE 300
#define PATH_SIZE 80

struct listing {
    struct nats_view view; /* of the stream that is shown */
    broker_listed *each;
    void *context;
    const struct broker_stream_info *stream;
    struct error *err;
    bool failed; /* err says why */
};

/* A member of the i-th element of a page's list. */
static const char *member(char path[PATH_SIZE], const char *list, int i, const char *name)
{
    snprintf(path, PATH_SIZE, "%s.%d.%s", list, i, name);
    return path;
}

/* ---- consumers ---- */

static struct broker_group group_at(const struct document *page, int i, const char *stream)
{
    char path[PATH_SIZE];
    int64_t attempts = document_int(page, member(path, "consumers", i, "config.max_deliver"), -1);
    int64_t wait_ns = document_int(page, member(path, "consumers", i, "config.ack_wait"), 0);
    int64_t held = document_int(page, member(path, "consumers", i, "config.max_ack_pending"), 0);
    const char *name = document_text(page, member(path, "consumers", i, "config.durable_name"));
    const char *filter = document_text(page, member(path, "consumers", i, "config.filter_subject"));

    return (struct broker_group){.stream = stream,
                                 .name = name,
                                 .filter = filter && *filter ? filter : NULL,
                                 .ack_wait_ms = wait_ns / NS_PER_MS,
                                 .max_in_flight = (int)held,
                                 .max_attempts = attempts > 0 ? (unsigned)attempts : 0};
}

/* One without a durable name is nobody's group: it ends with whoever reads through it. */
static void show_group(void *context, const struct document *page, int i)
{
    struct listing *listing = context;
    struct broker_group_info info = {.settings = group_at(page, i, listing->view.stream)};
    char prefix[PATH_SIZE];

    if (listing->failed || !info.settings.name)
        return;
    member(prefix, "consumers", i, "");
    if (nats_measure(&listing->view, page, prefix, &info.lag, listing->err))
        listing->each(listing->context, listing->stream, &info);
    else
        listing->failed = listing->err->code != ERROR_NOT_FOUND;
}

static void show_groups(struct listing *listing)
{
    char subject[SUBJECT_SIZE];
    const struct nats_pages consumers = {
        .subject = subject, .list = "consumers", .each = show_group, .context = listing};

    snprintf(subject, sizeof(subject), "CONSUMER.LIST.%s", listing->view.stream);
    if (!nats_api_pages(listing->view.broker, &consumers, listing->view.until_ms, listing->err))
        listing->failed = listing->err->code != ERROR_NOT_FOUND; /* or it was deleted meanwhile */
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

static struct broker_stream stream_at(const struct document *page, int i)
{
    char path[PATH_SIZE];
    const char *name = document_text(page, member(path, "streams", i, "config.name"));
    const char *subjects = document_text(page, member(path, "streams", i, "config.subjects.0"));
    const char *discard = document_text(page, member(path, "streams", i, "config.discard"));
    int64_t max_bytes = document_int(page, member(path, "streams", i, "config.max_bytes"), -1);
    int64_t window = document_int(page, member(path, "streams", i, "config.duplicate_window"), 0);
    int64_t replicas = document_int(page, member(path, "streams", i, "config.num_replicas"), 1);

    return (struct broker_stream){.name = name ? name : "",
                                  .subjects = subjects ? subjects : "",
                                  .max_bytes = max_bytes,
                                  .dedup_window_ms = window / NS_PER_MS,
                                  .replicas = (int)replicas,
                                  .telemetry = discard && strcmp(discard, "old") == 0};
}

static void show_stream(void *context, const struct document *page, int i)
{
    struct listing *listing = context;
    struct broker_stream_info info = {.settings = stream_at(page, i)};
    char path[PATH_SIZE];

    if (listing->failed || !is_ours(info.settings.name))
        return;
    int64_t first = document_int(page, member(path, "streams", i, "state.first_seq"), 0);
    int64_t last = document_int(page, member(path, "streams", i, "state.last_seq"), 0);
    info.messages = (uint64_t)document_int(page, member(path, "streams", i, "state.messages"), 0);
    info.bytes = document_int(page, member(path, "streams", i, "state.bytes"), 0);
    if (last > 0) {
        snprintf(info.first, sizeof(info.first), "%" PRId64, first);
        snprintf(info.last, sizeof(info.last), "%" PRId64, last);
    }
    listing->view.stream = info.settings.name;
    listing->stream = &info;
    listing->each(listing->context, &info, NULL);
    show_groups(listing);
}

/* The server's lists are in the order of their names. */
bool nats_list(struct broker *base, broker_listed *each, void *context, int timeout_ms,
               struct error *err)
{
    struct nats_broker *broker = nats_broker_of(base);
    struct listing listing = {.view = {.broker = broker, .until_ms = nats_now_ms() + timeout_ms},
                              .each = each,
                              .context = context,
                              .err = err};
    const struct nats_pages streams = {
        .subject = "STREAM.LIST", .list = "streams", .each = show_stream, .context = &listing};

    return nats_api_pages(broker, &streams, listing.view.until_ms, err) && !listing.failed;
}
