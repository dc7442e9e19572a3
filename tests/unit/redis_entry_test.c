/* Entries of a stream, ours and foreign ones, as a server would send them. */
#include "support/test.h"

#include "broker/redis_driver.h"

#include <string.h>

#define HEADERS_MAX 8

/* In the order of reading: NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct row {
    const char *name, *wire;
    bool ours;
    const char *subject, *id, *data, *sequence;
    size_t headers;
    const char *first_name, *first_value;
};

#define OURS                                                                                       \
    "$7\r\nsubject\r\n$3\r\na.b\r\n$11\r\nNats-Msg-Id\r\n$1\r\n7\r\n$4\r\ndata\r\n$2\r\nxy\r\n"
#define ID "$3\r\n5-1\r\n"

static const struct row rows[] = {
    {"ours", "*2\r\n" ID "*6\r\n" OURS, true, "a.b", "7", "xy", "5-1", 0, NULL, NULL},
    {"ours with a header", "*2\r\n" ID "*8\r\n" OURS "$1\r\nh\r\n$2\r\nvw\r\n", true, "a.b", "7",
     "xy", "5-1", 1, "h", "vw"},
    {"a header may be called data", "*2\r\n" ID "*8\r\n" OURS "$4\r\ndata\r\n$1\r\nv\r\n", true,
     "a.b", "7", "xy", "5-1", 1, "data", "v"},
    {"somebody else's", "*2\r\n" ID "*2\r\n$1\r\nk\r\n$1\r\nv\r\n", false, "", "", "", "5-1", 1,
     "k", "v"},
    {"somebody else's with our first field",
     "*2\r\n" ID "*4\r\n$7\r\nsubject\r\n$3\r\na.b\r\n$1\r\nk\r\n$1\r\nv\r\n", false, "", "", "",
     "5-1", 2, "subject", "a.b"},
    {"our fields in another order",
     "*2\r\n" ID "*6\r\n$4\r\ndata\r\n$2\r\nxy\r\n$11\r\nNats-Msg-Id\r\n$1\r\n7\r\n"
     "$7\r\nsubject\r\n$3\r\na.b\r\n",
     false, "", "", "", "5-1", 3, "data", "xy"},
    {"a NUL in a subject",
     "*2\r\n" ID "*6\r\n$7\r\nsubject\r\n$3\r\na\0b\r\n$11\r\nNats-Msg-Id\r\n$1\r\n7\r\n"
     "$4\r\ndata\r\n$2\r\nxy\r\n",
     false, "", "", "", "5-1", 3, "subject", "a"},
    {"an odd number of fields", "*2\r\n" ID "*7\r\n" OURS "$1\r\nh\r\n", false, "", "", "", "5-1",
     3, "subject", "a.b"},
    {"a payload that is gone", "*2\r\n" ID "*-1\r\n", false, "", "", "", "5-1", 0, NULL, NULL},
    {"no fields", "*2\r\n" ID "*0\r\n", false, "", "", "", "5-1", 0, NULL, NULL},
    {"a field that is no text", "*2\r\n" ID "*2\r\n$1\r\nk\r\n:1\r\n", false, "", "", "", "5-1", 0,
     NULL, NULL},
    {"no entry at all", "*-1\r\n", false, "", "", "", "", 0, NULL, NULL},
    {"a number", ":1\r\n", false, "", "", "", "", 0, NULL, NULL},
    {"an empty array", "*0\r\n", false, "", "", "", "", 0, NULL, NULL},
    {"an id that is no text", "*2\r\n:1\r\n*0\r\n", false, "", "", "", "", 0, NULL, NULL},
};

/* Of a wire that may have a NUL in it: to the last of its line ends. */
static size_t wire_size(const char *wire)
{
    size_t size = strlen(wire);

    return size > 2 && wire[size - 1] != '\n' ? size + strlen(wire + size + 1) + 1 : size;
}

static void check(void **state)
{
    const struct row *row = *state;
    struct broker_header headers[HEADERS_MAX];
    struct broker_delivery delivery;
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;

    redis_reply_use(reader);
    redisReaderFeed(reader, row->wire, wire_size(row->wire));
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    assert_int_equal(redis_header_count(reply), row->headers);
    assert_int_equal(redis_entry_read(reply, headers, &delivery), row->ours);
    assert_string_equal(delivery.subject, row->subject);
    assert_string_equal(delivery.id, row->id);
    assert_string_equal(delivery.sequence, row->sequence);
    assert_int_equal(delivery.stored_ms, *row->sequence ? 5 : 0);
    assert_int_equal(delivery.size, strlen(row->data));
    assert_memory_equal(delivery.data, row->data, delivery.size);
    assert_int_equal(delivery.header_count, row->headers);
    if (row->first_name) {
        assert_string_equal(headers[0].name, row->first_name);
        assert_string_equal(headers[0].value, row->first_value);
    }
    redis_reply_free(reply);
    redisReaderFree(reader);
}

int main(void)
{
    return RUN_ROWS(rows, check);
}
