/* The few macros every file may use. */
#ifndef BASE_MACROS_H
#define BASE_MACROS_H

#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/*
 * Scope-bound release:
 *
 *     AUTO(bus_close) struct bus *bus = NULL;      closed when the scope ends
 *
 * A header that declares such a function follows it with AUTO_DEFINE. The function accepts NULL.
 */
#define AUTO(release) __attribute__((cleanup(auto_##release)))
/* NOLINTBEGIN(bugprone-macro-parentheses): a type takes none */
#define AUTO_DEFINE(type, release)                                                                 \
    static inline void auto_##release(type *handle)                                                \
    {                                                                                              \
        release(*handle);                                                                          \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
