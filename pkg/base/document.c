#include "base/document.h"

#include "base/json_tree.h"
#include "base/memory.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_MAX 128     /* bytes of a member name in a path; longer ones are not addressable */
#define INT_EXACT 0x1p53 /* a double holds every whole number up to here */

struct document {
    cJSON *root;
};

static struct document *document_of(cJSON *root)
{
    struct document *document = memory_alloc(sizeof(*document));

    document->root = root;
    return document;
}

/* cJSON returns NULL only when there is no memory left. */
static cJSON *must(cJSON *item)
{
    if (!item)
        abort();
    return item;
}

bool document_parse(struct document **out, const char *text, size_t size, struct error *err)
{
    cJSON *root = NULL;

    if (!json_tree_parse(&root, text, size, err))
        return false;
    *out = document_of(root);
    return true;
}

struct document *document_new(void)
{
    return document_of(must(cJSON_CreateObject()));
}

void document_free(struct document *document)
{
    if (!document)
        return;
    cJSON_Delete(document->root);
    free(document);
}

/* Cuts the first step off the path; false at its end, or when the step is too long for a name. */
static bool next_step(const char **path, char step[STEP_MAX])
{
    size_t size = strcspn(*path, ".");

    if (size == 0 || size >= STEP_MAX)
        return false;
    memcpy(step, *path, size);
    step[size] = '\0';
    *path += size + ((*path)[size] == '.');
    return true;
}

/* The index that a step names, or -1. */
static int step_index(const char *step)
{
    char *end = NULL;
    long index = step[0] >= '0' && step[0] <= '9' ? strtol(step, &end, 10) : -1;

    return index >= 0 && index < INT_MAX && *end == '\0' ? (int)index : -1;
}

static cJSON *child_of(const cJSON *parent, const char *step)
{
    if (cJSON_IsArray(parent)) {
        int index = step_index(step);
        return index < 0 ? NULL : cJSON_GetArrayItem(parent, index);
    }
    return cJSON_GetObjectItemCaseSensitive(parent, step);
}

static const cJSON *find(const struct document *document, const char *path)
{
    const cJSON *item = document->root;
    char step[STEP_MAX];

    while (item && *path)
        item = next_step(&path, step) ? child_of(item, step) : NULL;
    return item;
}

bool document_has(const struct document *document, const char *path)
{
    return find(document, path) != NULL;
}

const char *document_text(const struct document *document, const char *path)
{
    const cJSON *item = find(document, path);

    return cJSON_IsString(item) ? item->valuestring : NULL;
}

int64_t document_int(const struct document *document, const char *path, int64_t fallback)
{
    const cJSON *item = find(document, path);
    bool whole = cJSON_IsNumber(item) && fabs(item->valuedouble) <= INT_EXACT &&
                 item->valuedouble == floor(item->valuedouble);

    return whole ? (int64_t)item->valuedouble : fallback;
}

double document_number(const struct document *document, const char *path, double fallback)
{
    const cJSON *item = find(document, path);

    return cJSON_IsNumber(item) ? item->valuedouble : fallback;
}

bool document_bool(const struct document *document, const char *path, bool fallback)
{
    const cJSON *item = find(document, path);

    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

int document_count(const struct document *document, const char *path)
{
    const cJSON *item = find(document, path);

    return cJSON_IsArray(item) ? cJSON_GetArraySize(item) : -1;
}

static void put(cJSON *parent, const char *step, cJSON *value)
{
    cJSON *old = child_of(parent, step);
    bool done = false;

    if (cJSON_IsArray(parent))
        done = old ? cJSON_ReplaceItemViaPointer(parent, old, value)
                   : cJSON_AddItemToArray(parent, value);
    else
        done = old ? cJSON_ReplaceItemInObjectCaseSensitive(parent, step, value)
                   : cJSON_AddItemToObject(parent, step, value);
    if (!done)
        abort(); /* out of memory */
}

static bool is_container(const cJSON *item)
{
    return cJSON_IsObject(item) || cJSON_IsArray(item);
}

/* Sets the value at path; what is in the way of a step becomes an object. Owns the value. */
static void set(struct document *document, const char *path, cJSON *value)
{
    cJSON *parent = document->root;
    char step[STEP_MAX];

    must(value);
    if (!is_container(parent) || !next_step(&path, step)) {
        cJSON_Delete(value);
        return;
    }
    while (*path) {
        cJSON *child = child_of(parent, step);
        if (!is_container(child)) {
            child = must(cJSON_CreateObject());
            put(parent, step, child);
        }
        parent = child;
        if (!next_step(&path, step)) {
            cJSON_Delete(value);
            return;
        }
    }
    put(parent, step, value);
}

void document_set_text(struct document *document, const char *path, const char *value)
{
    set(document, path, cJSON_CreateString(value));
}

void document_set_int(struct document *document, const char *path, int64_t value)
{
    set(document, path, cJSON_CreateNumber((double)value));
}

void document_set_bool(struct document *document, const char *path, bool value)
{
    set(document, path, cJSON_CreateBool(value));
}

void document_set_list(struct document *document, const char *path, const char *const *texts,
                       size_t count)
{
    cJSON *list = must(cJSON_CreateArray());

    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(list, must(cJSON_CreateString(texts[i])));
    set(document, path, list);
}

void document_print(const struct document *document, const char *path, struct buffer *out)
{
    const cJSON *item = find(document, path);

    if (item)
        json_tree_print(item, out);
    else
        buffer_text(out, "null");
}
