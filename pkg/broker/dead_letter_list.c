#include "broker/dead_letter_walk.h"

#include "base/rfc3339.h"

#include <stdio.h>
#include <string.h>

#define BITE_MAX 64         /* letters asked for at a time */
#define RESERVE_MAX_MS 1000 /* of the time, for what is done with the letters */
#define FLOOR_MS 20

/* ---- the filter ---- */

bool dead_filter_is_empty(const struct dead_filter *filter)
{
    return !filter->stream && !filter->consumer && !filter->reason && !filter->sequence &&
           !filter->since_ms && !filter->until_ms;
}

static bool says(const struct broker_delivery *letter, const char *header, const char *wanted)
{
    const char *value = broker_header(letter, header);

    return !wanted || (value && strcmp(value, wanted) == 0);
}

/* A letter that does not say when it was given up was stored then. */
static int64_t given_up_ms(const struct broker_delivery *letter)
{
    const char *text = broker_header(letter, DEAD_LAST);
    int64_t time_ms;

    return text && rfc3339_parse(text, strlen(text), &time_ms) ? time_ms : letter->stored_ms;
}

static bool is_in_time(const struct dead_filter *filter, const struct broker_delivery *letter)
{
    if (!filter->since_ms && !filter->until_ms)
        return true;
    int64_t time_ms = given_up_ms(letter);
    return (!filter->since_ms || time_ms >= filter->since_ms) &&
           (!filter->until_ms || time_ms < filter->until_ms);
}

static bool means(const struct dead_filter *filter, const struct broker_delivery *letter)
{
    return (!filter->sequence || strcmp(filter->sequence, letter->sequence) == 0) &&
           says(letter, DEAD_ORIGIN, filter->stream) &&
           says(letter, DEAD_CONSUMER, filter->consumer) &&
           says(letter, DEAD_REASON, filter->reason) && is_in_time(filter, letter);
}

/* ---- the walk ---- */

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

void dead_walk_start(struct dead_walk *walk, struct broker *broker,
                     const struct dead_filter *filter, const char *from, int timeout_ms)
{
    int reserve_ms = timeout_ms / 4 < RESERVE_MAX_MS ? timeout_ms / 4 : RESERVE_MAX_MS;
    int64_t until_ms = now_ms() + timeout_ms;

    *walk = (struct dead_walk){.broker = broker,
                               .filter = filter,
                               .until_ms = until_ms,
                               .last_look_ms = until_ms - reserve_ms};
    snprintf(walk->next, sizeof(walk->next), "%s", from ? from : "");
}

bool dead_walk_is_late(const struct dead_walk *walk)
{
    return walk->looked && now_ms() >= walk->last_look_ms;
}

int dead_walk_remaining_ms(const struct dead_walk *walk)
{
    int64_t left_ms = walk->until_ms - now_ms();

    return left_ms > FLOOR_MS ? (int)left_ms : FLOOR_MS;
}

/* One call of peek. It asks for one letter more than the bite, which says where the next begins. */
struct bite {
    struct dead_walk *walk;
    size_t size, seen;
    bool over;    /* the place of the next letter is known, or there is none that matters */
    bool stopped; /* and the walk ends there */
    dead_visit *visit;
    void *context;
};

static void end_bite(struct bite *bite, const char *next, bool stopped)
{
    bite->over = true;
    bite->stopped = stopped;
    snprintf(bite->walk->next, sizeof(bite->walk->next), "%s", next);
}

static void look(void *context, const struct broker_delivery *letter)
{
    struct bite *bite = context;
    struct dead_walk *walk = bite->walk;
    enum dead_step step = DEAD_GO_ON;

    if (bite->over)
        return;
    bool late = dead_walk_is_late(walk);
    if (bite->seen == bite->size || late) {
        end_bite(bite, letter->sequence, late);
        return;
    }
    walk->looked = true;
    bite->seen++;
    if (means(walk->filter, letter))
        step = bite->visit(bite->context, letter);
    if (step != DEAD_GO_ON)
        end_bite(bite, step == DEAD_STOP ? letter->sequence : "", true);
}

