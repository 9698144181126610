/*
 * The logger: lines, levels, files, threads, rate limit.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

#define FILE_BYTES_MAX (1 << 20)

struct fixture {
    char *dir;
    char *path;
    char *text; /* What read_log found last. */
};

static int setup(void **state)
{
    struct fixture *fx = mem_zalloc(sizeof(*fx));

    fx->dir = tmpdir_create();
    fx->path = tmpdir_path(fx->dir, "log");
    fx->text = mem_alloc(FILE_BYTES_MAX);
    *state = fx;
    return log_init(LOG_LEVEL_INFO, fx->path);
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    log_close();
    log_set_level(LOG_LEVEL_NOTICE);
    mem_free(fx->text);
    mem_free(fx->path);
    tmpdir_remove(fx->dir);
    mem_free(fx);
    return 0;
}

/* Reads the log into fx->text. Returns the number of lines. */
static size_t read_log(struct fixture *fx, const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t lines = 0;

    assert_true(fd >= 0);
    const ssize_t len = read(fd, fx->text, FILE_BYTES_MAX - 1);
    assert_true(len >= 0);
    (void)close(fd);
    fx->text[len] = '\0';
    for (const char *at = fx->text; *at != '\0'; at++)
        lines += *at == '\n';
    return lines;
}

static void a_line_has_time_level_subsystem_and_message(void **state)
{
    struct fixture *fx = *state;
    unsigned year;
    unsigned month;
    unsigned milliseconds;
    int rest = 0;

    LOG_WARN("oplog", "sync slow shard=%d took_ms=%u", 3, 210u);

    expect_u64(read_log(fx, fx->path), 1);
    /* 2024-05-06T07:08:09.123Z */
    expect_i64(sscanf(fx->text, "%4u-%2u-%*2uT%*2u:%*2u:%*2u.%3uZ %n", &year, &month, &milliseconds,
                      &rest),
               3);
    assert_true(year >= 2024 && month >= 1 && month <= 12 && milliseconds < 1000);
    expect_str(fx->text + rest, "WARN   oplog: sync slow shard=3 took_ms=210\n");
}

static void lines_above_the_level_are_not_written(void **state)
{
    struct fixture *fx = *state;

    LOG_DEBUG("test", "debug");
    LOG_INFO("test", "info");
    LOG_NOTICE("test", "notice");
    LOG_ERROR("test", "error");
    expect_u64(read_log(fx, fx->path), 3);
    assert_null(strstr(fx->text, "debug"));

    log_set_level(LOG_LEVEL_DEBUG);
    LOG_DEBUG("test", "debug");
    expect_u64(read_log(fx, fx->path), 4);
    log_set_level(LOG_LEVEL_ERROR);
    LOG_WARN("test", "warn");
    expect_u64(read_log(fx, fx->path), 4);
}

static void one_event_is_one_line_whatever_it_quotes(void **state)
{
    struct fixture *fx = *state;

    LOG_INFO("test", "name=%s", "a\nb\r\tc\x1b[31m\x7f\xc3\xa4");

    expect_u64(read_log(fx, fx->path), 1);
    assert_non_null(strstr(fx->text, "name=a b  c [31m \xc3\xa4\n"));
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    struct fixture *fx = *state;

    LOG_INFO("test", "%5000d", 1);
    LOG_INFO("test", "after");

    expect_u64(read_log(fx, fx->path), 2);
    expect_u64((uint64_t)(strchr(fx->text, '\n') + 1 - fx->text), LOG_LINE_BYTES_MAX);
}

static void errno_survives_a_log_line(void **state UNUSED)
{
    errno = ENOSPC;
    LOG_INFO("test", "line");
    expect_i64(errno, ENOSPC);
}

static void a_rotated_file_is_opened_again(void **state)
{
    struct fixture *fx = *state;
    char *old = tmpdir_path(fx->dir, "log.1");

    LOG_INFO("test", "first");
    assert_int_equal(rename(fx->path, old), 0);
    LOG_INFO("test", "second");
    expect_i64(log_reopen(), 0);
    LOG_INFO("test", "third");

    expect_u64(read_log(fx, old), 2);
    expect_u64(read_log(fx, fx->path), 1);
    assert_non_null(strstr(fx->text, "third"));
    mem_free(old);
}

static void a_path_that_cannot_be_opened_leaves_the_old_one(void **state)
{
    struct fixture *fx = *state;
    char *bad = tmpdir_path(fx->dir, "missing/log");

    expect_i64(log_init(LOG_LEVEL_INFO, bad), -ENOENT);
    LOG_INFO("test", "still here");

    expect_u64(read_log(fx, fx->path), 1);
    mem_free(bad);
}

static void a_limited_call_site_writes_once_per_period(void **state)
{
    struct fixture *fx = *state;

    for (int i = 0; i < 1000; i++)
        LOG_EVERY_MS(3600 * 1000, LOG_LEVEL_INFO, "test", "again i=%d", i);

    expect_u64(read_log(fx, fx->path), 1);
    assert_non_null(strstr(fx->text, "again i=0\n"));
}

static void what_the_limit_dropped_is_counted(void **state UNUSED)
{
    struct log_limit limit = {0};
    uint64_t suppressed = 99;

    assert_true(log_limit_pass(&limit, 3600 * 1000, &suppressed));
    expect_u64(suppressed, 0);
    assert_false(log_limit_pass(&limit, 3600 * 1000, &suppressed));
    assert_false(log_limit_pass(&limit, 3600 * 1000, &suppressed));
    limit.next_at_ns = 0; /* As if the period were over. */
    assert_true(log_limit_pass(&limit, 3600 * 1000, &suppressed));
    expect_u64(suppressed, 2);
}

static void *write_lines(void *ctx)
{
    const int *thread = ctx;

    for (int i = 0; i < 500; i++)
        LOG_INFO("test", "thread=%d i=%d end", *thread, i);
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    struct fixture *fx = *state;
    pthread_t threads[4];
    int numbers[4] = {0, 1, 2, 3};

    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);

    expect_u64(read_log(fx, fx->path), 2000);
    char *save = NULL;
    for (char *line = strtok_r(fx->text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        const char *body = strstr(line, "test: thread=");
        assert_non_null(body);
        assert_null(strstr(body + 1, "test: thread="));
        expect_str(line + strlen(line) - 4, " end");
    }
}

static void level_names_are_those_of_redis_and_ours(void **state UNUSED)
{
    enum log_level level = LOG_LEVEL_ERROR;

    assert_true(log_level_parse("verbose", &level));
    assert_int_equal(level, LOG_LEVEL_INFO);
    assert_true(log_level_parse("Warning", &level));
    assert_int_equal(level, LOG_LEVEL_WARN);
    assert_true(log_level_parse("debug", &level));
    assert_false(log_level_parse("loud", &level));
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    expect_str(log_level_name(LOG_LEVEL_NOTICE), "NOTICE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_has_time_level_subsystem_and_message, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(lines_above_the_level_are_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(one_event_is_one_line_whatever_it_quotes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_line_is_cut_and_still_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(errno_survives_a_log_line, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rotated_file_is_opened_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_path_that_cannot_be_opened_leaves_the_old_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_limited_call_site_writes_once_per_period, setup,
                                        teardown),
        cmocka_unit_test(what_the_limit_dropped_is_counted),
        cmocka_unit_test_setup_teardown(lines_of_several_threads_do_not_mix, setup, teardown),
        cmocka_unit_test(level_names_are_those_of_redis_and_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
