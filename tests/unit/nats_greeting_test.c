#include "support/test.h"

#include "broker/nats_greeting.h"
#include "support/server.h"

#include "base/clock.h"

#include <string.h>

static const struct version_row {
    const char *name, *text;
    bool good;
    struct nats_version version;
} versions[] = {
    {"three numbers", "2.9.10", true, {2, 9, 10}},
    {"a candidate", "2.11.0-RC.1", true, {2, 11, 0}},
    {"two numbers", "2.9", false, {0}},
    {"a letter in front", "v2.9.10", false, {0}},
    {"a sign", "2.-9.10", false, {0}},
    {"a number that nothing holds", "99999999999999999999.1.1", false, {0}},
    {"empty", "", false, {0}},
    {"none", NULL, false, {0}},
};

static void check_version(void **state)
{
    const struct version_row *row = *state;
    struct nats_version version;

    assert_int_equal(nats_version_parse(row->text, &version), row->good);
    if (row->good)
        assert_memory_equal(&version, &row->version, sizeof(version));
}

static const struct before_row {
    const char *name;
    struct nats_version version;
    bool before; /* 2.11.12 */
} befores[] = {
    {"the same is not before", {2, 11, 12}, false}, {"an older patch", {2, 11, 11}, true},
    {"numbers, not text", {2, 9, 99}, true},        {"a newer minor", {2, 12, 0}, false},
    {"an older major", {1, 99, 99}, true},          {"a newer major", {3, 0, 0}, false},
};

static void check_before(void **state)
{
    const struct before_row *row = *state;

    assert_int_equal(nats_version_before(&row->version, 2, 11, 12), row->before);
}

static const struct address_row {
    const char *name, *url, *host, *port; /* host NULL: it is none */
} addresses[] = {
    {"a URL", "nats://host:4223", "host", "4223"},
    {"with a user and a secret", "nats://me:se@cret@host:4223", "host", "4223"},
    {"without a scheme", "127.0.0.1:1", "127.0.0.1", "1"},
    {"without a port", "nats://host", "host", "4222"},
    {"with a path", "nats://host:4223/", "host", "4223"},
    {"an IPv6 address", "nats://[::1]:4223", "::1", "4223"},
    {"an IPv6 address without a port", "nats://[fe80::1]", "fe80::1", "4222"},
    {"a bracket that stays open", "nats://[::1:4223", NULL, NULL},
    {"no host", "nats://:4222", NULL, NULL},
    {"no number", "nats://host:port", NULL, NULL},
    {"a number that is too long", "nats://host:422222", NULL, NULL},
    {"nothing", "", NULL, NULL},
};

static void check_address(void **state)
{
    const struct address_row *row = *state;
    char host[NATS_HOST_SIZE], port[8];

    assert_int_equal(nats_address_parse(row->url, host, port), row->host != NULL);
    if (!row->host)
        return;
    assert_string_equal(host, row->host);
    assert_string_equal(port, row->port);
}

static const struct greeting_row {
    const char *name, *line, *version; /* NULL: refused */
} greetings[] = {
    {"a greeting", "INFO {\"server_id\":\"A\",\"version\":\"2.9.10\"}", "2.9.10"},
    {"another server", "+PONG", NULL},
    {"HTTP", "HTTP/1.1 400 Bad Request", NULL},
    {"half of it", "INFO {\"server_id\":\"A\",\"ver", NULL},
    {"a word too short", "INFO", NULL},
    {"nothing", "", NULL},
};

static void check_greeting(void **state)
{
    const struct greeting_row *row = *state;
    AUTO(document_free) struct document *greeting = NULL;
    struct error err;

    assert_int_equal(nats_greeting_parse(row->line, strlen(row->line), &greeting, &err),
                     row->version != NULL);
    if (row->version)
        assert_string_equal(document_text(greeting, "version"), row->version);
}

static int64_t in_ms(int64_t ms)
{
    return clock_steady_ms(clock_system()) + ms;
}

static void reads_a_server(void **state)
{
    AUTO(server_close) struct server *server = NULL;
    AUTO(document_free) struct document *greeting = NULL;
    struct nats_version version;
    struct error err;

    (void)state;
    assert_ok(server_start_nats(&server, &err));
    assert_ok(nats_greeting_read(server_url(server), in_ms(5000), &greeting, &err));
    assert_true(nats_version_parse(document_text(greeting, "version"), &version));
    assert_true(version.major >= 2);
}

static void mute_server_is_given_up(void **state)
{
    AUTO(server_close) struct server *server = NULL;
    AUTO(document_free) struct document *greeting = NULL;
    struct error err = {0};

    (void)state;
    assert_ok(server_start_nats(&server, &err));
    server_pause(server);
    assert_fails(nats_greeting_read(server_url(server), in_ms(200), &greeting, &err),
                 ERROR_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_server),
        cmocka_unit_test(mute_server_is_given_up),
    };

    return RUN_ROWS(versions, check_version) + RUN_ROWS(befores, check_before) +
           RUN_ROWS(addresses, check_address) + RUN_ROWS(greetings, check_greeting) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
