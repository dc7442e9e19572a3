#include "base/log.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/rfc3339.h"
#include "base/utf8.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A line should stay within PIPE_BUF, so that a pipe takes it whole. */
#define TEXT_BYTES_MAX 1024

static struct {
    const char *service; /* borrowed */
    enum log_level least;
    enum log_format format;
} settings = {.service = "", .least = LOG_INFO, .format = LOG_JSON};

static const char *const level_names[] = {"DEBUG", "INFO", "WARNING", "ERROR"};

void log_start(const char *service, enum log_level least, enum log_format format)
{
    settings.service = service;
    settings.least = least;
    settings.format = format;
}

/* Appends text with what is not UTF-8 replaced and what is too long cut. */
static void append_clean(struct buffer *out, const char *text)
{
    size_t size = strlen(text), used = 0;

    while (used < size) {
        size_t length = utf8_length(text + used, size - used);
        if (used + length > TEXT_BYTES_MAX) {
            buffer_text(out, "…");
            return;
        }
        if (length)
            buffer_append(out, text + used, length);
        else
            buffer_text(out, UTF8_REPLACEMENT);
        used += length ? length : 1;
    }
}

static void write_json_text(struct json_writer *writer, const char *name, const char *text)
{
    AUTO(buffer_free) struct buffer clean = {0};

    append_clean(&clean, text);
    json_bytes(writer, name, clean.data ? clean.data : "", clean.size);
}

static void format_json(struct buffer *line, const char *level, const char *message,
                        const struct log_field *fields)
{
    struct json_writer writer = {.out = line};

    json_open(&writer, NULL, '{');
    json_time(&writer, "timestamp", clock_wall_ms(clock_system()));
    json_text(&writer, "level", level);
    json_text(&writer, "service", settings.service);
    write_json_text(&writer, "message", message);
    for (const struct log_field *field = fields; field->name; field++)
        if (field->text)
            write_json_text(&writer, field->name, field->text);
        else
            json_int(&writer, field->name, field->number);
    json_close(&writer, '}');
}

static bool is_control(char character)
{
    return (unsigned char)character < ' ' || character == 0x7f;
}

/* A terminal must not obey what a client sent; a line must stay one line. */
static void append_shown(struct buffer *out, const char *text, bool quoted)
{
    AUTO(buffer_free) struct buffer clean = {0};

    append_clean(&clean, text);
    for (size_t i = 0; i < clean.size; i++) {
        char character = clean.data[i];
        if (character == '\n')
            buffer_text(out, "\\n");
        else if (is_control(character))
            buffer_print(out, "\\x%02x", (unsigned)character);
        else if (quoted && (character == '"' || character == '\\'))
            buffer_print(out, "\\%c", character);
        else
            buffer_append(out, &character, 1);
    }
}

static void append_value(struct buffer *out, const char *text)
{
    bool quoted = !*text || strpbrk(text, " \"=");

    if (quoted)
        buffer_text(out, "\"");
    append_shown(out, text, quoted);
    if (quoted)
        buffer_text(out, "\"");
}

static void format_text(struct buffer *line, const char *level, const char *message,
                        const struct log_field *fields)
{
    char stamp[RFC3339_SIZE];

    rfc3339_format(clock_wall_ms(clock_system()), stamp);
    buffer_print(line, "%s %-5s %s ", stamp, level, settings.service);
    append_shown(line, message, false);
    for (const struct log_field *field = fields; field->name; field++) {
        buffer_print(line, " %s=", field->name);
        if (field->text)
            append_value(line, field->text);
        else
            buffer_print(line, "%lld", (long long)field->number);
    }
}

void log_write(enum log_level level, const char *message, const struct log_field *fields)
{
    if (level < settings.least)
        return;

    AUTO(buffer_free) struct buffer line = {0};
    if (settings.format == LOG_JSON)
        format_json(&line, level_names[level], message, fields);
    else
        format_text(&line, level_names[level], message, fields);
    buffer_text(&line, "\n");

    /* Nobody could be told that stderr does not take it. */
    while (write(STDERR_FILENO, line.data, line.size) < 0 && errno == EINTR)
        ;
}
