/* The service from its HTTP side, and what is left of it when it is killed. */
#include "writer.h"

#include "unit/writer_folder.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/http_client.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define NDJSON "application/x-ndjson"
#define TIMES "\"entryTime\":\"2026-01-01T10:00:00Z\",\"exitTime\":\"2026-01-01T13:00:30.5+02:00\""
#define ID_A "01890a5d-ac96-774b-bcce-b302099a8057"
#define ID_B "01890a5d-ac96-774b-bcce-b302099a8058"
#define LINE_A                                                                                     \
    "{\"vehicle\":\"ABC123\",\"entryTime\":\"2026-01-01T10:00:00.000Z\","                          \
    "\"exitTime\":\"2026-01-01T11:00:30.500Z\",\"duration\":3630.5,\"matched\":true,\"id\":"       \
    "\"" ID_A "\"}\n"

/* ---- the service under test ---- */

struct fixture {
    struct folder folder;
    struct writer_settings settings;
    struct metrics *metrics;
    struct writer *writer;
    struct http_server *server;
    struct http_client *client;
    struct http_result result; /* of the last post */
    char url[64];
};

static void start_writer(struct fixture *fixture)
{
    struct http_options options = {.service = "writer",
                                   .body_max = (size_t)fixture->settings.bulk_max_bytes,
                                   .checks = writer_checks};
    struct error err;

    fixture->metrics = metrics_new();
    options.metrics = fixture->metrics;
    assert_ok(writer_open(&fixture->writer, &fixture->settings, fixture->metrics, &err));
    assert_ok(http_start(&fixture->server, &options, writer_routes, fixture->writer, &err));
    snprintf(fixture->url, sizeof(fixture->url), "http://127.0.0.1:%d", http_port(fixture->server));
}

static void stop_writer(struct fixture *fixture)
{
    http_stop(fixture->server);
    writer_close(fixture->writer);
    metrics_free(fixture->metrics);
}

/* The defaults of the table, but for what a test needs smaller. */
static void default_settings(struct fixture *fixture)
{
    struct error err;

    assert_ok(config_load(writer_settings_table, &fixture->settings, stderr, &err));
    fixture->settings.dir = fixture->folder.path;
    fixture->settings.bulk_max_lines = 5000;
}

static int make(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    signal(SIGXFSZ, SIG_IGN);
    log_start("writer", LOG_WARNING, LOG_JSON);
    folder_make(&fixture->folder);
    default_settings(fixture);
    start_writer(fixture);
    fixture->client = http_client_new("test");
    *state = fixture;
    return 0;
}

static int drop(void **state)
{
    struct fixture *fixture = *state;

    http_client_free(fixture->client);
    stop_writer(fixture);
    folder_remove(&fixture->folder);
    free(fixture);
    return 0;
}

static const char *post(struct fixture *fixture, const char *path, const char *type,
                        const char *body)
{
    char url[128];
    struct http_call call = {
        .method = "POST", .url = url, .type = type, .body = body, .size = strlen(body)};
    struct error err;

    snprintf(url, sizeof(url), "%s%s", fixture->url, path);
    assert_ok(http_client_call(fixture->client, &call, &fixture->result, &err));
    return fixture->result.body;
}

static void has_file(const struct fixture *fixture, const char *want)
{
    folder_has(&fixture->folder, "vehicle_summary.log", want);
}

/* ---- one line ---- */

