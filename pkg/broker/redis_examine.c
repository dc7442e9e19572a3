#include "broker/redis_driver.h"

#include "base/buffer.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLDEST_VERSION 7 /* XGROUP … ENTRIESREAD, and a lag that the server counts */
#define CLOCK_OFF_MS 1000
#define NOTICE_PERCENT 75
#define WRONG_PERCENT 90
#define VALUE_SIZE 64
#define MIB (1024LL * 1024)

struct examination {
    struct redis_broker *broker;
    broker_found_that *each;
    void *context;
    int64_t until_ms;
    const char *info;       /* what INFO says; "" when it is not permitted */
    char fsync[VALUE_SIZE]; /* what CONFIG says; "" when it is not permitted */
};

struct verdict {
    enum broker_grade grade;
    const char *subject, *remedy;
};

static void tell(const struct examination *examination, struct verdict verdict, const char *format,
                 ...) PRINTF_LIKE(3, 4);

static void tell(const struct examination *examination, struct verdict verdict, const char *format,
                 ...)
{
    struct broker_finding finding = {
        .grade = verdict.grade, .subject = verdict.subject, .remedy = verdict.remedy};
    char fact[400];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(fact, sizeof(fact), format, arguments);
    va_end(arguments);
    finding.fact = fact;
    examination->each(examination->context, &finding);
}

/* ---- asking ---- */

static bool is_refusal(const struct error *err)
{
    return err->code == ERROR_DENIED || err->code == ERROR_INVALID;
}

/* NULL in *out when the server does not say: not every server lets everybody ask. */
static bool ask(const struct examination *examination, int count, const char **arguments,
                redisReply **out, struct error *err)
{
    struct redis_request request = {.count = count, .arguments = arguments};

    if (redis_control(examination->broker, &request, examination->until_ms, out, err))
        return true;
    *out = NULL;
    return is_refusal(err);
}

static bool ask_config(struct examination *examination, const char *name, char out[VALUE_SIZE],
                       struct error *err)
{
    const char *arguments[] = {"CONFIG", "GET", name};
    redisReply *reply;

    if (!ask(examination, ARRAY_LEN(arguments), arguments, &reply, err))
        return false;
    snprintf(out, VALUE_SIZE, "%s", reply && reply->elements == 2 ? reply->element[1]->str : "");
    if (reply)
        redis_reply_free(reply);
    return true;
}

/* A line of INFO, "name:value"; "" when there is none. */
static const char *info_text(const struct examination *examination, const char *name,
                             char out[VALUE_SIZE])
{
    size_t size = strlen(name);

    out[0] = '\0';
    for (const char *line = examination->info; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, size) == 0 && line[size] == ':') {
            snprintf(out, VALUE_SIZE, "%.*s", (int)strcspn(line + size + 1, "\r\n"),
                     line + size + 1);
            break;
        }
    }
    return out;
}

static bool info_is(const struct examination *examination, const char *name, const char *value)
{
    char text[VALUE_SIZE];

    return strcmp(info_text(examination, name, text), value) == 0;
}

static int64_t info_number(const struct examination *examination, const char *name)
{
    char text[VALUE_SIZE];

    return strtoll(info_text(examination, name, text), NULL, 10);
}

/* ---- facts ---- */

static void examine_server(const struct examination *examination)
{
    char version[VALUE_SIZE], valkey[VALUE_SIZE];
    bool is_valkey = *info_text(examination, "valkey_version", valkey);

    if (!*info_text(examination, "redis_version", version))
        tell(examination, (struct verdict){BROKER_NOTICE, "server", "permit INFO to this user"},
             "the server does not say what it is: INFO is not permitted");
    else if (strtol(version, NULL, 10) < OLDEST_VERSION)
        tell(examination,
             (struct verdict){BROKER_WRONG, "server", "use Redis 7.0 or later, or Valkey"},
             "Redis %s: streams need 7.0 or later", version);
    else
        tell(examination, (struct verdict){BROKER_FINE, "server", ""}, "%s %s",
             is_valkey ? "Valkey" : "Redis", is_valkey ? valkey : version);
    if (info_is(examination, "redis_mode", "cluster"))
        tell(examination,
             (struct verdict){BROKER_WRONG, "mode", "use a server that is no cluster's node"},
             "the server is a node of a cluster: keys of other nodes are refused, and nobody "
             "follows them there");
}

