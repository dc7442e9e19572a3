#include "broker/redis_consumer.h"

#include "base/clock.h"
#include "base/memory.h"
#include "broker/redis_lua.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCRIPT_MESSAGES 128 /* that one script hands out: a millisecond of the server's */
#define FIRST_MESSAGES 32   /* of a larger batch, to learn how the rest is to be read */
#define BULK_MESSAGES 256   /* of a transaction */
#define BULK_LEAST 4
#define AHEAD_LEAST 256 /* messages of a batch, for the next one to be read ahead */
#define AHEAD_OWED 24   /* replies that the server owes; then it is asked for no more ahead */
#define BULKS_AT_ONCE 8
#define SCRIPT_BYTES ((size_t)1024 * 1024)  /* of a script: three milliseconds of the server's */
#define BYTES_MAX ((size_t)8 * 1024 * 1024) /* of a batch, when the caller wants more */
#define STEP_MS 500   /* without news; what another instance gives back rings no bell */
#define GRACE_MS 50   /* for a reply that is on its way when the fetch is over */
#define POLL_MS 25    /* while the group is full: nothing tells when it is not any more */
#define REFUSED_MS 50 /* after a refusal that passes */
#define LISTEN_MS 10000
#define LISTEN_LOST_MS 15000

/* unread(ids): what was read last, in this script or transaction, is new again. */
#define LUA_UNREAD                                                                                 \
    "local function unread(ids)"                                                                   \
    "  local ms, n = parts(ids[1])"                                                                \
    "  local from = string.format('%.0f-%.0f', ms, n - 1)"                                         \
    "  if n == 0 then from = string.format('%.0f-18446744073709551615', ms - 1) end"               \
    "  local read = groups()[ARGV[1]]['entries-read']"                                             \
    "  redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))"                                          \
    "  if read then"                                                                               \
    "    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], from, 'ENTRIESREAD', read - #ids)"        \
    "  else"                                                                                       \
    "    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], from)"                                    \
    "  end "                                                                                       \
    "end "

/*
 * tell_place(): what was read last, in this script or transaction, was read. The server writes into
 * its append-only file how far a group has read and not how many entries that were (7.0), so that
 * after a restart the lag that it tells, and autoscalers read, would be too high for ever.
 */
#define LUA_PLACE                                                                                  \
    "local function tell_place()"                                                                  \
    "  local found = groups()[ARGV[1]]"                                                            \
    "  if not found['entries-read'] then return end"                                               \
    "  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], found['last-delivered-id'],"                \
    "             'ENTRIESREAD', found['entries-read'])"                                           \
    "end "

/* ack_wait and cap, out of `words`: the group's settings behind a space. */
#define LUA_SETTINGS                                                                               \
    "local ack_wait = tonumber(string.match(words, ' ack_wait_ms=(%d+)')) or 30000 "               \
    "local cap = tonumber(string.match(words, ' max_in_flight=(%d+)')) or 1 "

/*
 * ARGV: group, holder, messages, bytes, least.
 *
 * Hands out what is due, then what is new. At least `least` messages are handed out whatever their
 * size; what was read beyond the bytes is unread again. So the reading begins with a few and goes
 * by the largest so far.
 *
 * An entry that is leased but not pending was settled while its lease was being removed; one that
 * is pending and cannot be claimed has lost its bytes. What the filter leaves out is settled here.
 */
