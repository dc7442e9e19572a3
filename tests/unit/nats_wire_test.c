#include "support/test.h"

#include "broker/nats_wire.h"

#include <stdlib.h>
#include <string.h>

struct ack_row {
    const char *name, *subject;
    bool good;
    uint64_t delivered, sequence, delivery, pending;
    int64_t stored_ms;
};

static const struct ack_row acks[] = {
    {"nine tokens", "$JS.ACK.LOGS.worker.2.17.5.1795234315419974061.3", true, 2, 17, 5, 3,
     1795234315419},
    {"with domain and account", "$JS.ACK.hub.Ab12.LOGS.worker.1.17.5.1795234315419974061.0", true,
     1, 17, 5, 0, 1795234315419},
    {"with a token behind", "$JS.ACK._.Ab12.LOGS.worker.1.17.5.1795234315419974061.0.x9", true, 1,
     17, 5, 0, 1795234315419},
    {.name = "ten tokens are neither form",
     .subject = "$JS.ACK.hub.LOGS.worker.1.17.5.1795234315419974061.0"},
    {.name = "too few", .subject = "$JS.ACK.LOGS.worker.1.17.5.1795234315419974061"},
    {.name = "too many", .subject = "$JS.ACK.a.b.c.d.1.2.3.4.5.6.7.8.9"},
    {.name = "another subject", .subject = "_INBOX.abc.1"},
    {.name = "no subject", .subject = NULL},
    {.name = "a number that is none",
     .subject = "$JS.ACK.LOGS.worker.x.17.5.1795234315419974061.3"},
    {.name = "a number that is missing",
     .subject = "$JS.ACK.LOGS.worker..17.5.1795234315419974061.3"},
    {.name = "a number that nothing holds",
     .subject = "$JS.ACK.LOGS.w.1.99999999999999999999.5.1.3"},
};

static void check_ack(void **state)
{
    const struct ack_row *row = *state;
    struct nats_ack ack;

    assert_int_equal(nats_ack_parse(row->subject, &ack), row->good);
    if (!row->good)
        return;
    assert_true(ack.delivered == row->delivered && ack.sequence == row->sequence);
    assert_true(ack.delivery == row->delivery && ack.pending == row->pending);
    assert_true(ack.stored_ms == row->stored_ms);
}

struct ack_for_row {
    const char *name, *subject, *other; /* other NULL: false */
    size_t room;
};

#define ROOM 80

static const struct ack_for_row ack_fors[] = {
    {"nine tokens", "$JS.ACK.LOGS.w.2.17.5.1795234315419974061.3",
     "$JS.ACK.LOGS.w.2.42.5.1795234315419974061.3", ROOM},
    {"with domain, account and a token behind", "$JS.ACK.hub.Ab12.LOGS.w.1.17.5.1795234315.0.x9",
     "$JS.ACK.hub.Ab12.LOGS.w.1.42.5.1795234315.0.x9", ROOM},
    {"just room enough", "$JS.ACK.LOGS.w.2.1.5.1.3", "$JS.ACK.LOGS.w.2.42.5.1.3", 26},
    {"a byte too little", "$JS.ACK.LOGS.w.2.1.5.1.3", NULL, 25},
    {"too few tokens", "$JS.ACK.LOGS.w.2.17.5.1", NULL, ROOM},
    {"another subject", "_INBOX.abc.1", NULL, ROOM},
};

static void check_ack_for(void **state)
{
    const struct ack_for_row *row = *state;
    char other[ROOM];

    assert_int_equal(nats_ack_for(row->subject, 42, other, row->room), row->other != NULL);
    if (row->other)
        assert_string_equal(other, row->other);
}

struct denied_row {
    const char *name, *text, *subject; /* NULL: not found */
};

