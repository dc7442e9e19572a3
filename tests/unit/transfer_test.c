/* What has to hold when messages go from one broker to another, over every pair of real ones. */
#include "support/test.h"

#include "batch.h"

#include "base/arena.h"
#include "base/id.h"
#include "base/memory.h"
#include "broker/dead_letter.h"
#include "broker/transfer.h"
#include "event/header.h"
#include "messages/logs.h"
#include "support/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MS 5000
#define STEP_MS 200
#define WAIT_MS 20000
#define ACK_WAIT_MS 2000
#define SEEN_MAX 2000
#define STREAM "READINGS"
#define GROUP "g"
#define EVENT "{\"message\":\"hello\"}"

struct pair {
    const char *from, *to;
};

static const struct pair pairs[] = {{"memory", "memory"}, {"nats", "redis"}, {"redis", "nats"}};

struct ground {
    const struct pair *pair;
    struct server *from_server, *to_server; /* NULL: memory */
    struct broker *from, *to;
    struct broker_stream stream;
    struct broker_group group;
    struct arena *arena;
    int published;
};

/* ---- the two brokers ---- */

static struct broker *open_broker(const char *kind, const char *name, struct server **out_server)
{
    char url[64];
    struct broker *broker = NULL;
    struct error err;

    snprintf(url, sizeof(url), "memory://%s", name);
    if (strcmp(kind, "nats") == 0)
        assert_ok(server_start_nats(out_server, &err));
    if (strcmp(kind, "redis") == 0)
        assert_ok(server_start_redis(out_server, &err));
    assert_ok(broker_open(&broker, *out_server ? server_url(*out_server) : url, NULL, &err));
    return broker;
}

static void declare(struct broker *broker, const struct broker_stream *stream,
                    const struct broker_group *group)
{
    struct error err;

    assert_ok(broker_declare(broker, stream, 1, group, group ? 1 : 0, NULL, NULL, CALL_MS, &err));
}

static struct ground *start_ground(const struct pair *pair)
{
    struct ground *ground = memory_alloc(sizeof(*ground));

    ground->pair = pair;
    ground->arena = arena_new(65536);
    ground->stream = (struct broker_stream){.name = STREAM,
                                            .subjects = "readings.>",
                                            .max_bytes = 100000000,
                                            .dedup_window_ms = 600000,
                                            .replicas = 1};
    ground->group = (struct broker_group){.stream = STREAM,
                                          .name = GROUP,
                                          .ack_wait_ms = ACK_WAIT_MS,
                                          .max_in_flight = 1000,
                                          .max_attempts = 5};
    ground->from = open_broker(pair->from, "from", &ground->from_server);
    ground->to = open_broker(pair->to, "to", &ground->to_server);
    declare(ground->from, &ground->stream, &ground->group);
    return ground;
}

static void end_ground(struct ground *ground)
{
    broker_close(ground->from);
    broker_close(ground->to);
    server_close(ground->from_server);
    server_close(ground->to_server);
    arena_free(ground->arena);
    free(ground);
}

/* ---- messages ---- */

static void publish_message(struct broker *broker, const struct broker_message *message)
{
    struct broker_receipt receipt;
    struct error err;

    assert_ok(broker_publish(broker, message, 1, CALL_MS, &receipt, &err));
    assert_false(receipt.duplicate);
}

/* Of so many bytes, which are all values there are, one after the other. */
static void publish(struct ground *ground, int count, size_t size)
{
    static const struct broker_header headers[] = {{"ce-type", "t"}, {"x-mine", "a: b"}};
    char *data = memory_alloc(size + 1);

    for (size_t i = 0; i < size; i++)
        data[i] = (char)i;
    for (int i = 0; i < count; i++) {
        char id[32], subject[32];
        snprintf(id, sizeof(id), "id-%d", ground->published);
        snprintf(subject, sizeof(subject), "readings.s.%d", ground->published++ % 3);
        publish_message(ground->from, &(struct broker_message){.stream = STREAM,
                                                               .subject = subject,
                                                               .id = id,
                                                               .headers = headers,
                                                               .header_count = 2,
                                                               .data = data,
                                                               .size = size});
    }
    free(data);
}

