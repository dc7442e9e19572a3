/* ingestion: takes events over HTTP and publishes them to the broker. */
#include "ingestion.h"
#include "telemetry.h"

#include "base/log.h"
#include "base/service.h"

#define DRAIN_MS 500 /* what the server has not waited for, nobody waits for */

static bool serve(struct http_server **out, struct ingestion *ingestion, struct metrics *metrics,
                  struct error *err)
{
    const struct ingestion_settings *settings = ingestion->settings;
    struct http_options options = {
        .service = "ingestion",
        .host = settings->host,
        .port = settings->port,
        .threads = settings->http_threads,
        .deadline_ms = settings->request_ms,
        .body_max = (size_t)settings->event_max_bytes,
        .origins = settings->origins,
        .checks = ingestion_checks,
        .metrics = metrics,
    };

    if (!http_start(out, &options, ingestion_routes, ingestion, err))
        return false;
    log_info("listening", log_text("host", settings->host), log_int("port", http_port(*out)));
    return true;
}

static bool run(const void *context, struct error *err)
{
    const struct ingestion_settings *settings = context;
    struct broker_options options = {.name = "ingestion",
                                     .max_pending = (size_t)settings->max_pending,
                                     .observe = telemetry_observe};
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    AUTO(ingestion_free) struct ingestion *ingestion = NULL; /* outlives the last receipt */
    AUTO(broker_close) struct broker *broker = NULL;
    AUTO(ingestion_unprepare) struct ingestion *prepared = NULL; /* while there is a broker */
    AUTO(telemetry_free) struct telemetry *telemetry = NULL;
    AUTO(http_stop) struct http_server *server = NULL;

    if (!broker_open(&broker, settings->broker_url, &options, err))
        return false;
    metrics_process(metrics);
    telemetry = telemetry_new(metrics, broker);
    (void)telemetry; /* only its end is our work */
    prepared = ingestion = ingestion_new(settings, broker, metrics);
    if (!serve(&server, ingestion, metrics, err))
        return false;

    do {
        ingestion_prepare(prepared); /* again, should a stream vanish */
    } while (!service_wait(500));
    http_unready(server);
    http_stop(server);
    server = NULL;
    return broker_drain(broker, DRAIN_MS, err);
}

int main(int argc, char **argv)
{
    static const struct service ingestion = {
        .name = "ingestion",
        .summary = "takes events over HTTP and publishes them to the broker",
        .settings = ingestion_settings_table,
        .settings_size = sizeof(struct ingestion_settings),
        .run = run,
    };
    return service_main(&ingestion, argc, argv);
}
