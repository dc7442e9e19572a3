#include "support/postgres.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_TRIES 300
#define TRY_INTERVAL_MS 100
#define PROCESSES_MAX 128

static const char *const directories[] = {
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
};

static bool find_program(const char *name, char *out, size_t size)
{
    for (size_t i = 0; i < ARRAY_LEN(directories); i++) {
        snprintf(out, size, "%s/%s", directories[i], name);
        if (access(out, X_OK) == 0)
            return true;
    }
    return false;
}

/* PostgreSQL refuses to run as root. */
static void leave_root(void)
{
    const struct passwd *user = getpwnam("postgres");

    if (getuid() != 0)
        return;
    if (!user || initgroups(user->pw_name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 ||
        setuid(user->pw_uid) != 0)
        _exit(126);
}

/* Starts a program with its output (stdout and stderr) on the descriptor. */
static pid_t spawn(const char *name, char *const *arguments, int output)
{
    char path[64];
    pid_t parent = getpid();

    if (!find_program(name, path, sizeof(path)))
        return -1;
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    leave_root();
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (getppid() != parent || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
        _exit(126);
    execv(path, arguments);
    _exit(127);
}

static int wait_for(pid_t pid)
{
    int status = 0;

    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool run(const char *name, char *const *arguments, struct buffer *out, struct error *err)
{
    int ends[2];
    char bytes[4096];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(err, ERROR_INTERNAL, "pipe: %m");
    pid_t pid = spawn(name, arguments, ends[1]);
    close(ends[1]);
    size_t start = out->size;
    for (ssize_t size; pid > 0 && (size = read(ends[0], bytes, sizeof(bytes))) > 0;)
        buffer_append(out, bytes, (size_t)size);
    close(ends[0]);
    int status = pid > 0 ? wait_for(pid) : -1;
    return status == 0 || error_set(err, ERROR_INTERNAL, "%s ended with %d: %s", name, status,
                                    out->data ? out->data + start : "");
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = bind(descriptor, (struct sockaddr *)&address, size) == 0 &&
                 getsockname(descriptor, (struct sockaddr *)&address, &size) == 0;

    close(descriptor);
    return bound ? ntohs(address.sin_port) : 0;
}

static bool answers(const struct postgres *server)
{
    char port[8];
    struct buffer out = {0};
    struct error ignored;
    char name[] = "pg_isready", host[] = "-h127.0.0.1", quiet[] = "-q", option[] = "-p";

    snprintf(port, sizeof(port), "%d", server->port);
    char *arguments[] = {name, host, option, port, quiet, NULL};
    bool ready = run(name, arguments, &out, &ignored);
    buffer_free(&out);
    return ready;
}

/* The server may end while it starts: killed sessions of before may hold the shared memory still.
 */
static pid_t launch(const struct postgres *server)
{
    char name[] = "postgres", data[96], sockets[96], port[16], log[96];
    char hosts[] = "-clisten_addresses=127.0.0.1", sync[] = "-cfsync=off";

    snprintf(data, sizeof(data), "-D%s/data", server->directory);
    snprintf(sockets, sizeof(sockets), "-k%s", server->directory);
    snprintf(port, sizeof(port), "-p%d", server->port);
    snprintf(log, sizeof(log), "%s/log", server->directory);
    char *arguments[] = {name, data, sockets, port, hosts, server->durable ? NULL : sync, NULL};
    FILE *file = fopen(log, "ae");
    if (!file)
        return -1;
    pid_t pid = spawn(name, arguments, fileno(file));
    fclose(file);
    return pid;
}

bool postgres_start(struct postgres *server, struct error *err)
{
    for (int i = 0; i < START_TRIES; i++) {
        if (!server->pid)
            server->pid = launch(server);
        if (server->pid < 0)
            break;
        poll(NULL, 0, TRY_INTERVAL_MS);
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid)
            server->pid = 0;
        else if (answers(server))
            return true;
    }
    return error_set(err, ERROR_INTERNAL, "PostgreSQL did not start, see %s/log",
                     server->directory);
}

static bool make_directory(struct postgres *server)
{
    const struct passwd *user = getpwnam("postgres");

    snprintf(server->directory, sizeof(server->directory), "/tmp/millrace-postgres-XXXXXX");
    return mkdtemp(server->directory) &&
           (getuid() != 0 || (user && chown(server->directory, user->pw_uid, user->pw_gid) == 0));
}

bool postgres_open(struct postgres *server, bool durable, struct error *err)
{
    struct buffer out = {0};
    char name[] = "initdb", data[96], trust[] = "-Atrust", user[] = "-Upostgres", sync[] = "-N",
         encoding[] = "-EUTF8", locale[] = "--locale=C.UTF-8";

    *server = (struct postgres){.durable = durable, .port = free_port()};
    if (!make_directory(server))
        return error_set(err, ERROR_INTERNAL, "make %s: %m", server->directory);
    snprintf(data, sizeof(data), "-D%s/data", server->directory);
    snprintf(server->url, sizeof(server->url), "postgresql://postgres@127.0.0.1:%d/millrace",
             server->port);
    char *arguments[] = {name, data, trust, user, sync, encoding, locale, NULL};
    bool made = run(name, arguments, &out, err);
    buffer_free(&out);
    if (made && postgres_start(server, err) && postgres_empty(server, err))
        return true;
    postgres_close(server);
    return false;
}

/* ---- processes ---- */

/* The server and its children. */
static size_t list_processes(const struct postgres *server, pid_t out[PROCESSES_MAX])
{
    char path[64];
    size_t count = 0;
    long pid;

    if (server->pid <= 0)
        return 0;
    out[count++] = server->pid;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", server->pid, server->pid);
    FILE *file = fopen(path, "re");
    while (file && count < PROCESSES_MAX && fscanf(file, "%ld", &pid) == 1)
        out[count++] = (pid_t)pid;
    if (file)
        fclose(file);
    return count;
}

static void signal_all(const struct postgres *server, int number)
{
    pid_t processes[PROCESSES_MAX];
    size_t count = list_processes(server, processes);

    for (size_t i = 0; i < count; i++)
        kill(processes[i], number);
}

static void reap(struct postgres *server)
{
    if (server->pid > 0)
        wait_for(server->pid);
    server->pid = 0;
}

void postgres_stop(struct postgres *server)
{
    if (server->pid > 0)
        kill(server->pid, SIGINT);
    reap(server);
}

void postgres_kill(struct postgres *server)
{
    signal_all(server, SIGKILL);
    reap(server);
}

void postgres_pause(const struct postgres *server)
{
    signal_all(server, SIGSTOP);
}

void postgres_resume(const struct postgres *server)
{
    signal_all(server, SIGCONT);
}

void postgres_close(struct postgres *server)
{
    char command[96];

    postgres_resume(server);
    postgres_stop(server);
    snprintf(command, sizeof(command), "rm -rf '%s'", server->directory);
    if (system(command) != 0) // NOLINT(cert-env33-c): our own directory, our own name
        fprintf(stderr, "%s is still there\n", server->directory);
}

static bool query(const char *connection, const char *sql, struct buffer *out, struct error *err)
{
    char name[] = "psql", flags[] = "-XAtq", option[] = "-c", stop[] = "-vON_ERROR_STOP=1";
    AUTO(buffer_free) struct buffer text = {0}, target = {0};

    buffer_text(&target, connection);
    buffer_text(&text, sql);
    char *arguments[] = {name, target.data, flags, stop, option, text.data, NULL};
    return run(name, arguments, out, err);
}

bool postgres_query(const struct postgres *server, const char *sql, struct buffer *out,
                    struct error *err)
{
    return query(server->url, sql, out, err);
}

bool postgres_empty(const struct postgres *server, struct error *err)
{
    char maintenance[128];
    AUTO(buffer_free) struct buffer out = {0};

    snprintf(maintenance, sizeof(maintenance), "postgresql://postgres@127.0.0.1:%d/postgres",
             server->port);
    return query(maintenance, "DROP DATABASE IF EXISTS millrace WITH (FORCE)", &out, err) &&
           query(maintenance, "CREATE DATABASE millrace", &out, err);
}

static double process_cpu_ms(pid_t pid)
{
    char path[64];
    unsigned long user = 0, system_time = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    int found = fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                       &user, &system_time);
    fclose(file);
    return found == 2 ? (double)(user + system_time) * 1000 / (double)sysconf(_SC_CLK_TCK) : 0;
}

double postgres_cpu_ms(const struct postgres *server)
{
    pid_t processes[PROCESSES_MAX];
    size_t count = list_processes(server, processes);
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += process_cpu_ms(processes[i]);
    return sum;
}
