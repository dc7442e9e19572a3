/*
 * One thread sends and reads on one link. Whatever waits goes out at once while little is under
 * way, as one script call for each stream; while calls are under way what comes meanwhile gathers,
 * and that makes the batches. Nobody waits for an answer: callers hand over and leave.
 *
 * What a lost connection leaves without an answer is sent again with its id, in its place in front.
 */
#include "broker/redis_driver.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/memory.h"
#include "broker/redis_lua.h"
#include "broker/redis_pending.h"
#include "resilience/backoff.h"

#include <stdlib.h>
#include <string.h>

#define PENDING_BYTES ((size_t)32 * 1024 * 1024)
#define BATCH 256                        /* messages of a call: about a millisecond of the server */
#define BATCH_BYTES ((size_t)256 * 1024) /* but for the last message */
#define CALLS_MAX 8                      /* under way */
#define CALLS_EAGER 2                    /* under way, up to which less than a batch is sent */
#define WINDOW_BYTES ((size_t)1024 * 1024) /* under way, but for the last call */
#define PING_MS 4000                       /* after so long a silence the server is asked */
#define SILENT_MS 8000                     /* no answer for so long: the connection is dead */
#define IDLE_MS 60000
#define NOT_UNDERSTOOD "the server's answer is not understood"

static const struct backoff pauses = {.first_ms = 50, .most_ms = 500};

/*
 * KEYS: stream, meta, the key of each message's id. ARGV, for each message: how many names and
 * values of headers there are, subject, id, data, and these. Returns for each: its entry, "=" and
 * the entry that has its id, or "!" and a refusal. Nothing may raise an error behind the first
 * XADD: what is stored would be told as refused. Bytes are counted anew where somebody has deleted
 * the stream. What a telemetry stream drops is cut off at the end, all of it at once.
 */
static const struct redis_script publish_script = {
    "publish", REDIS_LUA_IDS REDIS_LUA_INFO REDIS_LUA_WEIGHT REDIS_LUA_SKIP
    "local meta = redis.call('HMGET', KEYS[2], 'subjects', 'max_bytes', 'dedup_window_ms',"
    "                        'telemetry', 'bytes', 'largest') "
    "if not meta[1] then return redis.error_reply('NOSTREAM there is no such stream') end "
    "local most, window = tonumber(meta[2]), meta[3] "
    "local largest = tonumber(meta[6]) or 0 "
    "local bytes, grown, dropped = tonumber(meta[5]) or 0, 0, 0 "
    "if redis.call('XLEN', KEYS[1]) == 0 then grown = -bytes end "
    /* "a.*.>" is "^a%.[^.]+%..+$" */
    "local pattern = string.gsub(meta[1], '[%-%^%$%(%)%%%.%[%]%+%?]', '%%%0') "
    "pattern = string.gsub(pattern, '%*', '[^.]+') "
    "pattern = '^' .. string.gsub(pattern, '>$', '.+') .. '$' "
    "local last "
    "local function has_room(size)"
    "  if bytes + grown + size <= most then return true end"
    "  if meta[4] ~= '1' or size > most then return false end"
    "  local piece = largest * 4 > 65536 and 4 or 64"
    "  while bytes + grown + size > most do"
    "    local from = last and '(' .. last or '-'"
    "    local oldest = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', piece)"
    "    if #oldest == 0 then grown = -bytes return true end"
    "    for _, entry in ipairs(oldest) do"
    "      if bytes + grown + size <= most then break end"
    "      grown, dropped, last = grown - weight(entry), dropped + 1, entry[1]"
    "    end"
    "  end"
    "  return true "
    "end "
    "local seen, fresh = redis.call('MGET', unpack(KEYS, 3)), {} "
    "local results, at = {}, 1 "
    "for i, known in ipairs(seen) do"
    "  local key, count = KEYS[i + 2], tonumber(ARGV[at])"
    "  local subject, id, data = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]"
    "  local result, size = known or fresh[key], #subject + #id + #data"
    "  for j = at + 4, at + 3 + count do size = size + #ARGV[j] end"
    "  if not string.find(subject, pattern) then"
    "    result = '!INVALID it is not for this stream'"
    "  elseif result then"
    "    result = '=' .. result"
    "  elseif not has_room(size) then"
    "    result = '!FULL ' .. (bytes + grown) .. ' of ' .. most .. ' bytes are used'"
    "  else"
    "    result = redis.pcall('XADD', KEYS[1], '*', '" REDIS_FIELD_SUBJECT "', subject,"
    "                         '" REDIS_FIELD_ID "', id, '" REDIS_FIELD_DATA "', data,"
    "                         unpack(ARGV, at + 4, at + 3 + count))"
    "    if type(result) == 'table' then"
    "      result = '!' .. result.err"
    "    else"
    "      redis.pcall('SET', key, result, 'PX', window)"
    "      fresh[key] = result"
    "      grown = grown + size"
    "      if size > largest then"
    "        largest = size"
    "        redis.pcall('HSET', KEYS[2], 'largest', largest)"
    "      end"
    "    end"
    "  end"
    "  results[i] = result"
    "  at = at + 4 + count "
    "end "
    "if last then"
    "  redis.pcall('XTRIM', KEYS[1], 'MINID', '=', behind(last))"
    "  skip(last) "
    "end "
    "if grown ~= 0 then redis.pcall('HINCRBY', KEYS[2], 'bytes', string.format('%.0f', grown)) end "
    "if dropped > 0 then redis.pcall('HINCRBY', KEYS[2], 'dropped', dropped) end "
    "return results"};

