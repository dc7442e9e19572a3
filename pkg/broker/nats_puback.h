/*
 * nats_puback: the answer to a publish, read without building a document: it comes once a message.
 *
 *     {"stream":"LOGS","seq":42,"duplicate":true}
 *     {"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}
 *
 * Members that are not known are skipped.
 */
#ifndef BROKER_NATS_PUBACK_H
#define BROKER_NATS_PUBACK_H

#include "base/macros.h"

#include <stdbool.h>
#include <stdint.h>

struct nats_puback {
    uint64_t sequence; /* 0: not stored */
    bool duplicate;
    int status, number; /* of the error; 0 when stored */
    char description[128];
};

/* False: it is not such an answer, or says neither a sequence nor an error. */
bool nats_puback_parse(const char *text, size_t size, struct nats_puback *out) MUST_CHECK;

#endif
