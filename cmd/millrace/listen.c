#include "tail.h"

#include "option.h"
#include "patience.h"
#include "sheet.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/rfc3339.h"
#include "broker/announce.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HEARD_MAX 4096 /* that wait to be shown; beyond: a gap */
#define HEARD_BYTES_MAX ((size_t)32 << 20)
#define LOOK_MS 200 /* between two looks whether anybody reads */

struct heard {
    struct heard *next;
    char *topic; /* "": a gap */
    char *data;
    size_t size;
    int64_t heard_ms;
};

/* Between the driver's thread, which never waits, and the one that writes. */
struct ear {
    int bell; /* an eventfd: something was heard */
    pthread_mutex_t lock;
    struct heard *first, **end; /* guarded by lock, with everything below it */
    size_t count, bytes;
    bool lost; /* since the last one in the queue */
};

static void append(struct ear *ear, const char *topic, const void *data, size_t size)
{
    struct heard *heard = memory_alloc(sizeof(*heard));

    heard->topic = memory_text(topic);
    heard->data = memory_copy(data ? data : "", size);
    heard->size = size;
    heard->heard_ms = clock_wall_ms(clock_system());
    *ear->end = heard;
    ear->end = &heard->next;
    ear->count++;
    ear->bytes += size;
}

static void on_heard(void *context, enum broker_heard what, const char *topic, const void *data,
                     size_t size)
{
    struct ear *ear = context;

    pthread_mutex_lock(&ear->lock);
    bool full = ear->count >= HEARD_MAX || ear->bytes + size > HEARD_BYTES_MAX;
    if (full || what == BROKER_GAP)
        ear->lost = true;
    if (!full) {
        if (ear->lost)
            append(ear, "", NULL, 0);
        ear->lost = false;
        if (what == BROKER_HEARD)
            append(ear, topic, data, size);
    }
    pthread_mutex_unlock(&ear->lock);
    (void)!eventfd_write(ear->bell, 1);
}

static struct heard *take_all(struct ear *ear)
{
    eventfd_t ignored;

    (void)!eventfd_read(ear->bell, &ignored);
    pthread_mutex_lock(&ear->lock);
    struct heard *all = ear->first;
    ear->first = NULL;
    ear->end = &ear->first;
    ear->count = ear->bytes = 0;
    if (ear->lost) { /* the end of a flood is told even when nothing follows it */
        append(ear, "", NULL, 0);
        ear->lost = false;
        (void)!eventfd_write(ear->bell, 1);
    }
    pthread_mutex_unlock(&ear->lock);
    return all;
}

static void free_heard(struct heard *heard)
{
    free(heard->topic);
    free(heard->data);
    free(heard);
}

static bool show_gap(const struct command_context *context, int64_t heard_ms)
{
    AUTO(buffer_free) struct buffer line = {0};
    struct json_writer writer = {.out = &line};
    char time[RFC3339_SIZE];

    rfc3339_format(heard_ms, time);
    if (context->options->json) {
        json_open(&writer, NULL, '{');
        json_bool(&writer, "gap", true);
        json_text(&writer, "time", time);
        json_close(&writer, '}');
    } else {
        buffer_print(&line, "%s  GAP", time);
    }
    print_line(&line);
    return !stdout_is_closed();
}

static bool show(const struct command_context *context, const struct heard *heard)
{
    const struct broker_delivery message = {.subject = heard->topic,
                                            .id = "",
                                            .sequence = NULL,
                                            .data = heard->data,
                                            .size = heard->size,
                                            .stored_ms = heard->heard_ms};

    if (!*heard->topic)
        return show_gap(context, heard->heard_ms);
    return tail_show(context, NULL, &message);
}

static void write_all(const struct command_context *context, struct ear *ear)
{
    int64_t max = context->options->max, shown = 0;
    bool goes_on = true;

    while (goes_on && patience_wait(ear->bell, LOOK_MS) != PATIENCE_INTERRUPTED) {
        struct heard *next, *heard = take_all(ear);
        for (; heard; heard = next) {
            next = heard->next;
            goes_on = goes_on && show(context, heard);
            shown += *heard->topic != '\0';
            goes_on = goes_on && !(max > 0 && shown >= max);
            free_heard(heard);
        }
        goes_on = goes_on && !stdout_is_closed();
    }
}

int tail_listen(const struct command_context *context)
{
    struct ear ear = {.lock = PTHREAD_MUTEX_INITIALIZER,
                      .bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    struct broker_listener *listener = NULL;
    struct error err;

    ear.end = &ear.first;
    if (option_is_given(context->options, OPTION_SINCE))
        return command_misused(context, "tail: announcements have no history: leave out --since");
    if (ear.bell < 0) {
        error_set(&err, ERROR_INTERNAL, "eventfd: %s", strerror(errno));
        return command_fail(context, &err);
    }
    bool ok =
        broker_ping(context->broker, context->options->timeout_ms, &err) &&
        broker_listen(&listener, context->broker, context->arguments[0], on_heard, &ear, &err);
    if (ok)
        write_all(context, &ear);
    broker_unlisten(listener);
    for (struct heard *next, *heard = take_all(&ear); heard; heard = next) {
        next = heard->next;
        free_heard(heard);
    }
    close(ear.bell);
    pthread_mutex_destroy(&ear.lock);
    return ok ? EXIT_DONE : command_fail(context, &err);
}
