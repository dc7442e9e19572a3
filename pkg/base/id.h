/*
 * id: what names an event for ever.
 *
 * New ids are UUID version 7 (RFC 9562, 5.7): they sort by the time they were made, and ids made by
 * one thread within a millisecond sort by their making. Derived ids are UUID version 8 over SHA-256
 * (RFC 9562, 5.8 and appendix B.2): the same input gives the same id, on every machine.
 *
 * Threads  any thread; each has its own counter and store of random bytes. A child made by fork
 * must exec before it makes ids, or it repeats its parent's.
 */
#ifndef BASE_ID_H
#define BASE_ID_H

#include "base/macros.h"

#include <stdbool.h>
#include <stdint.h>

#define ID_TEXT_SIZE 37 /* with the NUL */

struct id {
    uint8_t bytes[16];
};

struct id id_new(int64_t now_ms);

/* The scope keeps equal keys of different uses apart: id_derive("idempotency", key, size). */
struct id id_derive(const char *scope, const void *key, size_t size);

/* Any UUID in its 36-character form, in either case. */
bool id_parse(const char *text, size_t size, struct id *out) MUST_CHECK;
void id_format(const struct id *id, char out[ID_TEXT_SIZE]); /* lower case */
bool id_is_zero(const struct id *id);

/* Random bits out of the same store: for jitter. */
uint32_t id_random(void);

#endif
