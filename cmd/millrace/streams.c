#include "catalogue.h"
#include "option.h"
#include "sheet.h"

#include <stdio.h>
#include <string.h>

static const struct sheet_column stream_columns[] = {
    {"name", "STREAM", SHEET_TEXT},           {"subjects", "SUBJECTS", SHEET_TEXT},
    {"messages", "MESSAGES", SHEET_NUMBER},   {"bytes", "BYTES", SHEET_NUMBER},
    {"max_bytes", "MAX_BYTES", SHEET_NUMBER}, {"full_percent", "FULL_%", SHEET_NUMBER},
    {"first", "FIRST", SHEET_TEXT},           {"last", "LAST", SHEET_TEXT},
    {"replicas", "REPLICAS", SHEET_NUMBER},   {"consumers", "CONSUMERS", SHEET_NUMBER},
};

static int64_t count_groups(const struct catalogue *catalogue, const char *stream)
{
    int64_t count = 0;

    for (size_t i = 0; i < catalogue->group_count; i++)
        count += strcmp(catalogue->groups[i].stream, stream) == 0;
    return count;
}

static const char *or_none(const char *text)
{
    return *text ? text : NULL;
}

static void show_stream(struct sheet *sheet, const struct catalogue *catalogue,
                        const struct broker_stream_info *stream)
{
    const struct broker_stream *settings = &stream->settings;
    double share =
        settings->max_bytes > 0 ? (double)stream->bytes * 100 / (double)settings->max_bytes : 0;

    sheet_text(sheet, settings->name);
    sheet_text(sheet, settings->subjects);
    sheet_number(sheet, (int64_t)stream->messages);
    sheet_number(sheet, stream->bytes);
    sheet_number(sheet, settings->max_bytes);
    sheet_number(sheet, (int64_t)share);
    sheet_text(sheet, or_none(stream->first));
    sheet_text(sheet, or_none(stream->last));
    sheet_number(sheet, settings->replicas);
    sheet_number(sheet, count_groups(catalogue, settings->name));
}

int run_streams(const struct command_context *context)
{
    AUTO(catalogue_free) struct catalogue catalogue = {0};
    struct sheet sheet;
    struct error err;

    if (!catalogue_load(&catalogue, context->broker, context->options->timeout_ms, &err))
        return command_fail(context, &err);
    sheet_start(&sheet, context->options, stream_columns, ARRAY_LEN(stream_columns));
    for (size_t i = 0; i < catalogue.stream_count; i++)
        show_stream(&sheet, &catalogue, &catalogue.streams[i]);
    sheet_end(&sheet);
    if (catalogue.stream_count == 0)
        command_tell(context, "there is no stream; run: millrace declare --apply");
    return EXIT_DONE;
}

static const struct sheet_column lag_columns[] = {
    {"name", "CONSUMER", SHEET_TEXT},       {"stream", "STREAM", SHEET_TEXT},
    {"unread", "UNREAD", SHEET_NUMBER},     {"in_flight", "IN_FLIGHT", SHEET_NUMBER},
    {"delayed", "DELAYED", SHEET_NUMBER},   {"lag", "LAG", SHEET_NUMBER},
    {"oldest_age_ms", "OLDEST", SHEET_AGE},
};

static int64_t lag_of(const struct catalogue_group *group)
{
    return group->info.lag.unread + group->info.lag.in_flight;
}

static void show_lag(struct sheet *sheet, const struct catalogue_group *group)
{
    const struct broker_lag *lag = &group->info.lag;

    sheet_text(sheet, group->info.settings.name);
    sheet_text(sheet, group->stream);
    sheet_number(sheet, lag->unread);
    sheet_number(sheet, lag->in_flight);
    sheet_number(sheet, lag->delayed);
    sheet_number(sheet, lag_of(group));
    sheet_number(sheet, lag->oldest_age_ms);
}

static bool is_wanted(const struct catalogue_group *group, const struct options *options)
{
    return (!options->stream || strcmp(options->stream, group->stream) == 0) &&
           (!options->consumer || strcmp(options->consumer, group->info.settings.name) == 0);
}

static int judge_lag(const struct command_context *context, const struct catalogue_group *group)
{
    if (!option_is_given(context->options, OPTION_MAX) || lag_of(group) <= context->options->max)
        return EXIT_DONE;
    command_tell(context, "%s: lag %lld is above %lld", group->info.settings.name,
                 (long long)lag_of(group), (long long)context->options->max);
    return EXIT_WRONG;
}

static int has_no_group(const struct command_context *context)
{
    const struct options *options = context->options;
    struct error err;

    if (!options->stream && !options->consumer) {
        command_tell(context, "there is no consumer; run: millrace declare --apply");
        return EXIT_DONE;
    }
    error_set(&err, ERROR_NOT_FOUND, "there is no consumer%s%s%s%s", options->consumer ? " " : "",
              options->consumer ? options->consumer : "", options->stream ? " of stream " : "",
              options->stream ? options->stream : "");
    return command_fail(context, &err);
}

int run_lag(const struct command_context *context)
{
    AUTO(catalogue_free) struct catalogue catalogue = {0};
    int code = EXIT_DONE;
    size_t shown = 0;
    struct sheet sheet;
    struct error err;

    if (!catalogue_load(&catalogue, context->broker, context->options->timeout_ms, &err))
        return command_fail(context, &err);
    sheet_start(&sheet, context->options, lag_columns, ARRAY_LEN(lag_columns));
    for (size_t i = 0; i < catalogue.group_count; i++) {
        const struct catalogue_group *group = &catalogue.groups[i];
        if (!is_wanted(group, context->options))
            continue;
        show_lag(&sheet, group);
        shown++;
        if (judge_lag(context, group) != EXIT_DONE)
            code = EXIT_WRONG;
    }
    sheet_end(&sheet);
    return shown ? code : has_no_group(context);
}
