#include "support/test.h"

#include "batch.h"

#include "event/header.h"
#include "messages/logs.h"
#include "messages/readings.h"

#include <stdio.h>
#include <string.h>

#define GOOD                                                                                       \
    "{\"site_id\":\"s\",\"device_id\":\"d\",\"power_reading\":1.5,"                                \
    "\"timestamp\":\"2026-11-21T08:00:00Z\"}"
#define NAMED                                                                                      \
    "{\"id\":\"0193a4b2-0000-7000-8000-000000000001\",\"site_id\":\"s\","                          \
    "\"device_id\":\"d\",\"power_reading\":2,\"timestamp\":\"2026-11-21T08:00:01Z\"}"
#define BAD "{\"site_id\":\"s\"}"

#define ROWS_MAX 4

static const struct row {
    const char *name;
    const char *data;
    bool packed;
    const char *stream_ids[ROWS_MAX]; /* of the rows wanted, in order */
    unsigned dead[ROWS_MAX];          /* numbers of the dead parts wanted */
    size_t dead_count;
} rows[] = {
    {"one event", GOOD, false, {"17"}, {0}, 0},
    {"a bad event is one dead part, the whole message", BAD, false, {0}, {0}, 1},
    {"not JSON", "\xff\xfe", false, {0}, {0}, 1},
    {"an empty message is dead, not ignored", "", false, {0}, {0}, 1},
    {"lines are events", GOOD "\n" NAMED "\n", true, {"17.1", "17.2"}, {0}, 0},
    {"a last line needs no end", GOOD "\n" NAMED, true, {"17.1", "17.2"}, {0}, 0},
    {"a bad line does not disturb its neighbours",
     GOOD "\n" BAD "\n" NAMED "\n",
     true,
     {"17.1", "17.3"},
     {2},
     1},
    {"a bad last line without an end", GOOD "\n" BAD, true, {"17.1"}, {2}, 1},
    {"lines that say they are one event are not", GOOD "\n" GOOD, false, {0}, {0}, 1},
};

static struct broker_delivery delivery_of(const struct row *row)
{
    static const struct broker_header packed[] = {{HEADER_CE_DATACONTENTTYPE, CONTENT_NDJSON}};

    return (struct broker_delivery){
        .subject = "readings.s.d",
        .id = "",
        .headers = packed,
        .header_count = row->packed ? 1 : 0,
        .data = row->data,
        .size = strlen(row->data),
        .attempt = 1,
        .stored_ms = 1700000000000,
        .sequence = "17",
    };
}

static void start(struct batch *batch, const char *topic)
{
    const struct topic *kind = topic_find(topic);

    batch_start(batch, &(struct batch_source){kind, NULL}, 1);
}

static void decode(void **state)
{
    const struct row *row = *state;
    struct broker_delivery delivery = delivery_of(row);
    struct broker_batch deliveries = {&delivery, 1};
    struct batch batch;
    size_t wanted = 0;

    start(&batch, "readings");
    for (int round = 0; round < 2; round++) {
        batch_reset(&batch);
        batch_decode(&batch, &deliveries);
        for (wanted = 0; wanted < ROWS_MAX && row->stream_ids[wanted]; wanted++)
            assert_string_equal(batch.rows[wanted].stream_id, row->stream_ids[wanted]);
        assert_int_equal(batch.row_count, wanted);
        assert_int_equal(batch.part_count, row->dead_count);
        for (size_t i = 0; i < row->dead_count; i++) {
            const struct dead_part *part = &batch.parts[i];
            assert_int_equal(part->number, row->dead[i]);
            assert_true(*part->reason && *part->error);
            assert_true(part->size <= delivery.size);
        }
    }
    batch_stop(&batch);
}

/* Delivered again, an event without an id must get the same one, and each line its own. */
static void ids_are_stable_and_distinct(void **state)
{
    static const struct row twins = {.name = "", .data = GOOD "\n" GOOD "\n", .packed = true};
    struct broker_delivery delivery = delivery_of(&twins);
    struct broker_batch deliveries = {&delivery, 1};
    struct id first[2];
    struct batch batch;

    (void)state;
    start(&batch, "readings");
    for (int round = 0; round < 2; round++) {
        batch_reset(&batch);
        batch_decode(&batch, &deliveries);
        assert_int_equal(batch.row_count, 2);
        for (size_t i = 0; i < 2; i++) {
            const struct reading_event *event = batch.rows[i].event;
            if (round == 0)
                first[i] = event->id;
            assert_memory_equal(&event->id, &first[i], sizeof(first[i]));
        }
    }
    assert_memory_not_equal(&first[0], &first[1], sizeof(first[0]));
    batch_stop(&batch);
}

