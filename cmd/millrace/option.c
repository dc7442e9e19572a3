#include "option.h"

#include "nearest.h"

#include "base/memory.h"
#include "base/rfc3339.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 5000
#define FIRST_CODE 256 /* what getopt_long returns for option 0: no letter's code */

#define KIND(value)                                                                                \
    _Generic((value),                                                                              \
        bool: OPTION_FLAG,                                                                         \
        const char *: OPTION_TEXT,                                                                 \
        const char **: OPTION_LIST,                                                                \
        int: OPTION_INT,                                                                           \
        int64_t: OPTION_LONG)

/* The name of a member takes no parentheses: NOLINTBEGIN(bugprone-macro-parentheses) */
#define ROW(member, long_name, value_name, text, ...)                                              \
    {                                                                                              \
        .name = long_name, .value = value_name, .help = text,                                      \
        .offset = offsetof(struct options, member), .kind = KIND(((struct options *)0)->member),   \
        __VA_ARGS__                                                                                \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

const struct option_row option_table[OPTIONS] = {
    [OPTION_BROKER] =
        ROW(broker_url, "broker", "URL", "the broker, instead of BROKER_URL", .letter = 'b'),
    [OPTION_DATABASE] = ROW(database_url, "database", "URL", "PostgreSQL, instead of DATABASE_URL"),
    [OPTION_TIMEOUT] = ROW(timeout_ms, "timeout", "MS",
                           "milliseconds that one call may take (5000)", .min = 50, .max = 600000),
    [OPTION_JSON] = ROW(json, "json", NULL, "one JSON document per line", .letter = 'j'),
    [OPTION_QUIET] = ROW(quiet, "quiet", NULL, "no notes and no progress on stderr", .letter = 'q'),
    [OPTION_HELP] = ROW(help, "help", NULL, "show this", .letter = 'h'),
    [OPTION_VERSION] = ROW(version, "version", NULL, "show the version"),
    [OPTION_ID] =
        ROW(id, "id", "ID", "the message's id; of lines, line N gets ID:N. Absent: a new one"),
    [OPTION_HEADER] = ROW(headers, "header", "'NAME: VALUE'",
                          "a header of the message; may be repeated", .letter = 'H'),
    [OPTION_SINCE] =
        ROW(since, "since", "first|new|SEQUENCE", "where to begin (new)", .words = "first new"),
    [OPTION_MAX] = ROW(max, "max", "N", "at most so many; of lag: the most that is allowed",
                       .letter = 'n', .min = 0, .max = 1e15),
    [OPTION_STREAM] = ROW(stream, "stream", "NAME", "only of this stream"),
    [OPTION_CONSUMER] = ROW(consumer, "consumer", "NAME", "only of this consumer"),
    [OPTION_REASON] = ROW(reason, "reason", "WORD", "only those dead for this reason"),
    [OPTION_FROM_TIME] = ROW(from_time, "from-time", "TIME",
                             "only those that died then (RFC 3339) or later", .is_time = true),
    [OPTION_UNTIL_TIME] =
        ROW(until_time, "until-time", "TIME", "only those that died before", .is_time = true),
    [OPTION_RATE] =
        ROW(per_second, "rate", "N", "at most so many a second", .min = 1, .max = 1000000),
    [OPTION_DRY_RUN] = ROW(dry_run, "dry-run", NULL, "only count"),
    [OPTION_YES] = ROW(yes, "yes", NULL, "do not ask", .letter = 'y'),
    [OPTION_PLAN] = ROW(plan, "plan", NULL, "say what differs, change nothing"),
    [OPTION_APPLY] = ROW(apply, "apply", NULL, "make what is missing"),
    [OPTION_FROM] = ROW(from, "from", "URL", "the broker that messages leave"),
    [OPTION_TO] = ROW(to, "to", "URL", "the broker that they go to"),
    [OPTION_WAIT] = ROW(wait_s, "wait", "S",
                        "give up when nothing has moved for S seconds (30, or as a lease needs)",
                        .min = 1, .max = 86400),
};

bool option_is_given(const struct options *options, enum option_name option)
{
    return (options->given & TAKES(option)) != 0;
}

/* Room for the letters, each with a colon, the leading colon and the NUL. */
struct grammar {
    struct option rows[OPTIONS + 1];
    char letters[2 * OPTIONS + 2];
};

static struct grammar make_grammar(void)
{
    struct grammar grammar = {.letters = ":"};
    size_t used = 1;

    for (int i = 0; i < OPTIONS; i++) {
        const struct option_row *row = &option_table[i];
        grammar.rows[i] = (struct option){
            .name = row->name,
            .has_arg = row->value ? required_argument : no_argument,
            .val = FIRST_CODE + i,
        };
        if (!row->letter)
            continue;
        grammar.letters[used++] = row->letter;
        if (row->value)
            grammar.letters[used++] = ':';
    }
    return grammar;
}

static enum option_name find_letter(int letter)
{
    enum option_name option = 0;

    while (option < OPTIONS && option_table[option].letter != letter)
        option++;
    return option;
}

static bool read_number(const struct option_row *row, const char *text, int64_t *out,
                        struct error *err)
{
    char *end;

    errno = 0;
    *out = strtoll(text, &end, 10);
    bool is_number = *text && !text[strspn(text, "-0123456789")] && end != text && !*end && !errno;
    if (is_number && (double)*out >= row->min && (double)*out <= row->max)
        return true;
    return error_set(err, ERROR_INVALID, "--%s '%s': want a whole number from %.0f to %.0f",
                     row->name, text, row->min, row->max);
}

static bool check_time(const struct option_row *row, const char *text, struct error *err)
{
    int64_t ignored;

    return !row->is_time || rfc3339_parse(text, strlen(text), &ignored) ||
           error_set(err, ERROR_INVALID, "--%s '%s': want a time like 2026-11-21T08:30:00Z",
                     row->name, text);
}

static bool set(enum option_name option, const char *text, struct options *out, struct error *err)
{
    const struct option_row *row = &option_table[option];
    void *member = (char *)out + row->offset;
    int64_t number = 0;

    if ((row->kind == OPTION_INT || row->kind == OPTION_LONG) &&
        !read_number(row, text, &number, err))
        return false;
    out->given |= TAKES(option);
    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)member = true;
        return true;
    case OPTION_TEXT:
        *(const char **)member = text;
        return check_time(row, text, err);
    case OPTION_LIST:
        out->headers[out->header_count++] = text;
        return true;
    case OPTION_INT:
        *(int *)member = (int)number;
        return true;
    case OPTION_LONG:
        *(int64_t *)member = number;
        return true;
    }
    return error_set(err, ERROR_INTERNAL, "--%s is of no kind", row->name);
}

