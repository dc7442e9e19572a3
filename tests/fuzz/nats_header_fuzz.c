/* Foreign texts of a NATS server: nothing is read or written outside, and what is found is text. */
#include "broker/nats_wire.h"

#include <stdlib.h>
#include <string.h>

#define HEADERS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void headers(char *bytes, size_t size)
{
    struct broker_header found[HEADERS];
    int count = nats_headers_parse(bytes, size, found, HEADERS);

    for (int i = 0; i < count && i < HEADERS; i++)
        if (!*found[i].name || found[i].value + strlen(found[i].value) >= bytes + size)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char subject[32];
    char *bytes = malloc(size + 1);
    struct nats_ack ack;

    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    bytes[size] = '\0';
    if (nats_denied_subject(bytes, subject, sizeof(subject)) && !memchr(subject, '\0', 32))
        abort();
    if (nats_ack_parse(bytes, &ack) && ack.stored_ms < 0)
        abort();
    if (nats_base64_decode(bytes, size) > (long)size)
        abort();
    memcpy(bytes, data, size);
    headers(bytes, size);
    free(bytes);
    return 0;
}
