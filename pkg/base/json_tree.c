#include "base/json_tree.h"

#include "base/json.h"
#include "base/json_scan.h"
#include "base/memory.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEW_MEMBERS 16 /* up to here comparing every pair beats sorting */

static void auto_cJSON_Delete(cJSON **tree)
{
    cJSON_Delete(*tree);
}

static void auto_names_free(const char ***names)
{
    free(*names);
}

/* The way from the root to a value, innermost first. */
struct path {
    const struct path *parent;
    const char *name; /* NULL: an element of a list */
    size_t size;      /* of the name */
    size_t index;
};

/* One step of a pointer, escaped by RFC 6901; false when it does not fit. */
static bool append_step(char *pointer, size_t room, const struct path *step)
{
    size_t used = strlen(pointer);
    char number[24];
    const char *text = step->name;
    size_t size = step->size;

    if (!text) {
        size = (size_t)snprintf(number, sizeof(number), "%zu", step->index);
        text = number;
    }
    char *at = pointer + used;
    char *last = pointer + room - 3; /* an escape and the NUL fit behind it */
    *at++ = '/';
    for (; size > 0 && at < last; text++, size--) {
        bool escaped = *text == '~' || *text == '/';
        *at++ = (char)(escaped ? '~' : *text);
        if (escaped)
            *at++ = (char)(*text == '~' ? '0' : '1');
    }
    *at = '\0';
    if (size > 0)
        pointer[used] = '\0';
    return size == 0;
}

static bool path_print(const struct path *path, char *pointer, size_t room)
{
    if (!path)
        return true;
    return path_print(path->parent, pointer, room) && strlen(pointer) + 3 < room &&
           append_step(pointer, room, path);
}

static bool refuse(const char *reason, const struct path *path, const char *what, struct error *err)
{
    char pointer[sizeof(err->pointer)] = "";

    (void)path_print(path, pointer, sizeof(pointer)); /* what fits is good enough */
    return error_input(err, reason, pointer, "%s", what);
}

static const char *twice_of_few(const cJSON *object)
{
    for (const cJSON *one = object->child; one; one = one->next)
        for (const cJSON *other = one->next; other; other = other->next)
            if (strcmp(one->string, other->string) == 0)
                return one->string;
    return NULL;
}

static int by_text(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

static const char *twice_of_many(const cJSON *object, size_t count)
{
    AUTO(names_free) const char **names = memory_alloc(count * sizeof(*names));
    size_t i = 0;

    for (const cJSON *member = object->child; member; member = member->next)
        names[i++] = member->string;
    qsort(names, count, sizeof(*names), by_text);
    for (i = 1; i < count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return names[i];
    return NULL;
}

static const char *name_given_twice(const cJSON *object)
{
    size_t count = 0;

    for (const cJSON *member = object->child; member; member = member->next)
        count++;
    return count <= FEW_MEMBERS ? twice_of_few(object) : twice_of_many(object, count);
}

static bool check(const cJSON *value, const struct path *path, struct error *err)
{
    if (cJSON_IsNumber(value) && !isfinite(value->valuedouble))
        return refuse(JSON_RANGE, path, "number too large", err);

    const char *twice = cJSON_IsObject(value) ? name_given_twice(value) : NULL;
    if (twice) {
        struct path step = {.parent = path, .name = twice, .size = strlen(twice)};
        return refuse(JSON_DUPLICATE, &step, "name given twice", err);
    }
    struct path step = {.parent = path};
    for (const cJSON *child = value->child; child; child = child->next, step.index++) {
        step.name = child->string;
        step.size = child->string ? strlen(child->string) : 0;
        if (!check(child, &step, err))
            return false;
    }
    return true;
}

/* Of text that json_scan took. */
static bool parse(cJSON **out, const char *text, size_t size, const struct path *path,
                  struct error *err)
{
    AUTO(cJSON_Delete) cJSON *tree = cJSON_ParseWithLength(text, size);

    if (!tree)
        return error_set(err, ERROR_INTERNAL, "cJSON refuses what the scan took");
    if (!check(tree, path, err))
        return false;
    *out = tree;
    tree = NULL;
    return true;
}

bool json_tree_parse(cJSON **out, const char *text, size_t size, struct error *err)
{
    return json_scan(text, size, NULL, err) && parse(out, text, size, NULL, err);
}

bool json_tree_member(struct json_member *member, struct error *err)
{
    struct path path = {.name = member->name, .size = member->name_size};

    return member->tree || parse(&member->tree, member->value, member->value_size, &path, err);
}

bool json_tree_refuse(const char *reason, const struct json_member *member, const char *what,
                      struct error *err)
{
    struct path path = {.name = member->name, .size = member->name_size};

    return refuse(reason, &path, what, err);
}

static void print(const cJSON *value, const char *name, struct json_writer *writer)
{
    if (cJSON_IsObject(value) || cJSON_IsArray(value)) {
        json_open(writer, name, cJSON_IsObject(value) ? '{' : '[');
        for (const cJSON *child = value->child; child; child = child->next)
            print(child, child->string, writer);
        json_close(writer, cJSON_IsObject(value) ? '}' : ']');
    } else if (cJSON_IsString(value)) {
        json_text(writer, name, value->valuestring);
    } else if (cJSON_IsNumber(value)) {
        json_double(writer, name, value->valuedouble);
    } else if (cJSON_IsBool(value)) {
        json_bool(writer, name, cJSON_IsTrue(value));
    } else {
        json_null(writer, name);
    }
}

void json_tree_print(const cJSON *tree, struct buffer *out)
{
    struct json_writer writer = {.out = out};

    print(tree, NULL, &writer);
}
