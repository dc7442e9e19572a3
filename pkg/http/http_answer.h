/*
 * http_answer: an exchange's answer as libmicrohttpd sends it, or, where libmicrohttpd cannot (in
 * the middle of a body), as bytes.
 */
#ifndef HTTP_HTTP_ANSWER_H
#define HTTP_HTTP_ANSWER_H

#include "http/http_exchange.h"

/* False: the connection is to be closed. */
bool http_answer_queue(struct http_exchange *exchange, struct MHD_Connection *mhd);

/* Writes the answer itself; libmicrohttpd must close the connection afterwards. */
void http_answer_at_once(struct http_exchange *exchange);

#endif
