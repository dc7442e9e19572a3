/*
 * message: what the command line publishes: to which stream, with which headers.
 *
 * Ownership  A target borrows the context's options and arguments, and owns the rest.
 */
#ifndef MILLRACE_MESSAGE_H
#define MILLRACE_MESSAGE_H

#include "command.h"

#include "base/arena.h"
#include "base/id.h"
#include "base/rfc3339.h"
#include "event/topic.h"

#define TARGET_HEADERS_MAX 64

/* What is the same for every message. */
struct target {
    const char *stream, *subject;
    const struct topic *topic;                        /* NULL: of no topic */
    struct broker_header headers[TARGET_HEADERS_MAX]; /* given with --header, then ours */
    size_t given_count;
    struct arena *arena;
};

/* Finds the stream of the subject, and reads the headers. On failure *out_code is the exit code. */
bool target_find(struct target *out, const struct command_context *context, int *out_code,
                 struct error *err) MUST_CHECK;
void target_free(struct target *target);

static inline void auto_target_free(struct target *target)
{
    target_free(target);
}

/* One message of it. It lies still once filled: its texts point into it. */
struct envelope_text {
    char id[BROKER_ID_MAX + 24];
    char time[RFC3339_SIZE];
    struct broker_header headers[TARGET_HEADERS_MAX];
};

/* id NULL: a new one. line is that of the input, from 1; 0: the only message. */
struct broker_message target_message(const struct target *target, const char *id, int64_t line,
                                     const char *data, size_t size, struct envelope_text *text);

#endif
