#include "support/test.h"

#include "base/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    const char *url, *mode, *token;
    int port;
    int64_t size;
    double share;
    bool verbose;
};

static const char *const modes[] = {"fast", "safe", NULL};

static const struct config_field table[] = {
    CONFIG_FIELD(struct settings, url, "T_URL", "memory://", "where"),
    CONFIG_FIELD(struct settings, mode, "T_MODE", "safe", "how", .words = modes),
    CONFIG_FIELD(struct settings, token, "T_TOKEN", "built-in", "bearer key", .secret = true),
    CONFIG_FIELD(struct settings, port, "T_PORT", "8080", "port", .min = 1, .max = 65535),
    CONFIG_FIELD(struct settings, size, "T_SIZE", "5", "bytes"),
    CONFIG_FIELD(struct settings, share, "T_SHARE", "0.5", "part", .min = 0, .max = 1),
    CONFIG_FIELD(struct settings, verbose, "T_VERBOSE", "false", "say more"),
    {0},
};

/* What config_load writes of its mistakes. */
struct loaded {
    bool ok;
    struct settings settings;
    struct error err;
    char *mistakes;
};

static void load(const struct config_field *fields, struct loaded *out)
{
    size_t size;
    FILE *mistakes = open_memstream(&out->mistakes, &size);

    assert_non_null(mistakes);
    out->ok = config_load(fields, &out->settings, mistakes, &out->err);
    fclose(mistakes);
}

static const struct row {
    const char *name, *variable, *value;
    const char *mistake; /* the line that must be written; NULL: accepted */
} rows[] = {
    {"defaults", "T_OTHER", "x", NULL},
    {"a port", "T_PORT", "9000", NULL},
    {"the least port", "T_PORT", "1", NULL},
    {"the last port", "T_PORT", "65535", NULL},
    {"an empty value is unset", "T_PORT", "", NULL},
    {"a port with a tail", "T_PORT", "9000x",
     "T_PORT='9000x': want a whole number from 1 to 65535\n"},
    {"a port after a space", "T_PORT", " 9000",
     "T_PORT=' 9000': want a whole number from 1 to 65535\n"},
    {"a port with a sign", "T_PORT", "+9000",
     "T_PORT='+9000': want a whole number from 1 to 65535\n"},
    {"a port that is a fraction", "T_PORT", "80.5",
     "T_PORT='80.5': want a whole number from 1 to 65535\n"},
    {"a range of ports", "T_PORT", "80-90",
     "T_PORT='80-90': want a whole number from 1 to 65535\n"},
    {"port zero", "T_PORT", "0", "T_PORT='0': want a whole number from 1 to 65535\n"},
    {"a port too large", "T_PORT", "65536",
     "T_PORT='65536': want a whole number from 1 to 65535\n"},
    {"a port beyond long", "T_PORT", "99999999999999999999",
     "T_PORT='99999999999999999999': want a whole number from 1 to 65535\n"},
    {"a long", "T_SIZE", "-9223372036854775808", NULL},
    {"a long too large", "T_SIZE", "9223372036854775808",
     "T_SIZE='9223372036854775808': want a whole number that fits\n"},
    {"a minus alone", "T_SIZE", "-", "T_SIZE='-': want a whole number that fits\n"},
    {"a double", "T_SHARE", "2.5e-1", NULL},
    {"a double out of range", "T_SHARE", "1.01", "T_SHARE='1.01': want a number from 0 to 1\n"},
    {"a double with a tail", "T_SHARE", "1,", "T_SHARE='1,': want a number from 0 to 1\n"},
    {"a double that is none", "T_SHARE", "nan", "T_SHARE='nan': want a number from 0 to 1\n"},
    {"a hexadecimal double", "T_SHARE", "0x1p-1", "T_SHARE='0x1p-1': want a number from 0 to 1\n"},
    {"a bool", "T_VERBOSE", "true", NULL},
    {"not a bool", "T_VERBOSE", "yes", "T_VERBOSE='yes': want true or false\n"},
    {"a word in any case", "T_MODE", "FAST", NULL},
    {"a word that is none of them", "T_MODE", "faster",
     "T_MODE='faster': want one of fast, safe\n"},
    {"a line break cannot make a second line", "T_MODE", "a\nb",
     "T_MODE='a?b': want one of fast, safe\n"},
};

