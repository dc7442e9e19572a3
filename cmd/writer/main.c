/* writer: takes parking summaries over HTTP and appends each once to a file. */
#include "writer.h"

#include "base/log.h"
#include "base/service.h"

#include <signal.h>

#define TICK_MS 200 /* how soon a SIGHUP is noticed */

static bool serve(struct http_server **out, struct writer *writer, struct metrics *metrics,
                  struct error *err)
{
    const struct writer_settings *settings = writer->settings;
    struct http_options options = {
        .service = "writer",
        .host = settings->host,
        .port = settings->port,
        .threads = settings->http_threads,
        .deadline_ms = settings->request_ms,
        .body_max = (size_t)settings->bulk_max_bytes,
        .checks = writer_checks,
        .metrics = metrics,
    };

    if (!http_start(out, &options, writer_routes, writer, err))
        return false;
    log_info("listening", log_text("host", settings->host), log_int("port", http_port(*out)));
    return true;
}

static bool run(const void *settings, struct error *err)
{
    AUTO(metrics_free) struct metrics *metrics = metrics_new();
    AUTO(writer_close) struct writer *writer = NULL;
    AUTO(http_stop)
    struct http_server *server = NULL; /* waits for the answers, then it may close */
    int hangups = 0;

    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is an error of write */
    metrics_process(metrics);
    if (!writer_open(&writer, settings, metrics, err) || !serve(&server, writer, metrics, err))
        return false;

    while (!service_wait(TICK_MS))
        if (hangups != service_hangups()) {
            hangups = service_hangups();
            appender_reopen(writer->appender);
        }
    http_unready(server);
    return true;
}

int main(int argc, char **argv)
{
    static const struct service writer = {
        .name = "writer",
        .summary = "takes parking summaries over HTTP and appends each once to a file",
        .settings = writer_settings_table,
        .settings_size = sizeof(struct writer_settings),
        .run = run,
        .counts_hangups = true,
    };
    return service_main(&writer, argc, argv);
}
