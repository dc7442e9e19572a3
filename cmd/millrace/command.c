#include "command.h"

#include "nearest.h"
#include "option.h"
#include "patience.h"
#include "sheet.h"

#include "base/config.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 2 /* of a command */

#define ANY (TAKES(OPTION_JSON) | TAKES(OPTION_QUIET) | TAKES(OPTION_HELP))
#define BROKER (ANY | TAKES(OPTION_BROKER) | TAKES(OPTION_TIMEOUT))
#define PLACE (TAKES(OPTION_STREAM) | TAKES(OPTION_CONSUMER))
#define FILTER (PLACE | TAKES(OPTION_REASON) | TAKES(OPTION_FROM_TIME) | TAKES(OPTION_UNTIL_TIME))
#define WORK (TAKES(OPTION_MAX) | TAKES(OPTION_DRY_RUN) | TAKES(OPTION_YES))

const struct command command_table[] = {
    {
        .words = "send",
        .arguments = "SUBJECT [MESSAGE]",
        .summary = "publish a message, or each line of the input",
        .description =
            "Publishes MESSAGE to the stream that SUBJECT belongs to and waits until the broker\n"
            "has stored it. It carries CloudEvents headers as ingestion sets them, so that the\n"
            "processor stores an event; a --header of the same name replaces one.\n"
            "\n"
            "Without MESSAGE each line of the input is a message; empty lines are left out. Many\n"
            "are on their way together, so neighbours may be stored in either order. A line that\n"
            "is refused is reported with its number and the others go on; when the broker is\n"
            "away, full or refuses everything, reading stops. With --id ID line N has the id\n"
            "ID:N: the same input again is all duplicates, inside the broker's window.",
        .examples = "millrace send logs.shop '{\"message\":\"hello\"}'\n"
                    "millrace send readings.berlin.meter-7 --id import-1 <readings.ndjson",
        .options = BROKER | TAKES(OPTION_ID) | TAKES(OPTION_HEADER),
        .needs_broker = true,
        .run = run_send,
    },
    {
        .words = "tail",
        .arguments = "SUBJECT-PATTERN",
        .summary = "show messages as they come",
        .description =
            "Shows time, subject, id and payload of each message whose subject the pattern means,\n"
            "from every stream that can have such. In a pattern * stands for one token and > for\n"
            "the rest. Nothing is taken from any consumer. Messages of one stream come in order.\n"
            "\n"
            "A pattern that begins with \"bc.\" means announcements: they have no history, and\n"
            "GAP is shown where some may be missing.",
        .examples = "millrace tail 'logs.>'\n"
                    "millrace tail 'readings.berlin.*' --since first --max 10 --json",
        .options = BROKER | TAKES(OPTION_SINCE) | TAKES(OPTION_MAX),
        .needs_broker = true,
        .run = run_tail,
    },
    {
        .words = "streams",
        .arguments = "",
        .summary = "list the streams and how full they are",
        .description = "One row per stream, in the order of their names.",
        .examples = "millrace streams",
        .options = BROKER,
        .needs_broker = true,
        .run = run_streams,
    },
    {
        .words = "lag",
        .arguments = "",
        .summary = "list what each consumer has not settled",
        .description =
            "One row per consumer: messages never delivered, in flight, of these waiting for a\n"
            "retry, and the age of the oldest; the lag is unread and in flight together.\n"
            "\n"
            "With --max N the exit code is 1 when a lag is above N.",
        .examples = "millrace lag\n"
                    "millrace lag --consumer processor-logs --max 1000 --quiet",
        .options = BROKER | PLACE | TAKES(OPTION_MAX),
        .needs_broker = true,
        .run = run_lag,
    },
    {
        .words = "dead list",
        .arguments = "",
        .summary = "list dead letters",
        .description = "What could not be done, and why, oldest first.",
        .examples = "millrace dead list --stream LOGS --reason json_syntax\n"
                    "millrace dead list --from-time 2026-11-21T08:00:00Z --json",
        .options = BROKER | FILTER | TAKES(OPTION_MAX),
        .needs_broker = true,
        .run = run_dead_list,
    },
    {
        .words = "dead show",
        .arguments = "SEQUENCE",
        .summary = "show all of a dead letter",
        .description = "Where it came from, why it died, its headers and its data.",
        .examples = "millrace dead show 17",
        .options = BROKER,
        .needs_broker = true,
        .run = run_dead_show,
    },
    {
        .words = "dead replay",
        .arguments = "[SEQUENCE]",
        .summary = "publish dead letters again",
        .description =
            "Sends the dead letters that the filter means, or the one at SEQUENCE, to where they\n"
            "came from, and removes each once it is stored there. The number is told first, and\n"
            "asked about on a terminal; elsewhere --yes is needed. Letters whose data was cut\n"
            "when they died are left alone.",
        .examples = "millrace dead replay 17 --yes\n"
                    "millrace dead replay --reason max_attempts --rate 100",
        .options = BROKER | FILTER | WORK | TAKES(OPTION_RATE),
        .needs_broker = true,
        .run = run_dead_replay,
    },
    {
        .words = "dead purge",
        .arguments = "[SEQUENCE]",
        .summary = "remove dead letters for good",
        .description =
            "Removes the dead letters that the filter means, or the one at SEQUENCE; some filter\n"
            "is needed. The number is told first, and asked about on a terminal; elsewhere --yes\n"
            "is needed.",
        .examples = "millrace dead purge --until-time 2026-11-01T00:00:00Z --dry-run\n"
                    "millrace dead purge --reason json_syntax --yes",
        .options = BROKER | FILTER | WORK,
        .needs_broker = true,
        .run = run_dead_purge,
    },
    {
        .words = "declare",
        .arguments = "",
        .summary = "make the streams and consumers, or say what differs",
        .description =
            "--plan says what is missing and which settings differ, and changes nothing; the exit\n"
            "code is 1 when there is something. --apply makes what is missing; what differs is\n"
            "told and left as it is.\n"
            "\n"
            "The settings are those of the processor, from the environment: STREAM_MAX_BYTES,\n"
            "STREAM_REPLICAS, DEDUP_WINDOW_S, ACK_WAIT_MS, MAX_IN_FLIGHT, MAX_ATTEMPTS.",
        .examples = "millrace declare --plan\n"
                    "STREAM_REPLICAS=3 millrace declare --apply",
        .options = BROKER | TAKES(OPTION_PLAN) | TAKES(OPTION_APPLY),
        .needs_broker = true,
        .run = run_declare,
    },
    {
        .words = "doctor",
        .arguments = "",
        .summary = "find what is wrong with broker, topology and database",
        .description =
            "One line per finding: fine, notice or wrong; what is so; what to do about it. The\n"
            "exit code is 1 when something is wrong, 3 when the broker or the database is away;\n"
            "what can be reached is examined all the same.",
        .examples = "millrace doctor\n"
                    "millrace doctor --json | grep '\"wrong\"'",
        .options = BROKER | TAKES(OPTION_DATABASE),
        .run = run_doctor,
    },
    {
        .words = "move",
        .arguments = "",
        .summary = "take what is not settled to another broker",
        .description =
            "Publishes what the consumers of --from have not settled to the same streams of --to,\n"
            "under the same ids, and settles it once it is stored there; then the dead letters "
            "and\n"
            "all of the streams without consumers. Missing streams and consumers are made first.\n"
            "Stop who publishes to --from, and the workers; start them on --to at any time.\n"
            "\n"
            "Interrupted, it is run again: what was stored and not yet settled is a duplicate\n"
            "inside the dedup window of --to. Of a stream with several consumers each gets there\n"
            "what any of them has not settled here. The exit code is 1 when something is left,\n"
            "held by a worker or waiting for a retry; when --to is full or away it waits.",
        .examples = "millrace move --from nats://old:4222 --to redis://new:6379\n"
                    "millrace move --from redis://old:6379 --to nats://new:4222 --wait 120",
        .options = ANY | TAKES(OPTION_TIMEOUT) | TAKES(OPTION_FROM) | TAKES(OPTION_TO) |
                   TAKES(OPTION_WAIT),
        .run = run_move,
    },
    {
        .words = "help",
        .arguments = "[COMMAND] [WORD]",
        .summary = "explain a command",
        .description = "Without COMMAND: all of them.",
        .examples = "millrace help dead replay",
        .options = ANY,
        .run = run_help,
    },
    {
        .words = "completion",
        .arguments = "bash",
        .summary = "print the completion for bash",
        .description = "A shell that reads it completes commands, options and their values.",
        .examples = "source <(millrace completion bash)",
        .options = ANY,
        .run = run_completion,
    },
    {
        .words = "man",
        .arguments = "",
        .summary = "print the man page",
        .description = "In troff, for man(1).",
        .examples = "millrace man | man -l -",
        .options = ANY,
        .run = run_man,
    },
};
const size_t command_count = ARRAY_LEN(command_table);

