#include "support/server.h"

#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <nats/nats.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 10000
#define LOOK_AGAIN_MS 10
#define REQUEST_MS 5000

/* A kind of server: how it is started, and how one sees that it serves. */
struct program {
    const char *name, *scheme;
    void (*execute)(const char *port, const char *directory);
    const char *ask, *answer; /* the first bytes of a conversation; ask is "" where it greets */
};

struct server {
    const struct program *program;
    pid_t pid; /* 0 while it does not run */
    int port;
    char directory[128], url[64];
};

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* Free now, and most likely still free when the server takes it. */
static int free_port(void)
{
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof(address);
    int port = -1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&address, size) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &size) == 0)
        port = ntohs(address.sin_port);
    close(fd);
    return port;
}

static void execute_nats(const char *port, const char *directory)
{
    execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", port, "-js", "-sd", directory,
           (char *)NULL);
}

static void execute_redis(const char *port, const char *directory)
{
    execlp("redis-server", "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir",
           directory, "--appendonly", "yes", "--appendfsync", "always", "--save", "", (char *)NULL);
}

/* A NATS server greets only when JetStream is up; Redis answers a ping when it has loaded. */
static const struct program nats = {"nats-server", "nats", execute_nats, "", "INFO"};
static const struct program redis = {"redis-server", "redis", execute_redis, "PING\r\n", "+PON"};

static bool serves(const struct server *server)
{
    const struct program *program = server->program;
    struct sockaddr_in address = loopback(server->port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    size_t asked = strlen(program->ask);
    char start[4] = "";
    bool answered = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                    send(fd, program->ask, asked, MSG_NOSIGNAL) == (ssize_t)asked &&
                    poll(&readable, 1, 1000) == 1 && recv(fd, start, sizeof(start), 0) == 4 &&
                    memcmp(start, program->answer, sizeof(start)) == 0;

    close(fd);
    return answered;
}

static void run(const struct server *server, pid_t parent)
{
    char log[160], port[16];
    int fd;

    snprintf(log, sizeof(log), "%s/log", server->directory);
    snprintf(port, sizeof(port), "%d", server->port);
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(126);
    server->program->execute(port, server->directory);
    _exit(127);
}

bool server_start_again(struct server *server, struct error *err)
{
    const struct clock *clock = clock_system();
    int64_t until_ms = clock_steady_ms(clock) + START_MS;
    pid_t parent = getpid();

    server->pid = fork();
    if (server->pid == 0)
        run(server, parent);
    while (!serves(server)) {
        if (waitpid(server->pid, NULL, WNOHANG) != 0) {
            server->pid = 0;
            return error_set(err, ERROR_UNAVAILABLE, "%s ended; see %s/log", server->program->name,
                             server->directory);
        }
        if (clock_steady_ms(clock) > until_ms)
            return error_set(err, ERROR_TIMEOUT, "%s is not up after %d ms", server->program->name,
                             START_MS);
        poll(NULL, 0, LOOK_AGAIN_MS);
    }
    return true;
}

static bool start(struct server **out, const struct program *program, struct error *err)
{
    struct server *server = memory_alloc(sizeof(*server));
    const char *parent = getenv("TMPDIR");

    server->program = program;
    snprintf(server->directory, sizeof(server->directory), "%s/millrace-server-XXXXXX",
             parent ? parent : "/tmp");
    server->port = free_port();
    if (server->port < 0 || !mkdtemp(server->directory)) {
        free(server);
        return error_set(err, ERROR_UNAVAILABLE, "no port or directory: %s", strerror(errno));
    }
    snprintf(server->url, sizeof(server->url), "%s://127.0.0.1:%d", program->scheme, server->port);
    if (!server_start_again(server, err)) {
        server_close(server);
        return false;
    }
    *out = server;
    return true;
}

bool server_start_nats(struct server **out, struct error *err)
{
    return start(out, &nats, err);
}

bool server_start_redis(struct server **out, struct error *err)
{
    return start(out, &redis, err);
}

static void end(struct server *server, int signal_number)
{
    if (server->pid == 0)
        return;
    kill(server->pid, signal_number);
    kill(server->pid, SIGCONT);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

void server_kill(struct server *server)
{
    end(server, SIGKILL);
}

void server_stop(struct server *server)
{
    end(server, SIGTERM);
}

void server_pause(struct server *server)
{
    kill(server->pid, SIGSTOP);
    waitpid(server->pid, NULL, WUNTRACED); /* the signal is sent; now it has arrived as well */
}

void server_resume(struct server *server)
{
    kill(server->pid, SIGCONT);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    (void)status, (void)kind, (void)at;
    return remove(path);
}

void server_close(struct server *server)
{
    if (!server)
        return;
    end(server, SIGKILL);
    server_remove_files(server->directory);
    free(server);
}

void server_remove_files(const char *directory)
{
    nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *server_url(const struct server *server)
{
    return server->url;
}

pid_t server_pid(const struct server *server)
{
    return server->pid;
}

bool server_request(const char *url, const char *subject, const char *payload, struct buffer *reply,
                    struct error *err)
{
    natsConnection *connection = NULL;
    natsMsg *answer = NULL;
    natsStatus status = natsConnection_ConnectTo(&connection, url);

    if (status == NATS_OK)
        status = natsConnection_RequestString(&answer, connection, subject, payload, REQUEST_MS);
    if (status == NATS_OK)
        buffer_append(reply, natsMsg_GetData(answer), (size_t)natsMsg_GetDataLength(answer));
    natsMsg_Destroy(answer);
    natsConnection_Destroy(connection);
    return status == NATS_OK || error_set(err, ERROR_UNAVAILABLE, "request '%s': %s", subject,
                                          natsStatus_GetText(status));
}