/* What RDB snapshots keep is not worth naming: minutes are lost. */
static void examine_durability(const struct examination *examination)
{
    static const struct {
        const char *fsync;
        struct verdict verdict;
        const char *fact;
    } kinds[] = {
        {"always",
         {BROKER_FINE, "durability", ""},
         "an acknowledged message is on disk: it survives a kill of the server and a power loss "
         "(appendfsync always)"},
        {"everysec",
         {BROKER_NOTICE, "durability", "appendfsync always, where that is too much"},
         "an acknowledged message survives a kill of the server; a power loss takes up to 1 s of "
         "them, 2 s from a slow disk (appendfsync everysec)"},
        {"no",
         {BROKER_NOTICE, "durability", "appendfsync everysec or always"},
         "an acknowledged message survives a kill of the server; a power loss takes what the "
         "system had not written yet, half a minute or more (appendfsync no)"},
        {"",
         {BROKER_NOTICE, "durability", "look at appendfsync where the server is configured"},
         "an acknowledged message survives a kill of the server; what a power loss takes the "
         "server does not say: CONFIG is not permitted"},
    };

    if (!*examination->info) {
        tell(examination, (struct verdict){BROKER_NOTICE, "durability", "permit INFO to this user"},
             "what an acknowledged message survives the server does not say");
        return;
    }
    if (info_number(examination, "aof_enabled") == 0) {
        tell(examination,
             (struct verdict){BROKER_WRONG, "durability",
                              "appendonly yes, and appendfsync everysec or always"},
             "an acknowledged message survives nothing: there is no append-only file, and a "
             "restart loses what came after the last snapshot");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].fsync, examination->fsync) == 0)
            tell(examination, kinds[i].verdict, "%s", kinds[i].fact);
    if (info_is(examination, "aof_last_write_status", "err"))
        tell(examination,
             (struct verdict){BROKER_WRONG, "append_only_file", "look at the server's disk"},
             "the last write of the append-only file failed: nothing is stored until one succeeds");
}

static void examine_snapshots(const struct examination *examination)
{
    if (info_is(examination, "rdb_last_bgsave_status", "err"))
        tell(examination,
             (struct verdict){BROKER_WRONG, "snapshot", "look at the server's disk and memory"},
             "the last snapshot failed: the server refuses to store, unless "
             "stop-writes-on-bgsave-error is off");
}

static void examine_replicas(const struct examination *examination)
{
    int64_t count = info_number(examination, "connected_slaves");

    if (!*examination->info)
        return;
    if (info_is(examination, "role", "slave"))
        tell(examination, (struct verdict){BROKER_WRONG, "replicas", "connect to its master"},
             "the server is a replica: it cannot store");
    else if (count == 0)
        tell(examination, (struct verdict){BROKER_NOTICE, "replicas", "a replica, and a sentinel"},
             "no replica: while this server is away, so are its streams");
    else
        tell(examination,
             (struct verdict){BROKER_NOTICE, "replicas",
                              "min-replicas-to-write and min-replicas-max-lag bound it"},
             "%" PRId64 " %s what was acknowledged a little later: a failover may lose the last "
             "messages",
             count, count == 1 ? "replica gets" : "replicas get");
}

static void examine_eviction(const struct examination *examination)
{
    char policy[VALUE_SIZE];

    if (!*info_text(examination, "maxmemory_policy", policy))
        return;
    if (strncmp(policy, "allkeys-", strlen("allkeys-")) == 0)
        tell(examination, (struct verdict){BROKER_WRONG, "eviction", "maxmemory-policy noeviction"},
             "when memory is full the server throws away whole streams (%s)", policy);
    else if (strncmp(policy, "volatile-", strlen("volatile-")) == 0)
        tell(examination,
             (struct verdict){BROKER_NOTICE, "eviction", "maxmemory-policy noeviction"},
             "when memory is full the server forgets message ids: what is published again may be "
             "stored twice (%s)",
             policy);
    else
        tell(examination, (struct verdict){BROKER_FINE, "eviction", ""},
             "when memory is full the server refuses, and forgets nothing (%s)", policy);
}

