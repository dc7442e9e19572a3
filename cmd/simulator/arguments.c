#include "arguments.h"

#include "base/rfc3339.h"
#include "domain/traffic.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CODE 256 /* what getopt_long returns for the first row */
#define HELP_COLUMN 24

enum argument_kind {
    ARGUMENT_FLAG,
    ARGUMENT_TEXT,
    ARGUMENT_INT,
    ARGUMENT_LONG,
    ARGUMENT_DOUBLE,
    ARGUMENT_SYSTEMS,
};

struct argument {
    const char *name;
    const char *value; /* "N"; NULL: it takes none */
    const char *fallback, *variable;
    const char *help;
    size_t offset;
    double min, max; /* numbers */
    enum argument_kind kind;
    bool is_time; /* RFC 3339, in a LONG */
};

#define KIND(value)                                                                                \
    _Generic((value),                                                                              \
        bool: ARGUMENT_FLAG,                                                                       \
        const char *: ARGUMENT_TEXT,                                                               \
        int: ARGUMENT_INT,                                                                         \
        int64_t: ARGUMENT_LONG,                                                                    \
        double: ARGUMENT_DOUBLE,                                                                   \
        unsigned: ARGUMENT_SYSTEMS)

/* The name of a member takes no parentheses: NOLINTBEGIN(bugprone-macro-parentheses) */
#define ROW(member, long_name, value_name, text, ...)                                              \
    {                                                                                              \
        .name = long_name, .value = value_name, .help = text,                                      \
        .offset = offsetof(struct simulator_settings, member),                                     \
        .kind = KIND(((struct simulator_settings *)0)->member), __VA_ARGS__                        \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

static const struct argument arguments[] = {
    ROW(url, "url", "URL", "ingestion", .fallback = "http://127.0.0.1:8000"),
    ROW(systems, "only", "LIST", "some of parking,readings,logs,weather",
        .fallback = "parking,readings,logs,weather"),
    ROW(duration_s, "duration", "S", "seconds that it sends; 0: until it is interrupted",
        .fallback = "0", .max = 1e8),
    ROW(speed, "speed", "N", "simulated time runs N times faster than time", .fallback = "1",
        .min = 0.001, .max = 1e6),
    ROW(rate, "rate", "N",
        "send N events a second over all, in the order of\n"
        "simulated time, instead of --speed",
        .min = 0.001, .max = 1e6),
    ROW(seed, "seed", "N",
        "the same seed makes the same events with the same\n"
        "ids: what was sent before is a duplicate; absent: any",
        .max = 9e15),
    ROW(start_ms, "start", "TIME",
        "where simulated time starts (RFC 3339); absent: so far\n"
        "back that it has caught up with the present at the\n"
        "end (--duration 0: after an hour)",
        .is_time = true),
    ROW(garages, "garages", "N", "garages", .fallback = "1", .min = 1, .max = 1000),
    ROW(capacity, "capacity", "N", "places in each garage", .fallback = "100",
        .variable = "GARAGE_CAPACITY", .min = 1, .max = 4000),
    ROW(entry_wait_s, "entry-wait", "S", "a car drives in after 1 to S seconds", .fallback = "3",
        .variable = "MAX_ENTRY_WAIT", .min = 1, .max = 86400),
    ROW(exit_wait_s, "exit-wait", "S", "a car drives out after 1 to S seconds", .fallback = "5",
        .variable = "MAX_EXIT_WAIT", .min = 1, .max = 86400),
    ROW(sites, "sites", "N", "sites with meters", .fallback = "3", .min = 1, .max = 1000),
    ROW(meters, "meters", "N", "meters of each site, one reading every 10 s", .fallback = "4",
        .min = 1, .max = 1000),
    ROW(services, "services", "N", "services that log", .fallback = "3", .min = 1, .max = 1000),
    ROW(workers, "workers", "N", "connections, each with one request at a time", .fallback = "8",
        .min = 1, .max = 256),
    ROW(bulk, "bulk", "N", "send up to N waiting events as one NDJSON body", .fallback = "1",
        .min = 1, .max = 1000),
    ROW(retries, "retries", "N", "how often an event is sent again, with the same id",
        .fallback = "8", .max = 1000),
    ROW(timeout_ms, "timeout", "MS", "milliseconds that one request may take", .fallback = "35000",
        .min = 10, .max = 600000),
    ROW(journal, "journal", "FILE", "write a JSON line for each event and its answer"),
    ROW(json, "json", NULL, "the result as JSON"),
    ROW(quiet, "quiet", NULL, "no notes and no progress on stderr"),
    ROW(help, "help", NULL, "show this"),
    ROW(version, "version", NULL, "show the version"),
};

#define ARGUMENTS ARRAY_LEN(arguments)

/* ---- values ---- */

static const struct {
    const char *name;
    enum traffic_system system;
} systems[] = {
    {"parking", TRAFFIC_PARKING},
    {"readings", TRAFFIC_READINGS},
    {"logs", TRAFFIC_LOGS},
    {"weather", TRAFFIC_WEATHER_CALLS},
};

static unsigned find_system(const char *name, size_t size)
{
    for (size_t i = 0; i < ARRAY_LEN(systems); i++)
        if (strlen(systems[i].name) == size && memcmp(systems[i].name, name, size) == 0)
            return systems[i].system;
    return 0;
}

static bool read_systems(const struct argument *row, const char *text, unsigned *out,
                         struct error *err)
{
    *out = 0;
    for (const char *rest = text;; rest++) {
        size_t size = strcspn(rest, ",");
        unsigned system = find_system(rest, size);
        if (!system)
            return error_set(err, ERROR_INVALID, "--%s '%s': want some of %s", row->name, text,
                             row->fallback);
        *out |= system;
        rest += size;
        if (!*rest)
            return true;
    }
}

static bool read_double(const struct argument *row, const char *text, double *out,
                        struct error *err)
{
    char *end;

    *out = strtod(text, &end);
    bool is_number = *text && !text[strspn(text, "-.0123456789")] && !*end;
    return (is_number && *out >= row->min && *out <= row->max) ||
           error_set(err, ERROR_INVALID, "--%s '%s': want a number from %g to %.0f", row->name,
                     text, row->min, row->max);
}

static bool read_long(const struct argument *row, const char *text, int64_t *out, struct error *err)
{
    char *end;

    if (row->is_time)
        return rfc3339_parse(text, strlen(text), out) ||
               error_set(err, ERROR_INVALID, "--%s '%s': want a time like 2026-11-21T08:30:00Z",
                         row->name, text);
    errno = 0;
    *out = strtoll(text, &end, 10);
    bool is_number = *text && !text[strspn(text, "-0123456789")] && !*end && !errno;
    return (is_number && (double)*out >= row->min && (double)*out <= row->max) ||
           error_set(err, ERROR_INVALID, "--%s '%s': want a whole number from %.0f to %.0f",
                     row->name, text, row->min, row->max);
}

static bool set(const struct argument *row, const char *text, struct simulator_settings *out,
                struct error *err)
{
    void *member = (char *)out + row->offset;
    int64_t number = 0;

    switch (row->kind) {
    case ARGUMENT_FLAG:
        *(bool *)member = true;
        return true;
    case ARGUMENT_TEXT:
        *(const char **)member = text;
        return true;
    case ARGUMENT_INT:
        if (!read_long(row, text, &number, err))
            return false;
        *(int *)member = (int)number;
        return true;
    case ARGUMENT_LONG:
        return read_long(row, text, member, err);
    case ARGUMENT_DOUBLE:
        return read_double(row, text, member, err);
    case ARGUMENT_SYSTEMS:
        return read_systems(row, text, member, err);
    }
    return error_set(err, ERROR_INTERNAL, "--%s is of no kind", row->name);
}

static bool set_defaults(struct simulator_settings *out, struct error *err)
{
    *out = (struct simulator_settings){.seed = -1, .start_ms = -1};
    for (size_t i = 0; i < ARGUMENTS; i++) {
        const struct argument *row = &arguments[i];
        const char *set_outside = row->variable ? getenv(row->variable) : NULL;
        bool from_outside = set_outside && *set_outside;
        const char *text = from_outside ? set_outside : row->fallback;
        if (text && !set(row, text, out, err))
            return from_outside ? error_wrap(err, "%s", row->variable) : false;
    }
    return true;
}

/* ---- the line ---- */

/* What getopt has set optopt to: the code of a row, or 0 for a name that is none. */
static bool refuse(int answer, const char *typed, struct error *err)
{
    if (optopt >= FIRST_CODE && optopt < FIRST_CODE + (int)ARGUMENTS) {
        const struct argument *row = &arguments[optopt - FIRST_CODE];
        if (answer == ':')
            return error_set(err, ERROR_INVALID, "--%s: %s is missing", row->name, row->value);
        return error_set(err, ERROR_INVALID, "--%s takes no value", row->name);
    }
    return error_set(err, ERROR_INVALID, "there is no option '%s'", typed);
}

static bool read_line(int argc, char **argv, struct simulator_settings *out, struct error *err)
{
    struct option rows[ARGUMENTS + 1] = {0};
    int answer;

    for (size_t i = 0; i < ARGUMENTS; i++)
        rows[i] = (struct option){.name = arguments[i].name,
                                  .has_arg = arguments[i].value ? required_argument : no_argument,
                                  .val = FIRST_CODE + (int)i};
    optind = 0; /* begins anew, should it be called again */
    opterr = 0;
    while ((answer = getopt_long(argc, argv, ":", rows, NULL)) != -1) {
        if (answer == '?' || answer == ':')
            return refuse(answer, argv[optind - 1], err);
        if (!set(&arguments[answer - FIRST_CODE], optarg, out, err))
            return false;
    }
    return optind == argc || error_set(err, ERROR_INVALID, "'%s' is no option", argv[optind]);
}

/* Rules across options. */
static bool check(const struct simulator_settings *settings, struct error *err)
{
    if (settings->rate > 0 && settings->speed != 1)
        return error_set(err, ERROR_INVALID, "--rate and --speed: one sets the other");
    if (strncmp(settings->url, "http://", 7) != 0 && strncmp(settings->url, "https://", 8) != 0)
        return error_set(err, ERROR_INVALID, "--url '%s': want http://… or https://…",
                         settings->url);
    return true;
}

bool arguments_read(int argc, char **argv, struct simulator_settings *out, struct error *err)
{
    return set_defaults(out, err) && read_line(argc, argv, out, err) && check(out, err);
}

static void print_row(const struct argument *row)
{
    const char *text = row->help;
    int width = printf("  --%s %s", row->name, row->value ? row->value : "");

    for (;;) {
        size_t size = strcspn(text, "\n");
        printf("%*s%.*s", width < HELP_COLUMN ? HELP_COLUMN - width : 1, "", (int)size, text);
        text += size;
        if (!*text)
            break;
        text++;
        putchar('\n');
        width = 0;
    }
    if (row->fallback)
        printf(" (%s%s%s)", row->variable ? row->variable : "", row->variable ? ", or " : "",
               row->fallback);
    putchar('\n');
}

void arguments_help(void)
{
    printf(
        "usage: simulator [OPTIONS]\n\n"
        "Sends the traffic of a simulated town to ingestion: parking, energy meters, logs and\n"
        "calls for the weather. Events carry simulated times, none in the future: simulated\n"
        "time that has caught up with the present goes on with it. What is not answered in\n"
        "time is sent again with the same id. When ingestion is slower than the town, simulated\n"
        "time slows down.\n\nOptions:\n");
    for (size_t i = 0; i < ARGUMENTS; i++)
        print_row(&arguments[i]);
    printf("\nThe result counts events; their latency, in milliseconds, is from the first time "
           "they were\nsent to their answer. SIGINT stops sending and waits for what is on its "
           "way; a second one\ndoes not wait.\n\nExit codes:\n"
           "  0  every event was accepted, or was there already\n"
           "  1  some were not\n"
           "  2  wrong use\n");
}
