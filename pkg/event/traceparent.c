#include "event/traceparent.h"

#include <string.h>

/* 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 */
static const struct part {
    size_t start, size;
    bool may_be_zero;
} parts[] = {
    {0, 2, true},    /* version */
    {3, 32, false},  /* trace */
    {36, 16, false}, /* parent */
    {53, 2, true},   /* flags */
};

static bool part_is_valid(const char *text, const struct part *part)
{
    bool zero = true;

    for (size_t i = part->start; i < part->start + part->size; i++) {
        if (!text[i] || !strchr("0123456789abcdef", text[i])) /* upper case is not allowed */
            return false;
        zero = zero && text[i] == '0';
    }
    return part->may_be_zero || !zero;
}

bool traceparent_is_valid(const char *text, size_t size)
{
    if (size < TRACEPARENT_SIZE - 1)
        return false;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (!part_is_valid(text, &parts[i]) || (i > 0 && text[parts[i].start - 1] != '-'))
            return false;
    }
    if (strncmp(text, "ff", 2) == 0)
        return false;
    if (strncmp(text, "00", 2) == 0)
        return size == TRACEPARENT_SIZE - 1;
    return size == TRACEPARENT_SIZE - 1 || text[TRACEPARENT_SIZE - 1] == '-';
}
