/*
 * error: a code that says what the caller can do, and a message that says what happened.
 *
 * Every function that can fail returns bool and takes `struct error *err` last. It returns true and
 * leaves *err alone, or returns false and has filled it in. The caller owns *err; it is never NULL
 * and never allocated, so that failing cannot fail.
 *
 * The same codes answer for every layer: what a broker said of one message, what the store said of
 * a batch, what an HTTP client gets to see.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "base/macros.h"

#include <stdbool.h>

enum error_code {
    ERROR_NONE,
    ERROR_INVALID,     /* the input is wrong: reject it, do not retry */
    ERROR_NOT_FOUND,   /* there is no such thing */
    ERROR_CONFLICT,    /* it exists already, or changed meanwhile */
    ERROR_TOO_LARGE,   /* over a size limit: reject it */
    ERROR_FULL,        /* no room now: it did not happen, retry later */
    ERROR_DENIED,      /* not allowed: retrying does not help */
    ERROR_TIMEOUT,     /* nothing happened in time */
    ERROR_UNAVAILABLE, /* a dependency is down: it did not happen, retry later */
    ERROR_UNKNOWN,     /* it may have happened: retry with the same id */
    ERROR_CLOSED,      /* the handle is closed or draining */
    ERROR_INTERNAL,    /* a bug: log it and stop */
    ERROR_CODES,       /* how many there are */
};

struct error {
    enum error_code code;
    const char *reason; /* static, stable, snake_case: what programs may compare */
    char pointer[96];   /* RFC 6901 pointer to the offending part of the input, or "" */
    char message[280];  /* outermost context first: "open broker: connect nats://…: refused" */
};

/* "invalid", "not_found", …: the reason of an error that has no closer one. */
const char *error_code_name(enum error_code code);

/* All return false:  return error_set(err, ERROR_INVALID, "floor %d", floor); */
bool error_set(struct error *err, enum error_code code, const char *format, ...) PRINTF_LIKE(3, 4);

/* ERROR_INVALID about one part of the input. reason is static, pointer is copied. */
bool error_input(struct error *err, const char *reason, const char *pointer, const char *format,
                 ...) PRINTF_LIKE(4, 5);

/* Puts context in front of the message; keeps the rest. */
bool error_wrap(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