static const struct redis_script fetch_script = {
    "fetch", REDIS_LUA_WHEN_FULL REDIS_LUA_IDS REDIS_LUA_INFO LUA_UNREAD LUA_PLACE
    "local stream, meta, lease, delay, group = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1] "
    "local holder, want, budget, least = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]),"
    "  tonumber(ARGV[5]) "
    "local told = redis.call('HMGET', meta, 'group:' .. group, 'largest') "
    "local words = told[1] "
    "if not words then " REDIS_LUA_STREAM
    "  return redis.error_reply('NOGROUP there is no such consumer') "
    "end "
    "words = ' ' .. words " LUA_SETTINGS REDIS_LUA_NOW
    "local filter = string.match(words, ' filter=(%S+)') "
    "local entries, attempts, leases, lost, count, bytes = {}, {}, {}, {}, 0, 0 "
    "local largest, spent = 1, false "

    "if filter then"
    "  filter = string.gsub(filter, '[^%w*>]', '%%%0')"
    "  filter = '^' .. string.gsub(string.gsub(filter, '%*', '[^.]+'), '>', '.+') .. '$' "
    "end "

    "local function take(entry)"
    "  local fields, size = entry[2], 0"
    "  for i = 2, #fields, 2 do size = size + #fields[i] end"
    "  if size > largest then largest = size end"
    "  if spent or (count >= least and bytes + size > budget) then"
    "    spent = true"
    "    return false"
    "  end"
    "  count, bytes = count + 1, bytes + size"
    "  entries[count] = entry"
    "  return true "
    "end "

    "local due = redis.call('ZRANGEBYSCORE', lease, '-inf', now, 'LIMIT', 0, want) "
    "local late = redis.call('ZRANGEBYSCORE', delay, '-inf', now, 'LIMIT', 0, want) "
    "for _, id in ipairs(late) do due[#due + 1] = id end "
    "table.sort(due, before) "
    "for _, id in ipairs(due) do"
    "  if count == want or spent then break end"
    "  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]"
    "  local entry = pending and redis.call('XCLAIM', stream, group, holder, 0, id)[1]"
    "  if not entry then"
    "    redis.call('ZREM', lease, id)"
    "    redis.call('ZREM', delay, id)"
    "    if pending then"
    "      redis.call('XACK', stream, group, id)"
    "      lost[#lost + 1] = id"
    "    end"
    "  elseif take(entry) then"
    "    attempts[count] = pending[4] + 1"
    "    redis.call('ZREM', delay, id)"
    "    redis.call('ZADD', lease, now + ack_wait, id)"
    "  else"
    "    redis.call('XCLAIM', stream, group, holder, 0, id, 'RETRYCOUNT', pending[4], 'JUSTID')"
    "  end "
    "end "

    "local room = cap - redis.call('ZCARD', lease) - redis.call('ZCARD', delay) "
    "local step, looked, left, last = 4, 0, true, nil "
    "if (tonumber(told[2]) or 0) * step > budget then step = 1 end "
    "while left and not spent and room > 0 and count < want and looked < 1024 do"
    "  local fitting = math.floor((budget - bytes) / largest)"
    "  if fitting < 1 and count >= least then"
    "    spent = true"
    "    break"
    "  end"
    "  local size = math.max(1, math.min(step, want - count, room, fitting))"
    "  local got = redis.call('XREADGROUP', 'GROUP', group, holder, 'COUNT', size,"
    "    'STREAMS', stream, '>')"
    "  got = got and got[1][2] or {}"
    "  local others, surplus = {}, {}"
    "  for _, entry in ipairs(got) do"
    "    local id = entry[1]"
    "    if #surplus == 0 and filter and not string.find(entry[2][2] or '', filter) then"
    "      others[#others + 1] = id"
    "      last = id"
    "    elseif #surplus == 0 and take(entry) then"
    "      leases[#leases + 1] = now + ack_wait"
    "      leases[#leases + 1] = id"
    "      room = room - 1"
    "      last = id"
    "    else"
    "      surplus[#surplus + 1] = id"
    "    end"
    "  end"
    "  if #others > 0 then redis.call('XACK', stream, group, unpack(others)) end"
    "  if #surplus > 0 then unread(surplus) end"
    "  looked, left, step = looked + #got, #got == size, step * 4 "
    "end "
    "if #leases > 0 then redis.call('ZADD', lease, unpack(leases)) end "
    "if last then"
    "  redis.call('HSET', meta, 'position:' .. group, last)"
    "  tell_place() "
    "end "

    "local more = count == want or spent or #due >= want or (left and looked >= 1024) "
    "local wait, newest = -1, '' "
    "if count == 0 and not more then"
    "  for _, key in ipairs({lease, delay}) do"
    "    local score = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])"
    "    if score and (wait < 0 or score - now < wait) then wait = math.max(0, score - now) end"
    "  end"
    "  local found = groups()[group]"
    "  if room > 0 and found then newest = found['last-delivered-id'] end "
    "end "
    "local most = last and not filter and tonumber(told[2]) or 0 "
    "return {more and 1 or 0, wait, ack_wait, room, most, newest, lost, attempts, entries}"};

