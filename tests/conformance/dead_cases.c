/* What cannot succeed: quarantine, dead letters, and what stays when they cannot be stored. */
#include "conformance/stage.h"

#include "broker/broker_memory.h"
#include "broker/dead_letter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_HEADERS 16

/* The dead letters of the stage's group; of the last one a copy. */
struct found {
    char prefix[80];
    size_t count;
    char subject[128], id[160], data[64];
    size_t size;
    char names[KEPT_HEADERS][32], values[KEPT_HEADERS][256];
    size_t header_count;
};

static void copy_dead(void *context, const struct broker_delivery *dead)
{
    struct found *found = context;

    if (strncmp(dead->subject, found->prefix, strlen(found->prefix)) != 0)
        return;
    found->count++;
    snprintf(found->subject, sizeof(found->subject), "%s", dead->subject);
    snprintf(found->id, sizeof(found->id), "%s", dead->id);
    found->size = dead->size;
    memcpy(found->data, dead->data, dead->size < 64 ? dead->size : 64);
    found->header_count = 0;
    for (size_t i = 0; i < dead->header_count && i < KEPT_HEADERS; i++) {
        snprintf(found->names[i], sizeof(found->names[i]), "%s", dead->headers[i].name);
        snprintf(found->values[i], sizeof(found->values[i]), "%s", dead->headers[i].value);
        found->header_count++;
    }
}

static struct found find_dead(struct stage *stage)
{
    struct found found = {.count = 0};
    struct error err;

    snprintf(found.prefix, sizeof(found.prefix), "dead.%s.", stage->name);
    assert_ok(
        broker_peek(stage->broker, DEAD_STREAM, "", 100000, copy_dead, &found, CALL_MS, &err));
    return found;
}

/* It fetches, nothing comes, and before long the one dead letter is there. */
static struct found await_dead(struct stage *stage, struct broker_consumer *consumer)
{
    struct found found = {.count = 0};

    for (int64_t until_ms = now_ms() + WAIT_MS; found.count == 0 && now_ms() < until_ms;) {
        expect_quiet(consumer, 100);
        found = find_dead(stage);
    }
    assert_int_equal(found.count, 1);
    return found;
}

static const char *value_of(const struct found *found, const char *name)
{
    for (size_t i = 0; i < found->header_count; i++)
        if (strcasecmp(found->names[i], name) == 0)
            return found->values[i];
    fail_msg("the dead letter has no header '%s'", name);
    return "";
}

static void reject(struct broker_consumer *consumer, const char *reason, const char *error)
{
    settle_all(consumer, 1,
               (struct broker_verdict){.action = BROKER_REJECT, .reason = reason, .error = error});
}

/* With a NUL in its bytes. */
static void publish_poison(struct stage *stage, const char *subject,
                           const struct broker_header *headers, size_t header_count,
                           struct broker_receipt *out)
{
    struct broker_message message = {.stream = stage->name,
                                     .subject = subject,
                                     .id = "poison",
                                     .headers = headers,
                                     .header_count = header_count,
                                     .data = "a\0b",
                                     .size = 3};
    assert_true(try_publish(stage, &message, CALL_MS, out));
}

static void tells_all(struct stage *stage)
{
    static const struct broker_header headers[] = {{"ce-type", "reading"},
                                                   {"dead-reason", "older"}};
    char subject[80], dead_subject[96];
    struct broker_receipt receipt;

    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    publish_poison(stage, subject, headers, ARRAY_LEN(headers), &receipt);
    struct broker_consumer *consumer = consume(stage);
    assert_int_equal(take(consumer, 1, CALL_MS).count, 1);
    settle_all(consumer, 1, (struct broker_verdict){.action = BROKER_RETRY});
    assert_int_equal(take(consumer, 1, CALL_MS).count, 1);
    reject(consumer, "json_syntax", "line 1:\nnot JSON");
    expect_quiet(consumer, ACK_WAIT_MS + QUIET_MS);

    struct found found = find_dead(stage);
    assert_int_equal(found.count, 1);
    snprintf(dead_subject, sizeof(dead_subject), "dead.%s.group", stage->name);
    assert_string_equal(found.subject, dead_subject);
    assert_int_equal(found.size, 3);
    assert_memory_equal(found.data, "a\0b", 3);
    assert_string_equal(value_of(&found, "ce-type"), "reading");
    assert_string_equal(value_of(&found, DEAD_REASON), "json_syntax");
    assert_string_equal(value_of(&found, DEAD_ERROR), "line 1: not JSON");
    assert_string_equal(value_of(&found, DEAD_ATTEMPTS), "2");
    assert_string_equal(value_of(&found, DEAD_ORIGIN), stage->name);
    assert_string_equal(value_of(&found, DEAD_SUBJECT), subject);
    assert_string_equal(value_of(&found, DEAD_SEQUENCE), receipt.sequence);
    assert_string_equal(value_of(&found, DEAD_CONSUMER), "group");
    assert_string_equal(value_of(&found, DEAD_ID), "poison");
    assert_int_equal(strlen(value_of(&found, DEAD_FIRST)), 24);
    assert_true(strcmp(value_of(&found, DEAD_FIRST), value_of(&found, DEAD_LAST)) <= 0);
    expect_in_flight(stage, 0);
    broker_close_consumer(consumer);
}

