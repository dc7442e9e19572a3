/*
 * letter: a dead letter as JSON, the same over REST and on the command line.
 *
 * {"id","stream","consumer","subject","sequence","message_id","part","reason","error","attempts",
 * "first_time","last_time","replays","size","cut"}; id is its place in DEAD, sequence the place of
 * the original in its stream, part the line of a bulk message or null, size in bytes, cut true when
 * what is stored is not all of the original. Whole letters also have "headers" (the original's, as
 * an object; of a name that came twice the first) and "data", the text, or "data_base64" where it
 * is not UTF-8. What a letter does not say is null.
 */
#ifndef CMD_LETTER_H
#define CMD_LETTER_H

#include "base/json.h"
#include "broker/broker.h"

enum letter_detail { LETTER_SUMMARY, LETTER_WHOLE };

void letter_write(struct json_writer *writer, const char *name,
                  const struct broker_delivery *letter, enum letter_detail detail);

/* The member "data", or "data_base64", of any message. */
void letter_write_data(struct json_writer *writer, const struct broker_delivery *message);

#endif
