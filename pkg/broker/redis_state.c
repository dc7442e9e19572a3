#include "base/buffer.h"
#include "base/clock.h"
#include "base/id.h"
#include "broker/redis_bucket.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_SIZE 24

/*
 * KEYS: the bucket, its log. ARGV: key, expected revision or "", a token of this call; put: data.
 * A call may be made again when its answer was lost: its token in the log says that it was done.
 * The log has no values: a hundred of 1 MiB would fill the server. Watchers read them in the
 * bucket.
 */
#define BUCKET                                                                                     \
    "local key, expected, token = ARGV[1], ARGV[2], ARGV[3] "                                      \
    "local found = redis.call('HGET', KEYS[1], key) "                                              \
    "local now = found and string.match(found, '^(%d+) ') or '0' "                                 \
    "local function conflict()"                                                                    \
    "  return redis.error_reply('CONFLICT its revision is ' .. now) "                              \
    "end "                                                                                         \
    "local function log(what)"                                                                     \
    "  local last = redis.call('HGET', KEYS[1], ' revision')"                                      \
    "  if not last then"                                                                           \
    "    local entry = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]"                  \
    "    last = entry and string.match(entry[1], '^%d+') or 0"                                     \
    "  end"                                                                                        \
    "  local new = string.format('%.0f', last + 1)"                                                \
    "  redis.call('XADD', KEYS[2], 'MAXLEN', '~', 10000, new .. '-0',"                             \
    "             'key', key, 'op', what, 'by', token)"                                            \
    "  redis.call('HSET', KEYS[1], ' revision', new)"                                              \
    "  return new "                                                                                \
    "end "

static const struct redis_script put_script = {
    "put", BUCKET "local made = redis.call('XRANGE', KEYS[2], now .. '-0', now .. '-0')[1] "
                  "if made and made[2][6] == token then return now end "
                  "if expected ~= '' and expected ~= now then return conflict() end "
                  "local new = log('put') "
                  "redis.call('HSET', KEYS[1], key, new .. ' ' .. ARGV[4]) "
                  "return new"};

/* What is deleted has no revision to look up in the log: its token is among the last. */
static const struct redis_script delete_script = {
    "delete",
    BUCKET "if not found and (expected == '' or expected == '0') then return now end "
           "if not found then"
           "  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 100)) do"
           "    if entry[2][6] == token then return now end"
           "  end"
           "  return conflict() "
           "end "
           "if expected ~= '' and expected ~= now then return conflict() end "
           "redis.call('HDEL', KEYS[1], key) "
           "return log('delete')"};

const char *redis_bucket_key(char key[REDIS_KEY_SIZE], const char *bucket, const char *suffix)
{
    snprintf(key, REDIS_KEY_SIZE, "{millrace:state:%s}%s", bucket, suffix);
    return key;
}

bool redis_bucket_value(const char *key, const redisReply *stored, struct broker_value *out)
{
    char *end;

    if (stored->type != REDIS_REPLY_STRING)
        return false;
    uint64_t revision = strtoull(stored->str, &end, 10);
    if (end == stored->str || *end != ' ')
        return false;
    end++;
    *out = (struct broker_value){.key = key,
                                 .data = end,
                                 .size = stored->len - (size_t)(end - stored->str),
                                 .revision = revision};
    return true;
}

// NOLINTNEXTLINE(readability-function-size): the driver interface's parameters
bool redis_state_get(struct broker *base, const char *bucket, const char *key, broker_see *see,
                     void *context, int timeout_ms, struct error *err)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + timeout_ms;
    char bucket_key[REDIS_KEY_SIZE];
    const char *arguments[] = {"HGET", redis_bucket_key(bucket_key, bucket, ""), key};
    struct redis_request request = {.count = ARRAY_LEN(arguments), .arguments = arguments};
    struct broker_value value;
    redisReply *reply;

    if (!redis_control(redis_broker_of(base), &request, until_ms, &reply, err))
        return false;
    bool found = redis_bucket_value(key, reply, &value);
    if (found)
        see(context, BROKER_SEEN_VALUE, &value);
    redis_reply_free(reply);
    return found || error_set(err, ERROR_NOT_FOUND, "there is no value");
}

/* What a change is about; data is NULL for a deletion. */
struct change {
    const char *bucket, *key;
    const void *data;
    size_t size;
    uint64_t expected;
};

static bool make_change(struct broker *base, const struct change *change, int timeout_ms,
                        uint64_t *out_revision, struct error *err)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + timeout_ms;
    char bucket[REDIS_KEY_SIZE], log[REDIS_KEY_SIZE], expected[24] = "", token[TOKEN_SIZE];
    redisReply *reply;

    if (change->expected != BROKER_ANY)
        snprintf(expected, sizeof(expected), "%" PRIu64, change->expected);
    snprintf(token, sizeof(token), "%08" PRIx32 "%08" PRIx32, id_random(), id_random());
    redis_bucket_key(bucket, change->bucket, "");
    redis_bucket_key(log, change->bucket, ":log");
    const char *arguments[] = {NULL, NULL, bucket, log, change->key, expected, token, change->data};
    const size_t sizes[] = {0,
                            0,
                            strlen(bucket),
                            strlen(log),
                            strlen(change->key),
                            strlen(expected),
                            strlen(token),
                            change->size};
    struct redis_request request = {.script = change->data ? &put_script : &delete_script,
                                    .keys = 2,
                                    .count = (int)ARRAY_LEN(arguments) - !change->data,
                                    .arguments = arguments,
                                    .sizes = sizes};

    if (!redis_control(redis_broker_of(base), &request, until_ms, &reply, err))
        return false;
    *out_revision = reply->str ? strtoull(reply->str, NULL, 10) : 0;
    redis_reply_free(reply);
    return true;
}

// NOLINTNEXTLINE(readability-function-size): the driver interface's parameters
bool redis_state_put(struct broker *base, const char *bucket, const struct broker_value *value,
                     uint64_t expected, int timeout_ms, uint64_t *out_revision, struct error *err)
{
    struct change change = {.bucket = bucket,
                            .key = value->key,
                            .data = value->size ? value->data : "",
                            .size = value->size,
                            .expected = expected};

    return make_change(base, &change, timeout_ms, out_revision, err);
}

bool redis_state_delete(struct broker *base, const char *bucket, const char *key, uint64_t expected,
                        int timeout_ms, struct error *err)
{
    struct change change = {.bucket = bucket, .key = key, .expected = expected};
    uint64_t revision;

    return make_change(base, &change, timeout_ms, &revision, err);
}