static void limit_quarantines(struct stage *stage)
{
    stage->group.max_attempts = 2;
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume(stage);
    for (unsigned attempt = 1; attempt <= 2; attempt++) {
        take_this(consumer, "1", attempt, CALL_MS);
        settle_all(consumer, 1, (struct broker_verdict){.action = BROKER_RETRY});
    }
    assert_int_equal(find_dead(stage).count, 0);
    struct found found = await_dead(stage, consumer);
    assert_string_equal(value_of(&found, DEAD_REASON), "max_attempts");
    assert_string_equal(value_of(&found, DEAD_ATTEMPTS), "3");
    expect_quiet(consumer, ACK_WAIT_MS + QUIET_MS);
    assert_int_equal(find_dead(stage).count, 1);
    expect_all_settled(stage);
    broker_close_consumer(consumer);
}

/* Takes some of 2, 3 and 4; wants 3 once again. What each verdict is for must not shift. */
static void retry_three(struct broker_consumer *consumer, unsigned *seen)
{
    struct broker_batch batch = take(consumer, 10, WAIT_MS);
    struct broker_verdict verdicts[3] = {{.action = BROKER_DONE}};
    struct error err;

    assert_in_range(batch.count, 1, 3);
    for (size_t i = 0; i < batch.count; i++) {
        int number = batch.deliveries[i].id[0] - '0';
        assert_in_range(number, 2, 4);
        assert_int_equal(batch.deliveries[i].attempt, ++seen[number]);
        if (number == 3 && seen[number] == 1)
            verdicts[i].action = BROKER_RETRY;
    }
    assert_ok(broker_settle(consumer, verdicts, batch.count, CALL_MS, &err));
}

/* The poison is hidden, its neighbours are seen. */
static void limit_spares_neighbours(struct stage *stage)
{
    unsigned seen[5] = {0};

    stage->group.max_attempts = 2;
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    settle_all(consumer, 1, (struct broker_verdict){.action = BROKER_RETRY});
    take_this(consumer, "1", 2, CALL_MS);
    settle_all(consumer, 1, (struct broker_verdict){.action = BROKER_RETRY, .delay_ms = 300});
    pause_ms(500);
    publish_numbers(stage, 2, 4);
    while (seen[2] < 1 || seen[3] < 2 || seen[4] < 1)
        retry_three(consumer, seen);
    expect_quiet(consumer, ACK_WAIT_MS + QUIET_MS);
    assert_int_equal(find_dead(stage).count, 1);
    expect_all_settled(stage);
    broker_close_consumer(consumer);
}

static void crash_loop_ends(struct stage *stage)
{
    stage->group.max_attempts = 2;
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    for (unsigned attempt = 1; attempt <= 2; attempt++) {
        struct broker *broker = stage_broker(stage);
        struct broker_consumer *killed = consume_as(broker, &stage->group);
        take_this(killed, "1", attempt, WAIT_MS);
        broker_close_consumer(killed);
        broker_close(broker);
    }
    struct broker_consumer *consumer = consume(stage);
    await_dead(stage, consumer);
    broker_close_consumer(consumer);
}

/* The worker that buried it died before the ack; its successor does both again. */
static void buried_once(struct stage *stage)
{
    char id[128], subject[96];
    struct broker_receipt receipt;

    stage_declare(stage);
    publish(stage, "a", "poison", "x", &receipt);
    snprintf(id, sizeof(id), "dead:%s:group:%s", stage->name, receipt.sequence);
    snprintf(subject, sizeof(subject), "dead.%s.group", stage->name);
    struct broker_message first = {
        .stream = DEAD_STREAM, .subject = subject, .id = id, .data = "x", .size = 1};
    assert_true(try_publish(stage, &first, CALL_MS, &receipt));

    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "x", 1, CALL_MS);
    reject(consumer, "bad", NULL);
    expect_quiet(consumer, ACK_WAIT_MS + QUIET_MS);
    assert_int_equal(find_dead(stage).count, 1);
    expect_in_flight(stage, 0);
    broker_close_consumer(consumer);
}

static void bad_does_not_block(struct stage *stage)
{
    stage->group.max_in_flight = 1;
    stage_declare(stage);
    publish_numbers(stage, 1, 3);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    reject(consumer, "undecodable", "no");
    expect_done(consumer, "2", 1, CALL_MS);
    expect_done(consumer, "3", 1, CALL_MS);
    broker_close_consumer(consumer);
}

static void parts_die_alone(struct stage *stage)
{
    static const struct dead_part parts[] = {
        {.number = 2, .data = "two", .size = 3, .reason = "bad_line", .error = "no"},
        {.number = 7, .data = "seven", .size = 5, .reason = "bad_line", .error = "no"},
    };
    struct error err;

    stage_declare(stage);
    publish(stage, "a", "lines", "one\ntwo", NULL);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "one\ntwo", 1, CALL_MS);
    for (int i = 0; i < 2; i++)
        assert_ok(dead_letter_bury(consumer, parts, ARRAY_LEN(parts), CALL_MS, &err));
    done(consumer, 1);
    struct found found = find_dead(stage);
    assert_int_equal(found.count, 2);
    assert_string_equal(value_of(&found, DEAD_PART), "7");
    assert_int_equal(found.size, 5);
    struct broker_stats stats;
    broker_stats(stage->broker, &stats);
    assert_int_equal(stats.buried, 2);
    broker_close_consumer(consumer);
}

