/* What the front of the broker does for every driver, and what memory:// is for tests. */
#include "support/test.h"

#include "broker/broker_driver.h"
#include "broker/broker_memory.h"

#include <stdio.h>
#include <string.h>

#define CALL_MS 1000

static const struct broker_stream work = {.name = "WORK",
                                          .subjects = "work.>",
                                          .max_bytes = 1024LL * 1024,
                                          .dedup_window_ms = 60000,
                                          .replicas = 1};
static const struct broker_group workers = {.stream = "WORK",
                                            .name = "workers",
                                            .ack_wait_ms = 60000,
                                            .max_in_flight = 10,
                                            .max_attempts = 3};

static struct broker *open_declared(const char *url, const struct broker_options *options)
{
    struct broker *broker;
    struct error err;

    assert_ok(broker_open(&broker, url, options, &err));
    assert_ok(broker_declare(broker, &work, 1, &workers, 1, NULL, NULL, CALL_MS, &err));
    return broker;
}

/* ---- URLs ---- */

struct url_row {
    const char *name, *url, *message;
};

static const struct url_row url_rows[] = {
    {"no URL", NULL,
     "no broker driver for '': want nats://host:port, redis://host:port or memory://name"},
    {"an empty URL", "",
     "no broker driver for '': want nats://host:port, redis://host:port or memory://name"},
    {"a scheme that nobody serves", "kafka://host",
     "no broker driver for 'kafka': want nats://host:port, redis://host:port or memory://name"},
    {"a scheme without its slashes", "memory:",
     "no broker driver for 'memory': want nats://host:port, redis://host:port or memory://name"},
    {"a password is not shown", "kafka://me:secret@host",
     "no broker driver for 'kafka': want nats://host:port, redis://host:port or memory://name"},
    {"a password with an @ is not shown", "kafka://me:se@cret@host",
     "no broker driver for 'kafka': want nats://host:port, redis://host:port or memory://name"},
};

static void refuses_url(void **state)
{
    const struct url_row *row = *state;
    struct broker *broker;
    struct error err;

    assert_fails(broker_open(&broker, row->url, NULL, &err), ERROR_INVALID);
    assert_string_equal(err.message, row->message);
}

/* ---- arguments ---- */

#define LONG_ID                                                                                    \
    "0123456789012345678901234567890123456789012345678901234567890123"                             \
    "0123456789012345678901234567890123456789012345678901234567890123"

struct message_row {
    const char *name;
    enum error_code code;
    const char *stream, *subject, *id, *header, *value;
    size_t size;
};

static const struct message_row message_rows[] = {
    {"a plain message", ERROR_NONE, "WORK", "work.a", "1", "ce-type", "x", 1},
    {"a subject with escapes", ERROR_NONE, "WORK", "work.a=2Fb-c_d", "1", "ce-type", "", 1},
    {"an id of 128 bytes", ERROR_NONE, "WORK", "work.a", LONG_ID, "ce-type", "x", 1},
    {"an id of 129 bytes", ERROR_INVALID, "WORK", "work.a", LONG_ID "x", "ce-type", "x", 1},
    {"no id", ERROR_INVALID, "WORK", "work.a", NULL, "ce-type", "x", 1},
    {"an empty id", ERROR_INVALID, "WORK", "work.a", "", "ce-type", "x", 1},
    {"an id with a newline", ERROR_INVALID, "WORK", "work.a", "a\nb", "ce-type", "x", 1},
    {"an id with a space", ERROR_INVALID, "WORK", "work.a", "a b", "ce-type", "x", 1},
    {"no subject", ERROR_INVALID, "WORK", NULL, "1", "ce-type", "x", 1},
    {"an empty subject", ERROR_INVALID, "WORK", "", "1", "ce-type", "x", 1},
    {"a wildcard for a token", ERROR_INVALID, "WORK", "work.*", "1", "ce-type", "x", 1},
    {"a wildcard for the rest", ERROR_INVALID, "WORK", "work.>", "1", "ce-type", "x", 1},
    {"a wildcard in a token", ERROR_INVALID, "WORK", "work.a*b", "1", "ce-type", "x", 1},
    {"a space in a subject", ERROR_INVALID, "WORK", "work.a b", "1", "ce-type", "x", 1},
    {"an empty token in the middle", ERROR_INVALID, "WORK", "work..a", "1", "ce-type", "x", 1},
    {"an empty token at the end", ERROR_INVALID, "WORK", "work.", "1", "ce-type", "x", 1},
    {"an empty token in front", ERROR_INVALID, "WORK", ".work", "1", "ce-type", "x", 1},
    {"no stream", ERROR_INVALID, NULL, "work.a", "1", "ce-type", "x", 1},
    {"a stream with a dot", ERROR_INVALID, "WO.RK", "work.a", "1", "ce-type", "x", 1},
    {"a header without a name", ERROR_INVALID, "WORK", "work.a", "1", "", "x", 1},
    {"a header name with a colon", ERROR_INVALID, "WORK", "work.a", "1", "a:b", "x", 1},
    {"a header name with a space", ERROR_INVALID, "WORK", "work.a", "1", "a b", "x", 1},
    {"a header value with a newline", ERROR_INVALID, "WORK", "work.a", "1", "a", "x\r\ny: z", 1},
    {"the broker's own header", ERROR_INVALID, "WORK", "work.a", "1", "Nats-Msg-Id", "x", 1},
    {"the broker's own header in any case", ERROR_INVALID, "WORK", "work.a", "1", "nats-x", "x", 1},
    {"one byte more than a message has, headers included", ERROR_TOO_LARGE, "WORK", "work.a", "1",
     "a", "x", BROKER_MESSAGE_MAX - 1},
    {"a stream that is not there", ERROR_NOT_FOUND, "OTHER", "work.a", "1", "a", "x", 1},
};

