/*
 * redis_lua: pieces of Lua that several scripts begin with.
 *
 * KEYS[1] is the stream and KEYS[2] its meta in all of them. Ids are compared as two numbers: as
 * texts "9-0" would be behind "10-0".
 */
#ifndef BROKER_REDIS_LUA_H
#define BROKER_REDIS_LUA_H

/* Ends the script where there is no stream. */
#define REDIS_LUA_STREAM                                                                           \
    "if redis.call('EXISTS', KEYS[2]) == 0 then"                                                   \
    "  return redis.error_reply('NOSTREAM there is no such stream')"                               \
    "end "

/* now: milliseconds, by the server's clock. */
#define REDIS_LUA_NOW                                                                              \
    "local time = redis.call('TIME') "                                                             \
    "local now = time[1] * 1000 + math.floor(time[2] / 1000) "

/* before(a, b); behind(id): the smallest id behind it. */
#define REDIS_LUA_IDS                                                                              \
    "local function parts(id)"                                                                     \
    "  local ms, n = string.match(id, '^(%d+)-(%d+)$')"                                            \
    "  return tonumber(ms), tonumber(n) "                                                          \
    "end "                                                                                         \
    "local function before(a, b)"                                                                  \
    "  local am, an = parts(a)"                                                                    \
    "  local bm, bn = parts(b)"                                                                    \
    "  return am < bm or (am == bm and an < bn) "                                                  \
    "end "                                                                                         \
    "local function behind(id)"                                                                    \
    "  local ms, n = parts(id)"                                                                    \
    "  return string.format('%.0f-%.0f', ms, n + 1) "                                              \
    "end "

/* map(list) of names and values; groups(): the stream's, by name. */
#define REDIS_LUA_INFO                                                                             \
    "local function map(list)"                                                                     \
    "  local found = {}"                                                                           \
    "  for i = 1, #list, 2 do found[list[i]] = list[i + 1] end"                                    \
    "  return found "                                                                              \
    "end "                                                                                         \
    "local function groups()"                                                                      \
    "  local found = {}"                                                                           \
    "  if redis.call('EXISTS', KEYS[1]) == 0 then return found end"                                \
    "  for _, list in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do"                           \
    "    local group = map(list)"                                                                  \
    "    found[group.name] = group"                                                                \
    "  end"                                                                                        \
    "  return found "                                                                              \
    "end "

/* weight(entry): the bytes that :meta counts for it; none for an entry that is not ours. */
#define REDIS_LUA_WEIGHT                                                                           \
    "local function weight(entry)"                                                                 \
    "  local fields = entry[2]"                                                                    \
    "  if fields[3] ~= 'Nats-Msg-Id' or fields[5] ~= 'data' then return 0 end"                     \
    "  local bytes = #fields[2] + #fields[4] + #fields[6]"                                         \
    "  for i = 7, #fields do bytes = bytes + #fields[i] end"                                       \
    "  return bytes "                                                                              \
    "end "

/* piece: how many entries are read at once, for them not to be of much more than half a MiB, going
 * by the largest message that the stream ever had. */
#define REDIS_LUA_PIECE                                                                            \
    "local largest = tonumber(redis.call('HGET', KEYS[2], 'largest')) or 1048576 "                 \
    "local piece = math.max(1, math.min(20, math.floor(524288 / math.max(1, largest)))) "

/* skip(id): groups that stand before it go on behind it, where the stream begins now: the server's
 * lag would count for ever what was cut off in front of them. Needs IDS and INFO. */
#define REDIS_LUA_SKIP                                                                             \
    "local function skip(id)"                                                                      \
    "  local info"                                                                                 \
    "  for name, group in pairs(groups()) do"                                                      \
    "    if before(group['last-delivered-id'], id) then"                                           \
    "      info = info or map(redis.call('XINFO', 'STREAM', KEYS[1]))"                             \
    "      redis.pcall('XGROUP', 'SETID', KEYS[1], name, id, 'ENTRIESREAD',"                       \
    "                  info['entries-added'] - info.length)"                                       \
    "    end"                                                                                      \
    "  end "                                                                                       \
    "end "

#endif
