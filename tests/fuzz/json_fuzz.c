/* Whatever comes, decoding ends; and what it takes, it takes again in the form it writes. */
#include "base/document.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct thing {
    int32_t a;
    double b;
    bool c;
    const char *d, *e;
    int f;
    int64_t g;
    struct id h;
};

static const char *const words[] = {"X", "Y", NULL};

static const struct json_field fields[] = {
    {.name = "a", .kind = JSON_INT, .offset = offsetof(struct thing, a)},
    {.name = "b", .kind = JSON_DOUBLE, .offset = offsetof(struct thing, b)},
    {.name = "c", .kind = JSON_BOOL, .offset = offsetof(struct thing, c)},
    {.name = "d", .kind = JSON_TEXT, .offset = offsetof(struct thing, d), .max = 100},
    {.name = "e", .kind = JSON_OBJECT, .offset = offsetof(struct thing, e)},
    {.name = "f", .kind = JSON_ENUM, .offset = offsetof(struct thing, f), .words = words},
    {.name = "g", .kind = JSON_TIME, .offset = offsetof(struct thing, g)},
    {.name = "h", .kind = JSON_ID, .offset = offsetof(struct thing, h)},
    {0},
};

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* The two ways in agree: members one by one, and the whole as a tree. */
static void decode(const char *text, size_t size, bool taken, const char *reason)
{
    AUTO(document_free) struct document *document = NULL;
    AUTO(buffer_free) struct buffer once = {0};
    AUTO(buffer_free) struct buffer twice = {0};
    struct error err = {.code = ERROR_NONE};

    if (!document_parse(&document, text, size, &err)) {
        must(err.code == ERROR_INVALID && !taken);
        return;
    }
    /* A tree that is fine was refused for what the table wants, never for its form. */
    must(taken || strcmp(reason, JSON_SYNTAX) != 0);
    must(taken || strcmp(reason, JSON_DUPLICATE) != 0);
    document_print(document, "", &once);
    document_free(document);
    document = NULL;
    must(document_parse(&document, once.data, once.size, &err));
    document_print(document, "", &twice);
    must(strcmp(once.data, twice.data) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_free) struct arena *arena = arena_new(1024);
    AUTO(buffer_free) struct buffer once = {0};
    AUTO(buffer_free) struct buffer twice = {0};
    struct thing thing;
    struct error err = {.code = ERROR_NONE};
    bool taken = json_decode(fields, (const char *)data, size, &thing, arena, &err);

    decode((const char *)data, size, taken, taken ? "" : err.reason);
    if (!taken) {
        must(err.code == ERROR_INVALID);
        return 0;
    }
    json_encode(fields, &thing, &once);
    must(json_decode(fields, once.data, once.size, &thing, arena, &err));
    json_encode(fields, &thing, &twice);
    must(strcmp(once.data, twice.data) == 0);
    return 0;
}
