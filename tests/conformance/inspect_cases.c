/* What people ask a broker: what is there, what it is worth, and to take single messages away. */
#include "conformance/stage.h"

#include "broker/announce.h"

#include <stdio.h>
#include <string.h>

/* ---- remove ---- */

#define STORED 5

struct shelf {
    char sequences[STORED][BROKER_SEQUENCE_SIZE];
};

/* Without a group: "1" to "5". */
static struct shelf store_five(struct stage *stage)
{
    struct shelf shelf;
    struct broker_receipt receipt;
    struct error err;
    char text[16];

    assert_ok(broker_declare(stage->broker, &stage->stream, 1, NULL, 0, NULL, NULL, CALL_MS, &err));
    for (int i = 0; i < STORED; i++) {
        snprintf(text, sizeof(text), "%d", i + 1);
        publish(stage, "a", text, text, &receipt);
        memcpy(shelf.sequences[i], receipt.sequence, sizeof(receipt.sequence));
    }
    return shelf;
}

struct texts {
    char joined[64]; /* "1 2 3 " */
    char first_sequence[BROKER_SEQUENCE_SIZE];
};

static void note_text(void *context, const struct broker_delivery *delivery)
{
    struct texts *texts = context;
    size_t used = strlen(texts->joined);

    if (used == 0)
        snprintf(texts->first_sequence, sizeof(texts->first_sequence), "%s", delivery->sequence);
    snprintf(texts->joined + used, sizeof(texts->joined) - used, "%.*s ", (int)delivery->size,
             delivery->data);
}

static struct texts expect_stored(struct stage *stage, const char *from, const char *joined)
{
    struct texts texts = {.joined = ""};
    struct error err;

    assert_ok(broker_peek(stage->broker, stage->name, from, 100, note_text, &texts, CALL_MS, &err));
    assert_string_equal(texts.joined, joined);
    return texts;
}

static void remove_them(struct stage *stage, const char *const *sequences, size_t count)
{
    struct error err;

    assert_ok(broker_remove(stage->broker, stage->name, sequences, count, CALL_MS, &err));
}

static void removes_single_messages(struct stage *stage)
{
    struct shelf shelf = store_five(stage);
    const char *middle[] = {shelf.sequences[1], shelf.sequences[3]};
    const char *edges[] = {shelf.sequences[4], shelf.sequences[0]};
    const char *last[] = {shelf.sequences[2]};

    remove_them(stage, middle, 0);
    expect_stored(stage, "", "1 2 3 4 5 ");
    remove_them(stage, middle, 2);
    struct texts texts = expect_stored(stage, "", "1 3 5 ");
    assert_string_equal(texts.first_sequence, shelf.sequences[0]);
    texts = expect_stored(stage, shelf.sequences[1], "3 5 "); /* from where one was */
    assert_string_equal(texts.first_sequence, shelf.sequences[2]);
    remove_them(stage, edges, 2);
    expect_stored(stage, "", "3 ");
    publish(stage, "a", "6", "6", NULL);
    expect_stored(stage, "", "3 6 ");
    remove_them(stage, last, 1);
    expect_stored(stage, "", "6 ");
    expect_stored(stage, shelf.sequences[4], "6 ");
}

static void removing_again_is_no_error(struct stage *stage)
{
    struct shelf shelf = store_five(stage);
    char never[BROKER_SEQUENCE_SIZE + 1];

    snprintf(never, sizeof(never), "9%s", shelf.sequences[4]); /* far behind the last */
    const char *some[] = {shelf.sequences[1], never, shelf.sequences[2]};
    remove_them(stage, some, 3);
    remove_them(stage, some, 3);
    remove_them(stage, some + 1, 1);
    expect_stored(stage, "", "1 4 5 ");
}

/* A group that comes later reads what is left, and nothing else is lost on it. */
static void later_group_reads_the_rest(struct stage *stage)
{
    struct shelf shelf = store_five(stage);
    const char *some[] = {shelf.sequences[0], shelf.sequences[2]};

    remove_them(stage, some, 2);
    stage_declare(stage);
    assert_int_equal(lag(stage).unread, 3);
    struct broker_consumer *consumer = consume(stage);
    expect_done(consumer, "2", 1, CALL_MS);
    expect_done(consumer, "4", 1, CALL_MS);
    expect_done(consumer, "5", 1, CALL_MS);
    expect_quiet(consumer, QUIET_MS);
    broker_close_consumer(consumer);
    struct broker_lag left = lag(stage);
    assert_int_equal(left.unread, 0);
}

