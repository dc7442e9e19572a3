#include "support/test.h"

#include "base/clock.h"

#include <pthread.h>
#include <time.h>

#define ADVANCES 10000

static void system_shows_the_time_of_the_machine(void **state)
{
    const struct clock *clock = clock_system();
    int64_t before_ms = (int64_t)time(NULL) * 1000;
    int64_t wall_ms = clock_wall_ms(clock);

    (void)state;
    assert_in_range(wall_ms, before_ms, before_ms + 60000);
}

static void steady_time_never_goes_back(void **state)
{
    int64_t last_ms = clock_steady_ms(clock_system()), last_ns = clock_nanoseconds();

    (void)state;
    assert_in_range(last_ns / 1000000 - last_ms, 0, 60000);
    for (int i = 0; i < 1000; i++) {
        int64_t now_ms = clock_steady_ms(clock_system()), now_ns = clock_nanoseconds();
        assert_true(now_ms >= last_ms);
        assert_true(now_ns >= last_ns);
        last_ms = now_ms;
        last_ns = now_ns;
    }
}

static void fake_shows_what_it_was_told(void **state)
{
    struct clock_fake fake;

    (void)state;
    clock_fake_start(&fake, 1000);
    assert_int_equal(clock_wall_ms(&fake.clock), 1000);
    clock_fake_advance(&fake, 250);
    assert_int_equal(clock_wall_ms(&fake.clock), 1250);
    assert_int_equal(clock_steady_ms(&fake.clock), 1250);
}

static void *advance(void *context)
{
    for (int i = 0; i < ADVANCES; i++)
        clock_fake_advance(context, 1);
    return NULL;
}

static void fake_is_read_while_it_advances(void **state)
{
    struct clock_fake fake;
    pthread_t thread;
    int64_t last_ms = 0;

    (void)state;
    clock_fake_start(&fake, 0);
    assert_int_equal(pthread_create(&thread, NULL, advance, &fake), 0);
    for (int i = 0; i < ADVANCES; i++) {
        int64_t now_ms = clock_steady_ms(&fake.clock);
        assert_true(now_ms >= last_ms);
        last_ms = now_ms;
    }
    pthread_join(thread, NULL);
    assert_int_equal(clock_wall_ms(&fake.clock), ADVANCES);
}

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    bool rings; /* guarded by lock */
};

static void *ring(void *context)
{
    struct bell *bell = context;

    pthread_mutex_lock(&bell->lock);
    bell->rings = true;
    pthread_cond_signal(&bell->rung);
    pthread_mutex_unlock(&bell->lock);
    return NULL;
}

static void wait_ends_with_the_condition_or_the_time(void **state)
{
    struct bell bell = {.lock = PTHREAD_MUTEX_INITIALIZER, .rung = PTHREAD_COND_INITIALIZER};
    int64_t start_ms = clock_steady_ms(clock_system());
    pthread_t thread;

    (void)state;
    pthread_mutex_lock(&bell.lock);
    while (clock_wait(&bell.rung, &bell.lock, start_ms + 50))
        continue;
    assert_true(clock_steady_ms(clock_system()) >= start_ms + 50);
    assert_false(clock_wait(&bell.rung, &bell.lock, start_ms));

    assert_int_equal(pthread_create(&thread, NULL, ring, &bell), 0);
    while (!bell.rings && clock_wait(&bell.rung, &bell.lock, start_ms + 20000))
        continue;
    assert_true(bell.rings);
    pthread_mutex_unlock(&bell.lock);
    pthread_join(thread, NULL);
    assert_true(clock_steady_ms(clock_system()) < start_ms + 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(system_shows_the_time_of_the_machine),
        cmocka_unit_test(steady_time_never_goes_back),
        cmocka_unit_test(fake_shows_what_it_was_told),
        cmocka_unit_test(fake_is_read_while_it_advances),
        cmocka_unit_test(wait_ends_with_the_condition_or_the_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
