/* single: one event a request. */
#ifndef INGESTION_SINGLE_H
#define INGESTION_SINGLE_H

#include "base/json.h"
#include "broker/broker.h"
#include "event/topic.h"
#include "http/http.h"

/* What the answer is made of. */
struct single_result {
    const struct topic *topic;
    const void *event;
    const struct broker_receipt *receipt;
};

/* A route's row. */
struct single_route {
    const char *topic;
    int status;
    void (*answer)(const struct single_result *result, struct json_writer *out); /* its members */
};

/* The body is the event. */
http_handler single_post;

/* GET /send?message=: the query is the event. */
http_handler single_send;

#endif