static const struct denied_row denials[] = {
    {"a publish", "Permissions Violation for Publish to \"logs.a\"", "logs.a"},
    {"lower case, in quotes of its own", "'permissions violation for publish to \"a.b\"'", "a.b"},
    {"a subscription is another matter", "Permissions Violation for Subscription to \"x\"", NULL},
    {"without its end", "Permissions Violation for Publish to \"logs", NULL},
    {"empty", "Permissions Violation for Publish to \"\"", NULL},
    {"too long for the room", "Permissions Violation for Publish to \"0123456789abcdef\"", NULL},
};

static void check_denied(void **state)
{
    const struct denied_row *row = *state;
    char subject[12];

    assert_int_equal(nats_denied_subject(row->text, subject, sizeof(subject)), !!row->subject);
    if (row->subject)
        assert_string_equal(subject, row->subject);
}

struct header_row {
    const char *name, *block;
    int count;
    const char *first, *value;
};

static const struct header_row headers[] = {
    {"two headers", "NATS/1.0\r\nce-id: 7\r\nb:c\r\n\r\n", 2, "ce-id", "7"},
    {"no header", "NATS/1.0\r\n\r\n", 0, NULL, NULL},
    {"an empty value", "NATS/1.0\r\na:\r\n\r\n", 1, "a", ""},
    {"a colon in the value", "NATS/1.0\r\na: b:c\r\n\r\n", 1, "a", "b:c"},
    {"a status line", "NATS/1.0 503\r\n\r\n", 0, NULL, NULL},
    {"more than there is room for are counted",
     "NATS/1.0\r\na:1\r\nb:2\r\nc:3\r\nd:4\r\ne:5\r\n\r\n", 5, "a", "1"},
    {"another protocol", "HTTP/1.1\r\n\r\n", -1, NULL, NULL},
    {"without its end", "NATS/1.0\r\na:b\r\n", -1, NULL, NULL},
    {"something behind it", "NATS/1.0\r\n\r\nx\r\n", -1, NULL, NULL},
    {"a line without a colon", "NATS/1.0\r\nab\r\n\r\n", -1, NULL, NULL},
    {"a value without a name", "NATS/1.0\r\n:b\r\n\r\n", -1, NULL, NULL},
    {"a bare line feed", "NATS/1.0\r\na:b\n\r\n\r", -1, NULL, NULL},
    {"empty", "", -1, NULL, NULL},
};

static void check_headers(void **state)
{
    const struct header_row *row = *state;
    struct broker_header found[4];
    char *block = strdup(row->block);

    assert_int_equal(nats_headers_parse(block, strlen(row->block), found, 4), row->count);
    if (row->count > 0) {
        assert_string_equal(found[0].name, row->first);
        assert_string_equal(found[0].value, row->value);
    }
    free(block);
}

struct base64_row {
    const char *name, *text;
    long size;
    const char *bytes;
};

static const struct base64_row base64[] = {
    {"three bytes", "Zm9v", 3, "foo"},
    {"two bytes", "Zm8=", 2, "fo"},
    {"one byte", "Zg==", 1, "f"},
    {"every sort of digit", "+/+/", 3, "\xfb\xff\xbf"},
    {"nothing", "", 0, ""},
    {"a length that is none", "Zm9", -1, NULL},
    {"a character that is none", "Zm9-", -1, NULL},
    {"padding within", "Z=9v", -1, NULL},
    {"nothing but padding", "====", -1, NULL},
};

static void check_base64(void **state)
{
    const struct base64_row *row = *state;
    char text[16] = "";

    assert_true(strlen(row->text) < sizeof(text));
    memcpy(text, row->text, strlen(row->text));
    assert_int_equal(nats_base64_decode(text, strlen(text)), row->size);
    if (row->size > 0)
        assert_memory_equal(text, row->bytes, (size_t)row->size);
}

int main(void)
{
    return RUN_ROWS(acks, check_ack) + RUN_ROWS(ack_fors, check_ack_for) +
           RUN_ROWS(denials, check_denied) + RUN_ROWS(headers, check_headers) +
           RUN_ROWS(base64, check_base64);
}
