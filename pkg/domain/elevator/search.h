/*
 * search: the assignment of hall calls to cars whose tours cost least together.
 *
 * From the last assignment: new calls are inserted, oldest first, where the total grows least; then
 * single calls move and pairs swap until nothing gains; then a few times two to four calls are
 * taken out and inserted again, and the best of all is kept. Whole tours are evaluated;
 * what was evaluated once is remembered. The budget bounds how many tours are looked at.
 *
 * Ownership  One handle, allocated once; searching allocates nothing.
 */
#ifndef DOMAIN_ELEVATOR_SEARCH_H
#define DOMAIN_ELEVATOR_SEARCH_H

#include "domain/elevator/decision.h"

struct search_limits {
    int restarts;
    int budget;     /* of a decision: one for a remembered tour, five for one that is evaluated */
    int candidates; /* cars tried for a call: the nearest */
    int swap_below; /* pairs are swapped when there are fewer calls */
};

struct search;

struct search *search_new(const struct search_limits *limits, uint64_t seed);
void search_free(struct search *search);
AUTO_DEFINE(struct search *, search_free)

void search_assign(struct search *search, struct decision *decision,
                   const struct tour_model *model);

#endif
