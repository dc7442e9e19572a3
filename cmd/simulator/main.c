/* simulator: sends the traffic of a simulated town to ingestion. */
#include "simulator.h"

int main(int argc, char **argv)
{
    return simulator_main(argc, argv);
}
