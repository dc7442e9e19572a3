/*
 * run: one hour of people, cars and a dispatcher in virtual time.
 *
 * A discrete-event simulation: the same people, seed and rule give the same result. A wait ends
 * when boarding begins; somebody whom a full car leaves behind presses again as it begins to close.
 * Everybody who arrives in the hour counts; the run ends when the last is delivered, or after
 * three hours: who is not on board by then counts as waiting until then.
 *
 * Units  seconds in the result.
 */
#ifndef DOMAIN_ELEVATOR_RUN_H
#define DOMAIN_ELEVATOR_RUN_H

#include "domain/elevator/dispatcher.h"
#include "domain/elevator/traffic.h"

enum elevator_moment { ELEVATOR_DECIDES, ELEVATOR_DECIDED, ELEVATOR_HAPPENED };

typedef void elevator_watch(void *context, enum elevator_moment moment, const struct bank *bank);

struct elevator_run_options {
    struct plant plant;
    const struct elevator_traffic *traffic; /* borrowed */
    enum dispatcher_rule rule;
    double priority_weight; /* of the buttons that people with priority press; 0: as everybody */
    uint64_t seed;          /* of the rule's own draws */
    elevator_watch *watch;  /* before and after each decision, after each event; or NULL */
    void *context;
};

struct elevator_result {
    size_t people, undelivered, priority_people;
    double wait_s, wait_squared_s2, system_s; /* means */
    double over_60_share;
    double longest_wait_s;
    double priority_wait_s, other_wait_s; /* means; 0 without any */
};

void elevator_run(const struct elevator_run_options *options, struct elevator_result *out);

#endif
