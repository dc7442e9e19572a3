#include "prefer.h"

#include <string.h>
#include <strings.h>

#define SPACE " \t"

/* One preference: a name, perhaps a value, perhaps parameters that nothing here has. */
struct preference {
    const char *name, *value; /* not NUL-terminated */
    size_t name_size, value_size;
};

static struct preference split(const char *text)
{
    struct preference out = {.name = text + strspn(text, SPACE)};

    out.name_size = strcspn(out.name, SPACE "=;,");
    out.value = out.name + out.name_size;
    out.value += strspn(out.value, SPACE);
    if (*out.value != '=')
        return out;
    out.value++;
    out.value += strspn(out.value, SPACE "\"");
    out.value_size = strcspn(out.value, SPACE "\";,");
    return out;
}

static bool is_named(const struct preference *preference, const char *name)
{
    return preference->name_size == strlen(name) &&
           strncasecmp(preference->name, name, preference->name_size) == 0;
}

static int seconds_of(const struct preference *preference)
{
    int seconds = 0;

    if (!preference->value_size)
        return PREFER_WAIT_ABSENT;
    for (size_t i = 0; i < preference->value_size; i++) {
        char digit = preference->value[i];
        if (digit < '0' || digit > '9')
            return PREFER_WAIT_ABSENT;
        seconds = seconds * 10 + (digit - '0');
        if (seconds > PREFER_WAIT_MAX_S)
            seconds = PREFER_WAIT_MAX_S;
    }
    return seconds;
}

struct prefer prefer_read(const char *header)
{
    struct prefer out = {.wait_s = PREFER_WAIT_ABSENT};

    while (header && *header) {
        struct preference preference = split(header);

        if (is_named(&preference, "respond-async"))
            out.respond_async = true;
        if (is_named(&preference, "wait") && out.wait_s == PREFER_WAIT_ABSENT)
            out.wait_s = seconds_of(&preference);
        header += strcspn(header, ",");
        header += *header == ',';
    }
    return out;
}
