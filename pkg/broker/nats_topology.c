#include "broker/nats_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000
#define SUBJECT_SIZE 560
#define MAX_WAITING 512
#define CREATE_TRIES 3 /* a stream that was just deleted can fail once to be made again */

/* One setting that is compared: the value wanted, and where both documents keep it. */
enum kind { TEXT, NUMBER, FLAG };

struct setting {
    const char *path;
    enum kind kind;
};

static const struct setting stream_settings[] = {
    {"config.subjects.0", TEXT},     {"config.retention", TEXT},
    {"config.storage", TEXT},        {"config.discard", TEXT},
    {"config.max_bytes", NUMBER},    {"config.max_msgs", NUMBER},
    {"config.max_age", NUMBER},      {"config.duplicate_window", NUMBER},
    {"config.num_replicas", NUMBER}, {"config.allow_direct", FLAG},
};

/* Where a consumer starts is not compared: one that was made again starts where it was. */
static const struct setting consumer_settings[] = {
    {"config.ack_policy", TEXT},        {"config.ack_wait", NUMBER},
    {"config.max_deliver", NUMBER},     {"config.filter_subject", TEXT},
    {"config.max_ack_pending", NUMBER}, {"config.deliver_subject", TEXT},
};

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same(const struct setting *setting, const struct document *wanted,
                 const struct document *found)
{
    switch (setting->kind) {
    case TEXT:
        return same_text(document_text(wanted, setting->path), document_text(found, setting->path));
    case NUMBER:
        return document_int(wanted, setting->path, 0) == document_int(found, setting->path, 0);
    case FLAG:
        return document_bool(wanted, setting->path, false) ==
               document_bool(found, setting->path, false);
    }
    return false;
}

static const char *last_name(const char *path)
{
    return path + strlen("config.");
}

/* Names of the settings that differ, "max_bytes, discard". */
static void compare(const struct setting *settings, size_t count, const struct document *wanted,
                    const struct document *found, struct buffer *out)
{
    buffer_text(out, "");
    for (size_t i = 0; i < count; i++)
        if (!same(&settings[i], wanted, found))
            buffer_print(out, "%s%s", out->size ? ", " : "", last_name(settings[i].path));
}

/* What is made or looked for, stream or consumer. */
struct thing {
    const char *name;
    char create[SUBJECT_SIZE], info[SUBJECT_SIZE];
    struct document *wanted; /* settings below "config" */
    const char *body;        /* the path of what is sent to create it */
    const struct setting *settings;
    size_t setting_count;
    const char *missing; /* the reason of the refusal that says it is not there */
};

static bool create(struct nats_broker *broker, const struct thing *thing, int64_t until_ms,
                   struct error *err)
{
    AUTO(buffer_free) struct buffer body = {0};
    AUTO(document_free) struct document *answer = NULL;

    document_print(thing->wanted, thing->body, &body);
    for (int i = 1; !nats_api(broker, thing->create, body.data, until_ms, &answer, err); i++)
        if (i == CREATE_TRIES || strcmp(err->reason, NATS_STORE_FAILED) != 0)
            return false;
    return true;
}

static bool find_or_create(struct nats_broker *broker, const struct thing *thing,
                           const struct broker_declaration *declaration, int64_t until_ms,
                           struct error *err)
{
    AUTO(document_free) struct document *found = NULL;
    AUTO(buffer_free) struct buffer differing = {0};

    if (nats_api(broker, thing->info, "", until_ms, &found, err)) {
        compare(thing->settings, thing->setting_count, thing->wanted, found, &differing);
        declaration->report(declaration->context, thing->name,
                            differing.size ? BROKER_DRIFTED : BROKER_SAME, differing.data);
        return true;
    }
    if (strcmp(err->reason, thing->missing) != 0 || !create(broker, thing, until_ms, err))
        return error_wrap(err, "'%s'", thing->name);
    declaration->report(declaration->context, thing->name, BROKER_CREATED, "");
    return true;
}

static struct document *stream_document(const struct broker_stream *stream)
{
    struct document *document = document_new();

