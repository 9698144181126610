/*
 * The directory of a store on RocksDB: locks, what is refused and why, making and destroying.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/err.h"

#include "tests/unit/test_store_fixture.h"

static void write_file(const char *dir, const char *name, const char *text)
{
    char *path = tmpdir_path(dir, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
    mem_free(path);
}

static void remove_file(const char *dir, const char *name)
{
    char *path = tmpdir_path(dir, name);

    assert_int_equal(unlink(path), 0);
    mem_free(path);
}

static void locked_store_is_busy(void **state)
{
    struct fixture *f = *state;
    struct store *second = NULL;

    assert_int_equal(store_open(&f->options, &second, f->why, sizeof(f->why)), -ERR_BUSY);
    assert_null(second);
    assert_non_null(strstr(f->why, f->dir));
    assert_int_equal(store_destroy(f->dir, f->why, sizeof(f->why)), -ERR_BUSY);
}

/* Holds the lock as another server would, until the pipe closes. */
static pid_t lock_elsewhere(const char *dir, const int ready[2], const int done[2])
{
    const pid_t pid = fork();
    char byte = 'r';

    assert_true(pid >= 0);
    if (pid != 0)
        return pid;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    (void)close(done[1]);
    if (chdir(dir) != 0 || fcntl(open("LOCK", O_RDWR), F_SETLK, &lock) != 0)
        byte = 'x';
    (void)!write(ready[1], &byte, 1);
    (void)!read(done[0], &byte, 1);
    _exit(0);
}

static void store_locked_by_another_process_is_busy(void **state)
{
    struct fixture *f = *state;
    int ready[2];
    int done[2];
    char byte;

    fixture_close(f);
    assert_int_equal(pipe(ready) | pipe(done), 0);
    const pid_t pid = lock_elsewhere(f->dir, ready, done);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'r');
    assert_int_equal(fixture_open(f), -ERR_BUSY);
    assert_non_null(strstr(f->why, f->dir));
    assert_int_equal(close(done[1]), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(close(done[0]) | close(ready[0]) | close(ready[1]), 0);
    assert_int_equal(fixture_open(f), 0);
}

static void directory_of_something_else_is_refused(void **state)
{
    struct fixture *f = *state;

    write_rows(f, 1);
    fixture_close(f);
    write_file(f->dir, "FORMAT", "tierra store 2\n");
    assert_int_equal(fixture_open(f), -ERR_FORMAT);
    assert_non_null(strstr(f->why, "FORMAT"));
    remove_file(f->dir, "FORMAT");
    assert_int_equal(fixture_open(f), -ERR_FORMAT);
    assert_int_equal(store_destroy(f->dir, f->why, sizeof(f->why)), -ERR_FORMAT);
    write_file(f->dir, "FORMAT", "tierra store 1\n");
    assert_int_equal(fixture_open(f), 0);
    assert_int_equal(status_of(f, 5, 0), STORE_FOUND);
}

static void missing_files_are_named(void **state)
{
    struct fixture *f = *state;

    write_rows(f, 1);
    fixture_close(f);
    char *table = find_table(f->dir);
    char *away = tmpdir_path(f->root, "away");
    assert_int_equal(rename(table, away), 0);
    assert_int_equal(fixture_open(f), -ERR_CORRUPT);
    /* By its number: RocksDB looks for the old suffix last. */
    *strrchr(table, '.') = '\0';
    assert_non_null(strstr(f->why, strrchr(table, '/')));
    *strchr(strrchr(table, '/'), '\0') = '.';
    assert_int_equal(rename(away, table), 0);

    remove_file(f->dir, "CURRENT");
    assert_int_equal(fixture_open(f), -ERR_CORRUPT);
    assert_non_null(strstr(f->why, "CURRENT"));
    mem_free(table);
    mem_free(away);
}

