/*
 * header: the names of what travels beside an event, on the broker and over HTTP.
 *
 * NATS compares names case-sensitively: they are written as here, and read in any case.
 *
 * Source  CloudEvents 1.0.2, HTTP protocol binding 3.1; W3C Trace Context, section 3.2.
 */
#ifndef EVENT_HEADER_H
#define EVENT_HEADER_H

#define HEADER_CE_SPECVERSION "ce-specversion"
#define HEADER_CE_ID "ce-id"
#define HEADER_CE_SOURCE "ce-source"
#define HEADER_CE_TYPE "ce-type"
#define HEADER_CE_TIME "ce-time"
#define HEADER_CE_SUBJECT "ce-subject"
#define HEADER_CE_DATACONTENTTYPE "ce-datacontenttype"
#define HEADER_CONTENT_TYPE "content-type"
#define HEADER_TRACEPARENT "traceparent"
#define HEADER_MESSAGE_ID "Nats-Msg-Id" /* the event's id: what the broker knows repeats by */

/* Of a request that waits for its reply. */
#define HEADER_DEADLINE "millrace-deadline" /* RFC 3339: nobody waits any more, work is in vain */
#define HEADER_REPLY_TO "millrace-reply-to" /* the topic on which the result is to be announced */

#define CONTENT_JSON "application/json"
#define CONTENT_NDJSON "application/x-ndjson" /* a pack: one event a line */
#define CONTENT_CLOUDEVENT "application/cloudevents+json"

#endif
