/*
 * What every broker driver must do: one list, run over each driver against real servers.
 *
 *     conformance [DRIVER] [PART OF A CASE'S NAME]
 *
 * A new driver adds a row to `drivers`. Each case is a process of its own with a bounded life;
 * several run at a time, but those that measure calls in tenths of a second run alone.
 */
#include "conformance/child.h"
#include "conformance/stage.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CASE_MS 40000
#define AT_ONCE 6
#define CASES_MAX 256

struct driver {
    const char *name;
    bool (*start)(struct server **out, struct error *err); /* NULL: needs no server */
};

static const struct driver drivers[] = {
    {"memory", NULL},
    {"nats", server_start_nats},
    {"redis", server_start_redis},
};

static const struct conformance_list *const lists[] = {
    &delivery_cases,  &settle_cases, &publish_cases, &dead_cases,
    &retention_cases, &fault_cases,  &bound_cases,
};

enum outcome { NOT_RUN, RUNNING, PASSED, FAILED };

struct run {
    const struct conformance_case *test;
    enum outcome outcomes[ARRAY_LEN(drivers)];
};

struct suite {
    struct run runs[CASES_MAX];
    size_t count;
    const char *only_driver, *only_case;
    struct server *servers[ARRAY_LEN(drivers)];
    unsigned prefix;
};

struct job {
    pid_t pid;          /* 0: free; also its process group, with its servers in it */
    char directory[48]; /* of all its files */
    int output;
    int64_t until_ms;
    size_t run, driver;
};

/* ---- in the case's process ---- */

static bool start_server(const struct driver *driver, struct server **out, struct error *err)
{
    if (!driver->start)
        return error_set(err, ERROR_INTERNAL, "%s needs no server", driver->name);
    return driver->start(out, err);
}

static void play(void **state)
{
    struct stage *stage = *state;

    stage->broker = stage_broker(stage);
    stage->test->run(stage);
    broker_close(stage->broker);
    server_close(stage->server);
}

static void set_defaults(struct stage *stage)
{
    snprintf(stage->subjects, sizeof(stage->subjects), "%s.>", stage->name);
    stage->stream = (struct broker_stream){.name = stage->name,
                                           .subjects = stage->subjects,
                                           .max_bytes = 64LL * 1024 * 1024,
                                           .dedup_window_ms = 60000,
                                           .replicas = 1};
    stage->group = (struct broker_group){.stream = stage->name,
                                         .name = "group",
                                         .ack_wait_ms = ACK_WAIT_MS,
                                         .max_in_flight = 1000,
                                         .max_attempts = 100};
}

static int run_case(const struct suite *suite, size_t run, size_t driver)
{
    const struct conformance_case *test = suite->runs[run].test;
    struct stage stage = {.test = test, .real = drivers[driver].start != NULL};
    char memory_url[64];
    struct error err;

    snprintf(stage.name, sizeof(stage.name), "C%u-%zu", suite->prefix, run);
    snprintf(memory_url, sizeof(memory_url), "memory://%s", stage.name);
    if (!stage.real) {
        stage.url = memory_url;
    } else if (!(test->needs & OWN_SERVER)) {
        stage.watched = suite->servers[driver];
        stage.url = server_url(stage.watched);
    } else {
        if (!start_server(&drivers[driver], &stage.server, &err)) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        stage.watched = stage.server;
        stage.url = server_url(stage.server);
    }
    set_defaults(&stage);

    struct CMUnitTest tests[] = {
        {.name = test->name, .test_func = play, .initial_state = &stage},
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed)
        server_close(stage.server);
    return failed;
}

/* ---- the suite ---- */

static bool applies(const struct conformance_case *test, const struct driver *driver)
{
    return !(test->needs & (driver->start ? ONLY_MEMORY : ONLY_REAL | OWN_SERVER));
}

