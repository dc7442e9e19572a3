#include "parameters.h"

#include "base/rfc3339.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* 0001-01-01 and 10000-01-01: what RFC 3339 can say, and the store can hold. */
#define SECONDS_MIN (-62135596800.0)
#define SECONDS_END 253402300800.0

typedef bool reader(const struct parameter *parameter, const char *text, struct store_value *value,
                    struct error *err);

static bool refuse(const struct parameter *parameter, const char *reason, const char *wanted,
                   struct error *err)
{
    char pointer[sizeof(err->pointer)];

    (void)snprintf(pointer, sizeof(pointer), "/%s/%s", parameter->in_path ? "path" : "query",
                   parameter->name);
    return error_input(err, reason, pointer, "%s must be %s", parameter->name, wanted);
}

static bool refuse_range(const struct parameter *parameter, const char *unit, struct error *err)
{
    char wanted[64];

    (void)snprintf(wanted, sizeof(wanted), "from %.0f to %.0f%s", parameter->min, parameter->max,
                   unit);
    return refuse(parameter, JSON_RANGE, wanted, err);
}

static bool read_text(const struct parameter *parameter, const char *text,
                      struct store_value *value, struct error *err)
{
    size_t size = strlen(text);

    if ((double)size < parameter->min || (double)size > parameter->max)
        return refuse_range(parameter, " bytes long", err);
    if (!utf8_is_valid(text, size))
        return refuse(parameter, JSON_ENCODING, "text in UTF-8", err);
    *value = (struct store_value){.type = STORE_TEXT, .text = text};
    return true;
}

static bool read_word(const struct parameter *parameter, const char *text,
                      struct store_value *value, struct error *err)
{
    char wanted[128] = "one of:";
    size_t used = strlen(wanted);

    for (const char *const *word = parameter->words; *word != NULL; word++) {
        if (strcasecmp(*word, text) == 0) {
            *value = (struct store_value){.type = STORE_TEXT, .text = *word};
            return true;
        }
        if (used < sizeof(wanted))
            used += (size_t)snprintf(wanted + used, sizeof(wanted) - used, " %s", *word);
    }
    return refuse(parameter, JSON_RANGE, wanted, err);
}

static bool read_int(const struct parameter *parameter, const char *text, struct store_value *value,
                     struct error *err)
{
    if (strspn(text, "-0123456789") != strlen(text))
        return refuse(parameter, JSON_TYPE, "a whole number", err);

    /* A number too great becomes the greatest there is, which no row allows. */
    char *end;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end != '\0')
        return refuse(parameter, JSON_TYPE, "a whole number", err);
    if ((double)number < parameter->min || (double)number > parameter->max)
        return refuse_range(parameter, "", err);
    *value = (struct store_value){.type = STORE_INT, .integer = number};
    return true;
}

static bool read_time(const struct parameter *parameter, const char *text,
                      struct store_value *value, struct error *err)
{
    *value = (struct store_value){.type = STORE_TIME};
    if (!rfc3339_parse(text, strlen(text), &value->integer))
        return refuse(parameter, JSON_FORMAT,
                      "an RFC 3339 time like 2026-11-21T08:30:00Z (a '+' is written %2B)", err);
    return true;
}

static bool read_id(const struct parameter *parameter, const char *text, struct store_value *value,
                    struct error *err)
{
    *value = (struct store_value){.type = STORE_ID};
    if (!id_parse(text, strlen(text), &value->id))
        return refuse(parameter, JSON_FORMAT, "a UUID", err);
    return true;
}

static bool read_seconds(const struct parameter *parameter, const char *text,
                         struct store_value *value, struct error *err)
{
    /* What strtod also takes, hexadecimal and infinity, no clock says. */
    char *end = NULL;
    double seconds = strspn(text, "+-.0123456789eE") == strlen(text) ? strtod(text, &end) : NAN;

    if (end == NULL || end == text || *end != '\0')
        return refuse(parameter, JSON_TYPE, "a number of seconds", err);
    if (seconds < SECONDS_MIN || seconds >= SECONDS_END)
        return refuse(parameter, JSON_RANGE, "a time in the years 1 to 9999", err);
    *value = (struct store_value){.type = STORE_TIME, .integer = (int64_t)llround(seconds * 1000)};
    return true;
}

static reader *const readers[] = {
    [PARAMETER_TEXT] = read_text, [PARAMETER_WORD] = read_word,       [PARAMETER_INT] = read_int,
    [PARAMETER_TIME] = read_time, [PARAMETER_SECONDS] = read_seconds, [PARAMETER_ID] = read_id,
};

bool parameters_read(const struct parameter *table, parameter_find *find, const void *request,
                     struct store_value *slots, struct error *err)
{
    for (const struct parameter *row = table; row->name != NULL; row++) {
        const char *text = find(request, row);
        struct store_value value;

        if (text == NULL || *text == '\0')
            text = row->fallback;
        if (text == NULL)
            continue;
        if (!readers[row->kind](row, text, &value, err))
            return false;
        value.present = true;
        if (!slots[row->slot].present)
            slots[row->slot] = value;
    }
    return true;
}
