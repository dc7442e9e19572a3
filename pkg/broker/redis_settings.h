/*
 * redis_settings: how the settings of streams and groups are written in :meta.
 *
 * A stream's are members of their own. A group's are one text of words, "ack_wait_ms=1000
 * max_in_flight=64 filter=readings.>"; words that this version does not know are left alone.
 * max_attempts is not kept: the client's is the one that counts.
 */
#ifndef BROKER_REDIS_SETTINGS_H
#define BROKER_REDIS_SETTINGS_H

#include "base/buffer.h"
#include "broker/broker.h"

struct redis_setting {
    const char *name;
    char *value; /* owned */
};

enum { REDIS_STREAM_SETTINGS = 5, REDIS_GROUP_SETTINGS = 3 };

/* In the order that they are kept and told in. The values are the caller's, to be freed. */
void redis_stream_settings(const struct broker_stream *stream,
                           struct redis_setting out[REDIS_STREAM_SETTINGS]);
void redis_group_settings(const struct broker_group *group,
                          struct redis_setting out[REDIS_GROUP_SETTINGS]);
void redis_settings_free(struct redis_setting *settings, size_t count);

/* The words; and what one of them says, "" when it is not there. The caller frees it. */
void redis_words_print(const struct redis_setting *settings, size_t count, struct buffer *out);
char *redis_word(const char *words, const char *name);

#endif
