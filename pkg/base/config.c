#include "base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME_SIZE 128
#define SECRET_BYTES_MAX 65536

static bool is_bounded(const struct config_field *field)
{
    return field->min != 0 || field->max != 0;
}

/* "PORT='x': want …"; of a secret, only the name. */
static bool refuse(const struct config_field *field, const char *value, const char *want,
                   struct error *err)
{
    if (field->secret)
        return error_set(err, ERROR_INVALID, "%s: want %s", field->name, want);
    return error_set(err, ERROR_INVALID, "%s='%s': want %s", field->name, value, want);
}

static bool refuse_number(const struct config_field *field, const char *value, struct error *err)
{
    const char *kind = field->kind == CONFIG_DOUBLE ? "a number" : "a whole number";
    char want[96];

    if (is_bounded(field))
        snprintf(want, sizeof(want), "%s from %.15g to %.15g", kind, field->min, field->max);
    else
        snprintf(want, sizeof(want), "%s that fits", kind);
    return refuse(field, value, want, err);
}

static bool is_within(const struct config_field *field, double number)
{
    return !is_bounded(field) || (number >= field->min && number <= field->max);
}

static bool parse_whole(const struct config_field *field, const char *value, int64_t *out,
                        struct error *err)
{
    char *end;

    errno = 0;
    long long number = strtoll(value, &end, 10);
    /* strtoll skips white space and takes a plus sign: neither is a number here. */
    bool is_number = *value && !value[strspn(value, "-0123456789")] && end != value && !*end;
    if (!is_number || errno || !is_within(field, (double)number))
        return refuse_number(field, value, err);
    *out = number;
    return true;
}

static bool parse_int(const struct config_field *field, const char *value, int *out,
                      struct error *err)
{
    int64_t number = 0;

    if (!parse_whole(field, value, &number, err))
        return false;
    if (number < INT_MIN || number > INT_MAX)
        return refuse_number(field, value, err);
    *out = (int)number;
    return true;
}

static bool parse_double(const struct config_field *field, const char *value, double *out,
                         struct error *err)
{
    char *end;
    double number = strtod(value, &end);
    /* strtod also takes white space, hexadecimal, "inf" and "nan". */
    bool is_number = !value[strspn(value, "-+.0123456789eE")] && end != value && !*end;

    if (!is_number || !isfinite(number) || !is_within(field, number))
        return refuse_number(field, value, err);
    *out = number;
    return true;
}

static bool parse_bool(const struct config_field *field, const char *value, bool *out,
                       struct error *err)
{
    bool yes = strcmp(value, "true") == 0;

    if (!yes && strcmp(value, "false") != 0)
        return refuse(field, value, "true or false", err);
    *out = yes;
    return true;
}

static void join_words(const struct config_field *field, char *out, size_t room)
{
    size_t used = 0;

    *out = '\0';
    for (const char *const *word = field->words; *word && used < room; word++)
        used += (size_t)snprintf(out + used, room - used, "%s%s", used ? ", " : "", *word);
}

static bool parse_text(const struct config_field *field, const char *value, const char **out,
                       struct error *err)
{
    char listed[200], want[220];

    if (!field->words) {
        *out = value;
        return true;
    }
    for (const char *const *word = field->words; *word; word++)
        if (strcasecmp(*word, value) == 0) {
            *out = *word;
            return true;
        }
    join_words(field, listed, sizeof(listed));
    snprintf(want, sizeof(want), "one of %s", listed);
    return refuse(field, value, want, err);
}

static bool parse(const struct config_field *field, const char *value, void *target,
                  struct error *err)
{
    switch (field->kind) {
    case CONFIG_TEXT:
        return parse_text(field, value, target, err);
    case CONFIG_INT:
        return parse_int(field, value, target, err);
    case CONFIG_LONG:
        return parse_whole(field, value, target, err);
    case CONFIG_DOUBLE:
        return parse_double(field, value, target, err);
    case CONFIG_BOOL:
        return parse_bool(field, value, target, err);
    }
    return error_set(err, ERROR_INTERNAL, "%s: unknown kind %d", field->name, (int)field->kind);
}

