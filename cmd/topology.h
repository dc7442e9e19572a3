/*
 * topology: the streams and consumer groups that every topic needs, as the broker is told of them.
 *
 * The joint between pkg/event, which knows the topics, and pkg/broker, which knows no topic. Every
 * service that declares uses the same settings, so that it does not matter which of them is first;
 * replicas with different settings are told so (broker_declare reports drift, it changes nothing).
 *
 *     struct settings { struct topology_settings topology; … };
 *     static const struct config_field settings[] = {
 *         TOPOLOGY_SETTINGS(struct settings, topology),
 *         …
 *     };
 *
 * Ownership  Names in streams and groups are static.
 * Units      bytes, seconds, milliseconds: as the names say.
 */
#ifndef CMD_TOPOLOGY_H
#define CMD_TOPOLOGY_H

#include "base/config.h"
#include "broker/broker.h"

struct topology_settings {
    int64_t stream_max_bytes;
    int stream_replicas, dedup_window_s;
    int64_t ack_wait_ms;
    int max_in_flight; /* messages delivered and not settled, over all replicas of a group */
    int max_attempts;
};

/* The name of a member takes no parentheses: NOLINTBEGIN(bugprone-macro-parentheses) */
#define TOPOLOGY_SETTINGS(type, member)                                                            \
    CONFIG_FIELD(type, member.stream_max_bytes, "STREAM_MAX_BYTES", "1073741824",                  \
                 "bytes a stream may hold before it refuses events", .min = 1048576, .max = 1e15), \
        CONFIG_FIELD(type, member.stream_replicas, "STREAM_REPLICAS", "1",                         \
                     "copies of a stream in a cluster of brokers", .min = 1, .max = 5),            \
        CONFIG_FIELD(type, member.dedup_window_s, "DEDUP_WINDOW_S", "600",                         \
                     "seconds in which the broker knows a repeated event", .min = 1,               \
                     .max = 86400),                                                                \
        CONFIG_FIELD(type, member.ack_wait_ms, "ACK_WAIT_MS", "30000",                             \
                     "ms until an unsettled message is delivered again", .min = 1000,              \
                     .max = 3600000),                                                              \
        CONFIG_FIELD(type, member.max_in_flight, "MAX_IN_FLIGHT", "20000",                         \
                     "unsettled messages of a consumer over all replicas", .min = 1,               \
                     .max = 1000000),                                                              \
        CONFIG_FIELD(type, member.max_attempts, "MAX_ATTEMPTS", "10",                              \
                     "deliveries before a message is a dead letter", .min = 1, .max = 1000)
/* NOLINTEND(bugprone-macro-parentheses) */

#define TOPOLOGY_MAX 32 /* streams, and groups: room for `out` */

/* Each stream and each group once, in the order of the topics; they return how many. */
size_t topology_streams(const struct topology_settings *settings, struct broker_stream *out);
size_t topology_groups(const struct topology_settings *settings, struct broker_group *out);

/* One group, to open its consumer with. The texts are borrowed. */
struct broker_group topology_group(const struct topology_settings *settings, const char *stream,
                                   const char *name);

/* Create what is missing; say in the log what was made and what differs. They take up to 1 s, fail
 * as broker_declare does, and may be called again at any time. Who publishes declares the streams;
 * who consumes declares the groups too, whose settings are its own. */
bool topology_declare_streams(struct broker *broker, const struct topology_settings *settings,
                              struct error *err) MUST_CHECK;
bool topology_declare(struct broker *broker, const struct topology_settings *settings,
                      struct error *err) MUST_CHECK;

#endif
