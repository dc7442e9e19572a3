#include "send.h"

#include "patience.h"
#include "sheet.h"

#include "base/memory.h"
#include "base/ndjson.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLIGHTS_MAX 1024 /* messages without an answer */
#define READ_BYTES 65536
#define STEP_MS 100 /* between two looks at what else happened */

/* One message on its way. The driver's thread fills in the receipt and hands it over. */
struct flight {
    struct sender *sender;
    int64_t line;
    struct broker_receipt receipt;
    struct flight *next;
};

struct sender {
    const struct command_context *context;
    const struct target *target;
    struct progress progress;
    struct flight *flights;
    struct flight *free; /* not on their way */
    size_t in_flight;    /* not yet taken back by the sending thread */
    uint64_t stored, duplicates, refused;
    bool stopped;     /* nothing more is to be sent: */
    struct error why; /* what ended it; ERROR_NONE: nobody but the user */

    pthread_mutex_t lock;
    pthread_cond_t arrived;
    struct flight *answered; /* guarded by lock */
};

static void on_receipt(void *context, const struct broker_receipt *receipt)
{
    struct flight *flight = context;
    struct sender *sender = flight->sender;

    pthread_mutex_lock(&sender->lock);
    flight->receipt = *receipt;
    flight->next = sender->answered;
    sender->answered = flight;
    pthread_cond_signal(&sender->arrived);
    pthread_mutex_unlock(&sender->lock);
}

/* What the answer to one line says about the lines behind it: nothing when it is its own fault. */
static bool is_own_fault(const struct error *err)
{
    return err->code == ERROR_INVALID || err->code == ERROR_TOO_LARGE ||
           err->code == ERROR_CONFLICT;
}

static void refuse_line(struct sender *sender, int64_t line, const struct error *why)
{
    struct error err = *why;

    error_wrap(&err, "line %lld", (long long)line);
    (void)command_fail(sender->context, &err);
    sender->refused++;
    if (is_own_fault(why))
        return;
    sender->stopped = true;
    if (sender->why.code == ERROR_NONE)
        sender->why = *why;
}

static void take_back(struct sender *sender, struct flight *flight)
{
    if (flight->receipt.error.code != ERROR_NONE) {
        refuse_line(sender, flight->line, &flight->receipt.error);
    } else {
        sender->stored += !flight->receipt.duplicate;
        sender->duplicates += flight->receipt.duplicate;
    }
    progress_add(&sender->progress, 1);
    sender->in_flight--;
    flight->next = sender->free;
    sender->free = flight;
}

/* Takes the answers that are there; with none, waits up to timeout_ms for the first. */
static void collect(struct sender *sender, int timeout_ms)
{
    int64_t until_ms = clock_steady_ms(clock_system()) + timeout_ms;

    pthread_mutex_lock(&sender->lock);
    while (!sender->answered && timeout_ms > 0 &&
           clock_wait(&sender->arrived, &sender->lock, until_ms))
        continue;
    struct flight *answered = sender->answered;
    sender->answered = NULL;
    pthread_mutex_unlock(&sender->lock);

    while (answered) {
        struct flight *flight = answered;
        answered = flight->next;
        take_back(sender, flight);
    }
}

static bool goes_on(const struct sender *sender)
{
    return !sender->stopped && !command_is_interrupted();
}

/* Refused for want of room: there is some once an answer came. */
static bool has_no_room(const struct sender *sender, const struct error *err)
{
    return err->code == ERROR_UNAVAILABLE && sender->in_flight > 0 && goes_on(sender);
}

static void publish(struct sender *sender, const struct ndjson_line *line)
{
    const struct options *options = sender->context->options;
    struct flight *flight = sender->free;
    struct envelope_text text;
    struct broker_message message =
        target_message(sender->target, options->id, line->number, line->bytes, line->size, &text);
    struct error err;

    flight->line = line->number;
    sender->free = flight->next;
    while (!broker_publish_async(sender->context->broker, &message, options->timeout_ms, on_receipt,
                                 flight, &err)) {
        if (has_no_room(sender, &err)) {
            collect(sender, STEP_MS);
            continue;
        }
        flight->next = sender->free;
        sender->free = flight;
        refuse_line(sender, line->number, &err);
        return;
    }
    sender->in_flight++;
}