/* Empty is unset: that is what `NAME=` in a compose file or a unit file means. */
static const char *environment(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

/* The size of what path holds, read into out; -1 with errno when it cannot be read. */
static ssize_t read_file(const char *path, char *out, size_t room)
{
    size_t size = 0;
    ssize_t got = -1;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (file < 0)
        return -1;
    while (size < room && (got = read(file, out + size, room - size)) > 0)
        size += (size_t)got;
    int reason = errno;
    close(file);
    errno = reason;
    return got < 0 ? -1 : (ssize_t)size;
}

static bool check_secret(const char *name, char *text, ssize_t size, struct error *err)
{
    if (size < 0)
        return error_set(err, ERROR_INVALID, "%s: cannot read the file: %s", name, strerror(errno));
    if (size > SECRET_BYTES_MAX)
        return error_set(err, ERROR_INVALID, "%s: the file is over %d bytes", name,
                         SECRET_BYTES_MAX);
    if (memchr(text, '\0', (size_t)size))
        return error_set(err, ERROR_INVALID, "%s: the file has a NUL in it", name);
    if (size > 0 && text[size - 1] == '\n')
        text[--size] = '\0';
    if (size > 0 && text[size - 1] == '\r')
        text[--size] = '\0';
    if (size == 0)
        return error_set(err, ERROR_INVALID, "%s: the file is empty", name);
    return true;
}

/* Its memory is for as long as the process lives, and is left out of a core dump. */
static bool read_secret(const char *name, const char *path, const char **out, struct error *err)
{
    size_t room = SECRET_BYTES_MAX + 2; /* one byte more than allowed shows that there is more */
    char *text = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (text == MAP_FAILED)
        return error_set(err, ERROR_INTERNAL, "%s: %s", name, strerror(errno));
    (void)madvise(text, room, MADV_DONTDUMP); /* a kernel without it still works */
    if (!check_secret(name, text, read_file(path, text, room - 1), err)) {
        munmap(text, room);
        return false;
    }
    *out = text;
    return true;
}

static bool find_secret(const struct config_field *field, const char **value, struct error *err)
{
    char name[NAME_SIZE];

    snprintf(name, sizeof(name), "%s_FILE", field->name);
    const char *path = environment(name);
    if (!path)
        return true;
    if (*value)
        return error_set(err, ERROR_INVALID, "%s and %s are both set: want one", field->name, name);
    return read_secret(name, path, value, err);
}

static bool load_field(const struct config_field *field, char *base, struct error *err)
{
    const char *value = environment(field->name);

    if (field->secret && !find_secret(field, &value, err))
        return false;
    if (!value)
        value = field->fallback;
    if (!value)
        return error_set(err, ERROR_INVALID, "%s is required: %s", field->name, field->help);
    return parse(field, value, base + field->offset, err);
}

/* A mistake is one line, whatever bytes the value has. */
static void print_mistake(FILE *file, const char *message)
{
    for (const char *at = message; *at; at++)
        fputc((unsigned char)*at < ' ' ? '?' : *at, file);
    fputc('\n', file);
}

bool config_load(const struct config_field *table, void *out, FILE *mistakes, struct error *err)
{
    struct error first = {0}, mistake;
    int count = 0;

    for (const struct config_field *field = table; field->name; field++) {
        if (load_field(field, out, &mistake))
            continue;
        if (count++ == 0)
            first = mistake;
        print_mistake(mistakes, mistake.message);
    }
    if (count == 0)
        return true;
    *err = first;
    return count == 1 ? false : error_wrap(err, "%d settings are wrong, the first", count);
}

static const char *shown_default(const struct config_field *field)
{
    if (!field->fallback)
        return "required";
    if (!*field->fallback)
        return "-";
    return field->secret ? "(hidden)" : field->fallback;
}

static int column_width(const struct config_field *table, bool of_defaults)
{
    size_t width = 0;

    for (const struct config_field *field = table; field->name; field++) {
        size_t size = strlen(of_defaults ? shown_default(field) : field->name);
        width = size > width ? size : width;
    }
    return (int)width;
}

void config_print(const struct config_field *table, FILE *file)
{
    int names = column_width(table, false), defaults = column_width(table, true);

    for (const struct config_field *field = table; field->name; field++) {
        fprintf(file, "  %-*s  %-*s  %s", names, field->name, defaults, shown_default(field),
                field->help);
        if (field->kind != CONFIG_TEXT && is_bounded(field))
            fprintf(file, " (%.15g..%.15g)", field->min, field->max);
        if (field->words) {
            char listed[200];
            join_words(field, listed, sizeof(listed));
            fprintf(file, " (%s)", listed);
        }
        if (field->kind == CONFIG_BOOL)
            fprintf(file, " (true, false)");
        if (field->secret)
            fprintf(file, " (or %s_FILE)", field->name);
        fputc('\n', file);
    }
}
