#include "writer.h"

#include "request.h"
#include "summary.h"

#include "base/log.h"
#include "base/memory.h"

#include <stdlib.h>

#define ARENA_BYTES ((size_t)4096)

const struct config_field writer_settings_table[] = {
    CONFIG_FIELD(struct writer_settings, host, "HOST", "127.0.0.1", "address to listen on"),
    CONFIG_FIELD(struct writer_settings, port, "PORT", "8081", "port; 0: any", .min = 0,
                 .max = 65535),
    CONFIG_FIELD(struct writer_settings, http_threads, "HTTP_THREADS", "2",
                 "threads that serve HTTP", .min = 1, .max = 64),
    CONFIG_FIELD(struct writer_settings, dir, "LOG_DIR", ".", "folder of the file"),
    CONFIG_FIELD(struct writer_settings, name, "LOG_FILE", "vehicle_summary.log",
                 "name of the file, or its whole path"),
    CONFIG_FIELD(struct writer_settings, request_ms, "REQUEST_TIMEOUT_MS", "30000",
                 "ms that a request may take in all", .min = 100, .max = 3600000),
    CONFIG_FIELD(struct writer_settings, rotate_bytes, "ROTATE_BYTES", "67108864",
                 "bytes from which on the file is rotated", .min = 1024, .max = 1e15),
    CONFIG_FIELD(struct writer_settings, keep_files, "KEEP_FILES", "10",
                 "rotated files that are kept", .min = 1, .max = 1000),
    CONFIG_FIELD(struct writer_settings, ids_max, "IDS_MAX", "1000000",
                 "newest ids that are known again; 24 to 32 bytes each", .min = 1,
                 .max = 100000000),
    CONFIG_FIELD(struct writer_settings, waiting_max, "WAITING_MAX", "20000",
                 "lines that wait to be written; beyond: 503", .min = 1, .max = 1000000),
    CONFIG_FIELD(struct writer_settings, bulk_max_bytes, "BULK_MAX_BYTES", "8388608",
                 "bytes of one NDJSON body; beyond: 413", .min = 1024, .max = 1e9),
    CONFIG_FIELD(struct writer_settings, bulk_max_lines, "BULK_MAX_LINES", "10000",
                 "lines of one NDJSON body; beyond: 413", .min = 1, .max = 1000000),
    {0},
};

const struct http_route writer_routes[] = {
    {"POST", "/log", .handle = request_take},
    {"POST", "/", .handle = request_take}, /* the forerunner took every path */
    {0},
};

static bool check_file(void *context, struct error *err)
{
    const struct writer *writer = context;

    return log_file_check(writer->file, err);
}

const struct http_check writer_checks[] = {
    {"file", check_file},
    {0},
};

/* ---- metrics ---- */

void writer_count(struct writer *writer, enum writer_outcome outcome, size_t lines)
{
    metrics_add(writer->outcomes[outcome], (double)lines);
}

static void show_size(void *context)
{
    const struct writer *writer = context;

    metrics_set(writer->file_size, (double)log_file_size(writer->file));
}

static struct metrics_cell *add_metrics(struct writer *writer, struct metrics *metrics)
{
    static const struct metrics_description lines = {
        .kind = METRICS_COUNTER,
        .name = "writer_lines_total",
        .help = "Lines received, by what became of them",
        .labels = {"outcome"},
    };
    static const struct metrics_description latency = {
        .kind = METRICS_SUMMARY,
        .name = "request_latency_seconds",
        .help = "From a whole request to its answer",
    };
    static const struct metrics_description size = {
        .kind = METRICS_GAUGE, .name = "writer_file_bytes", .help = "Size of the current file"};
    static const struct metrics_description batches = {
        .kind = METRICS_COUNTER,
        .name = "writer_syncs_total",
        .help = "Writes that reached the disk, each of the lines that waited together",
    };
    static const char *const outcomes[] = {
        [WRITER_WRITTEN] = "written",
        [WRITER_DUPLICATE] = "duplicate",
        [WRITER_REFUSED] = "refused",
        [WRITER_FAILED] = "failed",
    };

    for (int i = 0; i < WRITER_OUTCOMES; i++)
        writer->outcomes[i] =
            metrics_cell(metrics_family(metrics, &lines), (const char *[]){outcomes[i]});
    writer->latency = metrics_cell(metrics_family(metrics, &latency), NULL);
    writer->file_size = metrics_cell(metrics_family(metrics, &size), NULL);
    metrics_on_render(metrics, show_size, writer);
    return metrics_cell(metrics_family(metrics, &batches), NULL);
}

/* ---- life ---- */

struct reading {
    struct ids *ids;
    struct arena *arena;
};

/* Lines that others wrote without an id are known by what they say. */
static bool remember_line(void *context, const char *bytes, size_t size)
{
    struct reading *reading = context;
    struct vehicle_summary summary;
    struct error err;

    bool read = summary_read(bytes, size, reading->arena, &summary, &err);
    if (read) {
        (void)ids_add(reading->ids, &summary.id);
        ids_trim(reading->ids);
    }
    arena_reset(reading->arena);
    return read;
}

static void tell(const struct writer *writer, const struct log_file_report *report)
{
    if (report->cut_bytes)
        log_warning("cut off a torn last line", log_int("bytes", report->cut_bytes));
    if (report->completed)
        log_warning("completed the last line");
    if (report->unreadable)
        log_warning("lines that cannot be read", log_int("lines", report->unreadable));
    log_info("opened the file", log_int("lines", report->lines),
             log_int("ids", (int64_t)ids_count(writer->ids)));
}

static bool open_file(struct writer *writer, struct error *err)
{
    const struct writer_settings *settings = writer->settings;
    AUTO(arena_free) struct arena *arena = arena_new(ARENA_BYTES);
    struct reading reading = {writer->ids, arena};
    struct log_file_options options = {
        .dir = settings->dir,
        .name = settings->name,
        .rotate_bytes = settings->rotate_bytes,
        .keep_files = settings->keep_files,
    };
    struct log_file_report report;

    if (!log_file_open(&writer->file, &options, remember_line, &reading, &report, err))
        return false;
    tell(writer, &report);
    return true;
}

bool writer_open(struct writer **out, const struct writer_settings *settings,
                 struct metrics *metrics, struct error *err)
{
    AUTO(writer_close) struct writer *writer = memory_alloc(sizeof(*writer));

    writer->settings = settings;
    writer->ids = ids_new((size_t)settings->ids_max,
                          (size_t)settings->waiting_max + (size_t)settings->bulk_max_lines);
    if (!open_file(writer, err))
        return false;

    struct appender_options options = {
        .file = writer->file,
        .ids = writer->ids,
        .waiting_max = (size_t)settings->waiting_max,
        .batches = add_metrics(writer, metrics),
    };
    if (!appender_start(&writer->appender, &options, err))
        return false;
    *out = writer;
    writer = NULL;
    return true;
}

void writer_close(struct writer *writer)
{
    if (!writer)
        return;
    appender_stop(writer->appender);
    log_file_close(writer->file);
    ids_free(writer->ids);
    free(writer);
}
