/*
 * ids: the newest ids of the file, 24 to 32 bytes each.
 *
 * What is added stays until more than `most` newer ones are there and ids_trim is called; so what
 * was added since can be taken back when it did not come to be.
 *
 * Threads  one.
 */
#ifndef WRITER_IDS_H
#define WRITER_IDS_H

#include "base/id.h"

struct ids;

/* slack: how many may be added between two trims; beyond, the oldest go at once. */
struct ids *ids_new(size_t most, size_t slack);
void ids_free(struct ids *ids);
AUTO_DEFINE(struct ids *, ids_free)

bool ids_add(struct ids *ids, const struct id *id); /* false: it is there already */
void ids_take_back(struct ids *ids, size_t count);  /* the newest ones */
void ids_trim(struct ids *ids);
size_t ids_count(const struct ids *ids);

#endif