const char *const command_exit_codes[EXIT_CODES] = {
    [EXIT_DONE] = "done",
    [EXIT_WRONG] = "it found something wrong, or did only a part",
    [EXIT_USAGE] = "wrong usage",
    [EXIT_AWAY] = "the broker or the database is away",
    [EXIT_ABSENT] = "there is no such thing",
    [EXIT_REFUSED] = "refused: invalid, too large, full, denied",
};

/* ---- telling ---- */

static const enum exit_code exit_codes[ERROR_CODES] = {
    [ERROR_NONE] = EXIT_DONE,         [ERROR_INVALID] = EXIT_REFUSED,
    [ERROR_NOT_FOUND] = EXIT_ABSENT,  [ERROR_CONFLICT] = EXIT_REFUSED,
    [ERROR_TOO_LARGE] = EXIT_REFUSED, [ERROR_FULL] = EXIT_REFUSED,
    [ERROR_DENIED] = EXIT_REFUSED,    [ERROR_TIMEOUT] = EXIT_AWAY,
    [ERROR_UNAVAILABLE] = EXIT_AWAY,  [ERROR_UNKNOWN] = EXIT_AWAY,
    [ERROR_CLOSED] = EXIT_AWAY,       [ERROR_INTERNAL] = EXIT_WRONG,
};

