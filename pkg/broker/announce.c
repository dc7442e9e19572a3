#include "broker/announce.h"

#include "broker/broker_driver.h"
#include "broker/checks.h"

static bool unsupported(const struct broker *broker, const char *what, struct error *err)
{
    return error_input(err, "unsupported", "", "%s:// cannot %s", broker->driver->scheme, what);
}

bool broker_announce(struct broker *broker, const char *topic, const void *data, size_t size,
                     struct error *err)
{
    if (!broker->driver->announce)
        return unsupported(broker, "announce", err);
    if (!check_subject(topic, err))
        return error_wrap(err, "announce");
    if (size > BROKER_MESSAGE_MAX)
        return error_set(err, ERROR_TOO_LARGE, "announce '%s': %zu bytes, at most %d", topic, size,
                         BROKER_MESSAGE_MAX);
    return broker->driver->announce(broker, topic, data, size, err) ||
           error_wrap(err, "announce '%s'", topic);
}

bool broker_listen(struct broker_listener **out, struct broker *broker, const char *pattern,
                   broker_hear *hear, void *context, struct error *err)
{
    if (!broker->driver->listen)
        return unsupported(broker, "listen", err);
    if (!check_pattern(pattern, err))
        return error_wrap(err, "listen");
    if (!broker->driver->listen(out, broker, pattern, hear, context, err))
        return error_wrap(err, "listen to '%s'", pattern);
    (*out)->broker = broker;
    return true;
}

void broker_unlisten(struct broker_listener *listener)
{
    if (listener)
        listener->broker->driver->unlisten(listener);
}

/* A key is a subject, so that a watch can have patterns over its tokens. */
static bool check_key(const char *bucket, const char *key, struct error *err)
{
    return check_name("bucket", bucket, err) && check_subject(key, err);
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
bool broker_state_get(struct broker *broker, const char *bucket, const char *key, broker_see *see,
                      void *context, int timeout_ms, struct error *err)
{
    if (!broker->driver->state_get)
        return unsupported(broker, "keep state", err);
    return (check_key(bucket, key, err) &&
            broker->driver->state_get(broker, bucket, key, see, context, timeout_ms, err)) ||
           error_wrap(err, "get state '%s'", key ? key : "");
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
bool broker_state_put(struct broker *broker, const char *bucket, const struct broker_value *value,
                      uint64_t expected, int timeout_ms, uint64_t *out_revision, struct error *err)
{
    if (!broker->driver->state_put)
        return unsupported(broker, "keep state", err);
    if (value->size > BROKER_MESSAGE_MAX)
        return error_set(err, ERROR_TOO_LARGE, "put state: %zu bytes, at most %d", value->size,
                         BROKER_MESSAGE_MAX);
    return (check_key(bucket, value->key, err) &&
            broker->driver->state_put(broker, bucket, value, expected, timeout_ms, out_revision,
                                      err)) ||
           error_wrap(err, "put state '%s'", value->key ? value->key : "");
}

bool broker_state_delete(struct broker *broker, const char *bucket, const char *key,
                         uint64_t expected, int timeout_ms, struct error *err)
{
    if (!broker->driver->state_delete)
        return unsupported(broker, "keep state", err);
    return (check_key(bucket, key, err) &&
            broker->driver->state_delete(broker, bucket, key, expected, timeout_ms, err)) ||
           error_wrap(err, "delete state '%s'", key ? key : "");
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
bool broker_watch(struct broker_watch **out, struct broker *broker, const char *bucket,
                  const char *pattern, broker_see *see, void *context, struct error *err)
{
    if (!broker->driver->watch)
        return unsupported(broker, "watch state", err);
    if (!check_name("bucket", bucket, err) || !check_pattern(pattern, err))
        return error_wrap(err, "watch");
    if (!broker->driver->watch(out, broker, bucket, pattern, see, context, err))
        return error_wrap(err, "watch '%s' in '%s'", pattern, bucket);
    (*out)->broker = broker;
    return true;
}

void broker_unwatch(struct broker_watch *watch)
{
    if (watch)
        watch->broker->driver->unwatch(watch);
}
