/* Foreign replies in the place of an entry: nothing is read outside, and what is found is text. */
#include "broker/redis_driver.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_entry(const redisReply *entry)
{
    size_t count = redis_header_count(entry), length = 0;
    struct broker_header *headers = calloc(count + 1, sizeof(*headers));
    struct broker_delivery delivery;

    if (!headers)
        return;
    bool ours = redis_entry_read(entry, headers, &delivery);
    if (delivery.header_count != count || (!ours && delivery.size > 0) || headers[count].name)
        abort();
    length += strlen(delivery.subject) + strlen(delivery.id) + strlen(delivery.sequence);
    for (size_t i = 0; i < count; i++)
        length += strlen(headers[i].name) + strlen(headers[i].value);
    for (size_t i = 0; i < delivery.size; i++)
        length += (unsigned char)delivery.data[i];
    if (length > SIZE_MAX / 2)
        abort();
    free(headers);
}

static void read_reply(const redisReply *reply)
{
    struct error err;
    bool retry;

    if (reply->type == REDIS_REPLY_ERROR)
        redis_refusal(reply, &err, &retry);
    read_entry(reply);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        read_entry(reply->element[i]);
}

static void read_url(const uint8_t *data, size_t size)
{
    struct redis_address *address;
    char *text = calloc(1, size + 1);
    struct error err;

    if (!text)
        return;
    memcpy(text, data, size);
    if (redis_address_parse(&address, text, &err))
        redis_address_free(address);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;

    read_url(data, size);
    if (reader)
        redis_reply_use(reader);
    if (reader && redisReaderFeed(reader, (const char *)data, size) == REDIS_OK) {
        while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply) {
            read_reply(reply);
            redis_reply_free(reply);
        }
    }
    if (reader)
        redisReaderFree(reader);
    return 0;
}
