/* What a server says of itself, and the names in a bucket that others write to: nothing is read
 * or written outside, and what is found is inside what was given. */
#include "broker/nats_bucket.h"
#include "broker/nats_greeting.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void address(const char *text)
{
    char host[NATS_HOST_SIZE], port[8];

    if (nats_address_parse(text, host, port) &&
        (!*host || !*port || strlen(host) >= sizeof(host) || strlen(port) > 5))
        abort();
}

static void greeting(const char *text, size_t size)
{
    struct document *found = NULL;
    struct nats_version version;
    struct error err;

    if (!nats_greeting_parse(text, size, &found, &err))
        return;
    if (nats_version_parse(document_text(found, "version"), &version) && version.major < 0)
        abort();
    document_free(found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    address(text);
    greeting(text, size);
    const char *key = nats_bucket_key("b", text);
    if (key && (key < text || key > text + size || !*key))
        abort();
    free(text);
    return 0;
}
