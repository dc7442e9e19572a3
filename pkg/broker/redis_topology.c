#include "broker/redis_driver.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "broker/redis_lua.h"
#include "broker/redis_settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIM_STEP "1000" /* entries that one script removes */
#define REMOVE_STEP 100

static int64_t steady_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* ---- declare ---- */

/* ARGV: names and values. What is there stays, and is returned: the values of these names. */
static const struct redis_script declare_stream_script = {
    "declare a stream", "if redis.call('EXISTS', KEYS[2]) == 0 then"
                        "  redis.call('HSET', KEYS[2], 'bytes', 0, unpack(ARGV))"
                        "  return {} "
                        "end "
                        "local names = {} "
                        "for i = 1, #ARGV, 2 do names[#names + 1] = ARGV[i] end "
                        "return redis.call('HMGET', KEYS[2], unpack(names))"};

/*
 * ARGV: group, settings. Returns the settings that were there ("": none) and whether the server has
 * the group. What was removed from the front of the stream counts as read, or the server's lag
 * would count it for ever.
 */
static const struct redis_script declare_group_script = {
    "declare a consumer", REDIS_LUA_STREAM REDIS_LUA_INFO
    "local there = groups()[ARGV[1]] and 1 or 0 "
    "local settings = redis.call('HGET', KEYS[2], 'group:' .. ARGV[1]) "
    "if settings then return {settings, there} end "
    "redis.call('HSET', KEYS[2], 'group:' .. ARGV[1], ARGV[2]) "
    "if there == 1 then return {'', 1} end "
    "local removed = 0 "
    "if redis.call('EXISTS', KEYS[1]) == 1 then"
    "  local info = map(redis.call('XINFO', 'STREAM', KEYS[1]))"
    "  removed = info['entries-added'] - info.length "
    "end "
    "redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM', 'ENTRIESREAD', removed) "
    "return {'', 1}"};

static void add_if_differs(const struct redis_setting *wanted, const char *found,
                           struct buffer *differing)
{
    if (strcmp(wanted->value, found) != 0)
        buffer_print(differing, "%s%s", differing->size ? ", " : "", wanted->name);
}

static void report(const struct broker_declaration *declaration, const char *name,
                   const struct buffer *differing)
{
    declaration->report(declaration->context, name, differing->size ? BROKER_DRIFTED : BROKER_SAME,
                        differing->data);
}

static void report_stream(const struct broker_declaration *declaration, const char *name,
                          const struct redis_setting *wanted, const redisReply *found)
{
    AUTO(buffer_free) struct buffer differing = {0};

    buffer_text(&differing, "");
    for (size_t i = 0; i < found->elements; i++)
        add_if_differs(&wanted[i], found->element[i]->str ? found->element[i]->str : "",
                       &differing);
    if (found->elements)
        report(declaration, name, &differing);
    else
        declaration->report(declaration->context, name, BROKER_CREATED, "");
}

/* First its name, then the stream: a name without a stream is passed over, a stream without its
 * name would never be listed. */
static bool note_name(struct redis_broker *broker, const char *name, int64_t until_ms,
                      struct error *err)
{
    const char *arguments[] = {"SADD", REDIS_STREAMS, name};
    struct redis_request request = {.count = ARRAY_LEN(arguments), .arguments = arguments};
    redisReply *reply;

    if (!redis_control(broker, &request, until_ms, &reply, err))
        return false;
    redis_reply_free(reply);
    return true;
}

static bool declare_stream(struct redis_broker *broker, const struct broker_stream *stream,
                           const struct broker_declaration *declaration, int64_t until_ms,
                           struct error *err)
{
    struct redis_setting settings[REDIS_STREAM_SETTINGS];
    char key[REDIS_KEY_SIZE], meta[REDIS_KEY_SIZE];
    const char *arguments[4 + 2 * REDIS_STREAM_SETTINGS] = {
        NULL, NULL, redis_key(key, stream->name, "", ""),
        redis_key(meta, stream->name, ":meta", "")};
    struct redis_request request = {&declare_stream_script, .keys = 2,
                                    .count = ARRAY_LEN(arguments), .arguments = arguments};
    redisReply *found;

