/* request: one POST, of one line or of many, from its body to its answer. */
#ifndef WRITER_REQUEST_H
#define WRITER_REQUEST_H

#include "http/http.h"

void request_take(void *context, struct http_exchange *exchange); /* a handler; the writer's */

#endif
