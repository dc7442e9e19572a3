/*
 * A client of raw sockets, so that a test can send what no library would, in the pieces it likes.
 * Every wait is bounded.
 */
#ifndef TESTS_UNIT_HTTP_CLIENT_H
#define TESTS_UNIT_HTTP_CLIENT_H

#include "support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define CLIENT_WAIT_S 10

/* What was received and not yet looked at, and the reply that was cut off it last. */
struct client {
    int fd;
    char received[262144];
    size_t size;
    int status; /* 0: the connection ended without a reply */
    char head[8192];
    char body[262144];
    size_t body_size;
};

static inline struct client *client_open(int port)
{
    struct client *client = calloc(1, sizeof(*client));
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval wait = {.tv_sec = CLIENT_WAIT_S};
    int on = 1;

    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return client;
}

static inline void client_close(struct client *client)
{
    if (!client)
        return;
    close(client->fd);
    free(client);
}
AUTO_DEFINE(struct client *, client_close)

/* False when the server has ended the connection. */
static inline bool client_send_bytes(struct client *client, const void *bytes, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        ssize_t now = send(client->fd, (const char *)bytes + sent, size - sent, MSG_NOSIGNAL);
        if (now <= 0)
            return false;
        sent += (size_t)now;
    }
    return true;
}

static inline void client_send(struct client *client, const char *text)
{
    assert_true(client_send_bytes(client, text, strlen(text)));
}

/* Receives once more; false at the end of the connection. */
static inline bool client_more(struct client *client)
{
    size_t room = sizeof(client->received) - 1 - client->size;
    ssize_t now = recv(client->fd, client->received + client->size, room, 0);

    if (now <= 0)
        return false;
    client->size += (size_t)now;
    client->received[client->size] = '\0';
    return true;
}

static inline const char *client_header(const struct client *client, const char *name)
{
    static _Thread_local char value[1024];
    size_t size = strlen(name);

    for (const char *line = strstr(client->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, size) == 0 && line[size] == ':') {
            snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + size + 2, "\r"),
                     line + size + 2);
            return value;
        }
    }
    return NULL;
}

static inline void client_cut(struct client *client, size_t size)
{
    memmove(client->received, client->received + size, client->size - size + 1);
    client->size -= size;
}

static inline bool client_cut_chunks(struct client *client)
{
    for (;;) {
        char *line = strstr(client->received, "\r\n");
        size_t chunk = line ? strtoul(client->received, NULL, 16) : 0;
        size_t whole = line ? (size_t)(line - client->received) + 2 + chunk + 2 : 0;

        if (!line || client->size < whole) {
            if (!client_more(client))
                return false;
            continue;
        }
        memcpy(client->body + client->body_size, line + 2, chunk);
        client->body_size += chunk;
        client_cut(client, whole);
        if (!chunk)
            return true;
    }
}

static inline bool client_cut_head(struct client *client)
{
    char *end;

    while (!(end = client->size ? strstr(client->received, "\r\n\r\n") : NULL))
        if (!client_more(client))
            return false;

    size_t size = (size_t)(end - client->received) + 4;
    snprintf(client->head, sizeof(client->head), "%.*s", (int)size, client->received);
    client_cut(client, size);
    return true;
}

static inline bool client_cut_body(struct client *client)
{
    const char *length = client_header(client, "Content-Length");
    size_t wanted = length ? strtoul(length, NULL, 10) : 0;

    if (client_header(client, "Transfer-Encoding"))
        return client_cut_chunks(client);
    while (client->size < wanted)
        if (!client_more(client))
            return false;
    memcpy(client->body, client->received, wanted);
    client->body_size = wanted;
    client_cut(client, wanted);
    return true;
}

/* The next reply; client->status is 0 when the connection ended before it. */
static inline int client_read_after(struct client *client, bool head_only)
{
    client->status = 0;
    client->body_size = 0;
    if (client_cut_head(client) && (head_only || client_cut_body(client)))
        client->status = (int)strtol(client->head + 9, NULL, 10);
    client->body[client->body_size] = '\0';
    return client->status;
}

static inline int client_read(struct client *client)
{
    return client_read_after(client, false);
}

static inline int client_ask(struct client *client, const char *request)
{
    client_send(client, request);
    return client_read_after(client, strncmp(request, "HEAD", 4) == 0);
}

static inline int client_get(struct client *client, const char *path)
{
    char request[4096];

    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    return client_ask(client, request);
}

/* True when the server ends the connection (in time) and sends nothing more. */
static inline bool client_is_ended(struct client *client)
{
    char byte;
    ssize_t got = recv(client->fd, &byte, 1, 0);

    return client->size == 0 && (got == 0 || (got < 0 && errno != EAGAIN));
}

/* Of /metrics, the value of the line that begins so; 0 when there is none. */
static inline double client_metric(int port, const char *line)
{
    AUTO(client_close) struct client *client = client_open(port);

    assert_int_equal(client_get(client, "/metrics"), 200);
    const char *found = strstr(client->body, line);
    return found ? strtod(found + strlen(line), NULL) : 0;
}

#endif
