#include "send.h"

#include "sheet.h"

#include <string.h>
#include <unistd.h>

static const struct sheet_column columns[] = {
    {"stream", "STREAM", SHEET_TEXT},
    {"sequence", "SEQUENCE", SHEET_TEXT},
    {"duplicate", "DUPLICATE", SHEET_FLAG},
    {"id", "ID", SHEET_TEXT},
};

static void show(const struct command_context *context, const struct broker_message *message,
                 const struct broker_receipt *receipt)
{
    struct sheet sheet;

    sheet_start(&sheet, context->options, columns, ARRAY_LEN(columns));
    sheet_text(&sheet, message->stream);
    sheet_text(&sheet, receipt->sequence);
    sheet_number(&sheet, receipt->duplicate);
    sheet_text(&sheet, message->id);
    sheet_end(&sheet);
}

static int send_one(const struct command_context *context, const struct target *target)
{
    const char *data = context->arguments[1];
    struct envelope_text text;
    struct broker_message message =
        target_message(target, context->options->id, 0, data, strlen(data), &text);
    struct broker_receipt receipt;
    struct error err;

    if (!broker_publish(context->broker, &message, 1, context->options->timeout_ms, &receipt, &err))
        return command_fail(context, &err);
    show(context, &message, &receipt);
    return EXIT_DONE;
}

int run_send(const struct command_context *context)
{
    AUTO(target_free) struct target target = {0};
    struct error err;
    int code;

    if (!target_find(&target, context, &code, &err)) {
        (void)command_fail(context, &err);
        return code;
    }
    if (context->argument_count > 1)
        return send_one(context, &target);
    if (isatty(STDIN_FILENO) == 1)
        command_tell(context, "reading messages, one a line; Ctrl-D ends them");
    return send_lines(context, &target);
}
