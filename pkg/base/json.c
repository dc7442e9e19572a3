#include "base/json.h"

#include "base/json_scan.h"
#include "base/json_tree.h"
#include "base/memory.h"
#include "base/rfc3339.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Field names are ours and need no escaping in a pointer. */
#define REFUSE(err, reason, field, format, ...)                                                    \
    ({                                                                                             \
        char pointer_[sizeof((err)->pointer)];                                                     \
        snprintf(pointer_, sizeof(pointer_), "/%s", (field)->name);                                \
        error_input(err, reason, pointer_, "field '%s': " format,                                  \
                    (field)->name __VA_OPT__(, ) __VA_ARGS__);                                     \
    })

static bool is_text(const struct json_member *member)
{
    return *member->value == '"';
}

static bool is_number(const struct json_member *member)
{
    return *member->value == '-' || (*member->value >= '0' && *member->value <= '9');
}

struct text {
    const char *start;
    size_t size;
};

/* Text without escapes is its own value; the rest is cJSON's work. */
static bool text_of(struct json_member *member, struct text *out, struct error *err)
{
    if (!member->value_escaped) {
        *out = (struct text){member->value + 1, member->value_size - 2};
        return true;
    }
    if (!json_tree_member(member, err))
        return false;
    *out = (struct text){member->tree->valuestring, strlen(member->tree->valuestring)};
    return true;
}

static bool decode_number(const struct json_field *field, struct json_member *member, double *out,
                          struct error *err)
{
    bool bounded = field->min != 0 || field->max != 0;

    if (!is_number(member))
        return REFUSE(err, JSON_TYPE, field, "want a number");
    if (!json_tree_member(member, err))
        return false;
    *out = member->tree->valuedouble;
    if (bounded && !(*out >= field->min && *out <= field->max))
        return REFUSE(err, JSON_RANGE, field, "want a number from %.15g to %.15g", field->min,
                      field->max);
    return true;
}

static bool decode_int(const struct json_field *field, struct json_member *member, int32_t *out,
                       struct error *err)
{
    double value = 0;

    if (!decode_number(field, member, &value, err))
        return false;
    if (!(value >= INT32_MIN && value <= INT32_MAX))
        return REFUSE(err, JSON_RANGE, field, "want a number of 32 bits");
    if (value != (int32_t)value)
        return REFUSE(err, JSON_TYPE, field, "want a whole number");
    *out = (int32_t)value;
    return true;
}

static bool check_size(const struct json_field *field, size_t size, struct error *err)
{
    if ((double)size < field->min || (field->max > 0 && (double)size > field->max))
        return REFUSE(err, JSON_RANGE, field, "%zu bytes; want %.0f to %.0f", size, field->min,
                      field->max);
    return true;
}

static bool decode_text(const struct json_field *field, const struct text *text,
                        struct arena *arena, const char **out, struct error *err)
{
    if (!check_size(field, text->size, err))
        return false;
    *out = arena_copy(arena, text->start, text->size);
    return true;
}

static bool refuse_word(const struct json_field *field, struct error *err)
{
    char words[160] = "";
    size_t used = 0;

    for (int i = 0; field->words[i] && used < sizeof(words); i++)
        used += (size_t)snprintf(words + used, sizeof(words) - used, "%s%s", i ? ", " : "",
                                 field->words[i]);
    return REFUSE(err, JSON_RANGE, field, "want one of %s", words);
}

static bool decode_enum(const struct json_field *field, const struct text *text, int *out,
                        struct error *err)
{
    for (int i = 0; field->words[i]; i++) {
        const char *word = field->words[i];
        if (strlen(word) == text->size && memcmp(word, text->start, text->size) == 0) {
            *out = i;
            return true;
        }
    }
    return refuse_word(field, err);
}

static bool decode_time(const struct json_field *field, const struct text *text, int64_t *out,
                        struct error *err)
{
    return rfc3339_parse(text->start, text->size, out) ||
           REFUSE(err, JSON_FORMAT, field, "want a time with a zone (RFC 3339)");
}

static bool decode_id(const struct json_field *field, const struct text *text, struct id *out,
                      struct error *err)
{
    static const struct id max = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                   0xff, 0xff, 0xff, 0xff, 0xff}};

    /* Nil and max (RFC 9562, 5.9 and 5.10) mean "no id", so nobody may send them. */
    return (id_parse(text->start, text->size, out) && !id_is_zero(out) &&
            memcmp(out, &max, sizeof(max)) != 0) ||
           REFUSE(err, JSON_FORMAT, field, "want a UUID");
}

