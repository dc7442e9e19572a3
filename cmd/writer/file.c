#include "file.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/ndjson.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FILE_MODE 0644
#define LINE_MAX_BYTES ((size_t)65536)
#define PIECE ((size_t)65536)

struct log_file {
    int fd, lock_fd;
    char *path, *dir;
    int64_t rotate_bytes;
    int keep_files;
    bool torn; /* an append failed and could not be cut off: it ends at `whole` */
    int64_t whole;
    _Atomic int64_t size;
    log_file_line *on_line; /* until it is open */
    void *context;
};

/* ---- small things of the system ---- */

/* "write '/logs/x.log': No space left on device" */
static bool fail(struct error *err, const char *what, const char *path)
{
    int number = errno;
    bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;

    return error_set(err, full ? ERROR_FULL : ERROR_UNAVAILABLE, "%s '%s': %s", what, path,
                     strerror(number));
}

static char *join(const char *one, const char *between, const char *other)
{
    struct buffer text = {0};

    buffer_print(&text, "%s%s%s", one, between, other);
    return text.data;
}

static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    struct buffer text = {0};

    if (!slash)
        return memory_text(".");
    buffer_append(&text, path, slash == path ? 1 : (size_t)(slash - path));
    return text.data;
}

static bool sync_dir(const struct log_file *file, struct error *err)
{
    int fd = open(file->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;

    if (!done)
        fail(err, "sync", file->dir);
    if (fd >= 0)
        close(fd);
    return done;
}

static int64_t size_of(int fd)
{
    struct stat facts;

    return fstat(fd, &facts) == 0 ? (int64_t)facts.st_size : -1;
}

static bool write_all(int fd, const char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t now = write(fd, bytes + done, size - done);
        if (now < 0 && errno != EINTR)
            return false;
        done += now > 0 ? (size_t)now : 0;
    }
    return true;
}

/* ---- a last line without its end ---- */

/* Where the last whole line ends; reads backwards. */
static int64_t end_of_lines(int fd, int64_t size)
{
    char piece[4096];

    while (size > 0) {
        int64_t start = size > (int64_t)sizeof(piece) ? size - (int64_t)sizeof(piece) : 0;
        ssize_t got = pread(fd, piece, (size_t)(size - start), start);
        if (got <= 0)
            return -1;
        const char *feed = memrchr(piece, '\n', (size_t)got);
        if (feed)
            return start + (feed - piece) + 1;
        size = start;
    }
    return 0;
}

/* Nothing but the line feed is missing. */
static bool lacks_only_its_end(const struct log_file *file, int fd, int64_t from, int64_t size)
{
    char *rest = memory_alloc(LINE_MAX_BYTES);
    bool whole = false;

    if (size - from <= (int64_t)LINE_MAX_BYTES) {
        ssize_t got = pread(fd, rest, (size_t)(size - from), from);
        whole = got == size - from && file->on_line(file->context, rest, (size_t)got);
    }
    free(rest);
    return whole;
}

static bool mend_tail(const struct log_file *file, int fd, struct log_file_report *report,
                      struct error *err)
{
    int64_t size = size_of(fd), whole = end_of_lines(fd, size);

    if (size < 0 || whole < 0)
        return fail(err, "read", file->path);
    if (whole == size)
        return true;
    if (file->on_line && lacks_only_its_end(file, fd, whole, size)) {
        report->completed = true;
        return write_all(fd, "\n", 1) || fail(err, "complete the last line of", file->path);
    }
    report->cut_bytes = size - whole;
    return ftruncate(fd, whole) == 0 || fail(err, "cut the torn last line of", file->path);
}

/* A line that is found at the opening is answered as a duplicate, without a write, when it comes
 * again; the writer that was killed may have left it in memory alone. */
static bool sync_file(const struct log_file *file, int fd, struct error *err)
{
    return fdatasync(fd) == 0 || fail(err, "sync", file->path);
}

/* ---- opening ---- */

static bool take_lock(struct log_file *file, struct error *err)
{
    char *path = join(file->path, ".", "lock");
    bool done = true;

    file->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (file->lock_fd < 0)
        done = fail(err, "open", path);
    else if (flock(file->lock_fd, LOCK_EX | LOCK_NB) != 0)
        done = errno == EWOULDBLOCK ? error_set(err, ERROR_CONFLICT,
                                                "another writer is at work on '%s' (it holds '%s')",
                                                file->path, path)
                                    : fail(err, "lock", path);
    free(path);
    return done;
}

static bool open_current(struct log_file *file, struct log_file_report *report, struct error *err)
{
    int fd = open(file->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, FILE_MODE);

    if (fd < 0)
        return fail(err, "open", file->path);
    if (!mend_tail(file, fd, report, err) || !sync_file(file, fd, err) || !sync_dir(file, err)) {
        close(fd);
        return false;
    }
    if (file->fd >= 0)
        close(file->fd);
    file->fd = fd;
    file->size = size_of(fd);
    return true;
}

struct reading {
    const struct log_file *file;
    struct log_file_report *report;
};

static bool take_line(void *context, const struct ndjson_line *line)
{
    struct reading *reading = context;
    bool read =
        !line->too_long && reading->file->on_line(reading->file->context, line->bytes, line->size);

    reading->report->lines++;
    reading->report->unreadable += !read;
    return true;
}

static bool read_lines(const struct log_file *file, int fd, const char *path,
                       struct log_file_report *report, struct error *err)
{
    struct reading reading = {file, report};
    AUTO(ndjson_free) struct ndjson lines;
    char *piece = memory_alloc(PIECE);
    ssize_t got;