static void groups_forbid_it(struct stage *stage)
{
    struct shelf shelf = store_five(stage);
    const char *some[] = {shelf.sequences[0]};
    struct error err = {0};

    stage_declare(stage);
    assert_fails(broker_remove(stage->broker, stage->name, some, 1, CALL_MS, &err), ERROR_INVALID);
    assert_string_equal(err.reason, "has_consumers");
    expect_stored(stage, "", "1 2 3 4 5 ");
    assert_fails(broker_remove(stage->broker, "NO-SUCH-STREAM", some, 1, CALL_MS, &err),
                 ERROR_NOT_FOUND);
}

/* ---- list ---- */

struct listing {
    const struct stage *stage;
    char previous[160]; /* the stream before; "" before the first */
    bool dead, bucket;
    size_t streams, groups; /* of the case's */
    struct found_stream {
        char name[64], subjects[64];
        struct broker_stream_info info; /* its texts are gone */
    } found_streams[4];
    struct found_group {
        char stream[64], name[64], filter[64];
        bool has_filter;
        struct broker_group_info info; /* the same */
    } found_groups[4];
};

static bool is_of_case(const struct listing *listing, const char *name)
{
    size_t length = strlen(listing->stage->name);

    return strncmp(name, listing->stage->name, length) == 0 &&
           (name[length] == '\0' || name[length] == '-');
}

static void note_stream(struct listing *listing, const struct broker_stream_info *stream)
{
    const char *name = stream->settings.name;

    if (strcmp(listing->previous, name) >= 0)
        fail_msg("'%s' came after '%s'", name, listing->previous);
    snprintf(listing->previous, sizeof(listing->previous), "%s", name);
    listing->dead = listing->dead || strcmp(name, "DEAD") == 0;
    listing->bucket = listing->bucket || strstr(name, "bucket");
    if (!is_of_case(listing, name) || listing->streams == ARRAY_LEN(listing->found_streams))
        return;
    struct found_stream *found = &listing->found_streams[listing->streams++];
    found->info = *stream;
    snprintf(found->name, sizeof(found->name), "%s", name);
    snprintf(found->subjects, sizeof(found->subjects), "%s", stream->settings.subjects);
}

static void note_listed(void *context, const struct broker_stream_info *stream,
                        const struct broker_group_info *group)
{
    struct listing *listing = context;

    assert_non_null(stream);
    if (!group) {
        note_stream(listing, stream);
        return;
    }
    assert_string_equal(stream->settings.name, listing->previous); /* behind its stream */
    assert_string_equal(group->settings.stream, listing->previous);
    if (!is_of_case(listing, group->settings.stream) ||
        listing->groups == ARRAY_LEN(listing->found_groups))
        return;
    struct found_group *found = &listing->found_groups[listing->groups++];
    found->info = *group;
    found->has_filter = group->settings.filter != NULL;
    snprintf(found->stream, sizeof(found->stream), "%s", group->settings.stream);
    snprintf(found->name, sizeof(found->name), "%s", group->settings.name);
    snprintf(found->filter, sizeof(found->filter), "%s",
             found->has_filter ? group->settings.filter : "");
}

static void list(struct stage *stage, struct listing *listing)
{
    struct error err;

    *listing = (struct listing){.stage = stage};
    assert_ok(broker_list(stage->broker, note_listed, listing, CALL_MS, &err));
    assert_true(listing->dead);
}

static const struct found_group *group_named(const struct listing *listing, const char *name)
{
    for (size_t i = 0; i < listing->groups; i++)
        if (strcmp(listing->found_groups[i].name, name) == 0)
            return &listing->found_groups[i];
    fail_msg("no group '%s' among %zu", name, listing->groups);
    return NULL;
}

static void declare_stream(struct stage *stage, const char *suffix, bool telemetry)
{
    char name[64], subjects[70];
    struct broker_stream stream = stage->stream;
    struct error err;

    snprintf(name, sizeof(name), "%s%s", stage->name, suffix);
    snprintf(subjects, sizeof(subjects), "%s.>", name);
    stream.name = name;
    stream.subjects = subjects;
    stream.telemetry = telemetry;
    stream.max_bytes = telemetry ? 1000000 : 2000000;
    stream.dedup_window_ms = telemetry ? 30000 : 90000;
    assert_ok(broker_declare(stage->broker, &stream, 1, NULL, 0, NULL, NULL, CALL_MS, &err));
}