static void absent_store_is_not_created_where_it_must_exist(void **state)
{
    struct fixture *f = *state;
    char *none = tmpdir_path(f->root, "none");
    char *deep = tmpdir_path(none, "deep");

    fixture_close(f);
    f->options.dir = none;
    f->options.must_exist = true;
    assert_int_equal(fixture_open(f), -ERR_NOT_FOUND);
    assert_non_null(strstr(f->why, none));
    f->options.must_exist = false;
    f->options.read_only = true;
    assert_int_equal(fixture_open(f), -ERR_NOT_FOUND);
    assert_int_equal(access(none, F_OK), -1);
    f->options.read_only = false;
    f->options.dir = deep;
    assert_int_equal(fixture_open(f), -ENOENT);
    assert_non_null(strstr(f->why, deep));
    mem_free(none);
    mem_free(deep);
}

static void store_whose_making_was_broken_off_is_made_again(void **state)
{
    struct fixture *f = *state;
    char *dir = tmpdir_path(f->root, "half");

    fixture_close(f);
    assert_int_equal(mkdir(dir, 0700), 0);
    write_file(dir, "FORMAT.tmp", "tier");
    write_file(dir, "MANIFEST-000001", "incomplete");
    write_file(dir, "000001.dbtmp", "MANIF");
    f->options.dir = dir;
    assert_int_equal(fixture_open(f), 0);
    write_rows(f, 1);
    assert_int_equal(status_of(f, 5, 0), STORE_FOUND);
    fixture_close(f);
    write_file(dir, "FORMAT.tmp", "tier");
    assert_int_equal(store_destroy(dir, f->why, sizeof(f->why)), 0);
    f->options.dir = f->dir;
    mem_free(dir);
}

static void bad_tuning_is_refused(void **state)
{
    struct fixture *f = *state;

    fixture_close(f);
    f->options.tuning = "no_such_option=1";
    assert_int_equal(fixture_open(f), -ERR_CONFIG);
    f->options.tuning = "block_based_table_factory={block_size=8192}";
    assert_int_equal(fixture_open(f), 0);
}

static void destroyed_store_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    write_rows(f, 1);
    fixture_close(f);
    assert_int_equal(store_destroy(f->dir, f->why, sizeof(f->why)), 0);
    assert_int_equal(access(f->dir, F_OK), -1);
    assert_int_equal(store_destroy(f->dir, f->why, sizeof(f->why)), 0);
}

/* Names and sizes in the directory, as one number. */
static uint64_t dir_print(const char *dir)
{
    DIR *d = opendir(dir);
    uint64_t sum = 0;

    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        assert_int_equal(fstatat(dirfd(d), e->d_name, &st, 0), 0);
        uint64_t name = 0;
        for (const char *c = e->d_name; *c != '\0'; c++)
            name = name * 31 + (uint8_t)*c;
        sum += name * ((uint64_t)st.st_size + 1) + st.st_ino;
    }
    assert_int_equal(closedir(d), 0);
    return sum;
}

static void reading_only_writes_nothing(void **state)
{
    struct fixture *f = *state;
    struct fixture reader = {.options = f->options};

    write_rows(f, 1);
    const uint64_t before = dir_print(f->dir);
    reader.options.read_only = true;
    assert_int_equal(fixture_open(&reader), 0);
    assert_int_equal(status_of(&reader, 5, 0), STORE_FOUND);
    fixture_close(&reader);
    expect_u64(dir_print(f->dir), before);
    fixture_close(f);
    const uint64_t closed = dir_print(f->dir);
    assert_int_equal(fixture_open(&reader), 0);
    fixture_close(&reader);
    expect_u64(dir_print(f->dir), closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(locked_store_is_busy),
        TEST(store_locked_by_another_process_is_busy),
        TEST(directory_of_something_else_is_refused),
        TEST(missing_files_are_named),
        TEST(absent_store_is_not_created_where_it_must_exist),
        TEST(store_whose_making_was_broken_off_is_made_again),
        TEST(bad_tuning_is_refused),
        TEST(destroyed_store_leaves_nothing),
        TEST(reading_only_writes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
