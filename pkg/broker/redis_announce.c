/*
 * Announcements are Redis's own PUBLISH. A listener has a link and a thread of its own, that hears
 * and tells: what it does not take, the server keeps up to its limit for a listener
 * (client-output-buffer-limit pubsub), and then it ends the connection, which is a GAP.
 */
#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory.h"
#include "broker/checks.h"
#include "broker/redis_feed.h"

#include <stdlib.h>
#include <string.h>

#define CHANNEL "millrace:" /* before a topic */
#define ANNOUNCE_MS 800
#define LISTEN_MS 2000
#define SILENCE_MS 5000 /* then the server is asked whether it is there */
#define REFUSED_MS 1000 /* until it is tried again */

static int64_t steady_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* ---- announce ---- */

struct redis_announcer {
    struct redis_link *link; /* of the thread that set busy */
    pthread_mutex_t lock;
    pthread_cond_t idle;
    bool busy; /* guarded by lock */
};

struct redis_announcer *redis_announcer_new(const struct redis_broker *broker)
{
    struct redis_announcer *announcer = memory_alloc(sizeof(*announcer));

    announcer->link = redis_link_new(broker->address, broker->base.options.name, NULL, NULL);
    pthread_mutex_init(&announcer->lock, NULL);
    pthread_cond_init(&announcer->idle, NULL);
    return announcer;
}

void redis_announcer_free(struct redis_announcer *announcer)
{
    if (!announcer)
        return;
    redis_link_free(announcer->link);
    pthread_cond_destroy(&announcer->idle);
    pthread_mutex_destroy(&announcer->lock);
    free(announcer);
}

static bool take_turn(struct redis_announcer *announcer, int64_t until_ms, struct error *err)
{
    pthread_mutex_lock(&announcer->lock);
    while (announcer->busy && clock_wait(&announcer->idle, &announcer->lock, until_ms))
        continue;
    bool mine = !announcer->busy;
    announcer->busy = true;
    pthread_mutex_unlock(&announcer->lock);
    return mine ||
           error_set(err, ERROR_UNAVAILABLE, "others wait for the server, for %d ms", ANNOUNCE_MS);
}

static void end_turn(struct redis_announcer *announcer)
{
    pthread_mutex_lock(&announcer->lock);
    announcer->busy = false;
    pthread_cond_signal(&announcer->idle);
    pthread_mutex_unlock(&announcer->lock);
}

/* The answer is waited for: what comes back says that the server has handed it on. */
bool redis_announce(struct broker *base, const char *topic, const void *data, size_t size,
                    struct error *err)
{
    struct redis_announcer *announcer = redis_broker_of(base)->announcer;
    int64_t until_ms = steady_ms() + ANNOUNCE_MS;
    AUTO(buffer_free) struct buffer channel = {0};
    redisReply *reply;

    buffer_print(&channel, CHANNEL "%s", topic);
    const char *arguments[] = {"PUBLISH", channel.data, size ? data : ""};
    const size_t sizes[] = {strlen("PUBLISH"), channel.size, size};
    if (!take_turn(announcer, until_ms, err))
        return false;
    bool announced = redis_link_call(announcer->link, ARRAY_LEN(arguments), arguments, sizes,
                                     until_ms, &reply, err);
    end_turn(announcer);
    if (announced)
        redis_reply_free(reply);
    return announced;
}

/* ---- listen ---- */

struct listener {
    struct broker_listener base;
    struct redis_broker *broker; /* borrowed */
    struct redis_feed feed;
    char *pattern;
    struct buffer channels; /* Redis's pattern, which means more than ours */
    broker_hear *hear;
    void *context;
};

/* Redis's "*" goes over dots, and more characters are special there. */
static void print_channels(struct buffer *out, const char *pattern)
{
    buffer_text(out, CHANNEL);
    for (const char *token = pattern;;) {
        size_t size = strcspn(token, ".");
        if (size == 1 && strchr("*>", *token)) {
            buffer_text(out, "*");
        } else {
            for (size_t i = 0; i < size; i++)
                buffer_print(out, "%s%c", strchr("*?[]\\", token[i]) ? "\\" : "", token[i]);
        }
        if (!token[size])
            return;
        buffer_text(out, ".");
        token += size + 1;
    }
}

static bool subscribe(struct listener *listener, int64_t until_ms, struct error *err)
{
    const char *arguments[] = {"PSUBSCRIBE", listener->channels.data};
    redisReply *reply;

    if (!redis_link_call(listener->feed.link, ARRAY_LEN(arguments), arguments, NULL, until_ms,
                         &reply, err))
        return false;
    redis_reply_free(reply);
    return true;
}

/* ["pmessage", pattern, channel, data]; the rest answers our own questions. */
static void tell(const struct listener *listener, const redisReply *pushed)
{
    size_t prefix = strlen(CHANNEL);

    if (pushed->elements != 4 || strcmp(pushed->element[0]->str, "pmessage") != 0)
        return;
    const redisReply *channel = pushed->element[2], *data = pushed->element[3];
    if (channel->len < prefix || !pattern_matches(listener->pattern, channel->str + prefix))
        return;
    listener->hear(listener->context, BROKER_HEARD, channel->str + prefix, data->str, data->len);
}

/* Until the connection is lost, or it is to stop. */
static void hear_all(struct listener *listener)
{
    struct redis_link *link = listener->feed.link;
    const char *question[] = {"PING"};
    bool asked = false;

    while (!redis_feed_is_stopping(&listener->feed)) {
        redisReply *pushed;
        struct error err;
        if (redis_link_wait(link, steady_ms() + SILENCE_MS, &pushed, &err)) {
            tell(listener, pushed);
            redis_reply_free(pushed);
            asked = false;
            continue;
        }
        if (err.code != ERROR_TIMEOUT || asked)
            break;
        redis_link_append(link, ARRAY_LEN(question), question, NULL);
        asked = true;
    }
    redis_link_drop(link);
}

/* It hears when it starts; each later time something may have been lost before. */
static void *listen_on(void *context)
{
    struct listener *listener = context;
    struct redis_feed *feed = &listener->feed;
    struct error err;

    hear_all(listener);
    while (!redis_feed_is_stopping(feed)) {
        if (subscribe(listener, steady_ms() + SILENCE_MS, &err)) {
            listener->hear(listener->context, BROKER_GAP, "", NULL, 0);
            hear_all(listener);
            continue;
        }
        redis_refused(listener->broker, &err);
        if (redis_link_is_connected(feed->link)) /* else the link makes pauses */
            redis_feed_rest(feed, REFUSED_MS);
    }
    return NULL;
}

static void listener_free(struct listener *listener)
{
    redis_feed_close(&listener->feed);
    buffer_free(&listener->channels);
    free(listener->pattern);
    free(listener);
}

bool redis_listen(struct broker_listener **out, struct broker *base, const char *pattern,
                  broker_hear *hear, void *context, struct error *err)
{
    struct listener *listener = memory_alloc(sizeof(*listener));

    listener->broker = redis_broker_of(base);
    listener->pattern = memory_text(pattern);
    listener->hear = hear;
    listener->context = context;
    print_channels(&listener->channels, pattern);
    redis_feed_open(&listener->feed, listener->broker);
    if (!subscribe(listener, steady_ms() + LISTEN_MS, err)) {
        listener_free(listener);
        return false;
    }
    redis_feed_start(&listener->feed, listen_on, listener);
    *out = &listener->base;
    return true;
}

void redis_unlisten(struct broker_listener *listener)
{
    listener_free(CONTAINER_OF(listener, struct listener, base));
}
