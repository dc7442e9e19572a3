#include "sheet.h"
#include "survey.h"

#include <string.h>

/* What a plan or a declaration is written to. */
struct outcome {
    struct sheet sheet;
    const struct broker_group *groups; /* of the topology */
    size_t group_count;
    size_t missing, drifted;
};

static const struct sheet_column columns[] = {
    {"name", "NAME", SHEET_TEXT},
    {"kind", "KIND", SHEET_TEXT},
    {"found", "FOUND", SHEET_TEXT},
    {"difference", "DIFFERENCE", SHEET_SENTENCE},
};

static const char *const state_words[] = {
    [SURVEY_SAME] = "same", [SURVEY_MISSING] = "missing", [SURVEY_DRIFTED] = "drifted"};

static void show(struct outcome *outcome, const char *name, const char *kind, const char *found,
                 const char *difference)
{
    sheet_text(&outcome->sheet, name);
    sheet_text(&outcome->sheet, kind);
    sheet_text(&outcome->sheet, found);
    sheet_text(&outcome->sheet, difference);
}

static void on_item(void *context, const struct survey_item *item)
{
    struct outcome *outcome = context;

    outcome->missing += item->state == SURVEY_MISSING;
    outcome->drifted += item->state == SURVEY_DRIFTED;
    show(outcome, item->consumer ? item->consumer : item->stream,
         item->consumer ? "consumer" : "stream", state_words[item->state], item->detail);
}

static int plan(const struct command_context *context, const struct topology_settings *settings)
{
    AUTO(catalogue_free) struct catalogue catalogue = {0};
    struct outcome outcome = {0};
    struct error err;

    if (!catalogue_load(&catalogue, context->broker, context->options->timeout_ms, &err))
        return command_fail(context, &err);
    sheet_start(&outcome.sheet, context->options, columns, ARRAY_LEN(columns));
    survey(&catalogue, settings, on_item, &outcome);
    sheet_end(&outcome.sheet);
    command_tell(context, "%zu would be made, %zu differ and would stay as they are",
                 outcome.missing, outcome.drifted);
    return outcome.missing + outcome.drifted ? EXIT_WRONG : EXIT_DONE;
}

static const char *kind_of(const struct outcome *outcome, const char *name)
{
    for (size_t i = 0; i < outcome->group_count; i++)
        if (strcmp(outcome->groups[i].name, name) == 0)
            return "consumer";
    return "stream";
}

static void on_declared(void *context, const char *name, enum broker_found found,
                        const char *detail)
{
    static const char *const words[] = {
        [BROKER_CREATED] = "created", [BROKER_SAME] = "same", [BROKER_DRIFTED] = "drifted"};
    struct outcome *outcome = context;

    outcome->missing += found == BROKER_CREATED;
    outcome->drifted += found == BROKER_DRIFTED;
    show(outcome, name, kind_of(outcome, name), words[found], detail);
}

static int apply(const struct command_context *context, const struct topology_settings *settings)
{
    struct broker_stream streams[TOPOLOGY_MAX];
    struct broker_group groups[TOPOLOGY_MAX];
    size_t stream_count = topology_streams(settings, streams);
    struct outcome outcome = {.groups = groups, .group_count = topology_groups(settings, groups)};
    struct error err;

    sheet_start(&outcome.sheet, context->options, columns, ARRAY_LEN(columns));
    bool done = broker_declare(context->broker, streams, stream_count, groups, outcome.group_count,
                               on_declared, &outcome, context->options->timeout_ms, &err);
    sheet_end(&outcome.sheet);
    if (!done)
        return command_fail(context, &err);
    command_tell(context, "%zu made, %zu differ and stay as they are", outcome.missing,
                 outcome.drifted);
    return outcome.drifted ? EXIT_WRONG : EXIT_DONE;
}

int run_declare(const struct command_context *context)
{
    const struct options *options = context->options;
    struct topology_settings settings;
    struct error err;

    if (options->plan == options->apply)
        return command_misused(context, "declare: want one of --plan and --apply");
    if (!survey_settings(&settings, &err))
        return EXIT_USAGE; /* each mistake is told already */
    return options->plan ? plan(context, &settings) : apply(context, &settings);
}
