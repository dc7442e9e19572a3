#include "http/http_exchange.h"

#include "base/clock.h"
#include "base/memory.h"
#include "http/http_problem.h"

#include <assert.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ARENA_BYTES 4096
#define KEPT_BYTES 4096 /* a larger buffer is not kept for the next request */

/* ---- life ---- */

struct http_exchange *http_exchange_begin(struct http_exchange *spare)
{
    struct http_exchange *exchange = spare;

    if (!exchange) {
        exchange = memory_alloc(sizeof(*exchange));
        pthread_mutex_init(&exchange->lock, NULL);
        exchange->arena = arena_new(ARENA_BYTES);
    }
    atomic_store(&exchange->references, 1);
    exchange->started_ns = clock_nanoseconds();
    return exchange;
}

void http_exchange_free(struct http_exchange *exchange)
{
    if (!exchange)
        return;
    arena_free(exchange->arena);
    buffer_free(&exchange->body);
    buffer_free(&exchange->reply);
    buffer_free(&exchange->part);
    pthread_mutex_destroy(&exchange->lock);
    free(exchange);
}

static void empty(struct buffer *buffer)
{
    if (buffer->capacity > KEPT_BYTES)
        buffer_free(buffer);
    else
        buffer_clear(buffer);
}

static void reset(struct http_exchange *exchange)
{
    size_t kept = offsetof(struct http_exchange, server);

    if (exchange->release)
        exchange->release(exchange->kept);
    arena_reset(exchange->arena);
    empty(&exchange->body);
    empty(&exchange->reply);
    empty(&exchange->part);
    memset((char *)exchange + kept, 0, sizeof(*exchange) - kept);
}

static bool was_last_reference(struct http_exchange *exchange)
{
    return atomic_fetch_sub(&exchange->references, 1) == 1;
}

struct http_exchange *http_exchange_over(struct http_exchange *exchange)
{
    if (!was_last_reference(exchange))
        return NULL;
    reset(exchange);
    return exchange;
}

static void drop(struct http_exchange *exchange)
{
    if (!was_last_reference(exchange))
        return;
    reset(exchange);
    http_exchange_free(exchange);
}

/* ---- who answers ---- */

/*
 * Called with the lock held. MHD_resume_connection only sets a flag and writes to an eventfd; it is
 * under the lock so that once the server's end has looked at every exchange, no resumption is still
 * on its way.
 */
static void wake(struct http_exchange *exchange)
{
    if (exchange->suspended)
        MHD_resume_connection(exchange->suspended);
    exchange->suspended = NULL;
}

static bool claim(struct http_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    bool mine = !exchange->answered;
    exchange->answered = true;
    pthread_mutex_unlock(&exchange->lock);
    return mine;
}

/* The end of every reply, whether it was in time (then the answer is complete now) or not. */
static void settle(struct http_exchange *exchange, bool mine)
{
    pthread_mutex_lock(&exchange->lock);
    bool was_away = exchange->away;
    exchange->away = false;
    if (mine) {
        exchange->ready = true;
        wake(exchange);
    }
    pthread_mutex_unlock(&exchange->lock);
    if (was_away)
        drop(exchange);
}

void http_exchange_stage(struct http_exchange *exchange, enum http_stage stage)
{
    pthread_mutex_lock(&exchange->lock);
    exchange->stage = stage;
    pthread_mutex_unlock(&exchange->lock);
}

bool http_exchange_is_settled(struct http_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    bool settled = exchange->ready || exchange->verdict;
    pthread_mutex_unlock(&exchange->lock);
    return settled;
}

/* Called with the lock held. Gives a verdict unless somebody has answered, or is just doing it. */
static bool give_verdict(struct http_exchange *exchange, int status)
{
    if (exchange->answered)
        return false;
    exchange->answered = true;
    exchange->verdict = status;
    return true;
}

/* Called with the lock held. The server's flag is set before it looks at every exchange under this
 * lock: either it finds the suspension made here, or the flag is found here.
 * Suspended or not it is away: its new owner comes back to it. */
