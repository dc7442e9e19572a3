/* The command line as it is typed: usage, help, completion, the man page; without a broker. */
#include "support/test.h"

#include "command.h"
#include "option.h"

#include "base/buffer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 12

/* What a run of the program said. */
struct run {
    int code;
    struct buffer out, err;
};

static void run_free(struct run *run)
{
    buffer_free(&run->out);
    buffer_free(&run->err);
}

static void auto_run_free(struct run *run)
{
    run_free(run);
}

static void read_all(int file, struct buffer *out)
{
    char piece[4096];
    ssize_t size;

    buffer_text(out, "");
    lseek(file, 0, SEEK_SET);
    while ((size = read(file, piece, sizeof(piece))) > 0)
        buffer_append(out, piece, (size_t)size);
    close(file);
}

static void become(const char *const *arguments, int out, int err)
{
    char *argv[ARGUMENTS_MAX + 2] = {strdup("millrace")};
    int argc = 1;

    for (; arguments[argc - 1]; argc++)
        argv[argc] = strdup(arguments[argc - 1]);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    unsetenv("BROKER_URL");
    int code = command_main(argc, argv);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    fflush(stdout);
    _exit(code);
}

/* In a process of its own: what it writes and how it ends are the process's. */
static struct run run(const char *const *arguments)
{
    int out = memfd_create("out", 0), err = memfd_create("err", 0), status = 0;
    struct run done = {0};

    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child == 0)
        become(arguments, out, err);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    done.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    read_all(out, &done.out);
    read_all(err, &done.err);
    return done;
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void expect_in(const char *what, const struct buffer *said, const char *want)
{
    if (!strstr(said->data, want))
        fail_msg("%s has no '%s': %s", what, want, said->data);
}

