/*
 * health: what the forerunners' health pages say. Whether to send traffic here is /readyz.
 *
 * A handler must not wait, so they tell what broker_ping found last: check_broker of /readyz asks
 * twice a second.
 */
#ifndef INGESTION_HEALTH_H
#define INGESTION_HEALTH_H

#include "http/http.h"

http_handler health_get;  /* GET /health */
http_handler health_getz; /* GET /healthz */

bool health_check_broker(void *context, struct error *err); /* for /readyz */

#endif
