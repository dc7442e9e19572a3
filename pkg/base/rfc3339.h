/*
 * rfc3339: times as text, "2026-11-21T08:30:00.000Z".
 *
 * Reading takes any offset and any number of fraction digits (cut to milliseconds), refuses a time
 * without a zone, a date that does not exist, and years (in UTC) outside 0001 to 9999. A leap
 * second (:60) is taken where UTC can have one, at the end of a month, and becomes the first moment
 * of the next.
 * Writing is always UTC with three digits; a time outside those years becomes the nearest inside.
 *
 * Units    milliseconds since the epoch.
 * Source   RFC 3339, section 5.6 and appendix D.
 */
#ifndef BASE_RFC3339_H
#define BASE_RFC3339_H

#include "base/macros.h"

#include <stdbool.h>
#include <stdint.h>

#define RFC3339_SIZE 25 /* with the NUL */

bool rfc3339_parse(const char *text, size_t size, int64_t *out_ms) MUST_CHECK;
void rfc3339_format(int64_t time_ms, char out[RFC3339_SIZE]);

#endif
