#include "support/server.h"

#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
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

/* A kind of server: how it is started, and how one sees that it serves. */
struct program {
    const char *name, *scheme;
    void (*execute)(const struct server *server, const char *port);
    const char *ask, *answer; /* the first bytes of a conversation; ask is "" where it greets */
};

struct server {
    const struct program *program;
    pid_t pid;          /* 0 while it does not run */
    int port, reserved; /* the descriptor that keeps the port ours */
    char directory[128], url[64];
    char settings[160]; /* a configuration file, or "" */
};

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int server_reserve_port(int *out_port)
{
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof(address);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&address, size) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        close(fd);
        return -1;
    }
    *out_port = ntohs(address.sin_port);
    return fd;
}

static void execute_nats(const struct server *server, const char *port)
{
    const char *settings = server->settings;

    execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", port, "-js", "-sd",
           server->directory, *settings ? "-c" : NULL, settings, (char *)NULL);
}

static void execute_redis(const struct server *server, const char *port)
{
    execlp("redis-server", "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir",
           server->directory, "--appendonly", "yes", "--appendfsync", "always", "--save", "",
           (char *)NULL);
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
    server->program->execute(server, port);
    _exit(127);
}

/* The last line of what it said; its files may be gone when somebody reads the error. */
static bool ended(const struct server *server, struct error *err)
{
    char path[160], line[200] = "";

    snprintf(path, sizeof(path), "%s/log", server->directory);
    FILE *log = fopen(path, "re");
    while (log && fgets(line, sizeof(line), log))
        ;
    if (log)
        fclose(log);
    line[strcspn(line, "\n")] = '\0';
    return error_set(err, ERROR_UNAVAILABLE, "%s ended: %s", server->program->name, line);
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
            return ended(server, err);
        }
        if (clock_steady_ms(clock) > until_ms)
            return error_set(err, ERROR_TIMEOUT, "%s is not up after %d ms", server->program->name,
                             START_MS);
        poll(NULL, 0, LOOK_AGAIN_MS);
    }
    return true;
}

static bool write_settings(struct server *server, const char *text)
{
    snprintf(server->settings, sizeof(server->settings), "%s/settings", server->directory);
    FILE *file = fopen(server->settings, "we");
    if (!file)
        return false;
    bool written = fputs(text, file) >= 0;
    return fclose(file) == 0 && written;
}

static bool prepare(struct server *server, const char *settings)
{
    const char *parent = getenv("TMPDIR");

    snprintf(server->directory, sizeof(server->directory), "%s/millrace-server-XXXXXX",
             parent ? parent : "/tmp");
    if (server->reserved < 0 || !mkdtemp(server->directory)) {
        server->directory[0] = '\0';
        return false;
    }
    snprintf(server->url, sizeof(server->url), "%s://127.0.0.1:%d", server->program->scheme,
             server->port);
    return !settings || write_settings(server, settings);
}

static bool start(struct server **out, const struct program *program, const char *settings,
                  struct error *err)
{
    struct server *server = memory_alloc(sizeof(*server));

    server->program = program;
    server->reserved = server_reserve_port(&server->port);
    bool started = prepare(server, settings)
                       ? server_start_again(server, err)
                       : error_set(err, ERROR_UNAVAILABLE, "no port or file: %s", strerror(errno));
    if (!started) {
        server_close(server);
        return false;
    }
    *out = server;
    return true;
}

bool server_start_nats(struct server **out, struct error *err)
{
    return start(out, &nats, NULL, err);
}

bool server_start_nats_with(struct server **out, const char *settings, struct error *err)
{
    return start(out, &nats, settings, err);
}

bool server_start_redis(struct server **out, struct error *err)
{
    return start(out, &redis, NULL, err);
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
    if (server->directory[0])
        server_remove_files(server->directory);
    if (server->reserved >= 0)
        close(server->reserved);
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

int server_port(const struct server *server)
{
    return server->port;
}

pid_t server_pid(const struct server *server)
{
    return server->pid;
}
