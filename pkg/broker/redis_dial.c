#include "broker/redis_dial.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A peer that is gone without a word is found in 5 + 3 * 3 s, and with data under way in 12 s. */
#define KEEPALIVE_IDLE_S 5
#define KEEPALIVE_INTERVAL_S 3
#define KEEPALIVE_PROBES 3
#define USER_TIMEOUT_MS 12000

void redis_dial_free(struct redis_dial *dial)
{
    if (dial->all)
        freeaddrinfo(dial->all);
    *dial = (struct redis_dial){NULL, NULL};
}

/* ---- names ---- */

/* A name server that is away may take half a minute to say so, and the call cannot be ended: a
 * thread makes it, and may outlive our patience. The last of the two frees this. */
struct lookup {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    char *host, *port;
    struct addrinfo *found; /* guarded by lock, with everything below it */
    int failure;
    bool done, given_up;
};

static struct lookup *lookup_new(const char *host, const char *port)
{
    struct lookup *lookup = memory_alloc(sizeof(*lookup));
    pthread_condattr_t attributes;

    lookup->host = memory_text(host);
    lookup->port = memory_text(port);
    pthread_mutex_init(&lookup->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&lookup->answered, &attributes);
    pthread_condattr_destroy(&attributes);
    return lookup;
}

static void lookup_free(struct lookup *lookup)
{
    if (lookup->found)
        freeaddrinfo(lookup->found);
    pthread_cond_destroy(&lookup->answered);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup->host);
    free(lookup->port);
    free(lookup);
}

static void *look_up(void *context)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct lookup *lookup = context;
    struct addrinfo *found = NULL;
    int failure = getaddrinfo(lookup->host, lookup->port, &hints, &found);

    pthread_mutex_lock(&lookup->lock);
    lookup->found = failure ? NULL : found;
    lookup->failure = failure;
    lookup->done = true;
    bool given_up = lookup->given_up;
    pthread_cond_signal(&lookup->answered);
    pthread_mutex_unlock(&lookup->lock);
    if (given_up)
        lookup_free(lookup);
    return NULL;
}

static int await(struct lookup *lookup, int64_t until_ms, struct addrinfo **out)
{
    pthread_mutex_lock(&lookup->lock);
    while (!lookup->done && clock_wait(&lookup->answered, &lookup->lock, until_ms))
        continue;
    bool done = lookup->done;
    int failure = done ? lookup->failure : EAI_AGAIN;
    *out = lookup->found;
    lookup->found = NULL;
    lookup->given_up = !done;
    pthread_mutex_unlock(&lookup->lock);
    if (done)
        lookup_free(lookup);
    return failure;
}

static int look_up_until(const char *host, const char *port, int64_t until_ms,
                         struct addrinfo **out)
{
    struct lookup *lookup = lookup_new(host, port);
    pthread_t thread;

    if (pthread_create(&thread, NULL, look_up, lookup) != 0) {
        lookup_free(lookup);
        return EAI_MEMORY;
    }
    pthread_detach(thread);
    return await(lookup, until_ms, out);
}

static bool resolve(struct redis_dial *dial, const char *host, const char *port, int64_t until_ms,
                    struct error *err)
{
    struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                               .ai_socktype = SOCK_STREAM};

    redis_dial_free(dial);
    int failure = getaddrinfo(host, port, &numeric, &dial->all);
    if (failure)
        failure = look_up_until(host, port, until_ms, &dial->all);
    if (failure || !dial->all)
        return error_set(err, ERROR_UNAVAILABLE, "look up '%s': %s", host, gai_strerror(failure));
    dial->next = dial->all;
    return true;
}

/* ---- sockets ---- */

static void set_option(int socket, int level, int option, int value)
{
    (void)setsockopt(socket, level, option, &value, sizeof(value)); /* it works without, too */
}

static int start(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

bool redis_dial_next(struct redis_dial *dial, const char *host, const char *port, int64_t until_ms,
                     int *out_socket, struct error *err)
{
    int why = 0;

    if (!dial->next && !resolve(dial, host, port, until_ms, err))
        return false;
    while (dial->next) {
        *out_socket = start(dial->next);
        why = errno;
        dial->next = dial->next->ai_next;
        if (*out_socket >= 0)
            return true;
    }
    return error_set(err, ERROR_UNAVAILABLE, "connect: %s", strerror(why));
}

int redis_dial_outcome(int socket)
{
    int outcome = 0;
    socklen_t size = sizeof(outcome);

    return getsockopt(socket, SOL_SOCKET, SO_ERROR, &outcome, &size) == 0 ? outcome : errno;
}
