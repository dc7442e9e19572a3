/*
 * responder: answers weather requests.
 *
 * TERMINALS terminals are its bulkhead: so many requests are worked on at once, and a slow provider
 * costs no more than these. What waits, waits in the broker, where any other replica may take it.
 *
 * Threads  one thread opens, runs and closes; the checks and the routes may come from any other.
 */
#ifndef RESPONDER_RESPONDER_H
#define RESPONDER_RESPONDER_H

#include "provider.h"

#include "base/metrics.h"
#include "http/http.h"
#include "topology.h"

struct responder_settings {
    const char *host;
    int port;
    const char *broker_url;
    int terminals;
    struct provider_settings provider;
    int stream_keep_s; /* how long settled requests stay in their stream */
    struct topology_settings topology;
};

extern const struct config_field responder_settings_table[];

struct responder;

/* Starts preparing. Everything is borrowed until responder_close. */
bool responder_open(struct responder **out, const struct responder_settings *settings,
                    struct broker *broker, struct metrics *metrics, struct error *err) MUST_CHECK;

/* Works until the process is asked to stop. */
bool responder_run(struct responder *responder, struct error *err) MUST_CHECK;

/* What responder_run does, for who waits otherwise. */
bool responder_prepared(struct responder *responder, int timeout_ms);
bool responder_start(struct responder *responder, struct error *err) MUST_CHECK;
void responder_keep(struct responder *responder);

/* Gives what is started a moment to finish, and the rest back. */
void responder_close(struct responder *responder);
AUTO_DEFINE(struct responder *, responder_close)

extern const struct http_check responder_checks[]; /* their context is the responder, */
extern const struct http_route responder_routes[]; /* as that of these */

#endif
