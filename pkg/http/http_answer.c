#include "http/http_answer.h"

#include "base/clock.h"
#include "http/http_connection.h"
#include "http/http_server.h"

#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#define STREAM_BLOCK 16384
#define ADDED_MAX 8
#define SEND_MS 30000 /* for an answer to be taken, or a part of a long one */

/* Headers that every answer of its kind has. */
struct added {
    struct http_pair headers[ADDED_MAX];
    size_t count;
};

static void add(struct added *added, const char *name, const char *value)
{
    added->headers[added->count++] = (struct http_pair){name, value};
}

static bool has(const struct http_answer *answer, const char *name)
{
    return http_request_find(answer->headers, answer->header_count, name) != NULL;
}

static bool is_json(const char *type)
{
    static const char *const types[] = {HTTP_JSON, HTTP_NDJSON, HTTP_PROBLEM};

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strncmp(type, types[i], strlen(types[i])) == 0)
            return true;
    return false;
}

static void add_headers(const struct http_exchange *exchange, const struct http_answer *answer,
                        struct added *added)
{
    const char *origin = http_server_allowed_origin(exchange->server, exchange);

    if (answer->type)
        add(added, "Content-Type", answer->type);
    add(added, "X-Content-Type-Options", "nosniff");
    if (answer->type && is_json(answer->type) && !has(answer, "Cache-Control"))
        add(added, "Cache-Control", "no-store");
    if (answer->status == MHD_HTTP_SERVICE_UNAVAILABLE && !has(answer, "Retry-After"))
        add(added, "Retry-After", "1");
    if (exchange->server->options.origins)
        add(added, "Vary", "Origin");
    if (origin)
        add(added, "Access-Control-Allow-Origin", origin);
    if (atomic_load(&exchange->server->stopping))
        add(added, "Connection", "close");
}

/* Takes what produce made in pieces of the size that libmicrohttpd has room for. */
static ssize_t next_part(void *argument, uint64_t position, char *out, size_t size)
{
    struct http_exchange *exchange = argument;
    struct buffer *part = &exchange->part;

    (void)position;
    if (exchange->sent == part->size) {
        buffer_clear(part);
        exchange->sent = 0;
        exchange->answer.produce(exchange->kept, part);
        if (!part->size)
            return MHD_CONTENT_READER_END_OF_STREAM;
    }
    size_t left = part->size - exchange->sent;
    size_t count = left < size ? left : size;
    memcpy(out, part->data + exchange->sent, count);
    exchange->sent += count;
    /* A reader that takes something may take as long as it likes in all. */
    atomic_store(&exchange->connection->due_ms, http_now_ms() + SEND_MS);
    return (ssize_t)count;
}

static struct MHD_Response *response_of(struct http_exchange *exchange,
                                        const struct http_answer *answer)
{
    if (answer->produce)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, next_part,
                                                 exchange, NULL);
    return MHD_create_response_from_buffer(answer->size, (void *)answer->body,
                                           MHD_RESPMEM_PERSISTENT);
}

/* Before the client can have the answer, so that who has it finds it counted. */
static void count(struct http_exchange *exchange, int status)
{
    const struct http_families *families = &exchange->server->families;
    double seconds = (double)(clock_nanoseconds() - exchange->started_ns) / 1e9;
    const char *method = exchange->request.method;
    const char *path = exchange->template ? exchange->template : "unmatched";

    exchange->status = status;
    if (exchange->endpoint)
        http_meter_count(strcmp(method, "HEAD") == 0 ? &exchange->endpoint->head
                                                     : &exchange->endpoint->meter,
                         families, status, seconds);
    else
        http_families_count(families, (const char *const[]){path, method}, status, seconds);
}

bool http_answer_queue(struct http_exchange *exchange, struct MHD_Connection *mhd)
{
    atomic_store(&exchange->connection->due_ms, http_now_ms() + SEND_MS);
    const struct http_answer *answer = http_exchange_choose(exchange);
    struct MHD_Response *response = response_of(exchange, answer);
    struct added added = {.count = 0};

    if (!response)
        return false;
    count(exchange, answer->status);
    add_headers(exchange, answer, &added);
    for (size_t i = 0; i < added.count; i++)
        MHD_add_response_header(response, added.headers[i].name, added.headers[i].value);
    for (size_t i = 0; i < answer->header_count; i++)
        MHD_add_response_header(response, answer->headers[i].name, answer->headers[i].value);
    enum MHD_Result queued = MHD_queue_response(mhd, (unsigned)answer->status, response);
    MHD_destroy_response(response);
    return queued == MHD_YES;
}

static void print_headers(struct buffer *text, const struct http_pair *headers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(headers[i].name, "Connection") != 0)
            buffer_print(text, "%s: %s\r\n", headers[i].name, headers[i].value);
}

void http_answer_at_once(struct http_exchange *exchange)
{
    const struct http_answer *answer = http_exchange_choose(exchange);
    struct added added = {.count = 0};
    struct buffer text = {0};
    char date[64];
    struct tm now;
    time_t seconds = time(NULL);

    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&seconds, &now));
    count(exchange, answer->status);
    add_headers(exchange, answer, &added);
    buffer_print(
        &text, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\nContent-Length: %zu\r\n",
        answer->status, MHD_get_reason_phrase_for((unsigned)answer->status), date, answer->size);
    print_headers(&text, added.headers, added.count);
    print_headers(&text, answer->headers, answer->header_count);
    buffer_text(&text, "\r\n");
    if (answer->size)
        buffer_append(&text, answer->body, answer->size);

    /* What does not fit into an empty socket is lost: the client is at fault, and nothing waits. */
    if (send(exchange->connection->fd, text.data, text.size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        exchange->connection->linger = false;
    buffer_free(&text);
}