static const struct line_row {
    const char *name, *body;
    int status;
    const char *answer; /* a part of it */
    const char *line;   /* the file afterwards; NULL: nothing */
} line_rows[] = {
    {"a line with everything",
     "{\"vehicle\":\"ABC123\"," TIMES ",\"duration\":7.5,\"matched\":false,\"id\":\"" ID_A
     "\",\"revision\":2,\"withdrawn\":true,\"more\":[1]}",
     200, "{\"status\":\"written\",\"id\":\"" ID_A "\"}",
     "{\"vehicle\":\"ABC123\",\"entryTime\":\"2026-01-01T10:00:00.000Z\","
     "\"exitTime\":\"2026-01-01T11:00:30.500Z\",\"duration\":7.5,\"matched\":false,\"id\":\"" ID_A
     "\",\"revision\":2,\"withdrawn\":true}\n"},
    {"the duration is worked out, and a match is assumed",
     "{\"vehicle\":\"ABC123\"," TIMES ",\"id\":\"" ID_A "\"}", 200, ID_A, LINE_A},
    {"without an id one is derived", "{\"vehicle\":\"A-1\"," TIMES "}", 200,
     "\"id\":\"b2e139a0-5429-8a5c-a64d-589663d61ec0\"",
     "{\"vehicle\":\"A-1\",\"entryTime\":\"2026-01-01T10:00:00.000Z\","
     "\"exitTime\":\"2026-01-01T11:00:30.500Z\",\"duration\":3630.5,\"matched\":true,"
     "\"id\":\"b2e139a0-5429-8a5c-a64d-589663d61ec0\"}\n"},
    {"no vehicle", "{" TIMES "}", 422, "/vehicle", NULL},
    {"a plate in small letters", "{\"vehicle\":\"abc123\"," TIMES "}", 422, "/vehicle", NULL},
    {"a plate with a line feed", "{\"vehicle\":\"AB\\nC\"," TIMES "}", 422, "/vehicle", NULL},
    {"no exit", "{\"vehicle\":\"ABC123\",\"entryTime\":\"2026-01-01T10:00:00Z\"}", 422, "/exitTime",
     NULL},
    {"a time without a zone",
     "{\"vehicle\":\"ABC123\",\"entryTime\":\"2026-01-01T10:00:00\","
     "\"exitTime\":\"2026-01-01T10:00:00Z\"}",
     422, "/entryTime", NULL},
    {"an exit before the entry",
     "{\"vehicle\":\"ABC123\",\"entryTime\":\"2026-01-01T10:00:00Z\","
     "\"exitTime\":\"2026-01-01T09:59:59.999Z\"}",
     422, "/exitTime", NULL},
    {"a negative duration", "{\"vehicle\":\"ABC123\"," TIMES ",\"duration\":-1}", 422, "/duration",
     NULL},
    {"a duration beyond counting", "{\"vehicle\":\"ABC123\"," TIMES ",\"duration\":1e999}", 422,
     "/duration", NULL},
    {"an id that is none", "{\"vehicle\":\"ABC123\"," TIMES ",\"id\":\"7\"}", 422, "/id", NULL},
    {"a match that is a word", "{\"vehicle\":\"ABC123\"," TIMES ",\"matched\":\"yes\"}", 422,
     "/matched", NULL},
    {"no JSON", "vehicle=ABC123", 400, "json_syntax", NULL},
    {"nothing", "", 400, "json_empty", NULL},
    {"two objects are no object", "{\"vehicle\":\"ABC123\"," TIMES "}{}", 400, "json_syntax", NULL},
    {"a list", "[]", 422, "wrong_type", NULL},
};

static void check_line(void **state)
{
    const struct line_row *row = *state;
    void *made;
    make(&made);
    struct fixture *fixture = made;

    const char *body = post(fixture, "/log", "application/json", row->body);
    if (fixture->result.status != row->status || !strstr(body, row->answer))
        fail_msg("%d %s", fixture->result.status, body);
    has_file(fixture, row->line ? row->line : "");
    drop(&made);
}

static void a_line_that_is_too_large_is_413(void **state)
{
    AUTO(buffer_free) struct buffer body = {0};

    buffer_print(&body, "{\"vehicle\":\"ABC123\"," TIMES ",\"x\":\"%020000d\"}", 0);
    struct fixture *fixture = *state;
    post(fixture, "/log", "application/json", body.data);
    assert_int_equal(fixture->result.status, 413);
    has_file(fixture, "");
}

static void a_line_is_written_once(void **state)
{
    static const char body[] = "{\"vehicle\":\"ABC123\"," TIMES ",\"id\":\"" ID_A "\"}";
    struct fixture *fixture = *state;

    assert_string_equal(post(fixture, "/log", "text/plain", body),
                        "{\"status\":\"written\",\"id\":\"" ID_A "\"}");
    assert_string_equal(post(fixture, "/", NULL, ""), fixture->result.body); /* the forerunner's */
    assert_int_equal(fixture->result.status, 400);
    assert_string_equal(post(fixture, "/", "application/json", body),
                        "{\"status\":\"written\",\"id\":\"" ID_A "\",\"duplicate\":true}");
    stop_writer(fixture);
    start_writer(fixture);
    assert_string_equal(post(fixture, "/log", "application/json", body),
                        "{\"status\":\"written\",\"id\":\"" ID_A "\",\"duplicate\":true}");
    has_file(fixture, LINE_A);
}

