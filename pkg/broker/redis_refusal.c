#include "broker/redis_link.h"

#include <string.h>

#define READ_ONLY "read_only"
#define MASTER_DOWN "master_down"

/* The server's own words, and those of our scripts ("NOSTREAM", "FULL", "CONFLICT"). */
/* In the order of reading: NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
static const struct refusal {
    const char *word; /* what the reply begins with */
    enum error_code code;
    const char *reason;
    bool passing; /* a restart, a failover, a long script: the same may succeed soon */
} refusals[] = {
    {"NOSTREAM", ERROR_NOT_FOUND, REDIS_NO_STREAM, false},
    {"NOGROUP", ERROR_NOT_FOUND, REDIS_NO_GROUP, false},
    {"FULL", ERROR_FULL, REDIS_STREAM_FULL, false},
    {"CONFLICT", ERROR_CONFLICT, "conflict", false},
    {"LOADING", ERROR_UNAVAILABLE, "loading", true},
    {"BUSY", ERROR_UNAVAILABLE, "busy", true},
    {"UNKILLABLE", ERROR_UNAVAILABLE, "busy", true},
    {"MASTERDOWN", ERROR_UNAVAILABLE, MASTER_DOWN, true},
    {"READONLY", ERROR_UNAVAILABLE, READ_ONLY, true},
    {"NOREPLICAS", ERROR_UNAVAILABLE, "too_few_replicas", true},
    {"CLUSTERDOWN", ERROR_UNAVAILABLE, "cluster_down", true},
    {"TRYAGAIN", ERROR_UNAVAILABLE, "try_again", true},
    {"UNBLOCKED", ERROR_UNAVAILABLE, "unblocked", true},
    {"NOSCRIPT", ERROR_UNAVAILABLE, "script_forgotten", true},
    {"ERR max number of clients", ERROR_UNAVAILABLE, "too_many_clients", true},
    {"OOM", ERROR_FULL, "memory_full", false},
    {"MISCONF", ERROR_FULL, "cannot_persist", false},
    {"NOAUTH", ERROR_DENIED, "not_authenticated", false},
    {"WRONGPASS", ERROR_DENIED, "wrong_password", false},
    {"ERR invalid password", ERROR_DENIED, "wrong_password", false},
    {"NOPERM", ERROR_DENIED, "not_permitted", false},
    {"DENIED", ERROR_DENIED, "protected_mode", false},
};

static const struct refusal *find(const char *text)
{
    static const struct refusal other = {"", ERROR_INVALID, "refused", false};

    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        size_t size = strlen(refusals[i].word); /* a whole word: there is a BUSYGROUP, too */
        if (strncmp(text, refusals[i].word, size) == 0 && (!text[size] || text[size] == ' '))
            return &refusals[i];
    }
    return &other;
}

void redis_refusal(const redisReply *reply, struct error *err, bool *out_retry)
{
    const struct refusal *refusal = find(reply->str);
    const char *noise = strstr(reply->str, " script: "); /* which script, and where in it */
    size_t size = noise ? (size_t)(noise - reply->str) : reply->len;

    error_set(err, refusal->code, "%.*s", (int)size, reply->str);
    err->reason = refusal->reason;
    if (out_retry)
        *out_retry = refusal->passing;
}

bool redis_script_is_missing(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0;
}

bool redis_refusal_is_elsewhere(const struct error *refusal)
{
    return strcmp(refusal->reason, READ_ONLY) == 0 || strcmp(refusal->reason, MASTER_DOWN) == 0;
}