#define BARE "{\"message\":\"m\"}"
#define OWN "{\"message\":\"m\",\"id\":\"0193a4b2-0000-7000-8000-000000000001\"}"
#define FIRST_TIME                                                                                 \
    {                                                                                              \
        DEAD_FIRST, "2023-11-14T22:13:20.000Z"                                                     \
    } /* of delivery_of */
#define IS_PACKED                                                                                  \
    {                                                                                              \
        HEADER_CE_DATACONTENTTYPE, CONTENT_NDJSON                                                  \
    }

/* A replay comes under another id, at another place and time, and stays the same event. */
static const struct replay {
    const char *name;
    const char *id, *data; /* of the original */
    bool packed;
    size_t row;        /* of the original, that is replayed first */
    const char *again; /* what is replayed */
    struct broker_header headers[6];
} replays[] = {
    {"an event that has only its place",
     "",
     BARE,
     false,
     0,
     BARE,
     {{DEAD_REPLAYS, "1"}, {DEAD_SEQUENCE, "17"}, FIRST_TIME}},
    {"one whose message has an id",
     "0193a4b2-0000-7000-8000-000000000002",
     BARE,
     false,
     0,
     BARE,
     {{DEAD_REPLAYS, "2"},
      {DEAD_SEQUENCE, "17"},
      FIRST_TIME,
      {DEAD_ID, "0193a4b2-0000-7000-8000-000000000002"}}},
    {"one whose message has an id that is none for an event",
     "order 7",
     BARE,
     false,
     0,
     BARE,
     {{DEAD_REPLAYS, "1"}, {DEAD_SEQUENCE, "17"}, FIRST_TIME, {DEAD_ID, "order 7"}}},
    {"one that brings its own",
     "",
     OWN,
     false,
     0,
     OWN,
     {{DEAD_REPLAYS, "1"}, {DEAD_SEQUENCE, "17"}, FIRST_TIME}},
    {"a whole pack",
     "",
     BARE "\n" BARE,
     true,
     0,
     BARE "\n" BARE,
     {IS_PACKED, {DEAD_REPLAYS, "1"}, {DEAD_SEQUENCE, "17"}, FIRST_TIME}},
    {"a line of a pack",
     "",
     BARE "\n" BARE "\n" BARE,
     true,
     2,
     BARE,
     {IS_PACKED, {DEAD_REPLAYS, "1"}, {DEAD_SEQUENCE, "17"}, FIRST_TIME, {DEAD_PART, "3"}}},
};

static void replays_are_the_same_event(void **state)
{
    const struct replay *row = *state;
    const struct row original = {.name = "", .data = row->data, .packed = row->packed};
    struct broker_delivery delivery = delivery_of(&original);
    struct broker_batch deliveries = {&delivery, 1};
    char place[BROKER_SEQUENCE_SIZE];
    struct batch batch;

    start(&batch, "logs");
    delivery.subject = "logs.s";
    delivery.id = row->id;
    batch_decode(&batch, &deliveries);
    assert_true(batch.row_count > row->row);
    struct log_event first = *(const struct log_event *)batch.rows[row->row].event;
    snprintf(place, sizeof(place), "%s", batch.rows[row->row].stream_id);

    batch_reset(&batch);
    delivery.id = "anything~r1";
    delivery.sequence = "99";
    delivery.stored_ms += 3600000;
    delivery.data = row->again;
    delivery.size = strlen(row->again);
    delivery.headers = row->headers;
    delivery.header_count = 0;
    while (delivery.header_count < ARRAY_LEN(row->headers) &&
           row->headers[delivery.header_count].name)
        delivery.header_count++;
    batch_decode(&batch, &deliveries);
    assert_true(batch.row_count > 0);
    const struct log_event *again = batch.rows[0].event;
    assert_memory_equal(&again->id, &first.id, sizeof(first.id));
    assert_int_equal(again->timestamp_ms, first.timestamp_ms);
    assert_string_equal(batch.rows[0].stream_id, place);
    batch_stop(&batch);
}

