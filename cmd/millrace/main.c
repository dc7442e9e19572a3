/* millrace: the command line: send, tail, lag, dead letters, topology, doctor. */
#include "command.h"

int main(int argc, char **argv)
{
    return command_main(argc, argv);
}
