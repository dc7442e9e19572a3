#include "base/json.h"

#include "base/rfc3339.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_SIZE 32   /* any number of ours, with the NUL */
#define DECIMALS_FAST 6  /* readings have few; the slow path is right for every value */
#define EXACT_BELOW 1e15 /* whole doubles and their decimal digits agree up to here */

/* buffer_reserve without the call when there is room already: this is the hot path. */
static char *room(struct buffer *out, size_t size)
{
    return out->capacity - out->size > size ? out->data + out->size : buffer_reserve(out, size);
}

static void advance(struct buffer *out, size_t size)
{
    out->size += size;
    out->data[out->size] = '\0';
}

static void append(struct buffer *out, const char *bytes, size_t size)
{
    memcpy(room(out, size), bytes, size);
    advance(out, size);
}

static bool needs_escape(unsigned char byte)
{
    return byte < 0x20 || byte == '"' || byte == '\\';
}

static void append_escaped(struct buffer *out, unsigned char byte)
{
    static const char letters[0x20] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    int letter = byte < 0x20 ? letters[byte] : byte;
    char escape[8];
    int size = letter ? snprintf(escape, sizeof(escape), "\\%c", letter)
                      : snprintf(escape, sizeof(escape), "\\u%04x", byte);

    append(out, escape, (size_t)size);
}

static void append_quoted(struct buffer *out, const char *text, size_t size)
{
    char *at = room(out, size + 2);
    size_t plain = 0;

    *at++ = '"';
    while (plain < size && !needs_escape((unsigned char)text[plain])) {
        at[plain] = text[plain];
        plain++;
    }
    advance(out, plain + 1);
    while (plain < size) {
        size_t start = plain;
        while (plain < size && !needs_escape((unsigned char)text[plain]))
            plain++;
        append(out, text + start, plain - start);
        if (plain < size)
            append_escaped(out, (unsigned char)text[plain++]);
    }
    append(out, "\"", 1);
}

static void begin(struct json_writer *writer, const char *name)
{
    if (writer->comma)
        append(writer->out, ",", 1);
    writer->comma = true;
    if (name) {
        append_quoted(writer->out, name, strlen(name));
        append(writer->out, ":", 1);
    }
}

void json_open(struct json_writer *writer, const char *name, char bracket)
{
    begin(writer, name);
    append(writer->out, &bracket, 1);
    writer->comma = false;
}

void json_close(struct json_writer *writer, char bracket)
{
    append(writer->out, &bracket, 1);
    writer->comma = true;
}

void json_raw(struct json_writer *writer, const char *name, const char *json, size_t size)
{
    begin(writer, name);
    append(writer->out, json, size);
}

void json_null(struct json_writer *writer, const char *name)
{
    json_raw(writer, name, "null", 4);
}

void json_bytes(struct json_writer *writer, const char *name, const char *text, size_t size)
{
    begin(writer, name);
    append_quoted(writer->out, text, size);
}

void json_text(struct json_writer *writer, const char *name, const char *text)
{
    if (text)
        json_bytes(writer, name, text, strlen(text));
    else
        json_null(writer, name);
}

void json_bool(struct json_writer *writer, const char *name, bool value)
{
    if (value)
        json_raw(writer, name, "true", 4);
    else
        json_raw(writer, name, "false", 5);
}

/* Writes the digits in front of `end`, at least `least` of them; returns where they start. */
static char *digits_before(char *end, uint64_t value, int least)
{
    while (value > 0 || least > 0) {
        *--end = (char)('0' + value % 10);
        value /= 10;
        least--;
    }
    return end;
}

void json_int(struct json_writer *writer, const char *name, int64_t value)
{
    char number[NUMBER_SIZE];
    char *end = number + sizeof(number);
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char *start = digits_before(end, size, 1);

    if (value < 0)
        *--start = '-';
    json_raw(writer, name, start, (size_t)(end - start));
}

/*
 * A decimal of few places is n / 10^places with both exact doubles. Their quotient is rounded as
 * reading the decimal would be, so when it gives the value back, the decimal is right.
 * Returns where the text starts in front of `end`, NULL when there is no such decimal.
 */
static char *short_decimal(char *end, double value)
{
    static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6};
    double size = fabs(value);
    int places = 0;

    while (places <= DECIMALS_FAST && size * powers[places] < EXACT_BELOW) {
        uint64_t whole = (uint64_t)(size * powers[places] + 0.5);
        if ((double)whole / powers[places] != size) {
            places++;
            continue;
        }
        char *start = end;
        if (places > 0) {
            uint64_t unit = (uint64_t)powers[places];
            start = digits_before(end, whole % unit, places);
            *--start = '.';
            whole /= unit;
        }
        start = digits_before(start, whole, 1);
        if (signbit(value))
            *--start = '-';
        return start;
    }
    return NULL;
}

/* The fewest digits that read back as the same double: 15 are always kept, 17 always suffice. */
static size_t shortest(char number[NUMBER_SIZE], double value)
{
    int digits = fabs(value) < DBL_MIN ? 1 : DBL_DIG;
    int size = 0;

    for (; digits <= DBL_DECIMAL_DIG; digits++) {
        size = snprintf(number, NUMBER_SIZE, "%.*g", digits, value);
        if (strtod(number, NULL) == value)
            break;
    }
    return (size_t)size;
}

void json_double(struct json_writer *writer, const char *name, double value)
{
    char number[NUMBER_SIZE];
    char *end = number + sizeof(number);

    if (!isfinite(value)) {
        json_null(writer, name);
        return;
    }
    char *start = short_decimal(end, value);
    if (start)
        json_raw(writer, name, start, (size_t)(end - start));
    else
        json_raw(writer, name, number, shortest(number, value));
}

void json_time(struct json_writer *writer, const char *name, int64_t time_ms)
{
    char text[RFC3339_SIZE + 2] = "\"";

    rfc3339_format(time_ms, text + 1);
    text[RFC3339_SIZE] = '"';
    json_raw(writer, name, text, sizeof(text) - 1);
}
