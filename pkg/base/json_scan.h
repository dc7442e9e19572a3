/*
 * json_scan: is this text one JSON value by RFC 8259 and the limits of json.h, and where are its
 * members?
 *
 * It looks at bytes only: names given twice and numbers too large for a double need values, and are
 * for whoever makes those. Depth of recursion is bounded by JSON_DEPTH_MAX.
 *
 * Errors     ERROR_INVALID: JSON_SYNTAX, JSON_EMPTY, JSON_ENCODING, JSON_DEPTH, or JSON_RANGE for a
 *            number of too many bytes. The pointer is empty, the message names the byte.
 * Ownership  Members point into the text.
 */
#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

#include "base/error.h"

#define JSON_MEMBERS_FEW 16

struct cJSON;

/* A member of the outermost object, as written. */
struct json_member {
    const char *name; /* without its quotes */
    size_t name_size;
    const char *value; /* its first byte tells its kind; text has its quotes */
    size_t value_size;
    bool name_escaped, value_escaped; /* holds a backslash */
    struct cJSON *tree;               /* for the reader of the members; freed with them */
};

struct json_members {
    bool of_object;           /* false: the value is of another kind, and there are none */
    struct json_member *list; /* few, or heap when there are more */
    size_t count, room;
    struct json_member few[JSON_MEMBERS_FEW];
};

/* members may be NULL; if not, they are to be freed in any case. */
bool json_scan(const char *text, size_t size, struct json_members *members,
               struct error *err) MUST_CHECK;

void json_members_free(struct json_members *members);

/* AUTO(json_members_free) struct json_members members; before json_scan */
static inline void auto_json_members_free(struct json_members *members)
{
    json_members_free(members);
}

#endif