/* The value, which may be a secret, is not shown. */
static bool refuse_name(const char *typed, struct error *err)
{
    const char *names[OPTIONS];
    int size = (int)strcspn(typed, "=");

    if (strncmp(typed, "--", 2) != 0)
        return error_set(err, ERROR_INVALID, "there is no option '%.2s'", typed);
    for (int i = 0; i < OPTIONS; i++)
        names[i] = option_table[i].name;
    const char *like = nearest(typed + 2, (size_t)size - 2, names, OPTIONS);
    if (like)
        return error_set(err, ERROR_INVALID, "there is no option '%.*s'; did you mean '--%s'?",
                         size, typed, like);
    return error_set(err, ERROR_INVALID, "there is no option '%.*s'", size, typed);
}

/* getopt has set optopt to the letter, or the code, of what it could not take. */
static bool refuse(int answer, const char *typed, struct error *err)
{
    char letter[] = {'-', (char)optopt, '\0'};
    enum option_name option =
        optopt >= FIRST_CODE ? (enum option_name)(optopt - FIRST_CODE) : find_letter(optopt);

    if (answer == ':' && option < OPTIONS)
        return error_set(err, ERROR_INVALID, "--%s: %s is missing", option_table[option].name,
                         option_table[option].value);
    if (answer == '?' && optopt >= FIRST_CODE && option < OPTIONS)
        return error_set(err, ERROR_INVALID, "--%s takes no value", option_table[option].name);
    return refuse_name(optopt > 0 && optopt < FIRST_CODE ? letter : typed, err);
}

bool options_read(int argc, char **argv, struct options *out, int *out_first, struct error *err)
{
    const struct grammar grammar = make_grammar();
    int answer;

    *out = (struct options){.timeout_ms = TIMEOUT_MS,
                            .since = "new",
                            .headers = memory_alloc((size_t)argc * sizeof(char *))};
    optind = 0; /* begins anew, should it be called again */
    opterr = 0;
    while ((answer = getopt_long(argc, argv, grammar.letters, grammar.rows, NULL)) != -1) {
        if (answer == '?' || answer == ':')
            return refuse(answer, argv[optind - 1], err);
        enum option_name option =
            answer >= FIRST_CODE ? (enum option_name)(answer - FIRST_CODE) : find_letter(answer);
        if (!set(option, optarg, out, err))
            return false;
    }
    *out_first = optind;
    return true;
}