static void checks_message(void **state)
{
    static char data[BROKER_MESSAGE_MAX];
    const struct message_row *row = *state;
    AUTO(broker_close) struct broker *broker = open_declared("memory://rows", NULL);
    struct broker_header header = {row->header, row->value};
    struct broker_message message = {.stream = row->stream,
                                     .subject = row->subject,
                                     .id = row->id,
                                     .headers = &header,
                                     .header_count = 1,
                                     .data = data,
                                     .size = row->size};
    struct broker_receipt receipt;
    struct error err = {0};
    char context[64];

    bool published = broker_publish(broker, &message, 1, CALL_MS, &receipt, &err);
    assert_int_equal(err.code, row->code);
    assert_int_equal(receipt.error.code, row->code);
    assert_int_equal(published, row->code == ERROR_NONE);
    snprintf(context, sizeof(context), "publish '%s", row->subject ? row->subject : "'");
    if (!published)
        assert_memory_equal(err.message, context, strlen(context));
}

struct topology_row {
    const char *name;
    struct broker_stream stream;
    struct broker_group group;
};

#define STREAM(...)                                                                                \
    {                                                                                              \
        .name = "S", .subjects = "s.>", .max_bytes = 1, .dedup_window_ms = 1, .replicas = 1,       \
        __VA_ARGS__                                                                                \
    }
#define GROUP(...)                                                                                 \
    {                                                                                              \
        .stream = "S", .name = "g", .ack_wait_ms = 1, .max_in_flight = 1, .max_attempts = 1,       \
        __VA_ARGS__                                                                                \
    }

/* What a row says again is meant to win over what it has from STREAM or GROUP. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif
static const struct topology_row topology_rows[] = {
    {"a stream without a name", STREAM(.name = NULL), GROUP(.filter = NULL)},
    {"a stream with a dot in its name", STREAM(.name = "a.b"), GROUP(.filter = NULL)},
    {"a stream without subjects", STREAM(.subjects = NULL), GROUP(.filter = NULL)},
    {"a wildcard for the rest that is not last", STREAM(.subjects = "a.>.b"),
     GROUP(.filter = NULL)},
    {"a stream without a limit", STREAM(.max_bytes = 0), GROUP(.filter = NULL)},
    {"a stream without a window", STREAM(.dedup_window_ms = 0), GROUP(.filter = NULL)},
    {"a stream without replicas", STREAM(.replicas = 0), GROUP(.filter = NULL)},
    {"a consumer with a space in its name", STREAM(.telemetry = false), GROUP(.name = "a b")},
    {"a consumer with a bad filter", STREAM(.telemetry = false), GROUP(.filter = "a..b")},
    {"a consumer without ack_wait", STREAM(.telemetry = false), GROUP(.ack_wait_ms = 0)},
    {"a consumer without max_in_flight", STREAM(.telemetry = false), GROUP(.max_in_flight = 0)},
    {"a consumer without max_attempts", STREAM(.telemetry = false), GROUP(.max_attempts = 0)},
};
#pragma GCC diagnostic pop

static void refuses_topology(void **state)
{
    const struct topology_row *row = *state;
    AUTO(broker_close) struct broker *broker = NULL;
    struct error err;

    assert_ok(broker_open(&broker, "memory://topology", NULL, &err));
    assert_fails(broker_declare(broker, &row->stream, 1, &row->group, 1, NULL, NULL, CALL_MS, &err),
                 ERROR_INVALID);
    assert_memory_equal(err.message, "declare: ", 9);
}

/* ---- what a driver lacks ---- */

