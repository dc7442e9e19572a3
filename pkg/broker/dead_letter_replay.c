/* What becomes of dead letters: published again, or removed for good. Both go over them in groups,
 * and next is always the first letter that is still there. */
#include "broker/dead_letter_walk.h"

#include "base/arena.h"
#include "base/buffer.h"
#include "base/id.h"
#include "base/memory.h"
#include "broker/broker_driver.h"
#include "broker/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ARENA_CHUNK ((size_t)64 * 1024)
#define REPLAY_GROUP 64 /* published together */
#define REPLAY_GROUP_BYTES ((size_t)4 * 1024 * 1024)
#define REPLAY_GROUPS_PER_SECOND 20 /* at a limited rate */
#define LINEAGE_HEADERS 5
#define PURGE_GROUP 256

/* ---- what both do ---- */

/* A walk that is worked on. */
struct labour {
    struct dead_walk walk;
    struct dead_work *work;
    bool wants_all;                   /* of the original: it is to be replayed */
    char first[BROKER_SEQUENCE_SIZE]; /* where the group begins that is being worked on */
};

static void labour_start(struct labour *labour, struct broker *broker,
                         const struct dead_filter *filter, struct dead_work *work, int timeout_ms)
{
    dead_walk_start(&labour->walk, broker, filter, work->from, timeout_ms);
    labour->work = work;
    work->matched = work->done = work->cut = 0;
    memcpy(labour->first, labour->walk.next, sizeof(labour->first));
}

static size_t room_of(const struct dead_work *work, size_t group)
{
    size_t left = work->max - work->matched;

    return left < group ? left : group;
}

static bool is_over(const struct labour *labour)
{
    return !labour->walk.next[0] || dead_walk_is_late(&labour->walk) ||
           labour->work->matched == labour->work->max;
}

/* False for half of an original, and for what does not say where it came from. */
static bool is_complete(const struct broker_delivery *letter)
{
    struct error ignored;

    return !broker_header(letter, DEAD_SIZE) &&
           check_name("stream", broker_header(letter, DEAD_ORIGIN), &ignored) &&
           check_subject(broker_header(letter, DEAD_SUBJECT), &ignored);
}

static enum dead_step count_letter(void *context, const struct broker_delivery *letter)
{
    struct labour *labour = context;
    struct dead_work *work = labour->work;

    if (work->matched == work->max)
        return DEAD_STOP;
    work->matched++;
    work->cut += labour->wants_all && !is_complete(letter);
    return DEAD_GO_ON;
}

static bool only_count(struct labour *labour, struct error *err)
{
    return dead_walk_on(&labour->walk, labour->work->max, count_letter, labour, err);
}

static bool remove_letters(struct labour *labour, const char *const *sequences, size_t count,
                           struct error *err)
{
    if (!broker_remove(labour->walk.broker, DEAD_STREAM, sequences, count,
                       dead_walk_remaining_ms(&labour->walk), err))
        return false;
    labour->work->done += count;
    return true;
}

/* When it failed, what was worked on last is worked on again. */
static bool labour_end(struct labour *labour, bool well)
{
    const char *next = well ? labour->walk.next : labour->first;

    memcpy(labour->work->next, next, sizeof(labour->work->next));
    return well;
}

/* ---- the end of DEAD ---- */

static void note_end(void *context, const struct broker_stream_info *stream,
                     const struct broker_group_info *group)
{
    struct dead_work *work = context;

    if (!group && strcmp(stream->settings.name, DEAD_STREAM) == 0)
        snprintf(work->end, sizeof(work->end), "%s", stream->last);
}

/* Without it a replay would meet again what it has replayed and what has failed again. */
static bool find_end(struct labour *labour, struct error *err)
{
    return labour->work->end[0] ||
           broker_list(labour->walk.broker, note_end, labour->work,
                       dead_walk_remaining_ms(&labour->walk), err) ||
           error_wrap(err, "find the last dead letter");
}

/* Sequences are numbers, "17", or pairs of them, "1700000000000-3". */
static bool is_behind(const char *sequence, const char *end)
{
    char *rest, *end_rest;
    uint64_t number = strtoull(sequence, &rest, 10), end_number = strtoull(end, &end_rest, 10);

    if (number != end_number)
        return number > end_number;
    return strtoull(*rest ? rest + 1 : "", NULL, 10) >
           strtoull(*end_rest ? end_rest + 1 : "", NULL, 10);
}

/* ---- replay ---- */

struct replay {
    struct labour labour;
    struct arena *arena; /* of the group */
    struct broker_message messages[REPLAY_GROUP];
    const char *sequences[REPLAY_GROUP]; /* of the letters */
    size_t count, room, bytes;
};

static const char *copy(struct replay *replay, const char *text)
{
    return arena_copy(replay->arena, text, strlen(text));
}

static const char *print_number(struct replay *replay, unsigned number)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", number);
    return copy(replay, text);
}

