/*
 * What a person has to know about this server, as far as a client is told. What it writes to its
 * disk when, and how much room that has, only its configuration says: there the defaults are named.
 *
 * Source  "NATS 2.12.1", jepsen.io, 2025-12-08, for what an acknowledgement means and for the
 *         streams that 2.10.20 to 2.10.22 can lose; CVE-2026-27571 for 2.11.12 and 2.12.3.
 */
#include "broker/nats_driver.h"

#include "broker/nats_greeting.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUBJECT_SIZE 300
#define PATH_SIZE 80
#define ANSWER_MS 2000 /* of one stream; none in this time: it has no leader */
#define NOTICE_PERCENT 80
#define WRONG_PERCENT 95
#define SKEW_NOTICE_MS 1000
#define SKEW_WRONG_MS 30000
#define NS_PER_S 1000000000

struct examination {
    struct nats_broker *broker;
    broker_found_that *each;
    void *context;
    int64_t until_ms;
    bool versioned; /* version is known */
    struct nats_version version;
    int64_t replicas; /* the fewest of a stream on disk; 0: there is none */
    bool clock_told;
};

PRINTF_LIKE(5, 6)
static void tell(const struct examination *examination, enum broker_grade grade,
                 const char *subject, const char *remedy, const char *format, ...)
{
    struct broker_finding finding = {.grade = grade, .subject = subject, .remedy = remedy};
    char fact[512];
    va_list values;

    va_start(values, format);
    vsnprintf(fact, sizeof(fact), format, values);
    va_end(values);
    finding.fact = fact;
    examination->each(examination->context, &finding);
}

/* ---- "server" ---- */

static bool is_before(const struct examination *examination, int major, int minor, int patch)
{
    return nats_version_before(&examination->version, major, minor, patch);
}

/* Versions from..before lack something that somebody ought to know. */
static const struct defect {
    struct nats_version from, before;
    enum broker_grade grade;
    const char *fact, *remedy;
} defects[] = {
    {{2, 10, 20},
     {2, 10, 23},
     BROKER_WRONG,
     "can lose a whole replicated stream when its process is killed; 2.10.23 does not",
     "upgrade nats-server"},
    {{2, 12, 0},
     {2, 12, 3},
     BROKER_NOTICE,
     "lets anybody who reaches its WebSocket port exhaust its memory (CVE-2026-27571); "
     "2.12.3 does not",
     "upgrade nats-server to 2.12.3 or later"},
    {{0, 0, 0},
     {2, 11, 12},
     BROKER_NOTICE,
     "is older than 2.11.12: it lets anybody who reaches its WebSocket port exhaust its memory "
     "(CVE-2026-27571)",
     "upgrade nats-server to 2.11.12 or later"},
};

static void examine_version(struct examination *examination, const char *text)
{
    bool fine = true;

    examination->versioned = nats_version_parse(text, &examination->version);
    if (!examination->versioned) {
        tell(examination, BROKER_NOTICE, "server", "", "the server does not tell its version");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(defects); i++) {
        const struct defect *defect = &defects[i];
        if (is_before(examination, defect->from.major, defect->from.minor, defect->from.patch) ||
            !is_before(examination, defect->before.major, defect->before.minor,
                       defect->before.patch))
            continue;
        fine = false;
        tell(examination, defect->grade, "server", defect->remedy, "nats-server %s %s", text,
             defect->fact);
    }
    if (fine)
        tell(examination, BROKER_FINE, "server", "", "nats-server %s", text);
}

static void examine_server(struct examination *examination)
{
    AUTO(document_free) struct document *greeting = NULL;
    natsConnection *handle = examination->broker->pull.handle;
    char url[512];
    struct error err;

    if (!nats_connection_ready(&examination->broker->pull) ||
        natsConnection_GetConnectedUrl(handle, url, sizeof(url)) != NATS_OK ||
        !nats_greeting_read(url, examination->until_ms, &greeting, &err)) {
        examine_version(examination, NULL);
        return;
    }
    const char *version = document_text(greeting, "version");
    examine_version(examination, version);
}

/* ---- "store" ---- */

static enum broker_grade grade_of_use(int64_t used, int64_t most, int *out_percent)
{
    *out_percent = most > 0 ? (int)((double)used * 100 / (double)most) : 0;
    return *out_percent >= WRONG_PERCENT    ? BROKER_WRONG
           : *out_percent >= NOTICE_PERCENT ? BROKER_NOTICE
                                            : BROKER_FINE;
}