static void lists_in_order(struct stage *stage)
{
    struct listing listing;

    declare_stream(stage, "-c", false);
    declare_stream(stage, "-a", true);
    declare_stream(stage, "-b", false);
    list(stage, &listing);
    assert_int_equal(listing.streams, 3);
    assert_int_equal(listing.groups, 0);
    for (size_t i = 0; i < 3; i++) {
        const struct found_stream *found = &listing.found_streams[i];
        const struct broker_stream *settings = &found->info.settings;
        char name[64], subjects[70];
        bool telemetry = i == 0;
        snprintf(name, sizeof(name), "%s-%c", stage->name, (char)('a' + i));
        snprintf(subjects, sizeof(subjects), "%s.>", name);
        assert_string_equal(found->name, name);
        assert_string_equal(found->subjects, subjects);
        assert_int_equal(settings->telemetry, telemetry);
        assert_int_equal(settings->max_bytes, telemetry ? 1000000 : 2000000);
        assert_int_equal(settings->dedup_window_ms, telemetry ? 30000 : 90000);
        assert_int_equal(settings->replicas, stage->stream.replicas);
        assert_int_equal(found->info.messages, 0);
        assert_string_equal(found->info.last, "");
    }
}

static void lists_groups(struct stage *stage)
{
    struct broker_group slow = stage->group;
    struct listing listing;
    char filter[64];

    snprintf(filter, sizeof(filter), "%s.odd", stage->name);
    slow.name = "slow";
    slow.filter = filter;
    slow.ack_wait_ms = 20000;
    slow.max_in_flight = 7;
    stage_declare(stage);
    stage_declare_group(stage, &slow);
    for (int i = 1; i <= 4; i++)
        publish(stage, i % 2 ? "odd" : "even", NULL, "text", NULL);
    struct broker_consumer *consumer = consume_as(stage->broker, &slow);
    take_this(consumer, "text", 1, CALL_MS);
    pause_ms(20); /* for an age */

    list(stage, &listing);
    assert_int_equal(listing.groups, 2);
    const struct found_group *found = group_named(&listing, "slow");
    assert_string_equal(found->filter, filter);
    assert_int_equal(found->info.settings.ack_wait_ms, 20000);
    assert_int_equal(found->info.settings.max_in_flight, 7);
    assert_int_equal(found->info.lag.unread + found->info.lag.in_flight, 2);
    assert_true(found->info.lag.in_flight >= 1);
    assert_true(found->info.lag.oldest_age_ms > 0);
    found = group_named(&listing, "group");
    assert_false(found->has_filter);
    assert_int_equal(found->info.settings.ack_wait_ms, ACK_WAIT_MS);
    assert_int_equal(found->info.lag.unread, 4);
    assert_int_equal(found->info.lag.in_flight, 0);
    if (found->info.settings.max_attempts)
        assert_int_equal(found->info.settings.max_attempts, stage->group.max_attempts);
    done(consumer, 1);
    broker_close_consumer(consumer);
}

static void lists_what_is_stored(struct stage *stage)
{
    struct shelf shelf = store_five(stage);
    struct listing listing;
    struct error err;

    list(stage, &listing);
    const struct broker_stream_info *info = &listing.found_streams[0].info;
    assert_int_equal(listing.streams, 1);
    assert_int_equal(info->messages, STORED);
    expect_between("bytes", info->bytes, STORED, STORED * 1000LL);
    assert_string_equal(info->first, shelf.sequences[0]);
    assert_string_equal(info->last, shelf.sequences[4]);

    const char *some[] = {shelf.sequences[0], shelf.sequences[2]};
    remove_them(stage, some, 2);
    list(stage, &listing);
    assert_int_equal(info->messages, STORED - 2);
    assert_string_equal(info->first, shelf.sequences[1]);
    assert_string_equal(info->last, shelf.sequences[4]);

    assert_ok(broker_trim(stage->broker, stage->name, 0, CALL_MS, &err));
    list(stage, &listing);
    assert_int_equal(info->messages, 0);
    assert_int_equal(info->bytes, 0);
    assert_string_equal(info->last, shelf.sequences[4]); /* it had some */
}

static void buckets_are_no_streams(struct stage *stage)
{
    struct broker_value value = {.key = "a", .data = "x", .size = 1};
    struct listing listing;
    uint64_t revision;
    char bucket[64];
    struct error err;

    stage_declare(stage);
    snprintf(bucket, sizeof(bucket), "%s-bucket", stage->name);
    assert_ok(
        broker_state_put(stage->broker, bucket, &value, BROKER_ANY, CALL_MS, &revision, &err));
    list(stage, &listing);
    assert_int_equal(listing.streams, 1);
    assert_false(listing.bucket);
}

