/*
 * summary: one line of the file, read from a request and written in its one form.
 *
 *     {"vehicle":…,"entryTime":…,"exitTime":…,"duration":…,"matched":…,"id":…}
 *
 * followed by "session" where it is known, and by "revision" and "withdrawn" where that was
 * corrected. A line without an id has the one derived from what it says, so that the same line
 * twice is one.
 *
 * Errors  ERROR_INVALID with a reason of json.h and the pointer of the field.
 */
#ifndef WRITER_SUMMARY_H
#define WRITER_SUMMARY_H

#include "base/error.h"
#include "messages/export.h"

#define SUMMARY_BYTES_MAX 16384 /* of one line's JSON as it comes in */

bool summary_read(const char *json, size_t size, struct arena *arena, struct vehicle_summary *out,
                  struct error *err) MUST_CHECK;

/* Appends the line and its end. */
void summary_write(const struct vehicle_summary *summary, struct buffer *out);

#endif
