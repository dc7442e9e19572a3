#include "broker/redis_pending.h"

#include "base/memory.h"
#include "broker/redis_driver.h"

#include <stdlib.h>
#include <string.h>

#define ARGUMENT_FRAME 16 /* "$1048576" and two line ends, at most */
#define OWN_ARGUMENTS 4   /* how many there are of headers; subject, id, data */
#define LOOK_AHEAD 1024   /* messages, for those of one stream */

static size_t decimal(char *out, size_t value)
{
    char digits[20];
    size_t count = 0;

    do {
        digits[count++] = (char)('0' + value % 10);
    } while (value /= 10);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    return count;
}

static char *put(char *at, const void *bytes, size_t size)
{
    if (size > 0)
        memcpy(at, bytes, size);
    return at + size;
}

static char *put_argument(char *at, const void *bytes, size_t size)
{
    *at++ = '$';
    at += decimal(at, size);
    at = put(at, "\r\n", 2);
    at = put(at, bytes, size);
    return put(at, "\r\n", 2);
}

static char *put_text(char *at, const char *text)
{
    return put_argument(at, text, strlen(text));
}

static char *put_number(char *at, size_t value)
{
    char digits[20];
    size_t size = decimal(digits, value);

    return put_argument(at, digits, size);
}

static size_t text_bytes(const struct broker_message *message)
{
    size_t bytes = strlen(message->subject) + strlen(message->id) + message->size;

    for (size_t i = 0; i < message->header_count; i++)
        bytes += strlen(message->headers[i].name) + strlen(message->headers[i].value);
    return bytes;
}

static char *put_arguments(char *at, const struct broker_message *message)
{
    at = put_number(at, 2 * message->header_count);
    at = put_text(at, message->subject);
    at = put_text(at, message->id);
    at = put_argument(at, message->data, message->size);
    for (size_t i = 0; i < message->header_count; i++) {
        at = put_text(at, message->headers[i].name);
        at = put_text(at, message->headers[i].value);
    }
    return at;
}

struct redis_pending *redis_pending_new(const struct broker_message *message)
{
    char key[REDIS_KEY_SIZE];
    size_t name_size = strlen(message->stream) + 1;
    size_t key_size = strlen(redis_key(key, message->stream, ":id:", message->id));
    size_t count = OWN_ARGUMENTS + 2 * message->header_count;
    size_t most = name_size + key_size + text_bytes(message) + (count + 1) * ARGUMENT_FRAME;
    struct redis_pending *pending = memory_resize(NULL, sizeof(*pending) + most);

    *pending = (struct redis_pending){.argument_count = count};
    char *start = put(pending->stream, message->stream, name_size);
    char *arguments = put_argument(start, key, key_size);
    pending->pieces = start;
    pending->key_size = (size_t)(arguments - start);
    pending->argument_size = (size_t)(put_arguments(arguments, message) - arguments);
    return pending;
}

size_t redis_pending_size(const struct redis_pending *pending)
{
    return sizeof(*pending) + pending->key_size + pending->argument_size;
}

/* ---- lists ---- */

void redis_pendings_add(struct redis_pendings *list, struct redis_pending *pending)
{
    pending->next = NULL;
    if (list->last)
        list->last->next = pending;
    else
        list->first = pending;
    list->last = pending;
    list->count++;
}

struct redis_pending *redis_pendings_take(struct redis_pendings *list)
{
    struct redis_pending *pending = list->first;

    if (!pending)
        return NULL;
    list->first = pending->next;
    if (!list->first)
        list->last = NULL;
    list->count--;
    return pending;
}

void redis_pendings_put_back(struct redis_pendings *list, struct redis_pendings *front)
{
    if (!front->first)
        return;
    front->last->next = list->first;
    if (!list->first)
        list->last = front->last;
    list->first = front->first;
    list->count += front->count;
    *front = (struct redis_pendings){0};
}

void redis_pendings_batch(struct redis_pendings *list, size_t most, size_t most_bytes,
                          struct redis_pendings *out)
{
    struct redis_pendings others = {0};
    size_t bytes = 0;

    for (size_t i = 0; list->first && i < LOOK_AHEAD && out->count < most && bytes < most_bytes;
         i++) {
        struct redis_pending *pending = redis_pendings_take(list);
        if (out->first && strcmp(out->first->stream, pending->stream) != 0) {
            redis_pendings_add(&others, pending);
            continue;
        }
        bytes += pending->argument_size;
        redis_pendings_add(out, pending);
    }
    redis_pendings_put_back(list, &others);
}