/* ---- examine ---- */

struct examination {
    size_t count, durability;
};

static void note_finding(void *context, const struct broker_finding *finding)
{
    struct examination *examination = context;

    assert_in_range(finding->grade, BROKER_FINE, BROKER_WRONG);
    assert_true(*finding->subject && *finding->fact);
    assert_non_null(finding->remedy);
    for (const char *at = finding->subject; *at; at++)
        if (!((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '_'))
            fail_msg("'%s' is not snake_case", finding->subject);
    if (finding->grade == BROKER_WRONG && !*finding->remedy)
        fail_msg("'%s' is wrong without a remedy", finding->fact);
    examination->count++;
    examination->durability += strcmp(finding->subject, "durability") == 0;
}

static void tells_durability(struct stage *stage)
{
    struct examination examination = {0};
    struct error err;

    assert_ok(broker_examine(stage->broker, note_finding, &examination, CALL_MS, &err));
    assert_true(examination.durability >= 1);
    stage_declare(stage);
    publish_numbers(stage, 1, 3);
    struct examination again = {0};
    assert_ok(broker_examine(stage->broker, note_finding, &again, CALL_MS, &err));
    assert_int_equal(again.durability, examination.durability);
    assert_int_equal(count_stored(stage, stage->name, stage->name), 3);
    assert_int_equal(lag(stage).unread, 3);
}

static void note_wrong(void *context, const struct broker_finding *finding)
{
    bool *wrong = context;

    *wrong =
        *wrong || (finding->grade == BROKER_WRONG && strcmp(finding->subject, "durability") == 0);
}

static void model_is_wrong(struct stage *stage)
{
    bool wrong = false;
    struct error err;

    assert_ok(broker_examine(stage->broker, note_wrong, &wrong, CALL_MS, &err));
    assert_true(wrong);
}

/* ---- over a mute broker ---- */

#define TIMEOUT_MS 400

static void ignore_listed(void *context, const struct broker_stream_info *stream,
                          const struct broker_group_info *group)
{
    (void)context, (void)stream, (void)group;
}

static void ignore_finding(void *context, const struct broker_finding *finding)
{
    (void)context, (void)finding;
}

static void returns_in_time(struct stage *stage)
{
    struct shelf shelf = store_five(stage);
    const char *some[] = {shelf.sequences[0]};
    struct stopwatch started;
    struct error err;

    server_pause(stage->server);
    started = stopwatch_start(stage);
    assert_false(broker_remove(stage->broker, stage->name, some, 1, TIMEOUT_MS, &err));
    expect_took("remove", stage, &started, 0, TIMEOUT_MS + 100);
    started = stopwatch_start(stage);
    assert_false(broker_list(stage->broker, ignore_listed, NULL, TIMEOUT_MS, &err));
    expect_took("list", stage, &started, 0, TIMEOUT_MS + 100);
    started = stopwatch_start(stage);
    assert_false(broker_examine(stage->broker, ignore_finding, NULL, TIMEOUT_MS, &err));
    expect_took("examine", stage, &started, 0, TIMEOUT_MS + 100);
    server_resume(stage->server);
}

static const struct conformance_case cases[] = {
    {"remove takes single messages, and the rest stays readable", removes_single_messages,
     ANY_DRIVER},
    {"removing what is gone or never was is no error", removing_again_is_no_error, ANY_DRIVER},
    {"a group that comes after a removal reads the rest", later_group_reads_the_rest, ANY_DRIVER},
    {"G14 remove refuses a stream with a group: has_consumers", groups_forbid_it, ANY_DRIVER},
    {"list shows streams in the order of their names, with their settings", lists_in_order,
     ANY_DRIVER},
    {"G15 list shows each group behind its stream, with its settings and its lag", lists_groups,
     ANY_DRIVER},
    {"list counts messages and bytes, and knows the first and the last", lists_what_is_stored,
     ANY_DRIVER},
    {"list does not take a bucket for a stream", buckets_are_no_streams, ANY_DRIVER},
    {"examine always tells the durability, and changes nothing", tells_durability, ANY_DRIVER},
    {"examine says that the model keeps nothing", model_is_wrong, ONLY_MEMORY},
    {"remove, list and examine return in time over a mute broker", returns_in_time, OWN_SERVER},
};

const struct conformance_list inspect_cases = {cases, ARRAY_LEN(cases)};
