#include "option.h"

#include "base/buffer.h"

#include <stdio.h>
#include <string.h>

static void print_indented(const char *text, const char *indent)
{
    while (*text) {
        size_t size = strcspn(text, "\n");
        printf("%s%.*s\n", size ? indent : "", (int)size, text);
        text += size + (text[size] == '\n');
    }
}

/* "-j, --json", "    --max N" */
static void name_option(const struct option_row *row, struct buffer *out)
{
    if (row->letter)
        buffer_print(out, "-%c, ", row->letter);
    else
        buffer_text(out, "    ");
    buffer_print(out, "--%s%s%s", row->name, row->value ? " " : "", row->value ? row->value : "");
}

static int option_width(uint32_t options)
{
    size_t width = 0;

    for (int i = 0; i < OPTIONS; i++) {
        AUTO(buffer_free) struct buffer name = {0};
        if (!(options & TAKES(i)))
            continue;
        name_option(&option_table[i], &name);
        width = name.size > width ? name.size : width;
    }
    return (int)width;
}

static void print_options(uint32_t options)
{
    int width = option_width(options);

    printf("\nOptions:\n");
    for (int i = 0; i < OPTIONS; i++) {
        AUTO(buffer_free) struct buffer name = {0};
        if (!(options & TAKES(i)))
            continue;
        name_option(&option_table[i], &name);
        printf("  %-*s  %s\n", width, name.data, option_table[i].help);
    }
}

static void help_command(const struct command *row)
{
    printf("usage: millrace %s%s%s [OPTIONS]\n\n", row->words, *row->arguments ? " " : "",
           row->arguments);
    printf("%s:\n\n", row->summary);
    print_indented(row->description, "  ");
    print_options(row->options);
    printf("\nExamples:\n");
    print_indented(row->examples, "  ");
}

static int usage_width(void)
{
    size_t width = 0;

    for (size_t i = 0; i < command_count; i++) {
        size_t own = strlen(command_table[i].words) + 1 + strlen(command_table[i].arguments);
        width = own > width ? own : width;
    }
    return (int)width;
}

static void help_all(void)
{
    int width = usage_width();

    printf("usage: millrace COMMAND [OPTIONS]\n\nCommands:\n");
    for (size_t i = 0; i < command_count; i++) {
        AUTO(buffer_free) struct buffer usage = {0};
        buffer_print(&usage, "%s %s", command_table[i].words, command_table[i].arguments);
        printf("  %-*s  %s\n", width, usage.data, command_table[i].summary);
    }
    printf("\nmillrace help COMMAND, or millrace COMMAND --help, says more. --version: the "
           "version.\n");
    printf("\nSettings, from the environment:\n"
           "  BROKER_URL    the broker, nats://127.0.0.1:4222 when absent (or BROKER_URL_FILE)\n"
           "  DATABASE_URL  PostgreSQL (or DATABASE_URL_FILE)\n");
    printf("\nExit codes:\n");
    for (int i = 0; i < EXIT_CODES; i++)
        printf("  %d  %s\n", i, command_exit_codes[i]);
}

/* The words as they stand in the row, "dead list", in one argument or in two. */
static bool is_named(const struct command *row, const char *const *words, size_t count)
{
    AUTO(buffer_free) struct buffer name = {0};

    for (size_t i = 0; i < count; i++)
        buffer_print(&name, "%s%s", i ? " " : "", words[i]);
    return strcmp(row->words, name.data) == 0;
}

/* "help dead" is about all that begin so. */
static bool begins_with(const struct command *row, const char *word)
{
    size_t size = strlen(word);

    return strncmp(row->words, word, size) == 0 && row->words[size] == ' ';
}

int run_help(const struct command_context *context)
{
    size_t shown = 0;

    if (context->argument_count == 0) {
        help_all();
        return EXIT_DONE;
    }
    for (size_t i = 0; i < command_count; i++) {
        const struct command *row = &command_table[i];
        if (!is_named(row, context->arguments, context->argument_count) &&
            !(context->argument_count == 1 && begins_with(row, context->arguments[0])))
            continue;
        if (shown++)
            printf("\n");
        help_command(row);
    }
    if (shown)
        return EXIT_DONE;
    return command_misused(context, "there is no command '%s'; see: millrace help",
                           context->arguments[0]);
}