static void loads(void **state)
{
    const struct row *row = *state;
    struct loaded loaded = {0};

    setenv(row->variable, row->value, 1);
    load(table, &loaded);
    unsetenv(row->variable);
    assert_string_equal(loaded.mistakes, row->mistake ? row->mistake : "");
    assert_int_equal(loaded.ok, !row->mistake);
    free(loaded.mistakes);
}

static void values_reach_their_members(void **state)
{
    struct loaded loaded = {0};

    (void)state;
    setenv("T_PORT", "9000", 1);
    setenv("T_MODE", "Fast", 1);
    setenv("T_SIZE", "1099511627776", 1);
    setenv("T_VERBOSE", "true", 1);
    load(table, &loaded);
    unsetenv("T_PORT");
    unsetenv("T_MODE");
    unsetenv("T_SIZE");
    unsetenv("T_VERBOSE");
    free(loaded.mistakes);
    assert_true(loaded.ok);
    assert_int_equal(loaded.settings.port, 9000);
    assert_string_equal(loaded.settings.mode, "fast");
    assert_true(loaded.settings.size == 1099511627776);
    assert_true(loaded.settings.share == 0.5);
    assert_true(loaded.settings.verbose);
    assert_string_equal(loaded.settings.url, "memory://");
    assert_string_equal(loaded.settings.token, "built-in");
}

static const struct config_field unbounded[] = {
    CONFIG_FIELD(struct settings, port, "T_PORT", "0", "an int of any size"),
    CONFIG_FIELD(struct settings, share, "T_SHARE", "0", "a double of any size"),
    {0},
};

static void numbers_without_limits_must_fit_their_member(void **state)
{
    struct loaded loaded = {0};

    (void)state;
    setenv("T_PORT", "2147483648", 1);
    setenv("T_SHARE", "1e999", 1);
    load(unbounded, &loaded);
    unsetenv("T_PORT");
    unsetenv("T_SHARE");
    assert_string_equal(loaded.mistakes, "T_PORT='2147483648': want a whole number that fits\n"
                                         "T_SHARE='1e999': want a number that fits\n");
    free(loaded.mistakes);
}

static const struct config_field demanding[] = {
    CONFIG_FIELD(struct settings, url, "T_URL", NULL, "where the broker is"),
    CONFIG_FIELD(struct settings, port, "T_PORT", "8080", "port", .min = 1, .max = 65535),
    CONFIG_FIELD(struct settings, token, "T_TOKEN", NULL, "bearer key", .secret = true),
    {0},
};

static void every_mistake_is_reported(void **state)
{
    struct loaded loaded = {0};

    (void)state;
    setenv("T_PORT", "none", 1);
    load(demanding, &loaded);
    unsetenv("T_PORT");
    assert_false(loaded.ok);
    assert_string_equal(loaded.mistakes, "T_URL is required: where the broker is\n"
                                         "T_PORT='none': want a whole number from 1 to 65535\n"
                                         "T_TOKEN is required: bearer key\n");
    assert_int_equal(loaded.err.code, ERROR_INVALID);
    assert_string_equal(loaded.err.message, "3 settings are wrong, the first: "
                                            "T_URL is required: where the broker is");
    free(loaded.mistakes);
}

/* Loads with a secret file of this content. */
static void load_with_file(const char *content, size_t size, struct loaded *out)
{
    char path[] = "/tmp/config_test_XXXXXX";
    int file = mkstemp(path);

    assert_true(file >= 0);
    assert_int_equal(write(file, content, size), size);
    close(file);
    setenv("T_TOKEN_FILE", path, 1);
    load(table, out);
    unsetenv("T_TOKEN_FILE");
    unlink(path);
}

static const struct file_row {
    const char *name, *content;
    size_t size;
    const char *token; /* NULL: refused */
} file_rows[] = {
    {"a file as it is", "s3cret", 6, "s3cret"},
    {"its trailing newline is cut", "s3cret\n", 7, "s3cret"},
    {"only one newline is cut", "s3cret\n\n", 8, "s3cret\n"},
    {"a carriage return goes with it", "s3cret\r\n", 8, "s3cret"},
    {"an empty file", "", 0, NULL},
    {"a file with only a newline", "\n", 1, NULL},
    {"a NUL inside", "s3\0cret", 7, NULL},
};