int command_exit_code(const struct error *err)
{
    return (int)exit_codes[err->code < ERROR_CODES ? err->code : ERROR_INTERNAL];
}

/* A line of its own, in one write: other threads may tell something too. */
static void print_error_line(const struct buffer *line)
{
    fprintf(stderr, "%s\n", line->data);
}

static void write_clean(struct json_writer *writer, const char *name, const char *text)
{
    AUTO(buffer_free) struct buffer clean = {0};

    buffer_text(&clean, "");
    text_clean(&clean, text, strlen(text));
    json_text(writer, name, clean.data);
}

static void tell_error(const struct options *options, const struct error *err)
{
    AUTO(buffer_free) struct buffer line = {0};
    struct json_writer writer = {.out = &line};

    if (options->json) {
        json_open(&writer, NULL, '{');
        write_clean(&writer, "error", err->message);
        json_text(&writer, "code", error_code_name(err->code));
        json_text(&writer, "reason", err->reason ? err->reason : error_code_name(err->code));
        json_close(&writer, '}');
    } else {
        buffer_text(&line, "millrace: ");
        text_clean(&line, err->message, strlen(err->message));
    }
    print_error_line(&line);
}

int command_fail(const struct command_context *context, const struct error *err)
{
    tell_error(context->options, err);
    return command_exit_code(err);
}

int command_misused(const struct command_context *context, const char *format, ...)
{
    struct error err;
    char message[sizeof(err.message)];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    error_set(&err, ERROR_INVALID, "%s", message);
    tell_error(context->options, &err);
    return EXIT_USAGE;
}

void command_tell(const struct command_context *context, const char *format, ...)
{
    AUTO(buffer_free) struct buffer line = {0};
    struct json_writer writer = {.out = &line};
    char message[512];
    va_list args;

    if (context->options->quiet)
        return;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (context->options->json) {
        json_open(&writer, NULL, '{');
        write_clean(&writer, "note", message);
        json_close(&writer, '}');
    } else {
        text_clean(&line, message, strlen(message));
    }
    print_error_line(&line);
}

/* ---- which command ---- */

/* How many of the words are the row's own; 0 when one of its words is not there. */
static size_t count_own(const struct command *row, const char *const *words, size_t count)
{
    const char *at = row->words;
    size_t own = 0;

    while (*at) {
        size_t size = strcspn(at, " ");
        if (own == count || strlen(words[own]) != size || memcmp(words[own], at, size) != 0)
            return 0;
        own++;
        at += size + (at[size] == ' ');
    }
    return own;
}