static bool bare_open(struct broker **out, const char *url, const struct broker_options *options,
                      struct error *err)
{
    (void)out, (void)url, (void)options, (void)err;
    return false;
}

static void expect_unsupported(bool succeeded, const struct error *err)
{
    assert_false(succeeded);
    assert_int_equal(err->code, ERROR_INVALID);
    assert_string_equal(err->reason, "unsupported");
}

#define UNSUPPORTED(call) expect_unsupported(call, &err)

static void missing_is_unsupported(void **state)
{
    static const struct broker_driver bare = {.scheme = "bare", .open = bare_open};
    struct broker broker = {.driver = &bare};
    struct broker_message message = {
        .stream = "S", .subject = "s.a", .id = "1", .data = "x", .size = 1};
    struct broker_receipt receipt;
    struct broker_consumer *consumer;
    struct broker_listener *listener;
    struct broker_watch *watch;
    struct broker_value value = {.key = "k", .data = "x", .size = 1};
    struct broker_lag lag;
    uint64_t revision;
    struct error err;

    (void)state;
    UNSUPPORTED(broker_ping(&broker, 1, &err));
    UNSUPPORTED(broker_drain(&broker, 1, &err));
    UNSUPPORTED(broker_declare(&broker, &work, 1, NULL, 0, NULL, NULL, 1, &err));
    UNSUPPORTED(broker_trim(&broker, "S", 0, 1, &err));
    UNSUPPORTED(broker_publish(&broker, &message, 1, 1, &receipt, &err));
    UNSUPPORTED(broker_publish_async(&broker, &message, 1, NULL, NULL, &err));
    UNSUPPORTED(broker_open_consumer(&consumer, &broker, &workers, &err));
    UNSUPPORTED(broker_lag(&broker, "S", "g", 1, &lag, &err));
    UNSUPPORTED(broker_peek(&broker, "S", "", 1, NULL, NULL, 1, &err));
    UNSUPPORTED(broker_announce(&broker, "a", "x", 1, &err));
    UNSUPPORTED(broker_listen(&listener, &broker, "a", NULL, NULL, &err));
    UNSUPPORTED(broker_state_get(&broker, "b", "k", NULL, NULL, 1, &err));
    UNSUPPORTED(broker_state_put(&broker, "b", &value, 0, 1, &revision, &err));
    UNSUPPORTED(broker_state_delete(&broker, "b", "k", 0, 1, &err));
    UNSUPPORTED(broker_watch(&watch, &broker, "b", ">", NULL, NULL, &err));
}

/* ---- headers ---- */

static void finds_headers(void **state)
{
    struct broker_header headers[] = {{"ce-id", "1"}, {"Traceparent", "2"}, {"ce-id", "3"}};
    struct broker_delivery delivery = {.headers = headers, .header_count = 3};

    (void)state;
    assert_string_equal(broker_header(&delivery, "CE-ID"), "1");
    assert_string_equal(broker_header(&delivery, "traceparent"), "2");
    assert_null(broker_header(&delivery, "ce-"));
    assert_null(broker_header(&(struct broker_delivery){0}, "ce-id"));
}

/* ---- memory:// ---- */

static void publish_one(struct broker *broker, const char *id, enum error_code want)
{
    struct broker_message message = {
        .stream = "WORK", .subject = "work.a", .id = id, .data = "x", .size = 1};
    struct broker_receipt receipt;
    struct error err = {0};

    if (broker_publish(broker, &message, 1, CALL_MS, &receipt, &err) != (want == ERROR_NONE))
        fail_msg("publish '%s': %s", id, err.message);
    assert_int_equal(err.code, want);
}

