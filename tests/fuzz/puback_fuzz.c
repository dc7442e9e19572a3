/* An answer that is taken says something, and its texts end. */
#include "broker/nats_puback.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nats_puback answer;

    if (!nats_puback_parse((const char *)data, size, &answer))
        return 0;
    if (!answer.sequence && !answer.status && !answer.number)
        abort();
    if (!memchr(answer.description, '\0', sizeof(answer.description)))
        abort();
    return 0;
}
