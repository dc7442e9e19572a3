/* Sessions of a plate: told by example, and compared with a simple reference on whatever order,
 * split, repetition and loss a seed comes up with. */
#include "support/test.h"

#include "support/store_fixture.h"

#include "base/arena.h"
#include "messages/parking.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 64
#define PLATES 4

struct event {
    struct id id;
    int64_t time_ms;
    bool is_exit;
    char plate[8], garage[8];
};

/* ---- what follows ---- */

/* The last that was heard of each session. */
struct heard {
    struct said {
        char session[ID_TEXT_SIZE];
        struct parking_summary summary;
    } said[EVENTS_MAX];
    size_t count, calls;
    bool garbled; /* no assertion here: it may be another thread than the test's */
};

static void hear(void *context, const char *key, const char *json, size_t size)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    struct heard *heard = context;
    struct parking_summary summary;
    char session[ID_TEXT_SIZE], want[64];
    struct error err;
    size_t i = 0;

    heard->calls++;
    if (!json_decode(parking_summary_fields, json, size, &summary, arena, &err)) {
        heard->garbled = true;
        return;
    }
    id_format(&summary.session_id, session);
    snprintf(want, sizeof(want), "%s.%d", session, summary.revision);
    while (i < heard->count && strcmp(heard->said[i].session, session) != 0)
        i++;
    heard->garbled |= strcmp(key, want) != 0 || i == EVENTS_MAX;
    if (heard->garbled)
        return;
    heard->count += i == heard->count;
    memcpy(heard->said[i].session, session, sizeof(session));
    summary.garage_id = summary.vehicle_plate = summary.currency = NULL; /* the arena's */
    if (heard->said[i].summary.revision < summary.revision)
        heard->said[i].summary = summary;
}

static bool try_apply(struct store *store, const struct event *events, size_t count,
                      struct store_effect *effect, struct error *err)
{
    struct parking_entry as_entries[EVENTS_MAX];
    struct parking_exit as_exits[EVENTS_MAX];
    struct store_row rows[EVENTS_MAX];

    for (size_t i = 0; i < count; i++) {
        const struct event *event = &events[i];
        as_entries[i] =
            (struct parking_entry){event->id, event->time_ms, event->garage, event->plate};
        as_exits[i] = (struct parking_exit){event->id, event->time_ms, event->garage, event->plate};
        rows[i] = (struct store_row){
            .table = event->is_exit ? &store_parking_exits : &store_parking_entries,
            .event = event->is_exit ? (void *)&as_exits[i] : (void *)&as_entries[i],
            .stream_id = "1"};
    }
    return store_apply(store, &store_parking_entries, rows, count, effect, err);
}

/* Returns how many were new. */
static size_t apply(struct store *store, const struct event *events, size_t count,
                    struct heard *heard)
{
    struct store_effect effect = {.follow = heard ? hear : NULL, .context = heard};
    struct error err;

    assert_ok(try_apply(store, events, count, &effect, &err));
    assert_false(heard && heard->garbled);
    return effect.inserted;
}

/* ---- by example ---- */

/* "E1" is the entry at second 1, "X5" an exit; what follows from a call is
 * "E1.1 1-5 m": session, revision, from, to; matched, anomalous, unmatched or withdrawn. */
