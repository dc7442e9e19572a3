/*
 * redis_reply: the replies of hiredis, each in a few blocks of memory instead of one or two for
 * every value in it: a batch of messages has 16 values a message, and malloc was more than half of
 * the work with them. What reads a redisReply does not see the difference.
 *
 * Ownership  a reply is its reader's until it is whole, then the caller's: redis_reply_free, and
 *            never freeReplyObject. It outlives the reader.
 * Errors     a count of elements that no honest reply has is hiredis's "Out of memory": the
 *            connection is of no use any more.
 */
#ifndef BROKER_REDIS_REPLY_H
#define BROKER_REDIS_REPLY_H

#include <hiredis/hiredis.h>

/* Before the reader is fed. */
void redis_reply_use(redisReader *reader);
void redis_reply_free(redisReply *reply); /* NULL too */

#endif