static const struct row {
    const char *name;
    const char *arguments[ARGUMENTS_MAX];
    int code;
    const char *out, *err; /* parts of what is said; "" nothing at all, NULL anything */
} rows[] = {
    {"help is data", {"help"}, EXIT_DONE, "dead replay [SEQUENCE]", ""},
    {"--help is help", {"--help"}, EXIT_DONE, "usage: millrace COMMAND", ""},
    {"help tells the exit codes", {"help"}, EXIT_DONE, "3  the broker or the database is away", ""},
    {"help of a command", {"help", "lag"}, EXIT_DONE, "usage: millrace lag [OPTIONS]", ""},
    {"help of a command of two words", {"help", "dead", "purge"}, EXIT_DONE, "--until-time", ""},
    {"--help of a command, anywhere", {"dead", "--help", "purge"}, EXIT_DONE, "--dry-run", ""},
    {"help needs none of the arguments", {"send", "-h"}, EXIT_DONE, "SUBJECT [MESSAGE]", ""},
    {"help of a group is of all in it", {"help", "dead"}, EXIT_DONE, "millrace dead show", ""},
    {"help of nothing there is", {"help", "cook"}, EXIT_USAGE, "", "no command 'cook'"},
    {"the version", {"--version"}, EXIT_DONE, "millrace " MILLRACE_VERSION, ""},
    {"no command", {NULL}, EXIT_USAGE, "", "a command is missing"},
    {"an unknown command, and the nearest", {"lagg"}, EXIT_USAGE, "", "did you mean 'lag'?"},
    {"letters that are swapped", {"sned", "a", "b"}, EXIT_USAGE, "", "did you mean 'send'?"},
    {"the nearest of two words", {"dead", "lst"}, EXIT_USAGE, "", "did you mean 'dead list'?"},
    {"a command like none", {"zzz"}, EXIT_USAGE, "", "there is no command 'zzz'; see"},
    {"half a command", {"dead"}, EXIT_USAGE, "", "dead list, dead show, dead replay, dead purge"},
    {"an unknown option, and the nearest",
     {"lag", "--jsno"},
     EXIT_USAGE,
     "",
     "no option '--jsno'; did you mean '--json'?"},
    {"an unknown letter", {"lag", "-x"}, EXIT_USAGE, "", "there is no option '-x'"},
    {"an option of another command", {"lag", "--rate", "3"}, EXIT_USAGE, "", "lag takes no --rate"},
    {"a missing argument is named", {"dead", "show"}, EXIT_USAGE, "", "SEQUENCE is missing"},
    {"one argument too many", {"lag", "x"}, EXIT_USAGE, "", "too many: 'x'"},
    {"two too many", {"lag", "x", "y"}, EXIT_USAGE, "", "too many: 'y'"},
    {"an option without its value", {"lag", "--max"}, EXIT_USAGE, "", "--max: N is missing"},
    {"a letter without its value", {"lag", "-n"}, EXIT_USAGE, "", "--max: N is missing"},
    {"a value for one that takes none", {"lag", "--json=1"}, EXIT_USAGE, "", "takes no value"},
    {"no number", {"lag", "--max", "5x"}, EXIT_USAGE, "", "--max '5x': want a whole number"},
    {"an empty number", {"lag", "--max", ""}, EXIT_USAGE, "", "--max ''"},
    {"a number with a blank", {"lag", "--max", " 5"}, EXIT_USAGE, "", "--max ' 5'"},
    {"too small a number", {"lag", "--max", "-1"}, EXIT_USAGE, "", "from 0 to"},
    {"too large a number", {"lag", "--timeout", "9999999"}, EXIT_USAGE, "", "from 50 to 600000"},
    {"no time", {"dead", "list", "--from-time", "monday"}, EXIT_USAGE, "", "'monday': want a time"},
    {"a plan and its doing", {"declare", "--plan", "--apply"}, EXIT_USAGE, "", "one of --plan and"},
    {"neither", {"declare"}, EXIT_USAGE, "", "one of --plan and"},
    {"a purge of everything", {"dead", "purge", "--yes"}, EXIT_USAGE, "", "say which"},
    {"a replay of no sequence", {"dead", "replay", "x", "-y"}, EXIT_REFUSED, "", "'x' is no seq"},
    {"since never", {"tail", "a.>", "--since", "soon"}, EXIT_USAGE, "", "first, new or a sequence"},
    {"no pattern", {"tail", "a..b"}, EXIT_REFUSED, "", "'a..b' is not a subject pattern"},
    {"no history of announcements",
     {"tail", "bc.x", "--since", "first"},
     EXIT_USAGE,
     "",
     "no history"},
    {"no header", {"send", "a.b", "c", "-H", "d"}, EXIT_USAGE, "", "'d': want 'NAME: VALUE'"},
    {"no subject", {"send", "a b", "c"}, EXIT_REFUSED, "", "'a b' is not a subject"},
    {"a URL of no driver", {"lag", "-b", "pigeon://x:y@z"}, EXIT_USAGE, "", "no broker driver"},
    {"an error as JSON", {"lagg", "--json"}, EXIT_USAGE, "", "{\"error\":\"there is no command"},
    {"what a terminal would obey is shown",
     {"\033[2J"},
     EXIT_USAGE,
     "",
     "there is no command '\\x1b[2J'"},
    {"a password in a wrong place is not repeated",
     {"lag", "nats://u:secret@h"},
     EXIT_USAGE,
     "",
     "too many: '(a URL)'"},
    {"nor behind a wrong option",
     {"lag", "--brokr=nats://u:secret@h"},
     EXIT_USAGE,
     "",
     "'--brokr'; did you mean '--broker'"},
    {"a completion for another shell", {"completion", "fish"}, EXIT_USAGE, "", "for 'fish'"},
    {"a broker that is away, within its time",
     {"lag", "--broker", "nats://u:secret@127.0.0.1:1", "--timeout", "100"},
     EXIT_AWAY,
     "",
     "looked for at 127.0.0.1:1;"},
    {"quiet says the error alone",
     {"lag", "-qb", "nats://127.0.0.1:1", "--timeout", "100"},
     EXIT_AWAY,
     "",
     "millrace: list streams"},
};

static void expect_said(const char *what, const struct buffer *said, const char *want)
{
    if (want && !*want && said->size > 0)
        fail_msg("%s says: %s", what, said->data);
    if (want)
        expect_in(what, said, want);
}

