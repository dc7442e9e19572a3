#include "broker/redis_driver.h"

#include "base/clock.h"
#include "base/memory.h"
#include "broker/redis_lua.h"
#include "broker/redis_settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_MEMBER "group:"

/* Returns what :meta says, how many entries there are, the first one's id and the last one's. An
 * empty stream begins behind its last entry. */
static const struct redis_script describe_script = {
    "describe a stream", REDIS_LUA_STREAM REDIS_LUA_IDS REDIS_LUA_INFO
    "local meta = redis.call('HGETALL', KEYS[2]) "
    "if redis.call('EXISTS', KEYS[1]) == 0 then return {meta, 0, '', ''} end "
    "local info = map(redis.call('XINFO', 'STREAM', KEYS[1])) "
    "local last, first = info['last-generated-id'], info['first-entry'] "
    "if last == '0-0' then return {meta, 0, '', ''} end "
    "return {meta, info.length, first and first[1] or behind(last), last}"};

/* Where the listing goes. */
struct listing {
    struct redis_broker *broker;
    broker_listed *each;
    void *context;
    int64_t until_ms;
};

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The texts stay whose they are. */
static void sort_texts(const char **texts, size_t count)
{
    if (count)
        qsort(texts, count, sizeof(*texts), compare_texts);
}

/* "" where :meta does not say. */
static const char *member(const redisReply *meta, const char *name)
{
    for (size_t i = 0; i + 1 < meta->elements; i += 2)
        if (strcmp(meta->element[i]->str, name) == 0)
            return meta->element[i + 1]->str;
    return "";
}

static int64_t number(const char *text)
{
    return strtoll(text, NULL, 10);
}

static struct broker_stream_info read_stream(const char *name, const redisReply *described)
{
    const redisReply *meta = described->element[0];
    struct broker_stream_info info = {
        .settings = {.name = name,
                     .subjects = member(meta, "subjects"),
                     .max_bytes = number(member(meta, "max_bytes")),
                     .dedup_window_ms = number(member(meta, "dedup_window_ms")),
                     .replicas = (int)number(member(meta, "replicas")),
                     .telemetry = number(member(meta, "telemetry")) != 0},
        .messages = (uint64_t)described->element[1]->integer,
        .bytes = number(member(meta, "bytes"))};

    snprintf(info.first, sizeof(info.first), "%s", described->element[2]->str);
    snprintf(info.last, sizeof(info.last), "%s", described->element[3]->str);
    return info;
}

static int64_t word_number(const char *words, const char *name)
{
    char *value = redis_word(words, name);
    int64_t found = number(value);

    free(value);
    return found;
}

/* A group that the server has lost is not listed: the next fetch makes it again. */
static bool list_group(const struct listing *listing, const struct broker_stream_info *stream,
                       const char *name, const char *words, struct error *err)
{
    char *filter = redis_word(words, "filter");
    struct broker_group_info info = {
        .settings = {.stream = stream->settings.name,
                     .name = name,
                     .filter = *filter ? filter : NULL,
                     .ack_wait_ms = word_number(words, "ack_wait_ms"),
                     .max_in_flight = (int)word_number(words, "max_in_flight")}};
    int64_t left_ms = listing->until_ms - clock_steady_ms(clock_system());

    bool listed = redis_lag(&listing->broker->base, stream->settings.name, name,
                            left_ms > 0 ? (int)left_ms : 0, &info.lag, err);
    if (listed)
        listing->each(listing->context, stream, &info);
    free(filter);
    return listed || err->code == ERROR_NOT_FOUND;
}

static bool list_groups(const struct listing *listing, const struct broker_stream_info *stream,
                        const redisReply *meta, struct error *err)
{
    const char **groups = memory_alloc((meta->elements + 1) * sizeof(*groups));
    size_t count = 0;
    bool listed = true;

    for (size_t i = 0; i + 1 < meta->elements; i += 2)
        if (strncmp(meta->element[i]->str, GROUP_MEMBER, strlen(GROUP_MEMBER)) == 0)
            groups[count++] = meta->element[i]->str;
    sort_texts(groups, count);
    for (size_t i = 0; listed && i < count; i++)
        listed = list_group(listing, stream, groups[i] + strlen(GROUP_MEMBER),
                            member(meta, groups[i]), err);
    free(groups);
    return listed;
}

static bool list_stream(const struct listing *listing, const char *name, struct error *err)
{
    char key[REDIS_KEY_SIZE], meta[REDIS_KEY_SIZE];
    const char *arguments[] = {NULL, NULL, redis_key(key, name, "", ""),
                               redis_key(meta, name, ":meta", "")};
    struct redis_request request = {&describe_script, .keys = 2, .count = ARRAY_LEN(arguments),
                                    .arguments = arguments};
    redisReply *described;

    if (!redis_control(listing->broker, &request, listing->until_ms, &described, err))
        return err->code ==
               ERROR_NOT_FOUND; /* its making ended at its name, or somebody removed it */
    struct broker_stream_info info = read_stream(name, described);
    listing->each(listing->context, &info, NULL);
    bool listed = list_groups(listing, &info, described->element[0], err);
    redis_reply_free(described);
    return listed;
}

bool redis_list(struct broker *base, broker_listed *each, void *context, int timeout_ms,
                struct error *err)
{
    struct listing listing = {redis_broker_of(base), each, context,
                              clock_steady_ms(clock_system()) + timeout_ms};
    const char *arguments[] = {"SMEMBERS", REDIS_STREAMS};
    struct redis_request request = {.count = ARRAY_LEN(arguments), .arguments = arguments};
    redisReply *names;
    bool listed = true;

    if (!redis_control(listing.broker, &request, listing.until_ms, &names, err))
        return false;
    const char **sorted = memory_alloc((names->elements + 1) * sizeof(*sorted));
    for (size_t i = 0; i < names->elements; i++)
        sorted[i] = names->element[i]->str;
    sort_texts(sorted, names->elements);
    for (size_t i = 0; listed && i < names->elements; i++)
        listed = list_stream(&listing, sorted[i], err);
    free(sorted);
    redis_reply_free(names);
    return listed;
}