static const struct command *find_command(const char *const *words, size_t count, size_t *out_own)
{
    for (size_t i = 0; i < command_count; i++) {
        *out_own = count_own(&command_table[i], words, count);
        if (*out_own > 0)
            return &command_table[i];
    }
    return NULL;
}

/* What a command of as many words as the row has would be called. */
static void join_words(struct buffer *out, const char *const *words, size_t count)
{
    buffer_clear(out);
    buffer_text(out, "");
    for (size_t i = 0; i < count && i < WORDS_MAX; i++)
        buffer_print(out, "%s%s", i ? " " : "", words[i]);
}

/* "dead" alone is the beginning of several. */
static void list_of_group(struct buffer *out, const char *word)
{
    size_t size = strlen(word);

    for (size_t i = 0; i < command_count; i++)
        if (strncmp(command_table[i].words, word, size) == 0 && command_table[i].words[size] == ' ')
            buffer_print(out, "%s%s", out->size ? ", " : "", command_table[i].words);
}

static int refuse_words(const struct command_context *context)
{
    const char *const *words = context->arguments;
    AUTO(buffer_free) struct buffer typed = {0};
    AUTO(buffer_free) struct buffer group = {0};
    const char *rows[ARRAY_LEN(command_table)], *like = NULL;

    for (size_t i = 0; i < command_count; i++)
        rows[i] = command_table[i].words;
    for (size_t size = WORDS_MAX; size > 0 && !like; size--) {
        join_words(&typed, words, size < context->argument_count ? size : context->argument_count);
        like = nearest(typed.data, typed.size, rows, command_count);
    }
    list_of_group(&group, words[0]);
    if (like && !(group.size && context->argument_count == 1))
        return command_misused(context, "there is no command '%s'; did you mean '%s'?", typed.data,
                               like);
    if (group.size)
        return command_misused(context, "'%s' is not complete; there are: %s", words[0],
                               group.data);
    return command_misused(context, "there is no command '%s'; see: millrace help", words[0]);
}

/* ---- is it used as its row says ---- */

/* The argument at a place in "SUBJECT [MESSAGE]"; its size is 0 when there is none. */
static const char *argument_at(const struct command *row, size_t place, size_t *out_size)
{
    const char *at = row->arguments;

    for (; place > 0 && *at; place--) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    *out_size = strcspn(at, " ");
    return at;
}

/* A URL that got to a wrong place may carry a password. */
static const char *shown(const char *argument)
{
    return strstr(argument, "://") ? "(a URL)" : argument;
}

static int check_arguments(const struct command_context *context, const struct command *row)
{
    size_t size;
    const char *missing = argument_at(row, context->argument_count, &size);

    if (size > 0 && *missing != '[')
        return command_misused(context, "%s: %.*s is missing; see: millrace help %s", row->words,
                               (int)size, missing, row->words);
    if (context->argument_count == 0)
        return EXIT_DONE;
    (void)argument_at(row, context->argument_count - 1, &size);
    if (size == 0)
        return command_misused(context, "%s: one argument too many: '%s'", row->words,
                               shown(context->arguments[context->argument_count - 1]));
    return EXIT_DONE;
}

static int check_options(const struct command_context *context, const struct command *row)
{
    uint32_t strange = context->options->given & ~row->options;

    for (int i = 0; i < OPTIONS; i++)
        if (strange & TAKES(i))
            return command_misused(context, "%s takes no --%s; see: millrace help %s", row->words,
                                   option_table[i].name, row->words);
    return EXIT_DONE;
}

/* ---- settings ---- */

struct url {
    const char *url;
};

static const struct config_field broker_table[] = {
    CONFIG_FIELD(struct url, url, "BROKER_URL", "nats://127.0.0.1:4222", "the broker",
                 .secret = true),
    {0},
};

static const struct config_field database_table[] = {
    CONFIG_FIELD(struct url, url, "DATABASE_URL", "postgresql://127.0.0.1:5432/millrace",
                 "PostgreSQL", .secret = true),
    {0},
};

