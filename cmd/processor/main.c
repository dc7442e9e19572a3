/* processor: takes events from the broker in batches and keeps them in PostgreSQL. */
#include "processor.h"
#include "telemetry.h"

#include "base/log.h"
#include "base/service.h"

static bool serve(struct http_server **out, const struct processor_settings *settings,
                  struct metrics *metrics, struct processor *processor, struct error *err)
{
    static const struct http_route none[] = {{0}};
    struct http_options options = {
        .service = "processor",
        .host = settings->host,
        .port = settings->port,
        .threads = 1,
        .checks = processor_checks,
        .metrics = metrics,
    };

    if (!http_start(out, &options, none, processor, err))
        return false;
    log_info("listening", log_text("host", settings->host), log_int("port", http_port(*out)));
    return true;
}

static bool run(const void *context, struct error *err)
{
    const struct processor_settings *settings = context;
    struct broker_options options = {.name = "processor", .observe = telemetry_observe};
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    AUTO(broker_close) struct broker *broker = NULL;
    AUTO(telemetry_free) struct telemetry *telemetry = NULL;
    AUTO(processor_close) struct processor *processor = NULL;
    AUTO(http_stop) struct http_server *server = NULL;

    if (!broker_open(&broker, settings->broker_url, &options, err))
        return false;
    metrics_process(metrics);
    telemetry = telemetry_new(metrics, broker);
    (void)telemetry; /* only its end is our work */
    if (!(processor_open(&processor, settings, broker, metrics, err) &&
          serve(&server, settings, metrics, processor, err) && processor_run(processor, err)))
        return false;
    http_unready(server);
    return true;
}

int main(int argc, char **argv)
{
    static const struct service processor = {
        .name = "processor",
        .summary = "moves events from the broker's streams into PostgreSQL",
        .settings = processor_settings_table,
        .settings_size = sizeof(struct processor_settings),
        .run = run,
    };
    return service_main(&processor, argc, argv);
}
