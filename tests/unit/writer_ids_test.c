#include "ids.h"

#include "support/test.h"

#include <string.h>

#define MOST 50
#define SLACK 20

static struct id number_id(uint32_t number)
{
    return id_derive("test", &number, sizeof(number));
}

static bool add(struct ids *ids, uint32_t number)
{
    struct id id = number_id(number);

    return ids_add(ids, &id);
}

static void an_id_is_new_once(void **state)
{
    AUTO(ids_free) struct ids *ids = ids_new(MOST, SLACK);

    (void)state;
    assert_true(add(ids, 1));
    assert_false(add(ids, 1));
    assert_true(add(ids, 2));
    assert_int_equal(ids_count(ids), 2);
}

static void the_zero_id_is_an_id(void **state)
{
    AUTO(ids_free) struct ids *ids = ids_new(MOST, SLACK);
    struct id zero = {0};

    (void)state;
    assert_true(ids_add(ids, &zero));
    assert_false(ids_add(ids, &zero));
}

static void trimming_forgets_the_oldest(void **state)
{
    AUTO(ids_free) struct ids *ids = ids_new(MOST, SLACK);

    (void)state;
    for (uint32_t i = 0; i < MOST + 3; i++)
        assert_true(add(ids, i));
    assert_int_equal(ids_count(ids), MOST + 3);
    ids_trim(ids);
    assert_int_equal(ids_count(ids), MOST);
    for (uint32_t i = 3; i < MOST + 3; i++)
        assert_false(add(ids, i));
    for (uint32_t i = 0; i < 3; i++)
        assert_true(add(ids, i));
}

static void what_is_taken_back_was_never_there(void **state)
{
    AUTO(ids_free) struct ids *ids = ids_new(MOST, SLACK);

    (void)state;
    for (uint32_t i = 0; i < 10; i++)
        assert_true(add(ids, i));
    ids_take_back(ids, 4);
    assert_int_equal(ids_count(ids), 6);
    for (uint32_t i = 0; i < 6; i++)
        assert_false(add(ids, i));
    for (uint32_t i = 6; i < 10; i++)
        assert_true(add(ids, i));
}

static void more_than_there_is_room_for_forgets_the_oldest(void **state)
{
    AUTO(ids_free) struct ids *ids = ids_new(MOST, SLACK);

    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(add(ids, i));
    assert_int_equal(ids_count(ids), MOST + SLACK);
    assert_false(add(ids, 999));
    assert_true(add(ids, 1000 - MOST - SLACK - 1));
}

/* A list that is searched from end to end says what must come out. */
struct model {
    uint32_t list[MOST + SLACK];
    size_t count;
};

static bool model_add(struct model *model, uint32_t number)
{
    for (size_t i = 0; i < model->count; i++)
        if (model->list[i] == number)
            return false;
    if (model->count == MOST + SLACK)
        memmove(model->list, model->list + 1, --model->count * sizeof(*model->list));
    model->list[model->count++] = number;
    return true;
}

static void model_trim(struct model *model)
{
    while (model->count > MOST)
        memmove(model->list, model->list + 1, --model->count * sizeof(*model->list));
}

static void it_behaves_like_a_list(void **state)
{
    AUTO(ids_free) struct ids *ids = ids_new(MOST, SLACK);
    struct model model = {0};

    (void)state;
    for (int step = 0; step < 200000; step++) {
        uint32_t choice = id_random();
        if (choice % 16 == 0) {
            ids_trim(ids);
            model_trim(&model);
        } else if (choice % 16 == 1) {
            size_t count = choice / 16 % 5;
            ids_take_back(ids, count);
            model.count -= count < model.count ? count : model.count;
        } else {
            uint32_t number = choice / 16 % 120;
            assert_int_equal(add(ids, number), model_add(&model, number));
        }
        assert_int_equal(ids_count(ids), model.count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_new_once),
        cmocka_unit_test(the_zero_id_is_an_id),
        cmocka_unit_test(trimming_forgets_the_oldest),
        cmocka_unit_test(what_is_taken_back_was_never_there),
        cmocka_unit_test(more_than_there_is_room_for_forgets_the_oldest),
        cmocka_unit_test(it_behaves_like_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
