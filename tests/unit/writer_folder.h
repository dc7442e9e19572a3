/* A folder of its own for a test of the writer, and what is in its files. */
#ifndef TESTS_UNIT_WRITER_FOLDER_H
#define TESTS_UNIT_WRITER_FOLDER_H

#include "support/test.h"

#include "base/buffer.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct folder {
    char path[64];
};

static inline void folder_make(struct folder *folder)
{
    snprintf(folder->path, sizeof(folder->path), "/tmp/millrace-writer-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
}

static inline const char *folder_file(const struct folder *folder, const char *name)
{
    static _Thread_local char path[128];

    snprintf(path, sizeof(path), "%s/%s", folder->path, name);
    return path;
}

static inline void folder_remove(const struct folder *folder)
{
    glob_t found;

    if (glob(folder_file(folder, "*"), 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            if (unlink(found.gl_pathv[i]) != 0)
                (void)rmdir(found.gl_pathv[i]);
    globfree(&found);
    (void)rmdir(folder->path);
}

static inline void folder_write(const struct folder *folder, const char *name, const char *text)
{
    FILE *file = fopen(folder_file(folder, name), "we");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

/* Appends what the file has; false when there is none. */
static inline bool folder_read(const char *path, struct buffer *out)
{
    FILE *file = fopen(path, "re");
    size_t got = 0;

    if (!file)
        return false;
    do {
        got = fread(buffer_reserve(out, 65536), 1, 65536, file);
        out->size += got;
        out->data[out->size] = '\0';
    } while (got > 0);
    assert_int_equal(fclose(file), 0);
    return true;
}

static inline void folder_has(const struct folder *folder, const char *name, const char *want)
{
    AUTO(buffer_free) struct buffer text = {0};
    bool there = folder_read(folder_file(folder, name), &text);

    assert_int_equal(there, want != NULL);
    if (want)
        assert_string_equal(text.data, want);
}

/* A disk that is full, to this process: no file grows beyond so many bytes. RLIM_INFINITY ends it.
 */
static inline void folder_limit(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

#endif