enum kind { PUBLISH, LOAD, PING };

/* What is under way: its reply is still to come. */
struct call {
    enum kind kind;
    struct redis_pendings messages;
    size_t bytes;
};

struct redis_publisher {
    struct redis_broker *broker; /* borrowed */
    struct redis_link *link;     /* the thread's, as all down to the lock */
    pthread_t thread;
    bool runs;
    struct call calls[CALLS_MAX + 1]; /* a ring, the oldest first; one more for a ping */
    size_t first_call;
    bool loaded;          /* the script, as far as is known */
    unsigned refusals;    /* in a row that may pass */
    int64_t heard_ms;     /* of the latest reply, or when one began to be expected */
    struct error trouble; /* why nothing is sent just now */

    pthread_mutex_t lock;
    pthread_cond_t drained;
    struct redis_pendings queue; /* guarded by lock, with everything below it */
    size_t pending, pending_bytes;
    size_t call_count, window_bytes; /* under way */
    size_t telling;                  /* finished, and `done` not yet called or not yet back */
    int64_t due_ms;                  /* no message's time is over before */
    int64_t pause_until_ms;
    int64_t sleeps_until_ms; /* the thread's wait; 0: it does not wait */
    bool moving;             /* this server says that it is not the one */
    bool connected, draining, stopping;
};

static int64_t steady_ms(void)
{
    return clock_steady_ms(clock_system());
}

/* The lock is held. Little under way: whatever waits goes; then only whole batches. */
static bool may_send(const struct redis_publisher *publisher, int64_t now_ms)
{
    return publisher->connected && !publisher->moving && publisher->queue.count > 0 &&
           now_ms >= publisher->pause_until_ms && publisher->window_bytes < WINDOW_BYTES &&
           (publisher->call_count < CALLS_EAGER ||
            (publisher->call_count < CALLS_MAX && publisher->queue.count >= BATCH));
}

/* ---- what a publish came to ---- */

/* The lock is held: it is not pending any more, and is about to be told. */
static void finish(struct redis_publisher *publisher, const struct redis_pending *message)
{
    publisher->pending--;
    publisher->pending_bytes -= redis_pending_size(message);
    publisher->telling++;
    atomic_store_explicit(&publisher->broker->base.counters.pending, publisher->pending,
                          memory_order_relaxed);
}

/* The lock is not held. Afterwards the message is only one that waits for its reply. */
static void tell(struct redis_publisher *publisher, struct redis_pending *message,
                 const struct broker_receipt *receipt)
{
    struct broker_counters *counters = &publisher->broker->base.counters;
    broker_done *done = message->done;

    message->done = NULL;
    atomic_fetch_add_explicit(receipt->error.code != ERROR_NONE ? &counters->publish_failures
                              : receipt->duplicate              ? &counters->duplicates
                                                                : &counters->published,
                              1, memory_order_relaxed);
    done(message->context, receipt);
}

static void told(struct redis_publisher *publisher, size_t count)
{
    pthread_mutex_lock(&publisher->lock);
    publisher->telling -= count;
    if (publisher->draining)
        pthread_cond_broadcast(&publisher->drained);
    pthread_mutex_unlock(&publisher->lock);
}

