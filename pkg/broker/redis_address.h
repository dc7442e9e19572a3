/* redis_address: what a URL says of a server. See redis_link.h, which parses and frees it. */
#ifndef BROKER_REDIS_ADDRESS_H
#define BROKER_REDIS_ADDRESS_H

#include <stdbool.h>

struct redis_address {
    char *host, *port;
    char *user, *password; /* NULL: none */
    char *database;        /* NULL: the first */
    bool tls;
};

#endif