/* A message of ours has a few hundred lines; one of a hundred thousand would be as many letters. */
static void too_many_lines_are_one_dead_part(void **state)
{
    static char lines[3 * (BATCH_LINES_MAX + 1) + 1];
    struct row row = {.name = "", .data = lines, .packed = true};
    struct batch batch;

    (void)state;
    for (int i = 0; i <= BATCH_LINES_MAX; i++)
        for (int at = 0; at < 3; at++)
            lines[3 * i + at] = "{}\n"[at];
    struct broker_delivery delivery = delivery_of(&row);
    struct broker_batch deliveries = {&delivery, 1};
    start(&batch, "readings");
    batch_decode(&batch, &deliveries);
    assert_int_equal(batch.row_count, 0);
    assert_int_equal(batch.part_count, 1);
    assert_int_equal(batch.parts[0].number, 0);
    assert_string_equal(batch.parts[0].reason, "too_many_lines");
    assert_int_equal(batch.parts[0].size, delivery.size);

    delivery.size -= 3; /* one line fewer: each is judged */
    batch_reset(&batch);
    batch_decode(&batch, &deliveries);
    assert_int_equal(batch.part_count, BATCH_LINES_MAX);
    batch_stop(&batch);
}

static void many_rows_and_a_refused_one(void **state)
{
    static const struct row one = {.name = "", .data = NAMED};
    struct broker_delivery list[1000];
    struct broker_batch deliveries = {list, ARRAY_LEN(list)};
    struct error why;
    struct batch batch;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        list[i] = delivery_of(&one);
    start(&batch, "readings");
    batch_decode(&batch, &deliveries);
    assert_int_equal(batch.row_count, ARRAY_LEN(list));
    error_set(&why, ERROR_INVALID, "no such value");
    batch_refuse(&batch, 700, &why);
    assert_int_equal(batch.part_count, 1);
    assert_int_equal(batch.parts[0].delivery, 700);
    assert_int_equal(batch.refused, 1);
    assert_true(batch.origins[700].refused && !batch.origins[699].refused);
    assert_string_equal(batch.parts[0].error, "no such value");
    assert_memory_equal(batch.parts[0].data, NAMED, strlen(NAMED));
    batch_stop(&batch);
}

#define PARKED "{\"vehicle_plate\":\"AAA111\"}"

/* What the topics of a stream share it with is told by the subjects, also of packs. */
static void topics_are_told_apart_by_subject(void **state)
{
    static const struct broker_header packed[] = {{HEADER_CE_DATACONTENTTYPE, CONTENT_NDJSON}};
    static const char *const subjects[] = {"parking.exit.a", "parking.entry.a", "parking.entries.a",
                                           "parking.entry.=many", "parking"};
    const struct batch_source kinds[] = {{topic_find("parking-entries"), &store_parking_entries},
                                         {topic_find("parking-exits"), &store_parking_exits}};
    struct broker_delivery list[ARRAY_LEN(subjects)];
    struct broker_batch deliveries = {list, ARRAY_LEN(list)};
    struct batch batch;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        list[i] = (struct broker_delivery){.subject = subjects[i],
                                           .id = "",
                                           .data = PARKED,
                                           .size = sizeof(PARKED) - 1,
                                           .stored_ms = 1700000000000,
                                           .sequence = "17"};
    list[3].data = PARKED "\n" PARKED;
    list[3].size = 2 * sizeof(PARKED) - 1;
    list[3].headers = packed;
    list[3].header_count = 1;
    batch_start(&batch, kinds, ARRAY_LEN(kinds));
    batch_decode(&batch, &deliveries);
    assert_int_equal(batch.row_count, 4);
    for (size_t i = 0; i < batch.row_count; i++) {
        static const size_t from[] = {0, 1, 3, 3};
        assert_int_equal(batch.origins[i].delivery, from[i]);
        assert_ptr_equal(batch.origins[i].topic, kinds[i == 0].topic);
        assert_ptr_equal(batch.rows[i].table, kinds[i == 0].table);
    }
    assert_int_equal(batch.part_count, 2);
    for (size_t i = 0; i < batch.part_count; i++) {
        assert_int_equal(batch.parts[i].delivery, i == 0 ? 2 : 4);
        assert_string_equal(batch.parts[i].reason, "unknown_subject");
    }
    batch_stop(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_stable_and_distinct),
        cmocka_unit_test(too_many_lines_are_one_dead_part),
        cmocka_unit_test(many_rows_and_a_refused_one),
        cmocka_unit_test(topics_are_told_apart_by_subject),
    };

    return cmocka_run_group_tests_name("batch", tests, NULL, NULL) + RUN_ROWS(rows, decode) +
           RUN_ROWS(replays, replays_are_the_same_event);
}