    redis_stream_settings(stream, settings);
    for (size_t i = 0; i < REDIS_STREAM_SETTINGS; i++) {
        arguments[4 + 2 * i] = settings[i].name;
        arguments[5 + 2 * i] = settings[i].value;
    }
    bool declared = note_name(broker, stream->name, until_ms, err) &&
                    redis_control(broker, &request, until_ms, &found, err);
    if (declared) {
        report_stream(declaration, stream->name, settings, found);
        redis_reply_free(found);
    }
    redis_settings_free(settings, REDIS_STREAM_SETTINGS);
    return declared || error_wrap(err, "'%s'", stream->name);
}

static void report_group(const struct broker_declaration *declaration, const char *name,
                         const struct redis_setting *wanted, const char *found)
{
    AUTO(buffer_free) struct buffer differing = {0};

    buffer_text(&differing, "");
    for (size_t i = 0; i < REDIS_GROUP_SETTINGS; i++) {
        char *value = redis_word(found, wanted[i].name);
        add_if_differs(&wanted[i], value, &differing);
        free(value);
    }
    report(declaration, name, &differing);
}

/* Recorded but gone from the server: it is made where it was. */
static bool find_group(struct redis_broker *broker, const struct broker_group *group,
                       const redisReply *found, int64_t until_ms, bool *out_created,
                       struct error *err)
{
    *out_created = found->element[0]->len == 0 || found->element[1]->integer == 0;
    return found->element[1]->integer ||
           redis_group_recreate(broker, group->stream, group->name, until_ms, err);
}

static bool declare_group(struct redis_broker *broker, const struct broker_group *group,
                          const struct broker_declaration *declaration, int64_t until_ms,
                          struct error *err)
{
    struct redis_setting settings[REDIS_GROUP_SETTINGS];
    AUTO(buffer_free) struct buffer words = {0};
    char key[REDIS_KEY_SIZE], meta[REDIS_KEY_SIZE];
    redisReply *found;
    bool created, declared = false;

    redis_group_settings(group, settings);
    redis_words_print(settings, REDIS_GROUP_SETTINGS, &words);
    const char *arguments[] = {NULL,
                               NULL,
                               redis_key(key, group->stream, "", ""),
                               redis_key(meta, group->stream, ":meta", ""),
                               group->name,
                               words.data};
    struct redis_request request = {&declare_group_script, .keys = 2, .count = ARRAY_LEN(arguments),
                                    .arguments = arguments};

    if (redis_control(broker, &request, until_ms, &found, err)) {
        declared = find_group(broker, group, found, until_ms, &created, err);
        if (declared && created)
            declaration->report(declaration->context, group->name, BROKER_CREATED, "");
        else if (declared)
            report_group(declaration, group->name, settings, found->element[0]->str);
        redis_reply_free(found);
    }
    redis_settings_free(settings, REDIS_GROUP_SETTINGS);
    return declared || error_wrap(err, "'%s'", group->name);
}

bool redis_declare(struct broker *base, const struct broker_declaration *declaration,
                   int timeout_ms, struct error *err)
{
    struct redis_broker *broker = redis_broker_of(base);
    int64_t until_ms = steady_ms() + timeout_ms;

    for (size_t i = 0; i < declaration->stream_count; i++)
        if (!declare_stream(broker, &declaration->streams[i], declaration, until_ms, err))
            return false;
    for (size_t i = 0; i < declaration->group_count; i++)
        if (!declare_group(broker, &declaration->groups[i], declaration, until_ms, err))
            return false;
    return true;
}

/* ---- a group that is gone ---- */

/*
 * KEYS[3] and [4]: leases and delays; ARGV: group, consumer. A position behind the stream's end is
 * another stream's. How many entries lie before the position is told where it is known; elsewhere
 * the server does not tell a lag until the group has come to the end, and redis_lag counts.
 * What was in flight is pending again. How often it was delivered is gone: once at least.
 */
