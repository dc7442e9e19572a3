#include "survey.h"

#include "base/buffer.h"
#include "broker/dead_letter.h"

#include <stdio.h>
#include <string.h>

struct settings {
    struct topology_settings topology;
};

static const struct config_field settings_table[] = {
    TOPOLOGY_SETTINGS(struct settings, topology),
    {0},
};

bool survey_settings(struct topology_settings *out, struct error *err)
{
    struct settings settings = {0};
    bool ok = config_load(settings_table, &settings, stderr, err);

    *out = settings.topology;
    return ok;
}

/* A number of ours that is 0 in what the broker says is one that it does not tell. */
static void compare_number(struct buffer *out, const char *name, int64_t found, int64_t wanted)
{
    if (found != 0 && found != wanted)
        buffer_print(out, "%s%s is %lld, wanted %lld", out->size ? "; " : "", name,
                     (long long)found, (long long)wanted);
}

static void compare_text(struct buffer *out, const char *name, const char *found,
                         const char *wanted)
{
    found = found ? found : "";
    wanted = wanted ? wanted : "";
    if (strcmp(found, wanted) != 0)
        buffer_print(out, "%s%s is '%s', wanted '%s'", out->size ? "; " : "", name, found, wanted);
}

static void compare_stream(struct buffer *out, const struct broker_stream *found,
                           const struct broker_stream *wanted)
{
    compare_text(out, "subjects", found->subjects, wanted->subjects);
    compare_number(out, "max_bytes", found->max_bytes, wanted->max_bytes);
    compare_number(out, "dedup_window_ms", found->dedup_window_ms, wanted->dedup_window_ms);
    compare_number(out, "replicas", found->replicas, wanted->replicas);
    if (found->telemetry != wanted->telemetry)
        buffer_print(out, "%swhen full it %s", out->size ? "; " : "",
                     found->telemetry ? "drops the oldest instead of refusing"
                                      : "refuses instead of dropping the oldest");
}

static void compare_group(struct buffer *out, const struct broker_group *found,
                          const struct broker_group *wanted)
{
    compare_text(out, "filter", found->filter, wanted->filter);
    compare_number(out, "ack_wait_ms", found->ack_wait_ms, wanted->ack_wait_ms);
    compare_number(out, "max_in_flight", found->max_in_flight, wanted->max_in_flight);
    compare_number(out, "max_attempts", found->max_attempts, wanted->max_attempts);
}

static void tell(survey_each *each, void *context, struct survey_item item,
                 const struct buffer *detail)
{
    item.detail = detail->data;
    if (item.state == SURVEY_SAME && detail->size > 0)
        item.state = SURVEY_DRIFTED;
    each(context, &item);
}

static void survey_stream(const struct catalogue *catalogue, const struct broker_stream *wanted,
                          survey_each *each, void *context)
{
    const struct broker_stream_info *found = catalogue_stream(catalogue, wanted->name);
    struct survey_item item = {.stream = wanted->name,
                               .state = found ? SURVEY_SAME : SURVEY_MISSING};
    AUTO(buffer_free) struct buffer detail = {0};

    buffer_text(&detail, "");
    if (found)
        compare_stream(&detail, &found->settings, wanted);
    tell(each, context, item, &detail);
}

static void survey_group(const struct catalogue *catalogue, const struct broker_group *wanted,
                         survey_each *each, void *context)
{
    const struct catalogue_group *found = catalogue_group(catalogue, wanted->stream, wanted->name);
    struct survey_item item = {.stream = wanted->stream,
                               .consumer = wanted->name,
                               .state = found ? SURVEY_SAME : SURVEY_MISSING};
    AUTO(buffer_free) struct buffer detail = {0};

    buffer_text(&detail, "");
    if (found)
        compare_group(&detail, &found->info.settings, wanted);
    tell(each, context, item, &detail);
}

/* Its sizes are the broker package's own: only that it is there is looked at. */
static void survey_dead(const struct catalogue *catalogue, survey_each *each, void *context)
{
    bool found = catalogue_stream(catalogue, DEAD_STREAM) != NULL;
    const struct survey_item item = {
        .stream = DEAD_STREAM, .state = found ? SURVEY_SAME : SURVEY_MISSING, .detail = ""};

    each(context, &item);
}

void survey(const struct catalogue *catalogue, const struct topology_settings *settings,
            survey_each *each, void *context)
{
    struct broker_stream streams[TOPOLOGY_MAX];
    struct broker_group groups[TOPOLOGY_MAX];
    size_t stream_count = topology_streams(settings, streams);
    size_t group_count = topology_groups(settings, groups);

    for (size_t i = 0; i < stream_count; i++)
        survey_stream(catalogue, &streams[i], each, context);
    survey_dead(catalogue, each, context);
    for (size_t i = 0; i < group_count; i++)
        survey_group(catalogue, &groups[i], each, context);
}