/* False too when DEAD is not there yet: then there are no letters. A bite that is over has what it
 * needs, however the call ended. */
static bool take_bite(struct bite *bite, struct error *err)
{
    struct dead_walk *walk = bite->walk;
    char from[BROKER_SEQUENCE_SIZE];

    memcpy(from, walk->next, sizeof(from));
    bool peeked = broker_peek(walk->broker, DEAD_STREAM, from, bite->size + 1, look, bite,
                              dead_walk_remaining_ms(walk), err);
    if (!peeked && !bite->over && err->code != ERROR_NOT_FOUND)
        return false;
    if (!bite->over)
        end_bite(bite, "", true);
    return true;
}

static bool is_no_sequence(const struct error *err)
{
    return err->code == ERROR_INVALID && strcmp(err->reason, "unsupported") != 0;
}

/* The one letter that is meant, if it is there; no letter is at a place that is none. */
static bool visit_one(struct dead_walk *walk, dead_visit *visit, void *context, struct error *err)
{
    struct bite bite = {.walk = walk, .size = 1, .visit = visit, .context = context};

    snprintf(walk->next, sizeof(walk->next), "%s", walk->filter->sequence);
    if (!take_bite(&bite, err) && !is_no_sequence(err))
        return false;
    if (!bite.stopped)
        walk->next[0] = '\0';
    return true;
}

bool dead_walk_on(struct dead_walk *walk, size_t wanted, dead_visit *visit, void *context,
                  struct error *err)
{
    size_t size = wanted < BITE_MAX ? wanted : BITE_MAX;
    bool stopped = false;

    if (walk->filter->sequence)
        return visit_one(walk, visit, context, err);
    while (!stopped) {
        struct bite bite = {
            .walk = walk, .size = size ? size : 1, .visit = visit, .context = context};
        if (!take_bite(&bite, err))
            return false;
        stopped = bite.stopped || dead_walk_is_late(walk);
        size = bite.size * 2 < BITE_MAX ? bite.size * 2 : BITE_MAX; /* few of them are meant */
    }
    return true;
}

/* ---- list and get ---- */

struct viewer {
    struct dead_page *page;
    broker_peeked *each;
    void *context;
};

static enum dead_step show(void *context, const struct broker_delivery *letter)
{
    struct viewer *viewer = context;

    if (viewer->page->count == viewer->page->max)
        return DEAD_STOP;
    viewer->page->count++;
    viewer->each(viewer->context, letter);
    return DEAD_GO_ON;
}

// The interface's parameters are more than our functions have otherwise.
// NOLINTNEXTLINE(readability-function-size)
bool dead_letter_list(struct broker *broker, const struct dead_filter *filter,
                      struct dead_page *page, broker_peeked *each, void *context, int timeout_ms,
                      struct error *err)
{
    struct viewer viewer = {.page = page, .each = each, .context = context};
    struct dead_walk walk;

    dead_walk_start(&walk, broker, filter, page->from, timeout_ms);
    page->count = 0;
    bool walked = dead_walk_on(&walk, page->max, show, &viewer, err);
    memcpy(page->next, walk.next, sizeof(page->next));
    return walked || error_wrap(err, "list dead letters");
}

bool dead_letter_get(struct broker *broker, const char *sequence, broker_peeked *each,
                     void *context, int timeout_ms, struct error *err)
{
    const struct dead_filter filter = {.sequence = sequence};
    struct dead_page page = {.from = "", .max = 1};

    if (!dead_letter_list(broker, &filter, &page, each, context, timeout_ms, err))
        return false;
    return page.count || error_set(err, ERROR_NOT_FOUND, "there is no dead letter '%s'", sequence);
}
