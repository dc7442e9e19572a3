#include "command.h"

#include <stdio.h>
#include <unistd.h>

#define REDRAW_MS 100
#define CLEAR_LINE "\r\033[K"

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

static void draw(struct progress *progress, int64_t at_ms)
{
    int64_t spent_ms = at_ms - progress->started_ms;
    double rate = spent_ms > 0 ? (double)progress->done * 1000 / (double)spent_ms : 0;

    progress->shown_ms = at_ms;
    fprintf(stderr, CLEAR_LINE "%s %llu", progress->what, (unsigned long long)progress->done);
    if (progress->total)
        fprintf(stderr, " of %llu", (unsigned long long)progress->total);
    fprintf(stderr, ", %.0f/s", rate);
    if (progress->total > progress->done && rate > 0)
        fprintf(stderr, ", %.0f s left", (double)(progress->total - progress->done) / rate);
    fflush(stderr);
}

void progress_start(struct progress *progress, const struct options *options, const char *what,
                    uint64_t total)
{
    *progress = (struct progress){
        .what = what,
        .total = total,
        .started_ms = now_ms(),
        .visible = !options->json && !options->quiet && isatty(STDERR_FILENO) == 1,
    };
}

void progress_add(struct progress *progress, uint64_t done)
{
    progress->done += done;
    if (!progress->visible)
        return;

    int64_t at_ms = now_ms();
    if (at_ms - progress->shown_ms >= REDRAW_MS)
        draw(progress, at_ms);
}

void progress_end(struct progress *progress)
{
    if (!progress->visible)
        return;
    draw(progress, now_ms());
    fputc('\n', stderr);
}