static bool load_url(const struct config_field *table, const char **out, struct error *err)
{
    struct url url = {*out};
    char *ignored = NULL; /* the mistakes: there is only the one that err tells */
    size_t size = 0;

    if (url.url)
        return true;
    FILE *mistakes = open_memstream(&ignored, &size);
    if (!mistakes)
        return error_set(err, ERROR_INTERNAL, "out of memory");
    bool ok = config_load(table, &url, mistakes, err);
    fclose(mistakes);
    free(ignored);
    *out = url.url;
    return ok;
}

static bool load_settings(struct options *options, const struct command *row, struct error *err)
{
    return (!(row->options & TAKES(OPTION_BROKER)) ||
            load_url(broker_table, &options->broker_url, err)) &&
           (!(row->options & TAKES(OPTION_DATABASE)) ||
            load_url(database_table, &options->database_url, err));
}

/* ---- running ---- */

static void observe(void *context, enum broker_incident incident, const char *detail)
{
    if (incident == BROKER_DISCONNECTED || incident == BROKER_RECONNECTED ||
        incident == BROKER_REFUSED)
        command_tell(context, "broker: %s", detail);
}

/* A password stands before an "@", or behind a "?". */
static void tell_place(const struct command_context *context)
{
    const char *url = context->options->broker_url, *at = strrchr(url, '@');
    const char *place = at ? at + 1 : url;

    command_tell(context, "the broker is looked for at %.*s; see --broker, BROKER_URL",
                 (int)strcspn(place, "?"), place);
}

static int run_with_broker(struct command_context *context, const struct command *row)
{
    const struct broker_options options = {
        .name = "millrace", .observe = observe, .context = context};
    AUTO(broker_close) struct broker *broker = NULL;
    struct error err;

    if (!broker_open(&broker, context->options->broker_url, &options, &err)) {
        int failed = command_fail(context, &err);
        if (failed == EXIT_AWAY)
            tell_place(context);
        return err.code == ERROR_INVALID ? EXIT_USAGE : failed;
    }
    context->broker = broker;
    int code = row->run(context);
    if (code == EXIT_AWAY)
        tell_place(context);
    return code;
}

static int run_row(struct command_context *context, struct options *options,
                   const struct command *row)
{
    struct error err;

    if (options->help) {
        struct command_context help = *context;
        const char *words[] = {row->words};
        help.arguments = words;
        help.argument_count = 1;
        return run_help(&help);
    }
    int code = check_arguments(context, row);
    if (code == EXIT_DONE)
        code = check_options(context, row);
    if (code != EXIT_DONE)
        return code;
    if (!load_settings(options, row, &err)) {
        (void)command_fail(context, &err);
        return EXIT_USAGE;
    }
    return row->needs_broker ? run_with_broker(context, row) : row->run(context);
}

static int choose(struct command_context *context, struct options *options)
{
    size_t own = 0;
    const struct command *row = find_command(context->arguments, context->argument_count, &own);

    if (options->version) {
        printf("millrace %s\n", MILLRACE_VERSION);
        return EXIT_DONE;
    }
    if (context->argument_count == 0 && options->help)
        return run_help(context);
    if (context->argument_count == 0)
        return command_misused(context, "a command is missing; see: millrace help");
    if (!row)
        return refuse_words(context);
    context->arguments += own;
    context->argument_count -= own;
    return run_row(context, options, row);
}

/* A reader that has gone away has had enough; that is no failure. */
static int end_output(const struct command_context *context, int code)
{
    struct error err;

    if ((fflush(stdout) == 0 && !ferror(stdout)) || stdout_is_closed())
        return code;
    error_set(&err, ERROR_INTERNAL, "the output could not be written");
    (void)command_fail(context, &err);
    return code == EXIT_DONE ? EXIT_WRONG : code;
}

int command_main(int argc, char **argv)
{
    struct options options;
    struct command_context context = {.options = &options};
    struct error err;
    int first = argc, code;

    patience_start();
    if (options_read(argc, argv, &options, &first, &err)) {
        context.arguments = (const char **)(void *)(argv + first);
        context.argument_count = (size_t)(argc - first);
        code = choose(&context, &options);
    } else {
        code = command_misused(&context, "%s", err.message);
    }
    code = end_output(&context, code);
    free((void *)options.headers);
    return code;
}
