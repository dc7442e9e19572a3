/* nearest: the word that somebody probably meant. */
#ifndef MILLRACE_NEAREST_H
#define MILLRACE_NEAREST_H

#include <stddef.h>

/* The word with the fewest changed, added, left out or swapped bytes; NULL when none is close. */
const char *nearest(const char *typed, size_t size, const char *const *words, size_t count);

#endif
