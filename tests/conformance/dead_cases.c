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

static void tells_all(struct stage *stage)
{
    static const struct broker_header headers[] = {{"ce-type", "reading"},
                                                   {"dead-reason", "older"}};
    char subject[80], dead_subject[96];
    struct broker_receipt receipt;

    stage_declare(stage);
    snprintf(subject, sizeof(subject), "%s.a", stage->name);
    struct broker_message message = {.stream = stage->name,
                                     .subject = subject,
                                     .id = "poison",
                                     .headers = headers,
                                     .header_count = ARRAY_LEN(headers),
                                     .data = "a\0b",
                                     .size = 3};
    assert_true(try_publish(stage, &message, CALL_MS, &receipt));
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
    assert_int_equal(lag(stage).in_flight, 0);
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
    assert_int_equal(lag(stage).unread + lag(stage).in_flight, 0);
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
    assert_int_equal(lag(stage).unread + lag(stage).in_flight, 0);
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
    assert_int_equal(lag(stage).in_flight, 0);
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
    assert_int_equal(lag(stage).in_flight, 1);
    take_this(consumer, "1", 2, CALL_MS);
    settle_all(consumer, 1, (struct broker_verdict){.action = BROKER_RETRY});

    /* Past the limit: hidden, though it cannot be buried; and buried as soon as it can. */
    broker_memory_fail(stage->broker, DEAD_STREAM, BROKER_MEMORY_UNAVAILABLE, 1);
    assert_fails(broker_fetch(consumer, 1, SIZE_MAX, 500, &batch, &err), ERROR_UNAVAILABLE);
    assert_int_equal(lag(stage).in_flight, 1);
    broker_memory_fail(stage->broker, DEAD_STREAM, BROKER_MEMORY_STORED, 1);
    assert_fails(broker_fetch(consumer, 1, SIZE_MAX, CALL_MS, &batch, &err), ERROR_UNKNOWN);
    expect_quiet(consumer, 1000 + LATE_MS);
    assert_int_equal(find_dead(stage).count, 1);
    assert_int_equal(lag(stage).in_flight, 0);
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
    {"G11 what cannot be buried stays the group's work", unburied_stays, ONLY_MEMORY},
};

const struct conformance_list dead_cases = {cases, ARRAY_LEN(cases)};
