#include "base/json_scan.h"

#include "base/hex.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define EXPONENT_MAX 400

struct scan {
    const unsigned char *start, *at, *end;
    int depth;
    bool escaped; /* a backslash was met; whoever asks clears it first */
    struct json_members *members;
    struct error *err;
};

static bool scan_value(struct scan *scan);

static bool fail(const struct scan *scan, const char *reason, const char *what)
{
    return error_input(scan->err, reason, "", "%s at byte %zu", what,
                       (size_t)(scan->at - scan->start));
}

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\r' || *scan->at == '\t'))
        scan->at++;
}

/* Skips space; the byte that follows, or -1 at the end. */
static int peek(struct scan *scan)
{
    skip_space(scan);
    return scan->at < scan->end ? *scan->at : -1;
}

/* The four hex digits after a backslash and u at `at`, or -1. */
static int unicode_escape(const struct scan *scan, const unsigned char *at)
{
    int value = 0;

    if (scan->end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_value((char)at[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static bool scan_unicode(struct scan *scan)
{
    int value = unicode_escape(scan, scan->at);

    if (value < 0)
        return fail(scan, JSON_SYNTAX, "want four hex digits after \\u");
    if (value == 0)
        return fail(scan, JSON_ENCODING, "NUL in text");
    if (value >= 0xd800 && value <= 0xdfff) {
        int second = unicode_escape(scan, scan->at + 6);
        if (value >= 0xdc00 || second < 0xdc00 || second > 0xdfff)
            return fail(scan, JSON_ENCODING, "half of a surrogate pair");
        scan->at += 6;
    }
    scan->at += 6;
    return true;
}

static bool scan_escape(struct scan *scan)
{
    if (scan->end - scan->at < 2)
        return fail(scan, JSON_SYNTAX, "text without an end");

    scan->escaped = true;
    unsigned char letter = scan->at[1];
    if (letter == 'u')
        return scan_unicode(scan);
    if (letter == 0 || !strchr("\"\\/bfnrt", letter))
        return fail(scan, JSON_SYNTAX, "unknown escape");
    scan->at += 2;
    return true;
}

/* A byte of text that is not plain ASCII: a character of several bytes, an escape, or a mistake. */
static bool scan_special(struct scan *scan)
{
    if (*scan->at == '\\')
        return scan_escape(scan);
    if (*scan->at < 0x20)
        return fail(scan, JSON_SYNTAX, "control character in text");

    size_t size = utf8_length((const char *)scan->at, (size_t)(scan->end - scan->at));
    if (size == 0)
        return fail(scan, JSON_ENCODING, "invalid UTF-8");
    scan->at += size;
    return true;
}

static bool is_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

static bool scan_text(struct scan *scan)
{
    scan->at++;
    for (;;) {
        while (scan->at < scan->end && is_plain(*scan->at))
            scan->at++;
        if (scan->at == scan->end)
            return fail(scan, JSON_SYNTAX, "text without an end");
        if (*scan->at == '"')
            break;
        if (!scan_special(scan))
            return false;
    }
    scan->at++;
    return true;
}

/* How many digits were skipped. */
static size_t skip_digits(struct scan *scan)
{
    const unsigned char *start = scan->at;

    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
        scan->at++;
    return (size_t)(scan->at - start);
}

static bool skip_byte(struct scan *scan, const char *any_of)
{
    bool there = scan->at < scan->end && *scan->at && strchr(any_of, *scan->at);

    scan->at += there;
    return there;
}

/* A number that is too large shows as infinite. One that is too small reads as zero, but whoever
 * keeps its digits (jsonb does) may have no room for so many. */
static bool is_wild_exponent(const unsigned char *digits, const unsigned char *end)
{
    int exponent = 0;

    for (; digits < end && exponent <= EXPONENT_MAX; digits++)
        exponent = exponent * 10 + (*digits - '0');
    return exponent > EXPONENT_MAX;
}

static bool scan_number(struct scan *scan)
{
    const unsigned char *start = scan->at;

    skip_byte(scan, "-");
    if (!skip_byte(scan, "0") && !skip_digits(scan))
        return fail(scan, JSON_SYNTAX, "not a value");
    if (skip_byte(scan, ".") && !skip_digits(scan))
        return fail(scan, JSON_SYNTAX, "want a digit after the point");
    if (skip_byte(scan, "eE")) {
        bool tiny = skip_byte(scan, "-");
        const unsigned char *digits = scan->at + (!tiny && skip_byte(scan, "+"));
        if (!skip_digits(scan))
            return fail(scan, JSON_SYNTAX, "want a digit in the exponent");
        if (tiny && is_wild_exponent(digits, scan->at))
            return fail(scan, JSON_RANGE, "number too close to zero");
    }
    /* cJSON copies a number into 64 bytes and would cut it. */
    if (scan->at - start > JSON_NUMBER_MAX)
        return fail(scan, JSON_RANGE, "number of too many digits");
    return true;
}

static bool scan_word(struct scan *scan, const char *word)
{
    size_t size = strlen(word);

    if ((size_t)(scan->end - scan->at) < size || memcmp(scan->at, word, size) != 0)
        return fail(scan, JSON_SYNTAX, "not a value");
    scan->at += size;
    return true;
}

static void keep(struct json_members *members, const struct json_member *member)
{
    if (members->count == members->room) {
        size_t bytes = members->room * sizeof(*member);
        struct json_member *list = memory_alloc(2 * bytes);
        memcpy(list, members->list, bytes);
        if (members->list != members->few)
            free(members->list);
        members->list = list;
        members->room *= 2;
    }
    members->list[members->count++] = *member;
}

static bool scan_name(struct scan *scan, struct json_member *member)
{
    if (peek(scan) != '"')
        return fail(scan, JSON_SYNTAX, "want a name");
    scan->escaped = false;
    member->name = (const char *)scan->at + 1;
    if (!scan_text(scan))
        return false;
    member->name_size = (size_t)((const char *)scan->at - 1 - member->name);
    member->name_escaped = scan->escaped;
    return true;
}

static bool scan_member(struct scan *scan)
{
    struct json_member member = {0};

    if (!scan_name(scan, &member))
        return false;
    if (peek(scan) != ':')
        return fail(scan, JSON_SYNTAX, "want a colon");
    scan->at++;
    skip_space(scan);
    scan->escaped = false;
    member.value = (const char *)scan->at;
    if (!scan_value(scan))
        return false;
    member.value_size = (size_t)((const char *)scan->at - member.value);
    member.value_escaped = scan->escaped;
    if (scan->members && scan->depth == 1)
        keep(scan->members, &member);
    return true;
}

/* Objects and lists alike: they differ in the closing bracket, and in that members have names. */
static bool scan_items(struct scan *scan, bool named)
{
    const int closing = named ? '}' : ']';

    scan->at++;
    if (peek(scan) == closing) {
        scan->at++;
        return true;
    }
    for (;;) {
        if (!(named ? scan_member(scan) : scan_value(scan)))
            return false;
        int next = peek(scan);
        if (next != ',' && next != closing)
            return fail(scan, JSON_SYNTAX, named ? "want a comma or }" : "want a comma or ]");
        scan->at++;
        if (next == closing)
            return true;
    }
}

static bool scan_container(struct scan *scan, bool named)
{
    if (scan->depth == JSON_DEPTH_MAX)
        return fail(scan, JSON_DEPTH, "too many levels");
    scan->depth++;
    if (!scan_items(scan, named))
        return false;
    scan->depth--;
    return true;
}

static bool scan_value(struct scan *scan)
{
    switch (peek(scan)) {
    case '{':
        return scan_container(scan, true);
    case '[':
        return scan_container(scan, false);
    case '"':
        return scan_text(scan);
    case 't':
        return scan_word(scan, "true");
    case 'f':
        return scan_word(scan, "false");
    case 'n':
        return scan_word(scan, "null");
    default:
        return scan_number(scan);
    }
}

void json_members_free(struct json_members *members)
{
    for (size_t i = 0; i < members->count; i++)
        if (members->list[i].tree)
            cJSON_Delete(members->list[i].tree);
    if (members->list != members->few)
        free(members->list);
}

bool json_scan(const char *text, size_t size, struct json_members *members, struct error *err)
{
    const unsigned char *start = (const unsigned char *)text;
    struct scan scan = {
        .start = start, .at = start, .end = start + size, .members = members, .err = err};

    if (members) {
        members->list = members->few;
        members->count = 0;
        members->of_object = false;
        members->room = JSON_MEMBERS_FEW;
    }
    if (peek(&scan) < 0)
        return error_input(err, JSON_EMPTY, "", "nothing there");
    if (members)
        members->of_object = *scan.at == '{';
    if (!scan_value(&scan))
        return false;
    if (peek(&scan) >= 0)
        return fail(&scan, JSON_SYNTAX, "more than one value");
    return true;
}
