#include "base/service.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum exit_code { EXIT_STOPPED = 0, EXIT_FAILED = 1, EXIT_MISUSED = 2 };

/* The one global: a signal is sent to the process, so being asked to stop is the process's state.
 */
static struct {
    atomic_int hangups;
    atomic_bool asked;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* asked became true, or: */
    bool finished;          /* guarded by lock: run returned */
} stop = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

struct log_settings {
    const char *level, *format;
};

static const char *const level_words[] = {"DEBUG", "INFO", "WARNING", "ERROR", NULL};
static const char *const format_words[] = {"json", "text", NULL};

static const struct config_field log_table[] = {
    CONFIG_FIELD(struct log_settings, level, "LOG_LEVEL", "INFO", "least level that is logged",
                 .words = level_words),
    CONFIG_FIELD(struct log_settings, format, "LOG_FORMAT", "json", "form of a log line",
                 .words = format_words),
    {0},
};

bool service_stopping(void)
{
    return stop.asked;
}

int service_hangups(void)
{
    return stop.hangups;
}

static int64_t deadline_in(int timeout_ms)
{
    return clock_steady_ms(clock_system()) + (timeout_ms > 0 ? timeout_ms : 0);
}

bool service_wait(int timeout_ms)
{
    int64_t until_ms = deadline_in(timeout_ms);

    pthread_mutex_lock(&stop.lock);
    while (!stop.asked && clock_wait(&stop.changed, &stop.lock, until_ms))
        continue;
    pthread_mutex_unlock(&stop.lock);
    return service_stopping();
}

/* True when run was over before it was asked to stop. */
static bool ask_to_stop(void)
{
    pthread_mutex_lock(&stop.lock);
    bool finished = stop.finished;
    stop.asked = true;
    pthread_cond_broadcast(&stop.changed);
    pthread_mutex_unlock(&stop.lock);
    return finished;
}

static bool finishes_in(int timeout_ms)
{
    int64_t until_ms = deadline_in(timeout_ms);

    pthread_mutex_lock(&stop.lock);
    while (!stop.finished && clock_wait(&stop.changed, &stop.lock, until_ms))
        continue;
    bool finished = stop.finished;
    pthread_mutex_unlock(&stop.lock);
    return finished;
}

/* SIGTERM or SIGINT; until then it counts the others. */
static int next_signal(const sigset_t *signals)
{
    for (int number = 0;;) {
        if (sigwait(signals, &number) != 0)
            continue;
        if (number != SIGHUP)
            return number;
        atomic_fetch_add(&stop.hangups, 1);
    }
}

static void *wait_for_signal(void *context)
{
    int number = next_signal(context);

    if (ask_to_stop())
        return NULL;
    log_info("stopping", log_text("signal", number == SIGINT ? "SIGINT" : "SIGTERM"));
    if (!finishes_in(SERVICE_DRAIN_MS)) {
        log_error("did not finish in time", log_int("waited_ms", SERVICE_DRAIN_MS));
        _exit(EXIT_FAILED);
    }
    return NULL;
}

/* The waiter either waits for run to finish, or for a signal: finished, any signal ends it. */
static void end_waiter(pthread_t waiter)
{
    pthread_mutex_lock(&stop.lock);
    stop.finished = true;
    pthread_cond_broadcast(&stop.changed);
    pthread_mutex_unlock(&stop.lock);
    pthread_kill(waiter, SIGINT);
    pthread_join(waiter, NULL);
}

static int fail(const struct error *err)
{
    log_error(err->message, log_text("code", error_code_name(err->code)),
              log_text("reason", err->reason));
    return EXIT_FAILED;
}

/*
 * A thread that is woken does not push aside the one that runs. Under load that lets queues grow
 * into batches instead of switching threads for every event; an idle machine runs it at once all
 * the same. Only a preference: where it is refused the service works as well.
 */
static void prefer_batches(void)
{
    (void)sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
}

static int run(const struct service *service, const void *settings)
{
    struct error err = {0};
    sigset_t signals;
    pthread_t waiter;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (service->counts_hangups)
        sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* every later thread inherits it */
    signal(SIGPIPE, SIG_IGN);                   /* a peer that went away is an error of write */

    int status = pthread_create(&waiter, NULL, wait_for_signal, &signals);
    if (status != 0) {
        error_set(&err, ERROR_INTERNAL, "start the signal thread: %s", strerror(status));
        return fail(&err);
    }
    prefer_batches();
    log_info("starting", log_text("version", MILLRACE_VERSION));
    bool done = service->run(settings, &err);
    end_waiter(waiter);
    if (!done)
        return fail(&err);
    log_info("stopped");
    return EXIT_STOPPED;
}

static int index_of(const char *const *words, const char *word)
{
    int index = 0;

    while (words[index] && strcmp(words[index], word) != 0)
        index++;
    return index;
}

static void log_lines(char *lines)
{
    char *rest = lines, *line;

    while ((line = strsep(&rest, "\n")))
        if (*line)
            log_error(line);
}

/* Reports the mistakes of both tables before it fails. */
static bool load_settings(const struct service *service, void *settings)
{
    struct log_settings log = {"INFO", "json"};
    struct error err;
    char *lines = NULL;
    size_t size = 0;
    FILE *mistakes = open_memstream(&lines, &size);

    if (!mistakes)
        return false;
    bool ok = config_load(log_table, &log, mistakes, &err);
    ok = config_load(service->settings, settings, mistakes, &err) && ok;
    fclose(mistakes);

    log_start(service->name, (enum log_level)index_of(level_words, log.level),
              strcmp(log.format, "text") == 0 ? LOG_TEXT : LOG_JSON);
    log_lines(lines);
    free(lines);
    return ok;
}

static size_t count_rows(const struct config_field *table)
{
    size_t count = 0;

    while (table[count].name)
        count++;
    return count;
}

/* Both tables as one, so that they line up. */
static int print_help(const struct service *service)
{
    size_t own = count_rows(service->settings), logs = count_rows(log_table);
    struct config_field *table = memory_alloc((own + logs + 1) * sizeof(*table));

    memcpy(table, service->settings, own * sizeof(*table));
    memcpy(table + own, log_table, logs * sizeof(*table));
    printf("%s: %s\n\nSettings, from the environment:\n", service->name, service->summary);
    config_print(table, stdout);
    free(table);
    return EXIT_STOPPED;
}

static int answer_argument(const struct service *service, const char *argument)
{
    if (strcmp(argument, "--help") == 0)
        return print_help(service);
    if (strcmp(argument, "--version") == 0) {
        printf("%s %s\n", service->name, MILLRACE_VERSION);
        return EXIT_STOPPED;
    }
    fprintf(stderr, "%s: unknown argument '%s'; try --help\n", service->name, argument);
    return EXIT_MISUSED;
}

int service_main(const struct service *service, int argc, char **argv)
{
    if (argc > 1)
        return answer_argument(service, argv[1]);

    void *settings = memory_alloc(service->settings_size);
    int code = EXIT_MISUSED;
    if (load_settings(service, settings))
        code = run(service, settings);
    free(settings);
    return code;
}
