/*
 * http_dispatch: libmicrohttpd's side of the server: its callbacks, and how a request goes from its
 * first line to its answer.
 *
 * libmicrohttpd takes an answer only at two moments: right after the headers, and then it closes
 * the connection afterwards; or when the whole body has been read. So an early answer is given at
 * once where the client waits for it (Expect: 100-continue) or would send much, and otherwise after
 * the rest of the body, which is thrown away. In the middle of a body that is too long to throw
 * away, we write the answer to the socket ourselves.
 */
#ifndef HTTP_HTTP_DISPATCH_H
#define HTTP_HTTP_DISPATCH_H

#include "http/http_server.h"

/* NULL when libmicrohttpd does not start. */
struct MHD_Daemon *http_dispatch_start(struct http_server *server, int listener);

#endif
