#include "support/test.h"

#include "domain/load_curve.h"
#include "domain/parking.h"
#include "domain/traffic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define START_MS INT64_C(1795000000000)
#define DAY_MS INT64_C(86400000)
#define PLATES_MAX 100000

static struct traffic_options options_of(uint64_t seed, unsigned systems)
{
    return (struct traffic_options){.seed = seed,
                                    .start_ms = START_MS,
                                    .systems = systems,
                                    .garages = 5,
                                    .capacity = 20,
                                    .entry_wait_s = 3,
                                    .exit_wait_s = 5,
                                    .sites = 2,
                                    .meters = 4,
                                    .services = 3};
}

static bool events_equal(const struct traffic_event *a, const struct traffic_event *b)
{
    if (a->kind != b->kind || memcmp(&a->id, &b->id, sizeof(a->id)) != 0 || a->order != b->order ||
        a->place != b->place)
        return false;
    switch (a->kind) {
    case TRAFFIC_READING:
        return a->reading.meter == b->reading.meter;
    case TRAFFIC_LOG:
        return a->log.level == b->log.level && strcmp(a->log.message, b->log.message) == 0;
    case TRAFFIC_WEATHER:
        return strcmp(a->weather.city, b->weather.city) == 0;
    default:
        return strcmp(a->plate, b->plate) == 0;
    }
}

static void same_seed_same_stream(void **state)
{
    struct traffic_options options = options_of(7, TRAFFIC_EVERYTHING), later = options;
    struct traffic_options other = options_of(8, TRAFFIC_EVERYTHING);
    later.start_ms += 12345;
    AUTO(traffic_free) struct traffic *one = traffic_new(&options);
    AUTO(traffic_free) struct traffic *two = traffic_new(&later);
    AUTO(traffic_free) struct traffic *three = traffic_new(&other);
    struct traffic_event a, b, c;
    int same = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        traffic_next(one, &a);
        traffic_next(two, &b);
        traffic_next(three, &c);
        assert_true(events_equal(&a, &b));
        assert_int_equal(b.time_ms - a.time_ms, 12345);
        same += memcmp(&a.id, &c.id, sizeof(a.id)) == 0;
    }
    assert_int_equal(same, 0);
}

static void next_of(struct traffic *traffic, enum traffic_kind kind, struct traffic_event *out)
{
    do
        traffic_next(traffic, out);
    while (out->kind != kind);
}

static void leaving_kinds_out_changes_no_other(void **state)
{
    static const struct {
        enum traffic_system system;
        enum traffic_kind kind;
    } rows[] = {{TRAFFIC_PARKING, TRAFFIC_ENTRY},
                {TRAFFIC_PARKING, TRAFFIC_EXIT},
                {TRAFFIC_READINGS, TRAFFIC_READING},
                {TRAFFIC_LOGS, TRAFFIC_LOG},
                {TRAFFIC_WEATHER_CALLS, TRAFFIC_WEATHER}};

    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct traffic_options all = options_of(3, TRAFFIC_EVERYTHING);
        struct traffic_options only = options_of(3, rows[r].system);
        AUTO(traffic_free) struct traffic *many = traffic_new(&all);
        AUTO(traffic_free) struct traffic *few = traffic_new(&only);
        for (int i = 0; i < 500; i++) {
            struct traffic_event a, b;
            next_of(many, rows[r].kind, &a);
            next_of(few, rows[r].kind, &b);
            assert_true(events_equal(&a, &b));
            assert_int_equal(a.time_ms, b.time_ms);
        }
    }
}

/* What the exits of a stream say, plate by plate. */
struct plate {
    char text[GARAGE_PLATE_SIZE];
    int64_t last_ms;
    bool inside; /* its entry was reported */
};

static struct plate *find_plate(struct plate *plates, const char *text)
{
    size_t at = ((size_t)(text[0] - 'A') * 26 + (size_t)(text[1] - 'A')) * 1009 +
                (size_t)strtoul(text + 3, NULL, 10);