static const struct redis_script recreate_script = {
    "make a consumer again", REDIS_LUA_STREAM REDIS_LUA_IDS REDIS_LUA_INFO
    "local group = ARGV[1] "
    "if redis.call('HEXISTS', KEYS[2], 'group:' .. group) == 0 then"
    "  return redis.error_reply('NOGROUP it was never declared')"
    "end "
    "if groups()[group] then return 0 end "
    "local at, read = '0-0', 0 "
    "if redis.call('EXISTS', KEYS[1]) == 1 then"
    "  local info = map(redis.call('XINFO', 'STREAM', KEYS[1]))"
    "  local position = redis.call('HGET', KEYS[2], 'position:' .. group) or at"
    "  local first, last = info['first-entry'], info['last-generated-id']"
    "  if not before(last, position) then at = position end"
    "  read = info['entries-added'] - info.length"
    "  if at == last then read = info['entries-added']"
    "  elseif first and not before(at, first[1]) then read = nil end "
    "end "
    "redis.call('XGROUP', 'CREATE', KEYS[1], group, at, 'MKSTREAM', 'ENTRIESREAD', read or -1) "
    "for _, key in ipairs({KEYS[3], KEYS[4]}) do"
    "  for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do"
    "    redis.call('XCLAIM', KEYS[1], group, ARGV[2], 0, id, 'RETRYCOUNT', 1, 'FORCE', 'JUSTID')"
    "  end "
    "end "
    "return 1"};

bool redis_group_recreate(struct redis_broker *broker, const char *stream, const char *group,
                          int64_t until_ms, struct error *err)
{
    char key[REDIS_KEY_SIZE], meta[REDIS_KEY_SIZE], lease[REDIS_KEY_SIZE], delay[REDIS_KEY_SIZE];
    const char *arguments[] = {NULL,
                               NULL,
                               redis_key(key, stream, "", ""),
                               redis_key(meta, stream, ":meta", ""),
                               redis_key(lease, stream, ":lease:", group),
                               redis_key(delay, stream, ":delay:", group),
                               group,
                               REDIS_CONSUMER};
    struct redis_request request = {&recreate_script, .keys = 4, .count = ARRAY_LEN(arguments),
                                    .arguments = arguments};
    redisReply *reply;

    if (!redis_control(broker, &request, until_ms, &reply, err))
        return error_wrap(err, "make consumer '%s' again", group);
    redis_reply_free(reply);
    return true;
}

/* ---- trim ---- */

/*
 * ARGV: keep_ms, entries. Returns how many went. Nothing goes while a declared group is missing:
 * only its making says where it is. Entries are read in small pieces: one may be of 1 MiB.
 */
static const struct redis_script trim_script = {
    "trim", REDIS_LUA_STREAM REDIS_LUA_IDS REDIS_LUA_INFO REDIS_LUA_WEIGHT
    "local length = redis.call('XLEN', KEYS[1]) "
    "if length == 0 then"
    "  redis.call('HSET', KEYS[2], 'bytes', 0)"
    "  return 0 "
    "end "
    "local found, floor = groups(), nil "
    "for _, member in ipairs(redis.call('HKEYS', KEYS[2])) do"
    "  local name = string.match(member, '^group:(.*)$')"
    "  if name and not found[name] then return 0 end "
    "end "
    "for name, group in pairs(found) do"
    "  local first = behind(group['last-delivered-id'])"
    "  if group.pending > 0 then"
    "    local pending = redis.call('XPENDING', KEYS[1], name)[2]"
    "    if before(pending, first) then first = pending end"
    "  end"
    "  if not floor or before(first, floor) then floor = first end "
    "end " REDIS_LUA_NOW "local limit = string.format('%.0f-0', math.max(now - ARGV[1] + 1, 0)) "
    "local meta = redis.call('HMGET', KEYS[2], 'bytes', 'max_bytes') "
    "local bytes = tonumber(meta[1]) or 0 "
    "local crowded = floor and bytes * 2 > (tonumber(meta[2]) or math.huge) "
    "if floor and (crowded or before(floor, limit)) then limit = floor end "
    "local piece = math.max(1, math.min(100, math.floor(262144 * length / (bytes + 1)))) "
    "local from, gone, freed, last = '-', 0, 0, nil "
    "while gone < tonumber(ARGV[2]) and freed < 4194304 do"
    "  local entries = redis.call('XRANGE', KEYS[1], from, '(' .. limit, 'COUNT', piece)"
    "  if #entries == 0 then break end"
    "  for _, entry in ipairs(entries) do freed = freed + weight(entry) end"
    "  gone, last = gone + #entries, entries[#entries][1]"
    "  from = '(' .. last "
    "end "
    "if not last then return 0 end "
    "redis.call('XTRIM', KEYS[1], 'MINID', '=', behind(last)) "
    "redis.call('HINCRBY', KEYS[2], 'bytes', 0 - math.min(freed, bytes)) "
    "return gone"};

