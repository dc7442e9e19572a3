/*
 * migrations: the files of migrations/, built into the program.
 *
 * A migration that was ever released is never changed: write a new one. Each runs in a transaction
 * of its own, so it holds no statement that refuses that (CREATE INDEX CONCURRENTLY, VACUUM).
 */
#ifndef STORE_MIGRATIONS_H
#define STORE_MIGRATIONS_H

struct migration {
    int version; /* 0 ends the list, which rises */
    const char *name;
    const char *checksum; /* SHA-256 of the file, hex */
    const char *sql;
};

extern const struct migration migrations[];

#endif
