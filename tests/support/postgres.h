/*
 * postgres: a real PostgreSQL of one's own, on a free loopback port with its data in a directory
 * under /tmp. It ends with the process that started it, whatever ends that.
 *
 * Root starts it as the user postgres. Durability is off unless asked for: a kill of the server
 * loses nothing even so, only a kill of the machine would.
 */
#ifndef TESTS_POSTGRES_H
#define TESTS_POSTGRES_H

#include "base/buffer.h"
#include "base/error.h"

#include <sys/types.h>

struct postgres {
    char directory[64], url[128]; /* of the database "millrace" */
    int port;
    pid_t pid; /* 0: not running */
    bool durable;
};

/* Makes the directory and starts the server; true once it answers. */
bool postgres_open(struct postgres *server, bool durable, struct error *err) MUST_CHECK;
void postgres_close(struct postgres *server); /* stops it and removes the directory */

bool postgres_start(struct postgres *server, struct error *err) MUST_CHECK; /* after stop, kill */
void postgres_stop(struct postgres *server); /* in order, ending its sessions */
void postgres_kill(struct postgres *server); /* SIGKILL for every process of it */

void postgres_pause(const struct postgres *server); /* every process of it stands still */
void postgres_resume(const struct postgres *server);

/* Makes the database anew, ending the sessions in it. */
bool postgres_empty(const struct postgres *server, struct error *err) MUST_CHECK;

/* Runs SQL with psql; appends rows as lines, columns joined by '|'. */
bool postgres_query(const struct postgres *server, const char *sql, struct buffer *out,
                    struct error *err) MUST_CHECK;

/* CPU that the server's processes used so far, in milliseconds. */
double postgres_cpu_ms(const struct postgres *server);

#endif
