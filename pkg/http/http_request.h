/*
 * http_request: what a client asked, in memory of the exchange's own arena.
 *
 * Nothing here points into libmicrohttpd's memory, which is gone as soon as the client is answered,
 * while a deferred handler may still be reading. The parser is where a request that two readers
 * could understand differently is found: such a request is refused and never guessed at.
 *
 * Source  RFC 9112, sections 3.2, 5.1, 6.1 to 6.3; RFC 3986, section 2.1.
 */
#ifndef HTTP_HTTP_REQUEST_H
#define HTTP_HTTP_REQUEST_H

#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>

#define HTTP_PARAMETERS_MAX 8
#define HTTP_LENGTH_UNSAID (-1)

struct http_pair {
    const char *name, *value;
};

struct http_parameter {
    const char *name; /* in the route's template, name_size bytes */
    size_t name_size;
    const char *value;
    size_t value_size;
};

struct http_request {
    const char *method; /* static; "other" for what nobody serves */
    const char *path;   /* as it came, percent-encoded */
    struct http_pair *headers, *query;
    size_t header_count, query_count, parameter_count;
    struct http_parameter parameters[HTTP_PARAMETERS_MAX];
    int64_t content_length;
    bool chunked, expects_continue, has_host;
    const char *fault; /* static: why it must be refused; NULL: nothing is wrong so far */
};

/* method and target are copied. */
void http_request_line(struct http_request *request, struct arena *arena, const char *target);
void http_request_method(struct http_request *request, const char *method);

/* Makes room for so many headers; then one call for each of them. */
void http_request_headers(struct http_request *request, struct arena *arena, size_t count);
void http_request_header(struct http_request *request, struct arena *arena, const char *name,
                         const char *value);
/* The last header is in: looks at all of them together. */
void http_request_headers_end(struct http_request *request);

const char *http_request_find(const struct http_pair *pairs, size_t count, const char *name);
bool http_request_has_body(const struct http_request *request);

/* text, size bytes, without its percent-encoding, NUL-terminated. The encoding was checked. */
char *http_request_decode(struct arena *arena, const char *text, size_t size, bool plus_is_space);

/* One character without its encoding, and steps over it; an encoded slash is -1. */
int http_request_next(const char **text);

#endif