static const struct example {
    const char *name, *calls, *follows; /* a call each, between bars */
} examples[] = {
    {"nothing follows from an open session", "E1", ""},
    {"an exit closes it", "E1|X5", "|E1.1 1-5 m"},
    {"an exit of no entry is a session of its own", "X5", "X5.1 5-5 u"},
    {"an entry that comes after its exit takes it", "X5|E1", "X5.1 5-5 u|E1.1 1-5 m,X5.2 5-5 w"},
    {"what comes again says the same again", "X5|E1|X5|E1",
     "X5.1 5-5 u|E1.1 1-5 m,X5.2 5-5 w|E1.1 1-5 m,X5.2 5-5 w|E1.1 1-5 m,X5.2 5-5 w"},
    {"another entry ends the stay", "E1|E3", "|E1.1 1-3 a"},
    {"the open one is the last", "E1|E3|X4", "|E1.1 1-3 a|E3.1 3-4 m"},
    {"a late exit corrects that", "E1|E3|X2", "|E1.1 1-3 a|E1.2 1-2 m"},
    {"a late entry takes the exit of another", "E1|X5|E3", "|E1.1 1-5 m|E1.2 1-3 a,E3.1 3-5 m"},
    {"a late exit leaves the later one alone", "E1|X5|X3", "|E1.1 1-5 m|E1.2 1-3 m,X5.1 5-5 u"},
    {"what was withdrawn may come back", "X5|E1|X3",
     "X5.1 5-5 u|E1.1 1-5 m,X5.2 5-5 w|E1.2 1-3 m,X5.3 5-5 u"},
    {"at one moment the entry is first", "X1|E1", "X1.1 1-1 u|E1.1 1-1 m,X1.2 1-1 w"},
    {"an exit belongs to one entry", "E1|X2 X3", "|E1.1 1-2 m,X3.1 3-3 u"},
    {"the order within a call says nothing", "E5 E1|X7 X3", "E1.1 1-5 a|E1.2 1-3 m,E5.1 5-7 m"},
    {"an event twice in a call is there once", "E1 E1|X5 X5", "|E1.1 1-5 m"},
};

static struct event event_at(bool is_exit, int second)
{
    struct event event = {
        .time_ms = NOON + second * SECOND, .is_exit = is_exit, .plate = "AB-1", .garage = "g"};

    event.id.bytes[0] = is_exit ? 'X' : 'E';
    event.id.bytes[15] = (uint8_t)second;
    return event;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void print_follows(const struct heard *heard, struct buffer *out)
{
    char lines[EVENTS_MAX][48];

    for (size_t i = 0; i < heard->count; i++) {
        const struct parking_summary *said = &heard->said[i].summary;
        assert_true(said->duration_s * 1000 == (double)(said->exit_time_ms - said->entry_time_ms));
        snprintf(lines[i], sizeof(lines[i]), "%c%d.%d %d-%d %c", said->session_id.bytes[0],
                 said->session_id.bytes[15], said->revision,
                 (int)((said->entry_time_ms - NOON) / SECOND),
                 (int)((said->exit_time_ms - NOON) / SECOND),
                 said->withdrawn   ? 'w'
                 : said->matched   ? 'm'
                 : said->anomalous ? 'a'
                                   : 'u');
    }
    qsort(lines, heard->count, sizeof(lines[0]), by_text);
    for (size_t i = 0; i < heard->count; i++)
        buffer_print(out, "%s%s", i ? "," : "", lines[i]);
}

static void run_example(const struct fixture *fixture, const struct example *example)
{
    AUTO(buffer_free) struct buffer follows = {0};
    char calls[64], *rest = calls;

    fixture_run(fixture, "TRUNCATE parking_events, parking_sessions");
    snprintf(calls, sizeof(calls), "%s", example->calls);
    buffer_text(&follows, "");
    while (rest) {
        struct event events[4];
        struct heard heard = {0};
        size_t count = 0;
        for (char *at = strsep(&rest, "|"), *token; (token = strsep(&at, " "));)
            events[count++] = event_at(*token == 'X', (int)strtol(token + 1, NULL, 10));
        apply(fixture->store, events, count, &heard);
        print_follows(&heard, &follows);
        buffer_text(&follows, rest ? "|" : "");
    }
    print_message("%s\n", example->name);
    assert_string_equal(follows.data, example->follows);
}

static void sessions_by_example(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(examples); i++)
        run_example(*state, &examples[i]);
}

static void new_events_are_counted_with_or_without_a_listener(void **state)
{
    struct fixture *fixture = *state;
    const struct event events[] = {event_at(false, 1), event_at(false, 1), event_at(false, 2)};
    struct heard heard = {0};

    assert_int_equal(apply(fixture->store, events, 2, &heard), 1);
    assert_int_equal(heard.calls, 0);
    assert_int_equal(apply(fixture->store, events, 3, NULL), 1);
    assert_int_equal(apply(fixture->store, events, 3, &heard), 0);
}

