/*
 * child: a consumer in a process of its own, to be killed.
 *
 * The conformance program starts itself again: a forked copy of a process with threads could not
 * use its broker.
 */
#ifndef TESTS_CONFORMANCE_CHILD_H
#define TESTS_CONFORMANCE_CHILD_H

#include "conformance/stage.h"

#include <sys/types.h>

#define CHILD_CONSUMER "--child-consumer"

/* main of the child: takes what it gets of one fetch, says how much, and never settles. */
int child_consumer(int argc, char **argv);

/* Starts one for the stage's group; returns when it holds messages. Fails the case if it gets none.
 * The caller ends it. */
pid_t child_start(struct stage *stage, size_t *out_count);

#endif
