#include "support/redis_fixture.h"

#include "support/test.h"

#include <string.h>

#define WINDOW_MS 60000
#define LEASE_MS 30000

void redis_fixture_open(struct server **out_server, struct broker **out_broker,
                        const struct broker_options *options)
{
    struct error err;

    assert_ok(server_start_redis(out_server, &err));
    assert_ok(broker_open(out_broker, server_url(*out_server), options, &err));
}

void redis_fixture_close(struct broker_consumer *consumer, struct broker *broker,
                         struct server *server)
{
    broker_close_consumer(consumer);
    broker_close(broker);
    server_close(server);
}

struct broker_stream redis_fixture_stream(const char *subjects, int64_t max_bytes)
{
    return (struct broker_stream){.name = "S",
                                  .subjects = subjects,
                                  .max_bytes = max_bytes,
                                  .dedup_window_ms = WINDOW_MS,
                                  .replicas = 1};
}

struct broker_group redis_fixture_group(void)
{
    return (struct broker_group){.stream = "S",
                                 .name = "g",
                                 .ack_wait_ms = LEASE_MS,
                                 .max_in_flight = 5000,
                                 .max_attempts = 100};
}

void redis_fixture_expect(const struct server *server, const char *command, const char *expected)
{
    AUTO(buffer_free) struct buffer reply = {0};
    struct error err;

    assert_ok(server_command(server, command, &reply, &err));
    if (strncmp(reply.data, expected, strlen(expected)) != 0)
        fail_msg("%s: '%s' is not '%s'", command, reply.data, expected);
}
