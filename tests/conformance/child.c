#include "conformance/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define CHILD_LIFE_MS 30000

int child_consumer(int argc, char **argv)
{
    struct broker_group group = {.max_attempts = 100};
    struct broker_consumer *consumer;
    struct broker *broker;
    struct broker_batch batch;
    struct error err;

    if (argc != 7)
        return 2;
    group.stream = argv[3];
    group.name = argv[4];
    group.ack_wait_ms = strtoll(argv[5], NULL, 10);
    group.max_in_flight = (int)strtol(argv[6], NULL, 10);
    if (!broker_open(&broker, argv[2], NULL, &err) ||
        !broker_open_consumer(&consumer, broker, &group, &err) ||
        !broker_fetch(consumer, 100, SIZE_MAX, CALL_MS, &batch, &err)) {
        fprintf(stderr, "child: %s\n", err.message);
        return 1;
    }
    printf("%zu\n", batch.count);
    fflush(stdout);
    pause_ms(CHILD_LIFE_MS);
    return 1;
}

static void run_child(const struct stage *stage, int output)
{
    char ack_wait_ms[24], max_in_flight[16];

    snprintf(ack_wait_ms, sizeof(ack_wait_ms), "%lld", (long long)stage->group.ack_wait_ms);
    snprintf(max_in_flight, sizeof(max_in_flight), "%d", stage->group.max_in_flight);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || dup2(output, STDOUT_FILENO) < 0)
        _exit(126);
    execl("/proc/self/exe", "conformance", CHILD_CONSUMER, stage->url, stage->name,
          stage->group.name, ack_wait_ms, max_in_flight, (char *)NULL);
    _exit(127);
}

pid_t child_start(struct stage *stage, size_t *out_count)
{
    int ends[2];
    char text[16] = "";

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0)
        run_child(stage, ends[1]);
    close(ends[1]);
    struct pollfd readable = {.fd = ends[0], .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 2 * CALL_MS), 1);
    assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
    close(ends[0]);
    *out_count = strtoul(text, NULL, 10);
    assert_true(*out_count > 0);
    return pid;
}
