#include "support/test.h"

#include "domain/elevator/stops.h"

#define LIMIT 12
#define NONE                                                                                       \
    0,                                                                                             \
    {                                                                                              \
        0                                                                                          \
    }

struct floors {
    int count, at[LIMIT];
};

static struct floor_set set_of(const struct floors *floors)
{
    struct floor_set set = {{0}};

    for (int i = 0; i < floors->count; i++)
        floor_set_add(&set, floors->at[i]);
    return set;
}

static const struct order {
    const char *name;
    struct floors riders, up, down;
    int floor, direction;
    struct floors want;
} orders[] = {
    {"nothing to do", {NONE}, {NONE}, {NONE}, 3, ELEVATOR_UP, {NONE}},
    {"riders ahead in the order of floors",
     {3, {7, 5, 9}},
     {NONE},
     {NONE},
     3,
     ELEVATOR_UP,
     {3, {5, 7, 9}}},
    {"what lies ahead comes before what lies behind",
     {2, {2, 8}},
     {NONE},
     {NONE},
     5,
     ELEVATOR_UP,
     {2, {8, 2}}},
    {"calls of its direction on the way", {1, {9}}, {1, {6}}, {NONE}, 4, ELEVATOR_UP, {2, {6, 9}}},
    {"calls of the other direction on the way back",
     {1, {9}},
     {NONE},
     {1, {6}},
     4,
     ELEVATOR_UP,
     {2, {9, 6}}},
    {"the farthest call turns the car", {NONE}, {NONE}, {2, {8, 6}}, 4, ELEVATOR_UP, {2, {8, 6}}},
    {"a call that is behind, in its direction, comes third",
     {1, {6}},
     {1, {1}},
     {1, {3}},
     4,
     ELEVATOR_UP,
     {3, {6, 3, 1}}},
    {"a floor asked for three times is one stop",
     {1, {6}},
     {1, {6}},
     {1, {6}},
     4,
     ELEVATOR_UP,
     {1, {6}}},
    {"the floor it comes to is included", {1, {4}}, {NONE}, {NONE}, 4, ELEVATOR_UP, {1, {4}}},
    {"downwards", {2, {1, 3}}, {1, {2}}, {1, {2}}, 5, ELEVATOR_DOWN, {4, {3, 2, 1, 2}}},
    {"beyond the first word of a set",
     {2, {200, 70}},
     {NONE},
     {NONE},
     1,
     ELEVATOR_UP,
     {2, {70, 200}}},
};

static void order(void **state)
{
    const struct order *row = *state;
    struct stops stops = {set_of(&row->riders), {set_of(&row->up), set_of(&row->down)}};
    int out[LIMIT], count = stops_list(&stops, row->floor, row->direction, out, LIMIT);

    assert_int_equal(count, row->want.count);
    for (int i = 0; i < count; i++)
        assert_int_equal(out[i], row->want.at[i]);
}

static const struct stop {
    const char *name;
    struct floors riders, up, down;
    bool full, want;
} stop_rows[] = {
    {"a rider", {1, {5}}, {NONE}, {NONE}, false, true},
    {"a rider of a full car", {1, {5}}, {NONE}, {NONE}, true, true},
    {"a call that way", {1, {9}}, {1, {5}}, {NONE}, false, true},
    {"a full car passes a call", {1, {9}}, {1, {5}}, {NONE}, true, false},
    {"a call the other way, with a rider beyond", {1, {9}}, {NONE}, {1, {5}}, false, false},
    {"a call the other way, with a call beyond", {NONE}, {1, {9}}, {1, {5}}, false, false},
    {"a call the other way, nothing beyond", {NONE}, {NONE}, {1, {5}}, false, true},
    {"nothing", {1, {9}}, {NONE}, {NONE}, false, false},
};

static void stop(void **state)
{
    const struct stop *row = *state;
    struct stops stops = {set_of(&row->riders), {set_of(&row->up), set_of(&row->down)}};

    assert_int_equal(stops_at(&stops, 5, ELEVATOR_UP, row->full), row->want);
}

static void a_list_is_bounded(void **state)
{
    struct stops stops = {.riders = {{UINT64_MAX}}};
    int out[LIMIT];

    (void)state;
    assert_int_equal(stops_list(&stops, 0, ELEVATOR_UP, out, 5), 5);
    assert_int_equal(out[4], 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_list_is_bounded)};

    return RUN_ROWS(orders, order) + RUN_ROWS(stop_rows, stop) +
           cmocka_run_group_tests_name("stops", tests, NULL, NULL);
}
