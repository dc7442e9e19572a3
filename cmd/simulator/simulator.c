#include "simulator.h"

#include "crew.h"
#include "pace.h"

#include "base/clock.h"
#include "base/rfc3339.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLICE_MS 200 /* between two looks at what else happens */
#define SEED_MOST UINT64_C(9000000000000000)
#define CLEAR_LINE "\r\033[K"

struct run {
    const struct simulator_settings *settings;
    struct traffic *traffic;
    struct tally *tally;
    struct journal *journal;
    struct crew *crew;
    struct pace pace;
    sigset_t signals;
    uint64_t seed;
    int64_t began_ns, shown_ns;
    bool interrupted, visible;
};

/* ---- waiting, with an eye on signals and on the terminal ---- */

static void show(struct run *run)
{
    uint64_t totals[TALLY_OUTCOMES], sent = 0;
    int64_t now_ns = clock_nanoseconds();
    double spent_s = (double)(now_ns - run->began_ns) / 1e9;

    if (!run->visible || now_ns - run->shown_ns < INT64_C(1000000) * SLICE_MS)
        return;
    run->shown_ns = now_ns;
    tally_totals(run->tally, totals);
    for (int i = 0; i < TALLY_OUTCOMES; i++)
        sent += totals[i];
    fprintf(stderr, CLEAR_LINE "sent %" PRIu64 ", %.0f/s, failed %" PRIu64, sent,
            (double)sent / spent_s, totals[TALLY_FAILED] + totals[TALLY_REFUSED]);
    if (run->settings->duration_s > spent_s)
        fprintf(stderr, ", %.0f s left", run->settings->duration_s - spent_s);
    fflush(stderr);
}

/* Waits until then, or for a signal: false. */
static bool wait_until(struct run *run, int64_t until_ns)
{
    int64_t left_ns = until_ns - clock_nanoseconds();

    if (left_ns < 0)
        left_ns = 0;
    const struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    return sigtimedwait(&run->signals, NULL, &left) < 0;
}

static int64_t end_ns(const struct run *run)
{
    double duration_s = run->settings->duration_s;

    return duration_s > 0 ? run->began_ns + (int64_t)(duration_s * 1e9) : INT64_MAX;
}

/* False: it is over before the event's turn comes. */
static bool wait_turn(struct run *run, const struct traffic_event *event)
{
    for (;;) {
        int64_t now_ns = clock_nanoseconds();
        int64_t due_ns =
            pace_due_ns(&run->pace, event->time_ms, now_ns, clock_wall_ms(clock_system()));
        int64_t slice_ns = now_ns + INT64_C(1000000) * SLICE_MS;

        if (now_ns >= end_ns(run))
            return false;
        show(run);
        if (!wait_until(run, due_ns < slice_ns ? due_ns : slice_ns)) {
            run->interrupted = true;
            return false;
        }
        if (clock_nanoseconds() >= due_ns)
            return true;
    }
}

static bool hand_over(struct run *run, const struct traffic_event *event)
{
    while (!crew_give(run->crew, event, SLICE_MS)) {
        show(run);
        if (!wait_until(run, 0)) {
            run->interrupted = true;
            return false;
        }
        if (clock_nanoseconds() >= end_ns(run))
            return false;
    }
    pace_done(&run->pace, event->time_ms, clock_nanoseconds());
    return true;
}

static void happen(struct run *run)
{
    struct traffic_event event;

    do
        traffic_next(run->traffic, &event);
    while (wait_turn(run, &event) && hand_over(run, &event));
}

/* Whoever is not done in time, or after another signal, is interrupted. */
static void drain(struct run *run)
{
    int64_t patience_ms = run->interrupted ? SIMULATOR_PATIENCE_MS : SIMULATOR_LAST_MS;
    int64_t until_ns = clock_nanoseconds() + patience_ms * 1000000;

    crew_finish(run->crew, run->interrupted);
    while (!crew_is_done(run->crew, SLICE_MS) && clock_nanoseconds() < until_ns) {
        show(run);
        if (wait_until(run, 0))
            continue;
        if (run->interrupted)
            break;
        run->interrupted = true;
        until_ns = clock_nanoseconds() + INT64_C(1000000) * SIMULATOR_PATIENCE_MS;
        crew_finish(run->crew, true);
    }
    crew_halt(run->crew);
    crew_stop(run->crew);
    run->crew = NULL;
    if (run->visible)
        fputc('\n', stderr);
}

/* ---- the beginning ---- */

static struct traffic_options traffic_options_of(const struct run *run)
{
    const struct simulator_settings *settings = run->settings;

    return (struct traffic_options){
        .seed = run->seed,
        .systems = settings->systems,
        .garages = settings->garages,
        .capacity = settings->capacity,
        .entry_wait_s = settings->entry_wait_s,
        .exit_wait_s = settings->exit_wait_s,
        .sites = settings->sites,
        .meters = settings->meters,
        .services = settings->services,
    };
}

static bool choose_start(const struct simulator_settings *settings, double natural, int64_t *out_ms,
                         struct error *err)
{
    int64_t now_ms = clock_wall_ms(clock_system());