/* ---- many lines ---- */

static void lines_are_answered_one_by_one(void **state)
{
    struct fixture *fixture = *state;

    assert_string_equal(
        post(fixture, "/log", NDJSON,
             "{\"vehicle\":\"ABC123\"," TIMES ",\"id\":\"" ID_A "\"}\r\n\n"
             "{\"vehicle\":\"abc\"," TIMES "}\n{\n"
             "{\"vehicle\":\"ABC123\"," TIMES ",\"id\":\"" ID_A "\"}"),
        "{\"line\":1,\"status\":200,\"id\":\"" ID_A "\"}\n"
        "{\"line\":3,\"status\":422,\"code\":\"bad_format\",\"pointer\":\"/vehicle\",\"detail\":"
        "\"field 'vehicle': want capital letters, digits and hyphens, with a letter or digit at "
        "both ends\"}\n"
        "{\"line\":4,\"status\":400,\"code\":\"json_syntax\",\"detail\":\"want a name at byte "
        "1\"}\n"
        "{\"line\":5,\"status\":200,\"id\":\"" ID_A "\",\"duplicate\":true}\n");
    assert_int_equal(fixture->result.status, 200);
    assert_string_equal(fixture->result.type, NDJSON);
    has_file(fixture, LINE_A);
}

static void lines_that_are_all_wrong_are_answered_as_well(void **state)
{
    struct fixture *fixture = *state;

    assert_non_null(strstr(post(fixture, "/log", NDJSON, "{}\n"), "{\"line\":1,\"status\":422"));
    assert_int_equal(fixture->result.status, 200);
    post(fixture, "/log", NDJSON, "\n\n");
    assert_int_equal(fixture->result.status, 400);
}

static void more_lines_than_allowed_are_413(void **state)
{
    struct fixture *fixture = *state;
    AUTO(buffer_free) struct buffer body = {0};

    for (int i = 0; i < 5001; i++)
        buffer_print(&body, "{\"vehicle\":\"A%d\"," TIMES "}\n", i);
    post(fixture, "/log", NDJSON, body.data);
    assert_int_equal(fixture->result.status, 413);
    has_file(fixture, "");
}

/* ---- a file that cannot be written ---- */

static void a_full_disk_is_503_and_no_torn_line(void **state)
{
    static const char one[] = "{\"vehicle\":\"ABC123\"," TIMES ",\"id\":\"" ID_A "\"}";
    static const char two[] = "{\"vehicle\":\"ABC123\"," TIMES ",\"id\":\"" ID_A "\"}\n"
                              "{\"vehicle\":\"ABC124\"," TIMES ",\"id\":\"" ID_B "\"}\n{}";
    struct fixture *fixture = *state;

    folder_limit(strlen(LINE_A) + 10);
    post(fixture, "/log", NDJSON, two);
    folder_limit(RLIM_INFINITY);
    assert_int_equal(fixture->result.status, 503);
    assert_true(fixture->result.retry_after_ms > 0);
    has_file(fixture, "");

    assert_string_equal(post(fixture, "/log", "application/json", one), /* not a duplicate */
                        "{\"status\":\"written\",\"id\":\"" ID_A "\"}");
    has_file(fixture, LINE_A);
}

static void readiness_follows_the_folder(void **state)
{
    struct fixture *fixture = *state;
    const struct http_check *check = &writer_checks[0];
    char away[96];
    struct error err;

    assert_ok(check->check(fixture->writer, &err));
    snprintf(away, sizeof(away), "%s-away", fixture->folder.path);
    assert_int_equal(rename(fixture->folder.path, away), 0);
    assert_fails(check->check(fixture->writer, &err), ERROR_UNAVAILABLE);
    post(fixture, "/log", "application/json", "{\"vehicle\":\"ABC123\"," TIMES "}");
    assert_int_equal(fixture->result.status, 503); /* rather than into a file that nobody finds */
    assert_int_equal(rename(away, fixture->folder.path), 0);
    assert_ok(check->check(fixture->writer, &err));
    post(fixture, "/log", "application/json", "{\"vehicle\":\"ABC123\"," TIMES "}");
    assert_int_equal(fixture->result.status, 200);
}

/* ---- the queue ---- */

static void nothing(void *context, const struct error *err)
{
    (void)err;
    atomic_fetch_add((atomic_int *)context, 1);
}

