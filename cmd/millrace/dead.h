/* dead: what the commands about dead letters share. */
#ifndef MILLRACE_DEAD_H
#define MILLRACE_DEAD_H

#include "command.h"

#include "broker/dead_letter.h"

/* What the options and the argument mean. Texts are borrowed from the context. */
struct dead_filter dead_filter_of(const struct command_context *context);

#endif