/* What fetch_script returns; LARGEST is 0 where reading in bulk is not possible. */
enum { MORE, WAIT, ACK_WAIT, ROOM, LARGEST, POSITION, LOST, ATTEMPTS, ENTRIES, PARTS };

/*
 * ARGV: group, holder. In one transaction behind an XREADGROUP: leases what that has read, which is
 * what is pending behind the recorded position; more than the group may hold is unread again.
 * Returns how many stay. The messages themselves do not go through Lua, which would be most of the
 * work with them.
 */
static const struct redis_script lease_script = {
    "lease", REDIS_LUA_WHEN_FULL REDIS_LUA_IDS REDIS_LUA_INFO LUA_UNREAD LUA_PLACE
    "local stream, meta, lease, delay, group = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1] "
    "local told = redis.call('HMGET', meta, 'group:' .. group, 'position:' .. group) "
    "local words, position = ' ' .. (told[1] or ''), told[2] or '0-0' " LUA_SETTINGS
    "local new = redis.call('XPENDING', stream, group, '(' .. position, '+', 10000, ARGV[2]) "
    "local room = cap - redis.call('ZCARD', lease) - redis.call('ZCARD', delay) "
    "local kept = math.max(0, math.min(#new, room)) "
    "if kept < #new then"
    "  local surplus = {}"
    "  for i = kept + 1, #new do surplus[#surplus + 1] = new[i][1] end"
    "  unread(surplus) "
    "end "
    "if kept == 0 then return 0 end " REDIS_LUA_NOW "local leases = {} "
    "for i = 1, kept do"
    "  leases[2 * i - 1], leases[2 * i] = now + ack_wait, new[i][1] "
    "end "
    "redis.call('ZADD', lease, unpack(leases)) "
    "redis.call('HSET', meta, 'position:' .. group, new[kept][1]) "
    "tell_place() "
    "return kept"};

/*
 * ARGV: group, from. Pending entries without a lease get one; returns where to go on, "": that was
 * all. What an older client or a person read and left would be lost otherwise. A lease that ends
 * later than one that begins now is of before the server's clock was put back.
 */
static const struct redis_script adopt_script = {
    "adopt", REDIS_LUA_WHEN_FULL
    "local stream, lease, delay, group = KEYS[1], KEYS[3], KEYS[4], ARGV[1] "
    "local words = ' ' .. (redis.call('HGET', KEYS[2], 'group:' .. group) or '') " LUA_SETTINGS
        REDIS_LUA_NOW "local ends, ids = now + ack_wait, {} "
    "local late = redis.call('ZRANGEBYSCORE', lease, '(' .. ends, '+inf', 'LIMIT', 0, 500) "
    "for _, id in ipairs(late) do redis.call('ZADD', lease, ends, id) end "
    "if redis.call('XPENDING', stream, group)[1] <="
    "  redis.call('ZCARD', lease) + redis.call('ZCARD', delay) then return '' end "
    "for _, one in ipairs(redis.call('XPENDING', stream, group, ARGV[2], '+', 500)) do"
    "  ids[#ids + 1] = one[1] "
    "end "
    "if #ids == 0 then return '' end "
    "local leased = redis.call('ZMSCORE', lease, unpack(ids)) "
    "local delayed = redis.call('ZMSCORE', delay, unpack(ids)) "
    "for i, id in ipairs(ids) do"
    "  if not leased[i] and not delayed[i] then redis.call('ZADD', lease, ends, id) end "
    "end "
    "return #ids == 500 and '(' .. ids[500] or ''"};

/* ---- what came ---- */

static void *grow(void *array, size_t *room, size_t count, size_t size)
{
    if (count <= *room)
        return array;
    while (*room < count)
        *room = *room ? *room * 2 : 16;
    return memory_resize(array, *room * size);
}

