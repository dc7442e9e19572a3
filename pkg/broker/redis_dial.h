/*
 * redis_dial: sockets to where an address points, one address of a name after the other.
 *
 * Ownership  A socket is the caller's. Sockets are non-blocking; one that is returned may still be
 *            connecting: it is writable when that is decided, and redis_dial_outcome tells.
 */
#ifndef BROKER_REDIS_DIAL_H
#define BROKER_REDIS_DIAL_H

#include "base/error.h"

#include <netdb.h>
#include <stdint.h>

struct redis_dial {
    struct addrinfo *all, *next; /* next NULL: look the name up (again) */
};

void redis_dial_free(struct redis_dial *dial);

/* Starts to connect to the next address of the host, after looking it up where that is needed.
 * False: no address is left, or the name is not known by until_ms (steady). */
bool redis_dial_next(struct redis_dial *dial, const char *host, const char *port, int64_t until_ms,
                     int *out_socket, struct error *err) MUST_CHECK;

/* Why the socket could not connect; 0: it is connected. */
int redis_dial_outcome(int socket);

#endif
