#include "support/test.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/service.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 20000 /* how long a child may take before the test gives up */

struct settings {
    const char *mode;
    int port;
};

static const struct config_field table[] = {
    CONFIG_FIELD(struct settings, mode, "S_MODE", "wait", "what run does"),
    CONFIG_FIELD(struct settings, port, "S_PORT", "8000", "port", .min = 1, .max = 65535),
    {0},
};

/* Ends soon after the signal arrived in a thread that does not handle it either. */
static void *wait_in_thread(void *context)
{
    while (!service_wait(PATIENCE_MS))
        ;
    return context;
}

static bool run_until_stopped(struct error *err)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, wait_in_thread, NULL) != 0)
        return error_set(err, ERROR_INTERNAL, "no thread");
    if (service_stopping() || service_wait(1))
        return error_set(err, ERROR_INTERNAL, "stopping before it was asked to");
    log_info("running");
    service_wait(PATIENCE_MS);
    pthread_join(thread, NULL);
    return true;
}

static bool run_for_ever(void)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + PATIENCE_MS;

    log_info("running");
    while (clock_steady_ms(clock_system()) < until_ms)
        poll(NULL, 0, 100);
    return true;
}

static bool write_to_nobody(struct error *err)
{
    int ends[2];

    if (pipe(ends) != 0)
        return error_set(err, ERROR_INTERNAL, "no pipe");
    close(ends[0]);
    bool written = write(ends[1], "x", 1) == 1;
    close(ends[1]);
    return !written;
}

static bool run(const void *context, struct error *err)
{
    const struct settings *settings = context;

    if (strcmp(settings->mode, "fail") == 0)
        return error_set(err, ERROR_UNAVAILABLE, "open broker: refused");
    if (strcmp(settings->mode, "pipe") == 0)
        return write_to_nobody(err);
    if (strcmp(settings->mode, "hang") == 0)
        return run_for_ever();
    return strcmp(settings->mode, "done") == 0 ? true : run_until_stopped(err);
}

static const struct service service = {
    .name = "sample",
    .summary = "does nothing well",
    .settings = table,
    .settings_size = sizeof(struct settings),
    .run = run,
};

struct child {
    pid_t pid;
    int output; /* its stdout and stderr */
    char text[8192];
    size_t size;
    int status;
};

/* A service in a process of its own, with one argument or none. */
static void start(struct child *child, const char *mode, const char *argument)
{
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    *child = (struct child){.pid = fork(), .output = ends[0]};
    assert_true(child->pid >= 0);
    if (child->pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        setenv("S_MODE", mode, 1);

        char name[] = "sample", *copy = argument ? strdup(argument) : NULL;
        char *argv[] = {name, copy, NULL};
        exit(service_main(&service, argument ? 2 : 1, argv));
    }
    close(ends[1]);
}

/* Reads until the text is there; NULL: until the child closes its output. */
static void read_until(struct child *child, const char *wanted)
{
    struct pollfd ready = {.fd = child->output, .events = POLLIN};

    while (!wanted || !strstr(child->text, wanted)) {
        assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
        ssize_t got =
            read(child->output, child->text + child->size, sizeof(child->text) - 1 - child->size);
        if (got <= 0)
            break;
        child->size += (size_t)got;
        child->text[child->size] = '\0';
    }
    if (wanted)
        assert_non_null(strstr(child->text, wanted));
}

static int finish(struct child *child)
{
    read_until(child, NULL);
    close(child->output);
    assert_int_equal(waitpid(child->pid, &child->status, 0), child->pid);
    assert_true(WIFEXITED(child->status));
    return WEXITSTATUS(child->status);
}

static void help_prints_the_settings(void **state)
{
    struct child child;

    (void)state;
    start(&child, "wait", "--help");
    assert_int_equal(finish(&child), 0);
    assert_string_equal(child.text, "sample: does nothing well\n"
                                    "\n"
                                    "Settings, from the environment:\n"
                                    "  S_MODE      wait  what run does\n"
                                    "  S_PORT      8000  port (1..65535)\n"
                                    "  LOG_LEVEL   INFO  least level that is logged "
                                    "(DEBUG, INFO, WARNING, ERROR)\n"
                                    "  LOG_FORMAT  json  form of a log line (json, text)\n");
}

static void version_prints_the_name_and_the_version(void **state)
{
    struct child child;

    (void)state;
    start(&child, "wait", "--version");
    assert_int_equal(finish(&child), 0);
    assert_string_equal(child.text, "sample " MILLRACE_VERSION "\n");
}

static void another_argument_is_refused(void **state)
{
    struct child child;

    (void)state;
    start(&child, "wait", "--port=1");
    assert_int_equal(finish(&child), 2);
    assert_string_equal(child.text, "sample: unknown argument '--port=1'; try --help\n");
}

