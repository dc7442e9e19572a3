/*
 * prefer: the header Prefer, RFC 7240, as far as it is known here.
 */
#ifndef INGESTION_PREFER_H
#define INGESTION_PREFER_H

#include <stdbool.h>

#define PREFER_WAIT_ABSENT (-1)
#define PREFER_WAIT_MAX_S 86400

struct prefer {
    bool respond_async;
    int wait_s; /* at most PREFER_WAIT_MAX_S */
};

/* header may be NULL. What is unknown or malformed is ignored, as the RFC wants it; of a preference
 * that comes twice the first counts. */
struct prefer prefer_read(const char *header);

#endif
