/*
 * json_tree: text to a cJSON tree by the rules of json.h, and back; shared by json.c and
 * document.c.
 *
 * One pass over the bytes refuses what cJSON lets through (bad UTF-8, raw control characters,
 * numbers outside the grammar, depth, what follows the value) before cJSON sees them; one walk over
 * the tree refuses what needs its values (names twice, numbers that are not finite).
 *
 * Ownership  The caller deletes the tree with cJSON_Delete.
 * Errors     ERROR_INVALID with a reason of json.h.
 */
#ifndef BASE_JSON_TREE_H
#define BASE_JSON_TREE_H

#include "base/buffer.h"
#include "base/error.h"

struct cJSON;
struct json_member;

bool json_tree_parse(struct cJSON **out, const char *text, size_t size,
                     struct error *err) MUST_CHECK;

/* Makes member->tree of the member's value, if there is none yet. Pointers start with its name. */
bool json_tree_member(struct json_member *member, struct error *err) MUST_CHECK;

/* ERROR_INVALID at a member of the outermost object. */
bool json_tree_refuse(const char *reason, const struct json_member *member, const char *what,
                      struct error *err);

/* Appends the tree on one line; unlike cJSON's own printing, every double comes back exactly. */
void json_tree_print(const struct cJSON *tree, struct buffer *out);

#endif
