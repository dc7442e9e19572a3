#include "broker/nats_puback.h"

#include <string.h>

#define DEPTH_MAX 32

struct scan {
    const char *at, *end;
};

struct text {
    const char *start;
    size_t size;
};

typedef bool member(struct scan *scan, const struct text *name, struct nats_puback *out);

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
        scan->at++;
}

static bool take(struct scan *scan, char wanted)
{
    skip_space(scan);
    if (scan->at == scan->end || *scan->at != wanted)
        return false;
    scan->at++;
    return true;
}

/* Escapes stay as they are: no name that counts has any. */
static bool take_text(struct scan *scan, struct text *out)
{
    if (!take(scan, '"'))
        return false;
    out->start = scan->at;
    while (scan->at < scan->end && *scan->at != '"')
        scan->at += *scan->at == '\\' && scan->end - scan->at > 1 ? 2 : 1;
    if (scan->at == scan->end)
        return false;
    out->size = (size_t)(scan->at++ - out->start);
    return true;
}

static bool take_number(struct scan *scan, uint64_t *out)
{
    const char *start;

    skip_space(scan);
    *out = 0;
    for (start = scan->at; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9'; scan->at++)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(*scan->at - '0'), out))
            return false;
    return scan->at > start;
}

static bool take_small(struct scan *scan, int *out)
{
    uint64_t number;

    if (!take_number(scan, &number) || number > INT32_MAX)
        return false;
    *out = (int)number;
    return true;
}

static bool take_bool(struct scan *scan, bool *out)
{
    skip_space(scan);
    *out = scan->end - scan->at >= 4 && memcmp(scan->at, "true", 4) == 0;
    if (!*out && (scan->end - scan->at < 5 || memcmp(scan->at, "false", 5) != 0))
        return false;
    scan->at += *out ? 4 : 5;
    return true;
}

/* A number or a word: whatever ends before the next comma or bracket. */
static bool skip_word(struct scan *scan)
{
    const char *start = scan->at;

    while (scan->at < scan->end && !strchr(",]}[{\"", *scan->at))
        scan->at++;
    return scan->at > start;
}

/* One text, word or bracket; *depth counts the brackets that are open. */
static bool skip_token(struct scan *scan, int *depth)
{
    struct text ignored;

    skip_space(scan);
    if (scan->at == scan->end)
        return false;
    switch (*scan->at) {
    case '"':
        return take_text(scan, &ignored);
    case '{':
    case '[':
        scan->at++;
        return ++*depth <= DEPTH_MAX;
    case '}':
    case ']':
        scan->at++;
        return (*depth)-- > 0;
    case ',':
        scan->at++;
        return *depth > 0;
    default:
        return skip_word(scan);
    }
}

/* Brackets are counted, not matched: what is skipped is nobody's business. */
static bool skip_value(struct scan *scan)
{
    int depth = 0;

    do {
        if (!skip_token(scan, &depth))
            return false;
    } while (depth > 0);
    return true;
}

static bool take_object(struct scan *scan, member *each, struct nats_puback *out)
{
    struct text name;

    if (!take(scan, '{'))
        return false;
    if (take(scan, '}'))
        return true;
    do {
        if (!take_text(scan, &name) || !take(scan, ':') || !each(scan, &name, out))
            return false;
    } while (take(scan, ','));
    return take(scan, '}');
}

static bool is(const struct text *text, const char *word)
{
    return text->size == strlen(word) && memcmp(text->start, word, text->size) == 0;
}

static bool error_member(struct scan *scan, const struct text *name, struct nats_puback *out)
{
    struct text text;

    if (is(name, "code"))
        return take_small(scan, &out->status);
    if (is(name, "err_code"))
        return take_small(scan, &out->number);
    if (!is(name, "description"))
        return skip_value(scan);
    if (!take_text(scan, &text))
        return false;
    if (text.size >= sizeof(out->description))
        text.size = sizeof(out->description) - 1;
    memcpy(out->description, text.start, text.size);
    out->description[text.size] = '\0';
    return true;
}

static bool answer_member(struct scan *scan, const struct text *name, struct nats_puback *out)
{
    if (is(name, "seq"))
        return take_number(scan, &out->sequence);
    if (is(name, "duplicate"))
        return take_bool(scan, &out->duplicate);
    if (is(name, "error"))
        return take_object(scan, error_member, out);
    return skip_value(scan);
}

bool nats_puback_parse(const char *text, size_t size, struct nats_puback *out)
{
    struct scan scan = {text, text + size};

    out->sequence = 0;
    out->duplicate = false;
    out->status = out->number = 0;
    out->description[0] = '\0';
    if (!take_object(&scan, answer_member, out))
        return false;
    skip_space(&scan);
    return scan.at == scan.end && (out->sequence || out->status || out->number);
}
