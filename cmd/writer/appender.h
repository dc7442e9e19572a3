/*
 * appender: the one thread that writes; whoever waits meanwhile shares the next write and sync.
 *
 * It takes every job that waits, leaves out what is in the file already, appends the rest in one
 * go, and tells each job. When the file could not be written nothing of them is in it.
 *
 * Ownership  A job is its maker's, and must stay until its done was called.
 * Errors     appender_add: FULL when too much waits, CLOSED when it stops.
 * Threads    appender_add and appender_reopen: any. done runs on the appender's thread and must not
 *            block.
 */
#ifndef WRITER_APPENDER_H
#define WRITER_APPENDER_H

#include "file.h"
#include "ids.h"

#include "base/metrics.h"

struct appender;

struct appender_line {
    struct id id;
    size_t offset, size; /* in the job's bytes, with its end */
    bool duplicate;      /* it was there already; valid in done */
};

/* err->code is NONE when every line is in the file. */
typedef void appender_done(void *context, const struct error *err);

struct appender_job {
    const char *bytes;
    struct appender_line *lines;
    size_t count;
    appender_done *done;
    void *context;
    struct appender_job *next; /* the appender's */
};

struct appender_options {
    struct log_file *file; /* borrowed, with what follows, until it is stopped */
    struct ids *ids;
    size_t waiting_max;           /* lines; one job of more is taken when nothing else waits */
    struct metrics_cell *batches; /* counts the syncs */
};

bool appender_start(struct appender **out, const struct appender_options *options,
                    struct error *err) MUST_CHECK;
/* Writes and tells what it has taken, then ends. */
void appender_stop(struct appender *appender);
AUTO_DEFINE(struct appender *, appender_stop)

bool appender_add(struct appender *appender, struct appender_job *job,
                  struct error *err) MUST_CHECK;
void appender_reopen(struct appender *appender); /* the file, soon */

#endif