static void an_id_is_one_event_whatever_else_comes_with_it(void **state)
{
    struct fixture *fixture = *state;
    struct event event = event_at(false, 1);
    struct heard heard = {0};

    assert_int_equal(apply(fixture->store, &event, 1, &heard), 1);
    event.is_exit = true;
    event.time_ms += SECOND;
    assert_int_equal(apply(fixture->store, &event, 1, &heard), 0);
    fixture_expect(fixture,
                   "SELECT is_exit, exit_time FROM parking_events"
                   " JOIN parking_sessions ON session_id = id",
                   "f|");
}

static void what_the_store_cannot_hold_is_told_with_its_column(void **state)
{
    struct fixture *fixture = *state;
    struct event event = event_at(false, 1);
    struct parking_entry entry = {event.id, event.time_ms, "g", "\xff"};
    const struct store_row row = {.event = &entry};
    struct store_effect effect = {0};
    struct error err;

    assert_fails(store_apply(fixture->store, &store_parking_entries, &row, 1, &effect, &err),
                 ERROR_INVALID);
    assert_non_null(strstr(err.message, "vehicle_plate"));
    fixture_expect(fixture, "SELECT count(*) FROM parking_events", "0");
}

/* ---- against the reference ---- */

static int by_order(const void *a, const void *b)
{
    const struct event *one = a, *other = b;
    int plates = strcmp(one->plate, other->plate);

    if (plates)
        return plates;
    if (one->time_ms != other->time_ms)
        return one->time_ms < other->time_ms ? -1 : 1;
    if (one->is_exit != other->is_exit)
        return one->is_exit - other->is_exit;
    return memcmp(&one->id, &other->id, sizeof(one->id));
}

struct session {
    const struct event *opener;
    const struct event *end; /* NULL: open; the opener itself: an exit of no entry */
};

/* events are in order. */
static size_t sessions_of(const struct event *events, size_t count, struct session *out)
{
    size_t sessions = 0;

    for (size_t i = 0; i < count; i++) {
        const struct event *event = &events[i];
        bool has_next = i + 1 < count && strcmp(event[1].plate, event->plate) == 0;
        bool has_previous = i > 0 && strcmp(event[-1].plate, event->plate) == 0;
        if (!event->is_exit)
            out[sessions++] = (struct session){event, has_next ? event + 1 : NULL};
        else if (!has_previous || event[-1].is_exit)
            out[sessions++] = (struct session){event, event};
    }
    return sessions;
}

static int by_id(const void *a, const void *b)
{
    const struct session *one = a, *other = b;

    return memcmp(&one->opener->id, &other->opener->id, sizeof(one->opener->id));
}

static void print_sessions(struct session *sessions, size_t count, int64_t from_ms,
                           struct buffer *out)
{
    qsort(sessions, count, sizeof(sessions[0]), by_id);
    buffer_text(out, "");
    for (size_t i = 0; i < count; i++) {
        const struct event *opener = sessions[i].opener, *end = sessions[i].end;
        char id[ID_TEXT_SIZE];
        if (end && end->time_ms < from_ms)
            continue;
        id_format(&opener->id, id);
        buffer_print(out, "%s%s %s %s %lld %lld %d %d", out->size ? "; " : "", id, opener->plate,
                     opener->garage, (long long)opener->time_ms,
                     end ? (long long)end->time_ms : -1LL, end && end != opener && end->is_exit,
                     end && !end->is_exit);
    }
}

#define MS(column) "(extract(epoch FROM " column ") * 1000)::int8"

static const char *const stored_sessions =
    "SELECT coalesce(string_agg(concat_ws(' ', session_id, vehicle_plate, garage_id, " MS(
        "entry_time") ", coalesce(" MS("exit_time") ", -1), matched::int, anomalous::int), '; '"
                                                    " ORDER BY session_id), '') AS text FROM "
                                                    "parking_sessions WHERE NOT withdrawn";

static const char *const stored_revisions =
    "SELECT coalesce(string_agg(session_id || '.' || revision || CASE WHEN withdrawn THEN 'w' ELSE"
    " '' END, ' ' ORDER BY session_id), '') AS text FROM parking_sessions WHERE revision > 0";

static int by_session(const void *a, const void *b)
{
    return strcmp(((const struct said *)a)->session, ((const struct said *)b)->session);
}

