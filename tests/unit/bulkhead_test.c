#include "support/test.h"

#include "base/macros.h"
#include "resilience/bulkhead.h"

#include <stdlib.h>

/*
 * A script, one letter a step. Someone comes and E enters, W waits, R is refused; l leaves and
 * nobody takes the place, L leaves and one who waits does; g gives up waiting.
 */
static const struct row {
    const char *name;
    int limit, queue;
    const char *script;
    int inside, waiting; /* at the end */
} rows[] = {
    {"a new bulkhead is empty", 2, 0, "", 0, 0},
    {"as many as the limit enter", 2, 0, "EE", 2, 0},
    {"without a queue the next is refused", 2, 0, "EERR", 2, 0},
    {"a place left is a place free", 2, 0, "EERlER", 2, 0},
    {"all leave", 2, 0, "EEll", 0, 0},
    {"with a queue the next waits", 1, 2, "EWWR", 1, 2},
    {"a place left goes to one who waits", 1, 2, "EWL", 1, 0},
    {"a newcomer does not overtake", 1, 2, "EWWLW", 1, 2},
    {"the queue empties, then the place is free", 1, 2, "EWWLLlE", 1, 0},
    {"one who gives up leaves room in the queue", 1, 1, "EWRgWR", 1, 1},
    {"for one who gave up nobody enters", 1, 1, "EWgl", 0, 0},
    {"without a limit nobody enters or waits", 0, 5, "RR", 0, 0},
};

static void check_step(struct bulkhead *bulkhead, char step)
{
    static const char verdicts[] = {
        [BULKHEAD_ENTERED] = 'E', [BULKHEAD_WAITS] = 'W', [BULKHEAD_REFUSED] = 'R'};

    if (step == 'l' || step == 'L')
        assert_int_equal(bulkhead_leave(bulkhead), step == 'L');
    else if (step == 'g')
        bulkhead_give_up(bulkhead);
    else
        assert_int_equal(verdicts[bulkhead_enter(bulkhead)], step);
}

static void follows(void **state)
{
    const struct row *row = *state;
    struct bulkhead bulkhead = {.limit = row->limit, .queue = row->queue};

    for (const char *step = row->script; *step; step++)
        check_step(&bulkhead, *step);
    assert_int_equal(bulkhead.inside, row->inside);
    assert_int_equal(bulkhead.waiting, row->waiting);
}

static void counts_what_became_of_each(void **state)
{
    struct bulkhead bulkhead = {.limit = 1, .queue = 2};

    (void)state;
    for (const char *step = "EWWRRLgl"; *step; step++)
        check_step(&bulkhead, *step);
    assert_int_equal(bulkhead.entered, 2);
    assert_int_equal(bulkhead.refused, 2);
    assert_int_equal(bulkhead.gave_up, 1);
}

/* ---- whoever comes and goes ---- */

/* What the owner knows from the answers alone. */
struct owner {
    struct bulkhead bulkhead;
    int inside, waiting;
    uint64_t came, left;
};

static void come(struct owner *owner)
{
    enum bulkhead_verdict verdict = bulkhead_enter(&owner->bulkhead);

    owner->came++;
    owner->inside += verdict == BULKHEAD_ENTERED;
    owner->waiting += verdict == BULKHEAD_WAITS;
}

static void go(struct owner *owner)
{
    bool handed_over = bulkhead_leave(&owner->bulkhead);

    owner->left++;
    owner->inside -= !handed_over;
    owner->waiting -= handed_over;
}

static void check_owner(const struct owner *owner)
{
    const struct bulkhead *bulkhead = &owner->bulkhead;

    assert_in_range(owner->inside, 0, bulkhead->limit);
    assert_in_range(owner->waiting, 0, bulkhead->queue);
    assert_true(owner->waiting == 0 || owner->inside == bulkhead->limit);
    assert_int_equal(bulkhead->inside, owner->inside);
    assert_int_equal(bulkhead->waiting, owner->waiting);
    assert_int_equal(bulkhead->entered, owner->left + (uint64_t)owner->inside);
    assert_int_equal(bulkhead->entered + bulkhead->refused + bulkhead->gave_up +
                         (uint64_t)owner->waiting,
                     owner->came);
}

static void step_at_random(struct owner *owner, long chance)
{
    if (chance < 6) {
        come(owner);
    } else if (chance < 9 && owner->inside > 0) {
        go(owner);
    } else if (chance == 9 && owner->waiting > 0) {
        bulkhead_give_up(&owner->bulkhead);
        owner->waiting--;
    }
}

static void never_holds_more_than_its_limits(void **state)
{
    unsigned short seed[3] = {3, 2, 1};

    (void)state;
    for (int round = 0; round < 50; round++) {
        struct owner owner = {
            .bulkhead = {.limit = (int)(1 + nrand48(seed) % 8), .queue = (int)(nrand48(seed) % 8)}};
        for (int i = 0; i < 2000; i++) {
            step_at_random(&owner, nrand48(seed) % 10);
            check_owner(&owner);
        }
        assert_true(owner.bulkhead.refused > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_what_became_of_each),
        cmocka_unit_test(never_holds_more_than_its_limits),
    };

    return RUN_ROWS(rows, follows) + cmocka_run_group_tests(tests, NULL, NULL);
}