static bool give_away(struct http_exchange *exchange, struct MHD_Connection *mhd)
{
    exchange->away = true;
    atomic_fetch_add(&exchange->references, 1);
    if (atomic_load(&exchange->server->closing)) {
        give_verdict(exchange, MHD_HTTP_SERVICE_UNAVAILABLE);
        return false;
    }
    MHD_suspend_connection(mhd);
    exchange->suspended = mhd;
    return true;
}

bool http_exchange_park(struct http_exchange *exchange, struct MHD_Connection *mhd)
{
    pthread_mutex_lock(&exchange->lock);
    bool parked = give_away(exchange, mhd);
    pthread_mutex_unlock(&exchange->lock);
    return parked;
}

bool http_exchange_park_body(struct http_exchange *exchange, struct MHD_Connection *mhd,
                             bool *again)
{
    bool parked = false;

    pthread_mutex_lock(&exchange->lock);
    *again = exchange->continued;
    exchange->continued = false;
    if (!*again && !exchange->ready)
        parked = give_away(exchange, mhd);
    pthread_mutex_unlock(&exchange->lock);
    return parked;
}

/* Called with the lock held. */
static enum http_expiry expire(struct http_exchange *exchange, const char **out_reason)
{
    bool waits = exchange->stage == HTTP_HANDLE || (exchange->stage == HTTP_BODY && exchange->away);

    if (waits && give_verdict(exchange, MHD_HTTP_GATEWAY_TIMEOUT)) {
        wake(exchange);
        return HTTP_EXPIRY_ANSWERED;
    }
    if (waits)
        return HTTP_EXPIRY_WAIT; /* its answer is on the way */
    *out_reason = exchange->stage == HTTP_HEADERS ? "header_timeout"
                  : exchange->stage == HTTP_BODY  ? "body_timeout"
                                                  : "send_timeout";
    return HTTP_EXPIRY_CLOSE;
}

enum http_expiry http_exchange_expire(struct http_exchange *exchange, const char **out_reason)
{
    pthread_mutex_lock(&exchange->lock);
    enum http_expiry expiry = expire(exchange, out_reason);
    pthread_mutex_unlock(&exchange->lock);
    return expiry;
}

void http_exchange_abandon(struct http_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    exchange->answered = true;
    if (!exchange->ready && !exchange->verdict)
        exchange->verdict = MHD_HTTP_SERVICE_UNAVAILABLE;
    wake(exchange);
    pthread_mutex_unlock(&exchange->lock);
}

static const struct http_answer *refuse(struct http_exchange *exchange, int status)
{
    struct http_answer *refusal = &exchange->refusal;
    struct error err;

    if (status == MHD_HTTP_GATEWAY_TIMEOUT)
        error_set(&err, ERROR_TIMEOUT, "no answer within the deadline");
    else if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
        error_set(&err, ERROR_CLOSED, "the server is stopping");
    else
        error_set(&err, ERROR_INTERNAL, "the handler gave no answer");
    refusal->status = status;
    refusal->type = HTTP_PROBLEM;
    http_problem_write(&exchange->part, status, &err);
    refusal->body = exchange->part.data;
    refusal->size = exchange->part.size;
    return refusal;
}

/* A verdict goes before an answer: where both are there, the answer's owner came too late, or the
 * server did not wait for him. */
const struct http_answer *http_exchange_choose(struct http_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    exchange->stage = HTTP_SENDING;
    exchange->answered = true;
    bool ready = exchange->ready;
    int verdict = exchange->verdict;
    pthread_mutex_unlock(&exchange->lock);

    if (ready && !verdict)
        return &exchange->answer;
    return refuse(exchange, verdict ? verdict : MHD_HTTP_INTERNAL_SERVER_ERROR);
}

/* ---- the request, for handlers ---- */

const struct http_route *http_route_of(const struct http_exchange *exchange)
{
    return exchange->endpoint->route;
}

const void *http_row(const struct http_exchange *exchange)
{
    return exchange->endpoint->route->row;
}

const char *http_parameter(const struct http_exchange *exchange, const char *name)
{
    size_t size = strlen(name);

    for (size_t i = 0; i < exchange->request.parameter_count; i++) {
        const struct http_parameter *parameter = &exchange->request.parameters[i];
        if (parameter->name_size == size && memcmp(parameter->name, name, size) == 0)
            return parameter->value;
    }
    return NULL;
}

