/*
 * cluster: three real nats-servers with JetStream that are one, each with a port, a port for the
 * others and a store of its own.
 *
 * A stream with three replicas goes on while two of the members live; its leader is one of them.
 *
 * Ownership  The members are the cluster's; they may be killed, paused and started again.
 *            cluster_close ends them and removes their files.
 * Threads    one; the thread that started it has to outlive it.
 */
#ifndef TESTS_SUPPORT_CLUSTER_H
#define TESTS_SUPPORT_CLUSTER_H

#include "support/server.h"

#define CLUSTER_SIZE 3

struct cluster;

/* Returns when a stream with three replicas can be made. */
bool cluster_start(struct cluster **out, struct error *err) MUST_CHECK;
void cluster_close(struct cluster *cluster);
AUTO_DEFINE(struct cluster *, cluster_close)

const char *cluster_url(const struct cluster *cluster); /* "nats://127.0.0.1:1,127.0.0.1:2,…" */
struct server *cluster_member(struct cluster *cluster, size_t i);

/* Which member leads a stream, or a consumer of it (NULL: the stream), now. UNAVAILABLE: nobody, or
 * the cluster does not say. */
bool cluster_leader(struct cluster *cluster, const char *stream, const char *consumer, size_t *out,
                    struct error *err) MUST_CHECK;

/* Does every member know that the stream has a leader, and that the others have all it has? */
bool cluster_is_whole(struct cluster *cluster, const char *stream);

/* Asks the leader of the stream to let another one lead. */
bool cluster_step_down(struct cluster *cluster, const char *stream, struct error *err) MUST_CHECK;

#endif