/* The same letter gives the same id, and every further replay of its message another. */
static const char *replay_id(struct replay *replay, const struct broker_delivery *letter,
                             const struct dead_origin *origin)
{
    AUTO(buffer_free) struct buffer text = {0};
    char hash[ID_TEXT_SIZE], suffix[16];
    int suffix_size = snprintf(suffix, sizeof(suffix), "~r%u", origin->replays + 1);

    if (origin->id[0])
        buffer_text(&text, origin->id);
    else
        buffer_print(&text, "%s:%s", broker_header(letter, DEAD_ORIGIN), origin->sequence);
    if (origin->part)
        buffer_print(&text, "~p%u", origin->part);
    if (text.size + (size_t)suffix_size > BROKER_ID_MAX) {
        struct id id = id_derive("replay", text.data, text.size);
        id_format(&id, hash);
        buffer_clear(&text);
        buffer_print(&text, "replay:%s", hash);
    }
    buffer_text(&text, suffix);
    return copy(replay, text.data);
}

static void add_header(struct broker_message *message, const char *name, const char *value)
{
    struct broker_header *headers = (struct broker_header *)message->headers;

    headers[message->header_count++] = (struct broker_header){name, value};
}

static void add_headers(struct replay *replay, const struct broker_delivery *letter,
                        const struct dead_origin *origin, struct broker_message *message)
{
    static const char *const carried[] = {DEAD_ID, DEAD_SEQUENCE, DEAD_FIRST, DEAD_PART};

    message->headers = arena_alloc(replay->arena, (letter->header_count + LINEAGE_HEADERS) *
                                                      sizeof(*letter->headers));
    for (size_t i = 0; i < letter->header_count; i++)
        if (dead_header_is_original(&letter->headers[i]))
            add_header(message, copy(replay, letter->headers[i].name),
                       copy(replay, letter->headers[i].value));
    for (size_t i = 0; i < ARRAY_LEN(carried); i++) {
        const char *value = broker_header(letter, carried[i]);
        if (value)
            add_header(message, carried[i], copy(replay, value));
    }
    add_header(message, DEAD_REPLAYS, print_number(replay, origin->replays + 1));
}

static bool has_room(const struct replay *replay, size_t size)
{
    return replay->count < replay->room &&
           (replay->count == 0 || replay->bytes + size <= REPLAY_GROUP_BYTES);
}

static void add_message(struct replay *replay, const struct broker_delivery *letter)
{
    const struct dead_origin origin = dead_letter_told(letter);
    struct broker_message *message = &replay->messages[replay->count];

    *message = (struct broker_message){
        .stream = copy(replay, broker_header(letter, DEAD_ORIGIN)),
        .subject = copy(replay, broker_header(letter, DEAD_SUBJECT)),
        .id = replay_id(replay, letter, &origin),
        .data = arena_copy(replay->arena, letter->data, letter->size),
        .size = letter->size,
    };
    add_headers(replay, letter, &origin, message);
    replay->sequences[replay->count++] = copy(replay, letter->sequence);
    replay->bytes += letter->size;
}

static enum dead_step collect(void *context, const struct broker_delivery *letter)
{
    struct replay *replay = context;
    struct dead_work *work = replay->labour.work;

    if (work->end[0] && is_behind(letter->sequence, work->end))
        return DEAD_END;
    if (work->matched == work->max || !has_room(replay, letter->size))
        return DEAD_STOP;
    work->matched++;
    if (is_complete(letter))
        add_message(replay, letter);
    else
        work->cut++;
    return DEAD_GO_ON;
}

/* Removes the letters of what was stored; the first that was not is where to go on. */
static bool publish_group(struct replay *replay, struct error *err)
{
    struct broker_receipt receipts[REPLAY_GROUP];
    const char *stored[REPLAY_GROUP];
    struct labour *labour = &replay->labour;
    struct error not_removed;
    size_t stored_count = 0, failed = replay->count;

    bool all = broker_send(labour->walk.broker, replay->messages, replay->count,
                           dead_walk_remaining_ms(&labour->walk) / 2, receipts, err);
    for (size_t i = replay->count; i-- > 0;)
        if (receipts[i].error.code == ERROR_NONE)
            stored[stored_count++] = replay->sequences[i];
        else
            failed = i;
    if (stored_count && !remove_letters(labour, stored, stored_count, &not_removed)) {
        *err = not_removed;
        return error_wrap(err, "dead letters were replayed and are still there");
    }
    if (all)
        return true;
    snprintf(labour->first, sizeof(labour->first), "%s", replay->sequences[failed]);
    return error_wrap(err, "dead letter %s to '%s'", replay->sequences[failed],
                      replay->messages[failed].stream);
}

