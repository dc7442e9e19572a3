#include "support/test.h"

#include "base/arena.h"

#include <string.h>

static void survives_growth_and_reset(void **state)
{
    AUTO(arena_free) struct arena *arena = arena_new(64);

    (void)state;
    for (int round = 0; round < 3; round++) {
        char *first = arena_copy(arena, "first", 5);
        char *large = arena_alloc(arena, 1000);
        assert_int_equal((uintptr_t)large % 16, 0);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(large[i], 0);
        memset(large, 0xff, 1000);
        assert_string_equal(first, "first");
        arena_reset(arena);
    }
}

static void used_memory_is_zeroed_again(void **state)
{
    AUTO(arena_free) struct arena *arena = arena_new(256);

    (void)state;
    memset(arena_alloc(arena, 200), 0xff, 200);
    arena_reset(arena);
    const char *again = arena_alloc(arena, 200);
    for (int i = 0; i < 200; i++)
        assert_int_equal(again[i], 0);
}

static void allocations_do_not_overlap(void **state)
{
    AUTO(arena_free) struct arena *arena = arena_new(128);
    unsigned char *pieces[200];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        pieces[i] = arena_alloc(arena, i);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)i, i);
    }
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        for (size_t at = 0; at < i; at++)
            assert_int_equal(pieces[i][at], i);
}

static void a_large_piece_leaves_the_chunk_in_use(void **state)
{
    AUTO(arena_free) struct arena *arena = arena_new(64);
    const char *before = arena_alloc(arena, 16);

    (void)state;
    arena_alloc(arena, 100000);
    assert_ptr_equal(arena_alloc(arena, 16), before + 16);
}

static void a_copy_takes_bytes_and_ends_them(void **state)
{
    AUTO(arena_free) struct arena *arena = arena_new(64);

    (void)state;
    memset(arena_alloc(arena, 64), 0xff, 64);
    arena_reset(arena);
    assert_string_equal(arena_copy(arena, "text and more", 4), "text");
    assert_memory_equal(arena_copy(arena, "a\0b", 3), "a\0b", 4);
    assert_string_equal(arena_copy(arena, NULL, 0), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_growth_and_reset),
        cmocka_unit_test(used_memory_is_zeroed_again),
        cmocka_unit_test(allocations_do_not_overlap),
        cmocka_unit_test(a_large_piece_leaves_the_chunk_in_use),
        cmocka_unit_test(a_copy_takes_bytes_and_ends_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
