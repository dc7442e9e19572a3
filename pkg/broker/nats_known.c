#include "broker/nats_known.h"

#include "base/memory.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct told {
    const char *key; /* in the tree: its own */
    uint64_t revision;
    unsigned round;
};

/* What a walk over the tree chose; the tree must not change meanwhile. */
struct choice {
    unsigned round;
    struct told **all;
    size_t count, room;
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct told *)a)->key, ((const struct told *)b)->key);
}

static void told_free(void *told)
{
    free((char *)((struct told *)told)->key);
    free(told);
}

static struct told *find(const struct nats_known *known, const char *key)
{
    const struct told wanted = {.key = key};
    struct told *const *found = tfind(&wanted, &known->tree, compare);

    return found ? *found : NULL;
}

static void add(struct nats_known *known, const char *key, uint64_t revision)
{
    struct told *told = memory_alloc(sizeof(*told));

    *told = (struct told){memory_text(key), revision, known->round};
    if (!tsearch(told, &known->tree, compare))
        abort(); /* out of memory */
}

static void forget(struct nats_known *known, struct told *told)
{
    tdelete(told, &known->tree, compare);
    told_free(told);
}

static void reset_revision(const void *node, VISIT visit, void *closure)
{
    (void)closure;
    if (visit == postorder || visit == leaf)
        (*(struct told *const *)node)->revision = 0;
}

void nats_known_begin(struct nats_known *known, bool strangers)
{
    known->round++;
    if (strangers)
        twalk_r(known->tree, reset_revision, NULL);
}

enum nats_news nats_known_see(struct nats_known *known, const char *key, uint64_t revision,
                              bool deleted)
{
    struct told *told = find(known, key);

    if (!told && deleted)
        return NATS_NEVER_THERE;
    if (!told) {
        add(known, key, revision);
        return NATS_NEW;
    }
    told->round = known->round;
    if (revision <= told->revision)
        return NATS_OLD;
    told->revision = revision;
    if (!deleted)
        return NATS_NEW;
    forget(known, told);
    return NATS_DELETED;
}

static void choose_unseen(const void *node, VISIT visit, void *closure)
{
    struct told *told = *(struct told *const *)node;
    struct choice *choice = closure;

    if ((visit != postorder && visit != leaf) || told->round == choice->round)
        return;
    if (choice->count == choice->room) {
        choice->room = choice->room ? 2 * choice->room : 16;
        choice->all = memory_resize(choice->all, choice->room * sizeof(*choice->all)); // NOLINT
    }
    choice->all[choice->count++] = told;
}

void nats_known_end(struct nats_known *known, void (*gone)(void *context, const char *key),
                    void *context)
{
    struct choice choice = {.round = known->round};

    twalk_r(known->tree, choose_unseen, &choice);
    for (size_t i = 0; i < choice.count; i++) {
        gone(context, choice.all[i]->key);
        forget(known, choice.all[i]);
    }
    free(choice.all);
}

void nats_known_free(struct nats_known *known)
{
    tdestroy(known->tree, told_free);
    known->tree = NULL;
}