static void unburied_stays(struct stage *stage)
{
    struct broker_verdict verdict = {.action = BROKER_REJECT, .reason = "bad"};
    struct broker_batch batch;
    struct error err;

    stage->group.max_attempts = 2;
    stage_declare(stage);
    publish_numbers(stage, 1, 1);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "1", 1, CALL_MS);
    broker_memory_fail(stage->broker, DEAD_STREAM, BROKER_MEMORY_FULL, 1);
    assert_fails(broker_settle(consumer, &verdict, 1, CALL_MS, &err), ERROR_FULL);
    expect_in_flight(stage, 1);
    take_this(consumer, "1", 2, CALL_MS);
    settle_all(consumer, 1, (struct broker_verdict){.action = BROKER_RETRY});

    /* Past the limit: hidden, though it cannot be buried; and buried as soon as it can. */
    broker_memory_fail(stage->broker, DEAD_STREAM, BROKER_MEMORY_UNAVAILABLE, 1);
    assert_fails(broker_fetch(consumer, 1, SIZE_MAX, 500, &batch, &err), ERROR_UNAVAILABLE);
    expect_in_flight(stage, 1);
    broker_memory_fail(stage->broker, DEAD_STREAM, BROKER_MEMORY_STORED, 1);
    assert_fails(broker_fetch(consumer, 1, SIZE_MAX, CALL_MS, &batch, &err), ERROR_UNKNOWN);
    expect_quiet(consumer, 1000 + LATE_MS);
    assert_int_equal(find_dead(stage).count, 1);
    expect_in_flight(stage, 0);
    broker_close_consumer(consumer);
}

/* What a page showed: the reasons, one after the other. */
struct shown {
    char reasons[256], sequence[BROKER_SEQUENCE_SIZE];
    size_t count;
};

static void show(void *context, const struct broker_delivery *dead)
{
    struct shown *shown = context;

    shown->count++;
    strncat(shown->reasons, broker_header(dead, DEAD_REASON), 16);
    snprintf(shown->sequence, sizeof(shown->sequence), "%s", dead->sequence);
}

static struct shown show_pages(struct stage *stage, const struct dead_filter *filter, size_t max)
{
    struct dead_page page = {.from = "", .max = max};
    struct shown shown = {.count = 0};
    char from[BROKER_SEQUENCE_SIZE];
    struct error err;
    bool shows = true;

    for (bool more = true; more && shows; more = *from) {
        shows = dead_letter_list(stage->broker, filter, &page, show, &shown, CALL_MS, &err);
        memcpy(from, page.next, sizeof(from));
        page.from = from;
    }
    assert_true(shows);
    return shown;
}

/* The stream DEAD is everybody's: pages go over others' letters too, and show only ours. */
static void pages_and_filters(struct stage *stage)
{
    static const char *const reasons[] = {"red", "blue", "red", "blue", "red"};
    struct dead_filter ours = {.stream = stage->name};
    struct dead_filter red = {.stream = stage->name, .reason = "red"};
    struct shown one = {.count = 0};
    struct error err;

    stage_declare(stage);
    publish_numbers(stage, 1, ARRAY_LEN(reasons));
    struct broker_consumer *consumer = consume(stage);
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        assert_int_equal(take(consumer, 1, CALL_MS).count, 1);
        reject(consumer, reasons[i], NULL);
    }
    broker_close_consumer(consumer);

    assert_string_equal(show_pages(stage, &ours, 2).reasons, "redblueredbluered");
    struct shown some = show_pages(stage, &red, 10000);
    assert_string_equal(some.reasons, "redredred");
    assert_ok(dead_letter_get(stage->broker, some.sequence, show, &one, CALL_MS, &err));
    assert_string_equal(one.sequence, some.sequence);
    assert_fails(dead_letter_get(stage->broker, "987654321", show, &one, CALL_MS, &err),
                 ERROR_NOT_FOUND);
    assert_int_equal(one.count, 1);
}

/* ---- replay and purge ---- */

static struct dead_filter ours(const struct stage *stage)
{
    return (struct dead_filter){.stream = stage->name};
}

static void assert_work(const struct dead_work *work, size_t matched, size_t did, size_t cut)
{
    assert_int_equal(work->matched, matched);
    assert_int_equal(work->done, did);
    assert_int_equal(work->cut, cut);
}

/* Replays all of the stage's letters in one call. */
static void replay_all(struct stage *stage, size_t wanted)
{
    struct dead_filter filter = ours(stage);
    struct dead_work work = {.from = "", .max = SIZE_MAX};
    struct error err;

    assert_ok(dead_letter_replay(stage->broker, &filter, &work, CALL_MS, &err));
    assert_work(&work, wanted, wanted, 0);
    assert_string_equal(work.next, "");
}

/* Numbers that were given up, one dead letter each. */
static void bury_numbers(struct stage *stage, struct broker_consumer *consumer, int from, int to,
                         const char *reason)
{
    publish_numbers(stage, from, to);
    for (int i = from; i <= to; i++) {
        assert_int_equal(take(consumer, 1, CALL_MS).count, 1);
        reject(consumer, reason, "no");
    }
}