static void is_used_as_typed(void **state)
{
    const struct row *row = *state;
    AUTO(run_free) struct run done = run(row->arguments);

    expect_said("stdout", &done.out, row->out);
    expect_said("stderr", &done.err, row->err);
    assert_int_equal(done.code, row->code);
    assert_null(strstr(done.err.data, "secret"));
    assert_null(strchr(done.err.data, '\033'));
}

/* ---- the tables ---- */

static void every_command_is_explained(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        const struct command *row = &command_table[i];
        AUTO(run_free) struct run done = RUN("help", row->words);
        assert_int_equal(done.code, EXIT_DONE);
        expect_in(row->words, &done.out, row->summary);
        expect_in(row->words, &done.out, "Examples:");
        assert_true(strlen(row->summary) < 60);
        assert_non_null(strstr(row->examples, row->words));
        assert_non_null(row->run);
    }
}

/* The version is the program's; all others are some command's, and every letter is one option's. */
static void every_option_is_of_a_command(void **state)
{
    uint32_t used = TAKES(OPTION_VERSION);
    bool lettered[128] = {false};

    (void)state;
    for (size_t i = 0; i < command_count; i++)
        used |= command_table[i].options;
    assert_int_equal(used, TAKES(OPTIONS) - 1);
    for (int i = 0; i < OPTIONS; i++) {
        unsigned char letter = (unsigned char)option_table[i].letter;
        assert_non_null(option_table[i].name);
        assert_false(letter && lettered[letter]);
        lettered[letter] = true;
        for (int j = 0; j < i; j++)
            assert_string_not_equal(option_table[i].name, option_table[j].name);
    }
}

static bool has_option(const struct command *row, const char *name, size_t size)
{
    for (int i = 0; i < OPTIONS; i++)
        if (strlen(option_table[i].name) == size && memcmp(option_table[i].name, name, size) == 0)
            return (row->options & TAKES(i)) != 0;
    return false;
}

static void expect_own_options(const struct command *row)
{
    for (const char *at = row->examples; (at = strstr(at, " --"));) {
        at += strlen(" --");
        if (!has_option(row, at, strcspn(at, " \n")))
            fail_msg("example of %s: --%s", row->words, at);
    }
}

static void examples_use_options_of_their_command(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++)
        expect_own_options(&command_table[i]);
}

static void options_are_read_into_their_members(void **state)
{
    char *argv[] = {(char[]){"millrace"},
                    (char[]){"lag"},
                    (char[]){"-qn7"},
                    (char[]){"--header=a: 1"},
                    (char[]){"--json"},
                    (char[]){"-H"},
                    (char[]){"b: 2"},
                    (char[]){"x"},
                    (char[]){"--timeout"},
                    (char[]){"250"},
                    (char[]){"--"},
                    (char[]){"--json"},
                    (char[]){"--stream=never"},
                    NULL};
    struct options options;
    struct error err;
    int first = 0;

    (void)state;
    assert_ok(options_read(13, argv, &options, &first, &err));
    assert_true(options.quiet && options.json && !options.help);
    assert_int_equal(options.max, 7);
    assert_int_equal(options.timeout_ms, 250);
    assert_int_equal(options.header_count, 2);
    assert_string_equal(options.headers[1], "b: 2");
    assert_string_equal(options.since, "new");
    assert_null(options.stream);
    assert_true(option_is_given(&options, OPTION_MAX));
    assert_false(option_is_given(&options, OPTION_SINCE));
    assert_int_equal(first, 9);
    assert_string_equal(argv[first], "lag");
    assert_string_equal(argv[first + 2], "--json");
    free((void *)options.headers);
}

/* ---- what others read ---- */

/* Runs a shell command that finds the text in the file $PAGE; its exit code, and what it said. */
static int give(const char *command, const struct buffer *text, struct buffer *said)
{
    char path[] = "/tmp/millrace-test-XXXXXX", piece[600];
    int file = mkstemp(path);

    assert_true(file >= 0);
    assert_int_equal(write(file, text->data, text->size), (ssize_t)text->size);
    close(file);
    setenv("PAGE", path, 1);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    buffer_text(said, "");
    for (size_t size; (size = fread(piece, 1, sizeof(piece), pipe)) > 0;)
        buffer_append(said, piece, size);
    int status = pclose(pipe);
    unlink(path);
    return WEXITSTATUS(status);
}

