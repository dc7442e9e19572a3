/*
 * patience: waiting that SIGINT and SIGTERM end, and a reader of stdout that has gone away.
 *
 * Threads  one.
 */
#ifndef MILLRACE_PATIENCE_H
#define MILLRACE_PATIENCE_H

#include <stdbool.h>

/* Once, before there are threads. */
void patience_start(void);

enum patience { PATIENCE_OVER, PATIENCE_READY, PATIENCE_INTERRUPTED };

/* Waits up to timeout_ms until there is something to read from the file (-1: none). Once
 * interrupted, it is so at once. */
enum patience patience_wait(int file, int timeout_ms);

/* Nobody reads any more what is written to stdout. */
bool stdout_is_closed(void);

#endif
