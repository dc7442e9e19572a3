#include "base/id.h"

#include "base/hex.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define COUNTER_MAX 0xfff
#define COUNTER_START 0x7ff /* a new millisecond starts in the lower half: room to count up */

struct generator {
    int64_t asked_ms, used_ms; /* used runs ahead when a millisecond's counter is used up */
    unsigned counter;
    size_t random_left;
    uint8_t random[256]; /* what getrandom fills without being interrupted */
};

static void take_random(struct generator *generator, void *out, size_t size)
{
    if (generator->random_left < size) {
        ssize_t got = 0;
        do
            got = getrandom(generator->random, sizeof(generator->random), 0);
        while (got < 0 && errno == EINTR);
        if (got != (ssize_t)sizeof(generator->random))
            abort(); /* only an unusable machine comes here; ids must never repeat */
        generator->random_left = sizeof(generator->random);
    }
    generator->random_left -= size;
    memcpy(out, generator->random + generator->random_left, size);
}

static void next_moment(struct generator *generator, int64_t now_ms)
{
    if (now_ms < generator->asked_ms || now_ms > generator->used_ms) {
        uint16_t start = 0;
        take_random(generator, &start, sizeof(start));
        generator->counter = start & COUNTER_START;
        generator->asked_ms = generator->used_ms = now_ms;
    } else if (generator->counter == COUNTER_MAX) {
        generator->counter = 0;
        generator->used_ms++;
    } else {
        generator->counter++;
    }
}

static void mark(struct id *id, unsigned version)
{
    id->bytes[6] = (uint8_t)((id->bytes[6] & 0x0f) | version << 4);
    id->bytes[8] = (uint8_t)((id->bytes[8] & 0x3f) | 0x80); /* the variant of RFC 9562 */
}

static struct generator *thread_generator(void)
{
    static _Thread_local struct generator generator = {.asked_ms = -1, .used_ms = -1};

    return &generator;
}

struct id id_new(int64_t now_ms)
{
    struct generator *generator = thread_generator();
    struct id id;

    next_moment(generator, now_ms < 0 ? 0 : now_ms);
    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)((uint64_t)generator->used_ms >> (40 - 8 * i));
    id.bytes[6] = (uint8_t)(generator->counter >> 8);
    id.bytes[7] = (uint8_t)generator->counter;
    take_random(generator, id.bytes + 8, 8);
    mark(&id, 7);
    return id;
}

static void auto_EVP_MD_CTX_free(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}

struct id id_derive(const char *scope, const void *key, size_t size)
{
    AUTO(EVP_MD_CTX_free) EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t digest[EVP_MAX_MD_SIZE];
    struct id id;

    /* The NUL of the scope is hashed too: it ends the scope, so "ab"+"c" is not "a"+"bc". */
    if (!context || !EVP_DigestInit_ex(context, EVP_sha256(), NULL) ||
        !EVP_DigestUpdate(context, scope, strlen(scope) + 1) ||
        !EVP_DigestUpdate(context, key, size) || !EVP_DigestFinal_ex(context, digest, NULL))
        abort(); /* out of memory */
    memcpy(id.bytes, digest, sizeof(id.bytes));
    mark(&id, 8);
    return id;
}

static bool is_dash(size_t position)
{
    return position == 8 || position == 13 || position == 18 || position == 23;
}

bool id_parse(const char *text, size_t size, struct id *out)
{
    size_t byte = 0;

    if (size != ID_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < size;) {
        if (is_dash(i)) {
            if (text[i++] != '-')
                return false;
            continue;
        }
        int high = hex_value(text[i]);
        int low = hex_value(text[i + 1]);
        if (high < 0 || low < 0)
            return false;
        out->bytes[byte++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    return true;
}

void id_format(const struct id *id, char out[ID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    char *at = out;

    for (size_t i = 0; i < sizeof(id->bytes); i++) {
        if (is_dash((size_t)(at - out)))
            *at++ = '-';
        *at++ = digits[id->bytes[i] >> 4];
        *at++ = digits[id->bytes[i] & 0x0f];
    }
    *at = '\0';
}

uint32_t id_random(void)
{
    uint32_t bits;

    take_random(thread_generator(), &bits, sizeof(bits));
    return bits;
}

bool id_is_zero(const struct id *id)
{
    static const struct id zero;

    return memcmp(id, &zero, sizeof(zero)) == 0;
}