/* As many as there have to be, in as many batches as they come in. */
static void settle_many(struct broker_consumer *consumer, size_t count,
                        struct broker_verdict verdict)
{
    for (size_t left = count; left > 0;) {
        size_t taken = take(consumer, left, WAIT_MS).count;
        assert_in_range(taken, 1, left);
        settle_all(consumer, taken, verdict);
        left -= taken;
    }
}

static bool has_header(const struct broker_delivery *delivery, const char *prefix)
{
    for (size_t i = 0; i < delivery->header_count; i++)
        if (strncasecmp(delivery->headers[i].name, prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

static void replay_delivers(struct stage *stage)
{
    static const struct broker_header headers[] = {{"ce-id", "order 7"}, {"ce-type", "reading"}};
    char subject[80];
    struct broker_receipt receipt;

    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.a.b", stage->name);
    publish_poison(stage, subject, headers, ARRAY_LEN(headers), &receipt);
    struct broker_consumer *consumer = consume(stage);
    assert_int_equal(take(consumer, 1, CALL_MS).count, 1);
    reject(consumer, "bad", "no");
    replay_all(stage, 1);
    assert_int_equal(find_dead(stage).count, 0);

    struct broker_batch batch = take(consumer, 10, WAIT_MS);
    assert_int_equal(batch.count, 1);
    const struct broker_delivery *again = batch.deliveries;
    assert_string_equal(again->id, "poison~r1");
    assert_string_equal(again->subject, subject);
    assert_int_equal(again->size, 3);
    assert_memory_equal(again->data, "a\0b", 3);
    assert_int_equal(again->attempt, 1);
    assert_string_equal(broker_header(again, "ce-id"), "order 7");
    assert_string_equal(broker_header(again, "ce-type"), "reading");
    assert_string_equal(broker_header(again, DEAD_REPLAYS), "1");
    static const char *const stripped[] = {DEAD_REASON, DEAD_ERROR,     DEAD_ATTEMPTS,
                                           DEAD_ORIGIN, DEAD_CONSUMER,  DEAD_SUBJECT,
                                           DEAD_LAST,   "Nats-Expected"};
    for (size_t i = 0; i < ARRAY_LEN(stripped); i++)
        assert_false(has_header(again, stripped[i]));

    struct dead_origin origin = dead_letter_origin(again);
    assert_string_equal(origin.id, "poison");
    assert_string_equal(origin.sequence, receipt.sequence);
    assert_true(origin.stored_ms <= again->stored_ms);
    assert_int_equal(origin.replays, 1);
    done(consumer, 1);
    replay_all(stage, 0); /* there is nothing left to be replayed */
    expect_quiet(consumer, QUIET_MS);
    broker_close_consumer(consumer);
}

/* Each death of a replay is a letter of its own, which names the original. */
static void replays_are_counted(struct stage *stage)
{
    char id[32], replays[8];
    struct broker_receipt receipt;

    stage_declare(stage);
    publish(stage, "a", "poison", "x", &receipt);
    struct broker_consumer *consumer = consume(stage);
    for (unsigned n = 0; n < 3; n++) {
        struct broker_delivery delivery = take_this(consumer, "x", 1, WAIT_MS);
        snprintf(id, sizeof(id), n ? "poison~r%u" : "poison", n);
        assert_string_equal(delivery.id, id);
        reject(consumer, "bad", "no");
        struct found found = find_dead(stage);
        assert_int_equal(found.count, 1);
        assert_string_equal(value_of(&found, DEAD_ID), "poison");
        assert_string_equal(value_of(&found, DEAD_SEQUENCE), receipt.sequence);
        snprintf(replays, sizeof(replays), "%u", n);
        if (n)
            assert_string_equal(value_of(&found, DEAD_REPLAYS), replays);
        replay_all(stage, 1);
    }
    expect_done(consumer, "x", 1, WAIT_MS);
    broker_close_consumer(consumer);
}

/* It was published, and then not removed: that comes to light as a duplicate. */
static void replay_crash_is_one_message(struct stage *stage)
{
    char subject[80];
    struct broker_receipt receipt;

    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    bury_numbers(stage, consumer, 1, 1, "bad");
    snprintf(subject, sizeof(subject), "%s.n", stage->name);
    struct broker_message first = {
        .stream = stage->name, .subject = subject, .id = "1~r1", .data = "1", .size = 1};
    assert_true(try_publish(stage, &first, CALL_MS, &receipt));
    replay_all(stage, 1);
    expect_done(consumer, "1", 1, WAIT_MS);
    expect_quiet(consumer, QUIET_MS);
    assert_int_equal(find_dead(stage).count, 0);
    broker_close_consumer(consumer);
}

static void unknown_replay_is_one_message(struct stage *stage)
{
    struct dead_filter filter = ours(stage);
    struct dead_work work = {.from = "", .max = SIZE_MAX};
    struct error err;

    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    bury_numbers(stage, consumer, 1, 3, "bad");
    broker_memory_fail(stage->broker, stage->name, BROKER_MEMORY_STORED, 1);
    assert_fails(dead_letter_replay(stage->broker, &filter, &work, CALL_MS, &err), ERROR_UNKNOWN);
    assert_work(&work, 3, 2, 0);
    assert_string_equal(work.next, "1");
    assert_non_null(strstr(err.message, "dead letter 1 to"));
    assert_int_equal(find_dead(stage).count, 1);
    replay_all(stage, 1);
    settle_many(consumer, 3, (struct broker_verdict){.action = BROKER_DONE});
    broker_close_consumer(consumer);
}

/* A letter as others may have written it. */
struct crafted {
    const char *id, *stream, *consumer, *reason, *subject, *last, *size;
};

static void craft(struct stage *stage, const struct crafted *crafted)
{
    const struct broker_header all[] = {
        {DEAD_ORIGIN, crafted->stream}, {DEAD_CONSUMER, crafted->consumer},
        {DEAD_REASON, crafted->reason}, {DEAD_SUBJECT, crafted->subject},
        {DEAD_LAST, crafted->last},     {DEAD_SIZE, crafted->size},
        {DEAD_SEQUENCE, "17"},
    };
    struct broker_header headers[ARRAY_LEN(all)];
    char id[160], subject[128];
    struct broker_receipt receipt;
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].value)
            headers[count++] = all[i];
    snprintf(id, sizeof(id), "%s:%s", stage->name, crafted->id);
    snprintf(subject, sizeof(subject), "dead.%s.crafted", stage->name);
    struct broker_message message = {.stream = DEAD_STREAM,
                                     .subject = subject,
                                     .id = id,
                                     .headers = headers,
                                     .header_count = count,
                                     .data = crafted->id,
                                     .size = strlen(crafted->id)};
    assert_true(try_publish(stage, &message, CALL_MS, &receipt));
}

/* An id of their own gives them away: a place in the stream is one, too. */
static void replay_names_the_nameless(struct stage *stage)
{
    char subject[80], id[80];

    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    craft(stage,
          &(struct crafted){.id = "x", .stream = stage->name, .reason = "bad", .subject = subject});
    struct broker_consumer *consumer = consume(stage);
    for (unsigned n = 1; n <= 2; n++) {
        replay_all(stage, 1);
        struct broker_delivery delivery = take_this(consumer, "x", 1, WAIT_MS);
        struct dead_origin origin = dead_letter_origin(&delivery);
        snprintf(id, sizeof(id), "%s:17~r%u", stage->name, n);
        assert_string_equal(delivery.id, id);
        assert_string_equal(origin.id, "");
        assert_string_equal(origin.sequence, "17");
        reject(consumer, "bad", NULL);
    }
    broker_close_consumer(consumer);
}

static void replay_shortens_long_ids(struct stage *stage)
{
    char id[BROKER_ID_MAX + 1], first[BROKER_ID_MAX + 1] = "";

    memset(id, 'i', BROKER_ID_MAX);
    id[BROKER_ID_MAX] = '\0';
    stage_declare(stage);
    publish(stage, "a", id, "x", NULL);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "x", 1, CALL_MS);
    for (int n = 1; n <= 2; n++) {
        reject(consumer, "bad", NULL);
        replay_all(stage, 1);
        struct broker_delivery delivery = take_this(consumer, "x", 1, WAIT_MS);
        assert_true(strlen(delivery.id) < BROKER_ID_MAX);
        assert_string_not_equal(delivery.id, first);
        assert_string_equal(dead_letter_origin(&delivery).id, id);
        snprintf(first, sizeof(first), "%s", delivery.id);
    }
    done(consumer, 1);
    broker_close_consumer(consumer);
}

