#include "file.h"

#include "unit/writer_folder.h"

#include <signal.h>
#include <sys/stat.h>

#define ROTATE_BYTES 20
#define KEEP_FILES 3

/* What was handed over, joined by '|'. A line can be read when it begins with '{' and ends with
 * '}'. */
static bool take_line(void *context, const char *bytes, size_t size)
{
    struct buffer *lines = context;

    buffer_append(lines, bytes, size);
    buffer_text(lines, "|");
    return size > 1 && bytes[0] == '{' && bytes[size - 1] == '}';
}

static struct log_file *open_in(const struct folder *folder, struct buffer *lines,
                                struct log_file_report *report)
{
    struct log_file_options options = {.dir = folder->path,
                                       .name = "x.log",
                                       .rotate_bytes = ROTATE_BYTES,
                                       .keep_files = KEEP_FILES};
    struct log_file *file = NULL;
    struct error err;

    assert_ok(log_file_open(&file, &options, take_line, lines, report, &err));
    return file;
}

static int make(void **state)
{
    struct folder *folder = calloc(1, sizeof(*folder));

    signal(SIGXFSZ, SIG_IGN);
    folder_make(folder);
    *state = folder;
    return 0;
}

static int drop(void **state)
{
    folder_limit(RLIM_INFINITY);
    folder_remove(*state);
    free(*state);
    return 0;
}

static void append(struct log_file *file, const char *text)
{
    struct error err;

    assert_ok(log_file_append(file, text, strlen(text), &err));
}

/* ---- what a crash leaves behind ---- */

static const struct tail_row {
    const char *name, *before, *after, *lines;
    int64_t cut_bytes, unreadable;
    bool completed;
} tail_rows[] = {
    {"whole lines stay", "{1}\n{2}\n", "{1}\n{2}\n", "{1}|{2}|", 0, 0, false},
    {"an empty file is one", "", "", "", 0, 0, false},
    {"a torn last line is cut off", "{1}\n{2", "{1}\n", "{2|{1}|", 2, 0, false},
    {"a torn first line leaves nothing", "{1", "", "{1|", 2, 0, false},
    {"only the line feed is missing", "{1}\n{2}", "{1}\n{2}\n", "{2}|{1}|{2}|", 0, 0, true},
    {"a line in the middle that is no line stays", "{1}\nx\n{2}\n", "{1}\nx\n{2}\n", "{1}|x|{2}|",
     0, 1, false},
};

static void check_tail(void **state)
{
    const struct tail_row *row = *state;
    struct folder folder;
    AUTO(buffer_free) struct buffer lines = {0};
    struct log_file_report report;

    folder_make(&folder);
    folder_write(&folder, "x.log", row->before);
    struct log_file *file = open_in(&folder, &lines, &report);
    folder_has(&folder, "x.log", row->after);
    assert_string_equal(lines.data ? lines.data : "", row->lines);
    assert_int_equal(report.cut_bytes, row->cut_bytes);
    assert_int_equal(report.unreadable, row->unreadable);
    assert_int_equal(report.completed, row->completed);

    append(file, "{new}\n"); /* and what follows is a line of its own */
    AUTO(buffer_free) struct buffer want = {0};
    buffer_print(&want, "%s{new}\n", row->after);
    folder_has(&folder, "x.log", want.data);
    log_file_close(file);
    folder_remove(&folder);
}

static void a_torn_line_longer_than_any_is_cut_off(void **state)
{
    AUTO(buffer_free) struct buffer lines = {0};
    AUTO(buffer_free) struct buffer text = {0};
    struct log_file_report report;

    buffer_text(&text, "{1}\n");
    memset(buffer_reserve(&text, 200000), 0, 200000); /* zeroes: the size came before the data */
    text.size += 200000;
    FILE *out = fopen(folder_file(*state, "x.log"), "we");
    assert_int_equal(fwrite(text.data, 1, text.size, out), text.size);
    assert_int_equal(fclose(out), 0);
    AUTO(log_file_close) struct log_file *file = open_in(*state, &lines, &report);
    assert_int_equal(report.cut_bytes, 200000);
    assert_int_equal(log_file_size(file), 4);
    folder_has(*state, "x.log", "{1}\n");
}

/* ---- a disk that is full ---- */

static void a_write_that_ends_half_way_leaves_nothing(void **state)
{
    AUTO(buffer_free) struct buffer lines = {0};
    struct log_file_report report;
    AUTO(log_file_close) struct log_file *file = open_in(*state, &lines, &report);
    struct error err;

    append(file, "{1}\n");
    folder_limit(7); /* three bytes of the next line */
    bool done = log_file_append(file, "{2}\n{3}\n", 8, &err);
    folder_limit(RLIM_INFINITY);
    assert_false(done);
    assert_int_equal(err.code, ERROR_FULL);
    folder_has(*state, "x.log", "{1}\n");
    assert_int_equal(log_file_size(file), 4);
    append(file, "{2}\n");
    folder_has(*state, "x.log", "{1}\n{2}\n");
}

/* ---- rotation ---- */

static void append_and_rotate(struct log_file *file, const char *text)
{
    struct error err;

    append(file, text);
    assert_ok(log_file_rotate(file, &err));
}