/* What an account may use; one that has limits by replicas has them in tiers. */
static const struct quota {
    const char *used, *most, *what;
} quotas[] = {
    {"storage", "limits.max_storage", "disk"},
    {"memory", "limits.max_memory", "memory"},
    {"tiers.R1.storage", "tiers.R1.limits.max_storage", "disk for single streams"},
    {"tiers.R3.storage", "tiers.R3.limits.max_storage", "disk for streams with three replicas"},
};

static void examine_quotas(const struct examination *examination, const struct document *account)
{
    bool limited = false;

    for (size_t i = 0; i < ARRAY_LEN(quotas); i++) {
        int percent;
        int64_t most = document_int(account, quotas[i].most, -1);
        int64_t used = document_int(account, quotas[i].used, 0);
        if (most <= 0)
            continue;
        limited = true;
        enum broker_grade grade = grade_of_use(used, most, &percent);
        tell(examination, grade, "store",
             percent >= NOTICE_PERCENT ? "raise the account's limits, or keep less" : "",
             "the account uses %d %% of its %s, %" PRId64 " of %" PRId64 " bytes", percent,
             quotas[i].what, used, most);
    }
    if (!limited)
        tell(examination, BROKER_FINE, "store",
             "cap max_file in the server's configuration below the size of its volume",
             "the account uses %" PRId64 " bytes of disk and has no limit; how much room the "
             "server has, it does not tell",
             document_int(account, "storage", 0));
}

static bool is_text(const struct document *document, const char *path, const char *wanted)
{
    const char *text = document_text(document, path);

    return text && strcmp(text, wanted) == 0;
}

/* A stream that drops its oldest is meant to be full. */
static void examine_room(const struct examination *examination, const char *name,
                         const struct document *info)
{
    int64_t most = document_int(info, "config.max_bytes", -1);
    int64_t used = document_int(info, "state.bytes", 0);
    int percent;
    enum broker_grade grade = grade_of_use(used, most, &percent);

    if (grade != BROKER_FINE && is_text(info, "config.discard", "new"))
        tell(examination, grade, "store", "let its consumers catch up, or give it more max_bytes",
             "stream %s is %d %% full, %" PRId64 " of %" PRId64
             " bytes; when it is full its publishers are refused",
             name, percent, used, most);
}

/* ---- "durability" ---- */

static void note_storage(struct examination *examination, const char *name,
                         const struct document *info)
{
    int64_t replicas = document_int(info, "config.num_replicas", 1);

    if (is_text(info, "config.storage", "memory"))
        tell(examination, BROKER_WRONG, "durability", "make the stream again with file storage",
             "stream %s keeps its messages in memory: they end with the server's process", name);
    else if (!examination->replicas || replicas < examination->replicas)
        examination->replicas = replicas;
}

/* Told once, for the weakest stream. */
static void tell_durability(const struct examination *examination)
{
    bool old = examination->versioned && is_before(examination, 2, 10, 0);
    const char *interval = old ? "60 seconds" : "2 minutes";
    const char *sync = old ? "put the server's disk on power that does not fail, or use 2.10 or "
                             "later with sync_interval: always"
                           : "set sync_interval: always in the server's jetstream block";

    if (examination->replicas > 1)
        tell(examination, BROKER_FINE, "durability", sync,
             "an acknowledged message is with most of the %" PRId64 " servers of its stream: it "
             "survives the loss of one, not a power loss of all within the %s (the default) until "
             "it is on their disks",
             examination->replicas, interval);
    else
        tell(examination, BROKER_NOTICE, "durability", sync,
             "an acknowledged message survives the end of the server's process, not a power loss "
             "or crash of its machine within the %s (the default; the server does not tell) until "
             "it is on the disk",
             interval);
}

/* ---- "retention" ---- */

static void examine_retention(const struct examination *examination, const char *name,
                              const struct document *info)
{
    int64_t age_ns = document_int(info, "config.max_age", 0);

    if (strncmp(name, "KV_", 3) == 0 || strncmp(name, "OBJ_", 4) == 0 || *name == '$')
        return;
    if (age_ns > 0)
        tell(examination, BROKER_NOTICE, "retention", "set the stream's max_age to 0",
             "stream %s drops messages after %" PRId64 " s, settled or not", name,
             age_ns / NS_PER_S);
    if (document_int(info, "config.max_msgs", -1) > 0 && is_text(info, "config.discard", "old"))
        tell(examination, BROKER_NOTICE, "retention", "set the stream's max_msgs to -1",
             "stream %s keeps its latest messages only, settled or not", name);
    if (!is_text(info, "config.retention", "limits"))
        tell(examination, BROKER_WRONG, "retention", "make the stream again with limits retention",
             "stream %s forgets a message once its consumers are done: no other one gets it", name);
}

/* ---- "cluster" ---- */

struct peers {
    int offline, behind;
};