static void print_heard(struct heard *heard, struct buffer *out)
{
    qsort(heard->said, heard->count, sizeof(heard->said[0]), by_session);
    buffer_text(out, "");
    for (size_t i = 0; i < heard->count; i++)
        buffer_print(out, "%s%s.%d%s", i ? " " : "", heard->said[i].session,
                     heard->said[i].summary.revision, heard->said[i].summary.withdrawn ? "w" : "");
}

static uint64_t draw(uint64_t *random, uint64_t below)
{
    *random ^= *random << 13; /* xorshift64 */
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (*random >> 11) % below;
}

/* Few moments and plates, so that times are often equal. */
static size_t draw_events(struct event *events, uint64_t *random)
{
    size_t count = 1 + draw(random, EVENTS_MAX);

    for (size_t i = 0; i < count; i++) {
        events[i] = (struct event){.id = id_new(NOON + (int64_t)draw(random, 1000)),
                                   .time_ms = NOON + (int64_t)draw(random, 24) * SECOND,
                                   .is_exit = draw(random, 2)};
        snprintf(events[i].plate, sizeof(events[i].plate), "P-%d", (int)draw(random, PLATES));
        snprintf(events[i].garage, sizeof(events[i].garage), "g%d", (int)draw(random, 2));
    }
    return count;
}

#define QUEUE_MAX ((size_t)4 * EVENTS_MAX)

/* Delivers as a broker does: in batches of any size, some of them again, and some first to a
 * processor that dies before it has passed on what follows. */
struct courier {
    struct store *store;
    struct event queue[QUEUE_MAX];
    size_t count;
    uint64_t random;
    struct heard heard;
    bool failed;
    struct error err;
};

static bool deliver_batch(struct courier *courier, const struct event *events, size_t count,
                          bool dies)
{
    struct store_effect effect = {.follow = dies ? NULL : hear, .context = &courier->heard};

    return try_apply(courier->store, events, count, &effect, &courier->err);
}

static void *deliver(void *context)
{
    struct courier *courier = context;

    for (size_t at = 0; at < courier->count && !courier->failed;) {
        const struct event *events = courier->queue + at;
        size_t size = 1 + draw(&courier->random, 9);
        if (size > courier->count - at)
            size = courier->count - at;
        at += size;
        bool room = courier->count + size <= QUEUE_MAX;
        bool dies = room && draw(&courier->random, 4) == 0;
        bool again = dies || (room && draw(&courier->random, 8) == 0);
        if (again) {
            memcpy(courier->queue + courier->count, events, size * sizeof(*events));
            courier->count += size;
        }
        courier->failed = !deliver_batch(courier, events, size, dies);
    }
    return NULL;
}

static void check_courier(const struct courier *courier)
{
    if (courier->failed)
        fail_msg("%s", courier->err.message);
    assert_false(courier->heard.garbled);
}

/* One text in a row of one column. */
static void ask(struct store *store, const char *name, const char *sql, struct buffer *out)
{
    const struct store_query query = {.name = name, .sql = sql};
    struct json_writer writer = {.out = out};
    struct store_page page = {.single = true};
    struct error err;

    json_open(&writer, NULL, '{');
    assert_ok(store_select(store, &query, NULL, &writer, &page, &err));
    buffer_free(&page.last_keys);
}

static void expect_text(struct store *store, const char *name, const char *sql, const char *want)
{
    AUTO(buffer_free) struct buffer found = {0}, wanted = {0};
    struct json_writer writer = {.out = &wanted};

    ask(store, name, sql, &found);
    json_open(&writer, NULL, '{');
    json_text(&writer, "text", want);
    buffer_text(&found, "");
    assert_string_equal(found.data, wanted.data);
}

static void expect_sessions(struct store *store, const struct event *ordered, size_t count,
                            int64_t from_ms)
{
    struct session sessions[EVENTS_MAX];
    AUTO(buffer_free) struct buffer wanted = {0};

    print_sessions(sessions, sessions_of(ordered, count, sessions), from_ms, &wanted);
    expect_text(store, "sessions", stored_sessions, wanted.data);
}