    for (at %= PLATES_MAX; *plates[at].text && strcmp(plates[at].text, text) != 0;)
        at = (at + 1) % PLATES_MAX;
    memcpy(plates[at].text, text, sizeof(plates[at].text));
    return &plates[at];
}

static void a_fifth_of_the_exits_has_no_entry(void **state)
{
    struct traffic_options options = options_of(11, TRAFFIC_PARKING);
    AUTO(traffic_free) struct traffic *traffic = traffic_new(&options);
    struct plate *plates = calloc(PLATES_MAX, sizeof(*plates));
    int exits = 0, matched = 0, again = 0;

    (void)state;
    while (exits < 100000) {
        struct traffic_event event;
        traffic_next(traffic, &event);
        assert_true(parking_plate_is_valid(event.plate));
        struct plate *plate = find_plate(plates, event.plate);
        assert_true(event.time_ms > plate->last_ms);
        again += plate->last_ms && event.kind == TRAFFIC_ENTRY;
        plate->last_ms = event.time_ms;
        if (event.kind == TRAFFIC_ENTRY) {
            assert_false(plate->inside); /* every exit is reported */
            plate->inside = true;
            continue;
        }
        exits++;
        matched += plate->inside;
        plate->inside = false;
    }
    free(plates);
    assert_true(fabs(matched / 100000.0 - 0.8) < 0.01);
    assert_true(again > 1000); /* plates come back */
}

static void a_garage_is_never_over_its_capacity(void **state)
{
    struct traffic_options options = options_of(5, TRAFFIC_PARKING);
    AUTO(traffic_free) struct traffic *traffic = traffic_new(&options);
    int most = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct traffic_event event;
        traffic_next(traffic, &event);
        int occupancy = garage_occupancy(traffic_town(traffic), event.place);
        assert_in_range(occupancy, 0, options.capacity);
        most = occupancy > most ? occupancy : most;
    }
    assert_int_equal(most, options.capacity);
}

static void no_plate_is_parked_twice(void **state)
{
    AUTO(garage_town_free) struct garage_town *town = garage_town_new(3, 7);
    struct traffic_random random = traffic_random_start(1, 1);
    bool parked[3 * 7 * 4] = {false};

    (void)state;
    for (int64_t now = 1; now < 20000; now++) {
        int car, garage = (int)(now % 3);
        if (garage_enter(town, garage, now, &random, &car)) {
            assert_false(parked[car]);
            parked[car] = true;
        }
        if (now % 2 && garage_leave(town, (int)(now / 2 % 3), now, &random, &car)) {
            assert_true(parked[car]);
            parked[car] = false;
        }
    }
}

/* Of events at the same time an entry counts as the earlier one. */
static void a_car_does_not_come_back_at_once(void **state)
{
    AUTO(garage_town_free) struct garage_town *town = garage_town_new(1, 1);
    struct traffic_random random = traffic_random_start(1, 1);
    int gone, come;

    (void)state;
    assert_true(garage_enter(town, 0, 1, &random, &gone));
    for (int64_t now = 2; now < 1000; now++) {
        assert_true(garage_leave(town, 0, now, &random, &gone));
        assert_true(garage_enter(town, 0, now, &random, &come));
        assert_int_not_equal(gone, come);
        assert_false(garage_leave(town, 0, now, &random, &gone));
    }
}

static void plates_differ(void **state)
{
    bool *seen = calloc((size_t)26 * 26 * 26 * 1000, 1);
    char plate[GARAGE_PLATE_SIZE];

    (void)state;
    for (int car = 0; car < 4 * GARAGE_PLACES_MAX; car++) {
        garage_plate(car, plate);
        int number = ((plate[0] - 'A') * 26 + plate[1] - 'A') * 26 + plate[2] - 'A';
        number = number * 1000 + (plate[3] - '0') * 100 + (plate[4] - '0') * 10 + plate[5] - '0';
        if (number < 0 || number >= 26 * 26 * 26 * 1000 || seen[number])
            fail_msg("car %d: plate %s", car, plate);
        seen[number] = true;
    }
    free(seen);
}