static void free_all(struct redis_pendings *list)
{
    for (struct redis_pending *message; (message = redis_pendings_take(list));)
        free(message);
}

/* ---- deadlines ---- */

static void receipt_late(const struct redis_publisher *publisher, bool uncertain,
                         struct broker_receipt *out)
{
    const struct error *trouble = &publisher->trouble;

    *out = (struct broker_receipt){.sequence = ""};
    if (uncertain) {
        error_set(&out->error, ERROR_UNKNOWN, "no answer in time");
        return;
    }
    error_set(&out->error, trouble->code == ERROR_DENIED ? ERROR_DENIED : ERROR_UNAVAILABLE,
              "not sent in time%s%s", *trouble->message ? ": " : "", trouble->message);
    if (trouble->reason)
        out->error.reason = trouble->reason;
}

/* The lock is held. Moves what is too late from the queue. */
static void take_late(struct redis_publisher *publisher, int64_t now_ms,
                      struct redis_pendings *late)
{
    struct redis_pendings rest = {0};

    for (struct redis_pending *message; (message = redis_pendings_take(&publisher->queue));) {
        if (message->until_ms <= now_ms)
            finish(publisher, message);
        else if (message->until_ms < publisher->due_ms)
            publisher->due_ms = message->until_ms;
        redis_pendings_add(message->until_ms <= now_ms ? late : &rest, message);
    }
    publisher->queue = rest;
}

/* Tells what is too late of a call; the messages stay until its reply. */
static void tell_late(struct redis_publisher *publisher, struct call *call, int64_t now_ms)
{
    struct broker_receipt receipt;

    receipt_late(publisher, true, &receipt);
    for (struct redis_pending *message = call->messages.first; message; message = message->next) {
        if (!message->done)
            continue;
        pthread_mutex_lock(&publisher->lock);
        bool late = message->until_ms <= now_ms;
        if (late)
            finish(publisher, message);
        else if (message->until_ms < publisher->due_ms)
            publisher->due_ms = message->until_ms;
        pthread_mutex_unlock(&publisher->lock);
        if (!late)
            continue;
        tell(publisher, message, &receipt);
        told(publisher, 1);
    }
}

static struct call *call_at(struct redis_publisher *publisher, size_t i)
{
    return &publisher->calls[(publisher->first_call + i) % ARRAY_LEN(publisher->calls)];
}

static void sweep(struct redis_publisher *publisher, int64_t now_ms)
{
    struct redis_pendings late = {0};

    pthread_mutex_lock(&publisher->lock);
    bool due = now_ms >= publisher->due_ms;
    if (due) {
        publisher->due_ms = INT64_MAX;
        take_late(publisher, now_ms, &late);
    }
    pthread_mutex_unlock(&publisher->lock);
    if (!due)
        return;
    for (struct redis_pending *message = late.first; message; message = message->next) {
        struct broker_receipt receipt;
        receipt_late(publisher, message->uncertain, &receipt);
        tell(publisher, message, &receipt);
    }
    told(publisher, late.count);
    free_all(&late);
    for (size_t i = 0; i < publisher->call_count; i++)
        tell_late(publisher, call_at(publisher, i), now_ms);
}

/* ---- calls ---- */

static struct call *add_call(struct redis_publisher *publisher, enum kind kind)
{
    struct call *call = call_at(publisher, publisher->call_count);

    if (publisher->call_count == 0)
        publisher->heard_ms = steady_ms();
    publisher->call_count++;
    *call = (struct call){.kind = kind};
    return call;
}

/* The lock is held. Where all of them fail the call is none of the list any more. */
static struct call take_call(struct redis_publisher *publisher)
{
    struct call call = *call_at(publisher, 0);

    publisher->first_call = (publisher->first_call + 1) % ARRAY_LEN(publisher->calls);
    publisher->call_count--;
    publisher->window_bytes -= call.bytes;
    return call;
}

/* The lock is held. Those that wait for their reply alone are done with. */
static void put_back(struct redis_publisher *publisher, struct redis_pendings *messages,
                     bool uncertain)
{
    struct redis_pendings kept = {0};

    for (struct redis_pending *message; (message = redis_pendings_take(messages));) {
        if (!message->done) {
            free(message);
            continue;
        }
        message->uncertain = message->uncertain || uncertain;
        redis_pendings_add(&kept, message);
    }
    atomic_fetch_add(&publisher->broker->base.counters.publish_retries, kept.count);
    redis_pendings_put_back(&publisher->queue, &kept);
}

