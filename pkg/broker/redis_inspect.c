#include "broker/redis_driver.h"

#include "base/clock.h"
#include "base/memory.h"
#include "broker/redis_lua.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEEK_STEP 1000
#define COUNT_STEP "2000" /* entries that one script looks at */
#define COUNT_MOST 20000  /* entries that are looked at through a filter, */
#define COUNT_SCRIPTS 50  /* by so many scripts */

static int64_t steady_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* ---- lag ---- */

/*
 * KEYS[3]: delays; ARGV: group. Returns how many entries are unread, those that
 * a filter leaves out included (-1: they have to be counted), in flight, delayed, the oldest that
 * is known not to be settled, the id behind which the unread ones are, the filter, and the time.
 * The server's own lag is believed only where it can be right: entries that were cut off in front
 * of the group are in it.
 */
static const struct redis_script lag_script = {
    "lag", REDIS_LUA_STREAM REDIS_LUA_IDS REDIS_LUA_INFO
    "local group = groups()[ARGV[1]] "
    "if not group then return redis.error_reply('NOGROUP there is no such consumer') end "
    "local info = map(redis.call('XINFO', 'STREAM', KEYS[1])) "
    "local at, last = group['last-delivered-id'], info['last-generated-id'] "
    "local unread = group.lag or -1 "
    "if info.length == 0 or not before(at, last) then unread = 0 "
    "elseif before(at, info['first-entry'][1]) then unread = info.length "
    "elseif unread < 0 or unread > info.length then unread = -1 end "
    "local held = group.pending "
    "local delayed = math.min(held, redis.call('ZCARD', KEYS[3])) "
    "local words = redis.call('HGET', KEYS[2], 'group:' .. ARGV[1]) or '' "
    "local filter, oldest = string.match(' ' .. words, ' filter=(%S*)') or '', '' "
    "if group.pending > 0 then"
    "  oldest = redis.call('XPENDING', KEYS[1], ARGV[1])[2] "
    "elseif filter == '' then"
    "  local next_one = redis.call('XRANGE', KEYS[1], '(' .. at, '+', 'COUNT', 1)[1]"
    "  oldest = next_one and next_one[1] or '' "
    "end " REDIS_LUA_NOW "return {unread, held, delayed, oldest, at, filter, now}"};

enum { UNREAD, HELD, DELAYED, OLDEST, AT, FILTER, NOW };

/* ARGV: the id to look behind, at how many at most, a filter or "". Returns how many it looked at,
 * how many of these the filter means, the last one's id, and the first one's that is meant. */
static const struct redis_script count_script = {
    "count", REDIS_LUA_STREAM REDIS_LUA_PIECE REDIS_LUA_WEIGHT
    "local from, looked, meant, first, filter = ARGV[1], 0, 0, '', false "
    "local bytes = 0 "
    "if ARGV[3] ~= '' then"
    "  filter = string.gsub(ARGV[3], '[^%w*>]', '%%%0')"
    "  filter = '^' .. string.gsub(string.gsub(filter, '%*', '[^.]+'), '>', '.+') .. '$' "
    "end "
    "while looked < tonumber(ARGV[2]) and bytes < 524288 do"
    "  local entries = redis.call('XRANGE', KEYS[1], '(' .. from, '+', 'COUNT', piece)"
    "  if #entries == 0 then break end"
    "  for _, entry in ipairs(entries) do"
    "    bytes = bytes + weight(entry)"
    "    if not filter or string.find(entry[2][2], filter) then"
    "      meant = meant + 1"
    "      if first == '' then first = entry[1] end"
    "    end"
    "  end"
    "  looked, from = looked + #entries, entries[#entries][1] "
    "end "
    "return {looked, meant, from, first}"};

/* What was seen behind a group's position. */
struct tally {
    struct redis_broker *broker;
    const char *stream, *filter;
    int64_t until_ms;
    int64_t looked, meant;
    int scripts; /* that have looked */
    char from[BROKER_SEQUENCE_SIZE], first[BROKER_SEQUENCE_SIZE];
};

static bool look_further(struct tally *tally, bool *out_more, struct error *err)
{
    char key[REDIS_KEY_SIZE], meta[REDIS_KEY_SIZE];
    const char *arguments[] = {NULL,
                               NULL,
                               redis_key(key, tally->stream, "", ""),
                               redis_key(meta, tally->stream, ":meta", ""),
                               tally->from,
                               COUNT_STEP,
                               tally->filter};
    struct redis_request request = {&count_script, .keys = 2, .count = ARRAY_LEN(arguments),
                                    .arguments = arguments};
    redisReply *reply;

    if (!redis_control(tally->broker, &request, tally->until_ms, &reply, err))
        return false;
    *out_more = reply->element[0]->integer > 0;
    tally->scripts++;
    tally->looked += reply->element[0]->integer;
    tally->meant += reply->element[1]->integer;
    snprintf(tally->from, sizeof(tally->from), "%s", reply->element[2]->str);
    if (!*tally->first)
        snprintf(tally->first, sizeof(tally->first), "%s", reply->element[3]->str);
    redis_reply_free(reply);
    return true;
}

/*
 * all: how many there are, meant or not; -1: it is not known. Of very many the rest is taken to be
 * like those that were looked at. At until_ms it is what was counted: there are more.
 */