static size_t count_headers(const redisReply *entries)
{
    size_t count = 0;

    for (size_t i = 0; i < entries->elements; i++)
        count += redis_header_count(entries->element[i]);
    return count;
}

static size_t count_bytes(const redisReply *entry)
{
    const redisReply *fields = entry->elements == 2 ? entry->element[1] : entry;
    size_t bytes = 0;

    for (size_t i = 0; i < fields->elements; i++)
        bytes += fields->element[i]->len;
    return bytes;
}

/* Attempts are told of redeliveries alone, which come first; NULL: there are none. */
static unsigned attempt_of(const redisReply *attempts, size_t i)
{
    return attempts && i < attempts->elements ? (unsigned)attempts->element[i]->integer : 1;
}

static void read_entries(struct redis_consumer *consumer, const redisReply *entries, size_t count,
                         const redisReply *attempts, struct broker_header *headers)
{
    consumer->held = grow(consumer->held, &consumer->held_room, consumer->held_count + count,
                          sizeof(*consumer->held));
    for (size_t i = 0; i < count; i++) {
        struct broker_delivery *delivery = &consumer->held[consumer->held_count++];
        (void)redis_entry_read(entries->element[i], headers, delivery); /* told as far as it goes */
        delivery->attempt = attempt_of(attempts, i);
        headers += delivery->header_count;
        consumer->got_bytes += count_bytes(entries->element[i]);
    }
}

/* Keeps the reply and the first count of its entries. */
static void hold(struct redis_consumer *consumer, redisReply *reply, const redisReply *entries,
                 size_t count, const redisReply *attempts)
{
    consumer->hauls = grow(consumer->hauls, &consumer->haul_room, consumer->haul_count + 1,
                           sizeof(*consumer->hauls));
    struct redis_haul *haul = &consumer->hauls[consumer->haul_count++];
    *haul = (struct redis_haul){
        .reply = reply,
        .headers = memory_alloc((count_headers(entries) + 1) * sizeof(*haul->headers)),
        .left = count};
    read_entries(consumer, entries, count, attempts, haul->headers);
}

static void tell_lost(struct redis_consumer *consumer, const redisReply *lost)
{
    const struct broker_group *group = consumer->base.group;
    char detail[400];

    for (size_t i = 0; i < lost->elements; i++) {
        snprintf(detail, sizeof(detail), "%s of %s, for %s", lost->element[i]->str, group->stream,
                 group->name);
        broker_observe(consumer->base.broker, BROKER_LOST, detail);
    }
}

static void learn(struct redis_consumer *consumer, redisReply *const *parts)
{
    long long wait_ms = parts[WAIT]->integer;

    consumer->more = parts[MORE]->integer != 0;
    consumer->next_ms = wait_ms < 0 ? INT64_MAX : redis_now_ms() + wait_ms;
    consumer->ack_wait_ms = parts[ACK_WAIT]->integer;
    consumer->room = parts[ROOM]->integer;
    consumer->largest = (size_t)parts[LARGEST]->integer;
    snprintf(consumer->position, sizeof(consumer->position), "%s", parts[POSITION]->str);
    tell_lost(consumer, parts[LOST]);
}

/* The reply of a transaction: what XREADGROUP says, of one stream, or nil; and lease_script. */
static const redisReply *bulk_entries(const redisReply *reply)
{
    const redisReply *streams = reply->elements == 2 ? reply->element[0] : NULL;

    if (!streams || streams->type != REDIS_REPLY_ARRAY || streams->elements != 1 ||
        streams->element[0]->elements != 2)
        return NULL;
    return streams->element[0]->element[1];
}

static const redisReply *refusal_in(const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR)
        return reply;
    for (size_t i = 0; reply->elements == 2 && i < 2; i++)
        if (reply->element[i]->type == REDIS_REPLY_ERROR)
            return reply->element[i];
    return NULL;
}

/* The first one says why: what follows in the transaction is only that it is discarded. */
void redis_note_refusal(struct redis_consumer *consumer, const redisReply *reply)
{
    if (!consumer->is_refused)
        redis_refusal(reply, &consumer->refusal, &consumer->refusal_passes);
    consumer->is_refused = true;
}

