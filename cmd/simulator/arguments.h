/*
 * arguments: what the simulator is to do, from its command line.
 *
 * One table says what there is, --help prints it, and the defaults go through its parser. Where a
 * row names an environment variable, that is the default.
 *
 * Ownership  Text points at the arguments, into the environment or at a default.
 * Errors     INVALID names the option.
 */
#ifndef SIMULATOR_ARGUMENTS_H
#define SIMULATOR_ARGUMENTS_H

#include "base/error.h"

#include <stdint.h>

struct simulator_settings {
    const char *url;
    double rate;       /* events per second; 0: as many as the speed makes */
    double speed;      /* simulated seconds per second */
    int64_t seed;      /* -1: any */
    double duration_s; /* 0: until it is interrupted */
    int64_t start_ms;  /* -1: so that it ends now */
    unsigned systems;  /* enum traffic_system */
    int garages, capacity, entry_wait_s, exit_wait_s, sites, meters, services;
    int workers, bulk, retries, timeout_ms;
    const char *journal; /* NULL: none */
    bool json, quiet, help, version;
};

bool arguments_read(int argc, char **argv, struct simulator_settings *out,
                    struct error *err) MUST_CHECK;

void arguments_help(void); /* on stdout */

#endif
