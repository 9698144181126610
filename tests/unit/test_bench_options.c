/*
 * The command line of the load generator: defaults, ranges, contradictions.
 */
#include <getopt.h>

#include "engine/base/err.h"

#include "bench/load/bench_options.h"
#include "tests/lib/tcase.h"

#define ARGUMENTS_MAX 16

/* Parses the words of `line`, which are parted by blanks. */
static int parse(const char *line, struct bench_options *out)
{
    char text[256];
    char *arguments[ARGUMENTS_MAX] = {text};
    int count = 0;

    snprintf(text, sizeof(text), "tierra-bench %s", line);
    for (char *at = text; *at != '\0';) {
        assert_true(count < ARGUMENTS_MAX - 1);
        arguments[count++] = at;
        at += strcspn(at, " ");
        if (*at == ' ')
            *at++ = '\0';
    }
    /* glibc: starts the scan anew. */
    optind = 0;
    return bench_options_parse(count, arguments, out);
}

static void no_arguments_are_a_run_with_the_defaults(void **state UNUSED)
{
    struct bench_options options;

    expect_i64(parse("", &options), BENCH_OPTIONS_RUN);
    expect_str(options.host, "127.0.0.1");
    expect_u64(options.port, 6379);
    expect_u64(options.clients, 50);
    expect_u64(options.pipeline, 1);
    expect_u64(options.mix.count, 2);
    assert_true(options.value_random);
    assert_false(options.verify);
}

static void options_set_what_they_name(void **state UNUSED)
{
    struct bench_options options;

    expect_i64(parse("--port 7 --keys 12 --rate 1e3 --verify --preload-only --server-pid auto "
                     "--value-random no --on zset",
                     &options),
               BENCH_OPTIONS_RUN);
    expect_u64(options.port, 7);
    expect_u64(options.keys, 12);
    expect_u64((uint64_t)options.rate, 1000);
    assert_true(options.verify);
    assert_true(options.preload);
    assert_true(options.preload_only);
    assert_false(options.value_random);
    expect_i64(options.server_pid, BENCH_PID_AUTO);
    expect_u64(options.generic_family, BENCH_FAMILY_ZSET);
}

static void wrong_lines_are_refused(void **state UNUSED)
{
    static const char *const lines[] = {
        "--port 0",
        "--port 65536",
        "--port x",
        "--port",
        "--nothing",
        "word",
        "--duration 0",
        "--duration -1",
        "--threads 3 --clients 2",
        "--requests 5 --warmup 1",
        "--verify --value-size 11",
        "--mix get=1,fly=2",
        "--dist zipf:0",
        "--field-dist latest",
        "--key-size 8 --keys 100000",
        "--multi 1000 --value-size 1000000",
        "--server-pid 0",
        "--arrival sometimes",
    };
    struct bench_options options;

    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        if (parse(lines[i], &options) == -ERR_CONFIG)
            continue;
        print_error("accepted: %s\n", lines[i]);
        fail();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_arguments_are_a_run_with_the_defaults),
        cmocka_unit_test(options_set_what_they_name),
        cmocka_unit_test(wrong_lines_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
