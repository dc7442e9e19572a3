#include "broker/redis_address.h"

#include "base/hex.h"
#include "base/memory.h"
#include "broker/redis_link.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT "6379"
#define PORT_MAX 65535
#define DATABASE_MAX 65535

struct span {
    const char *at;
    size_t size;
};

static char *text_of(struct span span)
{
    char *text = memory_alloc(span.size + 1);

    memcpy(text, span.at, span.size);
    return text;
}

/* NULL: a "%" that is none, or one that means NUL. */
static char *decode(struct span span)
{
    char *text = memory_alloc(span.size + 1);
    size_t made = 0;

    for (size_t i = 0; i < span.size; i++) {
        int value = (unsigned char)span.at[i];
        if (span.at[i] == '%') {
            int high = i + 2 < span.size ? hex_value(span.at[i + 1]) : -1;
            int low = i + 2 < span.size ? hex_value(span.at[i + 2]) : -1;
            value = high < 0 || low < 0 ? 0 : high << 4 | low;
            i += 2;
        }
        if (value == 0) {
            free(text);
            return NULL;
        }
        text[made++] = (char)value;
    }
    return text;
}

static bool is_number(struct span span, long most)
{
    long value = 0;

    for (size_t i = 0; i < span.size && value <= most; i++) {
        if (span.at[i] < '0' || span.at[i] > '9')
            return false;
        value = value * 10 + (span.at[i] - '0');
    }
    return span.size > 0 && value <= most;
}

/* The part in front of the last c moves from `rest` to *out; false when there is no c. */
static bool cut_before(struct span *rest, char c, struct span *out)
{
    const char *found = memrchr(rest->at, c, rest->size);

    if (!found)
        return false;
    *out = (struct span){rest->at, (size_t)(found - rest->at)};
    rest->size -= out->size + 1;
    rest->at = found + 1;
    return true;
}

/* "[user]:password" */
static bool read_login(struct redis_address *address, struct span login, struct error *err)
{
    const char *colon = memchr(login.at, ':', login.size);

    if (!colon)
        return error_set(err, ERROR_INVALID, "a URL with a user needs user:password@");
    struct span user = {login.at, (size_t)(colon - login.at)};
    struct span password = {colon + 1, login.size - user.size - 1};

    if (user.size > 0)
        address->user = decode(user);
    if (password.size > 0)
        address->password = decode(password);
    return ((user.size == 0 || address->user) && (password.size == 0 || address->password) &&
            (address->password || !address->user)) ||
           error_set(err, ERROR_INVALID, "user and password of the URL cannot be read");
}

/* "host", "host:port", "[::1]:port" */
static bool read_place(struct redis_address *address, struct span place, struct error *err)
{
    struct span host = place, port = {DEFAULT_PORT, strlen(DEFAULT_PORT)};
    const char *bracket = memchr(place.at, ']', place.size);
    const char *colon = memrchr(place.at, ':', place.size);

    if (colon && (!bracket || colon > bracket)) {
        port = (struct span){colon + 1, (size_t)(place.at + place.size - colon - 1)};
        host.size = (size_t)(colon - place.at);
    }
    if (bracket && *host.at == '[' && bracket == host.at + host.size - 1)
        host = (struct span){host.at + 1, host.size - 2};
    if (host.size == 0 || memchr(host.at, '\0', host.size))
        return error_set(err, ERROR_INVALID, "the URL names no host");
    if (!is_number(port, PORT_MAX))
        return error_set(err, ERROR_INVALID, "the port is not 0 to %d", PORT_MAX);
    address->host = text_of(host);
    address->port = text_of(port);
    return true;
}

static bool read_path(struct redis_address *address, const char *path, struct error *err)
{
    struct span database = {path + 1, *path ? strlen(path + 1) : 0};

    if (database.size == 0)
        return true;
    if (!is_number(database, DATABASE_MAX))
        return error_set(err, ERROR_INVALID, "behind the host the URL has only /database");
    address->database = text_of(database);
    return true;
}

static bool read_scheme(struct redis_address *address, const char **url, struct error *err)
{
    if (strncmp(*url, "redis://", 8) == 0) {
        *url += 8;
        return true;
    }
    if (strncmp(*url, "rediss://", 9) != 0)
        return error_set(err, ERROR_INVALID, "not a redis:// or rediss:// URL");
    *url += 9;
    address->tls = true;
#ifdef MILLRACE_REDIS_TLS
    return true;
#else
    return error_set(err, ERROR_INVALID, "rediss://: this build's hiredis has no TLS");
#endif
}

static bool read_url(struct redis_address *address, const char *url, struct error *err)
{
    if (!read_scheme(address, &url, err))
        return false;
    size_t size = strcspn(url, "/?#");
    struct span place = {url, size}, login;

    if (cut_before(&place, '@', &login) && !read_login(address, login, err))
        return false;
    return read_place(address, place, err) && read_path(address, url + size, err);
}

bool redis_address_parse(struct redis_address **out, const char *url, struct error *err)
{
    struct redis_address *address = memory_alloc(sizeof(*address));

    if (!read_url(address, url, err)) {
        redis_address_free(address);
        return false;
    }
    *out = address;
    return true;
}

void redis_address_free(struct redis_address *address)
{
    if (!address)
        return;
    free(address->host);
    free(address->port);
    free(address->user);
    if (address->password)
        explicit_bzero(address->password, strlen(address->password));
    free(address->password);
    free(address->database);
    free(address);
}
