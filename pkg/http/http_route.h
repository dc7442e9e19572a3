/*
 * http_route: which row of the table a path belongs to, and what is counted for that row.
 */
#ifndef HTTP_HTTP_ROUTE_H
#define HTTP_HTTP_ROUTE_H

#include "http/http.h"
#include "http/http_request.h"

#include <stdatomic.h>

#define HTTP_STATUS_MIN 100
#define HTTP_STATUS_COUNT 500

/* The two families, and the cells of one (path, method), found once and then kept. */
struct http_families {
    struct metrics_family *requests, *seconds;
};

struct http_meter {
    const char *path, *method;
    _Atomic(struct metrics_cell *) seconds;
    _Atomic(struct metrics_cell *) by_status[HTTP_STATUS_COUNT];
};

struct http_endpoint {
    const struct http_route *route;
    void *context; /* of its handlers */
    struct http_meter meter, head;
};

/* Fills in request->parameters with what they are in the path, still encoded. The first row that
 * matches wins. */
bool http_route_matches(const struct http_route *route, struct http_request *request);

/* Decodes the parameters; false when one is not UTF-8. */
bool http_route_bind(struct http_request *request, struct arena *arena) MUST_CHECK;

void http_meter_count(struct http_meter *meter, const struct http_families *families, int status,
                      double seconds);
/* For what has no meter; looks the cells up. labels are the path and the method. */
void http_families_count(const struct http_families *families, const char *const labels[2],
                         int status, double seconds);
void http_families_start(struct http_families *families, struct metrics *metrics);

#endif
