#include "conformance/harm.h"

#include "base/document.h"

#include <stdio.h>
#include <string.h>

#define MARK "set by hand"
#define LIMITED "limited:limited@"

struct harm {
    const char *scheme;
    void (*delete_group)(struct stage *stage);
    void (*delete_stream)(struct stage *stage);
    void (*delete_message)(struct stage *stage, const char *sequence);
    void (*change_stream)(struct stage *stage, int64_t max_bytes);
    bool (*is_kept)(struct stage *stage, int64_t max_bytes);
    struct server *(*start_guarded)(const struct stage *stage);
};

/* ---- NATS ---- */

static struct document *request(struct stage *stage, const char *operation, const char *payload)
{
    AUTO(buffer_free) struct buffer reply = {0};
    struct document *answer;
    char subject[160];
    struct error err;

    snprintf(subject, sizeof(subject), "$JS.API.%s", operation);
    assert_ok(server_request(stage->url, subject, payload, &reply, &err));
    assert_ok(document_parse(&answer, reply.data, reply.size, &err));
    if (document_has(answer, "error"))
        fail_msg("%s: %s", operation, reply.data);
    return answer;
}

/* A cluster says yes before its members have done it. */
static void await_gone(struct stage *stage, const char *info)
{
    AUTO(buffer_free) struct buffer reply = {0};
    char subject[160];
    struct error err;
    int64_t until_ms = now_ms() + WAIT_MS;

    snprintf(subject, sizeof(subject), "$JS.API.%s", info);
    while (now_ms() < until_ms) {
        buffer_clear(&reply);
        if (server_request_within(stage->url, subject, "", 1000, &reply, &err) &&
            strstr(reply.data, "not found"))
            return;
        pause_ms(20);
    }
    fail_msg("it is still there: %s", info);
}

static void nats_delete_group(struct stage *stage)
{
    char operation[128];

    snprintf(operation, sizeof(operation), "CONSUMER.DELETE.%s.%s", stage->name, stage->group.name);
    document_free(request(stage, operation, ""));
}

static void nats_delete_stream(struct stage *stage)
{
    char operation[96];

    snprintf(operation, sizeof(operation), "STREAM.DELETE.%s", stage->name);
    document_free(request(stage, operation, ""));
    snprintf(operation, sizeof(operation), "STREAM.INFO.%s", stage->name);
    await_gone(stage, operation);
}

static void nats_delete_message(struct stage *stage, const char *sequence)
{
    char operation[96], payload[64];

    snprintf(operation, sizeof(operation), "STREAM.MSG.DELETE.%s", stage->name);
    snprintf(payload, sizeof(payload), "{\"seq\":%s}", sequence);
    document_free(request(stage, operation, payload));
}

static struct document *stream_info(struct stage *stage)
{
    char operation[96];

    snprintf(operation, sizeof(operation), "STREAM.INFO.%s", stage->name);
    return request(stage, operation, "");
}

static void nats_change_stream(struct stage *stage, int64_t max_bytes)
{
    AUTO(document_free) struct document *info = stream_info(stage);
    AUTO(buffer_free) struct buffer config = {0};
    char operation[96];

    document_set_text(info, "config.description", MARK);
    document_set_int(info, "config.max_bytes", max_bytes);
    document_print(info, "config", &config);
    snprintf(operation, sizeof(operation), "STREAM.UPDATE.%s", stage->name);
    document_free(request(stage, operation, config.data));
}

static bool nats_is_kept(struct stage *stage, int64_t max_bytes)
{
    AUTO(document_free) struct document *info = stream_info(stage);
    const char *mark = document_text(info, "config.description");

    return mark && strcmp(mark, MARK) == 0 &&
           document_int(info, "config.max_bytes", 0) == max_bytes;
}

static struct server *nats_start_guarded(const struct stage *stage)
{
    char settings[400];
    struct server *server;
    struct error err;

    snprintf(settings, sizeof(settings),
             "authorization { users = [\n"
             "  { user: all, password: all }\n"
             "  { user: limited, password: limited, permissions: { publish: { deny: \"%s\" } } }\n"
             "] }\nno_auth_user: all\n",
             stage->subjects);
    assert_ok(server_start_nats_with(&server, settings, &err));
    return server;
}

/* ---- Redis: the keys are told in the driver's header ---- */

static void command_to(const struct server *server, struct buffer *reply, const char *command)
{
    struct error err;

    assert_ok(server_command(server, command, reply, &err));
}