/* It ends with the suite, whatever happens to that. */
static void enter_case(const struct job *job, pid_t suite)
{
    if (setpgid(0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != suite ||
        setenv("TMPDIR", job->directory, 1) != 0 || dup2(job->output, STDOUT_FILENO) < 0 ||
        dup2(job->output, STDERR_FILENO) < 0)
        _exit(126);
}

static void start_case(struct suite *suite, struct job *job, size_t run, size_t driver)
{
    pid_t parent = getpid();
    char path[80];

    *job = (struct job){.run = run,
                        .driver = driver,
                        .until_ms = now_ms() + CASE_MS,
                        .directory = "/tmp/millrace-conformance-XXXXXX"};
    if (!mkdtemp(job->directory))
        abort();
    snprintf(path, sizeof(path), "%s/output", job->directory);
    job->output = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    fflush(NULL);
    job->pid = fork();
    if (job->pid == 0) {
        enter_case(job, parent);
        exit(run_case(suite, run, driver) == 0 ? 0 : 1);
    }
    setpgid(job->pid, job->pid); /* both do it: neither waits for the other */
    suite->runs[run].outcomes[driver] = RUNNING;
}

static void show_output(int fd)
{
    char text[4096];
    ssize_t size;

    lseek(fd, 0, SEEK_SET);
    while ((size = read(fd, text, sizeof(text))) > 0)
        fwrite(text, 1, (size_t)size, stdout);
}

/* What the case started ends with it: orphans are this process's children. */
static void clean_up(const struct job *job)
{
    kill(-job->pid, SIGKILL);
    while (waitpid(-job->pid, NULL, 0) > 0)
        ;
    close(job->output);
    server_remove_files(job->directory);
}

/* True when the job ended, by itself or because its time was over. */
static bool reap(struct suite *suite, struct job *job)
{
    bool late = now_ms() > job->until_ms;
    int status = 0;

    if (late)
        kill(job->pid, SIGKILL);
    if (waitpid(job->pid, &status, late ? 0 : WNOHANG) == 0)
        return false;
    bool passed = !late && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    suite->runs[job->run].outcomes[job->driver] = passed ? PASSED : FAILED;
    printf("%s  %-7s %s%s\n", passed ? "pass" : "FAIL", drivers[job->driver].name,
           suite->runs[job->run].test->name, late ? " (took too long)" : "");
    if (!passed)
        show_output(job->output);
    fflush(stdout);
    clean_up(job);
    job->pid = 0;
    return true;
}

/* Waits until one of the jobs is free. */
static struct job *free_job(struct suite *suite, struct job *jobs, size_t count)
{
    for (;;) {
        for (size_t i = 0; i < count; i++)
            if (jobs[i].pid == 0 || reap(suite, &jobs[i]))
                return &jobs[i];
        poll(NULL, 0, 5);
    }
}

static void finish_jobs(struct suite *suite, struct job *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        while (jobs[i].pid && !reap(suite, &jobs[i]))
            poll(NULL, 0, 5);
}

enum round { TOGETHER, ONE_BY_ONE };

static bool is_wanted(const struct suite *suite, size_t driver, size_t run, enum round round)
{
    const struct conformance_case *test = suite->runs[run].test;

    return (!suite->only_driver || strcmp(suite->only_driver, drivers[driver].name) == 0) &&
           applies(test, &drivers[driver]) && ((test->needs & ALONE) != 0) == (round == ONE_BY_ONE);
}

static void run_cases(struct suite *suite, enum round round)
{
    struct job jobs[AT_ONCE] = {0};
    size_t at_once = round == TOGETHER ? AT_ONCE : 1;

    for (size_t driver = 0; driver < ARRAY_LEN(drivers); driver++)
        for (size_t run = 0; run < suite->count; run++)
            if (is_wanted(suite, driver, run, round))
                start_case(suite, free_job(suite, jobs, at_once), run, driver);
    finish_jobs(suite, jobs, at_once);
}

static int print_table(const struct suite *suite)
{
    static const char *const words[] = {[NOT_RUN] = "-", [PASSED] = "pass", [FAILED] = "FAIL"};
    int passed = 0, failed = 0;

    printf("\n");
    for (size_t driver = 0; driver < ARRAY_LEN(drivers); driver++)
        printf("%-8s", drivers[driver].name);
    printf("rule\n");
    for (size_t run = 0; run < suite->count; run++) {
        for (size_t driver = 0; driver < ARRAY_LEN(drivers); driver++) {
            enum outcome outcome = suite->runs[run].outcomes[driver];
            passed += outcome == PASSED;
            failed += outcome == FAILED;
            printf("%-8s", words[outcome]);
        }
        printf("%s\n", suite->runs[run].test->name);
    }
    printf("\n%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}

static bool start_servers(struct suite *suite)
{
    struct error err;

    for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
        if (!drivers[i].start ||
            (suite->only_driver && strcmp(suite->only_driver, drivers[i].name) != 0))
            continue;
        if (!drivers[i].start(&suite->servers[i], &err)) {
            fprintf(stderr, "%s: %s\n", drivers[i].name, err.message);
            return false;
        }
    }
    return true;
}

static void read_arguments(struct suite *suite, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bool is_driver = false;
        for (size_t j = 0; j < ARRAY_LEN(drivers); j++)
            is_driver = is_driver || strcmp(argv[i], drivers[j].name) == 0;
        if (is_driver)
            suite->only_driver = argv[i];
        else
            suite->only_case = argv[i];
    }
}

static void collect_cases(struct suite *suite)
{
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (size_t j = 0; j < lists[i]->count; j++) {
            const struct conformance_case *test = &lists[i]->cases[j];
            if (suite->count < CASES_MAX &&
                (!suite->only_case || strstr(test->name, suite->only_case)))
                suite->runs[suite->count++].test = test;
        }
}

int main(int argc, char **argv)
{
    struct suite suite = {.prefix = (unsigned)getpid() ^ (unsigned)clock_nanoseconds()};
    int status = 1;

    if (argc > 1 && strcmp(argv[1], CHILD_CONSUMER) == 0)
        return child_consumer(argc, argv);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        return 1;
    read_arguments(&suite, argc, argv);
    collect_cases(&suite);
    if (start_servers(&suite)) {
        run_cases(&suite, TOGETHER);
        run_cases(&suite, ONE_BY_ONE);
        status = print_table(&suite);
    }
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++)
        server_close(suite.servers[i]);
    return status;
}
