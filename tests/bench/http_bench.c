/*
 * Serves until its input ends, for a load generator:
 *
 *     http_bench [port] < /dev/tty          wrk -c 64 -t 2 http://127.0.0.1:PORT/deferred
 *
 * /now answers in the handler; /deferred hands over to another thread, which answers, as a broker's
 * acknowledgement would. Afterwards it says how much CPU a request cost the server.
 */
#include "http/http.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define WAITING_MAX 8192

struct bench {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    struct http_exchange *waiting[WAITING_MAX];
    size_t count;
    bool stopping;

    atomic_long requests;
};

static const char ok[] = "{\"id\":\"0192f0c1-2345-7abc-8def-0123456789ab\"}";

static void now(void *context, struct http_exchange *exchange)
{
    struct bench *bench = context;

    atomic_fetch_add(&bench->requests, 1);
    http_reply(exchange, 202, HTTP_JSON, ok, sizeof(ok) - 1);
}

static void defer(void *context, struct http_exchange *exchange)
{
    struct bench *bench = context;

    atomic_fetch_add(&bench->requests, 1);
    http_defer(exchange);
    pthread_mutex_lock(&bench->lock);
    bool first = bench->count == 0;
    bench->waiting[bench->count++] = exchange;
    pthread_mutex_unlock(&bench->lock);
    if (first)
        pthread_cond_signal(&bench->changed);
}

/* Takes whatever waits, and answers all of it. */
static void *reply(void *argument)
{
    struct bench *bench = argument;
    struct http_exchange *taken[WAITING_MAX];

    for (;;) {
        pthread_mutex_lock(&bench->lock);
        while (!bench->count && !bench->stopping)
            pthread_cond_wait(&bench->changed, &bench->lock);
        size_t count = bench->count;
        for (size_t i = 0; i < count; i++)
            taken[i] = bench->waiting[i];
        bench->count = 0;
        pthread_mutex_unlock(&bench->lock);
        if (!count)
            return NULL;
        for (size_t i = 0; i < count; i++)
            http_reply(taken[i], 202, HTTP_JSON, ok, sizeof(ok) - 1);
    }
}

static const struct http_route routes[] = {
    {"GET", "/now", .handle = now},
    {"GET", "/deferred", .handle = defer},
    {"POST", "/deferred", .handle = defer},
    {0},
};

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    static struct bench bench = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                 .changed = PTHREAD_COND_INITIALIZER};
    struct http_options options = {.service = "bench",
                                   .port = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0};
    struct http_server *server = NULL;
    pthread_t thread;
    struct error err;
    char byte;

    if (pthread_create(&thread, NULL, reply, &bench) != 0 ||
        !http_start(&server, &options, routes, &bench, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    printf("http://127.0.0.1:%d\n", http_port(server));
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    double seconds = cpu_seconds();
    long requests = atomic_load(&bench.requests);
    printf("%ld requests, %.2f us of CPU each\n", requests,
           requests ? seconds * 1e6 / (double)requests : 0.0);
    http_stop(server);
    pthread_mutex_lock(&bench.lock);
    bench.stopping = true;
    pthread_cond_signal(&bench.changed);
    pthread_mutex_unlock(&bench.lock);
    pthread_join(thread, NULL);
    return 0;
}
