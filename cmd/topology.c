#include "topology.h"

#include "base/log.h"
#include "event/topic.h"

#include <assert.h>

#define DECLARE_TIMEOUT_MS 1000

size_t topology_streams(const struct topology_settings *settings, struct broker_stream *out)
{
    size_t count = 0;

    assert(topic_count <= TOPOLOGY_MAX);
    for (size_t i = 0; i < topic_count; i++) {
        if (!topic_brings_stream(&topics[i]))
            continue;
        out[count++] = (struct broker_stream){
            .name = topics[i].stream,
            .subjects = topics[i].subjects,
            .max_bytes = settings->stream_max_bytes,
            .dedup_window_ms = (int64_t)settings->dedup_window_s * 1000,
            .replicas = settings->stream_replicas,
        };
    }
    return count;
}

size_t topology_groups(const struct topology_settings *settings, struct broker_group *out)
{
    size_t count = 0;

    assert(topic_count <= TOPOLOGY_MAX);
    for (size_t i = 0; i < topic_count; i++)
        if (topic_brings_consumer(&topics[i]))
            out[count++] = topology_group(settings, topics[i].stream, topics[i].consumer);
    return count;
}

struct broker_group topology_group(const struct topology_settings *settings, const char *stream,
                                   const char *name)
{
    return (struct broker_group){
        .stream = stream,
        .name = name,
        .ack_wait_ms = settings->ack_wait_ms,
        .max_in_flight = settings->max_in_flight,
        .max_attempts = (unsigned)settings->max_attempts,
    };
}

static void report(void *context, const char *name, enum broker_found found, const char *detail)
{
    (void)context;
    if (found == BROKER_CREATED)
        log_info("made a stream or consumer", log_text("name", name));
    if (found == BROKER_DRIFTED)
        log_warning("a stream or consumer differs from the settings and stays as it is",
                    log_text("name", name), log_text("difference", detail));
}

bool topology_declare_streams(struct broker *broker, const struct topology_settings *settings,
                              struct error *err)
{
    struct broker_stream streams[TOPOLOGY_MAX];
    size_t count = topology_streams(settings, streams);

    return broker_declare(broker, streams, count, NULL, 0, report, NULL, DECLARE_TIMEOUT_MS, err);
}

bool topology_declare(struct broker *broker, const struct topology_settings *settings,
                      struct error *err)
{
    struct broker_stream streams[TOPOLOGY_MAX];
    struct broker_group groups[TOPOLOGY_MAX];
    size_t stream_count = topology_streams(settings, streams);
    size_t group_count = topology_groups(settings, groups);

    return broker_declare(broker, streams, stream_count, groups, group_count, report, NULL,
                          DECLARE_TIMEOUT_MS, err);
}
