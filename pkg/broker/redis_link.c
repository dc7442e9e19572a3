#include "broker/redis_link.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/memory.h"
#include "broker/redis_address.h"
#include "broker/redis_dial.h"
#include "broker/redis_tls.h"
#include "resilience/backoff.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ATTEMPT_MS 3000
#define READ_BYTES 131072 /* a batch is a megabyte */
#define REPLY_MAX_BYTES ((size_t)256 * 1024 * 1024)
#define HANDSHAKE_LOOK_MS 5
#define GREETINGS_MAX 3
#define SHA_SIZE 40

static const struct backoff pauses = {.first_ms = 50, .most_ms = 2000};

enum state { CLOSED, CONNECTING, GREETING, READY };

struct loaded {
    const struct redis_script *script;
    char sha[SHA_SIZE + 1];
};

struct redis_link {
    const struct redis_address *address; /* borrowed */
    char *name;
    redis_link_changed *changed;
    void *context;
    int wake;

    enum state state;
    redisContext *handle; /* NULL when CLOSED: the socket and the parser */
    struct redis_dial dial;
    int64_t attempt_until_ms, next_ms;
    unsigned failures;       /* since the last connection */
    unsigned connections;    /* so far */
    bool down_is_told;       /* that it is away */
    struct error last_error; /* why it is not connected */

    const char *greetings[GREETINGS_MAX]; /* whose replies are still to come, the next first */
    size_t greeting_count;

    struct buffer collected; /* commands, before they are on their way */
    struct buffer out;       /* what is being written; the first `written` bytes are */
    size_t written, fed;     /* fed: bytes read since the last whole reply */
    size_t expected;         /* replies still to come, collected commands included */
    size_t collected_count;
    bool heard;   /* the server has said something on this connection */
    bool touched; /* bytes of expected commands were written: they may have happened */
    enum error_code lost;

    struct loaded *scripts;
    size_t script_count;
};

static int64_t steady_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* ---- writing commands as RESP ---- */

static void write_count(struct buffer *out, char kind, size_t count)
{
    char digits[24];
    size_t at = sizeof(digits);

    digits[--at] = '\n';
    digits[--at] = '\r';
    do {
        digits[--at] = (char)('0' + count % 10);
    } while (count /= 10);
    digits[--at] = kind;
    buffer_append(out, digits + at, sizeof(digits) - at);
}

static void write_argument(struct buffer *out, const char *bytes, size_t size)
{
    write_count(out, '$', size);
    buffer_append(out, bytes, size);
    buffer_append(out, "\r\n", 2);
}

static void write_arguments(struct buffer *out, int from, int count, const char **arguments,
                            const size_t *sizes)
{
    for (int i = from; i < count; i++)
        write_argument(out, arguments[i], sizes ? sizes[i] : strlen(arguments[i]));
}

void redis_link_append(struct redis_link *link, int count, const char **arguments,
                       const size_t *sizes)
{
    write_count(&link->collected, '*', (size_t)count);
    write_arguments(&link->collected, 0, count, arguments, sizes);
    link->collected_count++;
    link->expected++;
}

/* ---- losing a connection ---- */

static void forget_commands(struct redis_link *link)
{
    if (link->expected)
        link->lost = link->touched ? ERROR_UNKNOWN : ERROR_UNAVAILABLE;
    buffer_clear(&link->collected);
    link->expected = link->collected_count = 0;
    link->touched = false;
}

static void close_socket(struct redis_link *link)
{
    if (link->handle)
        redisFree(link->handle);
    link->handle = NULL;
    link->state = CLOSED;
    link->heard = false;
    link->greeting_count = 0;
    link->written = link->fed = 0;
    buffer_clear(&link->out);
}

void redis_link_drop(struct redis_link *link)
{
    close_socket(link);
    forget_commands(link);
}

static void tell_down(struct redis_link *link, const char *detail)
{
    if (link->changed && !link->down_is_told)
        link->changed(link->context, false, detail);
    link->down_is_told = true;
}

/* The socket is of no use any more. Commands of which nothing was written yet stay: they are for
 * the next one. */
