/*
 * subject: keys from outside as tokens of a subject, "readings.berlin.meter=201".
 *
 * [A-Za-z0-9_-] stay, every other byte becomes =HH (upper-case hex), so that no key can bring a dot
 * or a wildcard. A token over SUBJECT_TOKEN_MAX bytes becomes a UUID derived from the key. An empty
 * key becomes SUBJECT_EMPTY.
 */
#ifndef EVENT_SUBJECT_H
#define EVENT_SUBJECT_H

#include "base/buffer.h"

#define SUBJECT_TOKEN_MAX 64

/* No key gives these: after "=" there are always two digits or capitals. */
#define SUBJECT_MANY "=many" /* a packed message whose events differ in this key */
#define SUBJECT_EMPTY "="

/* Appends "." and the token. */
void subject_key(struct buffer *subject, const char *key);

/*
 * The subject of a pack, event by event: what all have in common stays, tokens in which they differ
 * become SUBJECT_MANY. An empty pack takes the subject as it is. Both have the same number of
 * tokens.
 */
void subject_merge(struct buffer *pack, const char *subject, size_t size);

#endif
