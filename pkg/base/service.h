/*
 * service: what every main() does around its own work.
 *
 * Handles --help and --version, reads the settings (every service has LOG_LEVEL and LOG_FORMAT
 * besides its own), blocks SIGTERM and SIGINT in every thread, runs, logs the one error, and turns
 * it into an exit code: 0 stopped as asked, 1 failed, 2 the settings or arguments are wrong.
 *
 * run returns soon after service_stopping() became true, with everything settled. A process that is
 * still there SERVICE_DRAIN_MS after the signal says so and ends itself with 1.
 */
#ifndef BASE_SERVICE_H
#define BASE_SERVICE_H

#include "base/config.h"

#define SERVICE_DRAIN_MS 5000

struct service {
    const char *name;
    const char *summary; /* one line for --help */
    const struct config_field *settings;
    size_t settings_size; /* of the struct that the table fills */
    bool (*run)(const void *settings, struct error *err);
    bool counts_hangups; /* SIGHUP is counted; otherwise it ends the process, as ever */
};

int service_main(const struct service *service, int argc, char **argv);

/* True once the process was asked to stop. Any thread. */
bool service_stopping(void);

/* How many SIGHUPs came, for services that count them. Any thread. */
int service_hangups(void);

/* Waits up to timeout_ms for the request to stop; returns service_stopping(). Any thread. */
bool service_wait(int timeout_ms);

#endif