void redis_take_in(struct redis_consumer *consumer, redisReply *reply, int64_t leased_ms)
{
    const redisReply *refusal = refusal_in(reply), *entries = NULL, *attempts = NULL;
    size_t count = 0;

    consumer->more = false;
    if (refusal) {
        redis_note_refusal(consumer, refusal);
    } else if (reply->elements == PARTS) {
        learn(consumer, reply->element);
        entries = reply->element[ENTRIES];
        attempts = reply->element[ATTEMPTS];
        count = entries->elements;
    } else if ((entries = bulk_entries(reply))) {
        size_t kept = (size_t)reply->element[1]->integer;
        count = kept < entries->elements ? kept : entries->elements;
        consumer->more = count == consumer->bulk;
        consumer->room -= (int64_t)count;
    }
    if (count == 0) {
        redis_reply_free(reply);
        return;
    }
    hold(consumer, reply, entries, count, attempts);
    consumer->hauls[consumer->haul_count - 1].leased_ms = leased_ms;
}

/* ---- batches ---- */

/* Replies whose last message was settled go; what is read ahead moves to the front. */
void redis_release(struct redis_consumer *consumer)
{
    size_t over = 0;

    consumer->base.batch_count = 0;
    while (over < consumer->haul_count && consumer->hauls[over].left == 0) {
        redis_reply_free(consumer->hauls[over].reply);
        free(consumer->hauls[over++].headers);
    }
    consumer->haul_count -= over;
    if (over && consumer->haul_count)
        memmove(consumer->hauls, consumer->hauls + over,
                consumer->haul_count * sizeof(*consumer->hauls));
    consumer->held_count -= consumer->held_first;
    if (consumer->held_first && consumer->held_count)
        memmove(consumer->held, consumer->held + consumer->held_first,
                consumer->held_count * sizeof(*consumer->held));
    consumer->held_first = 0;
}

/* The reply that the next message is of, behind those that are passed over; NULL: there is none. */
static struct redis_haul *next_haul(struct redis_consumer *consumer)
{
    int64_t oldest_ms = redis_now_ms() - consumer->ack_wait_ms;

    for (size_t i = 0; i < consumer->haul_count; i++) {
        struct redis_haul *haul = &consumer->hauls[i];
        if (haul->left && haul->leased_ms > oldest_ms)
            return haul;
        consumer->held_first += haul->left;
        haul->left = 0;
    }
    return NULL;
}

void redis_pass_over_ended(struct redis_consumer *consumer)
{
    (void)next_haul(consumer);
}

/* What is held, up to max and max_bytes; true: there was something. */
static bool take(struct redis_consumer *consumer, size_t max, size_t max_bytes)
{
    struct broker_consumer *base = &consumer->base;
    size_t bytes = 0, held = consumer->held_count - consumer->held_first;
    struct redis_haul *haul;

    base->batch =
        grow(base->batch, &consumer->batch_room, held < max ? held : max, sizeof(*base->batch));
    while (base->batch_count < max && (haul = next_haul(consumer))) {
        const struct broker_delivery *next = &consumer->held[consumer->held_first];
        if (base->batch_count && bytes + next->size > max_bytes)
            break;
        base->batch[base->batch_count++] = *next;
        bytes += next->size;
        consumer->held_first++;
        haul->left--;
    }
    return base->batch_count > 0;
}

/* ---- looking ---- */

static void ask(struct redis_consumer *consumer, size_t max, size_t max_bytes, bool at_least_one)
{
    char messages[REDIS_ID_SIZE], bytes[REDIS_ID_SIZE];
    const char *arguments[] = {REDIS_CONSUMER, messages, bytes, at_least_one ? "1" : "0"};

    snprintf(messages, sizeof(messages), "%zu", max < SCRIPT_MESSAGES ? max : SCRIPT_MESSAGES);
    snprintf(bytes, sizeof(bytes), "%zu", max_bytes < SCRIPT_BYTES ? max_bytes : SCRIPT_BYTES);
    redis_consumer_run(consumer, REDIS_FETCHED, &fetch_script, ARRAY_LEN(arguments), arguments);
}

