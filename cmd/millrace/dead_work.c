#include "dead.h"

#include "sheet.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CALL_MS 2000 /* one of the calls that the work is made of */

typedef bool dead_call(struct broker *broker, const struct dead_filter *filter,
                       struct dead_work *work, int timeout_ms, struct error *err);

/* The two kinds of work, which differ in words. */
struct trade {
    dead_call *call;
    const char *question, *progress, *name, *title; /* name, title: of the column */
};

static const struct trade replaying = {dead_letter_replay, "Replay", "replayed", "replayed",
                                       "REPLAYED"};
static const struct trade purging = {dead_letter_purge, "Remove for good", "removed", "purged",
                                     "PURGED"};

/* Over all calls. */
struct total {
    size_t matched, done, cut;
    bool complete; /* all that was wanted was looked at */
};

/* A call that ran out of time in the middle of a letter, and came somewhere before, is gone on
 * with: what it had in hand is a duplicate the next time. */
static bool is_gone_on_with(const struct dead_work *work, const struct error *err)
{
    return work->done > 0 && (err->code == ERROR_UNKNOWN || err->code == ERROR_TIMEOUT);
}

/* One call, of bounded time. */
static bool step(const struct command_context *context, const struct trade *trade,
                 const struct dead_filter *filter, struct dead_work *work, struct error *err)
{
    work->matched = work->done = work->cut = 0;
    if (trade->call(context->broker, filter, work, CALL_MS, err))
        return true;
    work->matched = work->done + work->cut; /* the others are still to be come to */
    return is_gone_on_with(work, err);
}

/* Call after call, until `most` letters, the end, or a signal. */
static bool repeat(const struct command_context *context, const struct trade *trade, bool dry_run,
                   size_t most, struct total *total, struct error *err)
{
    const struct dead_filter filter = dead_filter_of(context);
    char from[BROKER_SEQUENCE_SIZE] = "";
    struct dead_work work = {
        .from = from, .dry_run = dry_run, .per_second = dry_run ? 0 : context->options->per_second};
    struct progress progress;
    bool ok = true;

    *total = (struct total){0};
    progress_start(&progress, context->options, dry_run ? "counted" : trade->progress,
                   dry_run ? 0 : most);
    while (ok && !total->complete && !command_is_interrupted()) {
        work.max = most - total->matched;
        ok = step(context, trade, &filter, &work, err);
        total->matched += work.matched;
        total->done += work.done;
        total->cut += work.cut;
        total->complete = ok && (!*work.next || total->matched >= most);
        memcpy(from, work.next, sizeof(from));
        progress_add(&progress, work.matched);
    }
    progress_end(&progress);
    return ok;
}

static void show(const struct command_context *context, const struct trade *trade,
                 const struct total *total)
{
    const struct sheet_column columns[] = {
        {"matched", "MATCHED", SHEET_NUMBER},
        {trade->name, trade->title, SHEET_NUMBER},
        {"cut", "CUT", SHEET_NUMBER},
        {"complete", "COMPLETE", SHEET_FLAG},
    };
    struct sheet sheet;

    sheet_start(&sheet, context->options, columns, ARRAY_LEN(columns));
    sheet_number(&sheet, (int64_t)total->matched);
    sheet_number(&sheet, (int64_t)total->done);
    sheet_number(&sheet, (int64_t)total->cut);
    sheet_number(&sheet, total->complete);
    sheet_end(&sheet);
}

/* *out_code: what to end with when the answer is no. */
static bool is_agreed(const struct command_context *context, const struct trade *trade,
                      size_t count, int *out_code)
{
    char answer[16] = "";

    *out_code = EXIT_WRONG;
    if (context->options->yes) {
        command_tell(context, "dead letters that are meant: %zu", count);
        return true;
    }
    if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1) {
        *out_code = command_misused(context,
                                    "dead letters that are meant: %zu; there is no terminal to ask "
                                    "on: say --yes, or --dry-run",
                                    count);
        return false;
    }
    fprintf(stderr, "Dead letters that are meant: %zu. %s? [y/N] ", count, trade->question);
    if (fgets(answer, sizeof(answer), stdin) && (*answer == 'y' || *answer == 'Y'))
        return true;
    command_tell(context, "nothing was done");
    return false;
}

static int finish(const struct command_context *context, const struct trade *trade,
                  const struct total *total)
{
    show(context, trade, total);
    if (!total->complete)
        command_tell(context, "interrupted: the rest is left as it was");
    if (total->cut > 0)
        command_tell(context, "%zu are left alone: not all of the original is stored", total->cut);
    return total->complete && total->cut == 0 ? EXIT_DONE : EXIT_WRONG;
}

static int work(const struct command_context *context, const struct trade *trade)
{
    const struct options *options = context->options;
    size_t most = options->max > 0 ? (size_t)options->max : SIZE_MAX;
    struct total found, total;
    struct error err;
    int code;

    if (!repeat(context, trade, true, most, &found, &err))
        return command_fail(context, &err);
    if (context->argument_count && found.complete && found.matched == 0) {
        error_set(&err, ERROR_NOT_FOUND, "no dead letter '%s'", context->arguments[0]);
        return command_fail(context, &err);
    }
    if (options->dry_run || found.matched == 0 || !found.complete) {
        show(context, trade, &found);
        return found.complete ? EXIT_DONE : EXIT_WRONG;
    }
    if (!is_agreed(context, trade, found.matched, &code))
        return code;
    /* No more than were told of: what dies meanwhile is for another time. */
    if (repeat(context, trade, false, found.matched, &total, &err))
        return finish(context, trade, &total);
    show(context, trade, &total);
    return command_fail(context, &err);
}

static int work_if_named(const struct command_context *context, const struct trade *trade)
{
    struct error err;

    if (!context->argument_count)
        return work(context, trade);
    const char *sequence = context->arguments[0];
    if (strspn(sequence, "0123456789-") != strlen(sequence) ||
        strlen(sequence) >= BROKER_SEQUENCE_SIZE) {
        error_set(&err, ERROR_INVALID, "'%s' is no sequence", sequence);
        return command_fail(context, &err);
    }
    return work(context, trade);
}

int run_dead_replay(const struct command_context *context)
{
    return work_if_named(context, &replaying);
}

int run_dead_purge(const struct command_context *context)
{
    const struct dead_filter filter = dead_filter_of(context);

    if (dead_filter_is_empty(&filter))
        return command_misused(context, "dead purge: say which: a SEQUENCE, --stream, --consumer, "
                                        "--reason, --from-time or --until-time");
    return work_if_named(context, &purging);
}
