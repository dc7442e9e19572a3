#include "journal.h"

#include "event_form.h"

#include "base/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct journal {
    pthread_mutex_t lock;
    FILE *file;       /* guarded by lock, with what follows */
    int failed_errno; /* of the first write that failed */
};

bool journal_open(struct journal **out, const char *path, struct error *err)
{
    FILE *file = fopen(path, "we");

    if (!file)
        return error_set(err, ERROR_INVALID, "--journal '%s': %s", path, strerror(errno));
    *out = memory_alloc(sizeof(**out));
    pthread_mutex_init(&(*out)->lock, NULL);
    (*out)->file = file;
    return true;
}

static void write_parking(struct json_writer *writer, const struct traffic_event *event)
{
    char place[EVENT_PLACE_SIZE];

    if (event->kind != TRAFFIC_ENTRY && event->kind != TRAFFIC_EXIT)
        return;
    event_place(event, place);
    json_text(writer, "garage", place);
    json_text(writer, "plate", event->plate);
}

static void form_line(const struct journal_entry *entry, struct buffer *line)
{
    AUTO(buffer_free) struct buffer event = {0};
    struct json_writer writer = {.out = line};
    char id[ID_TEXT_SIZE];

    event_form(entry->event, &event);
    id_format(&entry->event->id, id);
    json_open(&writer, NULL, '{');
    json_text(&writer, "kind", event_routes[entry->event->kind].kind);
    json_text(&writer, "id", id);
    json_time(&writer, "time", entry->event->time_ms);
    write_parking(&writer, entry->event);
    json_text(&writer, "outcome", tally_outcome_words[entry->outcome]);
    json_int(&writer, "status", entry->status);
    json_int(&writer, "attempts", entry->attempts);
    if (*entry->reason)
        json_text(&writer, "reason", entry->reason);
    json_raw(&writer, "event", event.data, event.size);
    json_close(&writer, '}');
    buffer_append(line, "\n", 1);
}

void journal_write(struct journal *journal, const struct journal_entry *entry)
{
    AUTO(buffer_free) struct buffer line = {0};

    if (!journal)
        return;
    form_line(entry, &line);
    pthread_mutex_lock(&journal->lock);
    if (!journal->failed_errno && fwrite(line.data, 1, line.size, journal->file) != line.size)
        journal->failed_errno = errno;
    pthread_mutex_unlock(&journal->lock);
}

bool journal_finish(struct journal *journal, struct error *err)
{
    if (!journal)
        return true;
    pthread_mutex_lock(&journal->lock);
    if (fflush(journal->file) != 0 && !journal->failed_errno)
        journal->failed_errno = errno;
    int failed = journal->failed_errno;
    pthread_mutex_unlock(&journal->lock);
    return !failed || error_set(err, ERROR_INTERNAL, "write the journal: %s", strerror(failed));
}

void journal_close(struct journal *journal)
{
    if (!journal)
        return;
    (void)fclose(journal->file); /* journal_finish has said what there is to say */
    pthread_mutex_destroy(&journal->lock);
    free(journal);
}