static bool on_line(void *context, const struct ndjson_line *line)
{
    struct sender *sender = context;
    struct error err;

    if (line->too_long) {
        error_set(&err, ERROR_TOO_LARGE, "over %d bytes", BROKER_MESSAGE_MAX);
        refuse_line(sender, line->number, &err);
        return goes_on(sender);
    }
    while (!sender->free && goes_on(sender))
        collect(sender, STEP_MS);
    if (goes_on(sender))
        publish(sender, line);
    collect(sender, 0);
    return goes_on(sender);
}

/* False at the end of the input, or when nothing more is wanted of it. */
static bool read_some(struct sender *sender, struct ndjson *lines, char *room)
{
    collect(sender, 0);
    if (!goes_on(sender))
        return false;
    enum patience waited = patience_wait(STDIN_FILENO, STEP_MS);
    if (waited != PATIENCE_READY)
        return waited == PATIENCE_OVER;

    ssize_t size = read(STDIN_FILENO, room, READ_BYTES);
    if (size < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (size < 0) {
        sender->stopped = true;
        error_set(&sender->why, ERROR_INTERNAL, "read the input: %s", strerror(errno));
        (void)command_fail(sender->context, &sender->why);
        return false;
    }
    if (size > 0)
        (void)ndjson_feed(lines, room, (size_t)size);
    else
        ndjson_finish(lines);
    return size > 0;
}

static void read_all(struct sender *sender)
{
    char *room = memory_alloc(READ_BYTES);
    struct ndjson lines;

    ndjson_start(&lines, BROKER_MESSAGE_MAX, on_line, sender);
    while (read_some(sender, &lines, room))
        continue;
    ndjson_free(&lines);
    free(room);
}

static const struct sheet_column columns[] = {
    {"stream", "STREAM", SHEET_TEXT},           {"stored", "STORED", SHEET_NUMBER},
    {"duplicates", "DUPLICATES", SHEET_NUMBER}, {"failed", "FAILED", SHEET_NUMBER},
    {"complete", "COMPLETE", SHEET_FLAG},
};

static int show(const struct sender *sender)
{
    bool complete = !sender->stopped && !command_is_interrupted();
    struct sheet sheet;

    sheet_start(&sheet, sender->context->options, columns, ARRAY_LEN(columns));
    sheet_text(&sheet, sender->target->stream);
    sheet_number(&sheet, (int64_t)sender->stored);
    sheet_number(&sheet, (int64_t)sender->duplicates);
    sheet_number(&sheet, (int64_t)sender->refused);
    sheet_number(&sheet, complete);
    sheet_end(&sheet);
    if (!complete)
        command_tell(sender->context, "stopped before the end of the input");
    if (sender->why.code != ERROR_NONE)
        return command_exit_code(&sender->why);
    return complete && sender->refused == 0 ? EXIT_DONE : EXIT_WRONG;
}

int send_lines(const struct command_context *context, const struct target *target)
{
    struct sender sender = {.context = context,
                            .target = target,
                            .flights = memory_alloc(FLIGHTS_MAX * sizeof(struct flight)),
                            .lock = PTHREAD_MUTEX_INITIALIZER,
                            .arrived = PTHREAD_COND_INITIALIZER};

    for (size_t i = 0; i < FLIGHTS_MAX; i++) {
        sender.flights[i] = (struct flight){.sender = &sender, .next = sender.free};
        sender.free = &sender.flights[i];
    }
    progress_start(&sender.progress, context->options, "sent", 0);
    read_all(&sender);
    while (sender.in_flight > 0) /* every publish is answered within its timeout */
        collect(&sender, STEP_MS);
    progress_end(&sender.progress);
    int code = show(&sender);
    pthread_cond_destroy(&sender.arrived);
    pthread_mutex_destroy(&sender.lock);
    free(sender.flights);
    return code;
}
