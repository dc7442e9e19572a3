#include "appender.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_KEPT_BYTES ((size_t)1024 * 1024)
#define IDLE_MS 60000

struct appender {
    struct appender_options options;
    pthread_t thread;
    struct buffer batch; /* the thread's, with what follows */
    size_t added;        /* ids of the batch */
    bool failing, growing;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct appender_job *first, **last; /* guarded by lock, with what follows */
    size_t waiting;                     /* lines */
    bool reopen, stopping;
};

/* ---- the thread ---- */

static void collect(struct appender *appender, const struct appender_job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        struct appender_line *line = &job->lines[i];
        line->duplicate = !ids_add(appender->options.ids, &line->id);
        if (line->duplicate)
            continue;
        buffer_append(&appender->batch, job->bytes + line->offset, line->size);
        appender->added++;
    }
}

/* A trouble is said once, and once that it is over. */
static void note(bool *state, bool failed, const char *trouble, const char *relief,
                 const struct error *err)
{
    if (failed && !*state)
        log_error(trouble, log_text("error", err->message));
    if (!failed && *state)
        log_info(relief);
    *state = failed;
}

static struct error append(struct appender *appender)
{
    const struct appender_options *options = &appender->options;
    struct error err = {0};

    if (!appender->batch.size)
        return err;
    bool failed = !log_file_append(options->file, appender->batch.data, appender->batch.size, &err);
    if (failed)
        ids_take_back(options->ids, appender->added);
    else
        metrics_add(options->batches, 1);
    note(&appender->failing, failed, "the file cannot be written", "the file can be written again",
         &err);
    return err;
}

static void tell(struct appender_job *jobs, const struct error *err)
{
    for (struct appender_job *job = jobs, *next; job; job = next) {
        next = job->next; /* done may release it */
        job->done(job->context, err);
    }
}

static void tidy(struct appender *appender)
{
    struct error err = {0};

    ids_trim(appender->options.ids);
    if (appender->batch.capacity > BATCH_KEPT_BYTES)
        buffer_free(&appender->batch);
    bool failed = !log_file_rotate(appender->options.file, &err);
    note(&appender->growing, failed, "the file cannot be rotated", "the file can be rotated again",
         &err);
}

static void write_jobs(struct appender *appender, struct appender_job *jobs)
{
    buffer_clear(&appender->batch);
    appender->added = 0;
    for (const struct appender_job *job = jobs; job; job = job->next)
        collect(appender, job);
    struct error err = append(appender);
    tell(jobs, &err);
    tidy(appender);
}

static void reopen(struct appender *appender)
{
    struct error err = {0};

    if (log_file_reopen(appender->options.file, &err))
        log_info("opened the file again");
    else
        log_error("the file cannot be opened again", log_text("error", err.message));
}

/* False: there is nothing, and there will be nothing. */
static bool take(struct appender *appender, struct appender_job **out_jobs, bool *out_reopen)
{
    pthread_mutex_lock(&appender->lock);
    while (!appender->first && !appender->reopen && !appender->stopping)
        (void)clock_wait(&appender->changed, &appender->lock,
                         clock_steady_ms(clock_system()) + IDLE_MS);
    *out_jobs = appender->first;
    *out_reopen = appender->reopen;
    appender->first = NULL;
    appender->last = &appender->first;
    appender->waiting = 0;
    appender->reopen = false;
    bool more = *out_jobs || *out_reopen || !appender->stopping;
    pthread_mutex_unlock(&appender->lock);
    return more;
}

static void *work(void *context)
{
    struct appender *appender = context;
    struct appender_job *jobs;
    bool asked;

    while (take(appender, &jobs, &asked)) {
        if (asked)
            reopen(appender);
        if (jobs)
            write_jobs(appender, jobs);
    }
    return NULL;
}

/* ---- what others call ---- */

static void release(struct appender *appender)
{
    pthread_cond_destroy(&appender->changed);
    pthread_mutex_destroy(&appender->lock);
    buffer_free(&appender->batch);
    free(appender);
}

bool appender_start(struct appender **out, const struct appender_options *options,
                    struct error *err)
{
    struct appender *appender = memory_alloc(sizeof(*appender));

    appender->options = *options;
    appender->last = &appender->first;
    pthread_mutex_init(&appender->lock, NULL);
    pthread_cond_init(&appender->changed, NULL);
    int status = pthread_create(&appender->thread, NULL, work, appender);
    if (status != 0) {
        release(appender);
        return error_set(err, ERROR_INTERNAL, "start the writing thread: %s", strerror(status));
    }
    *out = appender;
    return true;
}

static void wake(struct appender *appender, bool *flag)
{
    pthread_mutex_lock(&appender->lock);
    *flag = true;
    pthread_cond_signal(&appender->changed);
    pthread_mutex_unlock(&appender->lock);
}

void appender_stop(struct appender *appender)
{
    if (!appender)
        return;
    wake(appender, &appender->stopping);
    pthread_join(appender->thread, NULL);
    release(appender);
}

void appender_reopen(struct appender *appender)
{
    wake(appender, &appender->reopen);
}

bool appender_add(struct appender *appender, struct appender_job *job, struct error *err)
{
    pthread_mutex_lock(&appender->lock);
    bool fits =
        !appender->waiting || appender->waiting + job->count <= appender->options.waiting_max;
    bool taken = fits && !appender->stopping;
    if (taken) {
        job->next = NULL;
        *appender->last = job;
        appender->last = &job->next;
        appender->waiting += job->count;
        pthread_cond_signal(&appender->changed);
    }
    pthread_mutex_unlock(&appender->lock);

    if (taken)
        return true;
    return fits ? error_set(err, ERROR_CLOSED, "the writer is stopping")
                : error_set(err, ERROR_FULL, "too many lines wait to be written");
}