static void files_move_up_and_the_oldest_goes(void **state)
{
    AUTO(buffer_free) struct buffer lines = {0};
    struct log_file_report report;
    struct log_file *file = open_in(*state, &lines, &report);

    append_and_rotate(file, "{a}\n");
    folder_has(*state, "x.log", "{a}\n"); /* too small yet */
    append_and_rotate(file, "{a234567890123}\n");
    folder_has(*state, "x.log", "");
    assert_int_equal(log_file_size(file), 0);
    folder_has(*state, "x.log.1", "{a}\n{a234567890123}\n");
    append_and_rotate(file, "{b23456789012345678}\n");
    append_and_rotate(file, "{c23456789012345678}\n");
    append_and_rotate(file, "{d23456789012345678}\n");
    append(file, "{e}\n");
    folder_has(*state, "x.log", "{e}\n");
    folder_has(*state, "x.log.1", "{d23456789012345678}\n");
    folder_has(*state, "x.log.3", "{b23456789012345678}\n");
    folder_has(*state, "x.log.4", NULL);
    log_file_close(file);

    file = open_in(*state, &lines, &report); /* and all are read again, the oldest first */
    assert_string_equal(lines.data, "{b23456789012345678}|{c23456789012345678}|"
                                    "{d23456789012345678}|{e}|");
    assert_int_equal(report.lines, 4);
    log_file_close(file);
}

static void a_rotation_that_fails_moves_nothing_out(void **state)
{
    AUTO(buffer_free) struct buffer lines = {0};
    struct log_file_report report;
    struct error err;

    folder_write(*state, "x.log.1", "{1}\n");
    folder_write(*state, "x.log.2", "{2}\n");
    AUTO(log_file_close) struct log_file *file = open_in(*state, &lines, &report);
    append(file, "{b23456789012345678}\n");
    assert_int_equal(mkdir(folder_file(*state, "x.log.3"), 0700), 0); /* no file can take it */
    assert_fails(log_file_rotate(file, &err), ERROR_UNAVAILABLE);
    assert_fails(log_file_rotate(file, &err), ERROR_UNAVAILABLE);
    folder_has(*state, "x.log.2", "{2}\n");
    folder_has(*state, "x.log.1", "{1}\n");
    append(file, "{c}\n");
    folder_has(*state, "x.log", "{b23456789012345678}\n{c}\n");
}

static void a_gap_in_the_numbers_is_filled(void **state)
{
    AUTO(buffer_free) struct buffer lines = {0};
    struct log_file_report report;

    folder_write(*state, "x.log.1", "{1}\n");
    folder_write(*state, "x.log.3", "{3}\n");
    AUTO(log_file_close) struct log_file *file = open_in(*state, &lines, &report);
    append_and_rotate(file, "{b23456789012345678}\n");
    folder_has(*state, "x.log.1", "{b23456789012345678}\n");
    folder_has(*state, "x.log.2", "{1}\n");
    folder_has(*state, "x.log.3", "{3}\n");
}

static void a_file_moved_away_is_made_anew(void **state)
{
    AUTO(buffer_free) struct buffer lines = {0};
    struct log_file_report report;
    AUTO(log_file_close) struct log_file *file = open_in(*state, &lines, &report);
    char moved[128];

    append(file, "{1}\n");
    snprintf(moved, sizeof(moved), "%s", folder_file(*state, "x.log.1"));
    assert_int_equal(rename(folder_file(*state, "x.log"), moved), 0);
    append(file, "{2}\n");
    folder_has(*state, "x.log.1", "{1}\n");
    folder_has(*state, "x.log", "{2}\n");
    assert_int_equal(unlink(folder_file(*state, "x.log")), 0);
    append(file, "{3}\n");
    folder_has(*state, "x.log", "{3}\n");
}

static void a_file_cut_by_others_goes_on_at_its_end(void **state)
{
    AUTO(buffer_free) struct buffer lines = {0};
    struct log_file_report report;
    AUTO(log_file_close) struct log_file *file = open_in(*state, &lines, &report);
    struct error err;

    append(file, "{1}\n");
    append(file, "{2}\n");
    assert_int_equal(truncate(folder_file(*state, "x.log"), 0), 0);
    folder_limit(2);
    bool done = log_file_append(file, "{2}\n", 4, &err);
    folder_limit(RLIM_INFINITY);
    assert_false(done);
    folder_has(*state, "x.log", "");
    append(file, "{3}\n");
    folder_has(*state, "x.log", "{3}\n");
}

/* ---- one writer ---- */

static void a_second_writer_is_refused(void **state)
{
    AUTO(buffer_free) struct buffer lines = {0};
    struct log_file_report report;
    struct log_file *file = open_in(*state, &lines, &report), *second = NULL;
    struct folder *folder = *state;
    struct log_file_options options = {
        .dir = folder->path, .name = "x.log", .rotate_bytes = 100, .keep_files = 1};
    struct error err;

    assert_fails(log_file_open(&second, &options, take_line, &lines, &report, &err),
                 ERROR_CONFLICT);
    assert_non_null(strstr(err.message, "another writer"));
    log_file_close(file);
    assert_ok(log_file_open(&second, &options, take_line, &lines, &report, &err));
    log_file_close(second);
}

static void a_folder_that_is_not_there_is_said(void **state)
{
    AUTO(buffer_free) struct buffer lines = {0};
    struct log_file_report report;
    struct log_file *file = NULL;
    struct log_file_options options = {.dir = folder_file(*state, "absent"), .name = "x.log"};
    struct error err;

    assert_fails(log_file_open(&file, &options, take_line, &lines, &report, &err),
                 ERROR_UNAVAILABLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_torn_line_longer_than_any_is_cut_off),
        TEST(a_write_that_ends_half_way_leaves_nothing),
        TEST(files_move_up_and_the_oldest_goes),
        TEST(a_rotation_that_fails_moves_nothing_out),
        TEST(a_gap_in_the_numbers_is_filled),
        TEST(a_file_moved_away_is_made_anew),
        TEST(a_file_cut_by_others_goes_on_at_its_end),
        TEST(a_second_writer_is_refused),
        TEST(a_folder_that_is_not_there_is_said),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return failed + RUN_ROWS(tail_rows, check_tail);
}