/* The connection is gone, and with it what was under way. */
static void lose_calls(struct redis_publisher *publisher, bool uncertain)
{
    struct redis_pendings all = {0};

    pthread_mutex_lock(&publisher->lock);
    while (publisher->call_count > 0) {
        struct call call = take_call(publisher);
        redis_pendings_put_back(&call.messages, &all);
        all = call.messages;
    }
    put_back(publisher, &all, uncertain);
    publisher->connected = false;
    pthread_mutex_unlock(&publisher->lock);
}

/* ---- replies ---- */

static bool not_understood(struct broker_receipt *out)
{
    error_set(&out->error, ERROR_UNKNOWN, NOT_UNDERSTOOD);
    return true;
}

/* One result of the script. False: it was refused for now. */
static bool read_result(const redisReply *result, struct broker_receipt *out)
{
    bool passing = false;

    *out = (struct broker_receipt){.error.reason = "none"};
    if (result->type != REDIS_REPLY_STRING || result->len == 0)
        return not_understood(out);
    if (*result->str == '!') {
        redisReply refusal = {
            .type = REDIS_REPLY_ERROR, .str = result->str + 1, .len = result->len - 1};
        redis_refusal(&refusal, &out->error, &passing);
        return !passing;
    }
    out->duplicate = *result->str == '=';
    if (result->len - out->duplicate >= sizeof(out->sequence))
        return not_understood(out);
    memcpy(out->sequence, result->str + out->duplicate, result->len - out->duplicate + 1);
    return true;
}

/* The lock is held. The call's messages, as they are told now or sent later. */
static void sort_results(struct redis_publisher *publisher, struct call *call,
                         const redisReply *reply, struct redis_pendings *over,
                         struct redis_pendings *later)
{
    struct broker_receipt receipt;

    for (size_t i = 0; call->messages.first; i++) {
        struct redis_pending *message = redis_pendings_take(&call->messages);
        const redisReply *result = reply->element[i];
        message->result = result;
        if (message->done && result->str && *result->str == '!' && !read_result(result, &receipt)) {
            publisher->trouble = receipt.error;
            redis_pendings_add(later, message);
            continue;
        }
        if (message->done)
            finish(publisher, message);
        redis_pendings_add(over, message);
    }
}

static void tell_all(struct redis_publisher *publisher, struct redis_pendings *over,
                     const struct error *refusal)
{
    struct broker_receipt receipt = {.sequence = ""};
    size_t count = 0;

    for (struct redis_pending *message = over->first; message; message = message->next) {
        if (!message->done)
            continue;
        if (refusal)
            receipt.error = *refusal;
        else
            (void)read_result(message->result, &receipt);
        tell(publisher, message, &receipt);
        count++;
    }
    told(publisher, count);
    free_all(over);
}

/* The lock is held. */
static void pause_sending(struct redis_publisher *publisher, const struct error *why)
{
    publisher->trouble = *why;
    publisher->refusals++;
    publisher->pause_until_ms = steady_ms() + backoff_ms(&pauses, publisher->refusals, id_random());
    publisher->moving = publisher->moving || redis_refusal_is_elsewhere(why);
}

static void on_results(struct redis_publisher *publisher, struct call *call,
                       const redisReply *reply)
{
    struct redis_pendings over = {0}, later = {0};

    pthread_mutex_lock(&publisher->lock);
    sort_results(publisher, call, reply, &over, &later);
    publisher->refusals = later.count ? publisher->refusals : 0;
    if (later.count) {
        struct error why = publisher->trouble;
        pause_sending(publisher, &why);
    }
    put_back(publisher, &later, false);
    pthread_mutex_unlock(&publisher->lock);
    tell_all(publisher, &over, NULL);
}