static size_t fetch_count(struct broker_consumer *consumer)
{
    struct broker_batch batch;
    struct error err;

    assert_ok(broker_fetch(consumer, 10, SIZE_MAX, 20, &batch, &err));
    return batch.count;
}

static void names_meet(void **state)
{
    struct broker *first = open_declared("memory://shared", NULL);
    struct broker *second = open_declared("memory://shared", NULL);
    struct broker_lag lag;
    struct error err;

    (void)state;
    publish_one(first, "1", ERROR_NONE);
    broker_memory_keep(first, true);
    broker_close(first);
    assert_ok(broker_lag(second, "WORK", "workers", CALL_MS, &lag, &err));
    assert_int_equal(lag.unread, 1);
    broker_close(second);
    second = open_declared("memory://shared", NULL);
    assert_ok(broker_lag(second, "WORK", "workers", CALL_MS, &lag, &err));
    assert_int_equal(lag.unread, 1);
    broker_memory_keep(second, false);
    broker_close(second);
    second = open_declared("memory://shared", NULL);
    assert_ok(broker_lag(second, "WORK", "workers", CALL_MS, &lag, &err));
    assert_int_equal(lag.unread, 0);
    broker_close(second);
}

/* A lease and a window of a minute pass when the clock says so, and not before. */
static void time_is_told(void **state)
{
    struct clock_fake fake;
    struct broker_options options = {.clock = &fake.clock};
    struct broker_consumer *consumer;
    struct broker_receipt receipt;
    struct broker_message message = {
        .stream = "WORK", .subject = "work.a", .id = "1", .data = "x", .size = 1};
    struct error err;

    (void)state;
    clock_fake_start(&fake, 1000000);
    struct broker *broker = open_declared("memory://time", &options);
    publish_one(broker, "1", ERROR_NONE);
    assert_ok(broker_open_consumer(&consumer, broker, &workers, &err));
    assert_int_equal(fetch_count(consumer), 1);
    broker_close_consumer(consumer);

    clock_fake_advance(&fake, 59999);
    assert_ok(broker_open_consumer(&consumer, broker, &workers, &err));
    assert_int_equal(fetch_count(consumer), 0);
    assert_ok(broker_publish(broker, &message, 1, CALL_MS, &receipt, &err));
    assert_true(receipt.duplicate);
    clock_fake_advance(&fake, 1);
    assert_int_equal(fetch_count(consumer), 1);
    assert_ok(broker_publish(broker, &message, 1, CALL_MS, &receipt, &err));
    assert_false(receipt.duplicate);
    broker_close_consumer(consumer);
    broker_close(broker);
}

/* The clock that opened the broker is the broker's; a client's own says nothing. */
static void client_clock_says_nothing(void **state)
{
    struct clock_fake right, ahead;
    struct broker_options first = {.clock = &right.clock}, second = {.clock = &ahead.clock};
    struct broker_consumer *consumer;
    struct error err;

    (void)state;
    clock_fake_start(&right, 10000000);
    clock_fake_start(&ahead, 10000000 + 3600000);
    struct broker *broker = open_declared("memory://clocks", &first);
    struct broker *client = open_declared("memory://clocks", &second);
    publish_one(client, "1", ERROR_NONE);
    assert_ok(broker_open_consumer(&consumer, client, &workers, &err));
    assert_int_equal(fetch_count(consumer), 1);
    broker_close_consumer(consumer);
    assert_ok(broker_open_consumer(&consumer, client, &workers, &err));
    clock_fake_advance(&ahead, 3600000);
    assert_int_equal(fetch_count(consumer), 0);
    clock_fake_advance(&right, 60000);
    assert_int_equal(fetch_count(consumer), 1);
    broker_close_consumer(consumer);
    broker_close(client);
    broker_close(broker);
}