static void expect_heard(struct store *store, struct heard *heard)
{
    AUTO(buffer_free) struct buffer wanted = {0};

    print_heard(heard, &wanted);
    expect_text(store, "revisions", stored_revisions, wanted.data);
}

static void clear(struct store *store)
{
    AUTO(buffer_free) struct buffer out = {0};

    ask(store, "clear", "TRUNCATE parking_events, parking_sessions", &out);
}

static uint64_t seed_of_run(void)
{
    const char *given = getenv("STORE_SEED");
    uint64_t seed =
        given ? strtoull(given, NULL, 10) : (uint64_t)id_random() << 32 | id_random() | 1;

    print_message("STORE_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

#define ROUNDS 60

/* Into the queue in any order. */
static void queue_events(struct courier *courier, const struct event *events, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = draw(&courier->random, ++courier->count);
        courier->queue[courier->count - 1] = courier->queue[at];
        courier->queue[at] = events[i];
    }
}

static void sessions_depend_on_what_came_and_not_on_how(void **state)
{
    struct fixture *fixture = *state;
    uint64_t random = seed_of_run();

    for (int round = 0; round < ROUNDS; round++) {
        struct event events[EVENTS_MAX];
        size_t count = draw_events(events, &random);
        static struct courier courier;

        clear(fixture->store);
        courier = (struct courier){.store = fixture->store, .random = random};
        queue_events(&courier, events, count);
        deliver(&courier);
        check_courier(&courier);
        qsort(events, count, sizeof(events[0]), by_order);
        expect_sessions(fixture->store, events, count, 0);
        expect_heard(fixture->store, &courier.heard);
        random = courier.random;
    }
}

static void merge(struct heard *all, const struct heard *more)
{
    for (size_t i = 0; i < more->count; i++) {
        size_t at = 0;
        while (at < all->count && strcmp(all->said[at].session, more->said[i].session) != 0)
            at++;
        assert_true(at < EVENTS_MAX);
        if (at == all->count || all->said[at].summary.revision < more->said[i].summary.revision)
            all->said[at] = more->said[i];
        all->count += at == all->count;
    }
}

#define COURIERS 3

/* Each has its part of the events, and some of the others'. */
static void deliver_at_once(struct courier couriers[COURIERS], const struct event *events,
                            size_t count)
{
    pthread_t threads[COURIERS];

    for (size_t i = 0; i < count; i++) {
        queue_events(&couriers[i % COURIERS], &events[i], 1);
        if (i % 5 == 0)
            queue_events(&couriers[(i + 1) % COURIERS], &events[i], 1);
    }
    for (size_t i = 0; i < COURIERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, deliver, &couriers[i]), 0);
    for (size_t i = 0; i < COURIERS; i++)
        pthread_join(threads[i], NULL);
}

static void sessions_are_the_same_with_many_processors(void **state)
{
    struct fixture *fixture = *state;
    uint64_t random = seed_of_run();
    static struct courier couriers[COURIERS];
    struct store *stores[COURIERS];

    for (size_t i = 0; i < COURIERS; i++)
        stores[i] = fixture_connect(fixture);
    for (int round = 0; round < ROUNDS / 3; round++) {
        struct event events[EVENTS_MAX];
        size_t count = draw_events(events, &random);

        clear(fixture->store);
        for (size_t i = 0; i < COURIERS; i++)
            couriers[i] = (struct courier){.store = stores[i], .random = random + i};
        deliver_at_once(couriers, events, count);
        for (size_t i = 0; i < COURIERS; i++) {
            check_courier(&couriers[i]);
            if (i)
                merge(&couriers[0].heard, &couriers[i].heard);
        }
        qsort(events, count, sizeof(events[0]), by_order);
        expect_sessions(fixture->store, events, count, 0);
        expect_heard(fixture->store, &couriers[0].heard);
    }
    for (size_t i = 0; i < COURIERS; i++)
        store_close(stores[i]);
}

/* ---- forgetting ---- */

static void forget(const struct fixture *fixture, int64_t before_ms)
{
    struct error err;
    int dropped;

    assert_ok(
        store_maintain(fixture->store, &store_parking_entries, before_ms + DAY, 1, &dropped, &err));
    assert_ok(
        store_maintain(fixture->store, &store_parking_exits, before_ms + DAY, 1, &dropped, &err));
}

