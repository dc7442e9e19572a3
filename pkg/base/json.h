/*
 * json: one table per message type describes both directions, decode and encode; a writer makes
 * every other document.
 *
 * Decoding takes what RFC 8259 allows and no more: one value in valid UTF-8, at most 32 levels
 * deep, no name twice in an object, no NUL in text, every number finite and written in at most
 * JSON_NUMBER_MAX bytes. What is refused is ERROR_INVALID whose reason is one of the JSON_… words
 * below and whose pointer names the field; where the text itself is broken, the pointer is empty
 * and the message says at which byte. A pointer that would be too long ends at an outer level. An
 * unknown field is ignored, so that producers may add fields first; so is null where a field is not
 * required.
 *
 * Ownership  Text, objects and lists in a decoded struct belong to the arena.
 * Units      Lengths are bytes of UTF-8. Times are milliseconds since the epoch.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/id.h"

#include <stdint.h>

#define JSON_DEPTH_MAX 32
#define JSON_NUMBER_MAX 63
#define JSON_TIME_ABSENT INT64_MIN /* an optional time that was not there */

/* The reasons of a refusal. */
#define JSON_SYNTAX "json_syntax"    /* not JSON, or more than one value */
#define JSON_EMPTY "json_empty"      /* nothing but white space */
#define JSON_ENCODING "invalid_utf8" /* also a NUL in text */
#define JSON_DEPTH "too_deep"
#define JSON_DUPLICATE "duplicate_key"
#define JSON_MISSING "missing_field"
#define JSON_TYPE "wrong_type"
#define JSON_RANGE "out_of_range" /* a number, a length, a word that is not known */
#define JSON_FORMAT "bad_format"  /* a time or an id that is not one */

enum json_kind {
    JSON_INT,    /* int32_t */
    JSON_DOUBLE, /* double, finite */
    JSON_BOOL,   /* bool */
    JSON_TEXT,   /* const char *, NULL when absent */
    JSON_ENUM,   /* int, an index into words */
    JSON_TIME,   /* int64_t, RFC 3339 on the wire */
    JSON_ID,     /* struct id, all zero when absent */
    JSON_OBJECT, /* const char *, the object as written but for white space, NULL when absent */
};

struct json_field {
    const char *name; /* NULL ends a table */
    enum json_kind kind;
    bool required;
    size_t offset;
    double min, max;           /* numbers: the value, 0 and 0: any; text, objects: bytes, 0: any */
    const char *const *words;  /* JSON_ENUM: words[value], NULL ends */
    const char *fallback_text; /* JSON_TEXT: the value when absent; static */
    int fallback;              /* JSON_ENUM, JSON_INT, JSON_BOOL: the value when absent */
};

bool json_decode(const struct json_field *table, const char *text, size_t size, void *out,
                 struct arena *arena, struct error *err) MUST_CHECK;

/* Appends the object on one line. Absent optional fields are left out. */
void json_encode(const struct json_field *table, const void *in, struct buffer *out);

/*
 * Writing: members and elements in the order of the calls; commas are the writer's work. A name is
 * given inside an object and is NULL inside a list and at the top.
 */
struct json_writer {
    struct buffer *out; /* borrowed */
    bool comma;
};

void json_open(struct json_writer *writer, const char *name, char bracket);     /* '{' or '[' */
void json_close(struct json_writer *writer, char bracket);                      /* '}' or ']' */
void json_text(struct json_writer *writer, const char *name, const char *text); /* NULL: null */
void json_bytes(struct json_writer *writer, const char *name, const char *text, size_t size);
void json_int(struct json_writer *writer, const char *name, int64_t value);
void json_double(struct json_writer *writer, const char *name, double value); /* not finite: null */
void json_bool(struct json_writer *writer, const char *name, bool value);
void json_time(struct json_writer *writer, const char *name, int64_t time_ms);
void json_null(struct json_writer *writer, const char *name);
void json_raw(struct json_writer *writer, const char *name, const char *json, size_t size);

#endif
