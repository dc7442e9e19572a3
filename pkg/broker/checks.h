/*
 * checks: what broker.c refuses before a driver sees it.
 *
 * Errors  INVALID, or TOO_LARGE for the size of a message.
 */
#ifndef BROKER_CHECKS_H
#define BROKER_CHECKS_H

#include "broker/broker.h"

/* Streams, consumers, buckets: letters, digits, "-", "_" and "=". */
bool check_name(const char *what, const char *name, struct error *err) MUST_CHECK;

/* Tokens between dots, none empty. A pattern may have "*" for a token and ">" for the rest. */
bool check_subject(const char *subject, struct error *err) MUST_CHECK;
bool check_pattern(const char *pattern, struct error *err) MUST_CHECK;

/* Whether the pattern means the subject; both have passed their check. */
bool pattern_matches(const char *pattern, const char *subject);

bool check_message(const struct broker_message *message, struct error *err) MUST_CHECK;
bool check_stream(const struct broker_stream *stream, struct error *err) MUST_CHECK;
bool check_group(const struct broker_group *group, struct error *err) MUST_CHECK;

/* verdicts[i] of a batch of expected deliveries. */
bool check_verdicts(const struct broker_verdict *verdicts, size_t count, size_t expected,
                    struct error *err) MUST_CHECK;

#endif