static void adopt_orphans(struct redis_consumer *consumer)
{
    const char *arguments[] = {consumer->adopt_from};

    if (redis_now_ms() < consumer->adopt_ms)
        return;
    redis_consumer_run(consumer, REDIS_ADOPTED, &adopt_script, ARRAY_LEN(arguments), arguments);
    consumer->adopt_ms = INT64_MAX;
}

static bool hear_fetches(struct redis_consumer *consumer, int64_t until_ms, struct error *err)
{
    while (consumer->fetches_expected)
        if (!redis_consumer_hear(consumer, until_ms + GRACE_MS, err))
            return false;
    return true;
}

/* Reads and leases in one transaction, whose messages do not go through Lua. */
static void ask_bulk(struct redis_consumer *consumer, size_t count)
{
    const char *begin[] = {"MULTI"}, *end[] = {"EXEC"}, *holder[] = {REDIS_CONSUMER};
    char number[REDIS_ID_SIZE];
    const char *read[] = {"XREADGROUP",
                          "GROUP",
                          consumer->base.group->name,
                          REDIS_CONSUMER,
                          "COUNT",
                          number,
                          "STREAMS",
                          consumer->stream_key,
                          ">"};

    snprintf(number, sizeof(number), "%zu", count);
    redis_consumer_ask(consumer, REDIS_QUEUED, ARRAY_LEN(begin), begin);
    redis_consumer_ask(consumer, REDIS_QUEUED, ARRAY_LEN(read), read);
    redis_consumer_run(consumer, REDIS_QUEUED, &lease_script, ARRAY_LEN(holder), holder);
    redis_consumer_ask(consumer, REDIS_FETCHED, ARRAY_LEN(end), end);
}

/* How many messages fit whatever their size, and may be held. */
static size_t count_fitting(const struct redis_consumer *consumer, size_t left, size_t bytes_left)
{
    size_t room = consumer->room > 0 ? (size_t)consumer->room : 0;
    size_t fitting = consumer->largest ? bytes_left / consumer->largest : 0;

    room = room < left ? room : left;
    return room < fitting ? room : fitting;
}

/* As many as fit, in bulks of one size; false: too few for that. */
static bool ask_bulks(struct redis_consumer *consumer, size_t left, size_t bytes_left)
{
    size_t fitting = count_fitting(consumer, left, bytes_left);
    size_t bulks = (fitting + BULK_MESSAGES - 1) / BULK_MESSAGES;

    if (fitting < BULK_LEAST)
        return false;
    bulks = bulks < BULKS_AT_ONCE ? bulks : BULKS_AT_ONCE;
    consumer->bulk = fitting / bulks < BULK_MESSAGES ? fitting / bulks : BULK_MESSAGES;
    for (size_t i = 0; i < bulks; i++)
        ask_bulk(consumer, consumer->bulk);
    return true;
}

/* The rest of a large batch, most of it at once. */
static void ask_for_rest(struct redis_consumer *consumer, size_t max, size_t max_bytes)
{
    size_t left = max - consumer->held_count, bytes_left = max_bytes - consumer->got_bytes;

    if (!ask_bulks(consumer, left, bytes_left))
        ask(consumer, left, bytes_left, false);
}

/*
 * How many messages are read ahead; 0: none. Only where more is known to be there, and half of what
 * the group may still hold is left alone, so that nothing is kept from instances that have nothing
 * to do.
 */
static size_t count_ahead(const struct redis_consumer *consumer, size_t max)
{
    size_t ahead = consumer->held_count - consumer->held_first;
    size_t share = consumer->room > 0 ? (size_t)consumer->room / 2 : 0;
    bool wanted = consumer->more && consumer->base.batch_count >= AHEAD_LEAST && ahead < max / 2;

    if (!wanted || consumer->fetches_expected || consumer->expected_count > AHEAD_OWED)
        return 0;
    return max - ahead < share ? max - ahead : share;
}

/* While a large batch is worked on, the server hands out the next one: otherwise either would wait
 * for the other. */
