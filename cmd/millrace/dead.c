#include "dead.h"

#include "letter.h"
#include "option.h"
#include "sheet.h"

#include "base/rfc3339.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_LETTERS ((size_t)500)

/* options_read has checked it. */
static int64_t time_of(const char *text)
{
    int64_t time_ms = 0;

    if (text && !rfc3339_parse(text, strlen(text), &time_ms))
        return 0;
    return time_ms;
}

struct dead_filter dead_filter_of(const struct command_context *context)
{
    const struct options *options = context->options;

    return (struct dead_filter){
        .stream = options->stream,
        .consumer = options->consumer,
        .reason = options->reason,
        .sequence = context->argument_count ? context->arguments[0] : NULL,
        .since_ms = time_of(options->from_time),
        .until_ms = time_of(options->until_time),
    };
}

/* ---- list ---- */

static const struct sheet_column columns[] = {
    {"id", "SEQUENCE", SHEET_TEXT},     {"last_time", "DIED", SHEET_TEXT},
    {"stream", "STREAM", SHEET_TEXT},   {"consumer", "CONSUMER", SHEET_TEXT},
    {"subject", "SUBJECT", SHEET_TEXT}, {"attempts", "ATTEMPTS", SHEET_TEXT},
    {"replays", "REPLAYS", SHEET_TEXT}, {"reason", "REASON", SHEET_TEXT},
    {"error", "ERROR", SHEET_SENTENCE},
};

static const char *const column_headers[] = {
    NULL,          DEAD_LAST,    DEAD_ORIGIN, DEAD_CONSUMER, DEAD_SUBJECT,
    DEAD_ATTEMPTS, DEAD_REPLAYS, DEAD_REASON, DEAD_ERROR,
};

struct list {
    const struct command_context *context;
    struct sheet sheet; /* for people */
};

static void show_json(const struct broker_delivery *letter, enum letter_detail detail)
{
    AUTO(buffer_free) struct buffer line = {0};
    struct json_writer writer = {.out = &line};

    letter_write(&writer, NULL, letter, detail);
    print_line(&line);
}

static void on_letter(void *context, const struct broker_delivery *letter)
{
    struct list *list = context;

    if (list->context->options->json) {
        show_json(letter, LETTER_SUMMARY);
        return;
    }
    sheet_text(&list->sheet, letter->sequence);
    for (size_t i = 1; i < ARRAY_LEN(columns); i++)
        sheet_text(&list->sheet, broker_header(letter, column_headers[i]));
}

/* Page after page; *out_shown counts the letters. */
static bool list_all(struct list *list, const struct dead_filter *filter, size_t *out_shown,
                     struct error *err)
{
    const struct options *options = list->context->options;
    size_t most = options->max > 0 ? (size_t)options->max : SIZE_MAX;
    char from[BROKER_SEQUENCE_SIZE] = "";

    *out_shown = 0;
    do {
        size_t left = most - *out_shown;
        struct dead_page page = {.from = from, .max = left < PAGE_LETTERS ? left : PAGE_LETTERS};
        if (!dead_letter_list(list->context->broker, filter, &page, on_letter, list,
                              options->timeout_ms, err))
            return false;
        *out_shown += page.count;
        memcpy(from, page.next, sizeof(from));
    } while (*from && *out_shown < most && !ferror(stdout) && !command_is_interrupted());
    if (*from && *out_shown >= most)
        command_tell(list->context, "there may be more, from %s on", from);
    return true;
}

int run_dead_list(const struct command_context *context)
{
    const struct dead_filter filter = dead_filter_of(context);
    struct list list = {.context = context};
    struct error err;
    size_t shown;

    sheet_start(&list.sheet, context->options, columns, ARRAY_LEN(columns));
    bool ok = list_all(&list, &filter, &shown, &err);
    sheet_end(&list.sheet);
    if (!ok)
        return command_fail(context, &err);
    if (shown == 0)
        command_tell(context, "no dead letters");
    return EXIT_DONE;
}

/* ---- show ---- */

static void print_field(const char *name, const char *value)
{
    AUTO(buffer_free) struct buffer line = {0};

    text_clean(&line, name, strlen(name));
    buffer_text(&line, ": ");
    text_clean(&line, value, strlen(value));
    print_line(&line);
}

static void on_shown(void *context, const struct broker_delivery *letter)
{
    const struct command_context *command = context;
    AUTO(buffer_free) struct buffer data = {0};

    if (command->options->json) {
        show_json(letter, LETTER_WHOLE);
        return;
    }
    print_field("id", letter->sequence);
    for (size_t i = 0; i < letter->header_count; i++)
        print_field(letter->headers[i].name, letter->headers[i].value);
    print_line(&data);
    text_clean(&data, letter->data, letter->size);
    print_line(&data);
}

int run_dead_show(const struct command_context *context)
{
    struct error err;

    if (dead_letter_get(context->broker, context->arguments[0], on_shown,
                        (void *)(uintptr_t)context, context->options->timeout_ms, &err))
        return EXIT_DONE;
    return command_fail(context, &err);
}