static void lose(struct redis_link *link, const struct error *why)
{
    link->last_error = *why;
    link->failures++;
    link->next_ms = steady_ms() + backoff_ms(&pauses, link->failures, id_random());
    close_socket(link);
    redis_dial_free(&link->dial); /* its name may mean another server now */
    if (link->expected > link->collected_count)
        forget_commands(link);
    tell_down(link, why->message);
}

void redis_link_give_up(struct redis_link *link, const char *why)
{
    struct error err;

    error_set(&err, ERROR_UNAVAILABLE, "%s", why);
    if (link->state != CLOSED)
        lose(link, &err);
}

/* ---- waiting ---- */

/* A TLS handshake wants to read while the socket takes writes: it is looked at now and then. */
static bool in_handshake(const struct redis_link *link)
{
    return link->address->tls && link->state == GREETING && !link->heard;
}

static bool wants_to_write(const struct redis_link *link)
{
    return link->state == CONNECTING || link->out.size > 0;
}

static struct pollfd socket_events(const struct redis_link *link)
{
    bool writes = link->handle && wants_to_write(link) && !in_handshake(link);

    return (struct pollfd){.fd = link->handle ? link->handle->fd : -1,
                           .events = (short)(POLLIN | (writes ? POLLOUT : 0))};
}

enum waited { EVENT, WOKEN, LATE };

/* Until the socket has something to do, it is woken, or until_ms. */
static enum waited wait_for(struct redis_link *link, int64_t until_ms)
{
    struct pollfd waits[] = {{.fd = link->wake, .events = POLLIN}, socket_events(link)};
    int64_t left_ms = until_ms - steady_ms();
    uint64_t ignored;

    if (in_handshake(link) && left_ms > HANDSHAKE_LOOK_MS)
        left_ms = HANDSHAKE_LOOK_MS;
    int count = poll(waits, ARRAY_LEN(waits),
                     left_ms < 0           ? 0
                     : left_ms > INT32_MAX ? INT32_MAX
                                           : (int)left_ms);
    if (count > 0 && waits[0].revents && read(link->wake, &ignored, sizeof(ignored)) > 0)
        return WOKEN;
    return count > 0 || in_handshake(link) || steady_ms() < until_ms ? EVENT : LATE;
}

void redis_link_wake(struct redis_link *link)
{
    uint64_t one = 1;

    if (write(link->wake, &one, sizeof(one)) < 0)
        return; /* it is full: woken already */
}

static bool set_woken(struct error *err)
{
    error_set(err, ERROR_CLOSED, "woken");
    err->reason = REDIS_WOKEN;
    return false;
}

static bool no_answer(struct error *err)
{
    return error_set(err, ERROR_TIMEOUT, "no answer in time");
}

/* ---- bytes ---- */

static bool broken(const char *what, struct error *err)
{
    return error_set(err, ERROR_UNAVAILABLE, "%s: %s", what, strerror(errno));
}

