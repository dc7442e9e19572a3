/*
 * config: a service's settings, read once from the environment into a plain struct.
 *
 * The table is the documentation: `SERVICE --help` prints it. Defaults go through the same parser.
 * The kind of a setting is the type of the member, so the two cannot disagree. Every mistake is
 * reported, not only the first.
 *
 * A secret may come from a file instead: NAME_FILE names it (its trailing newline is cut); its
 * value is never printed. Both NAME and NAME_FILE set is a mistake.
 *
 * Ownership  Text points into the environment, at the default, or (from a file) at memory that
 * lives as long as the process.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include "base/error.h"

#include <stdint.h>
#include <stdio.h>

enum config_kind { CONFIG_TEXT, CONFIG_INT, CONFIG_LONG, CONFIG_DOUBLE, CONFIG_BOOL };

struct config_field {
    const char *name;     /* environment variable; NULL ends a table */
    const char *fallback; /* used when it is unset or empty; NULL makes it required */
    const char *help;     /* one line, with the unit */
    enum config_kind kind;
    bool secret;
    size_t offset;
    double min, max;          /* numbers: 0, 0 means any */
    const char *const *words; /* CONFIG_TEXT: when set, the only values, in any case; NULL ends.
                                 The member becomes the word itself, not what was typed. */
};

#define CONFIG_KIND(value)                                                                         \
    _Generic((value),                                                                              \
        const char *: CONFIG_TEXT,                                                                 \
        int: CONFIG_INT,                                                                           \
        int64_t: CONFIG_LONG,                                                                      \
        double: CONFIG_DOUBLE,                                                                     \
        bool: CONFIG_BOOL)

#define CONFIG_FIELD(type, member, env, value, text, ...)                                          \
    {                                                                                              \
        .name = env, .fallback = value, .help = text, .offset = offsetof(type, member),            \
        .kind = CONFIG_KIND(((type *)0)->member), __VA_ARGS__                                      \
    }

/* Each mistake is a line on `mistakes`; err says how many there are and the first. */
bool config_load(const struct config_field *table, void *out, FILE *mistakes,
                 struct error *err) MUST_CHECK;

void config_print(const struct config_field *table, FILE *file);

#endif