/* Nothing of the call was done, or nobody knows: it is sent again, or each is told. */
static void on_refusal(struct redis_publisher *publisher, struct call *call,
                       const struct error *why, bool again)
{
    struct redis_pendings over = {0};

    pthread_mutex_lock(&publisher->lock);
    if (again) {
        put_back(publisher, &call->messages, false);
    } else {
        over = call->messages;
        for (struct redis_pending *message = over.first; message; message = message->next)
            if (message->done)
                finish(publisher, message);
    }
    pthread_mutex_unlock(&publisher->lock);
    redis_refused(publisher->broker, why);
    tell_all(publisher, &over, why);
}

static void on_published(struct redis_publisher *publisher, struct call *call,
                         const redisReply *reply)
{
    struct error why;
    bool passing = false;

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == call->messages.count) {
        on_results(publisher, call, reply);
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR)
        redis_refusal(reply, &why, &passing);
    else
        error_set(&why, ERROR_UNKNOWN, NOT_UNDERSTOOD);
    if (reply->type == REDIS_REPLY_ERROR && redis_script_is_missing(reply)) {
        publisher->loaded = false;
    } else if (passing) {
        pthread_mutex_lock(&publisher->lock);
        pause_sending(publisher, &why);
        pthread_mutex_unlock(&publisher->lock);
    }
    on_refusal(publisher, call, &why, passing);
}

static void on_loaded(struct redis_publisher *publisher, const redisReply *reply)
{
    struct error why;

    publisher->loaded = redis_link_loaded(publisher->link, &publish_script, reply, &why);
    if (publisher->loaded)
        return;
    pthread_mutex_lock(&publisher->lock);
    pause_sending(publisher, &why);
    pthread_mutex_unlock(&publisher->lock);
    redis_refused(publisher->broker, &why);
}

static void on_reply(struct redis_publisher *publisher, const redisReply *reply)
{
    pthread_mutex_lock(&publisher->lock);
    struct call call = take_call(publisher);
    pthread_mutex_unlock(&publisher->lock);
    publisher->heard_ms = steady_ms();
    if (call.kind == LOAD)
        on_loaded(publisher, reply);
    else if (call.kind == PUBLISH)
        on_published(publisher, &call, reply);
}

/* ---- the thread ---- */

/* When it has to look again whatever happens; callers wake it for what is earlier. */
static int64_t fall_asleep(struct redis_publisher *publisher, int64_t now_ms)
{
    pthread_mutex_lock(&publisher->lock);
    int64_t until_ms = publisher->due_ms;
    int64_t silent_ms = publisher->heard_ms + (publisher->call_count ? SILENT_MS : PING_MS);
    if (!publisher->connected)
        silent_ms = now_ms + IDLE_MS;
    if (silent_ms < until_ms)
        until_ms = silent_ms;
    if (now_ms < publisher->pause_until_ms && publisher->pause_until_ms < until_ms)
        until_ms = publisher->pause_until_ms;
    if (may_send(publisher, now_ms) && publisher->loaded)
        until_ms = now_ms;
    publisher->sleeps_until_ms = until_ms;
    pthread_mutex_unlock(&publisher->lock);
    return until_ms;
}

static void wake_up(struct redis_publisher *publisher)
{
    pthread_mutex_lock(&publisher->lock);
    publisher->sleeps_until_ms = 0;
    pthread_mutex_unlock(&publisher->lock);
}

static bool is_woken(const struct error *err)
{
    return err->code == ERROR_CLOSED && strcmp(err->reason, REDIS_WOKEN) == 0;
}

static void connect_link(struct redis_publisher *publisher)
{
    struct error err;

    if (publisher->call_count > 0) { /* of the last connection, and not sent */
        redis_link_drop(publisher->link);
        lose_calls(publisher, false);
    }
    bool connected = redis_link_ready(publisher->link, fall_asleep(publisher, steady_ms()), &err);
    wake_up(publisher);
    pthread_mutex_lock(&publisher->lock);
    publisher->connected = connected;
    publisher->pause_until_ms = 0;
    publisher->moving = false;
    pthread_mutex_unlock(&publisher->lock);
    publisher->heard_ms = steady_ms();
    if (connected) {
        publisher->refusals = 0;
        publisher->trouble = (struct error){0};
    } else if (!is_woken(&err)) {
        publisher->trouble = err;
        redis_refused(publisher->broker, &err);
    }
}

