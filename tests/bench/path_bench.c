/*
 * path_bench: events over HTTP, acknowledged and committed, as a client sees it.
 *
 *     path_bench single  INGESTION_PORT PROCESSOR_PORT [connections] [events]
 *     path_bench bulk    INGESTION_PORT PROCESSOR_PORT [connections] [events] [lines a body]
 *     path_bench latency INGESTION_PORT PROCESSOR_PORT [requests a second] [events]
 *
 * Closed loop: a connection sends its next request when the last is answered. Acknowledged counts
 * 201s; committed is the processor's store_rows_total. Loopback only.
 */
#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAIT_FOR_COMMIT_S 60
#define REPLY_MAX ((size_t)1 << 20)

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int dial(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

    if (fd < 0 || connect(fd, (const void *)&address, sizeof(address)) != 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    return fd;
}

static void send_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            die("send");
        data += sent;
        size -= (size_t)sent;
    }
}

/* The whole reply's size when it is there, else 0. Replies are chunked or have a length. */
static size_t reply_size(const struct buffer *in)
{
    const char *end = in->size ? strstr(in->data, "\r\n\r\n") : NULL;

    if (!end)
        return 0;
    const char *length = strcasestr(in->data, "Content-Length:");
    if (length && length < end) {
        size_t whole = (size_t)(end + 4 - in->data) + strtoul(length + 15, NULL, 10);
        return in->size >= whole ? whole : 0;
    }
    const char *last = strstr(end, "\r\n0\r\n\r\n");
    return last ? (size_t)(last + 7 - in->data) : 0;
}

static int read_reply(int fd, struct buffer *in)
{
    buffer_clear(in);
    while (!reply_size(in)) {
        char *room = buffer_reserve(in, 65536);
        ssize_t got = recv(fd, room, 65536, 0);
        if (got <= 0 || in->size > REPLY_MAX * 64)
            die("recv");
        in->size += (size_t)got;
        in->data[in->size] = '\0';
    }
    return atoi(in->data + strlen("HTTP/1.1 "));
}

/* ---- what is committed ---- */

static double committed(int port)
{
    struct buffer in = {0};
    double rows = 0;
    int fd = dial(port);

    send_all(fd, "GET /metrics HTTP/1.1\r\nHost: b\r\n\r\n", 36);
    read_reply(fd, &in);
    for (const char *at = in.data; (at = strstr(at, "\nstore_rows_total{")); at++)
        rows += strtod(strchr(at, '}') + 1, NULL);
    buffer_free(&in);
    close(fd);
    return rows;
}

/* ---- load ---- */

struct load {
    int port;
    int lines;        /* 0: single */
    atomic_long left; /* events to be sent yet */
    atomic_long accepted, refused;
};

static void event(struct buffer *out, long number, bool line)
{
    char stamp[32];
    struct timespec now;
    struct tm utc;

    clock_gettime(CLOCK_REALTIME, &now);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &utc));
    buffer_print(out,
                 "{\"site_id\":\"site-%ld\",\"device_id\":\"meter-%ld\",\"power_reading\":%ld.5,"
                 "\"timestamp\":\"%s.%03ldZ\"}%s",
                 number % 10, number % 100, number % 5000, stamp, now.tv_nsec / 1000000,
                 line ? "\n" : "");
}

static void request(struct buffer *out, struct buffer *body, long first, int lines)
{
    buffer_clear(body);
    for (int i = 0; i < (lines ? lines : 1); i++)
        event(body, first + i, lines != 0);
    buffer_clear(out);
    buffer_print(out,
                 "POST /readings HTTP/1.1\r\nHost: b\r\nContent-Type: %s\r\n"
                 "Content-Length: %zu\r\n\r\n",
                 lines ? "application/x-ndjson" : "application/json", body->size);
    buffer_append(out, body->data, body->size);
}