    document_set_text(document, "config.name", stream->name);
    document_set_list(document, "config.subjects", &stream->subjects, 1);
    document_set_text(document, "config.retention", "limits");
    document_set_text(document, "config.storage", "file");
    document_set_text(document, "config.discard", stream->telemetry ? "old" : "new");
    document_set_int(document, "config.max_consumers", -1);
    document_set_int(document, "config.max_msgs", -1);
    document_set_int(document, "config.max_msg_size", -1);
    document_set_int(document, "config.max_age", 0);
    document_set_int(document, "config.max_bytes", stream->max_bytes);
    document_set_int(document, "config.num_replicas", stream->replicas);
    document_set_int(document, "config.duplicate_window", stream->dedup_window_ms * NS_PER_MS);
    document_set_bool(document, "config.allow_direct", true);
    return document;
}

static bool declare_stream(struct nats_broker *broker, const struct broker_stream *stream,
                           const struct broker_declaration *declaration, int64_t until_ms,
                           struct error *err)
{
    AUTO(document_free) struct document *wanted = stream_document(stream);
    struct thing thing = {.name = stream->name,
                          .wanted = wanted,
                          .body = "config",
                          .settings = stream_settings,
                          .setting_count = ARRAY_LEN(stream_settings),
                          .missing = NATS_NO_STREAM};

    snprintf(thing.create, sizeof(thing.create), "STREAM.CREATE.%s", stream->name);
    snprintf(thing.info, sizeof(thing.info), "STREAM.INFO.%s", stream->name);
    return find_or_create(broker, &thing, declaration, until_ms, err);
}

/* "action" keeps newer servers from changing a consumer that exists; older ones do not read it. */
static struct document *consumer_document(const struct broker_group *group, uint64_t from)
{
    struct document *document = document_new();

    document_set_text(document, "stream_name", group->stream);
    document_set_text(document, "action", "create");
    document_set_text(document, "config.durable_name", group->name);
    document_set_text(document, "config.deliver_policy", from ? "by_start_sequence" : "all");
    if (from)
        document_set_int(document, "config.opt_start_seq", (int64_t)from);
    document_set_text(document, "config.ack_policy", "explicit");
    document_set_int(document, "config.ack_wait", group->ack_wait_ms * NS_PER_MS);
    document_set_int(document, "config.max_deliver", -1);
    document_set_int(document, "config.max_ack_pending", group->max_in_flight);
    document_set_int(document, "config.max_waiting", MAX_WAITING);
    document_set_text(document, "config.replay_policy", "instant");
    if (group->filter)
        document_set_text(document, "config.filter_subject", group->filter);
    return document;
}

static void name_consumer(struct thing *thing, const struct broker_group *group)
{
    thing->name = group->name;
    thing->body = "";
    thing->settings = consumer_settings;
    thing->setting_count = ARRAY_LEN(consumer_settings);
    thing->missing = NATS_NO_CONSUMER;
    snprintf(thing->create, sizeof(thing->create), "CONSUMER.DURABLE.CREATE.%s.%s", group->stream,
             group->name);
    snprintf(thing->info, sizeof(thing->info), "CONSUMER.INFO.%s.%s", group->stream, group->name);
}

static bool declare_consumer(struct nats_broker *broker, const struct broker_group *group,
                             const struct broker_declaration *declaration, int64_t until_ms,
                             struct error *err)
{
    AUTO(document_free) struct document *wanted = consumer_document(group, 0);
    struct thing thing = {.wanted = wanted};

    name_consumer(&thing, group);
    return find_or_create(broker, &thing, declaration, until_ms, err);
}

bool nats_create_consumer(struct nats_broker *broker, const struct broker_group *group,
                          uint64_t from, int64_t until_ms, struct error *err)
{
    AUTO(document_free) struct document *wanted = consumer_document(group, from);
    struct thing thing = {.wanted = wanted};

    name_consumer(&thing, group);
    return create(broker, &thing, until_ms, err) ||
           error_wrap(err, "create consumer '%s'", group->name);
}

bool nats_declare(struct broker *base, const struct broker_declaration *declaration, int timeout_ms,
                  struct error *err)
{
    struct nats_broker *broker = nats_broker_of(base);
    int64_t until_ms = nats_now_ms() + timeout_ms;

    for (size_t i = 0; i < declaration->stream_count; i++)
        if (!declare_stream(broker, &declaration->streams[i], declaration, until_ms, err))
            return false;
    for (size_t i = 0; i < declaration->group_count; i++)
        if (!declare_consumer(broker, &declaration->groups[i], declaration, until_ms, err))
            return false;
    return true;
}
