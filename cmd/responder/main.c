/* responder: takes weather requests from the broker, one a terminal, and answers them. */
#include "responder.h"
#include "telemetry.h"

#include "base/log.h"
#include "base/service.h"

static bool serve(struct http_server **out, const struct responder_settings *settings,
                  struct metrics *metrics, struct responder *responder, struct error *err)
{
    struct http_options options = {
        .service = "responder",
        .host = settings->host,
        .port = settings->port,
        .threads = 1,
        .checks = responder_checks,
        .metrics = metrics,
    };

    if (!http_start(out, &options, responder_routes, responder, err))
        return false;
    log_info("listening", log_text("host", settings->host), log_int("port", http_port(*out)));
    return true;
}

static bool run(const void *context, struct error *err)
{
    const struct responder_settings *settings = context;
    struct broker_options options = {.name = "responder", .observe = telemetry_observe};
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    AUTO(broker_close) struct broker *broker = NULL;
    AUTO(telemetry_free) struct telemetry *telemetry = NULL;
    AUTO(responder_close) struct responder *responder = NULL;
    AUTO(http_stop) struct http_server *server = NULL;

    if (!broker_open(&broker, settings->broker_url, &options, err))
        return false;
    metrics_process(metrics);
    telemetry = telemetry_new(metrics, broker);
    (void)telemetry; /* only its end is our work */
    if (!(responder_open(&responder, settings, broker, metrics, err) &&
          serve(&server, settings, metrics, responder, err) && responder_run(responder, err)))
        return false;
    http_unready(server);
    return true;
}

int main(int argc, char **argv)
{
    static const struct service responder = {
        .name = "responder",
        .summary = "answers weather requests from the broker's stream",
        .settings = responder_settings_table,
        .settings_size = sizeof(struct responder_settings),
        .run = run,
    };
    return service_main(&responder, argc, argv);
}
