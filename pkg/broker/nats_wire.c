#include "broker/nats_wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACK_PREFIX "$JS.ACK."
#define ACK_NUMBERS 5     /* delivered, sequence, delivery, time, pending */
#define ACK_TOKENS 7      /* stream and consumer before them */
#define ACK_TOKENS_MAX 10 /* domain and account in front, a token behind */
#define HEADERS_FIRST_LINE "NATS/1.0"

static bool read_number(const char *text, size_t size, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < size; i++)
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(text[i] - '0'), out))
            return false;
    return size > 0;
}

/* Where the tokens start; starts[count] is behind the last. -1 when there are more than max. */
static int split(const char *text, const char **starts, int max)
{
    int count = 0;

    for (starts[count++] = text; (text = strchr(text, '.')); starts[count++] = ++text)
        if (count == max)
            return -1;
    starts[count] = starts[count - 1] + strlen(starts[count - 1]) + 1;
    return count;
}

/* The first of the numbers; the tokens are in starts. NULL when the subject is none. */
static const char **find_numbers(const char *subject, const char **starts)
{
    if (!subject || strncmp(subject, ACK_PREFIX, strlen(ACK_PREFIX)) != 0)
        return NULL;
    int count = split(subject + strlen(ACK_PREFIX), starts, ACK_TOKENS_MAX);
    if (count != ACK_TOKENS && count < ACK_TOKENS + 2)
        return NULL;
    return starts + (count == ACK_TOKENS ? 2 : 4);
}

bool nats_ack_parse(const char *subject, struct nats_ack *out)
{
    const char *starts[ACK_TOKENS_MAX + 1];
    const char **first = find_numbers(subject, starts);
    uint64_t numbers[ACK_NUMBERS];

    if (!first)
        return false;
    for (int i = 0; i < ACK_NUMBERS; i++)
        if (!read_number(first[i], (size_t)(first[i + 1] - first[i] - 1), &numbers[i]))
            return false;
    *out = (struct nats_ack){.delivered = numbers[0],
                             .sequence = numbers[1],
                             .delivery = numbers[2],
                             .stored_ms = (int64_t)(numbers[3] / 1000000),
                             .pending = numbers[4]};
    return true;
}

bool nats_ack_for(const char *subject, uint64_t sequence, char *out, size_t room)
{
    const char *starts[ACK_TOKENS_MAX + 1];
    const char **first = find_numbers(subject, starts);

    if (!first)
        return false;
    int size = snprintf(out, room, "%.*s%" PRIu64 ".%s", (int)(first[1] - subject), subject,
                        sequence, first[2]);
    return size > 0 && (size_t)size < room;
}

bool nats_denied_subject(const char *text, char *out, size_t room)
{
    const char *start = strcasestr(text, "permissions violation for publish");

    start = start ? strchr(start, '"') : NULL;
    const char *end = start ? strchr(start + 1, '"') : NULL;
    if (!end || end == start + 1 || (size_t)(end - start) > room)
        return false;
    memcpy(out, start + 1, (size_t)(end - start - 1));
    out[end - start - 1] = '\0';
    return true;
}

/* Cuts the line at its CRLF; returns where the next one starts, or NULL. */
static char *cut_line(char *line, char *end)
{
    char *stop = memchr(line, '\r', (size_t)(end - line));

    if (!stop || end - stop < 2 || stop[1] != '\n' || memchr(line, '\0', (size_t)(stop - line)))
        return NULL;
    *stop = '\0';
    return stop + 2;
}

int nats_headers_parse(char *block, size_t size, struct broker_header *out, int max)
{
    char *end = block + size;
    char *line = cut_line(block, end), *next;
    int count = 0;

    if (!line || strncmp(block, HEADERS_FIRST_LINE, strlen(HEADERS_FIRST_LINE)) != 0)
        return -1;
    for (; (next = cut_line(line, end)) && *line; line = next) {
        char *colon = strchr(line, ':');
        if (!colon || colon == line)
            return -1;
        *colon = '\0';
        if (count < max)
            out[count] = (struct broker_header){line, colon + 1 + strspn(colon + 1, " ")};
        count++;
    }
    return next == end ? count : -1;
}

static int sextet(char c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c ? strchr(alphabet, c) : NULL;

    return found ? (int)(found - alphabet) : -1;
}

long nats_base64_decode(char *text, size_t size)
{
    unsigned bits = 0;
    size_t made = 0, padding = 0;

    if (size % 4)
        return -1;
    while (padding < 2 && size > padding && text[size - padding - 1] == '=')
        padding++;
    for (size_t i = 0; i < size - padding; i++) {
        int value = sextet(text[i]);
        if (value < 0)
            return -1;
        bits = bits << 6 | (unsigned)value;
        if (i % 4)
            text[made++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    return (long)made;
}
