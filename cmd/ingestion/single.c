#include "single.h"

#include "ingestion.h"
#include "origin.h"

#include "base/clock.h"
#include "event/header.h"

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
    ingestion_count(single->ingestion, single->topic, ingestion_outcome_of(err), 1);
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
                    receipt->duplicate ? INGESTION_DUPLICATE : INGESTION_ACCEPTED, 1);
    http_reply_buffer(single->exchange, single->route->status, HTTP_JSON, &body);
}

static bool publish(struct single *single, struct error *err)
{
    const struct topic *topic = single->topic;
    AUTO(buffer_free) struct buffer subject = {0};
    AUTO(buffer_free) struct buffer body = {0};
    struct envelope envelope;

    topic_subject(topic, single->event, &subject);
    json_encode(topic->fields, single->event, &body);
    envelope_fill(&envelope, &single->origin, topic, topic_id(topic, single->event),
                  topic_time_ms(topic, single->event), CONTENT_JSON);

    struct broker_message message = {
        .stream = topic->stream,
        .subject = subject.data,
        .id = envelope.id,
        .headers = envelope.headers,
        .header_count = envelope.count,
        .data = body.data,
        .size = body.size,
    };
    return ingestion_publish(single->ingestion, single->exchange, &message, on_receipt, single,
                             err);
}

static struct topic_defaults defaults_of(const struct single *single)
{
    int64_t now_ms = clock_wall_ms(clock_system());
    bool timed =
        single->origin.is_cloudevent && single->origin.cloudevent.time_ms != JSON_TIME_ABSENT;

    return (struct topic_defaults){
        .id = origin_id(&single->origin, single->topic, 0),
        .time_ms = timed ? single->origin.cloudevent.time_ms : now_ms,
        .now_ms = now_ms,
        .arena = http_arena(single->exchange),
    };
}

/* Reads the event out of the body. */
static bool read_body(struct single *single, struct error *err)
{
    const struct cloudevent *cloudevent = &single->origin.cloudevent;
    size_t size;
    const char *json = http_body(single->exchange, &size);

    if (!origin_read(single->exchange, &single->origin, err))
        return false;
    if (single->origin.is_cloudevent) {
        json = cloudevent->data;
        size = cloudevent->size;
    }

    struct topic_defaults defaults = defaults_of(single);
    if (topic_accept(single->topic, &defaults, json, size, single->event, err))
        return true;
    return single->origin.is_cloudevent && cloudevent_locate(cloudevent, err);
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

    struct topic_defaults defaults = defaults_of(single);
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