static struct peers count_peers(const struct document *info)
{
    struct peers peers = {0};
    char path[PATH_SIZE];

    for (int i = 0; i < document_count(info, "cluster.replicas"); i++) {
        snprintf(path, sizeof(path), "cluster.replicas.%d.offline", i);
        bool offline = document_bool(info, path, false);
        snprintf(path, sizeof(path), "cluster.replicas.%d.current", i);
        peers.offline += offline;
        peers.behind += !offline && !document_bool(info, path, true);
    }
    return peers;
}

static void examine_replicas(const struct examination *examination, const char *name,
                             const struct document *info)
{
    int64_t wanted = document_int(info, "config.num_replicas", 1);
    struct peers peers = count_peers(info);
    int there = 1 + document_count(info, "cluster.replicas") - peers.offline;

    if (wanted <= 1)
        return;
    if (there < wanted)
        tell(examination, BROKER_WRONG, "cluster", "bring the missing servers back",
             "stream %s has %d of its %" PRId64 " replicas", name, there, wanted);
    else if (peers.behind)
        tell(examination, BROKER_NOTICE, "cluster",
             "wait; when it stays so, look at that server's disk and network",
             "%d of the %" PRId64 " replicas of stream %s are behind", peers.behind, wanted, name);
}

static void tell_leaderless(const struct examination *examination, const char *name,
                            const struct error *err)
{
    tell(examination, BROKER_WRONG, "cluster", "bring back the servers that hold it",
         "stream %s has no leader that answers (%s): nothing is stored or delivered", name,
         err->message);
}

/* ---- "clock" ---- */

/* The answer was made at some time between the question and now. */
static void examine_clock(struct examination *examination, const struct document *info,
                          int64_t asked_ms)
{
    int64_t now_ms = clock_wall_ms(clock_system());
    int64_t server_ms = nats_time_at(info, "ts", 0);
    int64_t skew_ms = server_ms < asked_ms ? asked_ms - server_ms
                      : server_ms > now_ms ? server_ms - now_ms
                                           : 0;

    if (!server_ms || examination->clock_told)
        return;
    examination->clock_told = true;
    tell(examination,
         skew_ms >= SKEW_WRONG_MS    ? BROKER_WRONG
         : skew_ms >= SKEW_NOTICE_MS ? BROKER_NOTICE
                                     : BROKER_FINE,
         "clock", skew_ms >= SKEW_NOTICE_MS ? "synchronise both machines' clocks" : "",
         "the server's clock is %s%" PRId64 " ms %s ours", skew_ms ? "" : "within ", skew_ms,
         server_ms < asked_ms ? "behind"
         : server_ms > now_ms ? "ahead of"
                              : "of");
}

/* ---- streams ---- */

static void examine_stream(struct examination *examination, const char *name)
{
    AUTO(document_free) struct document *info = NULL;
    int64_t asked_ms = clock_wall_ms(clock_system()), until_ms = nats_now_ms() + ANSWER_MS;
    char subject[SUBJECT_SIZE];
    struct error err;

    snprintf(subject, sizeof(subject), "STREAM.INFO.%s", name);
    if (until_ms > examination->until_ms)
        until_ms = examination->until_ms;
    if (!nats_api(examination->broker, subject, "", until_ms, &info, &err)) {
        if (err.code != ERROR_NOT_FOUND) /* or it was deleted meanwhile */
            tell_leaderless(examination, name, &err);
        return;
    }
    examine_clock(examination, info, asked_ms);
    note_storage(examination, name, info);
    examine_room(examination, name, info);
    examine_retention(examination, name, info);
    examine_replicas(examination, name, info);
}

/* The names are known even where no leader is. */
static void examine_name(void *context, const struct document *page, int i)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof(path), "streams.%d", i);
    const char *name = document_text(page, path);
    if (name)
        examine_stream(context, name);
}

bool nats_examine(struct broker *base, broker_found_that *each, void *context, int timeout_ms,
                  struct error *err)
{
    struct examination examination = {.broker = nats_broker_of(base),
                                      .each = each,
                                      .context = context,
                                      .until_ms = nats_now_ms() + timeout_ms};
    const struct nats_pages names = {.subject = "STREAM.NAMES",
                                     .list = "streams",
                                     .each = examine_name,
                                     .context = &examination};
    AUTO(document_free) struct document *account = NULL;

    if (!nats_api(examination.broker, "INFO", "", examination.until_ms, &account, err))
        return false;
    examine_server(&examination);
    examine_quotas(&examination, account);
    if (!nats_api_pages(examination.broker, &names, examination.until_ms, err))
        return false;
    tell_durability(&examination);
    return true;
}