static bool broken_handle(const struct redis_link *link, struct error *err)
{
    if (link->address->tls)
        return redis_tls_failed(link->handle, err);
    return error_set(err, ERROR_UNAVAILABLE, "%s", link->handle->errstr);
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* hiredis writes and reads where TLS is; a plain socket is ours: no SIGPIPE, fewer copies. */
static bool write_tls(struct redis_link *link, struct error *err)
{
    int done = 0;

    if (link->out.size > link->written &&
        redisAppendFormattedCommand(link->handle, link->out.data + link->written,
                                    link->out.size - link->written) != REDIS_OK)
        return broken_handle(link, err);
    link->written = link->out.size;
    if (redisBufferWrite(link->handle, &done) != REDIS_OK)
        return broken_handle(link, err);
    if (done) {
        buffer_clear(&link->out);
        link->written = 0;
    }
    return true;
}

static bool write_plain(struct redis_link *link, struct error *err)
{
    while (link->written < link->out.size) {
        ssize_t count = send(link->handle->fd, link->out.data + link->written,
                             link->out.size - link->written, MSG_NOSIGNAL);
        if (count < 0)
            return would_block() || broken("write", err);
        link->written += (size_t)count;
    }
    buffer_clear(&link->out);
    link->written = 0;
    return true;
}

static bool write_some(struct redis_link *link, struct error *err)
{
    if (link->out.size == 0)
        return true;
    return link->address->tls ? write_tls(link, err) : write_plain(link, err);
}

static bool read_plain(struct redis_link *link, struct error *err)
{
    char bytes[READ_BYTES];
    ssize_t count = recv(link->handle->fd, bytes, sizeof(bytes), 0);

    if (count == 0)
        return error_set(err, ERROR_UNAVAILABLE, "the server closed the connection");
    if (count < 0)
        return would_block() || broken("read", err);
    link->heard = true;
    link->fed += (size_t)count;
    if (link->fed > REPLY_MAX_BYTES)
        return error_set(err, ERROR_UNAVAILABLE, "a reply of more than %zu MiB",
                         REPLY_MAX_BYTES / 1024 / 1024);
    return redisReaderFeed(link->handle->reader, bytes, (size_t)count) == REDIS_OK ||
           broken_handle(link, err);
}

static bool read_tls(struct redis_link *link, struct error *err)
{
    size_t before = link->handle->reader->len;

    if (redisBufferRead(link->handle) != REDIS_OK)
        return broken_handle(link, err);
    link->heard = link->heard || link->handle->reader->len > before;
    return true;
}

/* The next reply that is there; NULL in *out when it is not whole yet. */
static bool parse(struct redis_link *link, redisReply **out, struct error *err)
{
    void *reply = NULL;

    if (redisGetReplyFromReader(link->handle, &reply) != REDIS_OK)
        return broken_handle(link, err);
    *out = reply;
    if (reply)
        link->fed = 0;
    return true;
}

/* A reply of the connection that there is; it is lost when that fails for another reason than
 * TIMEOUT and "woken". */
static bool receive(struct redis_link *link, int64_t until_ms, redisReply **out, struct error *err)
{
    for (;;) {
        if (!parse(link, out, err) || (!*out && !write_some(link, err)))
            break;
        if (*out)
            return true;
        enum waited waited = wait_for(link, until_ms);
        if (waited == WOKEN)
            return set_woken(err);
        if (waited == LATE)
            return no_answer(err);
        if (!(link->address->tls ? read_tls(link, err) : read_plain(link, err)))
            break;
    }
    lose(link, err);
    return false;
}

/* ---- connecting ---- */

static void greet(struct redis_link *link, int count, const char **arguments)
{
    write_count(&link->out, '*', (size_t)count);
    write_arguments(&link->out, 0, count, arguments, NULL);
    link->greetings[link->greeting_count++] = arguments[0];
}

static void say_hello(struct redis_link *link)
{
    const struct redis_address *address = link->address;

    link->state = GREETING;
    if (address->password && address->user)
        greet(link, 3, (const char *[]){"AUTH", address->user, address->password});
    else if (address->password)
        greet(link, 2, (const char *[]){"AUTH", address->password});
    if (address->database)
        greet(link, 2, (const char *[]){"SELECT", address->database});
    greet(link, 3, (const char *[]){"CLIENT", "SETNAME", link->name});
}

/* Starts with the next address of the host. */
static bool start_attempt(struct redis_link *link, int64_t until_ms, struct error *err)
{
    int socket;

    if (!redis_dial_next(&link->dial, link->address->host, link->address->port, until_ms, &socket,
                         err))
        return false;
    link->handle = redisConnectFd(socket);
    if (!link->handle)
        abort(); /* out of memory */
    link->handle->flags &= ~REDIS_BLOCK;
    redis_reply_use(link->handle->reader);
    link->state = CONNECTING;
    link->attempt_until_ms = steady_ms() + ATTEMPT_MS;
    return true;
}

/* What keeps us out for good is said rather than that it is not connected. */
static bool late(const struct redis_link *link, struct error *err)
{
    const struct error *why = &link->last_error;

    if (why->code == ERROR_DENIED || why->code == ERROR_INVALID) {
        *err = *why;
        return false;
    }
    return error_set(err, ERROR_UNAVAILABLE, "not connected%s%s", *why->message ? ": " : "",
                     why->message);
}

/* As go_on_greeting below: a step of an attempt, after which the state may be another one. False
 * with TIMEOUT and "woken": it may go on. */
static bool go_on_connecting(struct redis_link *link, int64_t until_ms, struct error *err)
{
    struct pollfd decided = {.fd = link->handle->fd, .events = POLLOUT};

    enum waited waited = wait_for(link, until_ms);
    if (waited == WOKEN)
        return set_woken(err);
    if (poll(&decided, 1, 0) != 1)
        return waited != LATE || no_answer(err);
    int why = redis_dial_outcome(link->handle->fd);
    if (why)
        return error_set(err, ERROR_UNAVAILABLE, "connect: %s", strerror(why));
    if (link->address->tls && !redis_tls_start(link->handle, link->address->host, err))
        return false;
    say_hello(link);
    return true;
}

/* What a server says of our name is no reason to stay away, unless it lets nobody in so. */
static bool judge_greeting(const char *command, const redisReply *reply, struct error *err)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return true;
    redis_refusal(reply, err, NULL);
    if (strcmp(command, "CLIENT") == 0 &&
        (err->code == ERROR_INVALID || strncmp(reply->str, "NOPERM", 6) == 0))
        return true;
    return error_wrap(err, "%s", command);
}

