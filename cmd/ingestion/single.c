#include "single.h"

#include "body.h"
#include "ingestion.h"
#include "parcel.h"

/* One request on its way; it lives in the exchange's arena. */
struct single {
    struct ingestion *ingestion;
    struct http_exchange *exchange;
    const struct single_route *route;
    const struct topic *topic;
    struct origin origin;
    void *event;
};

static void refuse(struct single *single, const struct error *err)
{
    ingestion_count(single->ingestion, single->topic, ingestion_outcome_of(err, false), 1);
    http_problem(single->exchange, err);
}

static void on_receipt(void *context, const struct broker_receipt *receipt)
{
    struct single *single = context;
    struct single_result result = {
        .topic = single->topic, .event = single->event, .receipt = receipt};
    struct buffer body = {0};
    struct json_writer writer = {.out = &body};

    struct error err = ingestion_answered(single->ingestion, receipt);
    if (err.code != ERROR_NONE) {
        refuse(single, &err);
        return;
    }
    json_open(&writer, NULL, '{');
    single->route->answer(&result, &writer);
    json_close(&writer, '}');
    ingestion_count(single->ingestion, single->topic,
                    ingestion_outcome_of(&err, receipt->duplicate), 1);
    http_reply_buffer(single->exchange, single->route->status, HTTP_JSON, &body);
}

static bool publish(struct single *single, struct error *err)
{
    AUTO(parcel_free) struct parcel parcel = {0};

    parcel_fill(&parcel, single->topic, &single->origin, single->event);
    struct broker_message message = parcel_message(&parcel, single->topic);
    return ingestion_publish(single->ingestion, &message,
                             ingestion_publish_ms(single->ingestion, single->exchange), on_receipt,
                             single, err);
}

/* Reads the event out of the body. */
static bool read_body(struct single *single, struct error *err)
{
    return body_accept(single->exchange, single->topic, &single->origin, single->event, err);
}

/* Reads the event out of the query: the message as its own JSON, so that it is checked as any. */
static bool read_query(struct single *single, struct error *err)
{
    const char *message = http_query(single->exchange, "message");
    AUTO(buffer_free) struct buffer json = {0};
    struct json_writer writer = {.out = &json};

    if (!origin_read_headers(single->exchange, &single->origin, err))
        return false;
    json_open(&writer, NULL, '{');
    json_text(&writer, "message", message ? message : single->ingestion->settings->default_message);
    json_close(&writer, '}');

    struct topic_defaults defaults =
        body_defaults(single->exchange, single->topic, &single->origin);
    return topic_accept(single->topic, &defaults, json.data, json.size, single->event, err);
}

static void take(struct ingestion *ingestion, struct http_exchange *exchange,
                 bool (*read)(struct single *single, struct error *err))
{
    struct single *single = arena_alloc(http_arena(exchange), sizeof(*single));
    const struct single_route *route = http_row(exchange);
    struct error err;

    *single = (struct single){
        .ingestion = ingestion,
        .exchange = exchange,
        .route = route,
        .topic = topic_find(route->topic),
    };
    single->event = arena_alloc(http_arena(exchange), single->topic->size);

    if (!read(single, &err)) {
        refuse(single, &err);
        return;
    }
    http_defer(exchange);
    if (!publish(single, &err))
        refuse(single, &err);
}

void single_post(void *context, struct http_exchange *exchange)
{
    take(context, exchange, read_body);
}

void single_send(void *context, struct http_exchange *exchange)
{
    take(context, exchange, read_query);
}
