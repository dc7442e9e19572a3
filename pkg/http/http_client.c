#include "http/http_client.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TIMEOUT_MS 10000
#define ANSWER_MAX ((size_t)1024 * 1024)
#define HEAD_MAX ((size_t)64 * 1024) /* of all header lines of an answer */
#define CURL_TOO_LARGE 100           /* CURLE_TOO_LARGE, which libcurl has since 8.6 */
#define CONNECTIONS_KEPT 4
#define RETRY_AFTER_DIGITS 9
#define HEADER_TYPE "Content-Type: "

struct http_client {
    CURLM *multi; /* keeps the connections and the names it looked up */
    char *user_agent;
    atomic_bool interrupted;
    struct buffer body, type; /* of the last answer */
};

/* One call; it lives on the caller's stack. */
struct transfer {
    struct http_client *client;
    const struct http_call *call;
    CURL *easy;
    CURLU *url;
    struct curl_slist *headers;
    int64_t until_ms;
    size_t answer_max, head_size;
    bool sent;      /* the request is on its way, or was */
    bool head_done; /* the answer's head came to its end */
    bool too_large; /* the answer */
    char why[CURL_ERROR_SIZE];
};

/* ---- life ---- */

/* libcurl wants this once before anything else, and never from two threads. */
static void start_library(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
}

struct http_client *http_client_new(const char *user_agent)
{
    static pthread_once_t started = PTHREAD_ONCE_INIT;
    struct http_client *client = memory_alloc(sizeof(*client));

    pthread_once(&started, start_library);
    client->multi = curl_multi_init();
    if (!client->multi)
        abort(); /* out of memory, or of file descriptors */
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
    client->user_agent = memory_text(user_agent);
    return client;
}

void http_client_free(struct http_client *client)
{
    if (!client)
        return;
    curl_multi_cleanup(client->multi);
    buffer_free(&client->body);
    buffer_free(&client->type);
    free(client->user_agent);
    free(client);
}

void http_client_interrupt(struct http_client *client)
{
    client->interrupted = true; /* before the wake-up: who is woken looks at it */
    curl_multi_wakeup(client->multi);
}

/* ---- what libcurl calls ---- */

