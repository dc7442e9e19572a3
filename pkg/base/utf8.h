/*
 * utf8: is a byte sequence text?
 *
 * Source  RFC 3629, section 4: no overlong forms, no surrogates, nothing past U+10FFFF.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, what stands where a byte was not text */

/* Bytes of the character that text starts with; 0 when it is none, or is cut short by size. */
size_t utf8_length(const char *text, size_t size);

/* Is all of it text? */
bool utf8_is_valid(const char *text, size_t size);

#endif