static void read_ahead(struct redis_consumer *consumer, size_t max, size_t max_bytes)
{
    size_t count = count_ahead(consumer, max);
    size_t first = count < FIRST_MESSAGES ? count : FIRST_MESSAGES;
    size_t first_bytes = first * consumer->largest;
    struct error ignored; /* the next fetch meets it too */

    if (count == 0 || !redis_consumer_ready(consumer, redis_now_ms(), &ignored))
        return;
    consumer->is_refused = false;
    consumer->got_bytes = 0;
    ask(consumer, first, max_bytes, true);
    if (first_bytes < max_bytes)
        (void)ask_bulks(consumer, count - first, max_bytes - first_bytes);
    (void)!redis_consumer_send(consumer, &ignored);
}

/* What was read ahead is as good as here: a short wait for it makes a batch of one out of many. */
static void hear_ahead(struct redis_consumer *consumer, int64_t until_ms)
{
    int64_t soon_ms = redis_now_ms() + GRACE_MS;
    struct error ignored;

    (void)!hear_fetches(consumer, (soon_ms < until_ms ? soon_ms : until_ms) - GRACE_MS, &ignored);
}

/* Brings what there is, into held. */
static bool look(struct redis_consumer *consumer, size_t max, size_t max_bytes, int64_t until_ms,
                 struct error *err)
{
    size_t before;

    consumer->is_refused = false;
    consumer->got_bytes = 0;
    if (!redis_consumer_ready(consumer, until_ms, err))
        return false;
    if (!consumer->fetches_expected) {
        adopt_orphans(consumer);
        ask(consumer, max > SCRIPT_MESSAGES ? FIRST_MESSAGES : max, max_bytes, true);
    }
    do {
        before = consumer->held_count;
        if (!hear_fetches(consumer, until_ms, err))
            return false;
        bool room = consumer->held_count < max && consumer->got_bytes < max_bytes;
        if (consumer->more && room && consumer->held_count > before)
            ask_for_rest(consumer, max, max_bytes);
    } while (consumer->fetches_expected);
    return true;
}

/* ---- waiting ---- */

/* Until it is woken or until_ms. */
static void pause_until(struct redis_consumer *consumer, int64_t until_ms)
{
    pthread_mutex_lock(&consumer->lock);
    while (!consumer->woken && clock_wait(&consumer->wakened, &consumer->lock, until_ms))
        continue;
    pthread_mutex_unlock(&consumer->lock);
}

static bool is_woken(struct redis_consumer *consumer)
{
    pthread_mutex_lock(&consumer->lock);
    bool woken = consumer->woken;
    pthread_mutex_unlock(&consumer->lock);
    return woken;
}

/* One read may outlast several fetches; it rings for everything behind its position. */
static void start_listening(struct redis_consumer *consumer)
{
    char block[REDIS_ID_SIZE];
    const char *arguments[] = {
        "XREAD", "COUNT", "1", "BLOCK", block, "STREAMS", consumer->stream_key, consumer->position};

    snprintf(block, sizeof(block), "%d", LISTEN_MS);
    redis_link_append(consumer->doorbell, ARRAY_LEN(arguments), arguments, NULL);
    consumer->listening = true;
    consumer->listening_ms = redis_now_ms();
}

/* Until there is a new entry, or until_ms, or until it is woken. */
static void listen(struct redis_consumer *consumer, int64_t until_ms)
{
    struct error err;
    redisReply *reply;

    if (consumer->listening && redis_now_ms() - consumer->listening_ms > LISTEN_LOST_MS) {
        redis_link_drop(consumer->doorbell);
        consumer->listening = false;
    }
    if (!redis_link_ready(consumer->doorbell, until_ms, &err))
        return;
    if (!consumer->listening)
        start_listening(consumer);
    if (redis_link_wait(consumer->doorbell, until_ms, &reply, &err)) {
        bool refused = reply->type == REDIS_REPLY_ERROR;
        redis_reply_free(reply);
        consumer->listening = false;
        if (refused)
            pause_until(consumer, redis_now_ms() + REFUSED_MS);
    } else if (err.code != ERROR_TIMEOUT && !redis_is_woken(&err)) {
        consumer->listening = false;
        pause_until(consumer, redis_now_ms() + POLL_MS);
    }
}

