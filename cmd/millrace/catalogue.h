/*
 * catalogue: the streams and consumers that the broker has, kept after the call that lists them.
 *
 * Ownership  Texts belong to the catalogue until catalogue_free.
 */
#ifndef MILLRACE_CATALOGUE_H
#define MILLRACE_CATALOGUE_H

#include "base/arena.h"
#include "broker/broker.h"

struct catalogue_group {
    const char *stream;
    struct broker_group_info info;
};

/* A zeroed struct is an empty catalogue. */
struct catalogue {
    struct broker_stream_info *streams;
    size_t stream_count;
    struct catalogue_group *groups;
    size_t group_count;
    struct arena *arena;
};

bool catalogue_load(struct catalogue *out, struct broker *broker, int timeout_ms,
                    struct error *err) MUST_CHECK;

/* The same; who may not list streams gets those of the topics, without numbers. */
bool catalogue_load_subjects(struct catalogue *out, struct broker *broker, int timeout_ms,
                             struct error *err) MUST_CHECK;

void catalogue_free(struct catalogue *catalogue);

/* AUTO(catalogue_free) struct catalogue catalogue = {0}; */
static inline void auto_catalogue_free(struct catalogue *catalogue)
{
    catalogue_free(catalogue);
}

/* NULL when there is none. */
const struct broker_stream_info *catalogue_stream(const struct catalogue *catalogue,
                                                  const char *name);
const struct catalogue_group *catalogue_group(const struct catalogue *catalogue, const char *stream,
                                              const char *name);

/* Is there a subject that both patterns mean? A subject is a pattern, too. */
bool subjects_overlap(const char *a, const char *b);

/* ERROR_NOT_FOUND: says which subjects there are. Returns false, to be returned. */
bool catalogue_has_none(const struct catalogue *catalogue, const char *pattern, struct error *err);

#endif