static void parts_are_replayed(struct stage *stage)
{
    static const struct dead_part part = {
        .number = 7, .data = "seven", .size = 5, .reason = "bad_line", .error = "no"};
    char id[32];
    struct error err;

    stage_declare(stage);
    publish(stage, "a", "lines", "one\nseven", NULL);
    struct broker_consumer *consumer = consume(stage);
    take_this(consumer, "one\nseven", 1, CALL_MS);
    assert_ok(dead_letter_bury(consumer, &part, 1, CALL_MS, &err));
    done(consumer, 1);
    for (unsigned n = 1; n <= 3; n++) {
        replay_all(stage, 1);
        struct broker_delivery delivery = take_this(consumer, "seven", 1, WAIT_MS);
        snprintf(id, sizeof(id), "lines~p7~r%u", n);
        assert_string_equal(delivery.id, id);
        assert_int_equal(dead_letter_origin(&delivery).part, 7);
        assert_string_equal(dead_letter_origin(&delivery).id, "lines");
        reject(consumer, "bad_line", "still");
        struct found found = find_dead(stage);
        assert_int_equal(found.count, 1);
        assert_string_equal(value_of(&found, DEAD_PART), "7");
    }
    broker_close_consumer(consumer);
}

/* Half of a message, and what does not say where it belongs, would do harm. */
static void incomplete_letters_stay(struct stage *stage)
{
    struct dead_filter filter = ours(stage);
    struct dead_work work = {.from = "", .max = SIZE_MAX};
    char subject[80];
    struct error err;

    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    const struct crafted letters[] = {
        {.id = "cut", .stream = stage->name, .subject = subject, .size = "2000000"},
        {.id = "stray", .stream = stage->name},
        {.id = "odd", .stream = stage->name, .subject = "a b"},
        {.id = "good", .stream = stage->name, .subject = subject},
    };
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        craft(stage, &letters[i]);
    work.dry_run = true;
    assert_ok(dead_letter_replay(stage->broker, &filter, &work, CALL_MS, &err));
    assert_work(&work, 4, 0, 3);
    work.dry_run = false;
    assert_ok(dead_letter_replay(stage->broker, &filter, &work, CALL_MS, &err));
    assert_work(&work, 4, 1, 3);
    assert_int_equal(find_dead(stage).count, 3);
    struct broker_consumer *consumer = consume(stage);
    expect_done(consumer, "good", 1, WAIT_MS);
    expect_quiet(consumer, QUIET_MS);
    broker_close_consumer(consumer);
}

