/*
 * call: a request over one stream that waits for its reply.
 *
 * A route is a row: the topic of its requests, the topic of its results, and how an outcome is
 * answered. A request is published with two headers: how long somebody waits (HEADER_DEADLINE) and
 * the topic on which this process listens (HEADER_REPLY_TO); whoever works it out announces the
 * result there, under the id of the request. There is one deadline in all: CALL_TIMEOUT_MS, what
 * HTTP leaves of the exchange's, or the client's own "Prefer: wait=SECONDS", whichever is first.
 *
 *     200, 502, …  as the row answers the result
 *     202          "Prefer: respond-async" (which makes its `wait` void) or "Prefer: wait=0", after
 *                  the broker's ack: with the Location of the result
 *     400, 422     as any route
 *     429          CALL_MAX_WAITING others wait
 *     503          the broker did not confirm the request in time
 *     503          "call_circuit_open": five whole deadlines in a row went by without any reply, so
 *                  for CALL_OPEN_MS nobody may wait
 *     504          "reply_timeout": no reply at the deadline
 *
 * A repeat (the same id, by Idempotency-Key for one) waits with the first while that waits here:
 * both get the reply. A repeat that waits alone is answered 202 with the Location: its reply went
 * to whoever asked first, there will be no other, and the result, if there is one, is stored.
 *
 * A 504 ends the waiting, not the request: it may still be answered later, under its id. A repeat
 * with the same key inside the broker's window is told 202 with the Location of that answer. A
 * request that nobody looked at before its deadline has expired, and stays so: a client that wants
 * another try takes a new key.
 *
 * Results are the API's to tell, so API_URL is put in front of a Location. Without it a Location is
 * the path alone, for those who reach both services under one address.
 *
 * A reply without a waiter is dropped and counted: the result is stored anyhow. So is a gap in what
 * was heard: who waits goes on waiting. A client that goes away is not noticed while it waits; its
 * place is free with its reply or at its deadline, as any other.
 *
 * Threads  Any. The handler runs on the server's threads, receipts and replies come on the
 *          broker's, deadlines on a thread of its own: whoever takes a waiter from the desk
 *          answers it. listen and unlisten: one thread.
 */
#ifndef INGESTION_CALL_H
#define INGESTION_CALL_H

#include "base/json.h"
#include "base/metrics.h"
#include "http/http.h"

struct call;
struct ingestion;

struct call_route {
    const char *name;             /* "weather": of its circuit, and in the topic of its replies */
    const char *request, *result; /* topics */
    const char *location;         /* where the API has results, a path; an id follows it */
    /* Writes the members of the answer to a result and returns 200, or describes err and returns
     * another status. What err points to lives as long as the result. */
    int (*answer)(const void *result, struct json_writer *out, struct error *err);
    struct metrics_description requests; /* a counter by outcome */
    struct metrics_description seconds;  /* a histogram, of those who waited */
};

/* The row and the ingestion are borrowed. Free it when the broker is closed: the last receipts. */
struct call *call_start(const struct call_route *route, struct ingestion *ingestion,
                        struct metrics *metrics);
void call_free(struct call *call);

const struct call_route *call_route_of(const struct call *call);
size_t call_waiting(struct call *call);

/* Until it listens, nobody may wait: 503. Does nothing when it listens already. */
bool call_listen(struct call *call, struct error *err) MUST_CHECK;
bool call_is_listening(const struct call *call);
void call_unlisten(struct call *call); /* before the broker is closed */

/* Of a route whose row is a call_route. */
http_handler call_post;

#endif
