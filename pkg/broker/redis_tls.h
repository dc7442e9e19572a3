/*
 * redis_tls: TLS on a connection, where hiredis has it (from 1.0 on).
 *
 * The server has to have a certificate for the host of the URL, from an authority of the system's
 * or of $SSL_CERT_FILE. hiredis's own set-up checks the authority alone, and so would take the
 * certificate of anybody. The process has to ignore SIGPIPE: OpenSSL writes as if there were none.
 */
#ifndef BROKER_REDIS_TLS_H
#define BROKER_REDIS_TLS_H

#include "base/error.h"

#include <hiredis/hiredis.h>

/* The socket is connected and non-blocking; the handshake goes on as the handle reads and writes.
 */
bool redis_tls_start(redisContext *handle, const char *host, struct error *err) MUST_CHECK;

/* What went wrong on the handle: a certificate that is not accepted, above all. */
bool redis_tls_failed(const redisContext *handle, struct error *err);

#endif