static void examine_memory(const struct examination *examination)
{
    int64_t used = info_number(examination, "used_memory");
    int64_t limit = info_number(examination, "maxmemory");
    int64_t system = info_number(examination, "total_system_memory");
    int64_t most = limit > 0 ? limit : system;
    int64_t percent = most > 0 ? used / (most / 100 + 1) : 0;
    struct verdict verdict = {BROKER_FINE, "memory", ""};

    if (used <= 0)
        return;
    if (percent >= NOTICE_PERCENT) {
        verdict.grade = percent >= WRONG_PERCENT ? BROKER_WRONG : BROKER_NOTICE;
        verdict.remedy = "trim the streams, lower their max_bytes, or give the server more memory";
    } else if (limit <= 0) {
        verdict.grade = BROKER_NOTICE;
        verdict.remedy = "maxmemory below the machine's memory: the server then refuses in time";
    }
    if (limit > 0)
        tell(examination, verdict, "%lld MiB of %lld MiB are used (%" PRId64 " %%)", used / MIB,
             most / MIB, percent);
    else
        tell(examination, verdict,
             "%lld MiB are used, and there is no maxmemory: the machine, of %lld"
             " MiB, is the limit",
             used / MIB, most / MIB);
}

static bool examine_clock(const struct examination *examination, struct error *err)
{
    const char *arguments[] = {"TIME"};
    redisReply *reply;

    int64_t before_ms = clock_wall_ms(clock_system());
    if (!ask(examination, ARRAY_LEN(arguments), arguments, &reply, err))
        return false;
    int64_t after_ms = clock_wall_ms(clock_system());
    if (!reply || reply->elements != 2) {
        tell(examination, (struct verdict){BROKER_NOTICE, "clock", "permit TIME to this user"},
             "the server does not tell the time");
    } else {
        int64_t theirs_ms = strtoll(reply->element[0]->str, NULL, 10) * 1000 +
                            strtoll(reply->element[1]->str, NULL, 10) / 1000;
        int64_t off_ms = theirs_ms - (before_ms + (after_ms - before_ms) / 2);
        int64_t doubt_ms = (after_ms - before_ms) / 2;
        bool wrong = llabs(off_ms) > CLOCK_OFF_MS + doubt_ms;
        tell(examination,
             (struct verdict){wrong ? BROKER_WRONG : BROKER_FINE, "clock",
                              wrong ? "set both clocks by NTP" : ""},
             "the server's clock is %lld ms %s ours%s", llabs(off_ms),
             off_ms < 0 ? "behind" : "ahead of",
             wrong ? ": leases and delays go by it, but when things were stored looks wrong" : "");
    }
    if (reply)
        redis_reply_free(reply);
    return true;
}

static void examine_info(const struct examination *examination)
{
    examine_server(examination);
    examine_durability(examination);
    examine_snapshots(examination);
    examine_replicas(examination);
    examine_eviction(examination);
    examine_memory(examination);
}

bool redis_examine(struct broker *base, broker_found_that *each, void *context, int timeout_ms,
                   struct error *err)
{
    struct examination examination = {.broker = redis_broker_of(base),
                                      .each = each,
                                      .context = context,
                                      .until_ms = clock_steady_ms(clock_system()) + timeout_ms};
    const char *arguments[] = {"INFO"};
    redisReply *info;

    if (!ask_config(&examination, "appendfsync", examination.fsync, err) ||
        !ask(&examination, ARRAY_LEN(arguments), arguments, &info, err))
        return false;
    examination.info = info && info->str ? info->str : "";
    examine_info(&examination);
    if (info)
        redis_reply_free(info);
    return examine_clock(&examination, err);
}
