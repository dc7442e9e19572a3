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

#define CASE_MS 120000 /* an end for what hangs, no measure of time */
#define AT_ONCE 8
#define CASES_MAX 256

/* A column of the table. Nothing to start: memory://. */
struct driver {
    const char *name;
    bool (*start)(struct server **out, struct error *err);
    bool (*start_cluster)(struct cluster **out, struct error *err);
    int replicas;
    bool tells_loss;
};

static const struct driver drivers[] = {
    {.name = "memory", .replicas = 1},
    {.name = "nats", .start = server_start_nats, .replicas = 1},
    {.name = "cluster", .start_cluster = cluster_start, .replicas = 3},
    {.name = "redis", .start = server_start_redis, .replicas = 1, .tells_loss = true},
};

/* Why a case is not for a driver. */
struct exemption {
    const char *mark, *reason;
    bool (*exempts)(const struct conformance_case *test, const struct driver *driver);
};

static bool is_real(const struct driver *driver)
{
    return driver->start || driver->start_cluster;
}

static bool needs_memory(const struct conformance_case *test, const struct driver *driver)
{
    return test->needs & ONLY_MEMORY && is_real(driver);
}

static bool needs_cluster(const struct conformance_case *test, const struct driver *driver)
{
    return test->needs & OWN_CLUSTER && !driver->start_cluster;
}

static bool needs_server(const struct conformance_case *test, const struct driver *driver)
{
    return test->needs & (ONLY_REAL | OWN_SERVER) && !is_real(driver);
}

static bool needs_one_server(const struct conformance_case *test, const struct driver *driver)
{
    return test->needs & OWN_SERVER && driver->start_cluster;
}

static bool is_the_same(const struct conformance_case *test, const struct driver *driver)
{
    return test->needs & ONE_SERVER && driver->start_cluster;
}

static bool needs_loss(const struct conformance_case *test, const struct driver *driver)
{
    return test->needs & LOSS_TOLD && !driver->tells_loss;
}

static const struct exemption exemptions[] = {
    {"-m", "memory only: it needs faults that only the model can be told to have", needs_memory},
    {"-c", "cluster only: it does harm to members of one", needs_cluster},
    {"-s", "a real server only: the model has no process, no socket and no clock", needs_server},
    {"-1", "single server only: the same harm, done to members, has cases of its own",
     needs_one_server},
    {"-n", "single server: a cluster has no part in it", is_the_same},
    {"-l", "the broker does not tell that bytes are gone", needs_loss},
};

static const struct conformance_list *const lists[] = {
    &delivery_cases, &settle_cases,  &publish_cases,  &dead_cases,  &retention_cases,
    &fault_cases,    &bound_cases,   &announce_cases, &state_cases, &watch_cases,
    &inspect_cases,  &cluster_cases, &random_cases,
};

enum outcome { NOT_RUN, RUNNING, PASSED, FAILED };

struct run {
    const struct conformance_case *test;
    enum outcome outcomes[ARRAY_LEN(drivers)];
};

/* What a driver talks to; both NULL: memory://. */
struct place {
    struct server *server;
    struct cluster *cluster;
};

struct suite {
    struct run runs[CASES_MAX];
    size_t count;
    const char *only_driver, *only_case;
    struct place places[ARRAY_LEN(drivers)]; /* what cases share */
    unsigned prefix;
};

struct job {
    pid_t pid;          /* 0: free; also its process group, with its servers in it */
    char directory[48]; /* of all its files */
    int output;
    int64_t until_ms;
    size_t run, driver;
};

/* ---- places ---- */

static bool place_start(struct place *place, const struct driver *driver, struct error *err)
{
    if (driver->start)
        return driver->start(&place->server, err);
    return !driver->start_cluster || driver->start_cluster(&place->cluster, err);
}

static void place_close(struct place *place)
{
    server_close(place->server);
    cluster_close(place->cluster);
}

static const char *place_url(const struct place *place)
{
    return place->server ? server_url(place->server) : cluster_url(place->cluster);
}

/* ---- in the case's process ---- */

static void play(void **state)
{
    struct stage *stage = *state;

    stage->broker = stage_broker(stage);
    stage->test->run(stage);
    broker_close(stage->broker);
}

static void set_defaults(struct stage *stage, const struct driver *driver)
{
    stage->real = is_real(driver);
    snprintf(stage->subjects, sizeof(stage->subjects), "%s.>", stage->name);
    stage->stream = (struct broker_stream){.name = stage->name,
                                           .subjects = stage->subjects,
                                           .max_bytes = 64LL * 1024 * 1024,
                                           .dedup_window_ms = 60000,
                                           .replicas = driver->replicas};
    stage->group = (struct broker_group){.stream = stage->name,
                                         .name = "group",
                                         .ack_wait_ms = ACK_WAIT_MS,
                                         .max_in_flight = 1000,
                                         .max_attempts = 100};
}

