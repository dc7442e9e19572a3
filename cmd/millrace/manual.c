#include "option.h"

#include <stdio.h>
#include <string.h>

/* Text as troff takes it: what it would read as a request or an escape is told apart. */
static void print_part(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if ((i == 0 || text[i - 1] == '\n') && text[i] == '.')
            printf("\\&");
        if (text[i] == '\\')
            printf("\\e");
        else if (text[i] == '-')
            printf("\\-");
        else if (text[i] == '\'')
            printf("\\(aq");
        else
            putchar(text[i]);
    }
}

static void print_text(const char *text)
{
    print_part(text, strlen(text));
}

/* Paragraphs are parted by empty lines. */
static void print_paragraphs(const char *text)
{
    const char *end;

    for (; (end = strstr(text, "\n\n")) != NULL; text = end + 2) {
        print_part(text, (size_t)(end - text));
        printf("\n.PP\n");
    }
    print_text(text);
    putchar('\n');
}

static void print_option(const struct option_row *row)
{
    printf(".TP\n");
    if (row->letter)
        printf("\\fB\\-%c\\fR, ", row->letter);
    printf("\\fB");
    print_text("--");
    print_text(row->name);
    printf("\\fR");
    if (row->value) {
        printf(" \\fI");
        print_text(row->value);
        printf("\\fR");
    }
    putchar('\n');
    print_text(row->help);
    putchar('\n');
}

static void print_command(const struct command *row)
{
    printf(".SS ");
    print_text(row->words);
    if (*row->arguments)
        putchar(' ');
    print_text(row->arguments);
    putchar('\n');
    print_paragraphs(row->description);
    printf(".PP\nOptions: ");
    for (int i = 0, count = 0; i < OPTIONS; i++) {
        if (!(row->options & TAKES(i)))
            continue;
        printf("%s\\fB", count++ ? ", " : "");
        print_text("--");
        print_text(option_table[i].name);
        printf("\\fR");
    }
    printf("\n.PP\n.nf\n");
    print_text(row->examples);
    printf("\n.fi\n");
}

int run_man(const struct command_context *context)
{
    (void)context;
    printf(".TH MILLRACE 1 \"\" \"millrace %s\" \"User Commands\"\n", MILLRACE_VERSION);
    printf(".SH NAME\nmillrace \\- the command line of an event backend\n");
    printf(".SH SYNOPSIS\n\\fBmillrace\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n");
    printf(".SH COMMANDS\n");
    for (size_t i = 0; i < command_count; i++)
        print_command(&command_table[i]);
    printf(".SH OPTIONS\n");
    for (int i = 0; i < OPTIONS; i++)
        print_option(&option_table[i]);
    printf(".SH ENVIRONMENT\n"
           ".TP\n\\fBBROKER_URL\\fR\nthe broker; its scheme picks the driver\n"
           ".TP\n\\fBDATABASE_URL\\fR\nPostgreSQL\n"
           ".PP\nWith \\fB_FILE\\fR behind its name either is read from the file that it names.\n");
    printf(".SH EXIT STATUS\n");
    for (int i = 0; i < EXIT_CODES; i++) {
        printf(".TP\n\\fB%d\\fR\n", i);
        print_text(command_exit_codes[i]);
        putchar('\n');
    }
    return EXIT_DONE;
}
