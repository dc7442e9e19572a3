#include "http/http_request.h"

#include "base/hex.h"
#include "base/macros.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LENGTH_DIGITS_MAX 18 /* always fits int64_t */

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "DELETE"};

/* The byte behind a '%'; -1 when it is none, or is NUL, which no text may hold. */
static int encoded_byte(const char *percent)
{
    int high = hex_value(percent[1]);
    int low = high < 0 ? -1 : hex_value(percent[2]);

    return low < 0 || !(high | low) ? -1 : high * 16 + low;
}

static bool encoding_is_right(const char *text)
{
    for (const char *at = strchr(text, '%'); at; at = strchr(at + 1, '%'))
        if (encoded_byte(at) < 0)
            return false;
    return true;
}

int http_request_next(const char **text)
{
    char first = **text;

    if (!first)
        return 0;
    if (first != '%') {
        ++*text;
        return (unsigned char)first;
    }
    int byte = encoded_byte(*text);
    *text += 3;
    return byte == '/' ? -1 : byte;
}

char *http_request_decode(struct arena *arena, const char *text, size_t size, bool plus_is_space)
{
    char *decoded = arena_alloc(arena, size + 1), *out = decoded;

    for (const char *at = text; at < text + size; at++, out++) {
        *out = *at;
        if (*at == '+' && plus_is_space)
            *out = ' ';
        if (*at == '%') {
            *out = (char)encoded_byte(at);
            at += 2;
        }
    }
    return decoded;
}

static void parse_query(struct http_request *request, struct arena *arena, const char *text)
{
    size_t count = 1;

    for (const char *at = text; *at; at++)
        count += *at == '&';
    request->query = arena_alloc(arena, count * sizeof(*request->query));

    for (const char *at = text; *at; at += *at == '&') {
        size_t size = strcspn(at, "&"), name = strcspn(at, "=&");
        const char *value = at + name + (name < size);
        struct http_pair *pair = &request->query[request->query_count];

        if (size) {
            pair->name = http_request_decode(arena, at, name, true);
            pair->value = http_request_decode(arena, value, (size_t)(at + size - value), true);
            request->query_count++;
        }
        at += size;
    }
}

/* "http://host/path" is how a proxy is asked, and servers must take it too. */
static const char *without_authority(const char *target)
{
    if (strncasecmp(target, "http://", 7) != 0)
        return target;
    const char *path = strchr(target + 7, '/');
    return path ? path : "/";
}

void http_request_line(struct http_request *request, struct arena *arena, const char *target)
{
    const char *path = without_authority(target ? target : "/");
    size_t size = strcspn(path, "?");

    request->content_length = HTTP_LENGTH_UNSAID;
    request->path = arena_copy(arena, path, size);
    if (!encoding_is_right(path))
        request->fault = "bad_encoding";
    else if (path[size])
        parse_query(request, arena, path + size + 1);
}

void http_request_method(struct http_request *request, const char *method)
{
    request->method = "other";
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (strcmp(methods[i], method) == 0)
            request->method = methods[i];
}

void http_request_headers(struct http_request *request, struct arena *arena, size_t count)
{
    request->headers = arena_alloc(arena, (count + 1) * sizeof(*request->headers));
}

static void note_length(struct http_request *request, const char *value)
{
    size_t digits = strspn(value, "0123456789");

    if (request->content_length != HTTP_LENGTH_UNSAID)
        request->fault = "conflicting_length";
    else if (!digits || digits > LENGTH_DIGITS_MAX || value[digits])
        request->fault = "bad_length";
    else
        request->content_length = strtoll(value, NULL, 10);
}

static void note_encoding(struct http_request *request, const char *value)
{
    if (request->chunked)
        request->fault = "conflicting_length";
    else if (strcasecmp(value, "chunked") != 0)
        request->fault = "unknown_transfer_encoding";
    request->chunked = true;
}

static void note_host(struct http_request *request, const char *value)
{
    (void)value;
    if (request->has_host)
        request->fault = "conflicting_host";
    request->has_host = true;
}

static void note_expectation(struct http_request *request, const char *value)
{
    request->expects_continue = strcasecmp(value, "100-continue") == 0;
}

static const struct {
    const char *name;
    void (*note)(struct http_request *request, const char *value);
} noted[] = {
    {"Content-Length", note_length},
    {"Transfer-Encoding", note_encoding},
    {"Host", note_host},
    {"Expect", note_expectation},
};

void http_request_header(struct http_request *request, struct arena *arena, const char *name,
                         const char *value)
{
    struct http_pair *pair = &request->headers[request->header_count++];

    pair->name = arena_copy(arena, name, strlen(name));
    pair->value = arena_copy(arena, value, strlen(value));

    /* "Content-Length : 5" is a length to some readers and nothing to others. */
    if (!*name || name[strcspn(name, " \t")])
        request->fault = "bad_header";
    for (size_t i = 0; i < ARRAY_LEN(noted); i++)
        if (strcasecmp(noted[i].name, name) == 0)
            noted[i].note(request, pair->value);
}

void http_request_headers_end(struct http_request *request)
{
    if (request->chunked && request->content_length != HTTP_LENGTH_UNSAID)
        request->fault = "conflicting_length";
}

const char *http_request_find(const struct http_pair *pairs, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(pairs[i].name, name) == 0)
            return pairs[i].value;
    return NULL;
}

bool http_request_has_body(const struct http_request *request)
{
    return request->chunked || request->content_length > 0;
}