static const struct completed {
    const char *name;
    const char *words; /* typed so far; the last one is completed */
    const char *want;
} completed[] = {
    {"a command", "l", "lag"},
    {"the second word", "dead sh", "show"},
    {"the second word of another", "dead p", "purge"},
    {"an option", "lag --js", "--json"},
    {"an option after arguments", "send a.b --he", "--help --header"},
    {"an option after the value of one", "lag --stream LOGS --qu", "--quiet"},
    {"only its own options", "lag --dry", ""},
    {"the value of an option", "tail a --since f", "first"},
    {"the value of an option with a letter", "lag -n ''", ""},
    {"a stream's name", "dead list --stream L", "LOGS"},
    {"a consumer's name", "lag --consumer processor-r", "processor-readings"},
    {"a word to type", "completion b", "bash"},
    {"help of a command", "help do", "doctor"},
    {"help of the second word", "help dead sh", "show"},
    {"a command behind a URL", "--broker nats : //me : pw @ host : 4222 la", "lag"},
    {"a second word behind a URL", "-b nats : //x dead l", "list"},
};

static void completes(void **state)
{
    const struct completed *row = *state;
    AUTO(run_free) struct run done = RUN("completion", "bash");
    AUTO(buffer_free) struct buffer said = {0};
    char want[64], command[400];

    snprintf(
        command, sizeof(command),
        "bash -c '. \"$PAGE\"; COMP_WORDS=(millrace %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "
        "_millrace; echo \"${COMPREPLY[*]}\"' 2>&1",
        strcmp(row->words, "lag -n ''") == 0 ? "lag -n \"\"" : row->words);
    snprintf(want, sizeof(want), "%s\n", row->want);
    assert_int_equal(give(command, &done.out, &said), 0);
    assert_string_equal(said.data, want);
}

static void the_completion_is_bash(void **state)
{
    AUTO(run_free) struct run done = RUN("completion", "bash");
    AUTO(buffer_free) struct buffer said = {0};

    (void)state;
    assert_int_equal(give("bash -n \"$PAGE\" 2>&1", &done.out, &said), 0);
    assert_string_equal(said.data, "");
}

/* Every line that begins with a dot is a request of man(7). */
static void expect_requests(const char *page)
{
    static const char *const known[] = {".TH ", ".SH ", ".SS ", ".TP\n", ".PP\n", ".nf\n", ".fi\n"};

    for (const char *at = page; (at = strstr(at, "\n.")); at++) {
        bool found = false;
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            found = found || strncmp(at + 1, known[i], strlen(known[i])) == 0;
        if (!found)
            fail_msg("no request: %.20s", at + 1);
    }
}

static void the_man_page_is_troff(void **state)
{
    AUTO(run_free) struct run done = RUN("man");
    AUTO(buffer_free) struct buffer said = {0};

    (void)state;
    expect_requests(done.out.data);
    for (size_t i = 0; i < command_count; i++)
        if (command_table[i].words[0] != '\0')
            expect_in("the page", &done.out, command_table[i].words);
    if (access("/usr/bin/groff", X_OK) != 0)
        return;
    assert_int_equal(give("groff -man -Tascii -P-c -ww \"$PAGE\" 2>&1", &done.out, &said), 0);
    assert_null(strstr(said.data, "warning"));
    assert_null(strstr(said.data, "error:"));
    expect_in("the page", &said, "millrace dead purge --until-time");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_explained),
        cmocka_unit_test(every_option_is_of_a_command),
        cmocka_unit_test(examples_use_options_of_their_command),
        cmocka_unit_test(options_are_read_into_their_members),
        cmocka_unit_test(the_completion_is_bash),
        cmocka_unit_test(the_man_page_is_troff),
    };

    return cmocka_run_group_tests_name("command", tests, NULL, NULL) +
           RUN_ROWS(rows, is_used_as_typed) + RUN_ROWS(completed, completes);
}
