/*
 * file: the file of lines, its older parts, and how it survives.
 *
 * What log_file_append took is on the disk, all of it or none: a write that ends half way is cut
 * off again, and until it is nothing else is written. A last line without its end, which a crash
 * leaves behind, is completed at the opening where only the line feed is missing and cut off where
 * more is. When the file has its size it becomes NAME.1, NAME.1 becomes NAME.2 and so on; a file
 * that somebody moved or removed is made anew before the next append, so that an outside tool may
 * rotate as well. NAME.lock keeps a second writer away.
 *
 * Errors   FULL: no room on the disk, or a limit of it. UNAVAILABLE: it cannot be written.
 *          CONFLICT at the opening: another process has it.
 * Threads  one, but for log_file_size and log_file_check.
 * Units    bytes.
 */
#ifndef WRITER_FILE_H
#define WRITER_FILE_H

#include "base/error.h"

#include <stdint.h>

struct log_file;

struct log_file_options {
    const char *dir, *name; /* name may be a path of its own */
    int64_t rotate_bytes;
    int keep_files;
};

/* One line without its end; returns whether it can be read. */
typedef bool log_file_line(void *context, const char *bytes, size_t size);

/* What the opening found. */
struct log_file_report {
    int64_t lines, unreadable; /* of all files */
    int64_t cut_bytes;         /* of a torn last line */
    bool completed;            /* the last line got its end */
};

/* Hands every line of every file to on_line, the oldest first. */
bool log_file_open(struct log_file **out, const struct log_file_options *options,
                   log_file_line *on_line, void *context, struct log_file_report *report,
                   struct error *err) MUST_CHECK;
void log_file_close(struct log_file *file);
AUTO_DEFINE(struct log_file *, log_file_close)

/* Whole lines, in one write, and waits until the disk has them. */
bool log_file_append(struct log_file *file, const char *bytes, size_t size,
                     struct error *err) MUST_CHECK;

/* Rotates when it is time to. A failure only means that the file goes on growing. */
bool log_file_rotate(struct log_file *file, struct error *err) MUST_CHECK;

/* Opens the file of that name again, which another one may have now. */
bool log_file_reopen(struct log_file *file, struct error *err) MUST_CHECK;

int64_t log_file_size(const struct log_file *file);
bool log_file_check(const struct log_file *file, struct error *err) MUST_CHECK;

#endif
