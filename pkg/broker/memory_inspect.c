#include "broker/memory_driver.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEM_POINTER sizeof(void *) /* lists of items are lists of pointers to them */

static void measure(const struct memory_stream *stream, const struct memory_group *group,
                    int64_t at_ms, struct broker_lag *out)
{
    const struct memory_item *oldest = group->lease_count ? group->leases[0].item : NULL;

    *out = (struct broker_lag){.in_flight = (int64_t)group->lease_count};
    for (size_t i = 0; i < group->lease_count; i++)
        out->delayed += group->leases[i].delayed;
    for (size_t i = memory_stream_find(stream, group->next_sequence); i < stream->item_count; i++) {
        const struct memory_item *item = stream->items[i];
        if (!memory_group_wants(group, item))
            continue;
        out->unread++;
        if (!oldest)
            oldest = item;
    }
    if (oldest)
        out->oldest_age_ms = at_ms - oldest->stored_ms;
}

bool memory_lag(struct broker *base, const char *stream_name, const char *group_name,
                int timeout_ms, struct broker_lag *out, struct error *err)
{
    struct memory_world *world = memory_world_of(base);

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    struct memory_stream *stream = memory_reach_stream(world, stream_name, err);
    struct memory_group *group = stream ? memory_stream_group(stream, group_name) : NULL;
    if (group)
        measure(stream, group, memory_now_ms(world), out);
    else if (stream)
        error_set(err, ERROR_NOT_FOUND, "no consumer '%s'", group_name);
    pthread_mutex_unlock(&world->lock);
    return group != NULL;
}

/* The items from `from` on, held for the caller, so that no callback runs under the lock. */
static size_t hold_items(const struct memory_stream *stream, uint64_t from, size_t max,
                         struct memory_item ***out)
{
    size_t skipped = memory_stream_find(stream, from);
    size_t count = stream->item_count - skipped;

    if (count > max)
        count = max;
    *out = memory_alloc((count + 1) * ITEM_POINTER);
    for (size_t i = 0; i < count; i++) {
        (*out)[i] = stream->items[skipped + i];
        (*out)[i]->holders++;
    }
    return count;
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
bool memory_peek(struct broker *base, const char *name, const char *from, size_t max,
                 broker_peeked *each, void *context, int timeout_ms, struct error *err)
{
    struct memory_world *world = memory_world_of(base);
    uint64_t start = strtoull(from, NULL, 10);
    struct memory_item **items = NULL;
    size_t count = 0;

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    struct memory_stream *stream = memory_reach_stream(world, name, err);
    if (stream)
        count = hold_items(stream, start, max, &items);
    pthread_mutex_unlock(&world->lock);

    for (size_t i = 0; i < count; i++)
        each(context, &items[i]->delivery);
    pthread_mutex_lock(&world->lock);
    for (size_t i = 0; i < count; i++)
        memory_item_release(items[i]);
    pthread_mutex_unlock(&world->lock);
    free(items);
    return stream != NULL;
}

/* ---- remove ---- */

bool memory_remove(struct broker *base, const char *name, const char *const *sequences,
                   size_t count, int timeout_ms, struct error *err)
{
    struct memory_world *world = memory_world_of(base);

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    struct memory_stream *stream = memory_reach_stream(world, name, err);
    bool free_of_groups =
        stream && (!stream->groups ||
                   error_input(err, "has_consumers", "", "'%s' has consumers", stream->name));
    for (size_t i = 0; free_of_groups && i < count; i++) {
        uint64_t sequence = strtoull(sequences[i], NULL, 10);
        size_t place = memory_stream_find(stream, sequence);
        if (place < stream->item_count && stream->items[place]->sequence == sequence)
            memory_stream_drop(stream, place);
    }
    pthread_mutex_unlock(&world->lock);
    return free_of_groups;
}

/* ---- list ---- */

/* A stream, or one of its groups. The texts live as long as the world: nothing is undeclared. */
struct row {
    struct broker_stream_info stream;
    struct broker_group_info group; /* its name is NULL in a stream's row */
};

static struct broker_stream_info stream_info(const struct memory_stream *stream)
{
    struct broker_stream_info info = {
        .settings = {.name = stream->name,
                     .subjects = stream->subjects,
                     .max_bytes = stream->max_bytes,
                     .dedup_window_ms = stream->dedup_window_ms,
                     .replicas = stream->replicas,
                     .telemetry = stream->telemetry},
        .messages = stream->item_count,
        .bytes = (int64_t)stream->bytes,
    };
    uint64_t first = stream->item_count ? stream->items[0]->sequence : stream->end_sequence;