static bool may_repeat(const char *method)
{
    static const char *const idempotent[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"};

    for (size_t i = 0; i < ARRAY_LEN(idempotent); i++)
        if (strcmp(method, idempotent[i]) == 0)
            return true;
    return false;
}

/*
 * A connection stands, and the request is sent next. When a connection that was kept breaks before
 * the first byte of an answer, libcurl sends the request again over another one without a word,
 * although the server may have acted on it. That is for the caller to decide.
 */
static int before_request(void *context, char *peer_ip, char *own_ip, int peer_port, int own_port)
{
    struct transfer *transfer = context;

    (void)peer_ip, (void)own_ip, (void)peer_port, (void)own_port;
    if (transfer->sent && !may_repeat(transfer->call->method))
        return CURL_PREREQFUNC_ABORT;
    transfer->sent = true;
    return CURL_PREREQFUNC_OK;
}

/* Returning less than it was given ends the transfer. */
static size_t on_body(char *bytes, size_t one, size_t size, void *context)
{
    struct transfer *transfer = context;
    struct buffer *body = &transfer->client->body;

    (void)one;
    if (size > transfer->answer_max - body->size) {
        transfer->too_large = true;
        return 0;
    }
    buffer_append(body, bytes, size);
    return size;
}

static size_t on_header(char *line, size_t one, size_t size, void *context)
{
    struct transfer *transfer = context;

    (void)one;
    if (size >= 5 && memcmp(line, "HTTP/", 5) == 0)
        transfer->head_done = false; /* that was the head of a 1xx */
    transfer->head_done |= *line == '\r' || *line == '\n';
    transfer->head_size += size;
    transfer->too_large |= transfer->head_size > HEAD_MAX;
    return transfer->too_large ? 0 : size;
}

/* ---- the request ---- */

static bool is_token(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        bool alphanumeric =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alphanumeric && (!c || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return size > 0;
}

static bool is_header(const char *line)
{
    const char *colon = strchr(line, ':');

    if (!colon || !is_token(line, (size_t)(colon - line)))
        return false;
    for (const char *c = colon; *c; c++)
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
            return false;
    return true;
}

static void add_line(struct transfer *transfer, const char *line)
{
    struct curl_slist *longer = curl_slist_append(transfer->headers, line);

    if (!longer)
        abort();
    transfer->headers = longer;
}

/* To libcurl "Name:" means to leave a header of its own out; one without a value is "Name;". */
static void add_header(struct transfer *transfer, const char *line)
{
    AUTO(buffer_free) struct buffer empty = {0};
    const char *colon = strchr(line, ':');

    if (colon[1 + strspn(colon + 1, " \t")]) {
        add_line(transfer, line);
        return;
    }
    buffer_append(&empty, line, (size_t)(colon - line));
    buffer_text(&empty, ";");
    add_line(transfer, empty.data);
}

static bool add_headers(struct transfer *transfer, struct error *err)
{
    const struct http_call *call = transfer->call;
    AUTO(buffer_free) struct buffer type = {0};

    add_line(transfer, "Expect:"); /* none: it would wait for a 100 that few servers send */
    buffer_text(&type, call->type ? HEADER_TYPE : "Content-Type:");
    buffer_text(&type, call->type ? call->type : "");
    if (!is_header(type.data))
        return error_set(err, ERROR_INVALID, "a Content-Type with a control character");
    add_line(transfer, type.data);
    for (size_t i = 0; call->headers && call->headers[i]; i++) {
        if (!is_header(call->headers[i]))
            return error_set(err, ERROR_INVALID, "header %zu is not \"Name: value\"", i + 1);
        add_header(transfer, call->headers[i]);
    }
    return true;
}

static bool read_url(struct transfer *transfer, struct error *err)
{
    transfer->url = curl_url();
    if (!transfer->url)
        abort();
    CURLUcode code = curl_url_set(transfer->url, CURLUPART_URL, transfer->call->url, 0);
    if (code != CURLUE_OK)
        return error_set(err, ERROR_INVALID, "the URL: %s", curl_url_strerror(code));
    return true;
}

static void set_method(const struct transfer *transfer)
{
    const struct http_call *call = transfer->call;
    CURL *easy = transfer->easy;
    bool bare = strcmp(call->method, "GET") == 0 || strcmp(call->method, "DELETE") == 0 ||
                strcmp(call->method, "OPTIONS") == 0;

    if (strcmp(call->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (call->type || !bare) { /* without a body it says so: Content-Length: 0 */
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                         call->type ? (curl_off_t)call->size : (curl_off_t)0);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->type && call->size ? call->body : "");
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
}

static void set_options(struct transfer *transfer)
{
    CURL *easy = transfer->easy;
    long timeout_ms = transfer->call->timeout_ms > 0 ? transfer->call->timeout_ms : TIMEOUT_MS;

    curl_easy_setopt(easy, CURLOPT_CURLU, transfer->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* nor one that the environment names */
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* The deadline is ours; with this libcurl shares it out among the addresses of a name. */
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
    /* A look-up that is given up may go on in its thread: nobody waits for its end. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, transfer->client->user_agent);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->why);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    set_method(transfer);
}

/* ---- the call ---- */

static bool fail_interrupted(struct error *err)
{
    return error_set(err, ERROR_CLOSED, "the call was interrupted");
}

static bool fail_late(const struct transfer *transfer, struct error *err)
{
    if (transfer->sent)
        return error_set(err, ERROR_TIMEOUT, "no whole answer in time");
    return error_set(err, ERROR_UNAVAILABLE, "no connection in time");
}

/* libcurl has its own limit for one line of a head, and used to call that out of memory. */
static bool is_line_too_long(const struct transfer *transfer, CURLcode code)
{
    return transfer->sent && !transfer->head_done &&
           (code == CURLE_OUT_OF_MEMORY || (int)code == CURL_TOO_LARGE);
}

/* What libcurl's code means depends on how far the call had come. */
static bool fail(const struct transfer *transfer, CURLcode code, struct error *err)
{
    const char *why = transfer->why[0] ? transfer->why : curl_easy_strerror(code);

    if (transfer->too_large || is_line_too_long(transfer, code))
        return error_set(err, ERROR_TOO_LARGE, "the answer has more than %zu bytes",
                         transfer->head_done ? transfer->answer_max : HEAD_MAX);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return fail_late(transfer, err);
    if (transfer->sent && code == CURLE_ABORTED_BY_CALLBACK)
        return error_set(err, ERROR_UNKNOWN, "the connection ended before an answer");
    if (transfer->sent)
        return error_set(err, ERROR_UNKNOWN, "no whole answer: %s", why);
    if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
        return error_set(err, ERROR_INVALID, "the URL: %s", why);
    return error_set(err, ERROR_UNAVAILABLE, "%s", why);
}

static bool is_done(const struct transfer *transfer, CURLcode *out_code)
{
    int left;

    for (const CURLMsg *told; (told = curl_multi_info_read(transfer->client->multi, &left));)
        if (told->msg == CURLMSG_DONE && told->easy_handle == transfer->easy) {
            *out_code = told->data.result;
            return true;
        }
    return false;
}

/* To libcurl a head that its connection cuts off is an answer like any other. */
static bool judge(const struct transfer *transfer, CURLcode result, struct error *err)
{
    if (result == CURLE_OK && !transfer->head_done)
        result = CURLE_GOT_NOTHING;
    return result == CURLE_OK || fail(transfer, result, err);
}

static bool fail_driving(CURLMcode code, struct error *err)
{
    return error_set(err, ERROR_UNKNOWN, "libcurl: %s", curl_multi_strerror(code));
}

/* Drives the transfer to its end, the deadline's or the interruption. */
static bool drive(struct transfer *transfer, struct error *err)
{
    struct http_client *client = transfer->client;
    CURLcode result;
    int running;

    for (;;) {
        CURLMcode code = curl_multi_perform(client->multi, &running);
        if (code != CURLM_OK)
            return fail_driving(code, err);
        if (is_done(transfer, &result))
            return judge(transfer, result, err);

        /* After perform, which may swallow a wake-up, and before poll, which one ends. */
        if (client->interrupted)
            return fail_interrupted(err);
        int64_t left_ms = transfer->until_ms - clock_steady_ms(clock_system());
        if (left_ms <= 0)
            return fail_late(transfer, err);
        code = curl_multi_poll(client->multi, NULL, 0, (int)left_ms, NULL);
        if (code != CURLM_OK)
            return fail_driving(code, err);
    }
}

/* -1 unless it is a number of seconds; a date is none. */
static int64_t retry_after_ms(CURL *easy)
{
    struct curl_header *header;
    int64_t seconds = 0;

    if (curl_easy_header(easy, "Retry-After", 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return -1;
    size_t digits = strspn(header->value, "0123456789");
    if (!digits || header->value[digits])
        return -1;
    for (size_t i = 0; i < digits; i++)
        seconds = i < RETRY_AFTER_DIGITS ? seconds * 10 + (header->value[i] - '0') : seconds;
    return seconds * 1000;
}

static void read_result(struct transfer *transfer, struct http_result *out)
{
    struct http_client *client = transfer->client;
    const char *type = NULL;
    long status = 0;

    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &type);
    buffer_text(&client->type, type ? type : "");
    buffer_append(&client->body, "", 0); /* there is a NUL even when nothing came */
    *out = (struct http_result){
        .status = (int)status,
        .type = client->type.data,
        .body = client->body.data,
        .size = client->body.size,
        .retry_after_ms = retry_after_ms(transfer->easy),
    };
}

static bool run(struct transfer *transfer, struct http_result *out, struct error *err)
{
    struct http_client *client = transfer->client;

    if (!read_url(transfer, err) || !add_headers(transfer, err))
        return false;
    set_options(transfer);
    CURLMcode code = curl_multi_add_handle(client->multi, transfer->easy);
    if (code != CURLM_OK)
        return error_set(err, ERROR_INTERNAL, "libcurl: %s", curl_multi_strerror(code));
    bool done = drive(transfer, err);
    if (done)
        read_result(transfer, out);
    curl_multi_remove_handle(client->multi, transfer->easy); /* unfinished: its connection ends */
    return done;
}

bool http_client_call(struct http_client *client, const struct http_call *call,
                      struct http_result *out, struct error *err)
{
    int timeout_ms = call->timeout_ms > 0 ? call->timeout_ms : TIMEOUT_MS;
    struct transfer transfer = {
        .client = client,
        .call = call,
        .until_ms = clock_steady_ms(clock_system()) + timeout_ms,
        .answer_max = call->answer_max ? call->answer_max : ANSWER_MAX,
    };

    buffer_clear(&client->body);
    buffer_clear(&client->type);
    if (client->interrupted)
        return fail_interrupted(err);
    if (!is_token(call->method, strlen(call->method)))
        return error_set(err, ERROR_INVALID, "the method is not a word");

    /* A handle of its own: nothing of an earlier call can be left in it. */
    transfer.easy = curl_easy_init();
    if (!transfer.easy)
        abort();
    bool done = run(&transfer, out, err);
    curl_easy_cleanup(transfer.easy);
    curl_url_cleanup(transfer.url);
    curl_slist_free_all(transfer.headers);
    return done;
}
