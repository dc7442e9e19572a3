#include "support/test.h"

#include "base/document.h"
#include "base/log.h"
#include "base/rfc3339.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_SIZE 8192
#define THREADS 4
#define LINES 25

/* In place of stderr: a socket that keeps writes apart, so that a line must be one write. */
struct capture {
    int saved, reader;
};

static void capture_start(struct capture *capture)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    capture->saved = dup(STDERR_FILENO);
    capture->reader = ends[0];
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
}

static void capture_stop(struct capture *capture)
{
    dup2(capture->saved, STDERR_FILENO);
    close(capture->saved);
}

/* One line without its newline; false when nothing more was written. */
static bool read_line(const struct capture *capture, char line[LINE_SIZE])
{
    ssize_t size = recv(capture->reader, line, LINE_SIZE - 1, MSG_DONTWAIT);

    if (size <= 0)
        return false;
    assert_int_equal(line[size - 1], '\n');
    line[size - 1] = '\0';
    assert_null(strchr(line, '\n'));
    return true;
}

#define CAPTURE(line, call)                                                                        \
    ({                                                                                             \
        struct capture capture_;                                                                   \
        capture_start(&capture_);                                                                  \
        call;                                                                                      \
        capture_stop(&capture_);                                                                   \
        bool got_ = read_line(&capture_, line);                                                    \
        close(capture_.reader);                                                                    \
        got_;                                                                                      \
    })

static void json_has_the_members_in_order(void **state)
{
    char line[LINE_SIZE];
    int64_t time_ms;

    (void)state;
    log_start("processor", LOG_INFO, LOG_JSON);
    assert_true(CAPTURE(
        line, log_info("stored a batch", log_text("topic", "logs"), log_int("rows", -500))));
    assert_int_equal(strncmp(line, "{\"timestamp\":\"", 14), 0);
    assert_true(rfc3339_parse(line + 14, 24, &time_ms));
    assert_string_equal(line + 38,
                        "\",\"level\":\"INFO\",\"service\":\"processor\","
                        "\"message\":\"stored a batch\",\"topic\":\"logs\",\"rows\":-500}");
}

static void text_is_for_people(void **state)
{
    char line[LINE_SIZE];
    int64_t time_ms;

    (void)state;
    log_start("processor", LOG_INFO, LOG_TEXT);
    assert_true(
        CAPTURE(line, log_info("stored a batch", log_text("topic", "logs"), log_int("rows", 500))));
    assert_true(rfc3339_parse(line, 24, &time_ms));
    assert_string_equal(line + 24, " INFO  processor stored a batch topic=logs rows=500");
}

static const struct level_row {
    const char *name;
    enum log_level least, level;
    bool written;
} level_rows[] = {
    {"debug is below info", LOG_INFO, LOG_DEBUG, false},
    {"info is info", LOG_INFO, LOG_INFO, true},
    {"debug on request", LOG_DEBUG, LOG_DEBUG, true},
    {"warning is below error", LOG_ERROR, LOG_WARNING, false},
    {"error is always written", LOG_ERROR, LOG_ERROR, true},
};

static void filters_by_level(void **state)
{
    const struct level_row *row = *state;
    char line[LINE_SIZE];

    log_start("test", row->least, LOG_JSON);
    assert_int_equal(CAPTURE(line, log_write(row->level, "said", LOG_FIELDS())), row->written);
}

static const struct text_row {
    const char *name, *text, *json, *shown; /* what a reader of JSON gets; how LOG_TEXT shows it */
} text_rows[] = {
    {"plain text", "plain", "plain", "plain"},
    {"no text", "", "", "\"\""},
    {"a space", "a b", "a b", "\"a b\""},
    {"a quote and a backslash", "a\"\\", "a\"\\", "\"a\\\"\\\\\""},
    {"a line break stays in the line", "a\nb", "a\nb", "a\\nb"},
    {"a terminal is not given orders", "\x1b[2J\x7f", "\x1b[2J\x7f", "\\x1b[2J\\x7f"},
    {"characters of many bytes", "5 °C 🚗", "5 °C 🚗", "\"5 °C 🚗\""},
    {"a byte that is not text",
     "a\xff"
     "b",
     "a\xef\xbf\xbd"
     "b",
     "a\xef\xbf\xbd"
     "b"},
    {"a character cut short", "a\xe2\x82", "a\xef\xbf\xbd\xef\xbf\xbd",
     "a\xef\xbf\xbd\xef\xbf\xbd"},
    {"an overlong slash", "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd", "\xef\xbf\xbd\xef\xbf\xbd"},
};

static void takes_any_bytes(void **state)
{
    const struct text_row *row = *state;
    char line[LINE_SIZE], want[256];
    AUTO(document_free) struct document *document = NULL;
    struct error err;

    log_start("test", LOG_INFO, LOG_JSON);
    assert_true(CAPTURE(line, log_info(row->text, log_text("field", row->text))));
    assert_ok(document_parse(&document, line, strlen(line), &err));
    assert_string_equal(document_text(document, "message"), row->json);
    assert_string_equal(document_text(document, "field"), row->json);

    log_start("test", LOG_INFO, LOG_TEXT);
    assert_true(CAPTURE(line, log_info("said", log_text("field", row->text))));
    snprintf(want, sizeof(want), " INFO  test said field=%s", row->shown);
    assert_string_equal(line + 24, want);
}

static void long_text_is_cut_between_characters(void **state)
{
    AUTO(buffer_free) struct buffer text = {0};
    char line[LINE_SIZE];
    AUTO(document_free) struct document *document = NULL;
    struct error err;

    (void)state;
    buffer_text(&text, "x");
    for (int i = 0; i < 2000; i++)
        buffer_text(&text, "🚗");
    log_start("test", LOG_INFO, LOG_JSON);
    assert_true(CAPTURE(line, log_info("long", log_text("field", text.data))));
    assert_ok(document_parse(&document, line, strlen(line), &err));
    const char *kept = document_text(document, "field");
    assert_int_equal(strlen(kept), 1 + 255 * 4 + strlen("…"));
    assert_string_equal(kept + strlen(kept) - 7, "🚗…");
}

static void *write_lines(void *context)
{
    (void)context;
    for (int i = 0; i < LINES; i++)
        log_info("from a thread", log_int("line", i));
    return NULL;
}

static void threads_write_whole_lines(void **state)
{
    pthread_t threads[THREADS];
    struct capture capture;
    char line[LINE_SIZE];
    int count = 0;

    (void)state;
    log_start("test", LOG_INFO, LOG_JSON);
    capture_start(&capture);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    capture_stop(&capture);
    while (read_line(&capture, line)) {
        count++;
        assert_int_equal(line[strlen(line) - 1], '}');
    }
    close(capture.reader);
    assert_int_equal(count, THREADS * LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_the_members_in_order),
        cmocka_unit_test(text_is_for_people),
        cmocka_unit_test(long_text_is_cut_between_characters),
        cmocka_unit_test(threads_write_whole_lines),
    };

    return RUN_ROWS(level_rows, filters_by_level) + RUN_ROWS(text_rows, takes_any_bytes) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
