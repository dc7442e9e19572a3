/* tail: what both ways of following share: a message as a line on stdout. */
#ifndef MILLRACE_TAIL_H
#define MILLRACE_TAIL_H

#include "command.h"

/* stream NULL: it was announced. Returns false when nobody reads any more. */
bool tail_show(const struct command_context *context, const char *stream,
               const struct broker_delivery *message);

/* Announcements; returns an exit code. */
int tail_listen(const struct command_context *context);

#endif
