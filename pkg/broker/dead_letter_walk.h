/*
 * dead_letter_walk: the letters that a filter means, one after the other; what listing, replaying
 * and purging have in common.
 *
 * Units  until_ms is of the steady clock: letters are looked at until shortly before, so that what
 *        is then done with them has its time too; the first is looked at in any case.
 */
#ifndef BROKER_DEAD_LETTER_WALK_H
#define BROKER_DEAD_LETTER_WALK_H

#include "broker/dead_letter.h"

/* The original as a letter tells of it. id "" and sequence "": it does not say. */
struct dead_origin dead_letter_told(const struct broker_delivery *letter);

struct dead_walk {
    struct broker *broker;            /* borrowed */
    const struct dead_filter *filter; /* borrowed */
    int64_t until_ms, last_look_ms;
    char next[BROKER_SEQUENCE_SIZE]; /* in: where to begin; out: where to go on, "" at the end */
    bool looked;                     /* at a letter, on this walk */
};

enum dead_step {
    DEAD_GO_ON,
    DEAD_STOP, /* before this letter, which is the next one */
    DEAD_END,  /* before this letter, and none behind it matters */
};

typedef enum dead_step dead_visit(void *context, const struct broker_delivery *letter);

void dead_walk_start(struct dead_walk *walk, struct broker *broker,
                     const struct dead_filter *filter, const char *from, int timeout_ms);

/* Goes on from walk->next until a visit stops it, DEAD ends or its time is over. wanted: how many
 * visits are expected. */
bool dead_walk_on(struct dead_walk *walk, size_t wanted, dead_visit *visit, void *context,
                  struct error *err) MUST_CHECK;

bool dead_walk_is_late(const struct dead_walk *walk);
int dead_walk_remaining_ms(const struct dead_walk *walk); /* at least a little */

#endif