static void wait_for_more(struct redis_consumer *consumer, int64_t until_ms)
{
    int64_t now_ms = redis_now_ms(), next_ms = now_ms + STEP_MS;

    next_ms = consumer->next_ms < next_ms ? consumer->next_ms : next_ms;
    if (!*consumer->position && next_ms > now_ms + POLL_MS)
        next_ms = now_ms + POLL_MS;
    next_ms = until_ms < next_ms ? until_ms : next_ms;
    if (*consumer->position)
        listen(consumer, next_ms);
    else
        pause_until(consumer, next_ms);
}

/* ---- fetch ---- */

static bool recreate(struct redis_consumer *consumer, int64_t until_ms, struct error *err)
{
    const struct broker_group *group = consumer->base.group;
    char detail[300];

    if (!redis_group_recreate(consumer->broker, group->stream, group->name, until_ms, err))
        return err->code == ERROR_UNAVAILABLE || err->code == ERROR_UNKNOWN;
    snprintf(detail, sizeof(detail), "%s on %s", group->name, group->stream);
    broker_observe(consumer->base.broker, BROKER_RECREATED, detail);
    pause_until(consumer, redis_now_ms() + POLL_MS); /* if that was in vain, not in a hurry */
    return true;
}

/* What the server refused: it is mended, or it may pass in a while, or it is the fetch's error. */
static bool bear_refusal(struct redis_consumer *consumer, int64_t until_ms, struct error *err)
{
    int64_t again_ms = redis_now_ms() + REFUSED_MS;

    if (strcmp(consumer->refusal.reason, REDIS_NO_GROUP) == 0)
        return recreate(consumer, until_ms, err);
    if (redis_refusal_is_elsewhere(&consumer->refusal))
        redis_link_drop(consumer->link);
    *err = consumer->refusal;
    if (!consumer->refusal_passes || again_ms >= until_ms)
        return false;
    pause_until(consumer, again_ms);
    return true;
}

/* A server that is away, or slow, is no error of a fetch: nothing came. */
static bool is_absence(const struct error *err)
{
    return err->code == ERROR_UNAVAILABLE || err->code == ERROR_UNKNOWN ||
           err->code == ERROR_TIMEOUT || redis_is_woken(err);
}

static bool try_fetch(struct redis_consumer *consumer, size_t max, size_t max_bytes,
                      int64_t until_ms, struct error *err)
{
    bool over = false;

    hear_ahead(consumer, until_ms);
    while (!take(consumer, max, max_bytes) && !over) {
        redis_release(consumer);
        bool looked = look(consumer, max, max_bytes, until_ms, err);
        if (consumer->held_count > 0)
            continue;
        if (!looked && !is_absence(err))
            return false;
        if (consumer->is_refused && !bear_refusal(consumer, until_ms, err))
            return false;
        over = is_woken(consumer) || redis_now_ms() >= until_ms;
        if (!over && looked && !consumer->more && !consumer->is_refused)
            wait_for_more(consumer, until_ms);
    }
    return true;
}

bool redis_fetch(struct broker_consumer *base, size_t max, size_t max_bytes, int timeout_ms,
                 struct error *err)
{
    struct redis_consumer *consumer = redis_consumer_of(base);
    int64_t until_ms = redis_now_ms() + timeout_ms;

    redis_release(consumer);
    if (base->drained)
        return error_set(err, ERROR_CLOSED, "the consumer is drained");
    if (consumer->in_trouble) {
        consumer->in_trouble = false;
        *err = consumer->trouble;
        return false;
    }
    if (max_bytes > BYTES_MAX)
        max_bytes = BYTES_MAX;
    bool fetched = try_fetch(consumer, max, max_bytes, until_ms, err);
    if (fetched)
        read_ahead(consumer, max, max_bytes);
    else
        redis_refused(consumer->broker, err);
    pthread_mutex_lock(&consumer->lock);
    consumer->woken = false;
    pthread_mutex_unlock(&consumer->lock);
    return fetched;
}
