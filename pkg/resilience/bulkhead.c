#include "resilience/bulkhead.h"

#include <assert.h>

enum bulkhead_verdict bulkhead_enter(struct bulkhead *bulkhead)
{
    if (bulkhead->inside < bulkhead->limit) {
        bulkhead->inside++;
        bulkhead->entered++;
        return BULKHEAD_ENTERED;
    }
    /* Without a place there would be nobody to leave one. */
    if (bulkhead->limit > 0 && bulkhead->waiting < bulkhead->queue) {
        bulkhead->waiting++;
        return BULKHEAD_WAITS;
    }
    bulkhead->refused++;
    return BULKHEAD_REFUSED;
}

bool bulkhead_leave(struct bulkhead *bulkhead)
{
    assert(bulkhead->inside > 0);
    if (bulkhead->waiting == 0) {
        bulkhead->inside--;
        return false;
    }
    bulkhead->waiting--;
    bulkhead->entered++;
    return true;
}

void bulkhead_give_up(struct bulkhead *bulkhead)
{
    assert(bulkhead->waiting > 0);
    bulkhead->waiting--;
    bulkhead->gave_up++;
}
