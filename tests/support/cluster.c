#include "support/cluster.h"

#include "base/clock.h"
#include "base/document.h"
#include "base/memory.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READY_MS 30000
#define LOOK_AGAIN_MS 50
#define ANSWER_MS 700 /* without a leader there is no answer */
#define PROBE "CLUSTER-PROBE"

struct cluster {
    struct server *members[CLUSTER_SIZE];
    int reserved[CLUSTER_SIZE]; /* the ports for each other */
    int ports[CLUSTER_SIZE];
    char url[160];
};

static bool ask_at(const char *url, const char *subject, const char *payload, struct document **out,
                   struct error *err)
{
    AUTO(buffer_free) struct buffer reply = {0};
    struct document *answer = NULL;

    if (!server_request_within(url, subject, payload, ANSWER_MS, &reply, err) ||
        !document_parse(&answer, reply.data, reply.size, err))
        return false;
    if (!document_has(answer, "error")) {
        *out = answer;
        return true;
    }
    const char *words = document_text(answer, "error.description");
    error_set(err, ERROR_UNAVAILABLE, "%s: %s", subject, words ? words : "refused");
    document_free(answer);
    return false;
}

static bool ask(struct cluster *cluster, const char *subject, const char *payload,
                struct document **out, struct error *err)
{
    return ask_at(cluster->url, subject, payload, out, err);
}

/* ---- start ---- */

static bool start_member(struct cluster *cluster, size_t i, struct error *err)
{
    AUTO(buffer_free) struct buffer settings = {0};

    buffer_print(&settings, "server_name: n%zu\ncluster {\n  name: millrace\n", i);
    buffer_print(&settings, "  listen: \"127.0.0.1:%d\"\n  routes: [", cluster->ports[i]);
    for (size_t j = 0; j < CLUSTER_SIZE; j++)
        buffer_print(&settings, "\"nats://127.0.0.1:%d\", ", cluster->ports[j]);
    buffer_text(&settings, " ]\n}\n");
    return server_start_nats_with(&cluster->members[i], settings.data, err);
}

static bool start_members(struct cluster *cluster, struct error *err)
{
    for (size_t i = 0; i < CLUSTER_SIZE; i++)
        cluster->reserved[i] = server_reserve_port(&cluster->ports[i]);
    for (size_t i = 0; i < CLUSTER_SIZE; i++)
        if (cluster->reserved[i] < 0)
            return error_set(err, ERROR_UNAVAILABLE, "no port");
    for (size_t i = 0; i < CLUSTER_SIZE; i++)
        if (!start_member(cluster, i, err))
            return false;
    return true;
}

static bool probe(struct cluster *cluster, struct error *err)
{
    AUTO(document_free) struct document *made = NULL, *removed = NULL;

    return ask(cluster, "$JS.API.STREAM.CREATE." PROBE,
               "{\"name\":\"" PROBE "\",\"subjects\":[\"" PROBE "\"],\"num_replicas\":3,"
               "\"retention\":\"limits\",\"storage\":\"file\"}",
               &made, err) &&
           ask(cluster, "$JS.API.STREAM.DELETE." PROBE, "", &removed, err);
}

static bool await_ready(struct cluster *cluster, struct error *err)
{
    const struct clock *clock = clock_system();
    int64_t until_ms = clock_steady_ms(clock) + READY_MS;

    while (!probe(cluster, err)) {
        if (clock_steady_ms(clock) > until_ms)
            return error_wrap(err, "no cluster after %d ms", READY_MS);
        poll(NULL, 0, LOOK_AGAIN_MS);
    }
    return true;
}

bool cluster_start(struct cluster **out, struct error *err)
{
    struct cluster *cluster = memory_alloc(sizeof(*cluster));

    if (!start_members(cluster, err)) {
        cluster_close(cluster);
        return false;
    }
    snprintf(cluster->url, sizeof(cluster->url), "nats://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d",
             server_port(cluster->members[0]), server_port(cluster->members[1]),
             server_port(cluster->members[2]));
    if (!await_ready(cluster, err)) {
        cluster_close(cluster);
        return false;
    }
    *out = cluster;
    return true;
}

void cluster_close(struct cluster *cluster)
{
    if (!cluster)
        return;
    for (size_t i = 0; i < CLUSTER_SIZE; i++) {
        server_close(cluster->members[i]);
        if (cluster->reserved[i] > 0)
            close(cluster->reserved[i]);
    }
    free(cluster);
}

const char *cluster_url(const struct cluster *cluster)
{
    return cluster->url;
}

struct server *cluster_member(struct cluster *cluster, size_t i)
{
    return cluster->members[i];
}

/* ---- who leads ---- */

bool cluster_leader(struct cluster *cluster, const char *stream, const char *consumer, size_t *out,
                    struct error *err)
{
    AUTO(document_free) struct document *info = NULL;
    char subject[160];

    if (consumer)
        snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.INFO.%s.%s", stream, consumer);
    else
        snprintf(subject, sizeof(subject), "$JS.API.STREAM.INFO.%s", stream);
    if (!ask(cluster, subject, "", &info, err))
        return false;
    const char *name = document_text(info, "cluster.leader"); /* "n0" */
    if (!name || name[0] != 'n' || name[1] < '0' || name[1] >= '0' + CLUSTER_SIZE)
        return error_set(err, ERROR_UNAVAILABLE, "'%s' has no leader", stream);
    *out = (size_t)(name[1] - '0');
    return true;
}

static bool says_whole(const struct server *member, const char *stream)
{
    AUTO(document_free) struct document *info = NULL;
    struct error err;
    char text[128];
    int current = 0;

    snprintf(text, sizeof(text), "$JS.API.STREAM.INFO.%s", stream);
    if (!ask_at(server_url(member), text, "", &info, &err) ||
        !document_text(info, "cluster.leader"))
        return false;
    for (int i = 0; i < CLUSTER_SIZE - 1; i++) {
        snprintf(text, sizeof(text), "cluster.replicas.%d.current", i);
        bool is_current = document_bool(info, text, false);
        snprintf(text, sizeof(text), "cluster.replicas.%d.offline", i);
        current += is_current && !document_bool(info, text, false);
    }
    return current == CLUSTER_SIZE - 1;
}

/* One that has just come back refuses what others would do, until it knows who leads the cluster:
 * its word comes first where it is asked itself. */
bool cluster_is_whole(struct cluster *cluster, const char *stream)
{
    for (size_t i = 0; i < CLUSTER_SIZE; i++)
        if (!says_whole(cluster->members[i], stream))
            return false;
    return true;
}

bool cluster_step_down(struct cluster *cluster, const char *stream, struct error *err)
{
    AUTO(document_free) struct document *answer = NULL;
    char subject[128];

    snprintf(subject, sizeof(subject), "$JS.API.STREAM.LEADER.STEPDOWN.%s", stream);
    return ask(cluster, subject, "", &answer, err);
}
