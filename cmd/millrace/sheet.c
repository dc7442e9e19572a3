#include "sheet.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX ((size_t)500) /* that wait to be aligned */
#define GAP 2                  /* between two columns */

static bool is_control(char character)
{
    return (unsigned char)character < ' ' || character == 0x7f;
}

/* What commands a terminal though it is text: C1 (U+0080 to U+009F); line ends and what changes the
 * direction of writing, so that a line looks like another one (U+2028 to 202E, U+2066 to 2069).
 * 0: it does not. */
static unsigned code_of_command(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned code = 0;

    if (length == 2)
        code = (bytes[0] & 0x1fU) << 6 | (bytes[1] & 0x3fU);
    else if (length == 3)
        code = (bytes[0] & 0x0fU) << 12 | (bytes[1] & 0x3fU) << 6 | (bytes[2] & 0x3fU);
    bool commands = (code >= 0x80 && code < 0xa0) || (code >= 0x2028 && code <= 0x202e) ||
                    (code >= 0x2066 && code <= 0x2069);
    return commands ? code : 0;
}

void text_clean(struct buffer *out, const char *text, size_t size)
{
    for (size_t used = 0; used < size;) {
        size_t length = utf8_length(text + used, size - used);
        if (length == 0 || is_control(text[used])) {
            buffer_print(out, "\\x%02x", (unsigned)(unsigned char)text[used++]);
            continue;
        }
        unsigned code = code_of_command(text + used, length);
        if (code)
            buffer_print(out, code < 0x100 ? "\\x%02x" : "\\u%04x", code);
        else
            buffer_append(out, text + used, length);
        used += length;
    }
}

void print_line(const struct buffer *line)
{
    (void)fwrite(line->data ? line->data : "", 1, line->size, stdout);
    (void)fputc('\n', stdout);
    (void)fflush(stdout); /* whether it was taken is asked for once, at the end */
}

void age_print(struct buffer *out, int64_t age_ms)
{
    long long seconds = age_ms / 1000, minutes = seconds / 60, hours = minutes / 60;

    if (seconds < 1)
        buffer_print(out, "%lldms", (long long)age_ms);
    else if (minutes < 1)
        buffer_print(out, "%.1fs", (double)age_ms / 1000);
    else if (hours < 1)
        buffer_print(out, "%lldm%02llds", minutes, seconds % 60);
    else if (hours < 48)
        buffer_print(out, "%lldh%02lldm", hours, minutes % 60);
    else
        buffer_print(out, "%lldd%02lldh", hours / 24, hours % 24);
}

static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80; /* not inside a character */
    return width;
}

static bool is_right(const struct sheet_column *column)
{
    return column->kind == SHEET_NUMBER || column->kind == SHEET_AGE;
}

static void pad(struct buffer *line, size_t width)
{
    buffer_print(line, "%*s", (int)width, "");
}

static void print_cells(struct sheet *sheet, const char *const *cells)
{
    struct buffer *line = &sheet->line;

    buffer_clear(line);
    for (size_t i = 0; i < sheet->column_count; i++) {
        const struct sheet_column *column = &sheet->columns[i];
        bool last = i + 1 == sheet->column_count;
        size_t width = width_of(cells[i]);
        size_t rest = column->kind == SHEET_SENTENCE ? 0 : sheet->widths[i] - width;

        if (is_right(column))
            pad(line, rest);
        buffer_text(line, cells[i]);
        if (!last && !is_right(column))
            pad(line, rest);
        if (!last)
            pad(line, GAP);
    }
    while (line->size > 0 && line->data[line->size - 1] == ' ')
        line->size--;
    print_line(line);
}

static void print_rows(struct sheet *sheet)
{
    const char *titles[SHEET_COLUMNS_MAX];

    for (size_t i = 0; i < SHEET_COLUMNS_MAX; i++)
        titles[i] = i < sheet->column_count ? sheet->columns[i].title : "";
    if (!sheet->titled && sheet->cell_count > 0) {
        print_cells(sheet, titles);
        sheet->titled = true;
    }
    for (size_t i = 0; i < sheet->cell_count; i += sheet->column_count)
        print_cells(sheet, sheet->cells + i);
    sheet->cell_count = 0;
    arena_reset(sheet->arena);
}

void sheet_start(struct sheet *sheet, const struct options *options,
                 const struct sheet_column *columns, size_t count)
{
    assert(count <= SHEET_COLUMNS_MAX);
    *sheet = (struct sheet){
        .columns = columns,
        .column_count = count,
        .json = options->json,
        .arena = arena_new(16384),
        .cells = memory_alloc(ROWS_MAX * count * sizeof(char *)),
    };
    for (size_t i = 0; i < count; i++)
        sheet->widths[i] = width_of(columns[i].title);
}

static void add_cell(struct sheet *sheet, const struct buffer *text)
{
    size_t *width = &sheet->widths[sheet->column];
    char *cell = arena_copy(sheet->arena, text->data, text->size);
    size_t own = width_of(cell);

    *width = own > *width ? own : *width;
    sheet->cells[sheet->cell_count++] = cell;
    sheet->column = (sheet->column + 1) % sheet->column_count;
    if (sheet->cell_count == ROWS_MAX * sheet->column_count)
        print_rows(sheet);
}

/* The object's writer goes on where it was: only a comma tells. */
static struct json_writer object_of(struct sheet *sheet)
{
    struct json_writer writer = {.out = &sheet->line, .comma = sheet->column > 0};

    if (sheet->column == 0) {
        buffer_clear(&sheet->line);
        json_open(&writer, NULL, '{');
    }
    return writer;
}

static void end_member(struct sheet *sheet, struct json_writer *writer)
{
    sheet->column = (sheet->column + 1) % sheet->column_count;
    if (sheet->column > 0)
        return;
    json_close(writer, '}');
    print_line(&sheet->line);
}

/* What is not text in JSON is shown as people would see it. */
static void write_text(struct json_writer *writer, const char *name, const char *text)
{
    AUTO(buffer_free) struct buffer clean = {0};

    if (!text || utf8_is_valid(text, strlen(text))) {
        json_text(writer, name, text);
        return;
    }
    text_clean(&clean, text, strlen(text));
    json_text(writer, name, clean.data);
}

void sheet_text(struct sheet *sheet, const char *text)
{
    AUTO(buffer_free) struct buffer cell = {0};

    if (sheet->json) {
        struct json_writer writer = object_of(sheet);
        write_text(&writer, sheet->columns[sheet->column].name, text);
        end_member(sheet, &writer);
        return;
    }
    if (!text)
        text = "-";
    buffer_text(&cell, "");
    text_clean(&cell, text, strlen(text));
    add_cell(sheet, &cell);
}

void sheet_number(struct sheet *sheet, int64_t number)
{
    const struct sheet_column *column = &sheet->columns[sheet->column];
    AUTO(buffer_free) struct buffer cell = {0};

    if (sheet->json) {
        struct json_writer writer = object_of(sheet);
        if (column->kind == SHEET_FLAG)
            json_bool(&writer, column->name, number != 0);
        else
            json_int(&writer, column->name, number);
        end_member(sheet, &writer);
        return;
    }
    if (column->kind == SHEET_AGE)
        age_print(&cell, number);
    else if (column->kind == SHEET_FLAG)
        buffer_text(&cell, number ? "yes" : "no");
    else
        buffer_print(&cell, "%lld", (long long)number);
    add_cell(sheet, &cell);
}

void sheet_end(struct sheet *sheet)
{
    if (!sheet->json)
        print_rows(sheet);
    arena_free(sheet->arena);
    free(sheet->cells);
    buffer_free(&sheet->line);
}
