/* simulator: sends the traffic of a simulated town to ingestion. */
#include "simulator.h"

#include <signal.h>

int main(int argc, char **argv)
{
    struct simulator_settings settings;
    struct error err;

    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of write */
    if (!arguments_read(argc, argv, &settings, &err)) {
        fprintf(stderr, "simulator: %s\nsimulator --help says more\n", err.message);
        return SIMULATOR_MISUSED;
    }
    if (settings.help) {
        arguments_help();
        return SIMULATOR_DONE;
    }
    if (settings.version) {
        printf("simulator %s\n", MILLRACE_VERSION);
        return SIMULATOR_DONE;
    }
    return simulator_run(&settings, stdout);
}