/* What there is no time for waits for the next trim. */
bool redis_trim(struct broker *base, const char *stream, int64_t keep_ms, int timeout_ms,
                struct error *err)
{
    struct redis_broker *broker = redis_broker_of(base);
    int64_t until_ms = steady_ms() + timeout_ms;
    char key[REDIS_KEY_SIZE], meta[REDIS_KEY_SIZE], keep[24];
    const char *arguments[] = {
        NULL, NULL,     redis_key(key, stream, "", ""), redis_key(meta, stream, ":meta", ""),
        keep, TRIM_STEP};
    struct redis_request request = {&trim_script, .keys = 2, .count = ARRAY_LEN(arguments),
                                    .arguments = arguments};
    redisReply *reply;
    bool more = true;

    snprintf(keep, sizeof(keep), "%" PRId64, keep_ms);
    while (more) {
        if (!redis_control(broker, &request, until_ms, &reply, err))
            return false;
        more = reply->integer > 0 && steady_ms() < until_ms;
        redis_reply_free(reply);
    }
    return true;
}

/* ---- remove ---- */

/* ARGV: ids. False (nil): the stream has groups. Lua's -0 would be no integer to Redis. */
static const struct redis_script remove_script = {
    "remove messages", REDIS_LUA_STREAM REDIS_LUA_INFO REDIS_LUA_WEIGHT
    "if next(groups()) then return false end "
    "for _, member in ipairs(redis.call('HKEYS', KEYS[2])) do"
    "  if string.match(member, '^group:') then return false end "
    "end "
    "local bytes, freed = tonumber(redis.call('HGET', KEYS[2], 'bytes')) or 0, 0 "
    "for _, id in ipairs(ARGV) do"
    "  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]"
    "  if entry then"
    "    freed = freed + weight(entry)"
    "    redis.call('XDEL', KEYS[1], entry[1])"
    "  end "
    "end "
    "redis.call('HINCRBY', KEYS[2], 'bytes', 0 - math.min(freed, bytes)) "
    "return 1"};

static bool remove_some(struct redis_broker *broker, const char *stream,
                        const char *const *sequences, size_t count, int64_t until_ms,
                        struct error *err)
{
    char key[REDIS_KEY_SIZE], meta[REDIS_KEY_SIZE];
    const char *arguments[4 + REMOVE_STEP] = {NULL, NULL, redis_key(key, stream, "", ""),
                                              redis_key(meta, stream, ":meta", "")};
    struct redis_request request = {&remove_script, .keys = 2, .count = (int)(4 + count),
                                    .arguments = arguments};
    redisReply *reply;

    for (size_t i = 0; i < count; i++)
        arguments[4 + i] = sequences[i];
    if (!redis_control(broker, &request, until_ms, &reply, err))
        return false;
    bool removed = reply->type == REDIS_REPLY_INTEGER;
    redis_reply_free(reply);
    return removed || error_input(err, "has_consumers", "", "the stream has consumers");
}

// NOLINTNEXTLINE(readability-function-size): the driver interface's parameters
bool redis_remove(struct broker *base, const char *stream, const char *const *sequences,
                  size_t count, int timeout_ms, struct error *err)
{
    struct redis_broker *broker = redis_broker_of(base);
    int64_t until_ms = steady_ms() + timeout_ms;

    for (size_t i = 0; i < count; i++)
        if (!redis_check_sequence(sequences[i], err))
            return false;
    for (size_t i = 0; i < count; i += REMOVE_STEP)
        if (!remove_some(broker, stream, sequences + i,
                         count - i < REMOVE_STEP ? count - i : REMOVE_STEP, until_ms, err))
            return false;
    return true;
}
