/* millrace: the command line: send, tail, lag, dead letters, topology, doctor. */
#include "command.h"

#include <fcntl.h>
#include <unistd.h>

/* A standard stream that is closed would become the next socket, and what is printed go to the
 * broker. What stands in for it fails: it is opened the wrong way round. */
static void keep_standard_streams(void)
{
    static const int flags[] = {
        [STDIN_FILENO] = O_WRONLY, [STDOUT_FILENO] = O_RDONLY, [STDERR_FILENO] = O_RDONLY};

    for (int file = STDIN_FILENO; file <= STDERR_FILENO; file++)
        if (fcntl(file, F_GETFD) < 0)
            (void)!open("/dev/null", flags[file]); /* takes the lowest number that is free */
}

int main(int argc, char **argv)
{
    keep_standard_streams();
    return command_main(argc, argv);
}
