/*
 * writer: takes parking summaries over HTTP and appends each once to a file.
 *
 * 200 means that the line is in the file and on the disk. The same id again is a duplicate and
 * changes nothing, across restarts and rotations, as long as it is among the newest IDS_MAX and its
 * file is still there unpacked. 503 with Retry-After: nothing of the request was written. It may be
 * sent again.
 *
 * Threads  Handlers run on the HTTP server's threads and never wait; answers are made on the
 *          appender's.
 */
#ifndef WRITER_WRITER_H
#define WRITER_WRITER_H

#include "appender.h"

#include "base/config.h"
#include "base/metrics.h"
#include "http/http.h"

struct writer_settings {
    const char *host, *dir, *name;
    int port, http_threads;
    int request_ms; /* deadline of a request */
    int64_t rotate_bytes;
    int keep_files;
    int ids_max, waiting_max;
    int bulk_max_bytes, bulk_max_lines;
};

extern const struct config_field writer_settings_table[];

enum writer_outcome {
    WRITER_WRITTEN,
    WRITER_DUPLICATE,
    WRITER_REFUSED, /* the client's mistake */
    WRITER_FAILED,  /* the file's, or ours */
    WRITER_OUTCOMES,
};

struct writer {
    const struct writer_settings *settings; /* borrowed */
    struct ids *ids;
    struct log_file *file;
    struct appender *appender;
    struct metrics_cell *outcomes[WRITER_OUTCOMES];
    struct metrics_cell *latency, *file_size;
};

/* Opens the file, reads its ids and starts to write. metrics is borrowed. */
bool writer_open(struct writer **out, const struct writer_settings *settings,
                 struct metrics *metrics, struct error *err) MUST_CHECK;
/* After the server is stopped. */
void writer_close(struct writer *writer);
AUTO_DEFINE(struct writer *, writer_close)

void writer_count(struct writer *writer, enum writer_outcome outcome, size_t lines);

extern const struct http_route writer_routes[]; /* their context is the writer */
extern const struct http_check writer_checks[];

#endif
