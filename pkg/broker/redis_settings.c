#include "broker/redis_settings.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct redis_setting text(const char *name, const char *value)
{
    return (struct redis_setting){name, memory_text(value)};
}

static struct redis_setting number(const char *name, int64_t value)
{
    char digits[24];

    snprintf(digits, sizeof(digits), "%" PRId64, value);
    return text(name, digits);
}

void redis_stream_settings(const struct broker_stream *stream,
                           struct redis_setting out[REDIS_STREAM_SETTINGS])
{
    out[0] = text("subjects", stream->subjects);
    out[1] = number("max_bytes", stream->max_bytes);
    out[2] = number("dedup_window_ms", stream->dedup_window_ms);
    out[3] = number("replicas", stream->replicas);
    out[4] = number("telemetry", stream->telemetry);
}

void redis_group_settings(const struct broker_group *group,
                          struct redis_setting out[REDIS_GROUP_SETTINGS])
{
    out[0] = number("ack_wait_ms", group->ack_wait_ms);
    out[1] = number("max_in_flight", group->max_in_flight);
    out[2] = text("filter", group->filter ? group->filter : "");
}

void redis_settings_free(struct redis_setting *settings, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(settings[i].value);
}

void redis_words_print(const struct redis_setting *settings, size_t count, struct buffer *out)
{
    for (size_t i = 0; i < count; i++)
        buffer_print(out, "%s%s=%s", i ? " " : "", settings[i].name, settings[i].value);
}

char *redis_word(const char *words, const char *name)
{
    size_t name_size = strlen(name);

    for (const char *word = words; *word;) {
        size_t size = strcspn(word, " ");
        if (size > name_size && word[name_size] == '=' && strncmp(word, name, name_size) == 0) {
            char *value = memory_copy(word, size + 1); /* what ends it as well */
            value[size] = '\0';
            memmove(value, value + name_size + 1, size - name_size);
            return value;
        }
        word += size;
        word += strspn(word, " ");
    }
    return memory_text("");
}