    ndjson_start(&lines, LINE_MAX_BYTES, take_line, &reading);
    for (off_t at = 0; (got = pread(fd, piece, PIECE, at)) > 0; at += got)
        ndjson_feed(&lines, piece, (size_t)got);
    free(piece);
    if (got < 0)
        return fail(err, "read", path);
    ndjson_finish(&lines);
    return true;
}

static char *rotated_path(const struct log_file *file, int number)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", number);
    return join(file->path, ".", text);
}

/* One that is not there is no mistake: there may never have been so many. */
static bool read_rotated(const struct log_file *file, int number, struct log_file_report *report,
                         struct error *err)
{
    char *path = rotated_path(file, number);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool done = true;

    if (fd >= 0) {
        done = read_lines(file, fd, path, report, err);
        close(fd);
    } else if (errno != ENOENT) {
        done = fail(err, "open", path);
    }
    free(path);
    return done;
}

static bool read_everything(struct log_file *file, struct log_file_report *report,
                            struct error *err)
{
    for (int number = file->keep_files; number >= 1; number--)
        if (!read_rotated(file, number, report, err))
            return false;
    return open_current(file, report, err) && read_lines(file, file->fd, file->path, report, err);
}

bool log_file_open(struct log_file **out, const struct log_file_options *options,
                   log_file_line *on_line, void *context, struct log_file_report *report,
                   struct error *err)
{
    AUTO(log_file_close) struct log_file *file = memory_alloc(sizeof(*file));

    file->fd = file->lock_fd = -1;
    file->path = options->name[0] == '/' ? memory_text(options->name)
                                         : join(options->dir, "/", options->name);
    file->dir = dir_of(file->path);
    file->rotate_bytes = options->rotate_bytes;
    file->keep_files = options->keep_files;
    file->on_line = on_line;
    file->context = context;
    *report = (struct log_file_report){0};
    if (!take_lock(file, err) || !read_everything(file, report, err))
        return false;
    file->on_line = NULL;
    *out = file;
    file = NULL;
    return true;
}

void log_file_close(struct log_file *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    if (file->lock_fd >= 0)
        close(file->lock_fd); /* and with it the lock */
    free(file->path);
    free(file->dir);
    free(file);
}

/* ---- appending ---- */

/* Back to where the last append ended that is whole. */
static bool cut_back(struct log_file *file)
{
    file->torn = ftruncate(file->fd, file->whole) != 0;
    return !file->torn;
}

static bool mend_torn(struct log_file *file, struct error *err)
{
    return !file->torn || cut_back(file) || fail(err, "cut off a torn write of", file->path);
}

/* What is torn goes first: it may have whole lines, of which nobody was told that they are there.
 */
bool log_file_reopen(struct log_file *file, struct error *err)
{
    struct log_file_report report = {0};

    return mend_torn(file, err) && open_current(file, &report, err);
}

/* The name leads to the file that is open. */
static bool is_in_place(const struct log_file *file)
{
    struct stat named, held;

    return stat(file->path, &named) == 0 && fstat(file->fd, &held) == 0 &&
           named.st_ino == held.st_ino && named.st_dev == held.st_dev;
}

static bool prepare(struct log_file *file, struct error *err)
{
    if (!mend_torn(file, err))
        return false;
    if (!is_in_place(file) && !log_file_reopen(file, err))
        return false;
    file->whole = size_of(file->fd); /* asked for: others may have cut it */
    return file->whole >= 0 || fail(err, "ask for the size of", file->path);
}

bool log_file_append(struct log_file *file, const char *bytes, size_t size, struct error *err)
{
    if (!prepare(file, err))
        return false;
    if (!write_all(file->fd, bytes, size) || fdatasync(file->fd) != 0) {
        fail(err, "write", file->path);
        (void)cut_back(file); /* the next append tries again */
        return false;
    }
    file->size = file->whole + (int64_t)size;
    return true;
}

/* ---- rotating ---- */

static bool move_up(const struct log_file *file, int number, struct error *err)
{
    char *from = number ? rotated_path(file, number) : memory_text(file->path);
    char *to = rotated_path(file, number + 1);
    bool done = rename(from, to) == 0 || fail(err, "move", from);

    free(from);
    free(to);
    return done;
}

/* The first number that is not taken, or the last one, whose file goes. After a rotation that
 * failed half way the next one goes on at its gap, and moves nothing out for nothing. */
static int first_free(const struct log_file *file)
{
    for (int number = 1; number < file->keep_files; number++) {
        char *path = rotated_path(file, number);
        bool taken = access(path, F_OK) == 0;
        free(path);
        if (!taken)
            return number;
    }
    return file->keep_files;
}

bool log_file_rotate(struct log_file *file, struct error *err)
{
    if (file->size < file->rotate_bytes || file->torn || !is_in_place(file))
        return true;
    for (int number = first_free(file) - 1; number >= 0; number--)
        if (!move_up(file, number, err))
            return false;
    return log_file_reopen(file, err);
}

int64_t log_file_size(const struct log_file *file)
{
    return file->size;
}

bool log_file_check(const struct log_file *file, struct error *err)
{
    struct statvfs room;

    if (access(file->dir, W_OK | X_OK) != 0)
        return fail(err, "write into", file->dir);
    if (access(file->path, W_OK) != 0 && errno != ENOENT)
        return fail(err, "write", file->path);
    if (statvfs(file->dir, &room) != 0)
        return fail(err, "ask for the room of", file->dir);
    errno = ENOSPC;
    return room.f_bavail > 0 || fail(err, "write into", file->dir);
}
