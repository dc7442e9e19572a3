/*
 * command: what the command line can do, as rows: help, bash completion, the man page and the
 * reading of options are made from them.
 *
 * To add a command: a row in command_table (command.c) and a function that runs it.
 * To add an option: a member of struct options, a name and a row in option.h and option.c.
 *
 * Output   data goes to stdout (with --json one JSON document per line), everything else to stderr.
 * Exit     0 done · 1 it found something wrong, or did only a part · 2 wrong usage · 3 the broker
 * or the database is away · 4 there is no such thing · 5 refused (denied, full, invalid)
 */
#ifndef MILLRACE_COMMAND_H
#define MILLRACE_COMMAND_H

#include "base/error.h"
#include "broker/broker.h"

#include <stdint.h>

enum exit_code {
    EXIT_DONE = 0,
    EXIT_WRONG = 1,
    EXIT_USAGE = 2,
    EXIT_AWAY = 3,
    EXIT_ABSENT = 4,
    EXIT_REFUSED = 5,
    EXIT_CODES,
};

/* What the options said; a command reads those that its row names. Borrowed texts. */
struct options {
    uint32_t given;                        /* a bit of each option (option.h) that was there */
    const char *broker_url, *database_url; /* --broker, --database, or BROKER_URL, DATABASE_URL */
    bool json, quiet, help, version;
    int timeout_ms; /* of one call */

    const char *id;       /* send */
    const char **headers; /* send: "name: value" */
    size_t header_count;
    const char *since; /* tail: a sequence, "first" or "new" */
    const char *stream, *consumer, *reason, *from_time, *until_time; /* dead: the filter */
    int64_t max;                                                     /* how many, at most; 0: all */
    int per_second;                                                  /* 0: as fast as it goes */
    bool dry_run, yes;     /* dead purge asks unless yes */
    bool plan, apply;      /* declare */
    const char *from, *to; /* move */
    int wait_s;            /* move: without any movement */
};

struct command_context {
    const struct options *options;
    const char **arguments; /* what is not an option, without the command's words */
    size_t argument_count;
    struct broker *broker; /* open when the row says needs_broker; else NULL */
};

/* Returns an enum exit_code; a failure is told on stderr by command_fail. */
typedef int command_run(const struct command_context *context);

struct command {
    const char *words;     /* "dead list" */
    const char *arguments; /* "SUBJECT [MESSAGE]"; brackets: may be absent */
    const char *summary;   /* what it does, in a line */
    const char *description;
    const char *examples; /* a line each */
    uint32_t options;     /* TAKES(…) of option.h */
    bool needs_broker;
    command_run *run;
};

extern const struct command command_table[];
extern const size_t command_count;
extern const char *const command_exit_codes[EXIT_CODES]; /* what each means */

int command_main(int argc, char **argv);

/* Says the error on stderr (with --json as an object) and returns the exit code that fits it. */
int command_fail(const struct command_context *context, const struct error *err);

/* The same for what was typed: EXIT_USAGE, and where to read on. */
int command_misused(const struct command_context *context, const char *format, ...)
    PRINTF_LIKE(2, 3);

/* A line on stderr, unless --quiet; with --json {"note":…}. */
void command_tell(const struct command_context *context, const char *format, ...) PRINTF_LIKE(2, 3);

/* The exit code that fits an error. */
int command_exit_code(const struct error *err);

/* True once SIGINT or SIGTERM came: long work ends in good order and says how far it came. A second
 * signal ends the process at once. */
bool command_is_interrupted(void);

int run_send(const struct command_context *context);
int run_tail(const struct command_context *context);
int run_streams(const struct command_context *context);
int run_lag(const struct command_context *context);
int run_dead_list(const struct command_context *context);
int run_dead_show(const struct command_context *context);
int run_dead_replay(const struct command_context *context);
int run_dead_purge(const struct command_context *context);
int run_declare(const struct command_context *context);
int run_doctor(const struct command_context *context);
int run_move(const struct command_context *context);
int run_help(const struct command_context *context);
int run_completion(const struct command_context *context);
int run_man(const struct command_context *context);

/* ---- progress.c ---- */

/* One line on stderr that is rewritten while stderr is a terminal: done, rate, time left. Silent
 * elsewhere and with --quiet or --json. */
struct progress {
    const char *what;
    uint64_t total; /* 0: not known */
    uint64_t done;
    int64_t started_ms, shown_ms;
    bool visible;
};

void progress_start(struct progress *progress, const struct options *options, const char *what,
                    uint64_t total);
void progress_add(struct progress *progress, uint64_t done);
void progress_end(struct progress *progress); /* leaves the line as it was last */

#endif
