/*
 * What a broker driver costs: events per second and CPU per event on the client's side.
 *
 *     broker_bench URL [EVENTS [BATCH]]
 *
 * Publishes events of 189 bytes with as many as possible under way, one at a time, then fetches and
 * settles them all. The stream BENCH is made when it is missing and left behind.
 */
#include "broker/broker.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define EVENT_SIZE 189
#define TIMEOUT_MS 20000
#define LONE 2000
#define MEDIAN 1000
#define P99 1980
#define ID_SIZE 40
#define ROOM 8192

static const struct broker_stream stream = {.name = "BENCH",
                                            .subjects = "bench.>",
                                            .max_bytes = 4LL << 30,
                                            .dedup_window_ms = 600000,
                                            .replicas = 1};
static const struct broker_group group = {.stream = "BENCH",
                                          .name = "bench",
                                          .ack_wait_ms = 30000,
                                          .max_in_flight = 20000,
                                          .max_attempts = 10};

struct flight {
    pthread_mutex_t lock;
    pthread_cond_t landed;
    size_t under_way, failed; /* guarded by lock */
    struct error first;
};

static double cpu_us(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

struct watch {
    int64_t started_ns;
    double cpu;
};

static struct watch start(void)
{
    return (struct watch){clock_nanoseconds(), cpu_us()};
}

static void report(const char *what, const struct watch *watch, size_t events)
{
    double seconds = (double)(clock_nanoseconds() - watch->started_ns) / 1e9;

    printf("%-24s %8.0f events/s  %6.2f us CPU/event\n", what, (double)events / seconds,
           (cpu_us() - watch->cpu) / (double)events);
}

static void landed(void *context, const struct broker_receipt *receipt)
{
    struct flight *flight = context;

    pthread_mutex_lock(&flight->lock);
    if (receipt->error.code != ERROR_NONE && flight->failed++ == 0)
        flight->first = receipt->error;
    if (--flight->under_way == ROOM || flight->under_way == 0)
        pthread_cond_signal(&flight->landed);
    pthread_mutex_unlock(&flight->lock);
}

static void wait_landed(struct flight *flight)
{
    pthread_mutex_lock(&flight->lock);
    while (flight->under_way)
        pthread_cond_wait(&flight->landed, &flight->lock);
    pthread_mutex_unlock(&flight->lock);
}

/* Refused because there are too many under way: waits until half have landed. */
static void fly(struct broker *broker, struct flight *flight, const struct broker_message *message)
{
    struct error err;
    bool taken;

    do {
        pthread_mutex_lock(&flight->lock);
        flight->under_way++;
        pthread_mutex_unlock(&flight->lock);
        taken = broker_publish_async(broker, message, TIMEOUT_MS, landed, flight, &err);
        if (!taken) {
            pthread_mutex_lock(&flight->lock);
            flight->under_way--;
            while (flight->under_way > ROOM)
                pthread_cond_wait(&flight->landed, &flight->lock);
            pthread_mutex_unlock(&flight->lock);
        }
    } while (!taken);
}

static void publish_many(struct broker *broker, size_t events, const char *data)
{
    struct flight flight = {.lock = PTHREAD_MUTEX_INITIALIZER, .landed = PTHREAD_COND_INITIALIZER};
    unsigned run = (unsigned)clock_nanoseconds();
    struct watch watch = start();
    char id[ID_SIZE];

    for (size_t i = 0; i < events; i++) {
        snprintf(id, sizeof(id), "%08x-%zu", run, i);
        fly(broker, &flight,
            &(struct broker_message){.stream = "BENCH",
                                     .subject = "bench.site-1.meter-7",
                                     .id = id,
                                     .data = data,
                                     .size = EVENT_SIZE});
    }
    wait_landed(&flight);
    report("publish_async", &watch, events);
    if (flight.failed)
        printf("  %zu failed: %s\n", flight.failed, flight.first.message);
}

static int by_value(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static void publish_lone(struct broker *broker, const char *data)
{
    static int64_t taken_ns[LONE];
    struct broker_receipt receipt;
    struct error err;
    char id[ID_SIZE];
    unsigned run = (unsigned)clock_nanoseconds();

    for (size_t i = 0; i < LONE; i++) {
        struct broker_message message = {.stream = "BENCH",
                                         .subject = "bench.site-1.meter-7",
                                         .id = id,
                                         .data = data,
                                         .size = EVENT_SIZE};
        snprintf(id, sizeof(id), "%08x-%zu", run, i);
        int64_t started_ns = clock_nanoseconds();
        if (!broker_publish(broker, &message, 1, TIMEOUT_MS, &receipt, &err))
            printf("  %s\n", err.message);
        taken_ns[i] = clock_nanoseconds() - started_ns;
    }
    qsort(taken_ns, LONE, sizeof(taken_ns[0]), by_value);
    printf("%-24s p50 %.0f us, p99 %.0f us\n", "a lone publish", (double)taken_ns[MEDIAN] / 1e3,
           (double)taken_ns[P99] / 1e3);
}

static bool consume(struct broker *broker, size_t events, size_t max, struct error *err)
{
    AUTO(broker_close_consumer) struct broker_consumer *consumer = NULL;
    struct broker_verdict *verdicts = calloc(max, sizeof(*verdicts));
    struct broker_batch batch;
    size_t got = 0, fetches = 0;
    bool fine = verdicts && broker_open_consumer(&consumer, broker, &group, err);
    struct watch watch = start();

    while (fine && got < events) {
        fine = broker_fetch(consumer, max, SIZE_MAX, 2000, &batch, err) &&
               broker_settle(consumer, verdicts, batch.count, TIMEOUT_MS, err);
        if (fine && batch.count == 0)
            break;
        got += fine ? batch.count : 0;
        fetches++;
    }
    report("fetch and settle", &watch, got ? got : 1);
    printf("  %zu of %zu in batches of %zu\n", got, events, got / (fetches ? fetches : 1));
    fine = fine && broker_drain_consumer(consumer, TIMEOUT_MS, err);
    free(verdicts);
    return fine;
}

int main(int argc, char **argv)
{
    AUTO(broker_close) struct broker *broker = NULL;
    size_t events = argc > 2 ? strtoul(argv[2], NULL, 10) : 300000;
    size_t max = argc > 3 ? strtoul(argv[3], NULL, 10) : 1000;
    char data[EVENT_SIZE];
    struct error err;

    if (argc < 2) {
        fprintf(stderr, "usage: broker_bench URL [EVENTS [BATCH]]\n");
        return 2;
    }
    memset(data, 'x', sizeof(data));
    if (!broker_open(&broker, argv[1], NULL, &err) ||
        !broker_declare(broker, &stream, 1, &group, 1, NULL, NULL, TIMEOUT_MS, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    publish_many(broker, events, data);
    publish_lone(broker, data);
    if (!consume(broker, events + LONE, max, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}
