#include "broker/dead_letter.h"

#include "broker/broker_driver.h"

#include <stdio.h>
#include <string.h>

/* What a peek hands over on its way to the caller. */
struct viewer {
    const struct dead_filter *filter; /* NULL: one letter is meant, whatever it says */
    const char *sequence;             /* the one that is meant, or NULL */
    struct dead_page *page;           /* NULL: no page is wanted */
    size_t seen, shown;
    broker_peeked *each;
    void *context;
};

static bool says(const struct broker_delivery *letter, const char *header, const char *wanted)
{
    const char *value = broker_header(letter, header);

    return !wanted || (value && strcmp(value, wanted) == 0);
}

static bool is_meant(const struct viewer *viewer, const struct broker_delivery *letter)
{
    const struct dead_filter *filter = viewer->filter;

    if (viewer->sequence)
        return strcmp(letter->sequence, viewer->sequence) == 0;
    return says(letter, DEAD_ORIGIN, filter->stream) &&
           says(letter, DEAD_CONSUMER, filter->consumer) &&
           says(letter, DEAD_REASON, filter->reason);
}

/* The one letter too many says where the next page begins. */
static void view(void *context, const struct broker_delivery *letter)
{
    struct viewer *viewer = context;

    if (viewer->page && viewer->seen++ == viewer->page->max) {
        snprintf(viewer->page->next, sizeof(viewer->page->next), "%s", letter->sequence);
        return;
    }
    if (!is_meant(viewer, letter))
        return;
    viewer->shown++;
    viewer->each(viewer->context, letter);
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
bool dead_letter_list(struct broker *broker, const struct dead_filter *filter,
                      struct dead_page *page, broker_peeked *each, void *context, int timeout_ms,
                      struct error *err)
{
    struct viewer viewer = {.filter = filter, .page = page, .each = each, .context = context};

    page->next[0] = '\0';
    return broker_peek(broker, DEAD_STREAM, page->from, page->max + 1, view, &viewer, timeout_ms,
                       err);
}

bool dead_letter_get(struct broker *broker, const char *sequence, broker_peeked *each,
                     void *context, int timeout_ms, struct error *err)
{
    struct viewer viewer = {.sequence = sequence, .each = each, .context = context};

    if (!broker_peek(broker, DEAD_STREAM, sequence, 1, view, &viewer, timeout_ms, err))
        return false;
    return viewer.shown || error_set(err, ERROR_NOT_FOUND, "no dead letter '%s'", sequence);
}

static bool unsupported(const struct broker *broker, const char *what, struct error *err)
{
    return error_input(err, "unsupported", "", "%s:// cannot %s dead letters",
                       broker->driver->scheme, what);
}

bool dead_letter_replay(struct broker *broker, const struct dead_filter *filter,
                        struct dead_work *work, int timeout_ms, struct error *err)
{
    (void)filter, (void)work, (void)timeout_ms;
    return unsupported(broker, "replay", err);
}

bool dead_letter_purge(struct broker *broker, const struct dead_filter *filter,
                       struct dead_work *work, int timeout_ms, struct error *err)
{
    (void)filter, (void)work, (void)timeout_ms;
    return unsupported(broker, "purge", err);
}

bool dead_filter_is_empty(const struct dead_filter *filter)
{
    return !filter->stream && !filter->consumer && !filter->reason && !filter->sequence &&
           !filter->since_ms && !filter->until_ms;
}
