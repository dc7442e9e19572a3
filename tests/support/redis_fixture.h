/*
 * redis_fixture: a real Redis server, a broker on it, and the stream and group that tests of the
 * Redis driver begin with. Every word fails the test when the server refuses.
 *
 * Ownership  the server and the broker are the caller's until redis_fixture_close.
 * Threads    one
 */
#ifndef TESTS_SUPPORT_REDIS_FIXTURE_H
#define TESTS_SUPPORT_REDIS_FIXTURE_H

#include "broker/broker.h"
#include "support/server.h"

/* options may be NULL. Returns when the server answers. */
void redis_fixture_open(struct server **out_server, struct broker **out_broker,
                        const struct broker_options *options);

/* All may be NULL. */
void redis_fixture_close(struct broker_consumer *consumer, struct broker *broker,
                         struct server *server);

struct broker_stream redis_fixture_stream(const char *subjects, int64_t max_bytes); /* "S" */
struct broker_group redis_fixture_group(void); /* "g" of "S", whose leases last a while */

/* What the server says begins so, as it comes over the wire. */
void redis_fixture_expect(const struct server *server, const char *command, const char *expected);

#endif
