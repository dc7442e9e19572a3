#include "catalogue.h"

#include "base/memory.h"
#include "event/topic.h"

#include <stdlib.h>
#include <string.h>

static const char *keep(struct catalogue *catalogue, const char *text)
{
    return text ? arena_copy(catalogue->arena, text, strlen(text)) : NULL;
}

static void add_stream(struct catalogue *catalogue, const struct broker_stream_info *stream)
{
    size_t count = ++catalogue->stream_count;

    catalogue->streams = memory_resize(catalogue->streams, count * sizeof(*catalogue->streams));
    catalogue->streams[count - 1] = *stream;
    catalogue->streams[count - 1].settings.name = keep(catalogue, stream->settings.name);
    catalogue->streams[count - 1].settings.subjects = keep(catalogue, stream->settings.subjects);
}

static void add_group(struct catalogue *catalogue, const char *stream,
                      const struct broker_group_info *group)
{
    size_t count = ++catalogue->group_count;

    catalogue->groups = memory_resize(catalogue->groups, count * sizeof(*catalogue->groups));
    struct catalogue_group *added = &catalogue->groups[count - 1];
    *added = (struct catalogue_group){.stream = keep(catalogue, stream), .info = *group};
    added->info.settings.stream = added->stream;
    added->info.settings.name = keep(catalogue, group->settings.name);
    added->info.settings.filter = keep(catalogue, group->settings.filter);
}

static void on_listed(void *context, const struct broker_stream_info *stream,
                      const struct broker_group_info *group)
{
    if (group)
        add_group(context, stream->settings.name, group);
    else
        add_stream(context, stream);
}

/* What an earlier load brought goes. */
static void start(struct catalogue *catalogue)
{
    catalogue_free(catalogue);
    catalogue->arena = arena_new(4096);
}

bool catalogue_load(struct catalogue *out, struct broker *broker, int timeout_ms, struct error *err)
{
    start(out);
    return broker_list(broker, on_listed, out, timeout_ms, err);
}

static void add_topics(struct catalogue *catalogue)
{
    for (size_t i = 0; i < topic_count; i++)
        if (!catalogue_stream(catalogue, topics[i].stream))
            add_stream(catalogue,
                       &(struct broker_stream_info){
                           .settings = {.name = topics[i].stream, .subjects = topics[i].subjects}});
}

bool catalogue_load_subjects(struct catalogue *out, struct broker *broker, int timeout_ms,
                             struct error *err)
{
    if (catalogue_load(out, broker, timeout_ms, err))
        return true;
    if (err->code != ERROR_DENIED && strcmp(err->reason, "unsupported") != 0)
        return false;
    start(out);
    add_topics(out);
    return true;
}

void catalogue_free(struct catalogue *catalogue)
{
    free(catalogue->streams);
    free(catalogue->groups);
    arena_free(catalogue->arena);
    *catalogue = (struct catalogue){0};
}

const struct broker_stream_info *catalogue_stream(const struct catalogue *catalogue,
                                                  const char *name)
{
    for (size_t i = 0; i < catalogue->stream_count; i++)
        if (strcmp(catalogue->streams[i].settings.name, name) == 0)
            return &catalogue->streams[i];
    return NULL;
}

const struct catalogue_group *catalogue_group(const struct catalogue *catalogue, const char *stream,
                                              const char *name)
{
    for (size_t i = 0; i < catalogue->group_count; i++)
        if (strcmp(catalogue->groups[i].stream, stream) == 0 &&
            strcmp(catalogue->groups[i].info.settings.name, name) == 0)
            return &catalogue->groups[i];
    return NULL;
}

static bool is_word(const char *token, size_t size, char word)
{
    return size == 1 && *token == word;
}

bool subjects_overlap(const char *a, const char *b)
{
    for (;;) {
        size_t a_size = strcspn(a, "."), b_size = strcspn(b, ".");
        if (is_word(a, a_size, '>') || is_word(b, b_size, '>'))
            return true;
        bool any = is_word(a, a_size, '*') || is_word(b, b_size, '*');
        if (!any && (a_size != b_size || memcmp(a, b, a_size) != 0))
            return false;
        if (!a[a_size] || !b[b_size])
            return !a[a_size] && !b[b_size];
        a += a_size + 1;
        b += b_size + 1;
    }
}

bool catalogue_has_none(const struct catalogue *catalogue, const char *pattern, struct error *err)
{
    AUTO(buffer_free) struct buffer known = {0};

    buffer_text(&known, catalogue->stream_count ? "" : "none");
    for (size_t i = 0; i < catalogue->stream_count; i++)
        buffer_print(&known, "%s%s (%s)", i ? ", " : "", catalogue->streams[i].settings.name,
                     catalogue->streams[i].settings.subjects);
    return error_set(err, ERROR_NOT_FOUND, "no stream has the subject '%s'; there are: %s", pattern,
                     known.data);
}
