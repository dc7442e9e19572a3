/*
 * consumers: how far behind each topic's consumer is; what autoscalers ask for.
 *
 *     {"name":"processor-logs","stream":"LOGS","unread":12,"in_flight":3,"delayed":1,"lag":15,
 *      "oldest_age_ms":480}
 *
 * lag is what is not settled: unread and in flight; delayed ones are in flight too. A consumer that
 * the broker does not have yet is in no list, and is not found by its name.
 */
#ifndef API_CONSUMERS_H
#define API_CONSUMERS_H

#include "broker/broker.h"
#include "query_pool.h"

/* Answers for the consumer in the path's {name}, or, without one, for all. context is the broker.
 */
query_work consumers_answer;

#endif
