#include "broker/dead_letter.h"

#include "base/arena.h"
#include "base/id.h"
#include "base/memory.h"
#include "base/rfc3339.h"
#include "broker/broker_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ARENA_CHUNK 4096
#define ADDED_HEADERS 12
#define KEPT_HEADERS_BYTES 8192 /* of the original headers; beyond, they stay behind */
#define ERROR_MAX_BYTES 1024

/* The broker's own headers would change how the dead letter is stored, those of an earlier death
 * would contradict this one's. */
static bool is_kept(const struct broker_header *header)
{
    return strncasecmp(header->name, "Nats-", 5) != 0 && strncasecmp(header->name, "dead-", 5) != 0;
}

/* A copy that can be a header's value: on one line and not longer than makes sense. */
static const char *one_line(struct arena *arena, const char *text)
{
    char *copy = arena_copy(arena, text, strnlen(text, ERROR_MAX_BYTES));

    for (char *at = copy; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = ' ';
    return copy;
}

static const char *number_text(struct arena *arena, size_t number)
{
    char text[24];
    int size = snprintf(text, sizeof(text), "%zu", number);

    return arena_copy(arena, text, (size_t)size);
}

static const char *time_text(struct arena *arena, int64_t time_ms)
{
    char text[RFC3339_SIZE];

    rfc3339_format(time_ms, text);
    return arena_copy(arena, text, strlen(text));
}

static int64_t now_ms(const struct broker *broker)
{
    const struct clock *clock = broker->options.clock ? broker->options.clock : clock_system();

    return clock_wall_ms(clock);
}

static void add_headers(const struct broker_consumer *consumer, const struct dead_letter *letter,
                        struct arena *arena, struct broker_message *message)
{
    const struct broker_delivery *dead = letter->delivery;
    struct broker_header *headers =
        arena_alloc(arena, (dead->header_count + ADDED_HEADERS) * sizeof(*headers));
    size_t count = 0, bytes = 0;

    for (size_t i = 0; i < dead->header_count; i++) {
        bytes += strlen(dead->headers[i].name) + strlen(dead->headers[i].value);
        if (is_kept(&dead->headers[i]) && bytes <= KEPT_HEADERS_BYTES)
            headers[count++] = dead->headers[i];
    }
    headers[count++] = (struct broker_header){DEAD_REASON, one_line(arena, letter->reason)};
    headers[count++] = (struct broker_header){DEAD_ERROR, one_line(arena, letter->error)};
    headers[count++] = (struct broker_header){DEAD_ATTEMPTS, number_text(arena, dead->attempt)};
    headers[count++] = (struct broker_header){DEAD_ORIGIN, consumer->group->stream};
    headers[count++] = (struct broker_header){DEAD_SUBJECT, dead->subject};
    headers[count++] = (struct broker_header){DEAD_SEQUENCE, dead->sequence};
    headers[count++] = (struct broker_header){DEAD_CONSUMER, consumer->group->name};
    headers[count++] = (struct broker_header){DEAD_FIRST, time_text(arena, dead->stored_ms)};
    headers[count++] =
        (struct broker_header){DEAD_LAST, time_text(arena, now_ms(consumer->broker))};
    if (dead->id[0])
        headers[count++] = (struct broker_header){DEAD_ID, dead->id};
    if (letter->size > BROKER_MESSAGE_MAX)
        headers[count++] = (struct broker_header){DEAD_SIZE, number_text(arena, letter->size)};
    if (letter->part)
        headers[count++] = (struct broker_header){DEAD_PART, number_text(arena, letter->part)};
    message->headers = headers;
    message->header_count = count;
}

/* Long names give way to a hash of all of it: still the same id for the same death. */
static const char *letter_id(const struct broker_consumer *consumer,
                             const struct dead_letter *letter, struct arena *arena)
{
    char text[BROKER_ID_MAX * 4], part[16] = "", hash[ID_TEXT_SIZE];

    if (letter->part)
        snprintf(part, sizeof(part), ":%u", letter->part);
    int size = snprintf(text, sizeof(text), "dead:%s:%s:%s%s", consumer->group->stream,
                        consumer->group->name, letter->delivery->sequence, part);
    if (size > BROKER_ID_MAX) {
        struct id id = id_derive("dead", text, (size_t)size);
        id_format(&id, hash);
        size = snprintf(text, sizeof(text), "dead:%s", hash);
    }
    return arena_copy(arena, text, (size_t)size);
}

static const char *letter_subject(const struct broker_consumer *consumer, struct arena *arena)
{
    char text[BROKER_ID_MAX * 3];
    int size =
        snprintf(text, sizeof(text), "dead.%s.%s", consumer->group->stream, consumer->group->name);

    return arena_copy(arena, text, (size_t)size);
}

static void count_buried(struct broker_consumer *consumer, const struct dead_letter *letter,
                         const struct broker_receipt *receipt)
{
    char detail[BROKER_ID_MAX * 4];

    if (receipt->error.code != ERROR_NONE)
        return;
    atomic_fetch_add(&consumer->broker->counters.buried, !receipt->duplicate);
    snprintf(detail, sizeof(detail), "%s %s %s: %s", consumer->group->stream, consumer->group->name,
             letter->delivery->sequence, letter->reason);
    broker_observe(consumer->broker, BROKER_BURIED, detail);
}

bool dead_letter_store(struct broker_consumer *consumer, const struct dead_letter *letters,
                       size_t count, int timeout_ms, struct error *err)
{
    AUTO(arena_free) struct arena *arena = arena_new(ARENA_CHUNK);
    struct broker_message *messages = arena_alloc(arena, count * sizeof(*messages));
    struct broker_receipt *receipts = arena_alloc(arena, count * sizeof(*receipts));
    const char *subject = letter_subject(consumer, arena);

    for (size_t i = 0; i < count; i++) {
        messages[i] = (struct broker_message){
            .stream = DEAD_STREAM,
            .subject = subject,
            .id = letter_id(consumer, &letters[i], arena),
            .data = letters[i].data,
            .size = letters[i].size < BROKER_MESSAGE_MAX ? letters[i].size : BROKER_MESSAGE_MAX,
        };
        add_headers(consumer, &letters[i], arena, &messages[i]);
    }
    bool stored = broker_send(consumer->broker, messages, count, timeout_ms, receipts, err);
    for (size_t i = 0; i < count; i++)
        count_buried(consumer, &letters[i], &receipts[i]);
    return stored || error_wrap(err, "dead letter");
}

bool dead_letter_bury(struct broker_consumer *consumer, const struct dead_part *parts, size_t count,
                      int timeout_ms, struct error *err)
{
    struct dead_letter *letters = memory_alloc((count + 1) * sizeof(*letters));

    for (size_t i = 0; i < count; i++) {
        if (parts[i].delivery >= consumer->shown.count) {
            free(letters);
            return error_set(err, ERROR_INTERNAL, "dead letter: no delivery %zu of %zu",
                             parts[i].delivery, consumer->shown.count);
        }
        letters[i] = (struct dead_letter){
            .delivery = &consumer->shown.deliveries[parts[i].delivery],
            .part = parts[i].number,
            .data = parts[i].data,
            .size = parts[i].size,
            .reason = parts[i].reason,
            .error = parts[i].error ? parts[i].error : "",
        };
    }
    bool stored = dead_letter_store(consumer, letters, count, timeout_ms, err);
    free(letters);
    return stored;
}
