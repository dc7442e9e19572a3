/*
 * survey: how what the broker has differs from the topology that the services would declare.
 */
#ifndef MILLRACE_SURVEY_H
#define MILLRACE_SURVEY_H

#include "catalogue.h"
#include "topology.h"

enum survey_state { SURVEY_SAME, SURVEY_MISSING, SURVEY_DRIFTED };

struct survey_item {
    const char *stream, *consumer; /* consumer NULL: it is about the stream itself */
    enum survey_state state;
    const char *detail; /* "max_bytes is 1048576, wanted 1073741824", or "" */
};

typedef void survey_each(void *context, const struct survey_item *item);

/* Streams first, the stream of dead letters last of them. Texts live for the call of each. */
void survey(const struct catalogue *catalogue, const struct topology_settings *settings,
            survey_each *each, void *context);

/* The topology's settings from the environment, as the processor reads them. Every mistake is a
 * line on stderr. */
bool survey_settings(struct topology_settings *out, struct error *err) MUST_CHECK;

#endif