static void every_wrong_setting_is_logged(void **state)
{
    struct child child;

    (void)state;
    setenv("S_PORT", "x", 1);
    setenv("LOG_LEVEL", "loud", 1);
    setenv("LOG_FORMAT", "xml", 1);
    start(&child, "wait", NULL);
    unsetenv("S_PORT");
    unsetenv("LOG_LEVEL");
    unsetenv("LOG_FORMAT");
    assert_int_equal(finish(&child), 2);
    assert_non_null(strstr(child.text, "\"level\":\"ERROR\",\"service\":\"sample\","
                                       "\"message\":\"LOG_LEVEL='loud': want one of "
                                       "DEBUG, INFO, WARNING, ERROR\"}\n"));
    assert_non_null(strstr(child.text, "\"LOG_FORMAT='xml': want one of json, text\"}\n"));
    assert_non_null(strstr(child.text, "\"S_PORT='x': want a whole number from 1 to 65535\"}\n"));
    assert_null(strstr(child.text, "starting"));
}

static void one_wrong_log_setting_is_enough(void **state)
{
    struct child child;

    (void)state;
    setenv("LOG_LEVEL", "loud", 1);
    start(&child, "done", NULL);
    unsetenv("LOG_LEVEL");
    assert_int_equal(finish(&child), 2);
}

static void the_log_settings_hold(void **state)
{
    struct child child;

    (void)state;
    setenv("LOG_LEVEL", "error", 1);
    setenv("LOG_FORMAT", "text", 1);
    start(&child, "fail", NULL);
    unsetenv("LOG_LEVEL");
    unsetenv("LOG_FORMAT");
    assert_int_equal(finish(&child), 1);
    assert_string_equal(child.text + 24,
                        " ERROR sample open broker: refused code=unavailable reason=unavailable\n");
}

static const struct end_row {
    const char *name, *mode;
    int signal; /* sent once it runs; 0: none */
    int code;
    const char *logged;
} end_rows[] = {
    {"SIGTERM stops it", "wait", SIGTERM, 0, "\"message\":\"stopped\""},
    {"SIGINT stops it", "wait", SIGINT, 0, "\"signal\":\"SIGINT\""},
    {"a run that is done ends it", "done", 0, 0, "\"message\":\"stopped\""},
    {"an error is logged and fails it", "fail", 0, 1, "\"message\":\"open broker: refused\""},
    {"a peer that went away does not kill it", "pipe", 0, 0, "\"message\":\"stopped\""},
};

static void ends_with_its_code(void **state)
{
    const struct end_row *row = *state;
    int64_t started_ms = clock_steady_ms(clock_system());
    struct child child;

    start(&child, row->mode, NULL);
    if (row->signal) {
        read_until(&child, "running");
        kill(child.pid, row->signal);
    }
    assert_int_equal(finish(&child), row->code);
    assert_non_null(strstr(child.text, row->logged));
    assert_true(clock_steady_ms(clock_system()) - started_ms < SERVICE_DRAIN_MS - 1000);
}

static void a_run_that_hangs_is_ended(void **state)
{
    struct child child;

    (void)state;
    start(&child, "hang", NULL);
    read_until(&child, "running");
    int64_t asked_ms = clock_steady_ms(clock_system());
    kill(child.pid, SIGTERM);
    kill(child.pid, SIGINT); /* asking again does not hurry it */
    assert_int_equal(finish(&child), 1);
    assert_non_null(strstr(child.text, "\"message\":\"did not finish in time\""));
    assert_in_range(clock_steady_ms(clock_system()) - asked_ms, SERVICE_DRAIN_MS - 10,
                    SERVICE_DRAIN_MS + 3000);
}

static void waiting_ends_after_its_time(void **state)
{
    int64_t started_ms = clock_steady_ms(clock_system());

    (void)state;
    assert_false(service_wait(-1));
    assert_false(service_wait(50));
    assert_in_range(clock_steady_ms(clock_system()) - started_ms, 49, 5000);
    assert_false(service_stopping());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_prints_the_settings),
        cmocka_unit_test(version_prints_the_name_and_the_version),
        cmocka_unit_test(another_argument_is_refused),
        cmocka_unit_test(every_wrong_setting_is_logged),
        cmocka_unit_test(one_wrong_log_setting_is_enough),
        cmocka_unit_test(the_log_settings_hold),
        cmocka_unit_test(a_run_that_hangs_is_ended),
        cmocka_unit_test(waiting_ends_after_its_time),
    };

    return RUN_ROWS(end_rows, ends_with_its_code) + cmocka_run_group_tests(tests, NULL, NULL);
}