static size_t count_meant(struct stage *stage, const struct dead_filter *filter)
{
    return show_pages(stage, filter, 2).count;
}

static void filters_hold(struct stage *stage)
{
    char other[64];
    struct error err;

    stage_declare(stage);
    snprintf(other, sizeof(other), "%s-other", stage->name);
    const struct crafted letters[] = {
        {"a", stage->name, "one", "red", "s", "2026-01-01T00:00:00.000Z", NULL},
        {"b", stage->name, "two", "red", "s", "2026-01-02T00:00:00.000Z", NULL},
        {"c", stage->name, "one", "blue", "s", "2026-01-03T00:00:00.000Z", NULL},
        {"d", other, "one", "red", "s", "2026-01-01T00:00:00.000Z", NULL},
    };
    const int64_t day1_ms = 1767225600000, day_ms = 86400000;
    const struct {
        struct dead_filter filter;
        size_t count;
    } rows[] = {
        {{.stream = stage->name}, 3},
        {{.stream = other}, 1},
        {{.stream = stage->name, .consumer = "one"}, 2},
        {{.stream = stage->name, .reason = "red"}, 2},
        {{.stream = stage->name, .reason = "red", .consumer = "one"}, 1},
        {{.stream = stage->name, .since_ms = day1_ms + day_ms}, 2},
        {{.stream = stage->name, .until_ms = day1_ms + day_ms}, 1},
        {{.stream = stage->name, .since_ms = day1_ms, .until_ms = day1_ms + 1}, 1},
        {{.stream = stage->name, .since_ms = day1_ms + 1, .until_ms = day1_ms + day_ms}, 0},
        {{.stream = stage->name, .reason = "green"}, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        craft(stage, &letters[i]);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(count_meant(stage, &rows[i].filter), rows[i].count);

    struct shown shown = show_pages(stage, &rows[1].filter, 10), one = {.count = 0};
    struct dead_filter by_place = {.sequence = shown.sequence};
    assert_int_equal(count_meant(stage, &by_place), 1);
    by_place.reason = "blue";
    assert_int_equal(count_meant(stage, &by_place), 0);
    assert_fails(dead_letter_get(stage->broker, "nothing", show, &one, CALL_MS, &err),
                 ERROR_NOT_FOUND);
}

static void dry_run_changes_nothing(struct stage *stage)
{
    struct dead_filter filter = ours(stage);
    struct dead_work work = {.from = "", .max = 2, .dry_run = true};
    struct error err;

    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    bury_numbers(stage, consumer, 1, 3, "bad");
    assert_ok(dead_letter_replay(stage->broker, &filter, &work, CALL_MS, &err));
    assert_work(&work, 2, 0, 0);
    assert_true(*work.next);
    assert_ok(dead_letter_purge(stage->broker, &filter, &work, CALL_MS, &err));
    assert_work(&work, 2, 0, 0);
    work.max = SIZE_MAX;
    work.from = work.next; /* the place that was told may be where to go on from */
    assert_ok(dead_letter_purge(stage->broker, &filter, &work, CALL_MS, &err));
    assert_work(&work, 1, 0, 0);
    expect_quiet(consumer, QUIET_MS);
    assert_int_equal(find_dead(stage).count, 3);
    broker_close_consumer(consumer);
}

static void replay_some(struct stage *stage, struct dead_work *work, int ms)
{
    struct dead_filter filter = ours(stage);
    struct stopwatch stopwatch = stopwatch_start(stage);
    struct error err;

    assert_ok(dead_letter_replay(stage->broker, &filter, work, ms, &err));
    expect_took("one call", stage, &stopwatch, 0, ms + 100);
}

/* One call after the other, of so many ms each, until there is nothing left; how many it did. */
static size_t replay_in_calls(struct stage *stage, struct dead_work *work, int ms)
{
    char next[BROKER_SEQUENCE_SIZE] = "";
    size_t did = 0;

    work->from = next;
    do {
        replay_some(stage, work, ms);
        did += work->done;
        memcpy(next, work->next, sizeof(next));
    } while (*next);
    return did;
}

static void rate_holds(struct stage *stage)
{
    struct dead_work quick = {.max = SIZE_MAX, .per_second = 10};
    struct dead_work slow = {.max = SIZE_MAX, .per_second = 2};

    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    bury_numbers(stage, consumer, 1, 6, "bad");
    struct stopwatch stopwatch = stopwatch_start(stage);
    assert_int_equal(replay_in_calls(stage, &quick, CALL_MS), 6);
    expect_took("5 pauses of 100 ms", stage, &stopwatch, 500, 1500);
    settle_many(consumer, 6, (struct broker_verdict){.action = BROKER_REJECT, .reason = "bad"});

    stopwatch = stopwatch_start(stage);
    assert_int_equal(replay_in_calls(stage, &slow, 400), 6);
    expect_took("5 pauses of 500 ms", stage, &stopwatch, 2500, 5000);
    broker_close_consumer(consumer);
}

static void many_are_replayed_once(struct stage *stage)
{
    enum { MANY = 300 };
    struct dead_work work = {.max = SIZE_MAX};

    stage_declare(stage);
    publish_numbers(stage, 1, MANY);
    struct broker_consumer *consumer = consume(stage);
    settle_many(consumer, MANY, (struct broker_verdict){.action = BROKER_REJECT, .reason = "b"});
    assert_int_equal(replay_in_calls(stage, &work, CALL_MS), MANY);
    assert_int_equal(find_dead(stage).count, 0);
    settle_many(consumer, MANY, (struct broker_verdict){.action = BROKER_DONE});
    expect_quiet(consumer, QUIET_MS);
    broker_close_consumer(consumer);
}

/* Else a cause that is not mended would be replayed round and round. */
static void what_fails_again_waits(struct stage *stage)
{
    struct dead_filter filter = ours(stage);
    struct dead_work work = {.from = "", .max = 1};
    struct error err;

    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    bury_numbers(stage, consumer, 1, 2, "bad");
    assert_ok(dead_letter_replay(stage->broker, &filter, &work, CALL_MS, &err));
    assert_work(&work, 1, 1, 0);
    take_this(consumer, "1", 1, WAIT_MS);
    reject(consumer, "bad", "again");
    work.from = work.next;
    work.max = SIZE_MAX;
    assert_ok(dead_letter_replay(stage->broker, &filter, &work, CALL_MS, &err));
    assert_work(&work, 1, 1, 0);
    assert_string_equal(work.next, "");
    expect_done(consumer, "2", 1, WAIT_MS);
    expect_quiet(consumer, QUIET_MS);
    assert_int_equal(find_dead(stage).count, 1);
    broker_close_consumer(consumer);
}

/* The reason is this case's own name for what it made. */
static void stops_at_what_has_no_stream(struct stage *stage)
{
    struct dead_filter filter = {.reason = stage->name};
    struct dead_work work = {.from = "", .max = SIZE_MAX};
    char subject[80], gone[64], gone_subject[80], text[160];
    struct error err;

    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    snprintf(gone, sizeof(gone), "%s-gone", stage->name);
    snprintf(gone_subject, sizeof(gone_subject), "%s.a", gone);
    craft(stage,
          &(struct crafted){
              .id = "here", .stream = stage->name, .subject = subject, .reason = stage->name});
    craft(stage, &(struct crafted){
                     .id = "gone", .stream = gone, .subject = gone_subject, .reason = stage->name});
    struct stopwatch stopwatch = stopwatch_start(stage);
    assert_false(dead_letter_replay(stage->broker, &filter, &work, 2000, &err));
    expect_took("a call of 2 s", stage, &stopwatch, 0, 2200);
    assert_work(&work, 2, 1, 0);
    snprintf(text, sizeof(text), "dead letter %s to '%s'", work.next, gone);
    assert_non_null(strstr(err.message, text));

    struct shown left = show_pages(stage, &filter, 10);
    assert_int_equal(left.count, 1);
    assert_string_equal(left.sequence, work.next);
    struct broker_consumer *consumer = consume(stage);
    expect_done(consumer, "here", 1, WAIT_MS);
    broker_close_consumer(consumer);
}

static void purge_removes_what_is_meant(struct stage *stage)
{
    struct dead_filter none = {0}, red = {.stream = stage->name, .reason = "red"};
    struct dead_filter all = ours(stage);
    struct dead_work work = {.from = "", .max = SIZE_MAX};
    struct error err;

    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    bury_numbers(stage, consumer, 1, 2, "red");
    bury_numbers(stage, consumer, 3, 3, "blue");
    bury_numbers(stage, consumer, 4, 5, "red");
    assert_fails(dead_letter_purge(stage->broker, &none, &work, CALL_MS, &err), ERROR_INVALID);
    assert_string_equal(err.reason, "empty_filter");
    assert_int_equal(find_dead(stage).count, 5);

    work.max = 3;
    assert_ok(dead_letter_purge(stage->broker, &red, &work, CALL_MS, &err));
    assert_work(&work, 3, 3, 0);
    assert_string_equal(show_pages(stage, &all, 10).reasons, "bluered");
    work.from = work.next;
    assert_ok(dead_letter_purge(stage->broker, &red, &work, CALL_MS, &err));
    assert_work(&work, 1, 1, 0);
    assert_string_equal(work.next, "");
    struct shown left = show_pages(stage, &all, 10);
    assert_string_equal(left.reasons, "blue");

    struct dead_filter one = {.sequence = left.sequence};
    work = (struct dead_work){.from = "", .max = SIZE_MAX};
    assert_ok(dead_letter_purge(stage->broker, &one, &work, CALL_MS, &err));
    assert_work(&work, 1, 1, 0);
    assert_ok(dead_letter_purge(stage->broker, &one, &work, CALL_MS, &err));
    assert_work(&work, 0, 0, 0);
    assert_int_equal(find_dead(stage).count, 0);
    expect_quiet(consumer, QUIET_MS);
    broker_close_consumer(consumer);
}

static void pages_survive_removals(struct stage *stage)
{
    struct dead_filter filter = ours(stage);
    struct dead_page page = {.from = "", .max = 2};
    struct shown shown = {.count = 0};
    struct dead_work work = {.from = "", .max = SIZE_MAX};
    struct error err;

    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    bury_numbers(stage, consumer, 1, 1, "one-");
    bury_numbers(stage, consumer, 2, 2, "two-");
    bury_numbers(stage, consumer, 3, 3, "three-");
    bury_numbers(stage, consumer, 4, 4, "four-");
    assert_ok(dead_letter_list(stage->broker, &filter, &page, show, &shown, CALL_MS, &err));
    assert_int_equal(page.count, 2);
    struct dead_filter next = {.sequence = page.next};
    assert_ok(dead_letter_purge(stage->broker, &next, &work, CALL_MS, &err));
    assert_work(&work, 1, 1, 0);
    page.from = page.next;
    assert_ok(dead_letter_list(stage->broker, &filter, &page, show, &shown, CALL_MS, &err));
    assert_string_equal(shown.reasons, "one-two-four-");
    assert_int_equal(page.count, 1);
    assert_string_equal(page.next, "");
    broker_close_consumer(consumer);
}

static void replay_needs_the_end(struct stage *stage)
{
    struct dead_filter filter = ours(stage);
    struct error err;

    stage_declare(stage);
    struct broker_consumer *consumer = consume(stage);
    bury_numbers(stage, consumer, 1, 2, "bad");
    struct dead_work work = {.from = "1", .max = SIZE_MAX};
    broker_memory_away(stage->broker, true);
    assert_fails(dead_letter_replay(stage->broker, &filter, &work, CALL_MS, &err),
                 ERROR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "replay dead letters: find the last dead letter: "));
    assert_work(&work, 0, 0, 0);
    assert_string_equal(work.next, work.from);
    broker_memory_away(stage->broker, false);
    replay_all(stage, 2);
    broker_close_consumer(consumer);
}

static const struct conformance_case cases[] = {
    {"G11 a rejected message becomes one dead letter that tells all", tells_all, ANY_DRIVER},
    {"G10 past max_attempts it is a dead letter and no handler sees it", limit_quarantines,
     ANY_DRIVER},
    {"G10 the quarantine of one leaves its neighbours alone", limit_spares_neighbours, ANY_DRIVER},
    {"G10 a crash loop ends at max_attempts", crash_loop_ends, ANY_DRIVER},
    {"G11 a crash between dead letter and ack leaves one dead letter", buried_once, ANY_DRIVER},
    {"an undecodable message does not block the ones behind it", bad_does_not_block, ANY_DRIVER},
    {"G11 parts of a message die alone, once each", parts_die_alone, ANY_DRIVER},
    {"dead letters are listed in pages, by what they say, and shown one by one", pages_and_filters,
     ANY_DRIVER},
    {"dead letters are listed by stream, consumer, reason, place and time", filters_hold,
     ANY_DRIVER},
    {"pages of dead letters go on while letters are removed", pages_survive_removals, ANY_DRIVER},
    {"G12 a replay is the original, delivered inside the dedup window", replay_delivers,
     ANY_DRIVER},
    {"G12 replays are counted, and every letter names the original", replays_are_counted,
     ANY_DRIVER},
    {"G12 a crash between publishing and removing is one message", replay_crash_is_one_message,
     ANY_DRIVER},
    {"G12 a replay without an answer is one message", unknown_replay_is_one_message, ONLY_MEMORY},
    {"G12 a message without an id is replayed under its place", replay_names_the_nameless,
     ANY_DRIVER},
    {"G12 an id that would be too long gives way to a hash", replay_shortens_long_ids, ANY_DRIVER},
    {"G12 parts are replayed as parts", parts_are_replayed, ANY_DRIVER},
    {"G12 what is not all of its original is not replayed", incomplete_letters_stay, ANY_DRIVER},
    {"G12 many letters are replayed once each", many_are_replayed_once, ANY_DRIVER},
    {"G12 what fails again is not replayed again on the way", what_fails_again_waits, ANY_DRIVER},
    {"G12 a replay ends at what cannot be published, and says so", stops_at_what_has_no_stream,
     ANY_DRIVER | ALONE},
    {"G12 a replay that cannot learn where it ends fails, and begins there another time",
     replay_needs_the_end, ONLY_MEMORY},
    {"replay keeps to its rate and its time", rate_holds, ANY_DRIVER | ALONE},
    {"a dry run changes nothing", dry_run_changes_nothing, ANY_DRIVER},
    {"a purge removes what is meant and nothing else", purge_removes_what_is_meant, ANY_DRIVER},
    {"G11 what cannot be buried stays the group's work", unburied_stays, ONLY_MEMORY},
};

const struct conformance_list dead_cases = {cases, ARRAY_LEN(cases)};
