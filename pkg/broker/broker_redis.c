/*
 * The Redis Streams driver: the vtable, and a broker's life. Its files:
 *
 * redis_link.c      a connection with deadlines, scripts      redis_publish.c   publishes
 * redis_topology.c  declare, trim, remove, recreate           redis_inspect.c   lag, peek, list
 * redis_fetch.c     leases and deliveries, the doorbell       redis_settle.c    what becomes of
 * them redis_announce.c  announce and listen                       redis_state.c     buckets and
 * watches
 */
#include "broker/redis_driver.h"

const struct broker_driver broker_redis = {.scheme = "redis"};
