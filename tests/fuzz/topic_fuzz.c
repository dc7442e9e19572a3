/* An event that is accepted is complete, has a subject of its topic's form, and is accepted again.
 */
#include "event/topic.h"
#include "messages/logs.h"
#include "messages/readings.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

union event {
    struct log_event log;
    struct reading_event reading;
};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_subject(const struct topic *topic, const union event *event)
{
    AUTO(buffer_free) struct buffer subject = {0};
    size_t dots = 0;

    topic_subject(topic, event, &subject);
    for (const char *at = subject.data; *at; at++) {
        dots += *at == '.';
        must(!strchr("*> \t\r\n", *at) && (*at != '.' || (at[1] && at[1] != '.')));
    }
    must(dots == topic->key_count && strlen(subject.data) == subject.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    AUTO(buffer_free) struct buffer text = {0};
    struct topic_defaults defaults = {.time_ms = JSON_TIME_ABSENT, .now_ms = 1, .arena = arena};
    union event event;
    struct error err = {.code = ERROR_NONE};

    if (size == 0)
        return 0;
    const struct topic *topic = &topics[data[0] % topic_count];
    if (!topic_accept(topic, &defaults, (const char *)data + 1, size - 1, &event, &err)) {
        must(err.code == ERROR_INVALID && err.reason);
        return 0;
    }
    must(!id_is_zero(topic_id(topic, &event)) && topic_time_ms(topic, &event) >= 0);
    check_subject(topic, &event);
    json_encode(topic->fields, &event, &text);
    must(topic_accept(topic, &defaults, text.data, text.size, &event, &err));
    return 0;
}