static void reads_secret_files(void **state)
{
    const struct file_row *row = *state;
    struct loaded loaded = {0};

    load_with_file(row->content, row->size, &loaded);
    assert_int_equal(loaded.ok, row->token != NULL);
    if (row->token)
        assert_string_equal(loaded.settings.token, row->token);
    else
        assert_non_null(strstr(loaded.mistakes, "T_TOKEN_FILE: the file "));
    assert_null(strstr(loaded.mistakes, "s3"));
    free(loaded.mistakes);
}

static void secret_files_have_a_limit(void **state)
{
    static char content[65537];
    struct loaded loaded = {0};

    (void)state;
    memset(content, 'x', sizeof(content));
    load_with_file(content, 65536, &loaded);
    assert_true(loaded.ok);
    assert_int_equal(strlen(loaded.settings.token), 65536);
    free(loaded.mistakes);
    load_with_file(content, 65537, &loaded);
    assert_false(loaded.ok);
    assert_string_equal(loaded.mistakes, "T_TOKEN_FILE: the file is over 65536 bytes\n");
    free(loaded.mistakes);
}

static void a_secret_has_one_source(void **state)
{
    struct loaded loaded = {0};

    (void)state;
    setenv("T_TOKEN", "s3cret", 1);
    load_with_file("other", 5, &loaded);
    unsetenv("T_TOKEN");
    assert_string_equal(loaded.mistakes, "T_TOKEN and T_TOKEN_FILE are both set: want one\n");
    free(loaded.mistakes);
}

static void an_absent_secret_file_is_a_mistake(void **state)
{
    struct loaded loaded = {0};

    (void)state;
    setenv("T_TOKEN_FILE", "/nowhere/at/all", 1);
    load(table, &loaded);
    unsetenv("T_TOKEN_FILE");
    assert_string_equal(loaded.mistakes,
                        "T_TOKEN_FILE: cannot read the file: No such file or directory\n");
    free(loaded.mistakes);
}

static void only_secrets_come_from_files(void **state)
{
    struct loaded loaded = {0};

    (void)state;
    setenv("T_URL_FILE", "/nowhere/at/all", 1);
    load(table, &loaded);
    unsetenv("T_URL_FILE");
    assert_true(loaded.ok);
    assert_string_equal(loaded.settings.url, "memory://");
    free(loaded.mistakes);
}

static const struct config_field secret_number[] = {
    CONFIG_FIELD(struct settings, port, "T_PIN", "1", "code", .min = 1, .max = 9, .secret = true),
    {0},
};

static void a_wrong_secret_is_not_shown(void **state)
{
    struct loaded loaded = {0};

    (void)state;
    setenv("T_PIN", "31337", 1);
    load(secret_number, &loaded);
    unsetenv("T_PIN");
    assert_string_equal(loaded.mistakes, "T_PIN: want a whole number from 1 to 9\n");
    free(loaded.mistakes);
}

static void print(const struct config_field *fields, const char *want)
{
    char *text;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    assert_non_null(file);
    config_print(fields, file);
    fclose(file);
    assert_string_equal(text, want);
    free(text);
}

static void the_table_prints_as_a_table(void **state)
{
    (void)state;
    print(table, "  T_URL      memory://  where\n"
                 "  T_MODE     safe       how (fast, safe)\n"
                 "  T_TOKEN    (hidden)   bearer key (or T_TOKEN_FILE)\n"
                 "  T_PORT     8080       port (1..65535)\n"
                 "  T_SIZE     5          bytes\n"
                 "  T_SHARE    0.5        part (0..1)\n"
                 "  T_VERBOSE  false      say more (true, false)\n");
    print(demanding, "  T_URL    required  where the broker is\n"
                     "  T_PORT   8080      port (1..65535)\n"
                     "  T_TOKEN  required  bearer key (or T_TOKEN_FILE)\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_reach_their_members),
        cmocka_unit_test(numbers_without_limits_must_fit_their_member),
        cmocka_unit_test(every_mistake_is_reported),
        cmocka_unit_test(secret_files_have_a_limit),
        cmocka_unit_test(a_secret_has_one_source),
        cmocka_unit_test(an_absent_secret_file_is_a_mistake),
        cmocka_unit_test(only_secrets_come_from_files),
        cmocka_unit_test(a_wrong_secret_is_not_shown),
        cmocka_unit_test(the_table_prints_as_a_table),
    };

    return RUN_ROWS(rows, loads) + RUN_ROWS(file_rows, reads_secret_files) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
