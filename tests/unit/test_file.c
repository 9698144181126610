/*
 * File operations, on a real directory.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/io/file.h"

#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

struct fixture {
    char *dir;
    char *path;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    f->dir = tmpdir_create();
    f->path = tmpdir_path(f->dir, "file");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    mem_free(f->path);
    tmpdir_remove(f->dir);
    mem_free(f);
    return 0;
}

static void write_text(const char *path, const char *text)
{
    assert_int_equal(file_write_atomic(path, bytes_cstr(text)), 0);
}

static void expect_text(const char *path, const char *want)
{
    struct buf got;

    buf_init(&got, 1u << 20);
    assert_int_equal(file_read_all(path, &got), 0);
    expect_bytes(bytes_of(got.ptr, got.len), bytes_cstr(want));
    buf_deinit(&got);
}

static void what_is_written_is_read(void **state)
{
    struct fixture *f = *state;
    uint8_t got[16];
    size_t len = 0;
    uint64_t size = 0;
    const int fd = file_open(f->path, FILE_READ | FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE);

    assert_true(fd >= 0);
    assert_int_equal(file_write_full(fd, "0123456789", 10, 5), 0);
    assert_int_equal(file_sync(fd, false), 0);
    assert_int_equal(file_sync(fd, true), 0);
    assert_int_equal(file_size(fd, &size), 0);
    expect_u64(size, 15);
    assert_int_equal(file_read_full(fd, got, 10, 5), 0);
    assert_memory_equal(got, "0123456789", 10);
    assert_int_equal(file_read_full(fd, got, 11, 5), -ERR_TRUNCATED);
    assert_int_equal(file_read_some(fd, got, 11, 5, &len), 0);
    expect_u64(len, 10);
    assert_int_equal(file_truncate(fd, 7), 0);
    assert_int_equal(file_read_some(fd, got, 11, 5, &len), 0);
    expect_u64(len, 2);
    assert_int_equal(file_close(fd), 0);
    assert_int_equal(file_open(f->path, FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE), -EEXIST);
    assert_int_equal(file_sync_dir(f->dir), 0);
}

static void preallocated_bytes_are_zero_and_counted(void **state)
{
    struct fixture *f = *state;
    struct file_info info;
    uint8_t got[4];
    const int fd = file_open(f->path, FILE_READ | FILE_WRITE | FILE_CREATE);

    assert_int_equal(file_write_full(fd, "ab", 2, 0), 0);
    assert_int_equal(file_preallocate(fd, 1u << 20), 0);
    assert_int_equal(file_read_full(fd, got, 4, 0), 0);
    assert_memory_equal(got, "ab\0\0", 4);
    assert_int_equal(file_stat(f->path, &info), 0);
    assert_int_equal(info.type, FILE_TYPE_REGULAR);
    expect_u64(info.size_bytes, 1u << 20);
    assert_true(info.allocated_bytes >= 1u << 20);
    /* Less than there is changes nothing. */
    assert_int_equal(file_preallocate(fd, 10), 0);
    assert_int_equal(file_stat(f->path, &info), 0);
    expect_u64(info.size_bytes, 1u << 20);
    assert_int_equal(file_close(fd), 0);
}

static void an_atomic_write_replaces_and_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    char *tmp = tmpdir_path(f->dir, "file.tmp");
    struct file_info info;

    write_text(f->path, "one");
    expect_text(f->path, "one");
    write_text(f->path, "");
    expect_text(f->path, "");
    write_text(f->path, "three");
    expect_text(f->path, "three");
    assert_int_equal(file_stat(tmp, &info), 0);
    assert_int_equal(info.type, FILE_TYPE_NONE);
    mem_free(tmp);
}

static void a_failed_atomic_write_keeps_the_old_content(void **state)
{
    struct fixture *f = *state;
    char *tmp = tmpdir_path(f->dir, "file.tmp");

    write_text(f->path, "old");
    assert_int_equal(file_mkdir(tmp), 0);
    assert_int_equal(file_write_atomic(f->path, bytes_cstr("new")), -EISDIR);
    expect_text(f->path, "old");
    mem_free(tmp);
}

static void a_file_over_the_buffers_limit_is_refused(void **state)
{
    struct fixture *f = *state;
    struct buf small;

    write_text(f->path, "123456789");
    buf_init(&small, 8);
    assert_int_equal(file_read_all(f->path, &small), -ERR_LIMIT);
    buf_deinit(&small);
    assert_int_equal(file_unlink(f->path), 0);
    buf_init(&small, 8);
    assert_int_equal(file_read_all(f->path, &small), -ENOENT);
    buf_deinit(&small);
}

static void a_lock_excludes_every_other_open(void **state)
{
    struct fixture *f = *state;
    const int fd = file_lock(f->path);

    assert_true(fd >= 0);
    assert_int_equal(file_lock(f->path), -ERR_BUSY);
    assert_int_equal(file_close(fd), 0);
    const int again = file_lock(f->path);
    assert_true(again >= 0);
    assert_int_equal(file_close(again), 0);
}

struct listing {
    char names[64];
    uint32_t count;
    uint32_t stop_at;
};

static int on_name(void *ctx, const char *name)
{
    struct listing *listing = ctx;

    strncat(listing->names, name, sizeof(listing->names) - strlen(listing->names) - 1);
    return ++listing->count == listing->stop_at ? 7 : 0;
}

