/*
 * false_clock: this process believes that it is another time, its libraries included.
 *
 * The program's own clock_gettime stands before the C library's: wall time is shifted, steady time
 * is not. Waits that end at a wall time are shifted back for the kernel.
 *
 * Globals  the shift: a process has one clock.
 */
#ifndef TESTS_CONFORMANCE_FALSE_CLOCK_H
#define TESTS_CONFORMANCE_FALSE_CLOCK_H

#include <stdint.h>

void false_clock_set(int64_t seconds); /* ahead of the machine's */

#endif