static bool count_unread(struct tally *tally, int64_t all, int64_t *out, struct error *err)
{
    bool more = true;

    while (more && steady_ms() < tally->until_ms &&
           (all < 0 || (tally->looked < COUNT_MOST && tally->scripts < COUNT_SCRIPTS)))
        if (!look_further(tally, &more, err))
            return false;
    *out = tally->meant;
    if (more && all > tally->looked && tally->looked > 0)
        *out += (all - tally->looked) * tally->meant / tally->looked;
    return true;
}

static bool read_lag(struct tally *tally, redisReply *const *parts, struct broker_lag *out,
                     struct error *err)
{
    const char *oldest = parts[OLDEST]->str;

    *out = (struct broker_lag){.unread = parts[UNREAD]->integer,
                               .in_flight = parts[HELD]->integer,
                               .delayed = parts[DELAYED]->integer};
    tally->filter = parts[FILTER]->str;
    snprintf(tally->from, sizeof(tally->from), "%s", parts[AT]->str);
    if ((out->unread < 0 || (out->unread > 0 && *tally->filter)) &&
        !count_unread(tally, out->unread, &out->unread, err))
        return false;
    if (!*oldest)
        oldest = tally->first;
    if (*oldest)
        out->oldest_age_ms = parts[NOW]->integer - strtoll(oldest, NULL, 10);
    if (out->oldest_age_ms < 0)
        out->oldest_age_ms = 0;
    return true;
}

bool redis_lag(struct broker *base, const char *stream, const char *group, int timeout_ms,
               struct broker_lag *out, struct error *err)
{
    struct tally tally = {
        .broker = redis_broker_of(base), .stream = stream, .until_ms = steady_ms() + timeout_ms};
    char key[REDIS_KEY_SIZE], meta[REDIS_KEY_SIZE], delay[REDIS_KEY_SIZE];
    const char *arguments[] = {NULL,
                               NULL,
                               redis_key(key, stream, "", ""),
                               redis_key(meta, stream, ":meta", ""),
                               redis_key(delay, stream, ":delay:", group),
                               group};
    struct redis_request request = {&lag_script, .keys = 3, .count = ARRAY_LEN(arguments),
                                    .arguments = arguments};
    redisReply *reply;

    if (!redis_control(tally.broker, &request, tally.until_ms, &reply, err))
        return false;
    bool known = read_lag(&tally, reply->element, out, err);
    redis_reply_free(reply);
    return known;
}

/* ---- peek ---- */

/* ARGV: from, at most so many. In small pieces, and no more than about 1 MiB. */
static const struct redis_script peek_script = {
    "peek", REDIS_LUA_STREAM REDIS_LUA_PIECE
    "local from, left, bytes, found = ARGV[1], tonumber(ARGV[2]), 0, {} "
    "while left > 0 and bytes < 524288 do"
    "  local entries ="
    "    redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', math.min(left, piece))"
    "  if #entries == 0 then break end"
    "  for _, entry in ipairs(entries) do"
    "    found[#found + 1] = entry"
    "    for _, field in ipairs(entry[2]) do bytes = bytes + #field end"
    "  end"
    "  left, from = left - #entries, '(' .. entries[#entries][1] "
    "end "
    "return found"};

static size_t skip_digits(const char *text)
{
    return strspn(text, "0123456789");
}

bool redis_check_sequence(const char *text, struct error *err)
{
    size_t ms = skip_digits(text);
    const char *rest = text + ms;
    size_t number = *rest == '-' ? skip_digits(rest + 1) : 0;
    bool whole = !*rest || (number > 0 && !rest[1 + number]);

    return (ms > 0 && ms < 20 && number < 20 && whole) ||
           error_set(err, ERROR_INVALID, "'%s' is no sequence", text);
}

static void show(const redisReply *entry, broker_peeked *each, void *context)
{
    struct broker_header *headers =
        memory_alloc((redis_header_count(entry) + 1) * sizeof(*headers));
    struct broker_delivery delivery;

    (void)redis_entry_read(entry, headers, &delivery); /* somebody else's is shown as it is */
    each(context, &delivery);
    free(headers);
}

// NOLINTNEXTLINE(readability-function-size): the driver interface's parameters
bool redis_peek(struct broker *base, const char *stream, const char *from, size_t max,
                broker_peeked *each, void *context, int timeout_ms, struct error *err)
{
    struct redis_broker *broker = redis_broker_of(base);
    int64_t until_ms = steady_ms() + timeout_ms;
    char key[REDIS_KEY_SIZE], meta[REDIS_KEY_SIZE], at[BROKER_SEQUENCE_SIZE + 1], step[24];
    const char *arguments[] = {
        NULL, NULL, redis_key(key, stream, "", ""), redis_key(meta, stream, ":meta", ""), at, step};
    struct redis_request request = {&peek_script, .keys = 2, .count = ARRAY_LEN(arguments),
                                    .arguments = arguments};
    size_t left = max;

    if (*from && !redis_check_sequence(from, err))
        return false;
    snprintf(at, sizeof(at), "%s", *from ? from : "-");
    for (size_t shown = 1; shown > 0 && left > 0; left -= shown) {
        redisReply *found;
        snprintf(step, sizeof(step), "%zu", left < PEEK_STEP ? left : PEEK_STEP);
        if (!redis_control(broker, &request, until_ms, &found, err))
            return false;
        shown = found->elements;
        for (size_t i = 0; i < shown; i++)
            show(found->element[i], each, context);
        if (shown)
            snprintf(at, sizeof(at), "(%s", found->element[shown - 1]->element[0]->str);
        redis_reply_free(found);
    }
    return true;
}