static bool go_on_greeting(struct redis_link *link, int64_t until_ms, struct error *err)
{
    redisReply *reply;

    if (!receive(link, until_ms, &reply, err))
        return false;
    bool welcome = judge_greeting(link->greetings[0], reply, err);
    redis_reply_free(reply);
    if (!welcome)
        return false;
    memmove(link->greetings, link->greetings + 1,
            --link->greeting_count * sizeof(link->greetings[0]));
    if (link->greeting_count)
        return true;
    link->state = READY;
    link->failures = 0;
    link->connections++;
    link->down_is_told = false;
    link->last_error = (struct error){0};
    redis_dial_free(&link->dial);
    if (link->changed)
        link->changed(link->context, true, "connected");
    return true;
}

/* Until the next attempt is allowed. */
static bool rest(struct redis_link *link, int64_t until_ms, struct error *err)
{
    while (steady_ms() < link->next_ms) {
        if (steady_ms() >= until_ms)
            return late(link, err);
        if (wait_for(link, link->next_ms < until_ms ? link->next_ms : until_ms) == WOKEN)
            return set_woken(err);
    }
    return true;
}

static bool is_woken(const struct error *err)
{
    return err->code == ERROR_CLOSED && strcmp(err->reason, REDIS_WOKEN) == 0;
}

static bool connect_step(struct redis_link *link, int64_t until_ms, struct error *err)
{
    int64_t step_ms = link->attempt_until_ms < until_ms ? link->attempt_until_ms : until_ms;

    return link->state == CONNECTING ? go_on_connecting(link, step_ms, err)
                                     : go_on_greeting(link, step_ms, err);
}

/* What a failed step means for the attempt: true when it goes on with the next address. */
static bool judge_step(struct redis_link *link, struct error *err)
{
    if (is_woken(err))
        return false;
    if (err->code == ERROR_TIMEOUT && steady_ms() < link->attempt_until_ms)
        return late(link, err);
    if (err->code == ERROR_TIMEOUT)
        error_set(err, ERROR_UNAVAILABLE, "connect: no answer in %d ms", ATTEMPT_MS);
    if (link->state == CONNECTING && link->dial.next) {
        close_socket(link);
        return true;
    }
    if (link->state != CLOSED)
        lose(link, err);
    return false;
}