static size_t keep_known(struct session *sessions, size_t count, int64_t from_ms, struct event *out)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        const struct event *end = sessions[i].end;
        if (end && end->time_ms < from_ms)
            continue;
        out[kept++] = *sessions[i].opener;
        if (end && end->is_exit && end != sessions[i].opener)
            out[kept++] = *end;
    }
    return kept;
}

/* What is left is as it was, and stays so when any of it comes again. */
static void forgetting_changes_no_session_that_is_left(void **state)
{
    struct fixture *fixture = *state;
    uint64_t random = seed_of_run();

    for (int round = 0; round < ROUNDS / 3; round++) {
        struct event events[EVENTS_MAX], known[EVENTS_MAX];
        struct session sessions[EVENTS_MAX];
        size_t count = draw_events(events, &random);
        int64_t from_ms = NOON + (int64_t)draw(&random, 24) * SECOND;
        AUTO(buffer_free) struct buffer out = {0};

        clear(fixture->store);
        apply(fixture->store, events, count, NULL);
        qsort(events, count, sizeof(events[0]), by_order);
        ask(fixture->store, "age", "UPDATE parking_events SET stored_at = time", &out);
        forget(fixture, from_ms);
        expect_sessions(fixture->store, events, count, from_ms);
        size_t left = keep_known(sessions, sessions_of(events, count, sessions), from_ms, known);
        assert_int_equal(apply(fixture->store, known, left, NULL), 0);
        expect_sessions(fixture->store, events, count, from_ms);
    }
}

static void forgetting_waits_for_what_came_late(void **state)
{
    struct fixture *fixture = *state;
    const struct event events[] = {event_at(false, 1), event_at(true, 2)};

    apply(fixture->store, events, 2, NULL);
    fixture_run(fixture, "UPDATE parking_events SET stored_at = time WHERE is_exit");
    forget(fixture, NOON + 1000 * SECOND - DAY * 3000);
    forget(fixture, NOON + 1000 * SECOND);
    fixture_expect(fixture, "SELECT count(*) FROM parking_events", "2");
    fixture_run(fixture, "UPDATE parking_events SET stored_at = time");
    forget(fixture, NOON + 1000 * SECOND);
    fixture_expect(fixture,
                   "SELECT (SELECT count(*) FROM parking_events),"
                   " (SELECT count(*) FROM parking_sessions)",
                   "0|0");
}

/* More than one piece. */
static void forgetting_goes_on_until_all_is_done(void **state)
{
    struct fixture *fixture = *state;

    fixture_run(
        fixture,
        "SELECT count(*) FROM (SELECT array_agg(timestamptz '2026-11-21 12:00Z' + n *"
        " interval '1 s') AS t, array_agg(gen_random_uuid()) AS i, array_agg('g'::text) AS"
        " g, array_agg('P' || n % 7) AS p, array_agg(true) AS x, array_agg(NULL::text) AS none"
        " FROM generate_series(1, 5000) n) b, LATERAL parking_apply(t, i, g, p, x, none, none)"
        ";UPDATE parking_events SET stored_at = time");
    forget(fixture, NOON + 4999 * SECOND);
    fixture_expect(fixture,
                   "SELECT (SELECT count(*) FROM parking_events),"
                   " (SELECT count(*) FROM parking_sessions)",
                   "2|2");
}

#define ON_DATABASE(test) cmocka_unit_test_setup_teardown(test, fixture_database, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DATABASE(sessions_by_example),
        ON_DATABASE(new_events_are_counted_with_or_without_a_listener),
        ON_DATABASE(an_id_is_one_event_whatever_else_comes_with_it),
        ON_DATABASE(what_the_store_cannot_hold_is_told_with_its_column),
        ON_DATABASE(sessions_depend_on_what_came_and_not_on_how),
        ON_DATABASE(sessions_are_the_same_with_many_processors),
        ON_DATABASE(forgetting_changes_no_session_that_is_left),
        ON_DATABASE(forgetting_waits_for_what_came_late),
        ON_DATABASE(forgetting_goes_on_until_all_is_done),
    };

    return cmocka_run_group_tests(tests, fixture_start, fixture_end);
}
