#include "support/test.h"

#include "letter.h"

#include "broker/dead_letter.h"

#include <string.h>

#define HEADERS_MAX 16
#define NOTHING_SAID                                                                               \
    "\"stream\":null,\"consumer\":null,\"subject\":null,\"sequence\":null,\"message_id\":null,"    \
    "\"part\":null,\"reason\":null,\"error\":null,\"attempts\":null,\"first_time\":null,"          \
    "\"last_time\":null,\"replays\":0,"

static const struct row {
    const char *name;
    struct broker_header headers[HEADERS_MAX];
    const char *data;
    size_t size;
    enum letter_detail detail;
    const char *json; /* behind the id */
} rows[] = {
    {"a summary says all that the letter says",
     {{DEAD_REASON, "json_syntax"},
      {DEAD_ERROR, "byte 3: \"no\""},
      {DEAD_ATTEMPTS, "2"},
      {DEAD_ORIGIN, "LOGS"},
      {DEAD_SUBJECT, "logs.shop"},
      {DEAD_SEQUENCE, "17"},
      {DEAD_CONSUMER, "processor-logs"},
      {DEAD_PART, "3"},
      {DEAD_ID, "order 7"},
      {DEAD_FIRST, "2026-01-01T00:00:00.000Z"},
      {DEAD_LAST, "2026-01-02T00:00:00.000Z"},
      {DEAD_REPLAYS, "4"},
      {"ce-id", "x"}},
     "data",
     4,
     LETTER_SUMMARY,
     "\"stream\":\"LOGS\",\"consumer\":\"processor-logs\",\"subject\":\"logs.shop\","
     "\"sequence\":\"17\",\"message_id\":\"order 7\",\"part\":3,\"reason\":\"json_syntax\","
     "\"error\":\"byte 3: \\\"no\\\"\",\"attempts\":2,\"first_time\":\"2026-01-01T00:00:00.000Z\","
     "\"last_time\":\"2026-01-02T00:00:00.000Z\",\"replays\":4,\"size\":4,\"cut\":false}"},
    {"what a letter does not say is null",
     {{0}},
     "",
     0,
     LETTER_SUMMARY,
     NOTHING_SAID "\"size\":0,\"cut\":false}"},
    {"a number that is none is not said",
     {{DEAD_PART, "x"}, {DEAD_ATTEMPTS, "2x"}, {DEAD_REPLAYS, "-1"}, {DEAD_SIZE, ""}},
     "ab",
     2,
     LETTER_SUMMARY,
     NOTHING_SAID "\"size\":2,\"cut\":true}"},
    {"a cut one has the size of its original",
     {{DEAD_SIZE, "2000000"}},
     "ab",
     2,
     LETTER_SUMMARY,
     NOTHING_SAID "\"size\":2000000,\"cut\":true}"},
    {"a whole one has the original's headers, each once, and its text",
     {{"ce-id", "first"},
      {"Nats-Msg-Id", "dead:LOGS:c:17"},
      {"ce-id", "second"},
      {"Dead-Older", "x"},
      {"\xff", "no name"},
      {"X-Bytes", "a\xff\xc3\xa9"}},
     "{\"a\":\"\xc3\xa9\0\"}",
     11,
     LETTER_WHOLE,
     NOTHING_SAID "\"size\":11,\"cut\":false,\"headers\":{\"ce-id\":\"first\",\"X-Bytes\":"
                  "\"a\xef\xbf\xbd\xc3\xa9\"},"
                  "\"data\":\"{\\\"a\\\":\\\"\xc3\xa9\\u0000\\\"}\"}"},
    {"no data is an empty text",
     {{0}},
     NULL,
     0,
     LETTER_WHOLE,
     NOTHING_SAID "\"size\":0,\"cut\":false,\"headers\":{},\"data\":\"\"}"},
    {"bytes that are no text are base64: one",
     {{0}},
     "\xff",
     1,
     LETTER_WHOLE,
     NOTHING_SAID "\"size\":1,\"cut\":false,\"headers\":{},\"data_base64\":\"/w==\"}"},
    {"two",
     {{0}},
     "\xff\xfe",
     2,
     LETTER_WHOLE,
     NOTHING_SAID "\"size\":2,\"cut\":false,\"headers\":{},\"data_base64\":\"//4=\"}"},
    {"three",
     {{0}},
     "\xff\x00\x10",
     3,
     LETTER_WHOLE,
     NOTHING_SAID "\"size\":3,\"cut\":false,\"headers\":{},\"data_base64\":\"/wAQ\"}"},
};

static void write(void **state)
{
    static const char id[] = "{\"id\":\"1700-2\",";
    const struct row *row = *state;
    AUTO(buffer_free) struct buffer out = {0};
    struct json_writer writer = {.out = &out};
    struct broker_delivery letter = {.subject = "dead.LOGS.c",
                                     .id = "dead:LOGS:c:17",
                                     .headers = row->headers,
                                     .data = row->data,
                                     .size = row->size,
                                     .sequence = "1700-2"};

    while (letter.header_count < HEADERS_MAX && row->headers[letter.header_count].name)
        letter.header_count++;
    letter_write(&writer, NULL, &letter, row->detail);
    assert_memory_equal(out.data, id, strlen(id));
    assert_string_equal(out.data + strlen(id), row->json);
}

int main(void)
{
    return RUN_ROWS(rows, write);
}
