#include "http/http_problem.h"

#include "base/json.h"

#include <microhttpd.h>
#include <string.h>

static const int status_by_code[ERROR_CODES] = {
    [ERROR_NONE] = 500,     [ERROR_INVALID] = 422,   [ERROR_NOT_FOUND] = 404,
    [ERROR_CONFLICT] = 409, [ERROR_TOO_LARGE] = 413, [ERROR_FULL] = 503,
    [ERROR_DENIED] = 500,   [ERROR_TIMEOUT] = 504,   [ERROR_UNAVAILABLE] = 503,
    [ERROR_UNKNOWN] = 503,  [ERROR_CLOSED] = 503,    [ERROR_INTERNAL] = 500,
};

/* Not a message at all, as opposed to a message that is wrong. */
static const char *const unreadable[] = {JSON_SYNTAX, JSON_EMPTY, JSON_ENCODING, JSON_DEPTH};

int http_status_of(const struct error *err)
{
    size_t code = (size_t)err->code;

    if (err->code == ERROR_INVALID && err->reason)
        for (size_t i = 0; i < ARRAY_LEN(unreadable); i++)
            if (strcmp(unreadable[i], err->reason) == 0)
                return 400;
    return code < ERROR_CODES ? status_by_code[code] : 500;
}

void http_problem_write(struct buffer *out, int status, const struct error *err)
{
    struct json_writer json = {.out = out};

    json_open(&json, NULL, '{');
    json_text(&json, "type", "about:blank");
    json_text(&json, "title", MHD_get_reason_phrase_for((unsigned)status));
    json_int(&json, "status", status);
    json_text(&json, "detail", err->message);
    json_text(&json, "code", err->reason ? err->reason : error_code_name(err->code));
    if (err->pointer[0]) {
        json_open(&json, "errors", '[');
        json_open(&json, NULL, '{');
        json_text(&json, "pointer", err->pointer);
        json_text(&json, "detail", err->message);
        json_close(&json, '}');
        json_close(&json, ']');
    }
    json_close(&json, '}');
}