static void a_day_is_told(void **state)
{
    struct clock_fake fake;
    struct broker_options options = {.clock = &fake.clock};
    struct broker_verdict retry = {.action = BROKER_RETRY, .delay_ms = BROKER_DELAY_MAX_MS};
    struct broker_consumer *consumer;
    struct error err;

    (void)state;
    clock_fake_start(&fake, 1000000);
    struct broker *broker = open_declared("memory://day", &options);
    publish_one(broker, "1", ERROR_NONE);
    assert_ok(broker_open_consumer(&consumer, broker, &workers, &err));
    assert_int_equal(fetch_count(consumer), 1);
    assert_ok(broker_settle(consumer, &retry, 1, CALL_MS, &err));
    clock_fake_advance(&fake, BROKER_DELAY_MAX_MS - 1);
    assert_int_equal(fetch_count(consumer), 0);
    clock_fake_advance(&fake, 1);
    assert_int_equal(fetch_count(consumer), 1);
    broker_close_consumer(consumer);
    broker_close(broker);
}

static void fails_as_asked(void **state)
{
    struct broker *broker = open_declared("memory://faults", NULL);
    struct broker_lag lag;
    struct broker_stats stats;
    struct error err;

    (void)state;
    broker_memory_fail(broker, "WORK", BROKER_MEMORY_UNAVAILABLE, 1);
    publish_one(broker, "1", ERROR_UNAVAILABLE);
    broker_memory_fail(broker, "DEAD", BROKER_MEMORY_FULL, 1);
    publish_one(broker, "1", ERROR_NONE);
    broker_memory_fail(broker, NULL, BROKER_MEMORY_FULL, 2);
    publish_one(broker, "2", ERROR_FULL);
    publish_one(broker, "2", ERROR_FULL);
    broker_memory_fail(broker, "WORK", BROKER_MEMORY_LOST, 1);
    publish_one(broker, "2", ERROR_UNKNOWN);
    broker_memory_fail(broker, "WORK", BROKER_MEMORY_STORED, 1);
    publish_one(broker, "3", ERROR_UNKNOWN);
    assert_ok(broker_lag(broker, "WORK", "workers", CALL_MS, &lag, &err));
    assert_int_equal(lag.unread, 2); /* 1 and 3 */

    broker_memory_away(broker, true);
    publish_one(broker, "4", ERROR_UNAVAILABLE);
    assert_fails(broker_ping(broker, CALL_MS, &err), ERROR_UNAVAILABLE);
    broker_stats(broker, &stats);
    assert_false(stats.connected);
    broker_memory_away(broker, false);
    assert_ok(broker_ping(broker, CALL_MS, &err));
    broker_stats(broker, &stats);
    assert_true(stats.connected);
    assert_int_equal(stats.published, 1);
    assert_int_equal(stats.publish_failures, 6);
    broker_close(broker);
}

static void counts_deliveries(void **state)
{
    struct broker *broker = open_declared("memory://counts", NULL);
    struct broker_verdict verdicts[] = {{.action = BROKER_DONE},
                                        {.action = BROKER_RETRY},
                                        {.action = BROKER_REJECT, .reason = "bad"}};
    struct broker_consumer *consumer;
    struct broker_stats stats;
    struct error err;

    (void)state;
    publish_one(broker, "1", ERROR_NONE);
    publish_one(broker, "2", ERROR_NONE);
    publish_one(broker, "3", ERROR_NONE);
    assert_ok(broker_open_consumer(&consumer, broker, &workers, &err));
    assert_int_equal(fetch_count(consumer), 3);
    assert_ok(broker_settle(consumer, verdicts, 3, CALL_MS, &err));
    assert_int_equal(fetch_count(consumer), 1);
    broker_stats(broker, &stats);
    assert_int_equal(stats.delivered, 4);
    assert_int_equal(stats.redelivered, 1);
    assert_int_equal(stats.settled, 2);
    assert_int_equal(stats.retried, 1);
    assert_int_equal(stats.buried, 1);
    broker_close_consumer(consumer);
    broker_close(broker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_is_unsupported),
        cmocka_unit_test(finds_headers),
        cmocka_unit_test(names_meet),
        cmocka_unit_test(time_is_told),
        cmocka_unit_test(client_clock_says_nothing),
        cmocka_unit_test(a_day_is_told),
        cmocka_unit_test(fails_as_asked),
        cmocka_unit_test(counts_deliveries),
    };

    return RUN_ROWS(url_rows, refuses_url) + RUN_ROWS(message_rows, checks_message) +
           RUN_ROWS(topology_rows, refuses_topology) +
           cmocka_run_group_tests_name("broker", tests, NULL, NULL);
}
