/*
 * CHECK: silent when it holds, a report and an abort when not.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/log.h"

#include "tests/lib/tcase.h"

#define REPORT_BYTES_MAX 8192

/* Runs `body` in a child whose stderr is read into `out`. Returns the wait status. */
static int run_child(void (*body)(void), char out[REPORT_BYTES_MAX])
{
    int pipe_fds[2];

    assert_int_equal(pipe(pipe_fds), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0};
        (void)setrlimit(RLIMIT_CORE, &no_core); /* Best effort. */
        /* cmocka and the sanitizers catch the signal; here it must end the process. */
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(pipe_fds[1], STDERR_FILENO);
        body();
        _exit(0);
    }
    (void)close(pipe_fds[1]);
    size_t len = 0;
    ssize_t got;
    while ((got = read(pipe_fds[0], out + len, REPORT_BYTES_MAX - 1 - len)) > 0)
        len += (size_t)got;
    out[len] = '\0';
    (void)close(pipe_fds[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void fail_in_shard_seven(void)
{
    LOG_NOTICE("test", "the last words");
    check_set_shard(7);
    CHECK(1 + 1 == 3);
}

static void reach_the_unreachable(void)
{
    UNREACHABLE();
}

static int evaluations;

static int count_evaluation(void)
{
    evaluations++;
    return 1;
}

static void a_true_check_evaluates_once_and_goes_on(void **state UNUSED)
{
    evaluations = 0;

    CHECK(count_evaluation());

    expect_i64(evaluations, 1);
}

static void a_slow_check_is_evaluated_only_where_it_is_on(void **state UNUSED)
{
    evaluations = 0;

    CHECK_SLOW(count_evaluation());

#ifdef TIERRA_CHECK_SLOW
    expect_i64(evaluations, 1);
#else
    expect_i64(evaluations, 0);
#endif
}

static void a_false_check_reports_and_aborts(void **state UNUSED)
{
    char report[REPORT_BYTES_MAX];
    const int status = run_child(fail_in_shard_seven, report);

    assert_true(WIFSIGNALED(status));
    expect_i64(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(report, "CHECK failed: "));
    assert_non_null(strstr(report, "test_check.c:"));
    assert_non_null(strstr(report, "1 + 1 == 3 (shard 7)"));
    assert_non_null(strstr(report, "test: the last words"));
}

static void unreachable_aborts(void **state UNUSED)
{
    char report[REPORT_BYTES_MAX];
    const int status = run_child(reach_the_unreachable, report);

    assert_true(WIFSIGNALED(status));
    assert_non_null(strstr(report, "unreachable (shard -1)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_true_check_evaluates_once_and_goes_on),
        cmocka_unit_test(a_slow_check_is_evaluated_only_where_it_is_on),
        cmocka_unit_test(a_false_check_reports_and_aborts),
        cmocka_unit_test(unreachable_aborts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
