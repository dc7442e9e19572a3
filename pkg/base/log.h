/*
 * log: one line per fact on stderr, JSON for machines or text for people.
 *
 *     log_info("stored a batch", log_text("topic", name), log_int("rows", count));
 *     {"timestamp":"2026-11-21T08:30:00.000Z","level":"INFO","service":"processor",
 *      "message":"stored a batch","topic":"logs","rows":500}
 *
 * Only cmd/ and service_main log; pkg/ returns errors.
 *
 * Threads  any thread; a line is one write. log_start is called once, before there are threads:
 * what it sets is the process's, like its name.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/macros.h"

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_format { LOG_JSON, LOG_TEXT };

void log_start(const char *service, enum log_level least, enum log_format format);

struct log_field {
    const char *name; /* NULL ends a list */
    const char *text; /* NULL: the number counts */
    int64_t number;
};

#define log_text(field_name, value) ((struct log_field){.name = (field_name), .text = (value)})
#define log_int(field_name, value) ((struct log_field){.name = (field_name), .number = (value)})

void log_write(enum log_level level, const char *message, const struct log_field *fields);

/* The first element is only there to be followed by a comma, or by none. */
#define LOG_FIELDS(...) ((const struct log_field[]){{0}, ##__VA_ARGS__, {0}} + 1)
#define log_debug(message, ...) log_write(LOG_DEBUG, message, LOG_FIELDS(__VA_ARGS__))
#define log_info(message, ...) log_write(LOG_INFO, message, LOG_FIELDS(__VA_ARGS__))
#define log_warning(message, ...) log_write(LOG_WARNING, message, LOG_FIELDS(__VA_ARGS__))
#define log_error(message, ...) log_write(LOG_ERROR, message, LOG_FIELDS(__VA_ARGS__))

#endif
