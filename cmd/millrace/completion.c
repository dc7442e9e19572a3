#include "option.h"

#include "event/topic.h"

#include <stdio.h>
#include <string.h>

static void print_stream_names(void)
{
    for (size_t i = 0; i < topic_count; i++)
        if (topic_brings_stream(&topics[i]))
            printf("%s%s", i ? " " : "", topics[i].stream);
}

static void print_consumer_names(void)
{
    for (size_t i = 0; i < topic_count; i++)
        if (topic_brings_consumer(&topics[i]))
            printf("%s%s", i ? " " : "", topics[i].consumer);
}

/* What may follow an option that takes a value. */
static void print_values(enum option_name option)
{
    if (option == OPTION_STREAM)
        print_stream_names();
    else if (option == OPTION_CONSUMER)
        print_consumer_names();
    else if (option_table[option].words)
        printf("%s", option_table[option].words);
}

static void print_value_cases(void)
{
    for (int i = 0; i < OPTIONS; i++) {
        const struct option_row *row = &option_table[i];
        if (!row->value)
            continue;
        printf("    --%s", row->name);
        if (row->letter)
            printf(" | -%c", row->letter);
        printf(") words='");
        print_values((enum option_name)i);
        printf("' ;;\n");
    }
}

/* The options that swallow the next word: it is no word of the command. */
static void print_swallowing(void)
{
    const char *bar = "";

    for (int i = 0; i < OPTIONS; i++) {
        const struct option_row *row = &option_table[i];
        if (!row->value)
            continue;
        printf("%s--%s", bar, row->name);
        bar = " | ";
        if (row->letter)
            printf("%s-%c", bar, row->letter);
    }
}

/* The first word of each command once, or the second words after the first. */
static void print_words_after(const char *first)
{
    size_t size = strlen(first);
    const char *last = "", *space = "";
    size_t last_size = 0;

    for (size_t i = 0; i < command_count; i++) {
        const char *word = command_table[i].words;
        if (strncmp(word, first, size) != 0 || (size && word[size] != ' '))
            continue;
        word += size + (size > 0);
        size_t own = strcspn(word, " ");
        if (own == last_size && strncmp(word, last, own) == 0)
            continue;
        printf("%s%.*s", space, (int)own, word);
        space = " ";
        last = word;
        last_size = own;
    }
}

static void print_option_names(const struct command *row)
{
    const char *space = "";

    for (int i = 0; i < OPTIONS; i++) {
        if (!(row->options & TAKES(i)))
            continue;
        printf("%s--%s", space, option_table[i].name);
        space = " ";
    }
}

/* Arguments in lower case are words to be typed as they are. */
static const char *literal_argument(const struct command *row)
{
    return *row->arguments >= 'a' && *row->arguments <= 'z' ? row->arguments : "";
}

static void print_group(const char *first)
{
    printf("    '%s' | 'help %s') words='", first, first);
    print_words_after(first);
    printf("' ;;\n");
}

static void print_command_cases(void)
{
    char last[32] = "";

    for (size_t i = 0; i < command_count; i++) {
        const struct command *row = &command_table[i];
        size_t size = strcspn(row->words, " ");
        if (row->words[size] == ' ' &&
            (strlen(last) != size || strncmp(last, row->words, size) != 0)) {
            snprintf(last, sizeof(last), "%.*s", (int)size, row->words);
            print_group(last);
        }
        printf("    '%s' | '%s '*) words='%s%s", row->words, row->words, literal_argument(row),
               *literal_argument(row) ? " " : "");
        print_option_names(row);
        printf("' ;;\n");
    }
}

int run_completion(const struct command_context *context)
{
    if (strcmp(context->arguments[0], "bash") != 0)
        return command_misused(context, "there is no completion for '%s'; there is one for bash",
                               context->arguments[0]);
    printf("# bash completion of millrace: source it, or put it where bash-completion looks.\n"
           "_millrace() {\n"
           "    local current=${COMP_WORDS[COMP_CWORD]} typed='' words='' skip='' word i\n"
           "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
           "        word=${COMP_WORDS[i]}\n"
           "        case $word in\n"
           "        ");
    print_swallowing();
    /* Readline ends a word at a colon and an @, so that a URL is several. */
    printf(" | : | @) skip=$word ;;\n"
           "        -* | =) ;;\n"
           "        *) [ -n \"$skip\" ] || typed+=${typed:+ }$word; skip='' ;;\n"
           "        esac\n"
           "    done\n"
           "    case $skip in\n"
           "    '') ;;\n");
    print_value_cases();
    printf("    esac\n"
           "    [ -n \"$skip\" ] || case $typed in\n"
           "    '') words='");
    print_words_after("");
    printf(" --help --version' ;;\n"
           "    'help') words='");
    print_words_after("");
    printf("' ;;\n");
    print_command_cases();
    printf("    esac\n"
           "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
           "}\n"
           "complete -F _millrace millrace\n");
    return EXIT_DONE;
}