/* The thread stands in the done of the first job until it is told to go on. */
struct stop {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool standing, go_on;
};

static void stand(void *context, const struct error *err)
{
    struct stop *stop = context;

    (void)err;
    pthread_mutex_lock(&stop->lock);
    stop->standing = true;
    pthread_cond_broadcast(&stop->changed);
    while (!stop->go_on)
        pthread_cond_wait(&stop->changed, &stop->lock);
    pthread_mutex_unlock(&stop->lock);
}

static void signal_stop(struct stop *stop, bool *flag, bool wait)
{
    pthread_mutex_lock(&stop->lock);
    if (!wait)
        *flag = true;
    while (wait && !*flag)
        pthread_cond_wait(&stop->changed, &stop->lock);
    pthread_cond_broadcast(&stop->changed);
    pthread_mutex_unlock(&stop->lock);
}

#define WAITING_MAX 3
#define JOBS (WAITING_MAX + 2)

/* Jobs of one line each; the first one holds the thread. */
struct queue_test {
    struct stop stop;
    struct appender_line lines[JOBS];
    struct appender_job jobs[JOBS];
    atomic_int told;
};

static void fill(struct queue_test *test)
{
    pthread_mutex_init(&test->stop.lock, NULL);
    pthread_cond_init(&test->stop.changed, NULL);
    for (uint32_t i = 0; i < JOBS; i++) {
        test->lines[i] = (struct appender_line){.id = id_derive("t", &i, sizeof(i)), .size = 3};
        test->jobs[i] = (struct appender_job){.bytes = "{}\n",
                                              .lines = &test->lines[i],
                                              .count = 1,
                                              .done = i ? nothing : stand,
                                              .context = i ? (void *)&test->told : &test->stop};
    }
}

static struct metrics_cell *counter(struct fixture *fixture)
{
    static const struct metrics_description syncs = {
        .kind = METRICS_COUNTER, .name = "test_syncs", .help = "Syncs"};

    return metrics_cell(metrics_family(fixture->metrics, &syncs), NULL);
}

static void what_waits_is_bounded_and_shares_a_sync(void **state)
{
    struct fixture *fixture = *state;
    struct appender *appender = NULL;
    struct appender_options options = {.file = fixture->writer->file,
                                       .ids = fixture->writer->ids,
                                       .waiting_max = WAITING_MAX,
                                       .batches = counter(fixture)};
    struct queue_test test = {0};
    struct error err;

    fill(&test);
    assert_ok(appender_start(&appender, &options, &err));
    assert_ok(appender_add(appender, &test.jobs[0], &err));
    signal_stop(&test.stop, &test.stop.standing, true);
    for (int i = 1; i <= WAITING_MAX; i++)
        assert_ok(appender_add(appender, &test.jobs[i], &err));
    assert_fails(appender_add(appender, &test.jobs[JOBS - 1], &err), ERROR_FULL);
    signal_stop(&test.stop, &test.stop.go_on, false);
    appender_stop(appender);
    assert_int_equal(test.told, WAITING_MAX); /* whatever was taken is told before the end */
    assert_int_equal((int)metrics_value(options.batches), 2);
}

/* ---- killed while many write ---- */

#define CLIENTS 50
#define ANSWERS_BEFORE_KILL 1000

struct load {
    char url[64];
    atomic_int answered;
    atomic_bool over;
};

struct poster {
    struct load *load;
    pthread_t thread;
    uint32_t number, sent, answered; /* its ids are made of its number and these counts */
};

static struct id poster_id(uint32_t number, uint32_t count)
{
    uint32_t key[2] = {number, count};

    return id_derive("poster", key, sizeof(key));
}

static void print_line(struct buffer *out, const struct id *id)
{
    char text[ID_TEXT_SIZE];

    id_format(id, text);
    buffer_print(out, "{\"vehicle\":\"ABC123\"," TIMES ",\"id\":\"%s\"}\n", text);
}

static void *post_until_it_ends(void *context)
{
    struct poster *poster = context;
    AUTO(http_client_free) struct http_client *client = http_client_new("test");
    AUTO(buffer_free) struct buffer body = {0};
    struct http_call call = {.method = "POST", .url = poster->load->url, .type = "text/plain"};
    struct http_result result;
    struct error err;

    for (;; poster->answered++) {
        struct id id = poster_id(poster->number, poster->sent++);
        buffer_clear(&body);
        print_line(&body, &id);
        call.body = body.data;
        call.size = body.size;
        if (!http_client_call(client, &call, &result, &err) || result.status != 200)
            return NULL;
        atomic_fetch_add(&poster->load->answered, 1);
    }
}