static void a_directory_is_listed_in_order(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"c", "a", "b"};
    struct listing listing = {0};

    for (uint32_t i = 0; i < 3; i++) {
        char *path = tmpdir_path(f->dir, names[i]);
        write_text(path, "");
        mem_free(path);
    }
    assert_int_equal(file_list_dir(f->dir, on_name, &listing), 0);
    assert_string_equal(listing.names, "abc");
    listing = (struct listing){.stop_at = 2};
    assert_int_equal(file_list_dir(f->dir, on_name, &listing), 7);
    assert_string_equal(listing.names, "ab");
    assert_int_equal(file_list_dir(f->path, on_name, &listing), -ENOENT);
}

static void names_move_link_and_go(void **state)
{
    struct fixture *f = *state;
    char *other = tmpdir_path(f->dir, "other");
    struct file_info info;
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;

    write_text(f->path, "x");
    assert_int_equal(file_rename(f->path, other), 0);
    assert_int_equal(file_link(other, f->path), 0);
    expect_text(f->path, "x");
    assert_int_equal(file_unlink(other), 0);
    assert_int_equal(file_unlink(other), -ENOENT);
    assert_int_equal(file_mkdir(f->path), -ENOTDIR);
    assert_int_equal(file_mkdir(other), 0);
    assert_int_equal(file_mkdir(other), 0);
    assert_int_equal(file_stat(other, &info), 0);
    assert_int_equal(info.type, FILE_TYPE_DIR);
    assert_int_equal(file_rmdir(other), 0);
    assert_int_equal(file_disk_space(f->dir, &free_bytes, &total_bytes), 0);
    assert_true(free_bytes <= total_bytes && total_bytes > 0);
    mem_free(other);
}

static void a_tree_is_removed_and_links_are_not_followed(void **state)
{
    struct fixture *f = *state;
    char *tree = tmpdir_path(f->dir, "tree");
    char *dirs[5];
    struct file_info info;

    write_text(f->path, "stays");
    assert_int_equal(file_remove_tree(tree), 0);
    assert_int_equal(file_mkdir(tree), 0);
    for (uint32_t i = 0; i < 5; i++) {
        dirs[i] = tmpdir_path(i < 3 || i == 4 ? (i == 0 ? tree : dirs[i - 1]) : tree, "deeper");
        if (i == 3) {
            mem_free(dirs[i]);
            dirs[i] = tmpdir_path(tree, "second");
        }
        assert_int_equal(file_mkdir(dirs[i]), 0);
        char *path = tmpdir_path(dirs[i], "file");
        write_text(path, "goes");
        mem_free(path);
        path = tmpdir_path(dirs[i], "link");
        assert_int_equal(symlink(f->dir, path), 0);
        mem_free(path);
    }
    assert_int_equal(file_remove_tree(tree), 0);
    assert_int_equal(file_stat(tree, &info), 0);
    assert_int_equal(info.type, FILE_TYPE_NONE);
    expect_text(f->path, "stays");
    assert_int_equal(file_remove_tree(f->path), 0);
    for (uint32_t i = 0; i < 5; i++)
        mem_free(dirs[i]);
    mem_free(tree);
}

static uint64_t allocated(const char *path)
{
    struct file_info info;

    assert_int_equal(file_stat(path, &info), 0);
    assert_int_not_equal(info.type, FILE_TYPE_NONE);
    return info.allocated_bytes;
}

static void a_tree_is_measured_and_a_file_with_two_names_counts_once(void **state)
{
    struct fixture *f = *state;
    char *tree = tmpdir_path(f->dir, "tree");
    char *inner = tmpdir_path(tree, "inner");
    char *one = tmpdir_path(inner, "one");
    char *two = tmpdir_path(tree, "two");
    uint64_t bytes = 0;

    assert_int_equal(file_tree_bytes(tree, &bytes), -ENOENT);
    assert_int_equal(file_mkdir(tree), 0);
    assert_int_equal(file_mkdir(inner), 0);
    const int fd = file_open(one, FILE_WRITE | FILE_CREATE);
    assert_true(fd >= 0);
    assert_int_equal(file_preallocate(fd, 1u << 20), 0);
    assert_int_equal(file_close(fd), 0);
    assert_int_equal(file_tree_bytes(tree, &bytes), 0);
    const uint64_t alone = bytes;
    assert_true(allocated(one) >= 1u << 20);
    expect_u64(alone, allocated(tree) + allocated(inner) + allocated(one));
    assert_int_equal(file_link(one, two), 0);
    assert_int_equal(file_tree_bytes(tree, &bytes), 0);
    expect_u64(bytes, allocated(tree) + allocated(inner) + allocated(one));
    assert_int_equal(file_unlink(one), 0);
    assert_int_equal(file_tree_bytes(tree, &bytes), 0);
    expect_u64(bytes, allocated(tree) + allocated(inner) + allocated(two));

    mem_free(two);
    mem_free(one);
    mem_free(inner);
    mem_free(tree);
}

int main(void)
{
#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FILE_TEST(what_is_written_is_read),
        FILE_TEST(preallocated_bytes_are_zero_and_counted),
        FILE_TEST(an_atomic_write_replaces_and_leaves_nothing_behind),
        FILE_TEST(a_failed_atomic_write_keeps_the_old_content),
        FILE_TEST(a_file_over_the_buffers_limit_is_refused),
        FILE_TEST(a_lock_excludes_every_other_open),
        FILE_TEST(a_directory_is_listed_in_order),
        FILE_TEST(names_move_link_and_go),
        FILE_TEST(a_tree_is_removed_and_links_are_not_followed),
        FILE_TEST(a_tree_is_measured_and_a_file_with_two_names_counts_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
