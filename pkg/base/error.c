#include "base/error.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const code_names[ERROR_CODES] = {
    [ERROR_NONE] = "none",
    [ERROR_INVALID] = "invalid",
    [ERROR_NOT_FOUND] = "not_found",
    [ERROR_CONFLICT] = "conflict",
    [ERROR_TOO_LARGE] = "too_large",
    [ERROR_FULL] = "full",
    [ERROR_DENIED] = "denied",
    [ERROR_TIMEOUT] = "timeout",
    [ERROR_UNAVAILABLE] = "unavailable",
    [ERROR_UNKNOWN] = "unknown",
    [ERROR_CLOSED] = "closed",
    [ERROR_INTERNAL] = "internal",
};

const char *error_code_name(enum error_code code)
{
    size_t index = (size_t)code;

    return index < ERROR_CODES ? code_names[index] : "internal";
}

/* Text that did not fit ends in the middle of a character: nobody could show that. */
static void drop_half_character(char *text)
{
    size_t size = strlen(text), start = size;

    while (start > 0 && size - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xc0 &&
        !utf8_length(text + start - 1, size - start + 1))
        text[start - 1] = '\0';
}

/* Every function makes the error aside first, so that its arguments may point into *err. */
static bool replace(struct error *err, struct error *made)
{
    drop_half_character(made->message);
    drop_half_character(made->pointer);
    *err = *made;
    return false;
}

/* What does not fit is left out. */
static void append(char *out, size_t room, const char *text)
{
    size_t used = strlen(out), size = strlen(text);

    if (size > room - used - 1)
        size = room - used - 1;
    memcpy(out + used, text, size);
    out[used + size] = '\0';
}

bool error_set(struct error *err, enum error_code code, const char *format, ...)
{
    struct error made = {.code = code, .reason = error_code_name(code)};
    va_list args;

    va_start(args, format);
    vsnprintf(made.message, sizeof(made.message), format, args);
    va_end(args);
    return replace(err, &made);
}

bool error_input(struct error *err, const char *reason, const char *pointer, const char *format,
                 ...)
{
    struct error made = {.code = ERROR_INVALID, .reason = reason};
    va_list args;

    append(made.pointer, sizeof(made.pointer), pointer);
    va_start(args, format);
    vsnprintf(made.message, sizeof(made.message), format, args);
    va_end(args);
    return replace(err, &made);
}

bool error_wrap(struct error *err, const char *format, ...)
{
    struct error made = *err;
    va_list args;

    va_start(args, format);
    vsnprintf(made.message, sizeof(made.message), format, args);
    va_end(args);
    append(made.message, sizeof(made.message), ": ");
    append(made.message, sizeof(made.message), err->message);
    return replace(err, &made);
}
