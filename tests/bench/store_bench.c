/*
 * Rows a second of store_insert into a PostgreSQL of its own that syncs every commit, and the CPU
 * that each row costs here (client) and there (server).
 *
 *     store_bench [ROWS]
 */
#include "support/postgres.h"

#include "base/clock.h"
#include "base/memory.h"
#include "messages/logs.h"
#include "messages/readings.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROWS 300000
#define BATCH_MAX 5000
#define STREAM_ID_SIZE 24

static const char *const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct batch {
    struct log_event logs[BATCH_MAX];
    struct reading_event readings[BATCH_MAX];
    struct store_row rows[BATCH_MAX];
    char stream_ids[BATCH_MAX][STREAM_ID_SIZE];
    char devices[100][16], sites[10][16];
    size_t sequence;
};

struct measure {
    const char *name;
    const struct store_table *table;
    const char *prepare; /* SQL before it, or NULL */
    size_t batch;
    bool again; /* insert everything twice; measure the second time */
};

static const struct measure measures[] = {
    {"readings", &store_readings, NULL, 1000, false},
    {"readings", &store_readings, NULL, 5000, false},
    {"readings, all there already", &store_readings, NULL, 1000, true},
    {"logs", &store_logs, NULL, 1000, false},
    {"logs", &store_logs, NULL, 5000, false},
    {"readings, key only", &store_readings, "DROP INDEX readings_site", 1000, false},
    {"readings, key only", &store_readings, NULL, 5000, false},
    {"logs, key only", &store_logs, "DROP INDEX logs_time", 1000, false},
    {"logs, key only", &store_logs, NULL, 5000, false},
};

static void fill(struct batch *batch, const struct store_table *table, size_t count)
{
    int64_t now_ms = clock_wall_ms(clock_system());

    for (size_t i = 0; i < count; i++) {
        size_t number = batch->sequence++;
        snprintf(batch->stream_ids[i], STREAM_ID_SIZE, "%zu", number);
        batch->logs[i] = (struct log_event){
            .id = id_new(now_ms),
            .timestamp_ms = now_ms,
            .level = LOG_EVENT_INFO,
            .service = "payments",
            .message = "card authorised for order 8120, amount 49.90 EUR, in 31 ms",
            .attributes = "{\"order\":8120,\"region\":\"eu-west-1\"}"};
        batch->readings[i] = (struct reading_event){.id = id_new(now_ms),
                                                    .timestamp_ms = now_ms,
                                                    .site_id = batch->sites[number % 10],
                                                    .device_id = batch->devices[number % 100],
                                                    .power_reading = 1200.5};
        batch->rows[i] =
            (struct store_row){.event = table == &store_logs ? (const void *)&batch->logs[i]
                                                             : (const void *)&batch->readings[i],
                               .stream_id = batch->stream_ids[i],
                               .traceparent = trace};
    }
}

static double own_cpu_ms(void)
{
    return (double)clock() * 1000 / CLOCKS_PER_SEC;
}

struct bench {
    struct store *store;
    struct postgres server;
    struct batch *batch;
    size_t rows;
};

struct spent {
    double wall_ms, client_ms, server_ms;
};

static bool insert(struct bench *bench, const struct measure *measure, struct spent *spent,
                   struct error *err)
{
    size_t inserted;
    int64_t start = clock_nanoseconds();
    double client_ms = own_cpu_ms();
    bool done = store_insert(bench->store, measure->table, bench->batch->rows, measure->batch,
                             &inserted, err);

    spent->client_ms += own_cpu_ms() - client_ms;
    spent->wall_ms += (double)(clock_nanoseconds() - start) / 1e6;
    return done;
}

static bool insert_all(struct bench *bench, const struct measure *measure, struct spent *spent,
                       struct error *err)
{
    double server_ms = postgres_cpu_ms(&bench->server);

    for (size_t done = 0; done < bench->rows; done += measure->batch) {
        struct spent unmeasured = {0};
        fill(bench->batch, measure->table, measure->batch);
        if (measure->again && !insert(bench, measure, &unmeasured, err))
            return false;
        if (!insert(bench, measure, spent, err))
            return false;
    }
    spent->server_ms = postgres_cpu_ms(&bench->server) - server_ms;
    return true;
}

static bool measure_one(struct bench *bench, const struct measure *measure, struct error *err)
{
    AUTO(buffer_free) struct buffer out = {0};
    struct spent spent = {0};
    double rows = (double)bench->rows;

    if (measure->prepare && !postgres_query(&bench->server, measure->prepare, &out, err))
        return false;
    if (!postgres_query(&bench->server, "TRUNCATE logs, readings", &out, err) ||
        !postgres_query(&bench->server, "CHECKPOINT", &out, err) ||
        !insert_all(bench, measure, &spent, err))
        return false;
    printf("%-30s %6zu %10.0f %10.2f %10.2f\n", measure->name, measure->batch,
           rows * 1000 / spent.wall_ms, spent.client_ms * 1000 / rows,
           spent.server_ms * 1000 / rows);
    return true;
}

static bool run(struct bench *bench, struct error *err)
{
    const struct store_options options = {.name = "store_bench", .timeout_ms = 60000};
    int64_t now_ms = clock_wall_ms(clock_system());
    int applied, dropped;

    if (!store_open(&bench->store, bench->server.url, &options, err) ||
        !store_migrate(bench->store, &applied, err) ||
        !store_maintain(bench->store, &store_logs, now_ms, 0, &dropped, err) ||
        !store_maintain(bench->store, &store_readings, now_ms, 0, &dropped, err))
        return false;
    printf("%-30s %6s %10s %10s %10s\n", "", "batch", "rows/s", "client us", "server us");
    for (size_t i = 0; i < ARRAY_LEN(measures); i++)
        if (!measure_one(bench, &measures[i], err))
            return false;
    return true;
}

int main(int argc, char **argv)
{
    struct bench bench = {.batch = memory_alloc(sizeof(*bench.batch)),
                          .rows = argc > 1 ? strtoul(argv[1], NULL, 10) : ROWS};
    struct error err;

    for (int i = 0; i < 100; i++)
        snprintf(bench.batch->devices[i], sizeof(bench.batch->devices[i]), "meter-%d", i);
    for (int i = 0; i < 10; i++)
        snprintf(bench.batch->sites[i], sizeof(bench.batch->sites[i]), "site-%d", i);
    bool done = postgres_open(&bench.server, true, &err);
    if (done) {
        done = run(&bench, &err);
        store_close(bench.store);
        postgres_close(&bench.server);
    }
    if (!done)
        fprintf(stderr, "%s\n", err.message);
    free(bench.batch);
    return done ? 0 : 1;
}
