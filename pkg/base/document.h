/*
 * document: a JSON document of a shape that is not ours, read by path and changed in place.
 *
 * It keeps every member that it does not know. A path is member names joined by dots,
 * "config.max_bytes"; missing steps read as absent and are created when set.
 *
 * Ownership  document_text is borrowed until the document changes or is freed.
 * Threads    one document, one thread.
 */
#ifndef BASE_DOCUMENT_H
#define BASE_DOCUMENT_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdint.h>

struct document;

bool document_parse(struct document **out, const char *text, size_t size,
                    struct error *err) MUST_CHECK;
struct document *document_new(void); /* {} */
void document_free(struct document *document);
AUTO_DEFINE(struct document *, document_free)

bool document_has(const struct document *document, const char *path);
const char *document_text(const struct document *document, const char *path); /* NULL: not text */
int64_t document_int(const struct document *document, const char *path, int64_t fallback);
double document_number(const struct document *document, const char *path, double fallback);
bool document_bool(const struct document *document, const char *path, bool fallback);

/* Elements of the list at path; -1 when there is none. Elements are addressed "list.0.name". */
int document_count(const struct document *document, const char *path);

void document_set_text(struct document *document, const char *path, const char *value);
void document_set_int(struct document *document, const char *path, int64_t value);
void document_set_bool(struct document *document, const char *path, bool value);
void document_set_list(struct document *document, const char *path, const char *const *texts,
                       size_t count);

/* Appends the document, or its part at path ("" for all), on one line. */
void document_print(const struct document *document, const char *path, struct buffer *out);

#endif
