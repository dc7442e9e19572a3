/* What is taken can be written, and reads back as the same moment. */
#include "base/rfc3339.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[RFC3339_SIZE];
    int64_t time_ms = 0;
    int64_t again_ms = 0;

    if (!rfc3339_parse((const char *)data, size, &time_ms))
        return 0;
    rfc3339_format(time_ms, text);
    if (!rfc3339_parse(text, RFC3339_SIZE - 1, &again_ms) || again_ms != time_ms)
        abort();
    return 0;
}
