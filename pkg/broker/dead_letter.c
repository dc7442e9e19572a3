#include "broker/dead_letter_walk.h"

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
#define ADDED_HEADERS 13
#define KEPT_HEADERS_BYTES 8192 /* of the original headers; beyond, they stay behind */
#define ERROR_MAX_BYTES 1024

/* The broker's own headers would change how the dead letter is stored, those of an earlier death
 * would contradict this one's. */
bool dead_header_is_original(const struct broker_header *header)
{
    return strncasecmp(header->name, "Nats-", 5) != 0 && strncasecmp(header->name, "dead-", 5) != 0;
}

static unsigned number_of(const struct broker_delivery *delivery, const char *name)
{
    const char *text = broker_header(delivery, name);

    return text && strlen(text) < 10 ? (unsigned)strtoul(text, NULL, 10) : 0;
}

static const char *text_of(const struct broker_delivery *delivery, const char *name)
{
    const char *text = broker_header(delivery, name);

    return text ? text : "";
}

struct dead_origin dead_letter_told(const struct broker_delivery *letter)
{
    const char *first = text_of(letter, DEAD_FIRST);
    struct dead_origin origin = {
        .id = text_of(letter, DEAD_ID),
        .sequence = text_of(letter, DEAD_SEQUENCE),
        .part = number_of(letter, DEAD_PART),
        .replays = number_of(letter, DEAD_REPLAYS),
    };

    if (!rfc3339_parse(first, strlen(first), &origin.stored_ms))
        origin.stored_ms = letter->stored_ms;
    return origin;
}

struct dead_origin dead_letter_origin(const struct broker_delivery *delivery)
{
    struct dead_origin told = dead_letter_told(delivery);

    return told.sequence[0] ? told
                            : (struct dead_origin){.id = delivery->id,
                                                   .sequence = delivery->sequence,
                                                   .stored_ms = delivery->stored_ms};
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

/* The headers of a message that is being made; there is room for all of them. */
struct header_list {
    struct arena *arena;
    struct broker_header *headers;
    size_t count;
};

static void add_text(struct header_list *list, const char *name, const char *value)
{
    list->headers[list->count++] = (struct broker_header){name, value};
}

static void add_number(struct header_list *list, const char *name, size_t number)
{
    if (number)
        add_text(list, name, number_text(list->arena, number));
}

/* False: not all of them fitted. */
static bool add_originals(struct header_list *list, const struct broker_delivery *dead)
{
    size_t bytes = 0;

    for (size_t i = 0; i < dead->header_count; i++) {
        const struct broker_header *header = &dead->headers[i];
        if (!dead_header_is_original(header))
            continue;
        bytes += strlen(header->name) + strlen(header->value);
        if (bytes > KEPT_HEADERS_BYTES)
            return false;
        add_text(list, header->name, header->value);
    }
    return true;
}

static void add_headers(const struct broker_consumer *consumer, const struct dead_letter *letter,
                        struct arena *arena, struct broker_message *message)
{
    const struct broker_delivery *dead = letter->delivery;
    const struct dead_origin origin = dead_letter_origin(dead);
    struct header_list list = {
        .arena = arena,
        .headers = arena_alloc(arena, (dead->header_count + ADDED_HEADERS) * sizeof(*list.headers)),
    };

    bool whole = add_originals(&list, dead) && letter->size <= BROKER_MESSAGE_MAX;
    add_text(&list, DEAD_REASON, one_line(arena, letter->reason));
    add_text(&list, DEAD_ERROR, one_line(arena, letter->error));
    add_text(&list, DEAD_ATTEMPTS, number_text(arena, dead->attempt));
    add_text(&list, DEAD_ORIGIN, consumer->group->stream);
    add_text(&list, DEAD_SUBJECT, dead->subject);
    add_text(&list, DEAD_SEQUENCE, origin.sequence);
    add_text(&list, DEAD_CONSUMER, consumer->group->name);
    add_text(&list, DEAD_FIRST, time_text(arena, origin.stored_ms));
    add_text(&list, DEAD_LAST, time_text(arena, now_ms(consumer->broker)));
    if (origin.id[0])
        add_text(&list, DEAD_ID, origin.id);
    if (!whole)
        add_text(&list, DEAD_SIZE, number_text(arena, letter->size));
    add_number(&list, DEAD_PART, letter->part ? letter->part : origin.part);
    add_number(&list, DEAD_REPLAYS, origin.replays);
    message->headers = list.headers;
    message->header_count = list.count;
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
