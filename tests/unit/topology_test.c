#include "support/test.h"

#include "event/topic.h"
#include "topology.h"

#include <string.h>

static const struct topology_settings settings = {
    .stream_max_bytes = 1048576,
    .stream_replicas = 1,
    .dedup_window_s = 60,
    .ack_wait_ms = 1000,
    .max_in_flight = 10,
    .max_attempts = 3,
};

static void every_topic_has_its_stream_once(void **state)
{
    struct broker_stream streams[TOPOLOGY_MAX];
    size_t count = topology_streams(&settings, streams);

    (void)state;
    for (size_t i = 0; i < topic_count; i++) {
        size_t found = 0;
        for (size_t j = 0; j < count; j++)
            found += strcmp(streams[j].name, topics[i].stream) == 0;
        assert_int_equal(found, 1);
    }
    assert_int_equal(streams[0].max_bytes, 1048576);
    assert_int_equal(streams[0].dedup_window_ms, 60000);
    assert_int_equal(streams[0].replicas, 1);
}

static void every_topic_has_its_group_once(void **state)
{
    struct broker_group groups[TOPOLOGY_MAX];
    size_t count = topology_groups(&settings, groups);

    (void)state;
    for (size_t i = 0; i < topic_count; i++) {
        size_t found = 0;
        for (size_t j = 0; j < count; j++)
            found += strcmp(groups[j].name, topics[i].consumer) == 0 &&
                     strcmp(groups[j].stream, topics[i].stream) == 0;
        assert_int_equal(found, 1);
    }
    assert_int_equal(groups[0].ack_wait_ms, 1000);
    assert_int_equal(groups[0].max_in_flight, 10);
    assert_int_equal(groups[0].max_attempts, 3);
}

static void what_is_declared_can_be_used_and_declared_again(void **state)
{
    AUTO(broker_close) struct broker *broker = NULL;
    struct broker_lag lag;
    struct error err;

    (void)state;
    assert_ok(broker_open(&broker, "memory://", &(struct broker_options){.name = "test"}, &err));
    assert_ok(topology_declare(broker, &settings, &err));
    assert_ok(topology_declare(broker, &settings, &err));
    for (size_t i = 0; i < topic_count; i++)
        assert_ok(broker_lag(broker, topics[i].stream, topics[i].consumer, 1000, &lag, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_topic_has_its_stream_once),
        cmocka_unit_test(every_topic_has_its_group_once),
        cmocka_unit_test(what_is_declared_can_be_used_and_declared_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
