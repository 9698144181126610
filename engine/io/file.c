/*
 * File operations over the system calls.
 */
#include "engine/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#define FILE_MODE 0640
#define DIR_MODE  0750
/* Longest path that is put together here; the kernel's limit. */
#define PATH_BYTES_MAX 4096
/* Directories inside each other that file_remove_tree follows. */
#define TREE_DEPTH_MAX 16
/* One write where blocks cannot be reserved. */
#define ZERO_BYTES (64u << 10)

static int result(int returned)
{
    return returned < 0 ? -errno : 0;
}

/* "<dir>/<name>". Returns 0 or -ENAMETOOLONG. */
static int path_join(char out[PATH_BYTES_MAX], const char *dir, const char *name)
{
    const int n = snprintf(out, PATH_BYTES_MAX, "%s/%s", dir, name);

    return n < 0 || n >= PATH_BYTES_MAX ? -ENAMETOOLONG : 0;
}

/* ---- opening, size ---- */

static int open_at(const char *path, int flags)
{
    int fd;

    do {
        fd = open(path, flags | O_CLOEXEC, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

int file_open(const char *path, uint32_t flags)
{
    const uint32_t both = FILE_READ | FILE_WRITE;
    int how = O_RDONLY;

    CHECK((flags & both) != 0);
    if ((flags & both) == both)
        how = O_RDWR;
    else if ((flags & FILE_WRITE) != 0)
        how = O_WRONLY;
    how |= (flags & FILE_CREATE) != 0 ? O_CREAT : 0;
    how |= (flags & FILE_EXCLUSIVE) != 0 ? O_EXCL : 0;
    how |= (flags & FILE_TRUNCATE) != 0 ? O_TRUNC : 0;
    how |= (flags & FILE_DIRECT) != 0 ? O_DIRECT : 0;
    return open_at(path, how);
}

int file_close(int fd)
{
    /* After EINTR the descriptor is closed all the same (Linux). */
    return close(fd) == 0 || errno == EINTR ? 0 : -errno;
}

int file_truncate(int fd, uint64_t len)
{
    int res;

    do {
        res = ftruncate(fd, (off_t)len);
    } while (res < 0 && errno == EINTR);
    return result(res);
}

int file_size(int fd, uint64_t *out)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return -errno;
    *out = (uint64_t)st.st_size;
    return 0;
}

/* For file systems without fallocate: zeros from the present end to `len`. */
static int write_zeros(int fd, uint64_t len)
{
    uint64_t size = 0;
    int err = file_size(fd, &size);

    if (err != 0 || size >= len)
        return err;
    uint8_t *zeros = mem_alloc_aligned(4096, ZERO_BYTES);
    memset(zeros, 0, ZERO_BYTES);
    while (err == 0 && size < len) {
        const size_t n = (size_t)u64_min(ZERO_BYTES, len - size);
        err = file_write_full(fd, zeros, n, size);
        size += n;
    }
    mem_free(zeros);
    return err;
}

int file_preallocate(int fd, uint64_t len)
{
    int res;

    do {
        res = fallocate(fd, 0, 0, (off_t)len);
    } while (res < 0 && errno == EINTR);
    if (res == 0)
        return 0;
    return errno == EOPNOTSUPP || errno == ENOSYS ? write_zeros(fd, len) : -errno;
}

/* ---- bytes ---- */

int file_read_some(int fd, void *out, size_t len, uint64_t offset, size_t *out_len)
{
    uint8_t *ptr = out;
    size_t done = 0;

    while (done < len) {
        const ssize_t n = pread(fd, ptr + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *out_len = done;
    return 0;
}

int file_read_full(int fd, void *out, size_t len, uint64_t offset)
{
    size_t done = 0;
    const int err = file_read_some(fd, out, len, offset, &done);

    if (err != 0)
        return err;
    return done == len ? 0 : -ERR_TRUNCATED;
}

int file_write_full(int fd, const void *ptr, size_t len, uint64_t offset)
{
    const uint8_t *bytes = ptr;
    size_t done = 0;

    while (done < len) {
        const ssize_t n = pwrite(fd, bytes + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO; /* No progress and no reason: not to be repeated for ever. */
        done += (size_t)n;
    }
    return 0;
}

/* ---- durability ---- */

int file_sync(int fd, bool metadata)
{
    int res;

    /* Interrupted means not done, which is safe to repeat; after another error it is not. */
    do {
        res = metadata ? fsync(fd) : fdatasync(fd);
    } while (res < 0 && errno == EINTR);
    return result(res);
}

int file_sync_dir(const char *path)
{
    const int fd = open_at(path, O_RDONLY | O_DIRECTORY);

    if (fd < 0)
        return fd;
    const int err = file_sync(fd, true);
    (void)file_close(fd); /* Read only: nothing can be lost. */
    return err;
}

/* ---- names ---- */

int file_rename(const char *from, const char *to)
{
    return result(rename(from, to));
}

int file_unlink(const char *path)
{
    return result(unlink(path));
}

int file_link(const char *from, const char *to)
{
    return result(link(from, to));
}

int file_mkdir(const char *path)
{
    struct file_info info = {0};

    if (mkdir(path, DIR_MODE) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    const int err = file_stat(path, &info);
    if (err != 0)
        return err;
    return info.type == FILE_TYPE_DIR ? 0 : -ENOTDIR;
}

int file_rmdir(const char *path)
{
    return result(rmdir(path));
}

int file_stat(const char *path, struct file_info *out)
{
    struct stat st;

    if (stat(path, &st) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return -errno;
        *out = (struct file_info){.type = FILE_TYPE_NONE};
        return 0;
    }
    out->type = FILE_TYPE_OTHER;
    if (S_ISREG(st.st_mode))
        out->type = FILE_TYPE_REGULAR;
    else if (S_ISDIR(st.st_mode))
        out->type = FILE_TYPE_DIR;
    out->size_bytes = (uint64_t)st.st_size;
    out->allocated_bytes = (uint64_t)st.st_blocks * 512u;
    return 0;
}

int file_disk_space(const char *path, uint64_t *out_free, uint64_t *out_total)
{
    struct statvfs fs;

    if (statvfs(path, &fs) != 0)
        return -errno;
    *out_free = (uint64_t)fs.f_bavail * fs.f_frsize;
    *out_total = (uint64_t)fs.f_blocks * fs.f_frsize;
    return 0;
}

/* ---- directories ---- */

struct names {
    char **items;
    size_t count;
    size_t cap;
};

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        mem_free(names->items[i]);
    mem_free(names->items);
}

static int names_compare(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;

    return strcmp(*left, *right);
}

static void names_add(struct names *names, const char *name)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return;
    if (names->count == names->cap) {
        names->cap = names->cap == 0 ? 64 : names->cap * 2;
        names->items = mem_realloc(names->items, names->cap * sizeof(names->items[0]));
    }
    names->items[names->count++] = mem_strdup(name);
}

/* All names of the directory, sorted. Read before any is used, so that the user may remove them. */
static int names_read(const char *path, struct names *names)
{
    DIR *dir = opendir(path);

    if (dir == NULL)
        return -errno;
    for (;;) {
        errno = 0;
        /* The stream is used by this thread alone. */
        const struct dirent *entry = readdir(dir); /* NOLINT(concurrency-mt-unsafe) */
        if (entry == NULL)
            break;
        names_add(names, entry->d_name);
    }
    const int err = -errno;
    (void)closedir(dir);
    if (err == 0 && names->count > 1)
        qsort(names->items, names->count, sizeof(names->items[0]), names_compare);
    return err;
}

int file_list_dir(const char *path, file_list_fn fn, void *ctx)
{
    struct names names = {0};
    int res = names_read(path, &names);

    for (size_t i = 0; res == 0 && i < names.count; i++)
        res = fn(ctx, names.items[i]);
    names_free(&names);
    return res;
}

/* ---- removing a tree ---- */

struct tree_walk {
    char path[PATH_BYTES_MAX]; /* Of the directory at hand. */
    size_t path_len[TREE_DEPTH_MAX];
    uint32_t depth;
};

enum {
    TREE_DOWN = 1, /* The walk went into a subdirectory: its parent is read again later. */
};

/* Removes an entry of the directory at hand, or goes into it. */
static int tree_entry(void *ctx, const char *name)
{
    struct tree_walk *walk = ctx;
    const size_t len = strlen(walk->path);
    struct stat st;
    char path[PATH_BYTES_MAX];
    const int err = path_join(path, walk->path, name);

    if (err != 0)
        return err;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISDIR(st.st_mode))
        return file_unlink(path);
    if (rmdir(path) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return -errno;
    if (walk->depth == TREE_DEPTH_MAX)
        return -ELOOP;
    walk->path_len[walk->depth++] = len;
    memcpy(walk->path, path, strlen(path) + 1);
    return TREE_DOWN;
}

int file_remove_tree(const char *path)
{
    struct tree_walk walk = {.depth = 0};
    struct stat st;
    int res;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISDIR(st.st_mode))
        return file_unlink(path);
    if (strlen(path) >= sizeof(walk.path))
        return -ENAMETOOLONG;
    memcpy(walk.path, path, strlen(path) + 1);
    for (;;) {
        res = file_list_dir(walk.path, tree_entry, &walk);
        if (res == TREE_DOWN)
            continue;
        if (res == 0)
            res = file_rmdir(walk.path);
        if (res != 0 || walk.depth == 0)
            return res;
        walk.path[walk.path_len[--walk.depth]] = '\0';
    }
}

/* ---- whole files ---- */

int file_lock(const char *path)
{
    const int fd = open_at(path, O_RDWR | O_CREAT);

    if (fd < 0)
        return fd;
    /* Bound to this open of the file: a second open conflicts, in whichever process. */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    const int err = errno == EWOULDBLOCK ? -ERR_BUSY : -errno;
    (void)file_close(fd);
    return err;
}

int file_read_all(const char *path, struct buf *out)
{
    const int fd = open_at(path, O_RDONLY);
    uint64_t size = 0;
    size_t len = 0;
    int err;

    if (fd < 0)
        return fd;
    err = file_size(fd, &size);
    if (err == 0 && size > 0) {
        err = buf_reserve(out, (size_t)size);
        if (err == 0)
            err = file_read_some(fd, buf_end(out), (size_t)size, 0, &len);
        if (err == 0)
            buf_commit(out, len);
    }
    (void)file_close(fd);
    return err;
}

/* The directory part of `path`, "." if it has none. */
static int parent_of(const char *path, char out[PATH_BYTES_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);

    if (slash == path)
        len = 1;
    if (len >= PATH_BYTES_MAX)
        return -ENAMETOOLONG;
    if (len == 0) {
        memcpy(out, ".", sizeof("."));
        return 0;
    }
    memcpy(out, path, len);
    out[len] = '\0';
    return 0;
}

int file_mkdir_sync(const char *path)
{
    char dir[PATH_BYTES_MAX];
    int err = file_mkdir(path);

    if (err == 0)
        err = parent_of(path, dir);
    return err != 0 ? err : file_sync_dir(dir);
}

static int write_durable(const char *path, struct bytes content)
{
    const int fd = file_open(path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE);
    int err;

    if (fd < 0)
        return fd;
    err = file_write_full(fd, content.ptr, content.len, 0);
    if (err == 0)
        err = file_sync(fd, true);
    const int close_err = file_close(fd);
    return err != 0 ? err : close_err;
}

int file_write_atomic(const char *path, struct bytes content)
{
    char tmp[PATH_BYTES_MAX];
    char dir[PATH_BYTES_MAX];
    const int n = snprintf(tmp, sizeof(tmp), "%s.tmp", path);
    int err;

    if (n < 0 || n >= PATH_BYTES_MAX)
        return -ENAMETOOLONG;
    err = parent_of(path, dir);
    if (err != 0)
        return err;
    err = write_durable(tmp, content);
    if (err == 0)
        err = file_rename(tmp, path);
    if (err != 0) {
        (void)unlink(tmp); /* It would only be in the way; the first error is the one. */
        return err;
    }
    return file_sync_dir(dir);
}