/* Closed by the server while nobody looked: commands are not for this one. */
static void look_at_idle(struct redis_link *link)
{
    struct error why;
    char byte;

    if (link->state != READY || link->expected > link->collected_count)
        return;
    ssize_t count = recv(link->handle->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (count > 0 || (count < 0 && would_block()))
        return;
    error_set(&why, ERROR_UNAVAILABLE, "the server closed the connection");
    lose(link, &why);
}

bool redis_link_ready(struct redis_link *link, int64_t until_ms, struct error *err)
{
    look_at_idle(link);
    while (link->state != READY) {
        if (link->state != CLOSED) {
            if (!connect_step(link, until_ms, err) && !judge_step(link, err))
                return false;
        } else if (!link->dial.next && !rest(link, until_ms, err)) {
            return false;
        } else if (!start_attempt(link, until_ms, err)) {
            lose(link, err);
            return false;
        }
    }
    return true;
}

bool redis_link_is_connected(const struct redis_link *link)
{
    return link->state == READY;
}

unsigned redis_link_connections(const struct redis_link *link)
{
    return link->connections;
}

/* ---- commands and replies ---- */

/* What was collected goes on its way. */
static void release_collected(struct redis_link *link)
{
    struct buffer emptied = link->out;

    if (link->collected.size == 0)
        return;
    if (link->out.size > 0) {
        buffer_append(&link->out, link->collected.data, link->collected.size);
        buffer_clear(&link->collected);
    } else {
        link->out = link->collected;
        link->collected = emptied;
    }
    link->collected_count = 0;
    link->touched = true;
}

static bool lost(const struct redis_link *link, struct error *err)
{
    error_set(err, link->lost, "the connection was lost%s%s", *link->last_error.message ? ": " : "",
              link->last_error.message);
    return false;
}

/* A loss is told with what it means for the commands. */
static bool wait_reply(struct redis_link *link, int64_t until_ms, redisReply **out,
                       struct error *err)
{
    release_collected(link);
    if (receive(link, until_ms, out, err)) {
        link->expected -= link->expected > 0; /* what is pushed was not asked for */
        link->touched = link->expected > link->collected_count;
        return true;
    }
    if (err->code != ERROR_TIMEOUT && !is_woken(err))
        lost(link, err);
    return false;
}

bool redis_link_wait(struct redis_link *link, int64_t until_ms, redisReply **out, struct error *err)
{
    if (link->expected == 0 && link->state != READY)
        return lost(link, err);
    if (link->expected == 0 || redis_link_ready(link, until_ms, err))
        return wait_reply(link, until_ms, out, err);
    if (is_woken(err))
        return false;
    if (err->code == ERROR_UNAVAILABLE && link->state != CLOSED)
        return error_set(err, ERROR_TIMEOUT, "not connected in time");
    forget_commands(link);
    return false;
}

bool redis_link_reply(struct redis_link *link, int64_t until_ms, redisReply **out,
                      struct error *err)
{
    if (link->expected == 0)
        return lost(link, err);
    if (!redis_link_ready(link, until_ms, err)) {
        forget_commands(link);
        return false;
    }
    if (wait_reply(link, until_ms, out, err))
        return true;
    if (err->code == ERROR_TIMEOUT) {
        lose(link, err);
        return lost(link, err);
    }
    if (is_woken(err))
        redis_link_drop(link);
    return false;
}

/* ---- scripts ---- */

static struct loaded *find_loaded(const struct redis_link *link, const struct redis_script *script)
{
    for (size_t i = 0; i < link->script_count; i++)
        if (link->scripts[i].script == script)
            return &link->scripts[i];
    return NULL;
}

static struct loaded *add_loaded(struct redis_link *link, const struct redis_script *script)
{
    link->scripts = memory_resize(link->scripts, (link->script_count + 1) * sizeof(*link->scripts));
    struct loaded *loaded = &link->scripts[link->script_count++];
    *loaded = (struct loaded){.script = script};
    return loaded;
}

void redis_link_append_load(struct redis_link *link, const struct redis_script *script)
{
    const char *arguments[] = {"SCRIPT", "LOAD", script->text};

    redis_link_append(link, ARRAY_LEN(arguments), arguments, NULL);
}

bool redis_link_loaded(struct redis_link *link, const struct redis_script *script,
                       const redisReply *reply, struct error *err)
{
    struct loaded *loaded = find_loaded(link, script);

    if (reply->type == REDIS_REPLY_ERROR)
        redis_refusal(reply, err, NULL);
    else if (reply->type != REDIS_REPLY_STRING || reply->len != SHA_SIZE)
        error_set(err, ERROR_UNAVAILABLE, "the answer is no hash");
    else {
        loaded = loaded ? loaded : add_loaded(link, script);
        memcpy(loaded->sha, reply->str, SHA_SIZE + 1);
        return true;
    }
    return error_wrap(err, "load script %s", script->name);
}

void redis_link_begin_script(struct redis_link *link, const struct redis_script *script,
                             size_t keys, size_t count)
{
    const struct loaded *loaded = find_loaded(link, script);
    const char *sha = loaded ? loaded->sha : "unknown"; /* it is missing, says the server */
    char number[24];

    snprintf(number, sizeof(number), "%zu", keys);
    write_count(&link->collected, '*', count + 3);
    write_arguments(&link->collected, 0, 3, (const char *[]){"EVALSHA", sha, number}, NULL);
    link->collected_count++;
    link->expected++;
}

void redis_link_argument(struct redis_link *link, const char *text)
{
    write_argument(&link->collected, text, strlen(text));
}

void redis_link_put(struct redis_link *link, const char *bytes, size_t size)
{
    buffer_append(&link->collected, bytes, size);
}

/* ---- requests ---- */

static bool load(struct redis_link *link, const struct redis_script *script, int64_t until_ms,
                 struct error *err)
{
    redisReply *reply = NULL;

    redis_link_append_load(link, script);
    bool loaded = redis_link_reply(link, until_ms, &reply, err) &&
                  redis_link_loaded(link, script, reply, err);
    redis_reply_free(reply);
    return loaded;
}

static bool ask_once(struct redis_link *link, const struct redis_request *request, int64_t until_ms,
                     redisReply **out, struct error *err)
{
    const struct redis_script *script = request->script;

    if (script && !find_loaded(link, script) && !load(link, script, until_ms, err))
        return false;
    if (script) {
        redis_link_begin_script(link, script, (size_t)request->keys, (size_t)request->count - 2);
        write_arguments(&link->collected, 2, request->count, request->arguments, request->sizes);
    } else {
        redis_link_append(link, request->count, request->arguments, request->sizes);
    }
    return redis_link_reply(link, until_ms, out, err);
}

static void forget_script(struct redis_link *link, const struct redis_script *script)
{
    struct loaded *loaded = find_loaded(link, script);

    if (loaded)
        *loaded = link->scripts[--link->script_count];
}

bool redis_link_ask(struct redis_link *link, const struct redis_request *request, int64_t until_ms,
                    redisReply **out, struct error *err)
{
    const char *what = request->script ? request->script->name : request->arguments[0];
    redisReply *reply = NULL;
    bool asked = ask_once(link, request, until_ms, &reply, err);

    if (asked && request->script && redis_script_is_missing(reply)) {
        redis_reply_free(reply);
        forget_script(link, request->script);
        reply = NULL;
        asked = ask_once(link, request, until_ms, &reply, err);
    }
    if (!asked)
        return error_wrap(err, "%s", what);
    *out = reply;
    if (reply->type != REDIS_REPLY_ERROR)
        return true;
    redis_refusal(reply, err, NULL);
    redis_reply_free(reply);
    return error_wrap(err, "%s", what);
}

// Its parameters are those of hiredis's own calls, and the time.
// NOLINTNEXTLINE(readability-function-size)
bool redis_link_call(struct redis_link *link, int count, const char **arguments,
                     const size_t *sizes, int64_t until_ms, redisReply **out, struct error *err)
{
    struct redis_request request = {.count = count, .arguments = arguments, .sizes = sizes};

    return redis_link_ask(link, &request, until_ms, out, err);
}

/* ---- life ---- */

/* CLIENT SETNAME takes printable characters without spaces. */
static char *name_for_server(const char *name)
{
    char *copy = memory_text(name);

    for (char *at = copy; *at; at++)
        if (*at <= ' ' || *at >= 0x7f)
            *at = '-';
    return copy;
}

struct redis_link *redis_link_new(const struct redis_address *address, const char *name,
                                  redis_link_changed *changed, void *context)
{
    struct redis_link *link = memory_alloc(sizeof(*link));

    link->address = address;
    link->name = name_for_server(name);
    link->changed = changed;
    link->context = context;
    link->lost = ERROR_UNAVAILABLE;
    link->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return link;
}

void redis_link_free(struct redis_link *link)
{
    if (!link)
        return;
    close_socket(link);
    redis_dial_free(&link->dial);
    if (link->wake >= 0)
        close(link->wake);
    buffer_free(&link->collected);
    buffer_free(&link->out);
    free(link->scripts);
    free(link->name);
    free(link);
}