/* The kinds that are text on the wire. */
static bool decode_from_text(const struct json_field *field, struct json_member *member,
                             struct arena *arena, void *target, struct error *err)
{
    struct text text = {0};

    if (!is_text(member))
        return REFUSE(err, JSON_TYPE, field, "want text");
    if (!text_of(member, &text, err))
        return false;
    if (field->kind == JSON_ENUM)
        return decode_enum(field, &text, target, err);
    if (field->kind == JSON_TIME)
        return decode_time(field, &text, target, err);
    if (field->kind == JSON_ID)
        return decode_id(field, &text, target, err);
    return decode_text(field, &text, arena, target, err);
}

/* JSON without the white space between its parts; what is left stays as it was written, so that no
 * number loses digits. Returns the size. */
static size_t compact(const char *json, size_t size, char *out)
{
    char *at = out;
    bool quoted = false;

    for (const char *end = json + size; json < end; json++) {
        bool space = *json == ' ' || *json == '\n' || *json == '\r' || *json == '\t';
        if (space && !quoted)
            continue;
        quoted = quoted != (*json == '"');
        *at++ = *json;
        if (*json == '\\')
            *at++ = *++json; /* an escaped quote ends nothing */
    }
    return (size_t)(at - out);
}

static bool decode_object(const struct json_field *field, const struct json_member *member,
                          struct arena *arena, const char **out, struct error *err)
{
    if (*member->value != '{')
        return REFUSE(err, JSON_TYPE, field, "want an object");

    char *text = arena_alloc(arena, member->value_size + 1);
    size_t size = compact(member->value, member->value_size, text);
    *out = text;
    return check_size(field, size, err);
}

static bool decode_bool(const struct json_field *field, const struct json_member *member, bool *out,
                        struct error *err)
{
    if (*member->value != 't' && *member->value != 'f')
        return REFUSE(err, JSON_TYPE, field, "want true or false");
    *out = *member->value == 't';
    return true;
}

static void set_absent(const struct json_field *field, void *target)
{
    switch (field->kind) {
    case JSON_INT:
    case JSON_ENUM:
        *(int *)target = field->fallback;
        break;
    case JSON_DOUBLE:
        *(double *)target = 0;
        break;
    case JSON_BOOL:
        *(bool *)target = field->fallback;
        break;
    case JSON_TEXT:
    case JSON_OBJECT:
        *(const char **)target = field->fallback_text;
        break;
    case JSON_TIME:
        *(int64_t *)target = JSON_TIME_ABSENT;
        break;
    case JSON_ID:
        *(struct id *)target = (struct id){0};
        break;
    }
}

static bool decode_field(const struct json_field *field, struct json_member *member,
                         struct arena *arena, void *target, struct error *err)
{
    switch (field->kind) {
    case JSON_INT:
        return decode_int(field, member, target, err);
    case JSON_DOUBLE:
        return decode_number(field, member, target, err);
    case JSON_BOOL:
        return decode_bool(field, member, target, err);
    case JSON_OBJECT:
        return decode_object(field, member, arena, target, err);
    case JSON_TEXT:
    case JSON_ENUM:
    case JSON_TIME:
    case JSON_ID:
        return decode_from_text(field, member, arena, target, err);
    }
    return error_set(err, ERROR_INTERNAL, "field '%s': unknown kind", field->name);
}

/* Names are compared as what they mean: "\u0061" is "a". */
static bool plain_name(struct json_member *member, struct arena *arena, struct error *err)
{
    struct json_member name = {.value = member->name - 1, .value_size = member->name_size + 2};

    if (!member->name_escaped)
        return true;
    if (!json_tree_member(&name, err))
        return false;
    member->name_size = strlen(name.tree->valuestring);
    member->name = arena_copy(arena, name.tree->valuestring, member->name_size);
    cJSON_Delete(name.tree);
    return true;
}

/* What the scan could not see: in every member, because ignoring one must not let it through. */
static bool check_value(struct json_member *member, struct error *err)
{
    bool container = *member->value == '{' || *member->value == '[';
    /* Within JSON_NUMBER_MAX bytes only an exponent makes a number too large. */
    bool exponent = is_number(member) && (memchr(member->value, 'e', member->value_size) ||
                                          memchr(member->value, 'E', member->value_size));

    return (!container && !exponent) || json_tree_member(member, err);
}

static int compare_names(const struct json_member *one, const struct json_member *other)
{
    if (one->name_size != other->name_size)
        return one->name_size < other->name_size ? -1 : 1;
    return memcmp(one->name, other->name, one->name_size);
}

static int by_name(const void *one, const void *other)
{
    return compare_names(one, other);
}