/* Looks at letters until there is a group of them, and publishes it. */
static bool replay_group(struct replay *replay, struct error *err)
{
    struct labour *labour = &replay->labour;
    struct dead_work *work = labour->work, before = *work;

    arena_reset(replay->arena);
    replay->count = replay->bytes = 0;
    memcpy(labour->first, labour->walk.next, sizeof(labour->first));
    if (!dead_walk_on(&labour->walk, replay->room, collect, replay, err)) {
        work->matched = before.matched;
        work->cut = before.cut;
        return false;
    }
    return replay->count == 0 || publish_group(replay, err);
}

/* ---- the rate ---- */

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

static size_t group_size(int per_second)
{
    size_t size = (size_t)per_second / REPLAY_GROUPS_PER_SECOND;

    if (per_second == 0 || size > REPLAY_GROUP)
        return REPLAY_GROUP;
    return size ? size : 1;
}

/* False when it is not the next group's turn before the time is over. What was late is not caught
 * up, so that the rate holds over any second. */
static bool wait_for_turn(const struct labour *labour)
{
    int64_t due_ms = labour->work->due_ms, last_ms = labour->walk.last_look_ms;
    int64_t until_ms = due_ms < last_ms ? due_ms : last_ms;
    const struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};

    while (now_ms() < until_ms)
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    return due_ms <= last_ms;
}

static void set_turn(struct dead_work *work, int64_t begun_ms, size_t count)
{
    if (work->per_second > 0)
        work->due_ms = begun_ms + ((int64_t)count * 1000 + work->per_second - 1) / work->per_second;
}

static bool replay_groups(struct replay *replay, struct error *err)
{
    struct dead_work *work = replay->labour.work;
    size_t size = group_size(work->per_second);

    do {
        if (!wait_for_turn(&replay->labour))
            return true;
        int64_t begun_ms = now_ms();
        replay->room = room_of(work, size);
        if (!replay_group(replay, err))
            return false;
        set_turn(work, begun_ms, replay->count);
    } while (!is_over(&replay->labour));
    return true;
}

bool dead_letter_replay(struct broker *broker, const struct dead_filter *filter,
                        struct dead_work *work, int timeout_ms, struct error *err)
{
    AUTO(arena_free) struct arena *arena = arena_new(ARENA_CHUNK);
    struct replay *replay = arena_alloc(arena, sizeof(*replay));
    bool well;

    labour_start(&replay->labour, broker, filter, work, timeout_ms);
    if (work->per_second < 0)
        return error_set(err, ERROR_INVALID, "replay dead letters: a negative rate");
    replay->labour.wants_all = true;
    if (!find_end(&replay->labour, err)) {
        /* the time is over, and next is where it began; where it is "", that would be the end */
        well = err->code == ERROR_TIMEOUT && replay->labour.walk.next[0];
    } else if (work->dry_run) {
        well = only_count(&replay->labour, err);
    } else {
        AUTO(arena_free) struct arena *group = arena_new(ARENA_CHUNK);
        replay->arena = group;
        well = replay_groups(replay, err);
    }
    return labour_end(&replay->labour, well) || error_wrap(err, "replay dead letters");
}

/* ---- purge ---- */

struct purge {
    struct labour labour;
    char sequences[PURGE_GROUP][BROKER_SEQUENCE_SIZE];
    size_t count, room;
};

static enum dead_step note_sequence(void *context, const struct broker_delivery *letter)
{
    struct purge *purge = context;

    if (purge->count == purge->room)
        return DEAD_STOP;
    snprintf(purge->sequences[purge->count++], BROKER_SEQUENCE_SIZE, "%s", letter->sequence);
    purge->labour.work->matched++;
    return DEAD_GO_ON;
}

static bool purge_group(struct purge *purge, struct error *err)
{
    struct labour *labour = &purge->labour;
    const char *sequences[PURGE_GROUP];

    memcpy(labour->first, labour->walk.next, sizeof(labour->first));
    purge->count = 0;
    purge->room = room_of(labour->work, PURGE_GROUP);
    bool walked = dead_walk_on(&labour->walk, purge->room, note_sequence, purge, err);
    if (!walked)
        labour->work->matched -= purge->count;
    for (size_t i = 0; i < purge->count; i++)
        sequences[i] = purge->sequences[i];
    return walked && (purge->count == 0 || remove_letters(labour, sequences, purge->count, err));
}

static bool purge_groups(struct purge *purge, struct error *err)
{
    do {
        if (!purge_group(purge, err))
            return false;
    } while (!is_over(&purge->labour));
    return true;
}

bool dead_letter_purge(struct broker *broker, const struct dead_filter *filter,
                       struct dead_work *work, int timeout_ms, struct error *err)
{
    struct purge *purge = memory_alloc(sizeof(*purge));

    labour_start(&purge->labour, broker, filter, work, timeout_ms);
    bool well;
    if (dead_filter_is_empty(filter))
        well = error_input(err, "empty_filter", "", "say which dead letters are meant");
    else
        well = work->dry_run ? only_count(&purge->labour, err) : purge_groups(purge, err);
    well = labour_end(&purge->labour, well);
    free(purge);
    return well || error_wrap(err, "purge dead letters");
}
