/*
 * server: a real broker for a test, on a free loopback port with a store of its own.
 *
 * It can be killed, paused and started again on the same port and store; the port stays its own
 * meanwhile. It dies with the process that started it, whatever happens to that.
 *
 * Ownership  server_close ends it and removes its files, a directory in $TMPDIR (or /tmp).
 * Threads    one; the thread that started it has to outlive it.
 */
#ifndef TESTS_SUPPORT_SERVER_H
#define TESTS_SUPPORT_SERVER_H

#include "base/buffer.h"
#include "base/error.h"

#include <sys/types.h>

struct server;

/* nats-server with JetStream, or redis-server that writes each command to disk before it answers
 * (appendfsync always). They return when it answers. */
bool server_start_nats(struct server **out, struct error *err) MUST_CHECK;
bool server_start_redis(struct server **out, struct error *err) MUST_CHECK;
/* A nats-server with more settings, the text of a configuration file. */
bool server_start_nats_with(struct server **out, const char *settings,
                            struct error *err) MUST_CHECK;
void server_close(struct server *server);
AUTO_DEFINE(struct server *, server_close)

/*
 * A free loopback port, reserved while the returned descriptor is open: nobody gets it by chance,
 * and who asks for it by number and sets SO_REUSEADDR, as servers do, can listen on it. -1: none.
 */
int server_reserve_port(int *out_port) MUST_CHECK;

const char *server_url(const struct server *server);
int server_port(const struct server *server);
pid_t server_pid(const struct server *server); /* 0 while it does not run */

/* Removes a directory and all in it: what is left when whoever started servers there was killed. */
void server_remove_files(const char *directory);

void server_kill(struct server *server);   /* SIGKILL; its store stays */
void server_stop(struct server *server);   /* SIGTERM; its store stays */
void server_pause(struct server *server);  /* SIGSTOP, arrived: its sockets stay open and mute */
void server_resume(struct server *server); /* SIGCONT */
bool server_start_again(struct server *server, struct error *err) MUST_CHECK;

/*
 * One raw request to a NATS server, "$JS.API.CONSUMER.DELETE.S.c", behind every driver's back; of
 * several addresses in the URL the first that can be reached. No library is used: one that was
 * used before a fork gives all its copies the same inboxes.
 */
bool server_request(const char *url, const char *subject, const char *payload, struct buffer *reply,
                    struct error *err) MUST_CHECK;
bool server_request_within(const char *url, const char *subject, const char *payload,
                           int timeout_ms, struct buffer *reply, struct error *err) MUST_CHECK;

/* One raw command to a Redis server, "XGROUP DESTROY key group"; arguments with spaces in quotes.
 * The reply is as it comes over the wire. False also when the server refuses. */
bool server_command(const struct server *server, const char *command, struct buffer *reply,
                    struct error *err) MUST_CHECK;

#endif
