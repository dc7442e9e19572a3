/* redis_bucket: how a state bucket lies in the server, for redis_state.c and redis_watch.c. */
#ifndef BROKER_REDIS_BUCKET_H
#define BROKER_REDIS_BUCKET_H

#include "broker/redis_driver.h"

#define REDIS_BUCKET_REVISION " revision" /* the member with the bucket's; no key has a space */

/* suffix "", or ":log" */
const char *redis_bucket_key(char key[REDIS_KEY_SIZE], const char *bucket, const char *suffix);

/* A member's value. The bytes stay the reply's. False: there is none. */
bool redis_bucket_value(const char *key, const redisReply *stored, struct broker_value *out);

#endif