static void *run_connection(void *context)
{
    struct load *load = context;
    struct buffer out = {0}, body = {0}, in = {0};
    int fd = dial(load->port), step = load->lines ? load->lines : 1;
    long first;

    while ((first = atomic_fetch_sub(&load->left, step)) > 0) {
        request(&out, &body, first, load->lines);
        send_all(fd, out.data, out.size);
        atomic_fetch_add(read_reply(fd, &in) == 201 ? &load->accepted : &load->refused, step);
    }
    close(fd);
    buffer_free(&out);
    buffer_free(&body);
    buffer_free(&in);
    return NULL;
}

static double seconds_since(int64_t start_ns)
{
    return (double)(clock_nanoseconds() - start_ns) / 1e9;
}

static int throughput(struct load *load, int processor_port, int connections)
{
    pthread_t *threads = memory_alloc((size_t)connections * sizeof(*threads));
    double before = committed(processor_port);
    int64_t start_ns = clock_nanoseconds();

    for (int i = 0; i < connections; i++)
        if (pthread_create(&threads[i], NULL, run_connection, load) != 0)
            die("pthread_create");
    for (int i = 0; i < connections; i++)
        pthread_join(threads[i], NULL);
    double acknowledged_s = seconds_since(start_ns);
    free(threads);

    while (committed(processor_port) - before < (double)load->accepted &&
           seconds_since(start_ns) < acknowledged_s + WAIT_FOR_COMMIT_S)
        poll(NULL, 0, 5);
    double committed_s = seconds_since(start_ns);
    double rows = committed(processor_port) - before;

    printf("%ld acknowledged in %.2f s: %.0f events/s; %.0f committed in %.2f s: %.0f events/s; "
           "%ld refused\n",
           (long)load->accepted, acknowledged_s, (double)load->accepted / acknowledged_s, rows,
           committed_s, rows / committed_s, (long)load->refused);
    return rows == (double)load->accepted && !load->refused ? 0 : 1;
}

/* ---- latency ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int latency(int port, long rate, long events)
{
    double *ms = memory_alloc((size_t)events * sizeof(*ms));
    struct buffer out = {0}, body = {0}, in = {0};
    int fd = dial(port);
    struct timespec next;

    clock_gettime(CLOCK_MONOTONIC, &next);
    for (long i = 0; i < events; i++) {
        request(&out, &body, i, 0);
        int64_t start_ns = clock_nanoseconds();
        send_all(fd, out.data, out.size);
        if (read_reply(fd, &in) != 201)
            die("reply");
        ms[i] = (double)(clock_nanoseconds() - start_ns) / 1e6;
        next.tv_nsec += 1000000000 / rate;
        next.tv_sec += next.tv_nsec / 1000000000;
        next.tv_nsec %= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    qsort(ms, (size_t)events, sizeof(*ms), by_value);
    printf("%ld requests at %ld/s: p50 %.3f ms, p90 %.3f ms, p99 %.3f ms, worst %.3f ms\n", events,
           rate, ms[events / 2], ms[events * 9 / 10], ms[events * 99 / 100], ms[events - 1]);
    free(ms);
    close(fd);
    buffer_free(&out);
    buffer_free(&body);
    buffer_free(&in);
    return 0;
}

static long argument(int argc, char **argv, int index, long fallback)
{
    return argc > index ? strtol(argv[index], NULL, 10) : fallback;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: path_bench single|bulk|latency INGESTION_PORT PROCESSOR_PORT "
                        "[connections|rate] [events] [lines]\n");
        return 2;
    }

    int ingestion_port = (int)argument(argc, argv, 2, 0);
    int processor_port = (int)argument(argc, argv, 3, 0);
    struct load load = {.port = ingestion_port};

    if (strcmp(argv[1], "latency") == 0)
        return latency(ingestion_port, argument(argc, argv, 4, 200), argument(argc, argv, 5, 2000));
    load.lines = strcmp(argv[1], "bulk") == 0 ? (int)argument(argc, argv, 6, 500) : 0;
    load.left = argument(argc, argv, 5, load.lines ? 1000000 : 200000);
    return throughput(&load, processor_port, (int)argument(argc, argv, 4, load.lines ? 4 : 64));
}
