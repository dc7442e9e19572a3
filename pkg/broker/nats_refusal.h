/*
 * nats_refusal: what JetStream's error numbers mean to a caller.
 *
 * Source  server/errors.json of nats-server 2.9 to 2.14.
 */
#ifndef BROKER_NATS_REFUSAL_H
#define BROKER_NATS_REFUSAL_H

#include "base/error.h"

#define NATS_NO_CONSUMER "consumer_not_found"
#define NATS_NO_STREAM "stream_not_found"
#define NATS_NO_MESSAGE "message_not_found"
#define NATS_STORE_FAILED "stream_full" /* what 10077 nearly always means */

struct nats_refusal {
    int number; /* err_code */
    enum error_code code;
    const char *reason;
    bool passing; /* an election, a restart: the same request may succeed soon */
};

/* Never NULL: a number that is not known is judged by the HTTP-like status beside it. */
const struct nats_refusal *nats_refusal(int number, int status);

#endif
