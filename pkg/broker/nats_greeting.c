#include "broker/nats_greeting.h"

#include "base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING "INFO "
#define LINE_MAX_BYTES 65536
#define DEFAULT_PORT "4222"

static bool read_part(const char **at, int *out)
{
    char *end;
    long number = strtol(*at, &end, 10);

    if (**at < '0' || **at > '9' || number > 1000000)
        return false;
    *out = (int)number;
    *at = end;
    return true;
}

static bool skip_dot(const char **at)
{
    return *(*at)++ == '.';
}

bool nats_version_parse(const char *text, struct nats_version *out)
{
    return text && read_part(&text, &out->major) && skip_dot(&text) &&
           read_part(&text, &out->minor) && skip_dot(&text) && read_part(&text, &out->patch);
}

bool nats_version_before(const struct nats_version *version, int major, int minor, int patch)
{
    if (version->major != major)
        return version->major < major;
    if (version->minor != minor)
        return version->minor < minor;
    return version->patch < patch;
}

/* The host's end in "host:port" or "[host]:port"; *host skips the bracket. */
static const char *end_of_host(const char **host)
{
    if (**host != '[')
        return *host + strcspn(*host, ":/");
    (*host)++;
    return strchr(*host, ']');
}

bool nats_address_parse(const char *url, char host[NATS_HOST_SIZE], char port[8])
{
    const char *scheme = strstr(url, "://"), *start = scheme ? scheme + 3 : url;
    const char *at = strrchr(start, '@');

    start = at ? at + 1 : start;
    const char *end = end_of_host(&start);
    if (!end || end == start || end - start >= NATS_HOST_SIZE)
        return false;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';

    const char *rest = end + (*end == ']');
    const char *digits = *rest == ':' ? rest + 1 : DEFAULT_PORT;
    size_t size = strspn(digits, "0123456789");
    if (size == 0 || size > 5)
        return false;
    memcpy(port, digits, size);
    port[size] = '\0';
    return true;
}

bool nats_greeting_parse(const char *line, size_t size, struct document **out, struct error *err)
{
    size_t prefix = strlen(GREETING);

    if (size < prefix || memcmp(line, GREETING, prefix) != 0)
        return error_set(err, ERROR_INVALID, "it does not greet as a NATS server does");
    return document_parse(out, line + prefix, size - prefix, err);
}

/* ---- reading it ---- */

static int left_ms(int64_t until_ms)
{
    int64_t left = until_ms - clock_steady_ms(clock_system());

    return left > 0 ? (int)left : 0;
}

static bool wait_for(int fd, short events, int64_t until_ms)
{
    struct pollfd poller = {.fd = fd, .events = events};

    return poll(&poller, 1, left_ms(until_ms)) == 1;
}

static bool connect_to(int fd, const struct addrinfo *address, int64_t until_ms)
{
    int failure = 0;
    socklen_t size = sizeof(failure);

    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return true;
    return errno == EINPROGRESS && wait_for(fd, POLLOUT, until_ms) &&
           getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) == 0 && failure == 0;
}

static int dial(const struct addrinfo *addresses, int64_t until_ms)
{
    for (const struct addrinfo *at = addresses; at; at = at->ai_next) {
        int fd = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect_to(fd, at, until_ms))
            return fd;
        if (fd >= 0)
            close(fd);
    }
    return -1;
}

static bool read_line(int fd, int64_t until_ms, struct buffer *out)
{
    char chunk[4096];

    while (out->size < LINE_MAX_BYTES && wait_for(fd, POLLIN, until_ms)) {
        ssize_t got = recv(fd, chunk, sizeof(chunk), 0);
        if (got <= 0)
            return false;
        buffer_append(out, chunk, (size_t)got);
        char *end = memchr(out->data, '\r', out->size);
        if (!end)
            continue;
        out->size = (size_t)(end - out->data);
        *end = '\0';
        return true;
    }
    return false;
}

bool nats_greeting_read(const char *url, int64_t until_ms, struct document **out, struct error *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    AUTO(buffer_free) struct buffer line = {0};
    struct addrinfo *addresses = NULL;
    char host[NATS_HOST_SIZE], port[8];

    if (!nats_address_parse(url, host, port))
        return error_set(err, ERROR_INVALID, "not an address");
    if (getaddrinfo(host, port, &hints, &addresses) != 0)
        return error_set(err, ERROR_UNAVAILABLE, "'%s' has no address", host);
    int fd = dial(addresses, until_ms);
    freeaddrinfo(addresses);
    bool read = fd >= 0 && read_line(fd, until_ms, &line);
    if (fd >= 0)
        close(fd);
    return read ? nats_greeting_parse(line.data, line.size, out, err)
                : error_set(err, ERROR_UNAVAILABLE, "no greeting from %s:%s", host, port);
}