/* What a stream has, each message as a line of text. */
struct seen {
    struct arena *arena;
    const char *lines[SEEN_MAX];
    size_t count;
    bool with_id;
};

static void print_bytes(struct buffer *out, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        buffer_print(out, "%02x", (unsigned)(unsigned char)data[i]);
}

static int compare_headers(const void *a, const void *b)
{
    return strcmp(((const struct broker_header *)a)->name, ((const struct broker_header *)b)->name);
}

/* Without those that a broker or the transfer adds. */
static void print_headers(struct buffer *out, const struct broker_delivery *delivery, bool dead)
{
    struct broker_header headers[64];
    size_t count = 0;

    for (size_t i = 0; i < delivery->header_count; i++)
        if (dead ? strncmp(delivery->headers[i].name, "Nats-", 5) != 0
                 : dead_header_is_original(&delivery->headers[i]))
            headers[count++] = delivery->headers[i];
    qsort(headers, count, sizeof(*headers), compare_headers);
    for (size_t i = 0; i < count; i++)
        buffer_print(out, " %s=%s", headers[i].name, headers[i].value);
}

static void see(void *context, const struct broker_delivery *delivery)
{
    AUTO(buffer_free) struct buffer line = {0};
    struct seen *seen = context;

    buffer_print(&line, "%s %s ", delivery->subject, seen->with_id ? delivery->id : "");
    print_bytes(&line, delivery->data, delivery->size);
    print_headers(&line, delivery, !seen->with_id);
    assert_true(seen->count < SEEN_MAX);
    seen->lines[seen->count++] = arena_copy(seen->arena, line.data, line.size);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* with_id: an event's; else what a dead letter says, whose id is of the place. */
static struct seen *look(struct ground *ground, struct broker *broker, const char *stream)
{
    struct seen *seen = arena_alloc(ground->arena, sizeof(*seen));
    struct error err;

    seen->arena = ground->arena;
    seen->with_id = strcmp(stream, DEAD_STREAM) != 0;
    assert_ok(broker_peek(broker, stream, "", SEEN_MAX, see, seen, CALL_MS, &err));
    qsort(seen->lines, seen->count, sizeof(*seen->lines), compare_lines);
    return seen;
}

static void assert_same(const struct seen *a, const struct seen *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        assert_string_equal(a->lines[i], b->lines[i]);
}

static int64_t left(struct broker *broker, const char *group)
{
    struct broker_lag lag;
    struct error err;

    assert_ok(broker_lag(broker, STREAM, group, CALL_MS, &lag, &err));
    return lag.unread + lag.in_flight;
}

static size_t stored(struct ground *ground)
{
    return look(ground, ground->to, STREAM)->count;
}

/* ---- consumers and transfers ---- */

static struct broker_consumer *open_consumer(struct broker *broker,
                                             const struct broker_group *group)
{
    struct broker_consumer *consumer = NULL;
    struct error err;

    assert_ok(broker_open_consumer(&consumer, broker, group, &err));
    return consumer;
}

/* Takes up to max and says the same of each; how many. */
static size_t consume(struct broker_consumer *consumer, size_t max, struct broker_verdict verdict)
{
    struct broker_verdict *verdicts = memory_alloc(max * sizeof(*verdicts));
    struct broker_batch batch;
    struct error err;

    for (size_t i = 0; i < max; i++)
        verdicts[i] = verdict;
    assert_ok(broker_fetch(consumer, max, SIZE_MAX, CALL_MS, &batch, &err));
    assert_ok(broker_settle(consumer, verdicts, batch.count, CALL_MS, &err));
    free(verdicts);
    return batch.count;
}

/* Says the same of exactly so many, and leaves. */
static void settle(struct broker *broker, const struct broker_group *group, size_t count,
                   struct broker_verdict verdict)
{
    struct broker_consumer *consumer = open_consumer(broker, group);
    struct error err;

    for (size_t done = 0; done < count;)
        done += consume(consumer, count - done, verdict);
    assert_ok(broker_drain_consumer(consumer, CALL_MS, &err));
    broker_close_consumer(consumer);
}

#define DONE ((struct broker_verdict){.action = BROKER_DONE})
#define RETRY(ms) ((struct broker_verdict){.action = BROKER_RETRY, .delay_ms = (ms)})
#define REJECT ((struct broker_verdict){BROKER_REJECT, 0, "no_good", "it is no good"})

static struct transfer *open_transfer(struct ground *ground, const char *stream,
                                      const struct broker_group *group)
{
    struct transfer_route route = {
        .from = ground->from, .to = ground->to, .stream = stream, .group = group};
    struct transfer *transfer = NULL;
    struct error err;

    assert_ok(transfer_open(&transfer, &route, &err));
    return transfer;
}

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

static void finish(struct transfer *transfer)
{
    struct error err;

    assert_ok(transfer_finish(transfer, CALL_MS, &err));
    transfer_close(transfer);
}

static size_t step(struct transfer *transfer, int timeout_ms)
{
    struct error err;
    size_t moved;

    assert_ok(transfer_step(transfer, timeout_ms, &moved, &err));
    return moved;
}

/* Until the consumer has nothing left; how many were moved. */
static size_t drain(struct ground *ground, struct transfer *transfer)
{
    int64_t until_ms = now_ms() + WAIT_MS;
    size_t total = 0, moved;

    do {
        moved = step(transfer, STEP_MS);
        total += moved;
        assert_true(now_ms() < until_ms);
    } while (moved || left(ground->from, GROUP) > 0);
    return total;
}

static size_t move_group(struct ground *ground)
{
    struct transfer *transfer = open_transfer(ground, STREAM, &ground->group);
    size_t total = drain(ground, transfer);

    finish(transfer);
    return total;
}

static void move_dead(struct ground *ground)
{
    struct transfer *transfer = open_transfer(ground, DEAD_STREAM, NULL);
    int64_t until_ms = now_ms() + WAIT_MS;

    while (step(transfer, CALL_MS) > 0)
        assert_true(now_ms() < until_ms);
    finish(transfer);
}

/* ---- the rules ---- */

static void everything_is_kept(struct ground *ground)
{
    declare(ground->to, &ground->stream, &ground->group);
    publish(ground, 700, 256);
    publish(ground, 3, 0);
    publish(ground, 2, BROKER_MESSAGE_MAX - 100);
    struct seen *before = look(ground, ground->from, STREAM);
    assert_int_equal(move_group(ground), 705);
    assert_same(before, look(ground, ground->to, STREAM));
    assert_int_equal(left(ground->from, GROUP), 0);
    assert_int_equal(left(ground->to, GROUP), 705);
}

static void what_is_settled_is_not_sent(struct ground *ground)
{
    declare(ground->to, &ground->stream, &ground->group);
    publish(ground, 10, 8);
    settle(ground->from, &ground->group, 4, DONE);
    assert_int_equal(move_group(ground), 6);
    assert_int_equal(stored(ground), 6);
}

static void what_others_hold_is_taken_when_it_comes_back(struct ground *ground)
{
    struct broker_batch batch;
    struct error err;

    declare(ground->to, &ground->stream, &ground->group);
    publish(ground, 3, 8);
    settle(ground->from, &ground->group, 3, RETRY(1500));
    publish(ground, 3, 8);
    struct broker_consumer *other = open_consumer(ground->from, &ground->group);
    assert_ok(broker_fetch(other, 3, SIZE_MAX, CALL_MS, &batch, &err));
    assert_true(batch.count > 0);
    struct transfer *transfer = open_transfer(ground, STREAM, &ground->group);
    size_t moved = step(transfer, STEP_MS);
    assert_int_equal(moved + (size_t)left(ground->from, GROUP), 6);
    assert_true(left(ground->from, GROUP) >= 3 + (int64_t)batch.count);
    assert_int_equal(moved + drain(ground, transfer), 6);
    assert_int_equal(stored(ground), 6);
    finish(transfer);
    broker_close_consumer(other);
}

/* Fills it so that a part of ten messages has room. */
static void declare_small(struct ground *ground)
{
    struct broker_stream small = ground->stream;

    small.max_bytes = 1100000;
    declare(ground->to, &small, &ground->group);
}

static void step_until_full(struct transfer *transfer, size_t *out_moved)
{
    struct error err;
    size_t moved;

    *out_moved = 0;
    while (transfer_step(transfer, CALL_MS, &moved, &err))
        *out_moved += moved;
    *out_moved += moved;
    assert_int_equal(err.code, ERROR_FULL);
    assert_true(*out_moved > 0 && *out_moved < 10);
}

/* The other broker's workers make room; how many they took. */
static size_t make_room(struct ground *ground)
{
    size_t taken = (size_t)left(ground->to, GROUP);
    struct error err;

    settle(ground->to, &ground->group, taken, DONE);
    assert_ok(broker_trim(ground->to, STREAM, 0, CALL_MS, &err));
    return taken;
}

/* Until all have gone, with workers there; how many those took. */
static size_t drain_with_workers(struct ground *ground, struct transfer *transfer)
{
    int64_t until_ms = now_ms() + WAIT_MS;
    size_t taken = 0, ignored;
    struct error err;

    while (left(ground->from, GROUP) > 0) {
        taken += make_room(ground);
        (void)!transfer_step(transfer, STEP_MS, &ignored, &err);
        assert_true(now_ms() < until_ms);
    }
    return taken + make_room(ground);
}

static void assert_stays_full(struct transfer *transfer, int times)
{
    struct error err;
    size_t moved;

    for (int i = 0; i < times; i++) {
        assert_false(transfer_step(transfer, CALL_MS, &moved, &err));
        assert_int_equal(err.code, ERROR_FULL);
        assert_int_equal(moved, 0);
    }
}

static void full_means_hold_and_go_on(struct ground *ground)
{
    size_t moved;

    declare_small(ground);
    publish(ground, 10, 200000);
    struct transfer *transfer = open_transfer(ground, STREAM, &ground->group);
    step_until_full(transfer, &moved);
    assert_stays_full(transfer, 4);
    assert_int_equal(drain_with_workers(ground, transfer), 10);
    finish(transfer);
}

/* What waited long has not used up its attempts. */
static void giving_up_gives_back(struct ground *ground)
{
    struct broker_batch batch;
    struct error err;
    size_t moved;

    declare_small(ground);
    publish(ground, 10, 200000);
    struct transfer *transfer = open_transfer(ground, STREAM, &ground->group);
    step_until_full(transfer, &moved);
    assert_stays_full(transfer, 10);
    finish(transfer);
    assert_int_equal(left(ground->from, GROUP) + (int64_t)moved, 10);

    struct broker_consumer *consumer = open_consumer(ground->from, &ground->group);
    assert_ok(broker_fetch(consumer, 10, SIZE_MAX, CALL_MS, &batch, &err));
    assert_true(batch.count > 0);
    for (size_t i = 0; i < batch.count; i++)
        assert_true(batch.deliveries[i].attempt <= 3);
    broker_close_consumer(consumer);
}

/* As a crash between publishing and settling leaves it. */
static void stored_and_not_settled_is_a_duplicate(struct ground *ground)
{
    size_t moved;

    declare_small(ground);
    publish(ground, 10, 200000);
    struct transfer *transfer = open_transfer(ground, STREAM, &ground->group);
    step_until_full(transfer, &moved);
    transfer_close(transfer);
    assert_true(left(ground->from, GROUP) + (int64_t)moved >= 10);

    transfer = open_transfer(ground, STREAM, &ground->group);
    assert_int_equal(drain_with_workers(ground, transfer), 10);
    finish(transfer);
}

static void away_means_hold_and_go_on(struct ground *ground)
{
    struct error err;
    size_t moved;

    if (!ground->to_server)
        return; /* memory is never away */
    declare(ground->to, &ground->stream, &ground->group);
    publish(ground, 50, 8);
    server_kill(ground->to_server);
    struct transfer *transfer = open_transfer(ground, STREAM, &ground->group);
    assert_false(transfer_step(transfer, CALL_MS, &moved, &err));
    assert_true(err.code == ERROR_UNAVAILABLE || err.code == ERROR_UNKNOWN ||
                err.code == ERROR_TIMEOUT);
    assert_ok(server_start_again(ground->to_server, &err));
    int64_t until_ms = now_ms() + WAIT_MS;
    while (left(ground->from, GROUP) > 0) {
        (void)!transfer_step(transfer, STEP_MS, &moved, &err);
        assert_true(now_ms() < until_ms);
    }
    assert_int_equal(stored(ground), 50);
    finish(transfer);
}

static void what_it_never_takes_stays(struct ground *ground)
{
    struct broker_stream other = ground->stream;
    struct error err;
    size_t moved;

    other.max_bytes = 50000;
    declare(ground->to, &other, &ground->group);
    publish(ground, 1, 200000);
    struct transfer *transfer = open_transfer(ground, STREAM, &ground->group);
    assert_false(transfer_step(transfer, CALL_MS, &moved, &err));
    finish(transfer);
    assert_int_equal(left(ground->from, GROUP), 1);
    assert_int_equal(left(ground->to, GROUP), 0);
}

/* As a broker's own tool stores it. */
static void publish_without_id(struct ground *ground)
{
    AUTO(buffer_free) struct buffer reply = {0};
    AUTO(buffer_free) struct buffer command = {0};
    struct error err;

    buffer_print(&command, "XADD {millrace:%s} * subject readings.s.d Nats-Msg-Id \"\" data '%s'",
                 STREAM, EVENT);
    if (strcmp(ground->pair->from, "nats") == 0)
        assert_ok(
            server_request(server_url(ground->from_server), "readings.s.d", EVENT, &reply, &err));
    else
        assert_ok(server_command(ground->from_server, command.data, &reply, &err));
}

static void keep_id(void *context, const struct broker_delivery *delivery)
{
    char *out = context;

    snprintf(out, BROKER_ID_MAX, "%s", delivery->id);
    assert_string_equal(dead_letter_origin(delivery).id, "");
    assert_true(*dead_letter_origin(delivery).sequence);
}

/* Two consumers take it, each for itself: the id is the same both times. */
static void without_an_id_it_gets_one_of_its_place(struct ground *ground)
{
    struct broker_group second = ground->group;
    char id[BROKER_ID_MAX] = "";
    struct id parsed;
    struct error err;

    if (!ground->from_server)
        return; /* memory takes none without */
    second.name = "second";
    declare(ground->from, &ground->stream, &second);
    declare(ground->to, &ground->stream, &ground->group);
    publish_without_id(ground);
    assert_int_equal(move_group(ground), 1);
    struct transfer *transfer = open_transfer(ground, STREAM, &second);
    assert_int_equal(step(transfer, CALL_MS), 1);
    finish(transfer);
    assert_int_equal(stored(ground), 1);
    assert_ok(broker_peek(ground->to, STREAM, "", 1, keep_id, id, CALL_MS, &err));
    assert_true(id_parse(id, strlen(id), &parsed));
}

/* ---- names ---- */

#define LINES EVENT "\n" EVENT "\n"
#define NAME_SIZE 160

struct names {
    char texts[8][NAME_SIZE];
    size_t count;
};

static void name(void *context, const struct broker_delivery *delivery)
{
    struct names *names = context;
    const struct topic *topic = topic_find("logs");
    struct broker_delivery there = *delivery; /* the streams of this test are no topic's */
    struct broker_batch deliveries = {&there, 1};
    struct batch batch;
    char text[ID_TEXT_SIZE];

    there.subject = "logs.shop";
    batch_start(&batch, &(struct batch_source){topic, NULL}, 1);
    batch_decode(&batch, &deliveries);
    assert_int_equal(batch.part_count, 0);
    for (size_t i = 0; i < batch.row_count; i++) {
        const struct store_row *row = &batch.rows[i];
        const struct log_event *event = row->event;
        id_format(topic_id(topic, event), text);
        snprintf(names->texts[names->count++], NAME_SIZE, "%s %s %lld", text, row->stream_id,
                 (long long)event->timestamp_ms);
    }
    batch_stop(&batch);
}

static void publish_events(struct ground *ground)
{
    static const struct broker_header packed[] = {{HEADER_CE_DATACONTENTTYPE, CONTENT_NDJSON}};
    const size_t one = strcspn(LINES, "\n");
    const struct broker_message messages[] = {
        {STREAM, "readings.s.d", "pack-1", packed, 1, LINES, strlen(LINES)},
        {STREAM, "readings.s.d", "order-7", NULL, 0, LINES, one},
        {STREAM, "readings.s.d", "0193a4b2-0000-7000-8000-000000000001", NULL, 0, LINES, one},
    };

    for (size_t i = 0; i < ARRAY_LEN(messages); i++)
        publish_message(ground->from, &messages[i]);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* What was committed there before and is stored again here is the same event at the same place. */
static void events_keep_their_names(struct ground *ground)
{
    struct names before = {0}, after = {0};
    struct error err;

    declare(ground->to, &ground->stream, &ground->group);
    publish_events(ground);
    if (ground->from_server)
        publish_without_id(ground);
    assert_ok(broker_peek(ground->from, STREAM, "", 10, name, &before, CALL_MS, &err));
    move_group(ground);
    assert_ok(broker_peek(ground->to, STREAM, "", 10, name, &after, CALL_MS, &err));
    assert_int_equal(before.count, ground->from_server ? 5 : 4);
    assert_int_equal(after.count, before.count);
    qsort(before.texts, before.count, NAME_SIZE, compare_names);
    qsort(after.texts, after.count, NAME_SIZE, compare_names);
    for (size_t i = 0; i < before.count; i++)
        assert_string_equal(before.texts[i], after.texts[i]);
}

/* ---- dead letters ---- */

static size_t replay(struct broker *broker)
{
    const struct dead_filter filter = {.stream = STREAM};
    struct dead_work work = {.from = "", .max = 100};
    struct error err;

    assert_ok(dead_letter_replay(broker, &filter, &work, CALL_MS, &err));
    assert_int_equal(work.cut, 0);
    return work.done;
}

static void dead_letters_move_and_can_be_replayed(struct ground *ground)
{
    declare(ground->to, &ground->stream, &ground->group);
    publish(ground, 40, 256);
    struct seen *messages = look(ground, ground->from, STREAM);
    settle(ground->from, &ground->group, 40, REJECT);
    struct seen *letters = look(ground, ground->from, DEAD_STREAM);
    assert_int_equal(letters->count, 40);
    move_dead(ground);
    assert_same(letters, look(ground, ground->to, DEAD_STREAM));
    assert_int_equal(look(ground, ground->from, DEAD_STREAM)->count, 0);

    assert_int_equal(replay(ground->to), 40);
    struct seen *replayed = look(ground, ground->to, STREAM);
    assert_int_equal(replayed->count, 40);
    assert_int_equal(left(ground->to, GROUP), 40);
    for (size_t i = 0; i < 40; i++) /* but for the id, "<id>~r1" */
        assert_string_equal(strrchr(replayed->lines[i], ' '), strrchr(messages->lines[i], ' '));
}

/* The first message of both streams has the same place, where a broker counts from 1. */
static void a_letter_that_came_hides_none_of_there(struct ground *ground)
{
    struct ground there = *ground;

    declare(ground->to, &ground->stream, &ground->group);
    publish(ground, 2, 8);
    settle(ground->from, &ground->group, 2, REJECT);
    move_dead(ground);
    there.from = ground->to;
    publish(&there, 2, 8);
    settle(ground->to, &ground->group, 2, REJECT);
    assert_int_equal(look(ground, ground->to, DEAD_STREAM)->count, 4);
}

static void keep_origin(void *context, const struct broker_delivery *delivery)
{
    struct dead_origin *out = context;
    struct dead_origin origin = dead_letter_origin(delivery);

    /* The texts are the delivery's. */
    out->sequence = strdup(origin.sequence);
    out->id = strdup(origin.id);
    out->stored_ms = origin.stored_ms;
}

static void origin_free(struct dead_origin *origin)
{
    free((void *)origin->sequence);
    free((void *)origin->id);
}

static void who_dies_there_is_who_came(struct ground *ground)
{
    struct dead_origin before, after;
    struct error err;

    declare(ground->to, &ground->stream, &ground->group);
    publish(ground, 1, 8);
    assert_ok(broker_peek(ground->from, STREAM, "", 1, keep_origin, &before, CALL_MS, &err));
    move_group(ground);
    settle(ground->to, &ground->group, 1, REJECT);
    assert_ok(broker_peek(ground->to, DEAD_STREAM, "", 1, keep_origin, &after, CALL_MS, &err));
    assert_string_equal(before.sequence, after.sequence);
    assert_string_equal(before.id, after.id);
    assert_int_equal(before.stored_ms, after.stored_ms);
    origin_free(&before);
    origin_free(&after);
}

/* ---- two consumers ---- */

static bool step_the_one_behind(struct transfer *transfers[2], bool idle[2])
{
    int next = idle[0] ||
               (!idle[1] && transfer_reached_ms(transfers[1]) < transfer_reached_ms(transfers[0]));

    if (idle[0] && idle[1])
        return false;
    idle[next] = step(transfers[next], STEP_MS) == 0;
    return true;
}

static void two_consumers_move_a_message_once(struct ground *ground)
{
    struct broker_group second = ground->group;
    bool idle[2] = {false};

    second.name = "second";
    second.filter = "readings.s.1";
    declare(ground->from, &ground->stream, &second);
    declare(ground->to, &ground->stream, &ground->group);
    declare(ground->to, &ground->stream, &second);
    publish(ground, 30, 8);
    settle(ground->from, &ground->group, 21, DONE);
    struct transfer *transfers[2] = {open_transfer(ground, STREAM, &ground->group),
                                     open_transfer(ground, STREAM, &second)};
    while (step_the_one_behind(transfers, idle))
        continue;
    finish(transfers[0]);
    finish(transfers[1]);
    assert_int_equal(left(ground->from, GROUP) + left(ground->from, "second"), 0);
    assert_int_equal(stored(ground), 9 + 7); /* the last nine, and of the others every third */
    assert_int_equal(left(ground->to, "second"), 10);
}

/* ---- one broker ---- */

static void one_broker_under_two_names_is_found(struct ground *ground)
{
    struct broker *again = NULL;
    const char *url = ground->from_server ? server_url(ground->from_server) : "memory://from";
    struct error err;

    assert_ok(broker_open(&again, url, NULL, &err));
    assert_fails(transfer_check_apart(ground->from, again, CALL_MS, &err), ERROR_CONFLICT);
    assert_string_equal(err.reason, "same_broker");
    assert_ok(transfer_check_apart(ground->from, ground->to, CALL_MS, &err));
    assert_fails(transfer_check_apart(again, ground->from, CALL_MS, &err), ERROR_CONFLICT);
    broker_close(again);
}

/* ---- */

static const struct rule {
    const char *name;
    void (*check)(struct ground *ground);
} rules[] = {
    {"ids, subjects, headers and bytes are kept", everything_is_kept},
    {"what is settled is not sent", what_is_settled_is_not_sent},
    {"what others hold is taken when it comes back", what_others_hold_is_taken_when_it_comes_back},
    {"full: it holds, and goes on", full_means_hold_and_go_on},
    {"giving up gives back, and has cost few attempts", giving_up_gives_back},
    {"stored and not settled is a duplicate", stored_and_not_settled_is_a_duplicate},
    {"away: it holds, and goes on", away_means_hold_and_go_on},
    {"what is never taken there stays here", what_it_never_takes_stays},
    {"without an id it gets one of its place", without_an_id_it_gets_one_of_its_place},
    {"events keep their names", events_keep_their_names},
    {"dead letters move and can be replayed", dead_letters_move_and_can_be_replayed},
    {"a letter that came hides none of there", a_letter_that_came_hides_none_of_there},
    {"who dies there is who came", who_dies_there_is_who_came},
    {"two consumers move a message once", two_consumers_move_a_message_once},
    {"one broker under two names is found", one_broker_under_two_names_is_found},
};

struct row {
    const char *name;
    const struct rule *rule;
    const struct pair *pair;
};

static void check(void **state)
{
    const struct row *row = *state;
    struct ground *ground = start_ground(row->pair);

    row->rule->check(ground);
    end_ground(ground);
}

int main(void)
{
    struct row rows[ARRAY_LEN(rules) * ARRAY_LEN(pairs)];
    char names[ARRAY_LEN(rows)][96];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        rows[i] =
            (struct row){names[i], &rules[i / ARRAY_LEN(pairs)], &pairs[i % ARRAY_LEN(pairs)]};
        snprintf(names[i], sizeof(names[i]), "%s to %s: %s", rows[i].pair->from, rows[i].pair->to,
                 rows[i].rule->name);
    }
    return RUN_ROWS(rows, check);
}
