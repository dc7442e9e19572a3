#include "broker/redis_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWN_FIELDS 6 /* names and values of subject, id and data */

const char *redis_key(char key[REDIS_KEY_SIZE], const char *stream, const char *suffix,
                      const char *name)
{
    snprintf(key, REDIS_KEY_SIZE, "{millrace:%s}%s%s", stream, suffix, name);
    return key;
}

/* A text that is all of the string: no NUL inside. */
static bool is_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING && strlen(reply->str) == reply->len;
}

static bool is_named(const redisReply *reply, const char *name)
{
    return reply->type == REDIS_REPLY_STRING && reply->len == strlen(name) &&
           memcmp(reply->str, name, reply->len) == 0;
}

/* The fields of an entry; NULL where its payload is gone, or where it is none. */
static const redisReply *fields_of(const redisReply *entry)
{
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 ||
        entry->element[1]->type != REDIS_REPLY_ARRAY)
        return NULL;
    for (size_t i = 0; i < entry->element[1]->elements; i++)
        if (entry->element[1]->element[i]->type != REDIS_REPLY_STRING)
            return NULL;
    return entry->element[1];
}

static bool is_ours(const redisReply *fields)
{
    redisReply *const *all = fields->element;

    return fields->elements >= OWN_FIELDS && fields->elements % 2 == 0 &&
           is_named(all[0], REDIS_FIELD_SUBJECT) && is_text(all[1]) &&
           is_named(all[2], REDIS_FIELD_ID) && is_text(all[3]) &&
           is_named(all[4], REDIS_FIELD_DATA);
}

size_t redis_header_count(const redisReply *entry)
{
    const redisReply *fields = fields_of(entry);

    if (!fields)
        return 0;
    return is_ours(fields) ? (fields->elements - OWN_FIELDS) / 2 : fields->elements / 2;
}

static void read_headers(const redisReply *fields, size_t from, struct broker_header *headers,
                         struct broker_delivery *out)
{
    for (size_t i = from; i + 1 < fields->elements; i += 2)
        headers[out->header_count++] =
            (struct broker_header){fields->element[i]->str, fields->element[i + 1]->str};
    out->headers = headers;
}

bool redis_entry_read(const redisReply *entry, struct broker_header *headers,
                      struct broker_delivery *out)
{
    const redisReply *fields = fields_of(entry);

    *out = (struct broker_delivery){.subject = "", .id = "", .data = "", .sequence = ""};
    if (entry->type == REDIS_REPLY_ARRAY && entry->elements > 0 && is_text(entry->element[0])) {
        out->sequence = entry->element[0]->str;
        out->stored_ms = strtoll(out->sequence, NULL, 10); /* "<milliseconds>-<number>" */
    }
    if (!fields)
        return false;
    if (!is_ours(fields)) {
        read_headers(fields, 0, headers, out);
        return false;
    }
    out->subject = fields->element[1]->str;
    out->id = fields->element[3]->str;
    out->data = fields->element[5]->str;
    out->size = fields->element[5]->len;
    read_headers(fields, OWN_FIELDS, headers, out);
    return true;
}