const char *http_query(const struct http_exchange *exchange, const char *name)
{
    for (size_t i = 0; i < exchange->request.query_count; i++)
        if (strcmp(exchange->request.query[i].name, name) == 0)
            return exchange->request.query[i].value;
    return NULL;
}

const char *http_query_name(const struct http_exchange *exchange, size_t i)
{
    return i < exchange->request.query_count ? exchange->request.query[i].name : NULL;
}

const char *http_header(const struct http_exchange *exchange, const char *name)
{
    return http_request_find(exchange->request.headers, exchange->request.header_count, name);
}

const char *http_body(const struct http_exchange *exchange, size_t *out_size)
{
    *out_size = exchange->body.size;
    return exchange->body.data ? exchange->body.data : "";
}

bool http_is(const struct http_exchange *exchange, const char *media_type)
{
    const char *type = http_header(exchange, "Content-Type");
    size_t size = strlen(media_type);

    if (!type)
        return false;
    type += strspn(type, " \t");
    return strncasecmp(type, media_type, size) == 0 && strcspn(type + size, "; \t") == 0;
}

int http_remaining_ms(const struct http_exchange *exchange)
{
    int64_t left = exchange->deadline_ms - clock_nanoseconds() / 1000000;

    return left > 0 ? (int)left : 0;
}

struct arena *http_arena(struct http_exchange *exchange)
{
    return exchange->arena;
}

void http_keep(struct http_exchange *exchange, void *state, void (*release)(void *state))
{
    exchange->kept = state;
    exchange->release = release;
}

void *http_kept(const struct http_exchange *exchange)
{
    return exchange->kept;
}

void http_stream(struct http_exchange *exchange, http_receive *receive)
{
    exchange->receive = receive;
}

void http_continue(struct http_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    bool was_away = exchange->away;
    if (was_away) {
        exchange->away = false;
        wake(exchange);
    } else {
        exchange->continued = true; /* the receiver has not even returned yet */
    }
    pthread_mutex_unlock(&exchange->lock);
    if (was_away)
        drop(exchange);
}

/* ---- the reply ---- */

void http_reply_header(struct http_exchange *exchange, const char *name, const char *value)
{
    struct http_answer *answer = &exchange->answer;

    assert(answer->header_count < HTTP_REPLY_HEADERS_MAX);
    answer->headers[answer->header_count++] =
        /* a line break would begin a header of somebody else's making */
        (struct http_pair){name, arena_copy(exchange->arena, value, strcspn(value, "\r\n"))};
}

static void fill(struct http_exchange *exchange, int status, const char *type)
{
    struct http_answer *answer = &exchange->answer;

    assert(status >= 200 && status < HTTP_STATUS_MIN + HTTP_STATUS_COUNT);
    answer->status = status;
    answer->type = type ? arena_copy(exchange->arena, type, strlen(type)) : NULL;
    answer->body = exchange->reply.data;
    answer->size = exchange->reply.size;
}

void http_reply(struct http_exchange *exchange, int status, const char *type, const void *body,
                size_t size)
{
    bool mine = claim(exchange);

    if (mine) {
        buffer_append(&exchange->reply, body, size);
        fill(exchange, status, type);
    }
    settle(exchange, mine);
}

void http_reply_buffer(struct http_exchange *exchange, int status, const char *type,
                       struct buffer *body)
{
    bool mine = claim(exchange);

    if (mine) {
        buffer_free(&exchange->reply);
        exchange->reply = *body;
        *body = (struct buffer){0};
        fill(exchange, status, type);
    }
    buffer_free(body);
    settle(exchange, mine);
}

void http_reply_stream(struct http_exchange *exchange, int status, const char *type,
                       http_produce *produce)
{
    bool mine = claim(exchange);

    if (mine) {
        fill(exchange, status, type);
        exchange->answer.produce = produce;
    }
    settle(exchange, mine);
}

void http_problem_status(struct http_exchange *exchange, int status, const struct error *err)
{
    bool mine = claim(exchange);

    if (mine) {
        http_problem_write(&exchange->reply, status, err);
        fill(exchange, status, HTTP_PROBLEM);
    }
    settle(exchange, mine);
}

void http_problem(struct http_exchange *exchange, const struct error *err)
{
    http_problem_status(exchange, http_status_of(err), err);
}
