#include "letter.h"

#include "base/utf8.h"
#include "broker/dead_letter.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* How a member tells what a header says. */
enum form { FORM_TEXT, FORM_NUMBER };

static const struct member {
    const char *name, *header;
    enum form form;
} members[] = {
    {"stream", DEAD_ORIGIN, FORM_TEXT},       {"consumer", DEAD_CONSUMER, FORM_TEXT},
    {"subject", DEAD_SUBJECT, FORM_TEXT},     {"sequence", DEAD_SEQUENCE, FORM_TEXT},
    {"message_id", DEAD_ID, FORM_TEXT},       {"part", DEAD_PART, FORM_NUMBER},
    {"reason", DEAD_REASON, FORM_TEXT},       {"error", DEAD_ERROR, FORM_TEXT},
    {"attempts", DEAD_ATTEMPTS, FORM_NUMBER}, {"first_time", DEAD_FIRST, FORM_TEXT},
    {"last_time", DEAD_LAST, FORM_TEXT},
};

/* Headers may be any bytes; what is not text gives way to what stands for it. */
static void write_text(struct json_writer *writer, const char *name, const char *text)
{
    AUTO(buffer_free) struct buffer clean = {0};
    size_t size = strlen(text);

    if (utf8_is_valid(text, size)) {
        json_bytes(writer, name, text, size);
        return;
    }
    for (const char *at = text, *end = text + size; at < end;) {
        size_t length = utf8_length(at, (size_t)(end - at));
        if (length)
            buffer_append(&clean, at, length);
        else
            buffer_text(&clean, UTF8_REPLACEMENT);
        at += length ? length : 1;
    }
    json_bytes(writer, name, clean.data, clean.size);
}

/* A number that is none is not said. */
static bool read_number(const char *text, int64_t *out)
{
    char *end;

    if (!text || *text < '0' || *text > '9')
        return false;
    *out = strtoll(text, &end, 10);
    return !*end;
}

static void write_member(struct json_writer *writer, const struct member *member, const char *said)
{
    int64_t number;

    if (member->form == FORM_TEXT && said)
        write_text(writer, member->name, said);
    else if (member->form == FORM_NUMBER && read_number(said, &number))
        json_int(writer, member->name, number);
    else
        json_null(writer, member->name);
}

/* In a message a name may be any bytes and come twice, in an object it is text and comes once. */
static bool is_member(const struct broker_delivery *letter, size_t header)
{
    const char *name = letter->headers[header].name;

    for (size_t i = 0; i < header; i++)
        if (strcmp(letter->headers[i].name, name) == 0)
            return false;
    return utf8_is_valid(name, strlen(name));
}

static void write_headers(struct json_writer *writer, const struct broker_delivery *letter)
{
    json_open(writer, "headers", '{');
    for (size_t i = 0; i < letter->header_count; i++)
        if (dead_header_is_original(&letter->headers[i]) && is_member(letter, i))
            write_text(writer, letter->headers[i].name, letter->headers[i].value);
    json_close(writer, '}');
}

/* RFC 4648, section 4: up to 3 bytes become 4 characters. */
static void encode_base64(const char *data, size_t size, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;

    for (size_t i = 0; i < 3; i++)
        bits = bits << 8 | (i < size ? (unsigned char)data[i] : 0U);
    for (size_t i = 0; i < 4; i++)
        out[i] = digits[bits >> (18 - 6 * i) & 63];
    memset(out + size + 1, '=', 3 - size);
}

static void write_base64(struct json_writer *writer, const char *data, size_t size)
{
    AUTO(buffer_free) struct buffer text = {0};

    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        char four[4];
        encode_base64(data + at, left < 3 ? left : 3, four);
        buffer_append(&text, four, sizeof(four));
    }
    json_bytes(writer, "data_base64", text.data, text.size);
}

void letter_write_data(struct json_writer *writer, const struct broker_delivery *letter)
{
    if (letter->size == 0)
        json_text(writer, "data", "");
    else if (utf8_is_valid(letter->data, letter->size))
        json_bytes(writer, "data", letter->data, letter->size);
    else
        write_base64(writer, letter->data, letter->size);
}

void letter_write(struct json_writer *writer, const char *name,
                  const struct broker_delivery *letter, enum letter_detail detail)
{
    int64_t number, replays = 0, size = (int64_t)letter->size;
    const char *original_size = broker_header(letter, DEAD_SIZE);

    if (read_number(original_size, &number))
        size = number;
    if (read_number(broker_header(letter, DEAD_REPLAYS), &number))
        replays = number;
    json_open(writer, name, '{');
    json_text(writer, "id", letter->sequence);
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        write_member(writer, &members[i], broker_header(letter, members[i].header));
    json_int(writer, "replays", replays);
    json_int(writer, "size", size);
    json_bool(writer, "cut", original_size != NULL);
    if (detail == LETTER_WHOLE) {
        write_headers(writer, letter);
        letter_write_data(writer, letter);
    }
    json_close(writer, '}');
}