static void write_call(struct redis_publisher *publisher, const struct call *call)
{
    const char *stream = call->messages.first->stream;
    char key[REDIS_KEY_SIZE];
    size_t arguments = 0;

    for (struct redis_pending *message = call->messages.first; message; message = message->next)
        arguments += message->argument_count;
    redis_link_begin_script(publisher->link, &publish_script, 2 + call->messages.count,
                            2 + call->messages.count + arguments);
    redis_link_argument(publisher->link, redis_key(key, stream, "", ""));
    redis_link_argument(publisher->link, redis_key(key, stream, ":meta", ""));
    for (struct redis_pending *message = call->messages.first; message; message = message->next)
        redis_link_put(publisher->link, message->pieces, message->key_size);
    for (struct redis_pending *message = call->messages.first; message; message = message->next)
        redis_link_put(publisher->link, message->pieces + message->key_size,
                       message->argument_size);
}

/* Takes a batch from the queue; NULL: nothing is to be sent now. */
static struct call *next_batch(struct redis_publisher *publisher)
{
    struct call *call = NULL;

    pthread_mutex_lock(&publisher->lock);
    if (may_send(publisher, steady_ms())) {
        call = add_call(publisher, PUBLISH);
        redis_pendings_batch(&publisher->queue, BATCH, BATCH_BYTES, &call->messages);
        for (struct redis_pending *message = call->messages.first; message; message = message->next)
            call->bytes += message->argument_size;
        publisher->window_bytes += call->bytes;
    }
    pthread_mutex_unlock(&publisher->lock);
    return call;
}

static void send_load(struct redis_publisher *publisher)
{
    pthread_mutex_lock(&publisher->lock);
    bool now = publisher->call_count == 0 && steady_ms() >= publisher->pause_until_ms;
    if (now)
        add_call(publisher, LOAD);
    pthread_mutex_unlock(&publisher->lock);
    if (now)
        redis_link_append_load(publisher->link, &publish_script);
}

static void send_ping(struct redis_publisher *publisher)
{
    pthread_mutex_lock(&publisher->lock);
    bool now = publisher->call_count == 0 && steady_ms() >= publisher->heard_ms + PING_MS;
    if (now)
        add_call(publisher, PING);
    pthread_mutex_unlock(&publisher->lock);
    if (now)
        redis_link_append(publisher->link, 1, (const char *[]){"PING"}, NULL);
}

static void send_waiting(struct redis_publisher *publisher)
{
    const struct call *call;

    if (!publisher->loaded)
        send_load(publisher);
    while (publisher->loaded && (call = next_batch(publisher)))
        write_call(publisher, call);
    send_ping(publisher);
}

static void receive(struct redis_publisher *publisher)
{
    redisReply *reply;
    struct error err;

    bool received =
        redis_link_wait(publisher->link, fall_asleep(publisher, steady_ms()), &reply, &err);
    wake_up(publisher);
    if (received && publisher->call_count > 0)
        on_reply(publisher, reply);
    if (received) {
        redis_reply_free(reply);
    } else if (err.code != ERROR_TIMEOUT && !is_woken(&err)) {
        publisher->trouble = err;
        lose_calls(publisher, err.code == ERROR_UNKNOWN);
    }
}

/* Who does not answer is left, and so is who says that another is to be asked. */
static void judge_link(struct redis_publisher *publisher)
{
    if (publisher->moving && publisher->call_count == 0) {
        redis_link_give_up(publisher->link, publisher->trouble.message);
        lose_calls(publisher, false);
    } else if (publisher->call_count > 0 && steady_ms() >= publisher->heard_ms + SILENT_MS) {
        redis_link_give_up(publisher->link, "the server does not answer");
        lose_calls(publisher, true);
    }
}

static void *run(void *context)
{
    struct redis_publisher *publisher = context;
    bool stopping = false;

    while (!stopping) {
        sweep(publisher, steady_ms());
        judge_link(publisher);
        if (redis_link_is_connected(publisher->link)) {
            send_waiting(publisher);
            receive(publisher);
        } else {
            connect_link(publisher);
        }
        pthread_mutex_lock(&publisher->lock);
        stopping = publisher->stopping;
        pthread_mutex_unlock(&publisher->lock);
    }
    return NULL;
}

/* ---- publish ---- */

static bool has_room(const struct redis_publisher *publisher, size_t size, struct error *err)
{
    if (publisher->draining || publisher->stopping)
        return error_set(err, ERROR_CLOSED, "the broker is draining");
    if (publisher->pending < publisher->broker->base.options.max_pending &&
        (publisher->pending == 0 || publisher->pending_bytes + size <= PENDING_BYTES))
        return true;
    error_set(err, ERROR_UNAVAILABLE, "too many publishes without an answer");
    err->reason = "too_many_pending";
    return false;
}

