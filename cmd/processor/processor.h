/*
 * processor: moves events from the broker's streams into the store.
 *
 * One row per consumer says what becomes of its events (duty.h); PROCESSOR_TOPICS picks rows,
 * WORKERS says how many threads each gets. A keeper thread prepares what the workers need
 * (migrations, streams, consumers; again and again while the broker or the store is away), then
 * keeps house: partitions and retention, trimming of what is settled, lag.
 *
 * Threads  one thread opens, runs and closes; the checks may come from any other.
 */
#ifndef PROCESSOR_PROCESSOR_H
#define PROCESSOR_PROCESSOR_H

#include "delivery.h"
#include "parking_duty.h"

#include "base/metrics.h"
#include "http/http.h"
#include "topology.h"

struct processor_settings {
    const char *host;
    int port;
    const char *broker_url, *database_url;
    const char *topics; /* names joined by commas */
    int workers;        /* threads per row */
    int batch_rows;     /* most messages of one fetch */
    int retention_days;
    int stream_keep_s; /* how long settled messages stay in their stream */
    struct topology_settings topology;
    struct delivery_settings writer;
    struct parking_settings parking;
};

extern const struct config_field processor_settings_table[];

struct processor;

/* Starts preparing. Everything is borrowed until processor_close. */
bool processor_open(struct processor **out, const struct processor_settings *settings,
                    struct broker *broker, struct metrics *metrics, struct error *err) MUST_CHECK;

/* Works until the process is asked to stop. */
bool processor_run(struct processor *processor, struct error *err) MUST_CHECK;

/* Finishes what is started and gives back the rest. */
void processor_close(struct processor *processor);
AUTO_DEFINE(struct processor *, processor_close)

extern const struct http_check processor_checks[]; /* their context is the processor */

#endif
