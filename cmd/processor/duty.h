/*
 * duty: what one consumer does with its events, as a row of a table. A new consumer is a new row.
 *
 * Every batch is stored in one call; tables of several topics have one function. What follows is
 * published (emission.h) and what others are to be told is delivered (delivery.h) before the batch
 * is settled, both so that doing them again changes nothing.
 */
#ifndef PROCESSOR_DUTY_H
#define PROCESSOR_DUTY_H

#include "batch.h"
#include "delivery.h"
#include "emission.h"
#include "occupancy.h"

#include "store/store.h"

struct duty {
    const char *name; /* in PROCESSOR_TOPICS, the log and the metrics */
    struct {
        const char *topic; /* NULL ends; all of one stream and one consumer */
        const struct store_table *table;
    } sources[BATCH_TOPICS_MAX];
    const struct emission_kind *emits;    /* NULL: nothing follows */
    const struct delivery_kind *delivers; /* NULL: nobody is told */
    const struct occupancy_kind *shows;   /* NULL: nothing is counted in the store */
};

#define DUTIES_MAX 8

extern const struct duty duties[];
extern const size_t duty_count;

/* NULL when there is no such row. */
const struct duty *duty_find(const char *name, size_t length);

size_t duty_source_count(const struct duty *duty);
const struct topic *duty_topic(const struct duty *duty, size_t source);

#endif