/* The lock is held. True: the thread has to be woken. */
static bool take(struct redis_publisher *publisher, struct redis_pending *message)
{
    redis_pendings_add(&publisher->queue, message);
    publisher->pending++;
    publisher->pending_bytes += redis_pending_size(message);
    atomic_store_explicit(&publisher->broker->base.counters.pending, publisher->pending,
                          memory_order_relaxed);
    if (message->until_ms < publisher->due_ms)
        publisher->due_ms = message->until_ms;
    if (!publisher->sleeps_until_ms ||
        (message->until_ms >= publisher->sleeps_until_ms && !may_send(publisher, steady_ms())))
        return false;
    publisher->sleeps_until_ms = 0; /* once is enough */
    return true;
}

bool redis_publish_async(struct broker *base, const struct broker_message *message, int timeout_ms,
                         broker_done *done, void *context, struct error *err)
{
    struct redis_publisher *publisher = redis_broker_of(base)->publisher;
    struct redis_pending *pending = redis_pending_new(message);
    bool wake = false;

    pending->done = done;
    pending->context = context;
    pending->until_ms = steady_ms() + timeout_ms;
    pthread_mutex_lock(&publisher->lock);
    bool taken = has_room(publisher, redis_pending_size(pending), err);
    if (taken)
        wake = take(publisher, pending);
    pthread_mutex_unlock(&publisher->lock);
    if (wake)
        redis_link_wake(publisher->link);
    if (!taken)
        free(pending);
    return taken;
}

bool redis_drain(struct broker *base, int timeout_ms, struct error *err)
{
    struct redis_publisher *publisher = redis_broker_of(base)->publisher;
    int64_t until_ms = steady_ms() + timeout_ms;

    pthread_mutex_lock(&publisher->lock);
    publisher->draining = true;
    while (publisher->pending + publisher->telling > 0 &&
           clock_wait(&publisher->drained, &publisher->lock, until_ms))
        continue;
    size_t pending = publisher->pending + publisher->telling;
    pthread_mutex_unlock(&publisher->lock);
    return !pending || error_set(err, ERROR_TIMEOUT, "%zu publishes have no answer", pending);
}

/* ---- life ---- */

bool redis_publisher_start(struct redis_publisher **out, struct redis_broker *broker,
                           struct error *err)
{
    struct redis_publisher *publisher = memory_alloc(sizeof(*publisher));
    pthread_condattr_t attributes;

    publisher->broker = broker;
    publisher->due_ms = INT64_MAX;
    publisher->link =
        redis_link_new(broker->address, broker->base.options.name, redis_link_observed, broker);
    pthread_mutex_init(&publisher->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&publisher->drained, &attributes);
    pthread_condattr_destroy(&attributes);
    *out = publisher;
    int failure = pthread_create(&publisher->thread, NULL, run, publisher);
    publisher->runs = failure == 0;
    return publisher->runs ||
           error_set(err, ERROR_UNAVAILABLE, "start a thread: %s", strerror(failure));
}

/* The thread has ended. */
static void abandon(struct redis_publisher *publisher)
{
    lose_calls(publisher, true);
    while (publisher->queue.first) {
        struct redis_pending *message = redis_pendings_take(&publisher->queue);
        struct broker_receipt receipt = {.sequence = ""};
        error_set(&receipt.error, message->uncertain ? ERROR_UNKNOWN : ERROR_CLOSED,
                  "the broker was closed");
        finish(publisher, message);
        tell(publisher, message, &receipt);
        free(message);
    }
}

void redis_publisher_stop(struct redis_publisher *publisher)
{
    if (!publisher)
        return;
    pthread_mutex_lock(&publisher->lock);
    publisher->stopping = true;
    pthread_mutex_unlock(&publisher->lock);
    redis_link_wake(publisher->link);
    if (publisher->runs)
        pthread_join(publisher->thread, NULL);
    abandon(publisher);
    redis_link_free(publisher->link);
    pthread_cond_destroy(&publisher->drained);
    pthread_mutex_destroy(&publisher->lock);
    free(publisher);
}