static void times_never_go_back(void **state)
{
    struct traffic_options options = options_of(2, TRAFFIC_EVERYTHING);
    AUTO(traffic_free) struct traffic *traffic = traffic_new(&options);
    struct traffic_event event;
    int64_t last_ms = START_MS;

    (void)state;
    for (int i = 0; i < 50000; i++) {
        traffic_next(traffic, &event);
        assert_true(event.time_ms >= last_ms);
        last_ms = event.time_ms;
    }
    double per_second = 50000 * 1000.0 / (double)(last_ms - START_MS);
    assert_true(fabs(per_second / traffic_per_second(&options) - 1) < 0.1);
}

static const struct curve_row {
    const char *name;
    const struct load_curve *curve;
    double daily_wh;
} curve_rows[] = {
    {"a house uses 14.65 kWh a day", &load_curve_house, 24 * 250 + 2.5 * 900 + 4 * 1600},
    {"panels take 24 kWh off it", &load_curve_solar_house,
     24 * 250 + 2.5 * 900 + 4 * 1600 - 6 * 4000},
};

static void energy_of_a_day(void **state)
{
    const struct curve_row *row = *state;
    double energy_wh = 0;

    for (int64_t minute = 0; minute < 1440; minute++)
        energy_wh += load_curve_power_w(row->curve, START_MS + minute * 60000) / 60;
    assert_true(fabs(load_curve_daily_wh(row->curve) - row->daily_wh) < 0.001);
    assert_true(fabs(energy_wh - row->daily_wh) < 1);
    assert_true(load_curve_power_w(row->curve, -DAY_MS / 2) ==
                load_curve_power_w(row->curve, DAY_MS / 2));
}

static void meters_follow_the_curve(void **state)
{
    struct traffic_options options = options_of(9, TRAFFIC_READINGS);
    AUTO(traffic_free) struct traffic *traffic = traffic_new(&options);
    double energy_wh[8] = {0};
    struct traffic_event event;

    (void)state;
    for (traffic_next(traffic, &event); event.time_ms < START_MS + DAY_MS;
         traffic_next(traffic, &event))
        energy_wh[event.place * 4 + event.reading.meter] +=
            event.reading.power_w * TRAFFIC_METER_MS / 3600000;
    for (int i = 0; i < 8; i++) {
        const struct load_curve *curve = i % 4 == 3 ? &load_curve_solar_house : &load_curve_house;
        double factor = energy_wh[i] / load_curve_daily_wh(curve);
        assert_true(factor > 0.45 && factor < 1.55);
    }
}

static void errors_come_in_bursts(void **state)
{
    struct traffic_options options = options_of(4, TRAFFIC_LOGS);
    AUTO(traffic_free) struct traffic *traffic = traffic_new(&options);
    int in_a_row[3] = {0}, longest = 0, errors = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct traffic_event event;
        traffic_next(traffic, &event);
        int *row = &in_a_row[event.place];
        *row = event.log.level == TRAFFIC_ERROR ? *row + 1 : 0;
        errors += event.log.level == TRAFFIC_ERROR;
        longest = *row > longest ? *row : longest;
    }
    assert_in_range(longest, 30, 100);
    assert_in_range(errors, 3000, 6000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_stream),
        cmocka_unit_test(leaving_kinds_out_changes_no_other),
        cmocka_unit_test(a_fifth_of_the_exits_has_no_entry),
        cmocka_unit_test(a_garage_is_never_over_its_capacity),
        cmocka_unit_test(no_plate_is_parked_twice),
        cmocka_unit_test(a_car_does_not_come_back_at_once),
        cmocka_unit_test(plates_differ),
        cmocka_unit_test(times_never_go_back),
        cmocka_unit_test(meters_follow_the_curve),
        cmocka_unit_test(errors_come_in_bursts),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return failed + RUN_ROWS(curve_rows, energy_of_a_day);
}
