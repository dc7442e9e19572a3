/* send: the lines of the input as messages, many on their way together. */
#ifndef MILLRACE_SEND_H
#define MILLRACE_SEND_H

#include "message.h"

/* Returns an exit code. */
int send_lines(const struct command_context *context, const struct target *target);

#endif
