#include "broker/memory_driver.h"

#include <stdio.h>
#include <string.h>

static void declare_stream(struct memory_world *world, const struct broker_stream *wanted,
                           const struct broker_declaration *declaration)
{
    struct memory_stream *stream = memory_find_stream(world, wanted->name);
    char detail[128] = "";

    if (!stream) {
        stream = memory_stream_new(wanted);
        stream->next = world->streams;
        world->streams = stream;
        declaration->report(declaration->context, wanted->name, BROKER_CREATED, "");
        return;
    }
    snprintf(detail, sizeof(detail), "%s%s%s%s",
             strcmp(stream->subjects, wanted->subjects) != 0 ? "subjects " : "",
             stream->max_bytes != wanted->max_bytes ? "max_bytes " : "",
             stream->dedup_window_ms != wanted->dedup_window_ms ? "dedup_window_ms " : "",
             stream->telemetry != wanted->telemetry ? "telemetry " : "");
    declaration->report(declaration->context, wanted->name, *detail ? BROKER_DRIFTED : BROKER_SAME,
                        detail);
}

static bool declare_group(struct memory_world *world, const struct broker_group *wanted,
                          const struct broker_declaration *declaration, struct error *err)
{
    struct memory_stream *stream = memory_find_stream(world, wanted->stream);
    const struct memory_group *group;
    char detail[128] = "";

    if (!stream)
        return error_set(err, ERROR_NOT_FOUND, "no stream '%s'", wanted->stream);
    group = memory_stream_group(stream, wanted->name);
    if (!group) {
        memory_stream_add_group(stream, wanted);
        declaration->report(declaration->context, wanted->name, BROKER_CREATED, "");
        return true;
    }
    const char *want_filter = wanted->filter ? wanted->filter : "";
    const char *have_filter = group->filter ? group->filter : "";
    snprintf(detail, sizeof(detail), "%s%s%s",
             strcmp(want_filter, have_filter) != 0 ? "filter " : "",
             group->ack_wait_ms != wanted->ack_wait_ms ? "ack_wait_ms " : "",
             group->max_in_flight != wanted->max_in_flight ? "max_in_flight " : "");
    declaration->report(declaration->context, wanted->name, *detail ? BROKER_DRIFTED : BROKER_SAME,
                        detail);
    return true;
}

bool memory_declare(struct broker *base, const struct broker_declaration *declaration,
                    int timeout_ms, struct error *err)
{
    struct memory_world *world = memory_world_of(base);

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    bool done = !memory_is_away(world, err);
    for (size_t i = 0; done && i < declaration->stream_count; i++)
        declare_stream(world, &declaration->streams[i], declaration);
    for (size_t i = 0; done && i < declaration->group_count; i++)
        done = declare_group(world, &declaration->groups[i], declaration, err);
    pthread_mutex_unlock(&world->lock);
    return done;
}

/* ---- trim ---- */

/* The first that some group has not settled. */
static uint64_t unsettled_sequence(struct memory_stream *stream)
{
    uint64_t floor = stream->end_sequence;

    for (struct memory_group *group = stream->groups; group; group = group->next) {
        memory_group_unread(stream, group);
        uint64_t first =
            group->lease_count ? group->leases[0].item->sequence : group->next_sequence;
        if (first < floor)
            floor = first;
    }
    return floor;
}

/* A stream without groups is kept by age alone: nobody has settled what is in it. */
static void trim(struct memory_stream *stream, int64_t before_ms)
{
    uint64_t floor = unsettled_sequence(stream);
    bool crowded = stream->groups && (int64_t)stream->bytes > stream->max_bytes / 2;

    while (stream->item_count && stream->items[0]->sequence < floor &&
           (crowded || stream->items[0]->stored_ms <= before_ms))
        memory_stream_drop(stream, 0);
}

bool memory_trim(struct broker *base, const char *name, int64_t keep_ms, int timeout_ms,
                 struct error *err)
{
    struct memory_world *world = memory_world_of(base);

    (void)timeout_ms;
    pthread_mutex_lock(&world->lock);
    struct memory_stream *stream = memory_reach_stream(world, name, err);
    if (stream)
        trim(stream, memory_now_ms(world) - keep_ms);
    pthread_mutex_unlock(&world->lock);
    return stream != NULL;
}
