#include "support/test.h"

#include "broker/nats_slots.h"

#define COUNT 3

static void done(void *context, const struct broker_receipt *receipt)
{
    (void)context, (void)receipt;
}

static struct nats_slot *take(struct nats_slots *slots)
{
    struct nats_slot *slot = nats_slots_take(slots);

    slot->done = done;
    return slot;
}

static void tokens_name_one_use(void **state)
{
    struct nats_slots slots;
    char tokens[COUNT][NATS_TOKEN_SIZE + 1], again[NATS_TOKEN_SIZE + 1];
    struct nats_slot *taken[COUNT];

    (void)state;
    nats_slots_init(&slots, COUNT);
    for (int i = 0; i < COUNT; i++) {
        taken[i] = take(&slots);
        nats_slots_token(&slots, taken[i], tokens[i]);
    }
    for (int i = 0; i < COUNT; i++)
        assert_ptr_equal(nats_slots_find(&slots, tokens[i]), taken[i]);

    assert_null(nats_slots_give_back(&slots, taken[1]));
    assert_ptr_equal(take(&slots), taken[1]);
    assert_null(nats_slots_find(&slots, tokens[1]));
    nats_slots_token(&slots, taken[1], again);
    assert_ptr_equal(nats_slots_find(&slots, again), taken[1]);
    taken[1]->done = NULL; /* told, and not given back yet */
    assert_null(nats_slots_find(&slots, again));
    nats_slots_free(&slots);
}

struct token_row {
    const char *name, *token;
};

static const struct token_row token_rows[] = {
    {"empty", ""},
    {"too short", "0000000000"},
    {"too long", "000000000000"},
    {"a digit that is none", "0000000000w"},
    {"an upper case digit", "0000000000A"},
    {"a slot that is not there", "00000000003"},
    {"a use that was not yet", "00000010000"},
};

static void refuses_token(void **state)
{
    const struct token_row *row = *state;
    struct nats_slots slots;

    nats_slots_init(&slots, COUNT);
    take(&slots);
    assert_non_null(nats_slots_find(&slots, "00000000000"));
    assert_null(nats_slots_find(&slots, row->token));
    nats_slots_free(&slots);
}

static void are_bounded(void **state)
{
    struct nats_slots slots;
    struct nats_slot *slot = NULL;

    (void)state;
    nats_slots_init(&slots, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_false(nats_slots_all_taken(&slots));
        slot = nats_slots_take(&slots);
    }
    assert_true(nats_slots_all_taken(&slots));
    assert_int_equal(slots.used, COUNT);
    assert_null(nats_slots_give_back(&slots, slot));
    assert_false(nats_slots_all_taken(&slots));
    nats_slots_free(&slots);
}

static void queue_in_order(void **state)
{
    struct nats_slots slots;
    struct nats_slot *first, *second;

    (void)state;
    nats_slots_init(&slots, COUNT);
    first = nats_slots_take(&slots);
    second = nats_slots_take(&slots);
    for (int round = 0; round < 2; round++) {
        nats_slots_queue(&slots, second);
        nats_slots_queue(&slots, first);
        assert_int_equal(slots.queue_count, 2);
        assert_ptr_equal(nats_slots_unqueue(&slots), second);
        assert_ptr_equal(nats_slots_unqueue(&slots), first);
        assert_int_equal(slots.queue_count, 0);
    }
    nats_slots_free(&slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_name_one_use),
        cmocka_unit_test(are_bounded),
        cmocka_unit_test(queue_in_order),
    };

    return cmocka_run_group_tests_name("nats_slots", tests, NULL, NULL) +
           RUN_ROWS(token_rows, refuses_token);
}