static void redis_delete_group(struct stage *stage)
{
    AUTO(buffer_free) struct buffer reply = {0};
    char command[160];

    snprintf(command, sizeof(command), "XGROUP DESTROY {millrace:%s} %s", stage->name,
             stage->group.name);
    command_to(stage->watched[0], &reply, command);
    assert_int_equal(strncmp(reply.data, ":1\r\n", 4), 0);
}

static void redis_delete_stream(struct stage *stage)
{
    AUTO(buffer_free) struct buffer reply = {0};
    char command[400];
    const char *name = stage->name, *group = stage->group.name;

    snprintf(command, sizeof(command),
             "DEL {millrace:%s} {millrace:%s}:meta {millrace:%s}:lease:%s {millrace:%s}:delay:%s",
             name, name, name, group, name, group);
    command_to(stage->watched[0], &reply, command);
    snprintf(command, sizeof(command), "SREM millrace:streams %s", name);
    command_to(stage->watched[0], &reply, command);
}

static void redis_delete_message(struct stage *stage, const char *sequence)
{
    AUTO(buffer_free) struct buffer reply = {0};
    char command[160];

    snprintf(command, sizeof(command), "XDEL {millrace:%s} %s", stage->name, sequence);
    command_to(stage->watched[0], &reply, command);
    assert_int_equal(strncmp(reply.data, ":1\r\n", 4), 0);
}

static void redis_change_stream(struct stage *stage, int64_t max_bytes)
{
    AUTO(buffer_free) struct buffer reply = {0};
    char command[200];

    snprintf(command, sizeof(command),
             "HSET {millrace:%s}:meta description '" MARK "' max_bytes %lld", stage->name,
             (long long)max_bytes);
    command_to(stage->watched[0], &reply, command);
}

static bool redis_is_kept(struct stage *stage, int64_t max_bytes)
{
    AUTO(buffer_free) struct buffer reply = {0};
    char command[160], number[32];

    snprintf(command, sizeof(command), "HMGET {millrace:%s}:meta description max_bytes",
             stage->name);
    snprintf(number, sizeof(number), "\r\n%lld\r\n", (long long)max_bytes);
    command_to(stage->watched[0], &reply, command);
    return strstr(reply.data, MARK) && strstr(reply.data, number);
}

/* Keys may be read, and none of the stream's written. */
static struct server *redis_start_guarded(const struct stage *stage)
{
    AUTO(buffer_free) struct buffer reply = {0};
    char command[160];
    struct server *server;
    struct error err;

    assert_ok(server_start_redis(&server, &err));
    snprintf(command, sizeof(command),
             "ACL SETUSER limited on >limited +@all allchannels %%R~* ~{millrace:%s}:none",
             stage->name);
    command_to(server, &reply, command);
    return server;
}

static const struct harm harms[] = {
    {"nats", nats_delete_group, nats_delete_stream, nats_delete_message, nats_change_stream,
     nats_is_kept, nats_start_guarded},
    {"redis", redis_delete_group, redis_delete_stream, redis_delete_message, redis_change_stream,
     redis_is_kept, redis_start_guarded},
};

static const struct harm *harm_of(const struct stage *stage)
{
    for (size_t i = 0; i < ARRAY_LEN(harms); i++)
        if (strncmp(stage->url, harms[i].scheme, strlen(harms[i].scheme)) == 0)
            return &harms[i];
    fail_msg("nobody can do harm to %s", stage->url);
    return NULL;
}

void harm_delete_group(struct stage *stage)
{
    harm_of(stage)->delete_group(stage);
}

void harm_delete_stream(struct stage *stage)
{
    harm_of(stage)->delete_stream(stage);
}

void harm_delete_message(struct stage *stage, const char *sequence)
{
    harm_of(stage)->delete_message(stage, sequence);
}

void harm_change_stream(struct stage *stage, int64_t max_bytes)
{
    harm_of(stage)->change_stream(stage, max_bytes);
}

bool harm_is_kept(struct stage *stage, int64_t max_bytes)
{
    return harm_of(stage)->is_kept(stage, max_bytes);
}

struct server *harm_start_guarded(struct stage *stage, char *limited_url, size_t size)
{
    const struct harm *harm = harm_of(stage);
    struct server *server = harm->start_guarded(stage);

    snprintf(limited_url, size, "%s://" LIMITED "127.0.0.1:%d", harm->scheme, server_port(server));
    return server;
}
