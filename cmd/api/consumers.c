#include "consumers.h"

#include "topology.h"

#include "base/json.h"

#include <string.h>

#define LAG_TIMEOUT_MS 2000

static bool read_lag(struct broker *broker, struct http_exchange *exchange,
                     const struct broker_group *group, struct broker_lag *out, struct error *err)
{
    int left_ms = http_remaining_ms(exchange);

    return broker_lag(broker, group->stream, group->name,
                      left_ms < LAG_TIMEOUT_MS ? left_ms : LAG_TIMEOUT_MS, out, err);
}

static void write_lag(const struct broker_group *group, const struct broker_lag *lag,
                      struct json_writer *writer)
{
    json_text(writer, "name", group->name);
    json_text(writer, "stream", group->stream);
    json_int(writer, "unread", lag->unread);
    json_int(writer, "in_flight", lag->in_flight);
    json_int(writer, "delayed", lag->delayed);
    json_int(writer, "lag", lag->unread + lag->in_flight);
    json_int(writer, "oldest_age_ms", lag->oldest_age_ms);
}

/* Each once, though topics share some. How they are set up is not asked for. */
static size_t list_groups(struct broker_group *out)
{
    static const struct topology_settings none = {0};

    return topology_groups(&none, out);
}

static bool write_one(struct broker *broker, struct http_exchange *exchange, const char *name,
                      struct json_writer *writer, struct error *err)
{
    struct broker_group groups[TOPOLOGY_MAX];
    size_t count = list_groups(groups), i = 0;
    struct broker_lag lag;

    while (i < count && strcmp(groups[i].name, name) != 0)
        i++;
    if (i == count)
        return error_set(err, ERROR_NOT_FOUND, "there is no consumer '%s'", name);
    if (!read_lag(broker, exchange, &groups[i], &lag, err))
        return false;
    json_open(writer, NULL, '{');
    write_lag(&groups[i], &lag, writer);
    json_close(writer, '}');
    return true;
}

static bool write_all(struct broker *broker, struct http_exchange *exchange,
                      struct json_writer *writer, struct error *err)
{
    struct broker_group groups[TOPOLOGY_MAX];
    size_t count = list_groups(groups);

    json_open(writer, NULL, '{');
    json_open(writer, "consumers", '[');
    for (size_t i = 0; i < count; i++) {
        struct broker_lag lag;

        if (read_lag(broker, exchange, &groups[i], &lag, err)) {
            json_open(writer, NULL, '{');
            write_lag(&groups[i], &lag, writer);
            json_close(writer, '}');
        } else if (err->code != ERROR_NOT_FOUND) {
            return false;
        }
    }
    json_close(writer, ']');
    json_close(writer, '}');
    return true;
}

bool consumers_answer(void *context, struct http_exchange *exchange, struct store *store,
                      struct buffer *out, struct error *err)
{
    struct json_writer writer = {.out = out};
    const char *name = http_parameter(exchange, "name");

    (void)store;
    return name != NULL ? write_one(context, exchange, name, &writer, err)
                        : write_all(context, exchange, &writer, err);
}