static void watch(struct stage *stage, const struct place *place)
{
    if (place->server)
        stage->watched[stage->watched_count++] = place->server;
    for (size_t i = 0; place->cluster && i < CLUSTER_SIZE; i++)
        stage->watched[stage->watched_count++] = cluster_member(place->cluster, i);
}

static int run_case(const struct suite *suite, size_t run, const struct driver *driver)
{
    const struct conformance_case *test = suite->runs[run].test;
    struct place place = suite->places[driver - drivers];
    bool own = test->needs & (OWN_SERVER | OWN_CLUSTER);
    struct stage stage = {.test = test};
    char memory_url[64];
    struct error err;

    if (own && !place_start(&place, driver, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    snprintf(stage.name, sizeof(stage.name), "C%u-%zu", suite->prefix, run);
    snprintf(memory_url, sizeof(memory_url), "memory://%s", stage.name);
    stage.url = is_real(driver) ? place_url(&place) : memory_url;
    stage.server = own ? place.server : NULL;
    stage.cluster = own ? place.cluster : NULL;
    set_defaults(&stage, driver);
    watch(&stage, &place);

    struct CMUnitTest tests[] = {
        {.name = test->name, .test_func = play, .initial_state = &stage},
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (own)
        place_close(&place);
    return failed;
}

/* ---- the suite ---- */

/* NULL: the case is for this driver. */
static const struct exemption *exemption_of(const struct conformance_case *test,
                                            const struct driver *driver)
{
    for (size_t i = 0; i < ARRAY_LEN(exemptions); i++)
        if (exemptions[i].exempts(test, driver))
            return &exemptions[i];
    return NULL;
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
        exit(run_case(suite, run, &drivers[driver]) == 0 ? 0 : 1);
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
           !exemption_of(test, &drivers[driver]) &&
           ((test->needs & ALONE) != 0) == (round == ONE_BY_ONE);
}

static bool is_long(const struct suite *suite, size_t run)
{
    return suite->runs[run].test->needs & (LONG | OWN_CLUSTER);
}

struct pool {
    struct job jobs[AT_ONCE];
    size_t size;
};

static void start_cases(struct suite *suite, struct pool *pool, enum round round, bool long_ones)
{
    for (size_t driver = 0; driver < ARRAY_LEN(drivers); driver++)
        for (size_t run = 0; run < suite->count; run++)
            if (is_long(suite, run) == long_ones && is_wanted(suite, driver, run, round))
                start_case(suite, free_job(suite, pool->jobs, pool->size), run, driver);
}

/* The long ones first: at the end nothing would run beside them. */
static void run_cases(struct suite *suite, enum round round)
{
    struct pool pool = {.size = round == TOGETHER ? AT_ONCE : 1};

    start_cases(suite, &pool, round, true);
    start_cases(suite, &pool, round, false);
    finish_jobs(suite, pool.jobs, pool.size);
}

static const char *word_of(const struct suite *suite, size_t run, size_t driver)
{
    static const char *const words[] = {[NOT_RUN] = "", [PASSED] = "pass", [FAILED] = "FAIL"};
    const struct exemption *exemption = exemption_of(suite->runs[run].test, &drivers[driver]);

    return exemption ? exemption->mark : words[suite->runs[run].outcomes[driver]];
}

static int print_totals(const struct suite *suite)
{
    int passed = 0, failed = 0, exempt = 0;

    for (size_t run = 0; run < suite->count; run++)
        for (size_t driver = 0; driver < ARRAY_LEN(drivers); driver++) {
            passed += suite->runs[run].outcomes[driver] == PASSED;
            failed += suite->runs[run].outcomes[driver] == FAILED;
            exempt += exemption_of(suite->runs[run].test, &drivers[driver]) != NULL;
        }
    printf("\n%d passed, %d failed, %d not for their driver\n", passed, failed, exempt);
    return failed == 0 && passed > 0 ? 0 : 1;
}

static int print_table(const struct suite *suite)
{
    printf("\n");
    for (size_t driver = 0; driver < ARRAY_LEN(drivers); driver++)
        printf("%-8s", drivers[driver].name);
    printf("rule\n");
    for (size_t run = 0; run < suite->count; run++) {
        for (size_t driver = 0; driver < ARRAY_LEN(drivers); driver++)
            printf("%-8s", word_of(suite, run, driver));
        printf("%s\n", suite->runs[run].test->name);
    }
    printf("\n");
    for (size_t i = 0; i < ARRAY_LEN(exemptions); i++)
        printf("%s  %s\n", exemptions[i].mark, exemptions[i].reason);
    return print_totals(suite);
}

static bool start_places(struct suite *suite)
{
    struct error err;

    for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
        if (suite->only_driver && strcmp(suite->only_driver, drivers[i].name) != 0)
            continue;
        if (!place_start(&suite->places[i], &drivers[i], &err)) {
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
    if (start_places(&suite)) {
        run_cases(&suite, TOGETHER);
        run_cases(&suite, ONE_BY_ONE);
        status = print_table(&suite);
    }
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++)
        place_close(&suite.places[i]);
    return status;
}