    if (settings->start_ms > now_ms)
        return error_set(err, ERROR_INVALID, "--start: that is in the future");
    *out_ms = settings->start_ms >= 0
                  ? settings->start_ms
                  : now_ms - pace_behind_ms(settings->duration_s, settings->speed, settings->rate,
                                            natural);
    return *out_ms >= 0 ||
           error_set(err, ERROR_INVALID,
                     "simulated time would start before 1970: want a smaller --duration, --speed "
                     "or --rate, or a --start");
}

static bool set_up(struct run *run, struct error *err)
{
    const struct simulator_settings *settings = run->settings;

    run->seed = settings->seed >= 0 ? (uint64_t)settings->seed
                                    : ((uint64_t)id_random() << 32 | id_random()) % SEED_MOST;
    struct traffic_options options = traffic_options_of(run);
    if (!choose_start(settings, traffic_per_second(&options), &options.start_ms, err) ||
        (settings->journal && !journal_open(&run->journal, settings->journal, err)))
        return false;
    run->traffic = traffic_new(&options);
    run->tally = tally_new();

    const struct delivery_options delivery = {.url = settings->url,
                                              .bulk = settings->bulk,
                                              .retries = settings->retries,
                                              .timeout_ms = settings->timeout_ms,
                                              .tally = run->tally,
                                              .journal = run->journal};
    if (!crew_start(&run->crew, settings->workers, &delivery, err))
        return false;
    run->visible = !settings->quiet && isatty(STDERR_FILENO) == 1;
    run->began_ns = clock_nanoseconds();
    pace_start(&run->pace, settings->rate > 0 ? 0 : settings->speed, settings->rate,
               options.start_ms, run->began_ns);
    return true;
}

static void clean_up(struct run *run)
{
    journal_close(run->journal);
    traffic_free(run->traffic);
    tally_free(run->tally);
}

/* ---- the result ---- */

static void tell_start(const struct run *run)
{
    char start[RFC3339_SIZE];

    if (run->settings->quiet)
        return;
    rfc3339_format(run->pace.start_ms, start);
    fprintf(stderr, "seed %" PRIu64 ", simulated time from %s", run->seed, start);
    if (run->settings->rate > 0)
        fprintf(stderr, ", %g events a second\n", run->settings->rate);
    else
        fprintf(stderr, ", %g times as fast as time\n", run->settings->speed);
}

static void print_json(struct run *run, FILE *out)
{
    AUTO(buffer_free) struct buffer text = {0};
    struct json_writer writer = {.out = &text};

    json_open(&writer, NULL, '{');
    json_int(&writer, "seed", (int64_t)run->seed);
    json_time(&writer, "start", run->pace.start_ms);
    json_time(&writer, "end", run->pace.last_ms);
    json_double(&writer, "duration_s",
                round((double)(clock_nanoseconds() - run->began_ns) / 1e6) / 1e3);
    json_bool(&writer, "interrupted", run->interrupted);
    tally_write(run->tally, &writer);
    json_close(&writer, '}');
    fprintf(out, "%s\n", text.data);
}

static void print_table(struct run *run, FILE *out)
{
    AUTO(buffer_free) struct buffer text = {0};
    char start[RFC3339_SIZE], end[RFC3339_SIZE];

    tally_print(run->tally, &text);
    rfc3339_format(run->pace.start_ms, start);
    rfc3339_format(run->pace.last_ms, end);
    fprintf(out, "%sseed %" PRIu64 ", simulated time from %s to %s, %.1f s\n", text.data, run->seed,
            start, end, (double)(clock_nanoseconds() - run->began_ns) / 1e9);
}

static int fail(const struct error *err)
{
    fprintf(stderr, "simulator: %s\n", err->message);
    return err->code == ERROR_INVALID ? SIMULATOR_MISUSED : SIMULATOR_SHORT;
}

static int conclude(struct run *run, FILE *out)
{
    uint64_t totals[TALLY_OUTCOMES];
    struct error err;

    (run->settings->json ? print_json : print_table)(run, out);
    if (fflush(out) != 0) {
        error_set(&err, ERROR_INTERNAL, "write the result: %s", strerror(errno));
        return fail(&err);
    }
    if (!journal_finish(run->journal, &err))
        return fail(&err);
    tally_totals(run->tally, totals);
    return totals[TALLY_REFUSED] + totals[TALLY_FAILED] ? SIMULATOR_SHORT : SIMULATOR_DONE;
}

int simulator_run(const struct simulator_settings *settings, FILE *out)
{
    struct run run = {.settings = settings};
    struct error err;
    int code;

    sigemptyset(&run.signals);
    sigaddset(&run.signals, SIGINT);
    sigaddset(&run.signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &run.signals, NULL); /* the workers inherit it */
    if (set_up(&run, &err)) {
        tell_start(&run);
        happen(&run);
        drain(&run);
        code = conclude(&run, out);
    } else {
        code = fail(&err);
    }
    clean_up(&run);
    return code;
}
