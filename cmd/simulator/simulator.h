/*
 * simulator: lets the traffic happen at its pace, hands it to the crew, and shows what came of it.
 *
 * SIGINT and SIGTERM are blocked in the calling thread and taken by it: the first stops sending and
 * waits up to SIMULATOR_PATIENCE_MS for what is on its way, a second does not wait. At the end of
 * the duration it waits up to SIMULATOR_LAST_MS for all that was to be sent until then.
 */
#ifndef SIMULATOR_SIMULATOR_H
#define SIMULATOR_SIMULATOR_H

#include "arguments.h"

#include <stdio.h>

#define SIMULATOR_PATIENCE_MS 5000
#define SIMULATOR_LAST_MS 60000

enum simulator_exit { SIMULATOR_DONE, SIMULATOR_SHORT, SIMULATOR_MISUSED };

/* The result goes to out, notes to stderr. Returns the exit code. */
int simulator_run(const struct simulator_settings *settings, FILE *out);

#endif
