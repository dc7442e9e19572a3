/*
 * sheet: rows of data on stdout, aligned for people or, with --json, one object per line.
 *
 *     static const struct sheet_column columns[] = {{"name", "NAME", SHEET_TEXT}, …};
 *     sheet_start(&sheet, options, columns, ARRAY_LEN(columns));
 *     sheet_text(&sheet, name);        a cell per column, in order; the last one ends the row
 *     sheet_end(&sheet);
 *
 * What people see has no colours and does not depend on the terminal, and no byte of it can command
 * one: control characters are shown as \xHH. Rows are aligned a few hundred at a time, so that
 * memory stays bounded.
 */
#ifndef MILLRACE_SHEET_H
#define MILLRACE_SHEET_H

#include "command.h"

#include "base/arena.h"
#include "base/buffer.h"

enum sheet_kind {
    SHEET_TEXT,
    SHEET_SENTENCE, /* text that nothing is aligned behind */
    SHEET_NUMBER,
    SHEET_AGE,  /* milliseconds */
    SHEET_FLAG, /* yes or no */
};

struct sheet_column {
    const char *name, *title; /* the member's, and what stands above the column */
    enum sheet_kind kind;
};

#define SHEET_COLUMNS_MAX 12

struct sheet {
    const struct sheet_column *columns;
    size_t column_count, column; /* column: of the next cell */
    bool json, titled;
    struct arena *arena; /* of the cells that wait */
    const char **cells;
    size_t cell_count;
    size_t widths[SHEET_COLUMNS_MAX];
    struct buffer line;
};

void sheet_start(struct sheet *sheet, const struct options *options,
                 const struct sheet_column *columns, size_t count);
void sheet_text(struct sheet *sheet, const char *text); /* NULL: there is none */
void sheet_number(struct sheet *sheet, int64_t number); /* NUMBER, AGE, FLAG */
void sheet_end(struct sheet *sheet);

/* Appends text as a terminal may have it: valid UTF-8 on one line, nothing that commands it. */
void text_clean(struct buffer *out, const char *text, size_t size);

/* Writes a line to stdout, now. */
void print_line(const struct buffer *line);

/* "480ms", "12.3s", "5m10s", "3h02m", "4d03h" */
void age_print(struct buffer *out, int64_t age_ms);

#endif
