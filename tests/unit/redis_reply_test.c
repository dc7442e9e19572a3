/* Replies in few blocks of memory are what hiredis makes of the same bytes in many. */
#include "support/test.h"

#include "base/buffer.h"
#include "broker/redis_reply.h"

#include <string.h>

struct row {
    const char *name, *wire; /* NULL: write_every_size */
};

static const struct row rows[] = {
    {"a status", "+OK\r\n"},
    {"an error", "-NOGROUP there is no such consumer\r\n"},
    {"numbers", "*3\r\n:0\r\n:-1\r\n:9223372036854775807\r\n"},
    {"an empty text", "$0\r\n\r\n"},
    {"nothing", "$-1\r\n"},
    {"no array", "*-1\r\n"},
    {"an empty array", "*0\r\n"},
    {"a text behind an empty array", "*2\r\n*0\r\n$1\r\nx\r\n"},
    {"nothing inside", "*3\r\n$-1\r\n*-1\r\n$1\r\nx\r\n"},
    {"six deep", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*2\r\n$1\r\nx\r\n:7\r\n"},
    {"an error inside", "*2\r\n-ERR no\r\n+OK\r\n"},
    {"every size of text", NULL},
};

static void append_text(struct buffer *wire, size_t size)
{
    buffer_print(wire, "$%zu\r\n", size);
    for (size_t i = 0; i < size; i++)
        buffer_append(wire, &"abcdefg\0hij"[i % 11], 1);
    buffer_text(wire, "\r\n");
}

/* Around the sizes at which another block is needed, and far beyond the largest. */
static void write_every_size(struct buffer *wire)
{
    buffer_text(wire, "*1003\r\n");
    for (size_t size = 0; size < 1000; size++)
        append_text(wire, size);
    append_text(wire, 65536);
    append_text(wire, 300000);
    append_text(wire, 1);
}

static void describe(struct buffer *out, const redisReply *reply)
{
    buffer_print(out, "%d %lld %zu %zu:", reply->type, reply->integer, reply->len, reply->elements);
    if (reply->str)
        buffer_append(out, reply->str, reply->len + 1);
    for (size_t i = 0; i < reply->elements; i++)
        describe(out, reply->element[i]);
}

static void *read_reply(redisReader *reader, const char *wire, size_t size, size_t step)
{
    void *reply = NULL;

    for (size_t at = 0; at < size; at += step) {
        assert_null(reply);
        size_t count = size - at < step ? size - at : step;
        assert_int_equal(redisReaderFeed(reader, wire + at, count), REDIS_OK);
        assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    }
    assert_non_null(reply);
    redisReaderFree(reader);
    return reply;
}

static void check(void **state)
{
    const struct row *row = *state;
    AUTO(buffer_free) struct buffer wire = {0}, expected = {0}, found = {0};
    static const size_t steps[] = {1, 7, 1000000};

    if (row->wire)
        buffer_text(&wire, row->wire);
    else
        write_every_size(&wire);
    redisReply *theirs = read_reply(redisReaderCreate(), wire.data, wire.size, wire.size);
    describe(&expected, theirs);
    freeReplyObject(theirs);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        redisReader *reader = redisReaderCreate();
        redis_reply_use(reader);
        redisReply *reply = read_reply(reader, wire.data, wire.size, steps[i]);
        buffer_clear(&found);
        describe(&found, reply);
        assert_int_equal(found.size, expected.size);
        assert_memory_equal(found.data, expected.data, expected.size);
        redis_reply_free(reply);
    }
}

/* Freed with its reader: a leak is the sanitizer's to find. */
static void test_half_a_reply(void **state)
{
    redisReader *reader = redisReaderCreate();
    static const char half[] = "*2\r\n*2\r\n$3\r\nabc\r\n:1\r\n$500\r\nhalf";
    void *reply = NULL;

    (void)state;
    redis_reply_use(reader);
    assert_int_equal(redisReaderFeed(reader, half, strlen(half)), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_null(reply);
    redisReaderFree(reader);
}

static void test_broken(void **state)
{
    static const char *const broken[] = {"*1000000000\r\n", "*2\r\n:1\r\n*1000000000\r\n",
                                         "*2\r\n+OK\r\n?\r\n"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        redisReader *reader = redisReaderCreate();
        void *reply = NULL;
        redis_reply_use(reader);
        assert_int_equal(redisReaderFeed(reader, broken[i], strlen(broken[i])), REDIS_OK);
        assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_ERR);
        assert_null(reply);
        redisReaderFree(reader);
    }
}

static void test_nothing(void **state)
{
    (void)state;
    redis_reply_free(NULL);
}

static const struct CMUnitTest others[] = {
    cmocka_unit_test(test_half_a_reply),
    cmocka_unit_test(test_broken),
    cmocka_unit_test(test_nothing),
};

int main(void)
{
    return RUN_ROWS(rows, check) + cmocka_run_group_tests(others, NULL, NULL);
}
