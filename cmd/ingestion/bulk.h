/*
 * bulk: NDJSON, one event a line, taken as it arrives and answered line by line.
 *
 * Lines are checked, packed a few hundred to a broker message, and published while the rest of the
 * body still comes; with too many packs unanswered the client is not read until one is. A bad line
 * does not disturb its neighbours. The reply has one line per line of the body, in its order:
 *
 *     {"line":1,"status":201,"id":"…","stream_id":"17.1"}
 *     {"line":2,"status":422,"code":"missing_field","pointer":"/site_id","detail":"…"}
 *
 * Its status is the one that all lines share, else 207. A body over its limits is cut: the lines
 * beyond are answered with 413 in one line, and those before it count.
 *
 * Memory   Per request: 32 bytes a line and 32 more if it failed, a bounded number of packs and of
 * described failures; the number of requests at once is bounded too (beyond: 503). Threads  Lines
 * come on the server's threads, receipts on the broker's.
 */
#ifndef INGESTION_BULK_H
#define INGESTION_BULK_H

#include "http/http.h"

/* Of a route that takes NDJSON besides single events: begin of all of its requests. */
http_handler bulk_begin;

/* True when the exchange is one of bulk_begin's; then its body is complete and this answers it. */
bool bulk_finish(void *context, struct http_exchange *exchange);

#endif
