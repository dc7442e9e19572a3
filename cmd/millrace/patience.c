#include "patience.h"

#include "command.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The one global: a signal is sent to the process, so being asked to stop is the process's state.
 */
static struct {
    atomic_bool asked;
    atomic_int bell; /* an eventfd, readable once asked; 0: there is none */
} stop;

static void on_signal(int number)
{
    int kept = errno, bell = atomic_load(&stop.bell);

    (void)number;
    atomic_store(&stop.asked, true);
    if (bell)
        (void)!eventfd_write(bell, 1);
    errno = kept;
}

void patience_start(void)
{
    const struct sigaction ask = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    atomic_store(&stop.bell, bell > 0 ? bell : 0);
    sigaction(SIGINT, &ask, NULL);
    sigaction(SIGTERM, &ask, NULL);
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of write */
}

bool command_is_interrupted(void)
{
    return atomic_load(&stop.asked);
}

enum patience patience_wait(int file, int timeout_ms)
{
    int bell = atomic_load(&stop.bell);
    struct pollfd polled[] = {{.fd = bell ? bell : -1, .events = POLLIN},
                              {.fd = file, .events = POLLIN}};

    if (command_is_interrupted())
        return PATIENCE_INTERRUPTED;
    int ready = poll(polled, 2, timeout_ms);
    if (command_is_interrupted())
        return PATIENCE_INTERRUPTED;
    return ready > 0 && polled[1].revents ? PATIENCE_READY : PATIENCE_OVER;
}

bool stdout_is_closed(void)
{
    struct pollfd polled = {.fd = STDOUT_FILENO};

    return poll(&polled, 1, 0) > 0 && (polled.revents & (POLLERR | POLLHUP)) != 0;
}
