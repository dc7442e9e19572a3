/* Raw requests to the servers, over sockets of their own: see server.h. */
#include "support/server.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define REQUEST_MS 5000
#define CHUNK 4096

/* Everything on the socket ends timeout_ms after it was begun. -1: nobody there. */
static int dial(int port, int timeout_ms)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = timeout_ms / 1000,
                            .tv_usec = (suseconds_t)timeout_ms % 1000 * 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
        connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Appends what comes next; false at the end, or when nothing comes. */
static bool receive(int fd, struct buffer *input)
{
    char *room = buffer_reserve(input, CHUNK);
    ssize_t size = recv(fd, room, CHUNK, 0);

    input->size += size > 0 ? (size_t)size : 0;
    buffer_text(input, "");
    return size > 0;
}

/* ---- NATS ---- */

/* The port of the address that *url stands at, which is moved to the next; 0: there is none. */
static int next_port(const char **url)
{
    const char *comma = strchr(*url, ',');
    const char *end = comma ? comma : *url + strlen(*url), *colon = end;

    while (colon > *url && *colon != ':')
        colon--;
    *url = comma ? comma + 1 : end;
    return colon < end ? (int)strtol(colon + 1, NULL, 10) : 0;
}

/* The payload of the message that is all there; NULL: it is not. "MSG inbox 1 5\r\nhello\r\n" */
static const char *find_message(const struct buffer *input, size_t *out_size)
{
    const char *message = input->size ? strstr(input->data, "\r\nMSG ") : NULL;
    const char *line_end = message ? strstr(message + 2, "\r\n") : NULL;

    if (!line_end)
        return NULL;
    const char *size = line_end;
    while (size[-1] != ' ')
        size--;
    *out_size = strtoul(size, NULL, 10);
    size_t start = (size_t)(line_end + 2 - input->data);
    return input->size >= start + *out_size ? input->data + start : NULL;
}

/* A refusal: nobody answers, or an -ERR. */
static bool is_refused(const struct buffer *input)
{
    return input->size && (strstr(input->data, "\r\nHMSG ") || strstr(input->data, "\r\n-ERR "));
}

static bool converse(int fd, const char *subject, const char *payload, int timeout_ms,
                     struct buffer *reply)
{
    AUTO(buffer_free) struct buffer input = {0}, output = {0};
    int64_t until_ms = clock_nanoseconds() / 1000000 + timeout_ms;
    const char *answer = NULL;
    size_t size = 0;

    buffer_text(&output, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
    buffer_print(&output, "SUB _INBOX.%d 1\r\n", (int)getpid());
    buffer_print(&output, "PUB %s _INBOX.%d %zu\r\n%s\r\n", subject, (int)getpid(), strlen(payload),
                 payload);
    bool open = receive(fd, &input) && /* its greeting */
                send(fd, output.data, output.size, MSG_NOSIGNAL) == (ssize_t)output.size;
    while (open && !answer && !is_refused(&input) && clock_nanoseconds() / 1000000 < until_ms) {
        open = receive(fd, &input);
        answer = find_message(&input, &size);
    }
    if (answer)
        buffer_append(reply, answer, size);
    return answer != NULL;
}

bool server_request_within(const char *url, const char *subject, const char *payload,
                           int timeout_ms, struct buffer *reply, struct error *err)
{
    int port, fd = -1;

    while (fd < 0 && (port = next_port(&url)) > 0)
        fd = dial(port, timeout_ms);
    bool answered = fd >= 0 && converse(fd, subject, payload, timeout_ms, reply);
    if (fd >= 0)
        close(fd);
    return answered || error_set(err, ERROR_UNAVAILABLE, "request '%s': no answer", subject);
}

bool server_request(const char *url, const char *subject, const char *payload, struct buffer *reply,
                    struct error *err)
{
    return server_request_within(url, subject, payload, REQUEST_MS, reply, err);
}

/* ---- Redis ---- */

bool server_command(const struct server *server, const char *command, struct buffer *reply,
                    struct error *err)
{
    AUTO(buffer_free) struct buffer output = {0};
    int fd = dial(server_port(server), REQUEST_MS);

    buffer_clear(reply);
    buffer_print(&output, "%s\r\nQUIT\r\n", command);
    bool sent = fd >= 0 && send(fd, output.data, output.size, MSG_NOSIGNAL) == (ssize_t)output.size;
    while (sent && receive(fd, reply))
        ;
    if (fd >= 0)
        close(fd);
    if (!sent || reply->size == 0)
        return error_set(err, ERROR_UNAVAILABLE, "'%s': no answer", command);
    return reply->data[0] != '-' || error_set(err, ERROR_INVALID, "'%s': %s", command, reply->data);
}