    if (stream->end_sequence > 1) {
        snprintf(info.first, sizeof(info.first), "%" PRIu64, first);
        snprintf(info.last, sizeof(info.last), "%" PRIu64, stream->end_sequence - 1);
    }
    return info;
}

static struct broker_group_info group_info(const struct memory_stream *stream,
                                           const struct memory_group *group, int64_t at_ms)
{
    struct broker_group_info info = {.settings = {.stream = stream->name,
                                                  .name = group->name,
                                                  .filter = group->filter,
                                                  .ack_wait_ms = group->ack_wait_ms,
                                                  .max_in_flight = group->max_in_flight,
                                                  .max_attempts = group->max_attempts}};

    measure(stream, group, at_ms, &info.lag);
    return info;
}

/* A stream before its groups. */
static int compare_rows(const void *a, const void *b)
{
    const struct row *left = a, *right = b;
    const char *left_group = left->group.settings.name, *right_group = right->group.settings.name;
    int streams = strcmp(left->stream.settings.name, right->stream.settings.name);

    return streams ? streams : strcmp(left_group ? left_group : "", right_group ? right_group : "");
}

static struct row *add_row(struct row **rows, size_t *count, const struct memory_stream *stream)
{
    *rows = memory_resize(*rows, (*count + 1) * sizeof(**rows));
    struct row *row = &(*rows)[(*count)++];
    *row = (struct row){.stream = stream_info(stream)};
    return row;
}

static size_t make_rows(const struct memory_world *world, struct row **out)
{
    int64_t at_ms = memory_now_ms(world);
    size_t count = 0;

    *out = NULL;
    for (const struct memory_stream *stream = world->streams; stream; stream = stream->next) {
        add_row(out, &count, stream);
        for (const struct memory_group *group = stream->groups; group; group = group->next)
            add_row(out, &count, stream)->group = group_info(stream, group, at_ms);
    }
    if (count)
        qsort(*out, count, sizeof(**out), compare_rows);
    return count;
}

bool memory_list(struct broker *base, broker_listed *each, void *context, int timeout_ms,
                 struct error *err)
{
    struct memory_world *world = memory_world_of(base);
    struct row *rows = NULL;
    size_t count = 0;

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool here = !memory_is_away(world, err);
    if (here)
        count = make_rows(world, &rows);
    pthread_mutex_unlock(&world->lock);
    for (size_t i = 0; i < count; i++)
        each(context, &rows[i].stream, rows[i].group.settings.name ? &rows[i].group : NULL);
    free(rows);
    return here;
}

/* ---- examine ---- */

static const struct broker_finding findings[] = {
    {BROKER_NOTICE, "server", "There is none: this broker is a model inside the process.", ""},
    {BROKER_WRONG, "durability",
     "What was acknowledged is kept nowhere but in the memory of this process, and is lost when it "
     "ends; other processes see none of it.",
     "This broker is for tests alone: set BROKER_URL to a nats:// or redis:// address."},
};

bool memory_examine(struct broker *base, broker_found_that *each, void *context, int timeout_ms,
                    struct error *err)
{
    struct memory_world *world = memory_world_of(base);

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool here = !memory_is_away(world, err);
    pthread_mutex_unlock(&world->lock);
    for (size_t i = 0; here && i < ARRAY_LEN(findings); i++)
        each(context, &findings[i]);
    return here;
}