static bool twice_of_few(const struct json_members *members, struct json_member *out)
{
    for (size_t i = 1; i < members->count; i++) {
        *out = members->list[i];
        for (size_t j = 0; j < i; j++)
            if (compare_names(out, &members->list[j]) == 0)
                return true;
    }
    return false;
}

static bool twice_of_many(const struct json_members *members, struct json_member *out)
{
    size_t bytes = members->count * sizeof(*members->list);
    struct json_member *sorted = memory_copy(members->list, bytes);
    bool twice = false;

    qsort(sorted, members->count, sizeof(*sorted), by_name);
    for (size_t i = 1; i < members->count && !twice; i++) {
        twice = compare_names(&sorted[i - 1], &sorted[i]) == 0;
        if (twice)
            *out = sorted[i];
    }
    free(sorted);
    return twice;
}

static bool check_members(struct json_members *members, struct arena *arena, struct error *err)
{
    for (size_t i = 0; i < members->count; i++)
        if (!plain_name(&members->list[i], arena, err) || !check_value(&members->list[i], err))
            return false;

    struct json_member twice;
    bool found = members->count <= JSON_MEMBERS_FEW ? twice_of_few(members, &twice)
                                                    : twice_of_many(members, &twice);
    return !found || json_tree_refuse(JSON_DUPLICATE, &twice, "name given twice", err);
}

/* Looks from `hint` on, where the last field was: producers mostly keep the order of the table. */
static struct json_member *find(const struct json_members *members, const char *name, size_t *hint)
{
    size_t size = strlen(name);

    for (size_t i = 0; i < members->count; i++) {
        size_t at = (*hint + i) % members->count;
        struct json_member *member = &members->list[at];
        if (member->name_size == size && memcmp(member->name, name, size) == 0) {
            *hint = at + 1;
            return member;
        }
    }
    return NULL;
}

bool json_decode(const struct json_field *table, const char *text, size_t size, void *out,
                 struct arena *arena, struct error *err)
{
    AUTO(json_members_free) struct json_members members;
    size_t hint = 0;

    if (!json_scan(text, size, &members, err))
        return false;
    if (!members.of_object)
        return error_input(err, JSON_TYPE, "", "want an object");
    if (!check_members(&members, arena, err))
        return false;
    for (const struct json_field *field = table; field->name; field++) {
        struct json_member *member = find(&members, field->name, &hint);
        void *target = (char *)out + field->offset;
        if (!member && field->required)
            return REFUSE(err, JSON_MISSING, field, "is required");
        if (!member || (*member->value == 'n' && !field->required))
            set_absent(field, target);
        else if (!decode_field(field, member, arena, target, err))
            return false;
    }
    return true;
}

/* NULL for a value that has no word. */
static const char *word_of(const struct json_field *field, int value)
{
    for (int i = 0; field->words[i]; i++)
        if (i == value)
            return field->words[i];
    return NULL;
}

static void encode_id(struct json_writer *writer, const char *name, const struct id *id)
{
    char text[ID_TEXT_SIZE];

    if (id_is_zero(id))
        return;
    id_format(id, text);
    json_bytes(writer, name, text, ID_TEXT_SIZE - 1);
}

static void encode_text(struct json_writer *writer, const struct json_field *field,
                        const char *text)
{
    if (!text)
        return;
    if (field->kind == JSON_OBJECT)
        json_raw(writer, field->name, text, strlen(text));
    else
        json_bytes(writer, field->name, text, strlen(text));
}

static void encode_field(struct json_writer *writer, const struct json_field *field,
                         const void *source)
{
    switch (field->kind) {
    case JSON_INT:
        json_int(writer, field->name, *(const int32_t *)source);
        break;
    case JSON_DOUBLE:
        json_double(writer, field->name, *(const double *)source);
        break;
    case JSON_BOOL:
        json_bool(writer, field->name, *(const bool *)source);
        break;
    case JSON_ENUM:
        encode_text(writer, field, word_of(field, *(const int *)source));
        break;
    case JSON_TEXT:
    case JSON_OBJECT:
        encode_text(writer, field, *(const char *const *)source);
        break;
    case JSON_TIME:
        if (*(const int64_t *)source != JSON_TIME_ABSENT)
            json_time(writer, field->name, *(const int64_t *)source);
        break;
    case JSON_ID:
        encode_id(writer, field->name, source);
        break;
    }
}

void json_encode(const struct json_field *table, const void *in, struct buffer *out)
{
    struct json_writer writer = {.out = out};

    json_open(&writer, NULL, '{');
    for (const struct json_field *field = table; field->name; field++)
        encode_field(&writer, field, (const char *)in + field->offset);
    json_close(&writer, '}');
}