/* The service in a process of its own; returns its port. */
static pid_t start_child(struct fixture *fixture, int *out_port)
{
    int pipe_fds[2];

    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0) {
        start_writer(fixture);
        int port = http_port(fixture->server);
        (void)!write(pipe_fds[1], &port, sizeof(port));
        for (;;)
            pause();
    }
    assert_true(child > 0);
    assert_int_equal(read(pipe_fds[0], out_port, sizeof(*out_port)), sizeof(*out_port));
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return child;
}

static void run_and_kill(struct fixture *fixture, struct poster *posters)
{
    struct load load = {0};
    int port, status;
    pid_t child = start_child(fixture, &port);
    int64_t until_ms = clock_steady_ms(clock_system()) + 20000;

    snprintf(load.url, sizeof(load.url), "http://127.0.0.1:%d/log", port);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        posters[i].load = &load;
        posters[i].number = i;
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_until_it_ends, &posters[i]),
                         0);
    }
    while (load.answered < ANSWERS_BEFORE_KILL && clock_steady_ms(clock_system()) < until_ms)
        poll(NULL, 0, 1);
    kill(child, SIGKILL);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(posters[i].thread, NULL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(load.answered >= ANSWERS_BEFORE_KILL);
}

static void read_all(const struct fixture *fixture, struct buffer *out)
{
    glob_t found;

    assert_int_equal(glob(folder_file(&fixture->folder, "vehicle_summary.log*"), 0, NULL, &found),
                     0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        folder_read(found.gl_pathv[i], out);
    globfree(&found);
}

static int count_of(const struct buffer *text, const struct id *id)
{
    char word[ID_TEXT_SIZE];
    int count = 0;

    id_format(id, word);
    for (const char *at = text->data; at && (at = strstr(at, word)); at++)
        count++;
    return count;
}

/* Each id of a poster: answered ones are there, and none is there twice. */
static void check_poster(const struct buffer *text, const struct poster *poster, bool repeated)
{
    for (uint32_t i = 0; i < poster->sent; i++) {
        struct id id = poster_id(poster->number, i);
        int count = count_of(text, &id);
        if (count > 1 || (count == 0 && (repeated || i < poster->answered)))
            fail_msg("%d of line %u of client %u", count, i, poster->number);
    }
}

static void repeat_all(struct fixture *fixture, const struct poster *posters)
{
    AUTO(buffer_free) struct buffer body = {0};

    for (int p = 0; p < CLIENTS; p++) {
        buffer_clear(&body);
        for (uint32_t i = 0; i < posters[p].sent; i++) {
            struct id id = poster_id(posters[p].number, i);
            print_line(&body, &id);
        }
        post(fixture, "/log", NDJSON, body.data);
        assert_int_equal(fixture->result.status, 200);
    }
}

static void what_was_answered_survives_a_kill(void **state)
{
    struct poster *posters = calloc(CLIENTS, sizeof(*posters));
    struct fixture *fixture = *state;
    AUTO(buffer_free) struct buffer before = {0};
    AUTO(buffer_free) struct buffer after = {0};

    stop_writer(fixture);
    fixture->settings.rotate_bytes = 20000; /* among them are rotations */
    fixture->settings.keep_files = 1000;
    run_and_kill(fixture, posters);
    read_all(fixture, &before);
    for (int i = 0; i < CLIENTS; i++)
        check_poster(&before, &posters[i], false);

    start_writer(fixture);
    repeat_all(fixture, posters);
    read_all(fixture, &after);
    for (int i = 0; i < CLIENTS; i++)
        check_poster(&after, &posters[i], true);
    free(posters);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_answered_survives_a_kill),
        TEST(a_line_that_is_too_large_is_413),
        TEST(a_line_is_written_once),
        TEST(lines_are_answered_one_by_one),
        TEST(lines_that_are_all_wrong_are_answered_as_well),
        TEST(more_lines_than_allowed_are_413),
        TEST(a_full_disk_is_503_and_no_torn_line),
        TEST(readiness_follows_the_folder),
        TEST(what_waits_is_bounded_and_shares_a_sync),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return failed + RUN_ROWS(line_rows, check_line);
}
