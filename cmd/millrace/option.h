/*
 * option: the options of all commands, one row each, and reading them.
 *
 * The kind of an option is the type of its member in struct options, so the two cannot disagree.
 */
#ifndef MILLRACE_OPTION_H
#define MILLRACE_OPTION_H

#include "command.h"

enum option_name {
    OPTION_BROKER,
    OPTION_DATABASE,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_ID,
    OPTION_HEADER,
    OPTION_SINCE,
    OPTION_MAX,
    OPTION_STREAM,
    OPTION_CONSUMER,
    OPTION_REASON,
    OPTION_FROM_TIME,
    OPTION_UNTIL_TIME,
    OPTION_RATE,
    OPTION_DRY_RUN,
    OPTION_YES,
    OPTION_PLAN,
    OPTION_APPLY,
    OPTION_FROM,
    OPTION_TO,
    OPTION_WAIT,
    OPTIONS, /* how many there are */
};

#define TAKES(option) (UINT32_C(1) << (option))

enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_LIST, OPTION_INT, OPTION_LONG };

struct option_row {
    const char *name;
    const char *value; /* "URL"; NULL: it takes none */
    const char *help;
    const char *words; /* values that completion offers */
    size_t offset;
    double min, max; /* numbers */
    enum option_kind kind;
    char letter;  /* 0: it has none */
    bool is_time; /* RFC 3339 */
};

extern const struct option_row option_table[OPTIONS];

/*
 * Fills *out and moves what is not an option to the end of argv, from *out_first on. out->headers
 * is the caller's to free, whatever it returns. False: ERROR_INVALID names what was typed.
 */
bool options_read(int argc, char **argv, struct options *out, int *out_first,
                  struct error *err) MUST_CHECK;

bool option_is_given(const struct options *options, enum option_name option);

#endif
