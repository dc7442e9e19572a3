/*
 * occupancy: counts that no replica can keep by itself, read from the store now and then.
 *
 * Names that a reading no longer brings are 0 from then on. A reading brings at most a few hundred,
 * those with the most.
 *
 * Threads  one: the keeper's.
 */
#ifndef PROCESSOR_OCCUPANCY_H
#define PROCESSOR_OCCUPANCY_H

#include "base/metrics.h"
#include "store/store.h"

struct occupancy_kind {
    const struct store_query *query;  /* a limit in, columns name and count out */
    struct metrics_description gauge; /* with one label */
};

struct occupancy;

/* Borrowed until occupancy_free. */
struct occupancy *occupancy_new(const struct occupancy_kind *kind, struct metrics *metrics);
void occupancy_free(struct occupancy *occupancy);
AUTO_DEFINE(struct occupancy *, occupancy_free)

bool occupancy_read(struct occupancy *occupancy, struct store *store, struct error *err) MUST_CHECK;

#endif
