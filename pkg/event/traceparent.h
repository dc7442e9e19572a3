/*
 * traceparent: is this header what W3C Trace Context says it is?
 *
 * Version 00 has one exact form. Of a later version the part that every version keeps is checked.
 * What does not pass is to be dropped, as if it had not come; the trace then starts anew.
 *
 * Source  W3C Trace Context, sections 3.2.2 and 4.3.
 */
#ifndef EVENT_TRACEPARENT_H
#define EVENT_TRACEPARENT_H

#include <stdbool.h>
#include <stddef.h>

#define TRACEPARENT_SIZE 56 /* of version 00, with the NUL */

bool traceparent_is_valid(const char *text, size_t size);

#endif
