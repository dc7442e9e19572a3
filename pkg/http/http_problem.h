/*
 * http_problem: an error as its reader sees it, RFC 9457.
 */
#ifndef HTTP_HTTP_PROBLEM_H
#define HTTP_HTTP_PROBLEM_H

#include "http/http.h"

void http_problem_write(struct buffer *out, int status, const struct error *err);

#endif
